"""Policy files from elsewhere: nothing that they name is imported, resolved or executed."""

import functools
import json
import re
import sys
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

import recsys_po_rl
from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import layout as layout_lib
from recsys_po_rl.run_folder import policy_archive, policy_file
from recsys_po_rl.scoring import keras_layers, rebuilding
from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel
from recsys_po_rl.scoring.self_attention import SelfAttentionModel
from tests.support import hostile_policies as hostile

MUTANTS, DAMAGED = 1000, 200


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return hostile.saved(hostile.own(), tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def functional(tmp_path_factory):
    return hostile.saved(hostile.functional(), tmp_path_factory.mktemp("functional"))


def load(content, folder, **options):
    (folder / layout_lib.POLICY).write_bytes(content)
    return recsys_po_rl.load_policy(folder, **options)


def refusal(content, folder, **options):
    with pytest.raises(
        validation.InvalidInputError, match=r"^load_policy: .* is no policy that can be read: "
    ) as error:
        load(content, folder, **options)
    (line,) = str(error.value).splitlines()
    return line


def gives_a_model(content, folder):
    """Return whether a file is loaded; otherwise it must be refused in one line, and by no other error."""
    try:
        model = load(content, folder).scorer
    except validation.InvalidInputError as error:
        line = str(error)
    else:
        assert isinstance(model, tf.keras.Model)
        return True
    assert len(line.splitlines()) == 1, line
    return False


EXPLOITS = {
    "a name with a dot, inside a module of Keras": {
        "module": "tf_keras.src.utils.data_utils",
        "class_name": "function",
        "config": "os.system",
        "registered_name": "os.system",
    },
    "a registered name beside another function": {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "recsys_po_rl>CollabFilteringModel",
    },
}


@pytest.mark.parametrize("function", EXPLOITS.values(), ids=EXPLOITS)
def test_no_command_of_a_file_is_run(function, functional, tmp_path):
    mark = tmp_path / "mark"
    config = hostile.calling(function, f"touch '{mark}'")
    line = refusal(hostile.with_config(functional, config), tmp_path)
    assert not mark.exists()
    assert "it names the Keras class 'Lambda', which is not among those that are loaded" in line


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that exists once the marker module is imported."""
    mark = tmp_path / "mark"
    (tmp_path / "path").mkdir()
    code = f"open({str(mark)!r}, 'w').close()\ndef leave(*a, **k): pass\nclass Mark: pass\nmark = Mark\n"
    (tmp_path / "path" / f"{hostile.MARKER_MODULE}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "path")
    yield mark
    sys.modules.pop(hostile.MARKER_MODULE, None)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_mutants_of_an_architecture_give_a_model_or_one_line(part, own, functional, mark, tmp_path):
    random = np.random.default_rng(13 + part)
    loaded = 0
    for number in range(MUTANTS // 4):
        source = (own, functional)[number % 2]
        content = hostile.with_config(source, hostile.mutant(hostile.config_of(source), random))
        loaded += gives_a_model(content, tmp_path)
        assert not mark.exists()
    assert hostile.MARKER_MODULE not in sys.modules
    assert 0 < loaded < MUTANTS // 8  # not every mutant is refused, and not by accident


@pytest.mark.slow
@pytest.mark.parametrize("form", ["weights", "zip"])
def test_damaged_bytes_give_a_model_or_one_line(form, own, tmp_path):
    random = np.random.default_rng(31)
    members = hostile.members_of(own)
    for _ in range(DAMAGED // 2):
        if form == "zip":
            content = hostile.damaged(own, random)
        else:
            weights = hostile.damaged(members[policy_archive.WEIGHTS], random)
            content = hostile.zipped({**members, policy_archive.WEIGHTS: weights})
        gives_a_model(content, tmp_path)


def changed(content, change):
    config = hostile.config_of(content)
    change(config)
    return hostile.with_config(content, config)


ARCHITECTURES = {
    "deep nesting": (lambda config: config["config"].update(decays=functools.reduce(lambda x, _: [x], range(50), 0.5)),
                     "decays must be a number"),
    "a model larger than its weights": (lambda config: config["config"].update(num_docs=10**9), "more weights than"),
    "an integer of 400 digits": (lambda config: config["config"].update(num_docs=10**400), "an integer of 32 bits"),
    "an unknown argument": (lambda config: config["config"].update(activity_regularizer={}), "argument that is not"),
    "a function as a dtype": (lambda config: config["config"].update(dtype={"class_name": "function"}), "of a dtype"),
    "another class": (lambda config: config.update(module="a", class_name="B", registered_name="a>B"),
                      r"it names the class 'a>B', .*custom_objects=\{'a>B': THE_CLASS\}"),
    "no architecture": (lambda config: config.clear(), "must be a layer or a model"),
    "fewer weights than its layers": (lambda config: config["config"].update(decays=[0.5]), "."),
    "a layer": (lambda config: config.update(class_name="Dense", module="keras.layers", registered_name=None,
                                             config={"units": 3}), "it is a Dense, not a model"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_architectures_that_are_refused(change, says, own, tmp_path):
    assert re.search(says, refusal(changed(own, change), tmp_path))


def test_json_that_is_refused(own, tmp_path):
    members = hostile.members_of(own)
    for name, content, says in (
        (policy_archive.CONFIG, b"[" * 100_000, "recursion"),
        (policy_archive.CONFIG, b'{"a": NaN}', "its JSON holds NaN"),
        (policy_archive.CONFIG, b'"' + b"x" * policy_archive.MAX_JSON_BYTES + b'"', "its config.json is larger than"),
        (policy_archive.METADATA, b"\xff", "decode"),
    ):
        assert says in refusal(hostile.zipped({**members, name: content}), tmp_path)


def test_zips_that_are_refused(own, tmp_path):
    members = hostile.members_of(own)
    line = refusal(hostile.zipped(members, zipfile.ZIP_DEFLATED), tmp_path)
    assert "its members must be stored, not compressed" in line
    for extra in ({"../x": b""}, {"assets/x": b""}):
        assert "it must hold metadata.json, config.json and model.weights.h5" in refusal(
            hostile.zipped({**members, **extra}), tmp_path
        )


def _claim_much(file):
    space = h5py.h5s.create_simple((1 << 40,))
    h5py.h5d.create(file["layers/dense/vars"].id, b"2", h5py.h5t.NATIVE_FLOAT, space)


def _outside(file):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", (32,), "f4", external=[("/etc/hostname", 0, 128)])


def _virtual(file):
    layout = h5py.VirtualLayout((32,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (32,))
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_virtual_dataset("1", layout)


def _compressed(file):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", data=np.zeros(32, "f4"), compression="gzip")


def _another(file, value):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = value


WEIGHTS = {
    "an external link": (lambda file: file.update({"x": h5py.ExternalLink("/etc/hostname", "/")}), "hold a link"),
    "a soft link": (lambda file: file.update({"x": h5py.SoftLink("/layers")}), "hold a link"),
    "a circle of groups": (lambda file: file["layers"].update({"x": file["layers"]}), "nested too deeply"),
    "one array twice": (lambda file: [file.update({f"x{i}": file["layers/dense/vars/0"]}) for i in range(99)],
                        "claim more bytes"),
    "an array in another file": (_outside, "stored in chunks, in another file or virtually"),
    "a virtual array": (_virtual, "stored in chunks, in another file or virtually"),
    "a compressed array": (_compressed, "stored in chunks, in another file or virtually"),
    "an array of a terabyte": (_claim_much, "are not stored as a whole"),
    "text": (lambda file: _another(file, "x"), "are not an array of numbers"),
    "another shape": (lambda file: _another(file, np.zeros(31, "f4")), "."),
    "NaN": (lambda file: _another(file, np.full(32, np.nan, "f4")), "hold NaN or infinite numbers"),
    "one array less": (lambda file: file.__delitem__("layers/dense/vars/1"), "it holds 6 weights, .* has 7"),
    "one array more": (lambda file: file.update({"layers/dense/vars/2": np.zeros(3, "f4")}), "it holds 8 weights"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_refused(change, says, own, tmp_path):
    assert re.search(says, refusal(hostile.with_weights(own, change), tmp_path))


IDS, TIMES = np.array([[0, 1, 5], [2, 0, 3]], np.int32), np.array([[0.0, 0.5, 2.0], [1.0, 0.0, 4.0]], np.float32)


def every_kind():
    """A functional model of nested models, wrappers, shared layers, and layers with several inputs."""
    layers = tf.keras.layers
    ids, times = tf.keras.Input((3,), dtype=tf.int32), tf.keras.Input((3,))
    slots = layers.Reshape((3, 1))(times)
    read = layers.Bidirectional(layers.LSTM(2))(slots)
    attended = layers.Flatten()(layers.MultiHeadAttention(1, 2)(slots, slots))
    stack = tf.keras.Sequential([layers.Dense(4, tf.keras.activations.gelu), layers.LeakyReLU(0.3)])
    inner = tf.keras.Model(times, layers.ReLU(negative_slope=0.1)(layers.BatchNormalization()(times)))
    scored = SelfAttentionModel(2, 5, 2, 3)(ids, times)
    parts = [read, stack(attended), stack(inner(times)), scored, layers.Dropout(0.5)(attended, training=False)]
    return tf.keras.Model([ids, times], layers.Dense(5)(layers.Concatenate()(parts)))


@pytest.mark.slow
@pytest.mark.parametrize("make", [every_kind, hostile.functional])
def test_functional_models_score_as_they_did(make, tmp_path):
    model = make()
    for variable in model.variables:  # no two weights alike
        variable.assign_add(tf.reshape(tf.linspace(0.01, 0.2, tf.size(variable)), variable.shape))
    loaded = load(hostile.saved(model, tmp_path), tmp_path).scorer
    np.testing.assert_array_equal(loaded([IDS, TIMES]).numpy(), model([IDS, TIMES]).numpy())


@tf.keras.utils.register_keras_serializable(package="tests")
class Scaled(tf.keras.Model):
    """A scorer of a user, whose configuration holds an initialiser."""

    def __init__(self, num_docs, initializer="ones", **options):
        super().__init__(**options)
        self.num_docs = num_docs
        self.initializer = tf.keras.initializers.get(initializer)
        self.dense = tf.keras.layers.Dense(num_docs, kernel_initializer=self.initializer)

    def call(self, doc_ids, times):
        return self.dense(tf.cast(doc_ids, tf.float32) * times)

    def get_config(self):
        initializer = tf.keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "num_docs": self.num_docs, "initializer": initializer}


def test_a_class_of_the_user_is_loaded_once_it_is_named(tmp_path):
    model = Scaled(5)
    model(IDS, TIMES)
    content = hostile.saved(model, tmp_path)
    assert "custom_objects={'tests>Scaled': THE_CLASS}" in refusal(content, tmp_path)
    loaded = load(content, tmp_path, custom_objects={"tests>Scaled": Scaled}).scorer
    assert type(loaded) is Scaled
    np.testing.assert_array_equal(loaded(IDS, TIMES).numpy(), model(IDS, TIMES).numpy())


@pytest.mark.parametrize("objects", [3, {"tests>Scaled": "Scaled"}, {3: Scaled}])
def test_custom_objects_of_another_type_are_refused(objects, own, tmp_path):
    with pytest.raises(validation.InvalidTypeError, match="load_policy: custom_objects must be a dict such as"):
        load(own, tmp_path, custom_objects=objects)


def test_an_unregistered_scorer_is_named_when_it_is_saved(tmp_path):
    class Unregistered(Scaled):
        pass

    class Owner:
        model = Unregistered(5)

    Owner.model(IDS, TIMES)
    with pytest.warns(UserWarning, match=r"Unregistered is not registered with Keras: write @tf.keras.utils.register"):
        policy_file.save(str(tmp_path), Owner())


def test_a_scorer_of_operations_is_named_when_it_is_saved(tmp_path):
    ids, times = tf.keras.Input((3,), dtype=tf.int32), tf.keras.Input((3,))

    class Owner:
        model = tf.keras.Model([ids, times], tf.cast(ids, tf.float32) * times)

    with pytest.warns(UserWarning, match=r"load_policy cannot load it: it names the Keras class 'TFOpLambda'"):
        policy_file.save(str(tmp_path), Owner())


def test_variables_that_keras_does_not_save_are_named_when_it_is_saved(tmp_path):
    @tf.keras.utils.register_keras_serializable(package="tests")
    class Hiding(Scaled):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.module = tf.Module()
            self.module.weight = tf.Variable(1.0)

    class Owner:
        model = Hiding(5)

    Owner.model(IDS, TIMES)
    with pytest.warns(UserWarning, match=r"Keras saved 2 of 3 variables"):
        policy_file.save(str(tmp_path), Owner())


def test_metadata_decides_nothing(own, tmp_path):
    metadata = json.dumps({"keras_version": "../x", "date_saved": {"class_name": "function"}}).encode()
    content = hostile.zipped({**hostile.members_of(own), policy_archive.METADATA: metadata})
    assert type(load(content, tmp_path).scorer) is AveragedHistoryModel


def test_the_example_of_a_scorer_is_loaded_again(tmp_path):
    from examples.mean_history_scorer import MeanHistoryScorer

    model = MeanHistoryScorer(2, 5, 2, 3)
    model(IDS, TIMES)

    class Owner:
        pass

    Owner.model = model
    policy_file.save(str(tmp_path), Owner())
    given = {"examples>MeanHistoryScorer": MeanHistoryScorer}
    loaded = recsys_po_rl.load_policy(tmp_path, custom_objects=given).scorer
    np.testing.assert_array_equal(loaded(IDS, TIMES).numpy(), model(IDS, TIMES).numpy())


def test_the_page_lists_the_layers_that_are_loaded(root):
    page = (root / "docs" / "security.md").read_text(encoding="utf-8")
    listed = re.search(r"Keras layers that are loaded: ([\w, ]+);", page).group(1).split(", ")
    assert sorted(listed) == sorted({*keras_layers.LAYERS, *rebuilding._WRAPPERS})
