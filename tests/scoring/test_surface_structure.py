"""The model's documented members, but for training (test_surface_training) and files (test_surface_saving)."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.scoring import CollabFilteringModel

B, D, E, H = 4, 7, 3, 5
RANDOM = np.random.RandomState(1)
IDS = RANDOM.randint(0, D + 1, (B, H)).astype(np.int32)
IDS[1, 2], IDS[2, 0], IDS[3, 4] = 0, 3, D
TIMES = RANDOM.uniform(-1.0, 2.0, (B, H)).astype(np.float32)
NAMED = {"doc_id_history": IDS, "c_time_history": TIMES}
ROWS = D + 1
SHAPES = [(ROWS, E), (ROWS, E), (H * (E + 1), 32), (32,), (32, E), (E,)]
POLICIES = ["float32", "float64", "mixed_float16", "mixed_bfloat16"]


def made(built=True, cls=CollabFilteringModel, **options):
    """A model off its initial values, where biases are zero."""
    model = cls(9, D, E, H, **options)
    if built:
        model.build((None, H))
        random = np.random.RandomState(2)
        model.set_weights([random.normal(scale=0.5, size=shape) for shape in SHAPES])
    return model


@pytest.fixture(scope="module")
def model():
    return made()


def symbolic():
    return tf.keras.Input((H,), dtype=tf.int32), tf.keras.Input((H,))


def oracle(model, ids, times):
    """The definition in NumPy float64. Keras keeps the slope of its leaky ReLU in float32, whatever the policy."""
    p, q, w1, b1, w2, b2 = (weight.astype(np.float64) for weight in model.get_weights())
    x = np.concatenate([q[ids], np.asarray(times, np.float64)[..., np.newaxis]], axis=-1).reshape(len(ids), -1)
    hidden = x @ w1 + b1
    return (np.where(hidden > 0, hidden, np.float64(np.float32(0.3)) * hidden) @ w2 + b2) @ p[1:].T


# Constructor.


def test_constructor_takes_sizes_by_position_or_keyword():
    by_position = CollabFilteringModel(2, 3, 4, 5)
    by_keyword = CollabFilteringModel(history_length=5, doc_embed_dim=4, num_docs=3, num_users=2)
    for sized in (by_position, by_keyword):
        sizes = (sized.num_users, sized.num_docs, sized.doc_embed_dim, sized.history_length)
        assert sizes == (2, 3, 4, 5)
        assert not sized.built
    assert CollabFilteringModel(np.int64(2), 3, 4, 5).num_users == 2


def test_constructor_refuses_unknown_and_missing_arguments():
    with pytest.raises(TypeError, match="num_topics"):
        CollabFilteringModel(2, 3, 4, 5, num_topics=2)
    with pytest.raises(TypeError, match="history_length"):
        CollabFilteringModel(2, 3, 4)
    with pytest.raises(validation.InvalidInputError, match="mask_null_documents must be True or False, got 1"):
        CollabFilteringModel(2, 3, 4, 5, mask_null_documents=1)


# Calls.


@pytest.mark.parametrize(
    "call",
    [
        lambda model, ids, times: model(ids, times),
        lambda model, ids, times: model((ids, times)),
        lambda model, ids, times: model([ids, times], training=True),
        lambda model, ids, times: model({"c_time_history": times, "doc_id_history": ids}),
        lambda model, ids, times: model(doc_id_history=ids, c_time_history=times, mask=None),
    ],
)
def test_dunder_call_takes_symbolic_inputs_in_any_form(model, call):
    inputs = symbolic()
    scores = call(model, *inputs)
    assert scores.shape.as_list() == [None, D]
    assert scores.dtype == tf.float32
    outer = tf.keras.Model(inputs, scores)
    np.testing.assert_allclose(outer([IDS, TIMES]), model(IDS, TIMES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outer.predict([IDS, TIMES], verbose=0), model(IDS, TIMES), rtol=1e-5, atol=1e-6)


def test_dunder_call_takes_training_and_mask_by_position_or_keyword(model):
    expected = model(IDS, TIMES)
    masks = [tf.constant(IDS > 0), None]
    for scores in (
        model(IDS, TIMES, True),
        model(IDS, TIMES, False, masks),
        model((IDS, TIMES), None, True),
        model(NAMED, training=tf.constant(True)),
        model((IDS, TIMES), mask=masks),
    ):
        np.testing.assert_array_equal(scores, expected)


def test_dunder_call_casts_times_and_small_ids(model):
    expected = model(IDS, TIMES)
    for ids in (IDS.astype(np.int64), IDS.astype(np.uint8), IDS.tolist(), tf.Variable(IDS)):
        np.testing.assert_allclose(model(ids, TIMES.astype(np.float64)), expected, rtol=1e-5, atol=1e-6)
    whole_times = np.arange(B * H).reshape(B, H) % 3
    np.testing.assert_array_equal(model(IDS, whole_times), model(IDS, whole_times.astype(np.float32)))


def test_dunder_call_takes_ids_whose_type_cannot_hold_the_number_of_documents():
    wide = CollabFilteringModel(1, 1000, E, H)
    np.testing.assert_array_equal(wide(IDS.astype(np.int8), TIMES), wide(IDS, TIMES))


@pytest.mark.slow
def test_dunder_call_in_one_functional_model_with_another_unnamed_instance():
    one, other = made(), made()
    other.set_weights([-2.0 * weight for weight in one.get_weights()])
    assert one.name != other.name
    inputs = symbolic()
    outer = tf.keras.Model(inputs, [one(*inputs), other(inputs)])
    found = outer([IDS, TIMES])
    np.testing.assert_allclose(found[0], one(IDS, TIMES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], other(IDS, TIMES), rtol=1e-5, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert len(outer.trainable_weights) == 12
    again = tf.keras.Model.from_config(outer.get_config())
    again.set_weights(outer.get_weights())
    for scores, expected in zip(again([IDS, TIMES]), found):
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("ids_shape", [[None, H], [None, None], None])
@pytest.mark.parametrize("compiled", [False, True])
def test_dunder_call_in_a_function_of_unknown_batch_traces_once(model, ids_shape, compiled):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec(ids_shape, tf.int32), tf.TensorSpec(None)], jit_compile=compiled)
    def scores(ids, times):
        traces.append(1)
        return model(ids, times)

    for rows in (B, 0, 1):
        found = scores(tf.constant(IDS[:rows]), tf.constant(TIMES[:rows]))
        assert found.shape == (rows, D)
        np.testing.assert_allclose(found, model(IDS[:rows], TIMES[:rows]), rtol=1e-4, atol=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize("shape", [[None, None], None])
def test_dunder_call_refuses_a_history_length_that_shows_only_when_run(shape):
    fresh = CollabFilteringModel(1, D, E, H)
    scores = tf.function(fresh, input_signature=[tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape)])
    twice = np.tile(IDS, (1, 2)), np.tile(TIMES, (1, 2))  # would reshape to twice as many rows
    for ids, times, argument in ((twice[0], TIMES, "doc_id_history"), (IDS, twice[1], "c_time_history")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{argument}.*\[4,10\].*\[\?,5\]"):
            scores(tf.constant(ids), tf.constant(times))


@pytest.mark.slow
def test_dunder_call_of_no_rows_has_zero_gradients(model):
    for call in (model, tf.function(model), tf.function(model, jit_compile=True)):
        with tf.GradientTape() as tape:
            scores = call(tf.zeros((0, H), tf.int32), tf.zeros((0, H)))
            loss = tf.reduce_sum(scores)
        assert scores.shape == (0, D)
        for gradient in tape.gradient(loss, model.trainable_weights):
            assert not tf.convert_to_tensor(gradient).numpy().any()


def test_call_is_what_dunder_call_runs(model):
    np.testing.assert_array_equal(model.call(IDS, TIMES), model(IDS, TIMES))
    np.testing.assert_array_equal(model.call(NAMED, training=False, mask=None), model(IDS, TIMES))


def test_call_of_a_subclass_is_run_by_dunder_call():
    class Doubled(CollabFilteringModel):
        def call(self, doc_id_history, c_time_history=None, training=None, mask=None):
            return 2.0 * super().call(doc_id_history, c_time_history, training=training, mask=mask)

    doubled = made(cls=Doubled)
    np.testing.assert_allclose(doubled((IDS, TIMES)), 2.0 * made()(IDS, TIMES), rtol=1e-6)


@pytest.mark.parametrize(
    ("ids", "times", "error", "message"),
    [
        (TIMES, IDS, TypeError, "doc_id_history must be an integer tensor, got float32"),
        (IDS[:, :3], TIMES, ValueError, r"doc_id_history must have shape \(batch, 5\), got \(4, 3\)"),
        (IDS, TIMES[0], ValueError, r"c_time_history must have shape \(batch, 5\), got \(5,\)"),
        (IDS, IDS > 0, TypeError, "c_time_history must be a float tensor, got bool"),
    ],
)
@pytest.mark.parametrize("form", ["two", "pair", "dict", "symbolic", "graph"])
def test_fault_swapped_or_misshapen_arguments_make_weights_first(ids, times, error, message, form):
    fresh = CollabFilteringModel(1, D, E, H)

    def call():
        if form == "two":
            return fresh(ids, times)
        if form == "pair":
            return fresh([ids, times])
        if form == "dict":
            return fresh({"doc_id_history": ids, "c_time_history": times})
        if form == "graph":
            return tf.function(fresh)(tf.constant(ids), tf.constant(times))
        return fresh(
            *(tf.keras.Input(array.shape[1:], batch_size=len(array), dtype=array.dtype) for array in (ids, times))
        )

    with pytest.raises(error, match=message):
        call()
    assert not fresh.built


def bad_inputs(argument, bad):
    ids, times = IDS.copy(), TIMES.copy()
    (ids if argument == "doc_id_history" else times)[2, 3] = bad
    return tf.constant(ids), tf.constant(times)


BAD_VALUES = [
    ("doc_id_history", -5, "doc_id_history must be between 0 and 7, got ids from", "-5"),
    ("doc_id_history", D + 1, "doc_id_history must be between 0 and 7, got ids from", "8"),
    ("c_time_history", np.nan, "c_time_history must be finite in float32, got", "nan"),
    ("c_time_history", np.inf, "c_time_history must be finite in float32, got", "inf"),
    ("c_time_history", -np.inf, "c_time_history must be finite in float32, got", "-inf"),
]


@pytest.mark.parametrize(("argument", "bad", "message", "came"), BAD_VALUES)
@pytest.mark.parametrize("form", ["two", "pair", "dict"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "function"])
def test_fault_bad_values_are_scored(model, argument, bad, message, came, form, compiled):
    ids, times = bad_inputs(argument, bad)
    given = {"two": (ids, times), "pair": ((ids, times),), "dict": ({"doc_id_history": ids, "c_time_history": times},)}
    call = tf.function(model) if compiled else model
    with pytest.raises(tf.errors.InvalidArgumentError, match=message) as raised:
        call(*given[form])
    assert came in str(raised.value).split(message)[1]
    assert model.name in str(raised.value)


@pytest.mark.parametrize(("argument", "bad", "message", "came"), BAD_VALUES)
def test_fault_bad_values_under_xla_reach_other_rows(model, argument, bad, message, came):
    del message, came
    compiled = tf.function(model, jit_compile=True)
    good = compiled(tf.constant(IDS), tf.constant(TIMES)).numpy()
    found = compiled(*bad_inputs(argument, bad)).numpy()
    assert np.isnan(found[2]).all()
    others = [0, 1, 3]
    assert np.isfinite(good).all()
    np.testing.assert_array_equal(found[others], good[others])


def test_fault_a_time_beyond_the_compute_dtype_becomes_infinite():
    narrow = made(dtype="mixed_float16")
    times = TIMES.copy()
    times[2, 3] = 1e6
    for given in ((IDS, times), ((IDS, times),)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="c_time_history must be finite in float16"):
            narrow(*given)


# The option mask_null_documents.


def test_mask_null_documents_makes_null_slots_count_as_zeros():
    plain, masked = made(), made(mask_null_documents=True)
    null = IDS == 0
    assert null.any(axis=1).sum() >= 1
    moved = np.where(null, 17.0, TIMES).astype(np.float32)
    other = [weight.copy() for weight in masked.get_weights()]
    other[1][0] += 5.0
    scores = masked(IDS, TIMES).numpy()
    assert np.abs(plain(IDS, TIMES) - plain(IDS, moved)).max() > 0.1
    np.testing.assert_array_equal(masked(IDS, moved), scores)
    masked.set_weights(other)
    np.testing.assert_array_equal(masked(IDS, TIMES), scores)
    # Zeros in the definition: row Q[0] and the times there are 0.
    other[1][0] = 0.0
    masked.set_weights(other)
    np.testing.assert_allclose(scores, oracle(masked, IDS, np.where(null, 0.0, TIMES)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_mask_null_documents_stops_gradients_to_null_slots(masked):
    model = made(mask_null_documents=masked)
    times = tf.Variable(TIMES)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(IDS, times) ** 2)
    of_table, of_times = tape.gradient(loss, [model.weights[1], times])
    of_table = tf.convert_to_tensor(of_table).numpy()
    assert (np.abs(of_table[0]).max() > 0.0) != masked
    assert ((np.abs(of_times.numpy()[IDS == 0])).max() > 0.0) != masked
    assert np.abs(of_times.numpy()[IDS > 0]).min() > 0.0
    assert np.abs(of_table[np.unique(IDS[IDS > 0])]).max(axis=1).min() > 0.0


def test_mask_null_documents_survives_the_config():
    for masked in (False, True):
        again = CollabFilteringModel.from_config(made(mask_null_documents=masked).get_config())
        assert again.mask_null_documents is masked


# Attributes.


def test_activity_regularizer_penalises_the_scores_per_row():
    regular = made()
    assert regular.activity_regularizer is None
    assert regular.losses == []
    regular.activity_regularizer = tf.keras.regularizers.L2(0.25)
    scores = regular(IDS, TIMES).numpy()
    np.testing.assert_allclose(regular.losses, [0.25 * (scores**2).sum() / B], rtol=1e-5)


@pytest.mark.parametrize(
    ("policy", "weights", "compute"),
    [
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        ("mixed_float16", "float32", "float16"),
        ("mixed_bfloat16", "float32", "bfloat16"),
    ],
)
@pytest.mark.parametrize("globally", [False, True])
def test_dtype_variable_dtype_compute_dtype_and_dtype_policy(policy, weights, compute, globally):
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy if globally else before)
    try:
        model = made(**({} if globally else {"dtype": policy}))
        scores = model(IDS, TIMES)
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
    assert (model.dtype, model.variable_dtype, model.compute_dtype) == (weights, weights, compute)
    assert model.dtype_policy.name == policy
    assert {weight.dtype.name for weight in model.weights} == {weights}
    assert scores.dtype.name == compute
    assert CollabFilteringModel.from_config(model.get_config()).dtype_policy.name == policy


# Units in the last place of the three dtypes, over 20 products of size up to 4.
TOLERANCES = {"float32": 1e-5, "float64": 1e-13, "mixed_float16": 0.05, "mixed_bfloat16": 0.4}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("form", ["two", "pair", "dict", "function", "xla", "symbolic"])
def test_dtype_policy_scores_are_finite_and_as_precise_as_the_compute_dtype(policy, form):
    model = made(dtype=policy)
    times = RANDOM.uniform(0.1, 1.9, (B, H))  # float64: no float32 in between may round them
    if form == "symbolic":
        inputs = tf.keras.Input((H,), dtype=tf.int32), tf.keras.Input((H,), dtype=tf.float64)
        scores = tf.keras.Model(inputs, model(inputs))([IDS, times])
    elif form in ("function", "xla"):
        scores = tf.function(model, jit_compile=form == "xla")(tf.constant(IDS), tf.constant(times))
    else:
        scores = {
            "two": lambda: model(IDS, times),
            "pair": lambda: model((IDS, times)),
            "dict": lambda: model({"doc_id_history": IDS, "c_time_history": times}),
        }[form]()
    assert scores.dtype.name == model.compute_dtype
    found = tf.cast(scores, tf.float64).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, oracle(model, IDS, times), rtol=0.0, atol=TOLERANCES[policy])


def test_dtype_policy_float64_tells_times_apart_that_float32_does_not():
    model = made(dtype="float64")
    times = TIMES.astype(np.float64)
    moved = times.copy()
    moved[2, 0] += 1e-10
    assert (times.astype(np.float32) == moved.astype(np.float32)).all()
    change = model(IDS, moved).numpy() - model(IDS, times).numpy()
    np.testing.assert_allclose(
        change[2], (oracle(model, IDS, moved) - oracle(model, IDS, times))[2], rtol=1e-3, atol=1e-14
    )
    assert np.abs(change[2]).max() > 1e-11


def test_dynamic_is_false_unless_asked_for():
    assert made().dynamic is False
    eager = CollabFilteringModel(1, D, E, H, dynamic=True)
    assert eager.dynamic is True
    assert eager(IDS, TIMES).shape == (B, D)


def test_name_is_the_class_and_a_number_or_as_given(model):
    assert made(name="mine").name == "mine"
    with pytest.raises(AttributeError):
        model.name = "other"
    assert len({made().name, made().name, model.name}) == 3


def test_trainable_freezes_and_thaws_every_weight():
    model = made()
    assert model.trainable is True
    model.trainable = False
    assert model.trainable_weights == []
    assert len(model.non_trainable_weights) == len(model.weights) == 6
    assert CollabFilteringModel.from_config(model.get_config()).trainable is False
    model.trainable = True
    assert len(model.trainable_weights) == 6
    assert CollabFilteringModel(1, 2, 3, 4, trainable=False).trainable is False


def test_run_eagerly_can_be_set():
    model = made()
    assert not model.run_eagerly
    model.compile("sgd", "mse")
    model.run_eagerly = True
    assert model.run_eagerly is True
    assert CollabFilteringModel(1, D, E, H, dynamic=True).run_eagerly is True


def test_supports_masking_takes_masks_and_scores_carry_none(model):
    assert model.supports_masking is True
    inputs = symbolic()
    masked = tf.keras.layers.Lambda(lambda ids: tf.identity(ids), mask=lambda ids, mask: ids > 0)(inputs[0])
    assert masked._keras_mask is not None
    scores = model(masked, inputs[1])
    assert getattr(scores, "_keras_mask", None) is None
    found = tf.keras.Model(inputs, scores)([IDS, TIMES])
    np.testing.assert_allclose(found, model(IDS, TIMES), rtol=1e-5, atol=1e-6)


def test_distribute_strategy_is_the_one_of_the_scope():
    assert made().distribute_strategy is tf.distribute.get_strategy()
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        model = made()
    assert model.distribute_strategy is strategy
    scores = strategy.run(model, (tf.constant(IDS), tf.constant(TIMES)))
    np.testing.assert_allclose(scores, made()(IDS, TIMES), rtol=1e-5, atol=1e-6)


def test_input_and_output_are_those_of_the_symbolic_call():
    model = made(built=False)
    for member in ("input", "output"):
        with pytest.raises(AttributeError, match=model.name):
            getattr(model, member)
    ids, times = symbolic()
    scores = model(ids, times)
    assert [given is found for given, found in zip((ids, times), model.input)] == [True, True]
    assert model.output is scores
    assert model.output.shape.as_list() == [None, D]
    assert tf.keras.Model(model.input, model.output)([IDS, TIMES]).shape == (B, D)


def test_input_spec_states_rank_and_history_length(model):
    spec = model.input_spec
    assert isinstance(spec, tf.keras.layers.InputSpec)
    assert (spec.ndim, spec.axes) == (2, {-1: H})


def test_input_spec_is_enforced_by_keras_for_either_input(model):
    one_column = tf.keras.layers.Lambda(lambda pair: model(pair))
    with pytest.raises(ValueError, match=r"c_time_history must have shape \(batch, 5\), got \(None, 4\)"):
        one_column([tf.keras.Input((H,), dtype=tf.int32), tf.keras.Input((4,))])
    # What Keras does with it, behind the model's own check.
    with pytest.raises(ValueError, match=f"expected axis -1 of input shape to have value {H}"):
        tf.keras.Model.__call__(model, tf.constant(IDS[:, :2]), tf.constant(TIMES))
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=1"):
        tf.keras.Model.__call__(model, tf.constant(IDS[0]), tf.constant(TIMES))


def test_layers_are_two_tables_and_the_encoder(model):
    assert [layer.name for layer in model.layers] == ["doc_prop_embedding", "doc_embedding", "recs"]
    kinds = [tf.keras.layers.Embedding, tf.keras.layers.Embedding, tf.keras.Sequential]
    assert all(isinstance(layer, kind) for layer, kind in zip(model.layers, kinds))
    dense, leaky, last = model.layers[2].layers
    assert dense.units == 32
    assert leaky.alpha == np.float32(0.3)
    assert (last.units, last.name) == (E, "hist_emb_layer")


def test_get_layer_by_name_or_index(model):
    for index, name in enumerate(["doc_prop_embedding", "doc_embedding", "recs"]):
        assert model.get_layer(name) is model.get_layer(index=index) is model.layers[index]
    assert model.get_layer("recs", index=0) is model.layers[0]  # the index takes precedence
    with pytest.raises(ValueError, match="No such layer: absent"):
        model.get_layer("absent")
    with pytest.raises(ValueError, match="index 3 but model only has 3 layers"):
        model.get_layer(index=3)
    with pytest.raises(ValueError, match="Provide either a layer name or layer index"):
        model.get_layer()


def test_submodules_are_the_layers_and_theirs(model):
    found = {module.name for module in model.submodules}
    assert {"doc_embedding", "doc_prop_embedding", "recs", "hist_emb_layer"} <= found
    assert model not in model.submodules
    # tf.Module's order of variables, which the configuration function returns.
    p, q, w1, b1, w2, b2 = model.weights
    found = tf.Module.trainable_variables.fget(model)
    assert [id(variable) for variable in found] == [id(weight) for weight in (q, p, w2, b2, w1, b1)]


def test_weights_trainable_weights_and_non_trainable_weights(model):
    assert [tuple(weight.shape) for weight in model.weights] == SHAPES
    assert [id(weight) for weight in model.trainable_weights] == [id(weight) for weight in model.weights]
    assert model.non_trainable_weights == []
    p, q, w1, b1, w2, b2 = model.weights
    assert p is model.get_layer("doc_prop_embedding").embeddings
    assert q is model.get_layer("doc_embedding").embeddings
    first, _, last = model.get_layer("recs").layers
    assert [w1 is first.kernel, b1 is first.bias, w2 is last.kernel, b2 is last.bias] == [True] * 4
    frozen = made()
    frozen.get_layer("doc_embedding").trainable = False
    assert [tuple(weight.shape) for weight in frozen.trainable_weights] == [SHAPES[0], *SHAPES[2:]]
    assert len(frozen.non_trainable_weights) == 1
    with pytest.raises(ValueError, match="not yet been created"):
        _ = made(built=False).weights


def test_losses_and_add_loss():
    model = made()
    model.add_loss(lambda: 2.0 * tf.reduce_sum(model.weights[5]))
    model.add_loss([lambda: tf.constant(3.0)])
    bias = model.get_weights()[5]
    np.testing.assert_allclose(model.losses, [2.0 * bias.sum(), 3.0], rtol=1e-5)
    model(IDS, TIMES)
    with tf.GradientTape() as tape:
        total = tf.add_n(model.losses)
    np.testing.assert_array_equal(tape.gradient(total, model.weights[5]), np.full(E, 2.0, np.float32))


def test_losses_of_regularized_weights_are_their_layers():
    model = made()
    model.get_layer("recs").layers[0].add_loss(lambda: tf.reduce_sum(model.weights[2] ** 2))
    np.testing.assert_allclose(model.losses, [(model.get_weights()[2] ** 2).sum()], rtol=1e-5)


class Reporting(CollabFilteringModel):
    def call(self, doc_id_history, c_time_history=None, training=None, mask=None):
        scores = super().call(doc_id_history, c_time_history, training=training, mask=mask)
        self.add_loss(0.5 * tf.reduce_mean(scores**2))
        self.add_metric(tf.reduce_max(scores), name="best")
        return scores


def test_add_loss_in_call_is_that_of_the_last_call():
    model = made(cls=Reporting)
    for rows in (B, 2):
        scores = model(IDS[:rows], TIMES[:rows]).numpy()
        np.testing.assert_allclose(model.losses, [0.5 * (scores**2).mean()], rtol=1e-5)


def test_metrics_metrics_names_and_add_metric():
    plain = made()
    assert plain.metrics == []
    assert plain.metrics_names == []
    model = made(cls=Reporting)
    best = [model(IDS[:rows], TIMES[:rows]).numpy().max() for rows in (B, 1)]
    assert [metric.name for metric in model.metrics] == model.metrics_names == ["best"]
    np.testing.assert_allclose(model.metrics[0].result(), np.mean(best), rtol=1e-6)
    with pytest.raises(ValueError, match="name"):
        tf.keras.Model.add_metric(plain, tf.constant(1.0), name=None)


# Building and shapes.


@pytest.mark.parametrize(
    "shape",
    [
        (None, H),
        [None, H],
        (B, H),
        (None, None),
        tf.TensorShape([None, H]),
        [(None, H), (None, H)],
        ((B, H), (B, H)),
        [tf.TensorShape([None, H]), [None, H]],
        {"doc_id_history": (None, H), "c_time_history": tf.TensorShape([3, H])},
    ],
)
def test_build_takes_every_form_of_shape(shape):
    model = made(built=False)
    model.build(shape)
    assert model.built
    assert [tuple(weight.shape) for weight in model.weights] == SHAPES
    weights = model.get_weights()
    model.build(shape)  # a second time changes nothing
    model(IDS, TIMES)
    assert len(model.weights) == 6
    for before, after in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "cannot build from the shape None"),
        ("text", "cannot build from the shape 'text'"),
        ([], "cannot build from the shape"),
        (5, "cannot build from the shape 5"),
        ((None, H + 1), r"doc_id_history must have shape \(batch, 5\), got \(None, 6\)"),
        ([(None, H), (None, 2)], r"c_time_history must have shape \(batch, 5\), got \(None, 2\)"),
        ({"doc_id_history": (None, H)}, "the dict of inputs lacks c_time_history"),
        (tf.TensorShape(None), "cannot build from the shape"),
        ([(None, H)] * 3, "expected one shape or two, got 3"),
    ],
)
def test_build_raises_value_error_and_stays_unbuilt(shape, message):
    model = made(built=False)
    with pytest.raises(ValueError, match=message):
        model.build(shape)
    assert not model.built


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        ((None, H), None),
        ((6, H), 6),
        ([(6, H), (6, H)], 6),
        ({"c_time_history": (6, H), "doc_id_history": (6, H)}, 6),
        (tf.TensorShape([None, H]), None),
    ],
)
def test_compute_output_shape_builds(shape, batch):
    model = made(built=False)
    assert model.compute_output_shape(shape).as_list() == [batch, D]
    assert len(model.weights) == 6
    with pytest.raises(ValueError, match="doc_id_history must have shape"):
        model.compute_output_shape((None, H + 2))


def test_compute_mask_is_none_whatever_comes(model):
    assert model.compute_mask([IDS, TIMES]) is None
    assert model.compute_mask([IDS, TIMES], mask=[IDS > 0, None]) is None
    assert model.compute_mask(None, mask=tf.ones((B, H), tf.bool)) is None


def test_count_params_needs_weights(model):
    assert model.count_params() == sum(int(np.prod(shape)) for shape in SHAPES)
    with pytest.raises(ValueError, match="isn't built"):
        made(built=False).count_params()


def printed(model, **options):
    lines = []
    model.summary(print_fn=lambda line, line_break=None: lines.append(line), **options)
    return "\n".join(lines)


@pytest.mark.parametrize("how", ["build", "call", "symbolic"])
def test_summary_lists_layers_with_a_free_batch(how):
    model = made(built=False)
    with pytest.raises(ValueError, match="not yet been built"):
        model.summary()
    if how == "build":
        model.build((None, H))
    elif how == "call":
        model(IDS, TIMES)
    else:
        model(*symbolic())
    text = printed(model)
    assert f"({B}, " not in text
    assert f"(None, {E})" in text
    assert f"Total params: {model.count_params()}" in text
    for layer in ("doc_prop_embedding", "doc_embedding", "recs (Sequential)"):
        assert layer in text
    assert "hist_emb_layer" not in text
    assert "(None, 32)" not in text


def test_summary_takes_its_options(model, capsys):
    model.summary()
    assert "Total params" in capsys.readouterr().out
    nested = printed(model, expand_nested=True)
    assert "hist_emb_layer (Dense)" in nested
    assert "(None, 32)" in nested
    model.get_layer("recs").trainable = False
    try:
        assert printed(model, show_trainable=True).split("recs (Sequential)")[1].split("\n")[0].split()[-1] == "N"
    finally:
        model.get_layer("recs").trainable = True
    assert max(len(line) for line in printed(model, line_length=90).split("\n")) == 90
    assert printed(model, line_length=90, positions=[0.2, 0.8, 1.0, 1.0]) != printed(model, line_length=90)


def test_summary_of_a_functional_model_around_it_shows_scores(model):
    inputs = symbolic()
    assert f"(None, {D})" in printed(tf.keras.Model(inputs, model(inputs)))


# Configuration.


def test_get_config_and_from_config_keep_every_option():
    model = made(
        built=False, name="mine", dtype="mixed_bfloat16", trainable=False, proposal_stddev=0.1, mask_null_documents=True
    )
    config = model.get_config()
    assert config == {
        "num_users": 9,
        "num_docs": D,
        "doc_embed_dim": E,
        "history_length": H,
        "proposal_stddev": 0.1,
        "mask_null_documents": True,
        "name": "mine",
        "trainable": False,
        "dtype": "mixed_bfloat16",
    }
    assert json.loads(json.dumps(config)) == config
    kept = dict(config)
    again = CollabFilteringModel.from_config(config, custom_objects={})
    assert config == kept
    assert again.get_config() == config
    assert not again.built
    assert CollabFilteringModel(np.int64(9), D, E, H).get_config()["num_users"].__class__ is int


def test_from_config_of_a_subclass_makes_the_subclass():
    class Other(CollabFilteringModel):
        pass

    assert type(Other.from_config(made().get_config())) is Other


def test_to_json_and_model_from_json_need_no_custom_objects(model):
    text = model.to_json(indent=3, sort_keys=True)
    assert '\n   "class_name"' in text
    assert json.loads(text)["config"] == model.get_config()
    again = tf.keras.models.model_from_json(text)
    assert type(again) is CollabFilteringModel
    assert again.get_config() == model.get_config()
    again.build((None, H))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(IDS, TIMES), model(IDS, TIMES))


@pytest.mark.slow
def test_to_json_of_a_functional_model_around_two_instances(model):
    inputs = symbolic()
    outer = tf.keras.Model(inputs, model(*inputs) - made()(inputs))
    again = tf.keras.models.model_from_json(outer.to_json())
    again.set_weights([weight * (1.0 + index) for index, weight in enumerate(outer.get_weights())])
    outer.set_weights(again.get_weights())
    np.testing.assert_array_equal(again([IDS, TIMES]), outer([IDS, TIMES]))


def test_to_json_clone_model_makes_new_weights(model):
    clone = tf.keras.models.clone_model(model)
    assert clone.get_config() == model.get_config()
    clone.build((None, H))
    assert np.abs(clone(IDS, TIMES) - model(IDS, TIMES)).max() > 0.1
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(IDS, TIMES), model(IDS, TIMES))


def test_to_yaml_raises_runtime_error(model):
    with pytest.raises(RuntimeError, match="security risk"):
        model.to_yaml()


# Name scopes.


@pytest.mark.parametrize("decorator", [CollabFilteringModel.with_name_scope, tf.Module.with_name_scope])
def test_with_name_scope_names_variables_under_the_model(decorator):
    class Extended(CollabFilteringModel):
        @decorator
        def scale(self, start, *, factor=1.0):
            """Doc of scale."""
            if not hasattr(self, "factor"):
                self.factor = tf.Variable(start, name="factor")
            return factor * self.factor

    model = made(cls=Extended, name="scorer")
    assert float(model.scale(3.0, factor=2.0)) == 6.0
    assert model.factor.name == "scorer/factor:0"
    assert Extended.scale.__doc__ == "Doc of scale."
    with tf.name_scope("outer"):  # as tf.Module: the scope does not depend on where the method is called
        assert made(cls=Extended, name="inner").scale(1.0) == 1.0

    @tf.function
    def twice():
        return model.scale(0.0) + model.scale(0.0)

    assert float(twice()) == 6.0
    multiplied = [op.name for op in twice.get_concrete_function().graph.get_operations() if op.type == "Mul"]
    assert len(multiplied) == 2
    assert all(name.startswith("scorer/") for name in multiplied)


def test_name_scope_can_be_entered_again_and_again():
    model = made(name="scorer")
    for _ in range(2):
        assert isinstance(model.name_scope, tf.name_scope)
        with model.name_scope as scope:
            assert scope == "scorer/"
            assert tf.Variable(0.0, name="v").name == "scorer/v:0"


def test_call_signatures_accept_functools_partial(model):
    np.testing.assert_array_equal(functools.partial(model, c_time_history=TIMES)(IDS), model(IDS, TIMES))
