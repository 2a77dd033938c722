"""Fewer finite logits than a slate has places: an error, and under XLA a NaN that the runtime names."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import fields, recommender, simulation_config
from recsys_po_rl.distributions import top_k_plackett_luce
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

INF = np.inf
TOO_FEW = {
    "one of two": [[0.5, -INF, -INF, -INF], [0.0, 1.0, 2.0, 3.0]],
    "none of two": [[0.0, 1.0, 2.0, 3.0], [-INF] * 4],
    "none in any row": [[-INF] * 4] * 2,
}
MESSAGE = "a slate of 2 needs as many documents with a finite logit"


def draw(logits, **more):
    return top_k_plackett_luce.TopKPlackettLuce(tf.constant(logits, tf.float32), 2, **more).sample(seed=[1, 2])


@pytest.mark.parametrize("rows", TOO_FEW)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_sampling_raises(rows, compiled):
    sample = tf.function(draw) if compiled else draw
    with pytest.raises(tf.errors.InvalidArgumentError, match=MESSAGE):
        sample(TOO_FEW[rows])


def test_sampling_raises_where_too_few_are_in_the_pool():
    logits = [[0.0, 1.0, -INF, -INF, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0]]
    with pytest.raises(tf.errors.InvalidArgumentError, match=MESSAGE):
        draw(logits, columns=[0, 2, 3])
    assert draw(logits, columns=[4, 2, 0]).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("rows", TOO_FEW)
def test_under_xla_the_slates_are_minus_one_and_the_witness_nan(rows):
    @tf.function(jit_compile=True)
    def sample(logits):
        law = top_k_plackett_luce.TopKPlackettLuce(logits, 2)
        drawn = law.sample(seed=[1, 2])
        return drawn, law.nan_witness(drawn)

    logits = np.array(TOO_FEW[rows], np.float32)
    drawn, witness = sample(logits)
    possible = np.isfinite(logits).sum(axis=1) >= 2
    assert np.all((np.asarray(drawn) >= 0).all(axis=1) == possible)
    assert np.all(np.isnan(witness))
    _, witness = sample(np.array([[0.0, 1.0, -INF, -INF], [0.0, 1.0, 2.0, 3.0]], np.float32))
    assert not np.any(np.isnan(witness))


@pytest.mark.parametrize("rows", TOO_FEW)
@pytest.mark.parametrize("method", ["log_prob", "mode"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_log_prob_and_mode_raise(rows, method, compiled):
    def call(logits):
        law = top_k_plackett_luce.TopKPlackettLuce(logits, 2)
        return law.mode() if method == "mode" else law.log_prob([[0, 1], [1, 2]])

    with pytest.raises(tf.errors.InvalidArgumentError, match=MESSAGE):
        (tf.function(call) if compiled else call)(tf.constant(TOO_FEW[rows], tf.float32))


def test_rows_with_exactly_enough_documents_draw_all_of_them():
    logits = tf.constant([[-INF, 3.0, -INF, -70.0], [200.0, -INF, -200.0, -INF]])
    law = top_k_plackett_luce.TopKPlackettLuce(logits, 2)
    drawn = law.sample(20, seed=[3, 4]).numpy()
    np.testing.assert_array_equal(np.sort(drawn, axis=-1), np.broadcast_to([[1, 3], [0, 2]], (20, 2, 2)))
    assert np.all(np.isfinite(law.log_prob(drawn)))
    np.testing.assert_array_equal(law.mode(), [[1, 3], [0, 2]])


def test_a_nan_among_logits_still_gives_nan():
    law = top_k_plackett_luce.TopKPlackettLuce([[np.nan, 0.0, 1.0], [2.0, 0.0, 1.0]], 2)
    found = law.log_prob([[1, 2], [0, 1]])
    np.testing.assert_array_equal(np.isnan(found), [True, False])


class _FewDocuments(UniformRandomRecommender):
    """Offers one document only, from the second step on."""

    def slate_ranks(self, previous_state, user_obs, available_docs):
        clicked = tf.reduce_any(tf.convert_to_tensor(previous_state.get(fields.DOC_HISTORY)) > 0)
        row = tf.where(clicked & (tf.range(self._num_docs) > 0), -INF, 0.0)
        return recommender.top_k_plackett_luce(
            logits=tf.broadcast_to(row, (self._num_users, self._num_docs)), slate_size=self._slate_size
        )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_the_runtime_raises(mode):
    network = simulation_config.create_interest_evolution_simulation_network(
        num_users=3, num_topics=4, num_docs=5, history_length=2, corpus_seed=1, recommender_ctor=_FewDocuments,
        user_ctor=functools.partial(simulation_config.InterestEvolutionUser, no_click_mass=-INF),
    )  # fmt: skip
    runtime = SeededRuntime(network.variables, mode=mode)
    message = r"'slate docs' \(entity _FewDocuments\), a slate that needs as many documents with a finite logit"
    with pytest.raises(FloatingPointError, match=message):
        runtime.trajectory(4, keys=seeding.make_keys(1), record={fields.METRICS_STATE: [fields.REWARD]})
