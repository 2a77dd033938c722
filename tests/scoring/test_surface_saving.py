"""Weights, saved models and copies: what goes out comes back, here, in a fresh process, and from recsim_ng's model."""

import copy
import pathlib
import pickle

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import recommender as upstream

from recsys_po_rl.scoring import CollabFilteringModel

B, D, E, H = 4, 7, 3, 5
RANDOM = np.random.RandomState(4)
IDS = RANDOM.randint(0, D + 1, (B, H)).astype(np.int32)
TIMES = RANDOM.uniform(-1.0, 2.0, (B, H)).astype(np.float32)
TARGETS = RANDOM.normal(size=(B, D)).astype(np.float32)
SHAPES = [(D + 1, E), (D + 1, E), (H * (E + 1), 32), (32,), (32, E), (E,)]


def made(cls=CollabFilteringModel, users=B, seed=5, docs=D, **options):
    """A built model off its initial values; upstream's is built by a call, with one row per user."""
    model = cls(users, docs, E, H, **options)
    model(np.resize(IDS, (users, H)), np.resize(TIMES, (users, H)))
    random = np.random.RandomState(seed)
    model.set_weights([random.normal(scale=0.5, size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def model():
    return made()


def assert_same(found, expected, rows=B):
    np.testing.assert_array_equal(found(IDS[:rows], TIMES[:rows]), expected(IDS[:rows], TIMES[:rows]))


def assert_same_weights(found, expected):
    assert len(found.get_weights()) == 6
    for one, other in zip(found.get_weights(), expected.get_weights()):
        np.testing.assert_array_equal(one, other)


def train(model, steps):
    """Adam steps on one batch, each with its own loss value."""
    return [model.train_on_batch((IDS, TIMES), TARGETS) for _ in range(steps)]


def compiled(optimizer=None, **options):
    model = made(**options)
    model.compile(optimizer or tf.keras.optimizers.Adam(0.05), "mse")
    return model


# get_weights, set_weights.


def test_get_weights_are_copies_in_the_stated_order(model):
    found = model.get_weights()
    assert [weight.shape for weight in found] == SHAPES
    assert {type(weight) for weight in found} == {np.ndarray}
    assert {weight.dtype for weight in found} == {np.dtype(np.float32)}
    for weight, variable in zip(found, model.weights):
        np.testing.assert_array_equal(weight, variable)
    before = model(IDS, TIMES)
    found[0] += 1.0
    np.testing.assert_array_equal(model(IDS, TIMES), before)
    with pytest.raises(ValueError, match="not yet been created"):
        CollabFilteringModel(1, D, E, H).get_weights()


def test_set_weights_serves_any_number_of_users(model):
    other = made(users=1, seed=6)
    assert np.abs(other(IDS, TIMES) - model(IDS, TIMES)).max() > 0.1
    other.set_weights(model.get_weights())
    assert_same(other, model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights[:5], "list of length 5"),
        (lambda weights: [*weights, weights[5]], "list of length 7"),
        (lambda weights: [weights[0][1:], *weights[1:]], "not compatible with provided weight shape"),
        (lambda weights: weights[::-1], "not compatible with provided weight shape"),
        (lambda weights: [], "list of length 0"),
    ],
)
def test_set_weights_raises_value_error_and_changes_nothing(change, message):
    model = made()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.set_weights(change(before))
    for weight, kept in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, kept)


@pytest.mark.parametrize(
    ("source", "target"),
    [(upstream.CollabFilteringModel, CollabFilteringModel), (CollabFilteringModel, upstream.CollabFilteringModel)],
    ids=["from_upstream", "to_upstream"],
)
class TestUpstream:
    """Weights travel between the two models; scores agree to rounding, as the two multiply in different orders."""

    def test_set_weights(self, source, target):
        saved, loaded = made(source), made(target, seed=6)
        loaded.set_weights(saved.get_weights())
        np.testing.assert_allclose(loaded(IDS, TIMES), saved(IDS, TIMES), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("file", ["checkpoint", "weights.h5", "all.weights.h5", "weights.keras"])
    def test_save_weights_and_load_weights(self, source, target, file, tmp_path):
        saved, loaded = made(source), made(target, seed=6)
        saved.save_weights(str(tmp_path / file))
        status = loaded.load_weights(str(tmp_path / file))
        if file == "checkpoint":
            status.assert_consumed()
        assert_same_weights(loaded, saved)
        np.testing.assert_allclose(loaded(IDS, TIMES), saved(IDS, TIMES), rtol=1e-5, atol=1e-5)

    def test_load_weights_by_name(self, source, target, tmp_path):
        saved, loaded = made(source), made(target, seed=6)
        saved.save_weights(str(tmp_path / "weights.h5"))
        loaded.load_weights(str(tmp_path / "weights.h5"), by_name=True)
        assert_same_weights(loaded, saved)


# save_weights, load_weights.

FILES = ["checkpoint", "weights.h5", "all.weights.h5"]


@pytest.mark.parametrize("file", FILES)
def test_save_weights_and_load_weights_across_num_users(model, file, tmp_path):
    path = tmp_path / file
    model.save_weights(path)  # a PathLike
    loaded = made(users=9, seed=6)
    status = loaded.load_weights(str(path))
    if file == "checkpoint":
        status.assert_consumed()  # the status that tf.train.Checkpoint.restore returns
        assert (tmp_path / "checkpoint.index").exists()
    else:
        assert status is None
    assert_same(loaded, model)


def test_save_weights_format_goes_by_argument_then_by_suffix(model, tmp_path):
    import h5py

    model.save_weights(str(tmp_path / "no_suffix"), save_format="h5")
    model.save_weights(str(tmp_path / "suffix.h5"))
    with h5py.File(tmp_path / "no_suffix") as one, h5py.File(tmp_path / "suffix.h5") as other:
        for file in (one, other):
            assert [str(name) for name in file.attrs["layer_names"]] == ["doc_prop_embedding", "doc_embedding", "recs"]
            assert len(file["recs"].attrs["weight_names"]) == 4
    model.save_weights(str(tmp_path / "named"), save_format="tf", options=tf.train.CheckpointOptions())
    assert (tmp_path / "named.index").exists()
    with pytest.raises(ValueError, match="Unknown format"):
        model.save_weights(str(tmp_path / "x"), save_format="zip")


@pytest.mark.parametrize("file", FILES)
def test_save_weights_overwrite_asks_or_does_not(model, file, tmp_path, monkeypatch):
    path = str(tmp_path / file)
    other = made(seed=6)
    other.save_weights(path)
    answers = []

    def answer(prompt):
        answers.append(prompt)
        return "n"

    monkeypatch.setattr("builtins.input", answer)
    model.save_weights(path, overwrite=False)
    assert len(answers) == 1
    loaded = made(seed=8)
    loaded.load_weights(path)
    assert_same(loaded, other)
    model.save_weights(path)
    assert len(answers) == 1
    loaded.load_weights(path)
    assert_same(loaded, model)


def test_load_weights_before_the_first_call_waits_for_it(model, tmp_path):
    model.save_weights(str(tmp_path / "checkpoint"))
    loaded = CollabFilteringModel(1, D, E, H)
    status = loaded.load_weights(str(tmp_path / "checkpoint"), options=tf.train.CheckpointOptions())
    assert_same(loaded, model)
    status.assert_consumed()
    model.save_weights(str(tmp_path / "weights.h5"))
    with pytest.raises(ValueError, match="not created its variables yet"):
        CollabFilteringModel(1, D, E, H).load_weights(str(tmp_path / "weights.h5"))


@pytest.mark.slow
def test_load_weights_takes_a_saved_model(model, tmp_path):
    model.save(str(tmp_path / "saved"))
    loaded = made(seed=6)
    loaded.load_weights(str(tmp_path / "saved"))
    assert_same(loaded, model)


def test_load_weights_by_name_loads_layers_of_that_name_alone(model, tmp_path):
    model.save_weights(str(tmp_path / "weights.h5"))

    class Renamed(CollabFilteringModel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._doc_embeddings._name = "another_table"

    loaded = made(Renamed, seed=6)
    before = loaded.get_weights()
    loaded.load_weights(str(tmp_path / "weights.h5"), by_name=True)
    for index, weight in enumerate(loaded.get_weights()):
        np.testing.assert_array_equal(weight, before[index] if index == 1 else model.get_weights()[index])


def test_load_weights_skip_mismatch_skips_tables_of_another_size(model, tmp_path):
    path = str(tmp_path / "weights.h5")
    model.save_weights(path)
    larger = made(docs=D + 2, seed=6)
    before = larger.get_weights()
    with pytest.raises(ValueError, match="Shape mismatch"):
        larger.load_weights(path, by_name=True)
    larger.set_weights(before)
    larger.load_weights(path, by_name=True, skip_mismatch=True)
    for index, weight in enumerate(larger.get_weights()):
        np.testing.assert_array_equal(weight, before[index] if index < 2 else model.get_weights()[index])


@pytest.mark.parametrize("file", FILES)
def test_load_weights_of_another_size_raises_value_error(model, file, tmp_path):
    model.save_weights(str(tmp_path / file))
    with pytest.raises(ValueError, match=r"shape"):
        made(docs=D + 2).load_weights(str(tmp_path / file))


def test_load_weights_errors_are_the_documented_ones(model, tmp_path):
    model.save_weights(str(tmp_path / "weights.h5"))
    model.save_weights(str(tmp_path / "checkpoint"))
    loaded = made()
    with pytest.raises(ValueError, match="skip_mismatch can only be set to True when by_name is True"):
        loaded.load_weights(str(tmp_path / "weights.h5"), skip_mismatch=True)
    with pytest.raises(NotImplementedError, match="based on topology"):
        loaded.load_weights(str(tmp_path / "checkpoint"), by_name=True)
    with pytest.raises((OSError, tf.errors.NotFoundError)):
        loaded.load_weights(str(tmp_path / "absent"))


@pytest.mark.parametrize("member", ["save_weights", "load_weights"])
def test_save_weights_and_load_weights_without_h5py_raise_import_error(model, member, tmp_path, monkeypatch):
    path = str(tmp_path / "weights.h5")
    model.save_weights(path)
    monkeypatch.setattr("tf_keras.src.engine.training.h5py", None)
    monkeypatch.setattr("tf_keras.src.saving.legacy.save.h5py", None)
    with pytest.raises(ImportError, match="h5py"):
        getattr(model, member)(path)


# save, load_model.

FORMS = {
    "keras": ("model.keras", {}),
    "saved_model": ("saved", {}),
    "saved_model_without_traces": ("saved", {"save_traces": False}),
    "tf": ("saved", {"save_format": "tf", "options": tf.saved_model.SaveOptions()}),
}


def saved(model, form, folder):
    name, options = FORMS[form]
    model.save(str(folder / name), **options)
    return str(folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", ["build", "call", "function", "predict"])
def test_save_and_load_model_score_any_batch(form, first, tmp_path):
    model = CollabFilteringModel(2, D, E, H, mask_null_documents=True, name="mine")
    if first == "build":
        model.build([(None, H), (None, H)])
        if form != "keras":
            model(IDS[:1], TIMES[:1])  # a SavedModel needs to know what the model is called with
    elif first == "call":
        model((IDS[:2], TIMES[:2]))
    elif first == "function":
        tf.function(model)(tf.constant(IDS), tf.constant(TIMES))
    else:
        model.predict({"doc_id_history": IDS, "c_time_history": TIMES}, verbose=0)
    loaded = tf.keras.models.load_model(saved(model, form, tmp_path))
    assert type(loaded) is CollabFilteringModel
    assert loaded.get_config() == model.get_config()
    assert_same_weights(loaded, model)
    for rows in (B, 1, 0):
        assert_same(loaded, model, rows)
    many = np.resize(IDS, (33, H)), np.resize(TIMES, (33, H))
    np.testing.assert_array_equal(loaded(many), model(many))
    np.testing.assert_array_equal(loaded.predict(many, verbose=0), model.predict(many, verbose=0))
    with pytest.raises(TypeError, match="doc_id_history must be an integer tensor"):
        loaded(TIMES, IDS)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["keras", "saved_model"])
@pytest.mark.parametrize("policy", ["float64", "mixed_float16"])
def test_save_and_load_model_keep_the_policy(form, policy, tmp_path):
    model = made(dtype=policy)
    loaded = tf.keras.models.load_model(saved(model, form, tmp_path))
    assert loaded.dtype_policy.name == policy
    times = TIMES.astype(np.float64) + 1e-10
    np.testing.assert_array_equal(loaded(IDS, times), model(IDS, times))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_save_and_load_model_twice_over(form, tmp_path):
    first = compiled()
    train(first, 1)
    loaded = tf.keras.models.load_model(saved(first, form, tmp_path))
    (tmp_path / "again").mkdir()
    again = tf.keras.models.load_model(saved(loaded, form, tmp_path / "again"))
    assert_same(again, first)
    assert again.optimizer.iterations.numpy() == 1


OPTIMIZERS = {
    "adam": lambda: tf.keras.optimizers.Adam(0.05),
    "momentum": lambda: tf.keras.optimizers.SGD(0.05, momentum=0.9),
    "average": lambda: tf.keras.optimizers.Adam(0.05, use_ema=True, amsgrad=True),
    "schedule": lambda: tf.keras.optimizers.RMSprop(tf.keras.optimizers.schedules.ExponentialDecay(0.05, 1, 0.5)),
}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("form", FORMS)
def test_save_and_load_model_train_on_as_if_never_stopped(form, optimizer, tmp_path):
    straight, stopped = compiled(OPTIMIZERS[optimizer]()), compiled(OPTIMIZERS[optimizer]())
    losses = train(straight, 3)
    assert train(stopped, 2) == losses[:2]
    loaded = tf.keras.models.load_model(saved(stopped, form, tmp_path))
    assert loaded.optimizer.iterations.numpy() == 2
    # The same numbers need the same state: a new Adam would take a step of another size and direction.
    assert train(loaded, 1) == losses[2:]
    assert_same_weights(loaded, straight)
    for one, other in zip(loaded.optimizer.variables, straight.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_load_model_compile_false_leaves_compiling_to_the_user(form, tmp_path):
    model = compiled()
    train(model, 2)
    path = saved(model, form, tmp_path)
    uncompiled = tf.keras.models.load_model(path, compile=False)
    with pytest.raises(RuntimeError, match="must compile"):
        train(uncompiled, 1)
    uncompiled.compile(tf.keras.optimizers.Adam(0.05), "mse")
    assert uncompiled.optimizer.iterations.numpy() == 0  # a new optimizer is new


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"save_traces": False}])
def test_save_include_optimizer_false_leaves_it_out(options, tmp_path):
    model = compiled()
    train(model, 2)
    model.save(str(tmp_path / "without"), include_optimizer=False, **options)
    without = tf.keras.models.load_model(str(tmp_path / "without"))
    assert getattr(without, "optimizer", None) is None
    assert_same(without, model)
    assert model.optimizer.iterations.numpy() == 2


def test_save_in_the_keras_format_refuses_what_it_would_ignore(model, tmp_path):
    for option in ("save_traces", "include_optimizer"):
        with pytest.raises(ValueError, match=option):
            model.save(str(tmp_path / "model.keras"), **{option: False})


def test_save_as_h5_is_for_functional_models_around_it(model, tmp_path):
    path = str(tmp_path / "model.h5")
    with pytest.raises(NotImplementedError, match="Functional model or a Sequential model"):
        model.save(path)
    with pytest.raises(NotImplementedError, match="Functional model or a Sequential model"):
        model.save(str(tmp_path / "other"), save_format="h5")
    inputs = tf.keras.Input((H,), dtype=tf.int32), tf.keras.Input((H,))
    outer = tf.keras.Model(inputs, model(inputs))
    outer.save(path)
    loaded = tf.keras.models.load_model(path)
    np.testing.assert_array_equal(loaded([IDS, TIMES]), outer([IDS, TIMES]))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["keras", "saved_model"])
def test_save_of_a_functional_model_around_two_of_them(form, tmp_path):
    inputs = tf.keras.Input((H,), dtype=tf.int32), tf.keras.Input((H,))
    outer = tf.keras.Model(inputs, made()(*inputs) - 2.0 * made(seed=6)(inputs))
    loaded = tf.keras.models.load_model(saved(outer, form, tmp_path))
    np.testing.assert_array_equal(loaded([IDS, TIMES]), outer([IDS, TIMES]))
    np.testing.assert_array_equal(loaded([IDS[:1], TIMES[:1]]), outer([IDS[:1], TIMES[:1]]))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["keras", "saved_model"])
def test_save_overwrite_asks_or_does_not(model, form, tmp_path, monkeypatch):
    path = saved(made(seed=6), form, tmp_path)
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    model.save(path, overwrite=False)
    assert_same(tf.keras.models.load_model(path), made(seed=6))
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    model.save(path, overwrite=False)
    assert_same(tf.keras.models.load_model(path), model)
    made(seed=8).save(pathlib.Path(path))  # overwrites silently
    assert_same(tf.keras.models.load_model(path), made(seed=8))


def test_save_unbuilt_or_in_an_unknown_format_raises_value_error(model, tmp_path):
    with pytest.raises(ValueError, match="cannot be saved"):
        CollabFilteringModel(1, D, E, H).save(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"save_format|Unknown"):
        model.save(str(tmp_path / "other"), save_format="zip")


# save_spec.


def test_save_spec_is_upstreams_form_and_true(model):
    assert CollabFilteringModel(1, D, E, H).save_spec() is None
    theirs, ours = made(upstream.CollabFilteringModel).save_spec(), model.save_spec()
    assert ours == theirs
    arguments, keywords = ours
    assert [spec.shape.as_list() for spec in arguments] == [[None, H], [None, H]]
    assert [spec.dtype for spec in arguments] == [tf.int32, tf.float32]
    assert keywords == {}
    serve = tf.function(model).get_concrete_function(*arguments)
    for rows in (B, 1, 0):  # upstream's claims a free batch, which it has not
        np.testing.assert_allclose(
            serve(tf.constant(IDS[:rows]), tf.constant(TIMES[:rows])),
            model(IDS[:rows], TIMES[:rows]),
            rtol=1e-5,
            atol=1e-6,
        )
    fixed, _ = model.save_spec(dynamic_batch=False)
    assert [spec.shape.as_list() for spec in fixed] == [[B, H], [B, H]]


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model((IDS, TIMES)),
        lambda model: model({"doc_id_history": IDS, "c_time_history": TIMES}, training=True),
        lambda model: model.predict([IDS, TIMES], verbose=0),
        lambda model: model(tf.keras.Input((H,), dtype=tf.int32), tf.keras.Input((H,))),
    ],
)
def test_save_spec_is_the_same_for_every_form_of_call(model, call):
    fresh = CollabFilteringModel(1, D, E, H)
    call(fresh)
    assert [spec.shape.as_list() for spec in fresh.save_spec()[0]] == [[None, H], [None, H]]
    assert [spec.dtype for spec in fresh.save_spec()[0]] == [tf.int32, tf.float32]


@pytest.mark.slow
def test_save_signatures_are_served_for_any_batch(model, tmp_path):
    @tf.function
    def best(ids, times):
        return {"best": tf.argmax(model(ids, times), axis=-1) + 1}

    model.save(
        str(tmp_path / "saved"), signatures={"serving_default": best.get_concrete_function(*model.save_spec()[0])}
    )
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    names = list(serve.structured_input_signature[1])
    for rows in (B, 1):
        given = dict(zip(sorted(names), (tf.constant(IDS[:rows]), tf.constant(TIMES[:rows]))))
        np.testing.assert_array_equal(serve(**given)["best"], np.argmax(model(IDS[:rows], TIMES[:rows]), axis=-1) + 1)


@pytest.mark.slow
def test_save_traces_can_be_called_without_the_class(model, tmp_path):
    model.save(str(tmp_path / "saved"))
    traced = tf.saved_model.load(str(tmp_path / "saved"))
    for rows in (B, 1):
        assert_same(traced, model, rows)
    bad = IDS.copy()
    bad[0, 0] = D + 1
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"doc_id_history must be between 0 and {D}"):
        traced(bad, TIMES)


# Copies.


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deep", "copy", "pickle"],
)
class TestCopies:
    @pytest.mark.slow
    def test_deepcopy_and_pickle_score_alike_and_apart(self, duplicate):
        model = compiled()
        train(model, 2)
        twin = duplicate(model)
        assert type(twin) is CollabFilteringModel
        assert twin.get_config() == model.get_config()
        assert_same(twin, model)
        assert_same(twin, model, rows=1)
        assert train(twin, 1) == train(model, 1)  # the optimizer's state comes along
        assert_same_weights(twin, model)
        before = model.get_weights()
        twin.set_weights([0.0 * weight for weight in before])
        for weight, kept in zip(model.get_weights(), before):
            np.testing.assert_array_equal(weight, kept)

    def test_deepcopy_and_pickle_of_a_model_that_was_only_built(self, duplicate):
        model = CollabFilteringModel(1, D, E, H)
        model.build((None, H))
        assert_same(duplicate(model), model)

    def test_deepcopy_and_pickle_of_a_model_without_weights(self, duplicate):
        model = CollabFilteringModel(1, D, E, H, mask_null_documents=True)
        twin = duplicate(model)
        assert not twin.built
        assert twin.get_config() == model.get_config()
        assert twin(IDS, TIMES).shape == (B, D)
        assert not model.built


# A fresh process that imports the package and nothing else of it.

RESUME = """
import sys
import numpy as np
import recsys_po_rl
import tensorflow as tf
for path in sys.argv[2:]:
    data = np.load(sys.argv[1])
    model = tf.keras.models.load_model(path)
    inputs = data["ids"], data["times"]
    print(type(model).__name__, int(model.optimizer.iterations))
    np.testing.assert_array_equal(model(*inputs), data["before"])
    np.testing.assert_array_equal(model(inputs[0][:1], inputs[1][:1]).shape, (1, data["before"].shape[1]))
    loss = model.train_on_batch(inputs, data["targets"])
    np.testing.assert_array_equal(np.float32(loss), data["loss"])
    for weight, expected in zip(model.get_weights(), [data[f"weight{index}"] for index in range(6)], strict=True):
        np.testing.assert_array_equal(weight, expected)
"""

RESTORE = """
import pickle, sys
import numpy as np
import recsys_po_rl
import tensorflow as tf
data = np.load(sys.argv[1])
with open(sys.argv[3]) as file:
    from_json = tf.keras.models.model_from_json(file.read())
with open(sys.argv[2], "rb") as file:
    pickled = pickle.load(file)
from_json.build((None, data["ids"].shape[1]))
from_json.load_weights(sys.argv[4])
outer = tf.keras.models.load_model(sys.argv[5])
for scores in (pickled(data["ids"], data["times"]), from_json(data["ids"], data["times"]),
               outer([data["ids"], data["times"]])):
    np.testing.assert_array_equal(scores, data["before"])
    print("equal")
"""


@pytest.mark.slow
def test_save_and_load_model_in_a_fresh_process_go_on_training(fresh_python, tmp_path):
    straight, stopped = compiled(), compiled()
    losses = train(straight, 3)
    train(stopped, 2)
    paths = []
    for form in reversed(FORMS):  # `.keras` files name the class's module, and loading one imports it: last
        (tmp_path / form).mkdir()
        paths.append(saved(stopped, form, tmp_path / form))
    np.savez(
        tmp_path / "data.npz",
        ids=IDS,
        times=TIMES,
        targets=TARGETS,
        before=stopped(IDS, TIMES),
        loss=np.float32(losses[2]),
        **{f"weight{index}": weight for index, weight in enumerate(straight.get_weights())},
    )
    ran = fresh_python("-c", RESUME, str(tmp_path / "data.npz"), *paths)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "CollabFilteringModel 2\n" * len(FORMS)


@pytest.mark.slow
def test_pickle_to_json_and_h5_in_a_fresh_process(model, fresh_python, tmp_path):
    np.savez(tmp_path / "data.npz", ids=IDS, times=TIMES, before=model(IDS, TIMES))
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(str(tmp_path / "weights.h5"))
    inputs = tf.keras.Input((H,), dtype=tf.int32), tf.keras.Input((H,))
    tf.keras.Model(inputs, model(inputs)).save(str(tmp_path / "outer.h5"))
    files = ["data.npz", "model.pickle", "model.json", "weights.h5", "outer.h5"]
    ran = fresh_python("-c", RESTORE, *(str(tmp_path / file) for file in files))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "equal\n" * 3
