"""The model's numbers, sizes, and what it refuses; the complete Keras surface has files of its own."""

import json

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.scoring import CollabFilteringModel

B, D, E, H = 4, 7, 3, 5
RANDOM = np.random.RandomState(0)
IDS = RANDOM.randint(0, D + 1, (B, H)).astype(np.int32)
TIMES = RANDOM.uniform(-1.0, 2.0, (B, H)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    tf.keras.utils.set_random_seed(3)
    made = CollabFilteringModel(9, D, E, H)
    made.build([(None, H), (None, H)])
    made.set_weights([RANDOM.normal(size=weight.shape) for weight in made.get_weights()])
    return made


def oracle(model, ids, times):
    """The definition, in NumPy float64, slot by slot."""
    p, q, w1, b1, w2, b2 = (weight.astype(np.float64) for weight in model.get_weights())
    scores = np.zeros((len(ids), D))
    for row in range(len(ids)):
        x = np.concatenate([np.append(q[doc], time) for doc, time in zip(ids[row], times[row])])
        hidden = x @ w1 + b1
        embedded = np.where(hidden > 0, hidden, 0.3 * hidden) @ w2 + b2
        scores[row] = [embedded @ p[doc] for doc in range(1, D + 1)]
    return scores


def test_scores_are_those_of_the_definition(model):
    np.testing.assert_allclose(model(IDS, TIMES), oracle(model, IDS, TIMES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("sizes", "count"), [((1, 6, 8, 5), 1848), ((1, 100, 32, 15), 23392)])
def test_sizes_order_and_names_of_the_weights(sizes, count):
    _, docs, embed, history = sizes
    model = CollabFilteringModel(*sizes)
    model.build((None, history))
    rows = docs + 1
    shapes = [(rows, embed), (rows, embed), (history * (embed + 1), 32), (32,), (32, embed), (embed,)]
    assert [tuple(weight.shape) for weight in model.weights] == shapes
    assert model.count_params() == count == 2 * rows * embed + 32 * history * (embed + 1) + 32 + 32 * embed + embed
    assert [layer.name for layer in model.layers] == ["doc_prop_embedding", "doc_embedding", "recs"]
    assert model.get_layer("recs").layers[-1].name == "hist_emb_layer"
    assert all(weight.dtype == tf.float32 for weight in model.weights)


def test_initial_weights_follow_the_stated_laws():
    tf.keras.utils.set_random_seed(0)
    model = CollabFilteringModel(1, 2000, 32, 15, proposal_stddev=0.1)
    model.build((None, 15))
    p, q, w1, b1, w2, b2 = model.get_weights()
    # 64,000 draws: the standard error of a standard deviation of 0.88 is 0.0025.
    assert abs(q.std() - 0.88) < 0.01
    assert abs(p.std() - 0.088) < 0.001
    assert np.abs(q).max() <= 2.0
    assert np.abs(p).max() <= 0.2
    for kernel in (w1, w2):
        limit = np.sqrt(6.0 / sum(kernel.shape))
        assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not b1.any()
    assert not b2.any()


def test_any_number_of_rows_which_are_independent(model):
    whole = model(IDS, TIMES)
    for rows in range(B + 1):
        part = model(IDS[:rows], TIMES[:rows])
        assert part.shape == (rows, D)
        np.testing.assert_allclose(part, whole[:rows], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_forms_of_call_are_equal(model):
    expected = model(IDS, TIMES)
    ids, times = tf.constant(IDS), tf.constant(TIMES)
    named = {"doc_id_history": ids, "c_time_history": times}
    forms = [
        model(ids, times),
        model((ids, times)),
        model([IDS, TIMES]),
        model(named),
        model(**named),
        model(ids, times, training=True),
        model.call(ids, times),
        model(IDS.astype(np.int64), TIMES.astype(np.float64)),
        tf.function(model, input_signature=[tf.TensorSpec([None, H], tf.int32), tf.TensorSpec([None, H])])(ids, times),
    ]
    for scores in forms:
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tf.function(model, jit_compile=True)(ids, times), expected, rtol=1e-4, atol=1e-4)


def test_config_round_trip(model):
    config = model.get_config()
    assert json.loads(json.dumps(config)) == config
    again = CollabFilteringModel.from_config(config)
    assert again.get_config() == config
    again.build((None, H))
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(IDS, TIMES), model(IDS, TIMES))
    assert CollabFilteringModel(1, 2, 3, 4, name="mine", dtype="float64").get_config()["dtype"] == "float64"


def test_names_are_unique_unless_given():
    names = {CollabFilteringModel(1, 2, 3, 4).name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("CollabFilteringModel") for name in names)
    assert CollabFilteringModel(1, 2, 3, 4, name="scores").name == "scores"


@pytest.mark.parametrize("argument", ["num_users", "num_docs", "doc_embed_dim", "history_length"])
@pytest.mark.parametrize("given", [0, -1, 2.0, "3", None, True])
def test_fault_no_checks_in_the_constructor(argument, given):
    sizes = {"num_users": 1, "num_docs": 2, "doc_embed_dim": 3, "history_length": 4, argument: given}
    with pytest.raises(validation.InvalidInputError, match=f"{argument} must be an integer of at least 1, got"):
        CollabFilteringModel(**sizes)


@pytest.mark.parametrize("given", [0.0, -1.0, float("nan"), "a"])
def test_the_proposal_deviation_must_be_positive(given):
    with pytest.raises(validation.InvalidInputError, match="proposal_stddev must be a finite number above 0"):
        CollabFilteringModel(1, 2, 3, 4, proposal_stddev=given)


@pytest.mark.parametrize(
    ("ids", "times", "error", "message"),
    [
        (IDS[:, :3], TIMES[:, :3], ValueError, r"doc_id_history must have shape \(batch, 5\), got \(4, 3\)"),
        (IDS, TIMES[:, :3], ValueError, r"c_time_history must have shape \(batch, 5\), got \(4, 3\)"),
        (IDS[0], TIMES[0], ValueError, r"doc_id_history must have shape \(batch, 5\), got \(5,\)"),
        (TIMES, IDS, TypeError, "doc_id_history must be an integer tensor, got float32"),
        (IDS.astype(np.float32), TIMES, TypeError, "doc_id_history must be an integer tensor, got float32"),
        (IDS, None, ValueError, "c_time_history is missing"),
        ((IDS, TIMES, TIMES), None, ValueError, r"must be the pair \(doc_id_history, c_time_history\), got 3"),
        ({"doc_id_history": IDS}, None, ValueError, "the dict of inputs lacks c_time_history"),
    ],
)
def test_fault_wrong_inputs_are_silently_accepted(ids, times, error, message):
    fresh = CollabFilteringModel(1, D, E, H)
    with pytest.raises(error, match=message):
        fresh(ids, times)


@pytest.mark.slow
@pytest.mark.parametrize("bad_id", [-1, D + 1, 1000])
def test_fault_ids_out_of_range_score_another_document(model, bad_id):
    ids = IDS.copy()
    ids[1, 2] = bad_id
    for call in (model, tf.function(model)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"doc_id_history must be between 0 and {D}"):
            call(tf.constant(ids), tf.constant(TIMES))
    scores = tf.function(model, jit_compile=True)(tf.constant(ids), tf.constant(TIMES)).numpy()
    assert np.isnan(scores[1]).all()
    others = [0, 2, 3]
    np.testing.assert_allclose(scores[others], model(IDS, TIMES).numpy()[others], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [None, "text", (None, H + 1), [(None, H), (None, 3)], (None, H, 2)])
def test_build_refuses_what_is_no_shape_of_its_inputs(shape):
    with pytest.raises(ValueError, match="shape"):
        CollabFilteringModel(1, D, E, H).build(shape)


@pytest.mark.parametrize(
    "shape", [(None, H), [(None, H), (7, H)], {"doc_id_history": (None, H), "c_time_history": (None, H)}]
)
def test_build_takes_any_form_of_shape(shape):
    model = CollabFilteringModel(1, D, E, H)
    model.build(shape)
    assert len(model.weights) == 6
    assert model.compute_output_shape(shape).as_list()[1] == D
    assert model.compute_mask(None) is None


def test_gradients_reach_every_weight(model):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(IDS, TIMES) ** 2)
    for gradient in tape.gradient(loss, model.trainable_weights):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0
