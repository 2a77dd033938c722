"""The scorer of recommenders that see the interest: its formula, shapes, what it depends on, configs and errors."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.scoring.interest import InterestModel

B, K, D, E, HIDDEN = 5, 3, 7, 4, 6
RANDOM = np.random.RandomState(3)
INTEREST = RANDOM.normal(size=(B, K)).astype(np.float32)
STEPS = np.array([0, 3, 50, 99, 100], np.int32)


@pytest.fixture(scope="module")
def model():
    tf.keras.utils.set_random_seed(1)
    made = InterestModel(K, D, E, hidden_units=HIDDEN)
    made.set_weights([weight + 0.3 * RANDOM.normal(size=weight.shape) for weight in made.get_weights()])
    return made


def test_scores_are_what_the_docstring_says(model):
    first, bias = model.get_layer("hidden").get_weights()
    second, shift = model.get_layer("user_embedding").get_weights()
    (table,) = model.get_layer("doc_prop_embedding").get_weights()
    (of_documents,) = model.get_layer("doc_bias").get_weights()
    expected = np.zeros((B, D))
    for row in range(B):
        seen = np.append(INTEREST[row], STEPS[row] / 100.0)
        hidden = seen @ first + bias
        hidden = np.where(hidden > 0.0, hidden, 0.3 * hidden)
        embedding = hidden @ second + shift
        for doc in range(D):  # ids from 1
            expected[row, doc] = embedding @ table[doc + 1] + of_documents[doc]
    scores = model(INTEREST, STEPS)
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_any_number_of_rows_can_be_scored(model, rows):
    scores = model(INTEREST[:rows], STEPS[:rows])
    assert scores.shape == (rows, D)
    np.testing.assert_allclose(scores, model(INTEREST, STEPS)[:rows], rtol=1e-5, atol=1e-6)


def test_interest_and_step_matter_and_rows_are_independent(model):
    base = model(INTEREST, STEPS).numpy()
    other_interest, other_steps = INTEREST.copy(), STEPS.copy()
    other_interest[1, 2] += 1.0
    other_steps[3] += 40
    by_interest, by_step = model(other_interest, STEPS).numpy(), model(INTEREST, other_steps).numpy()
    for changed, found in ((1, by_interest), (3, by_step)):
        moved = np.abs(found - base).max(axis=1)
        assert moved[changed] > 1e-3
        np.testing.assert_allclose(np.delete(moved, changed), 0.0, atol=1e-6)


def test_gradients_reach_every_weight(model):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(INTEREST, STEPS) ** 2)
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0, weight.name


def test_it_has_its_weights_from_the_start_and_begins_nearly_uniform():
    tf.keras.utils.set_random_seed(2)
    made = InterestModel(K, D, E)
    size = K + 2  # interest, time and the bias
    assert made.count_params() == size * 64 + (64 + 1) * E + (D + 1) * E + D
    probabilities = tf.nn.softmax(made(INTEREST, STEPS)).numpy()
    np.testing.assert_allclose(probabilities, 1.0 / D, rtol=0.5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_scores_are_the_same(model, jit_compile):
    compiled = tf.function(model, jit_compile=jit_compile)
    np.testing.assert_allclose(compiled(INTEREST, STEPS), model(INTEREST, STEPS), rtol=1e-4, atol=1e-5)


def test_an_equal_model_is_made_from_its_config(model, tmp_path):
    config = model.get_config()
    assert {key: config[key] for key in ("num_topics", "num_docs", "doc_embed_dim", "hidden_units")} == {
        "num_topics": K, "num_docs": D, "doc_embed_dim": E, "hidden_units": HIDDEN,
    }  # fmt: skip
    again = InterestModel.from_config(config)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(INTEREST, STEPS), model(INTEREST, STEPS))


def test_it_can_be_saved_and_loaded(model, tmp_path):
    model(INTEREST, STEPS)
    model.save(tmp_path / "policy.keras")
    loaded = tf.keras.models.load_model(tmp_path / "policy.keras")
    np.testing.assert_array_equal(loaded(INTEREST, STEPS), model(INTEREST, STEPS))


def test_the_spread_of_the_first_table_is_the_one_asked_for():
    spreads = [
        np.std(InterestModel(K, 400, 20, proposal_stddev=stddev).get_layer("doc_prop_embedding").get_weights()[0])
        for stddev in (0.05, 1.0)
    ]
    np.testing.assert_allclose(spreads, np.array([0.05, 1.0]) * 0.8796, rtol=0.05)  # of a normal law cut at 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_topics": 0}, "num_topics must be an integer of at least 1, got 0"),
        ({"num_docs": 0}, "num_docs must be an integer of at least 1, got 0"),
        ({"doc_embed_dim": 2.5}, "doc_embed_dim must be an integer of at least 1, got 2.5"),
        ({"hidden_units": 0}, "hidden_units must be an integer of at least 1, got 0"),
        ({"proposal_stddev": 0.0}, "proposal_stddev must be a finite number above 0, got 0.0"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(validation.InvalidInputError) as error:
        functools.partial(InterestModel, **{"num_topics": K, "num_docs": D, "doc_embed_dim": E, **options})()
    assert gin_config.first_line(error.value) == f"InterestModel: {message}"
