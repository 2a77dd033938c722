"""Probabilities of parts of a slate against enumeration of all slates."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.distributions import slate_marginals
from recsys_po_rl.distributions.top_k_plackett_luce import TopKPlackettLuce


def enumerated(logits, slate_size):
    """Probability of every slate of a row of logits, by its definition."""
    mass = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    probabilities = {}
    for slate in itertools.permutations(range(len(mass)), slate_size):
        probability, left = 1.0, list(range(len(mass)))
        for place in slate:
            probability *= mass[place] / sum(mass[i] for i in left)
            left.remove(place)
        probabilities[slate] = probability
    return probabilities


LOGITS = [[0.3, -1.0, 2.0, 0.0, 1.5], [4.0, -np.inf, 0.5, 0.25, -3.0]]


@pytest.mark.parametrize("slate_size", [1, 2, 3, 4])
@pytest.mark.parametrize("row", LOGITS)
def test_prefixes_and_slots_agree_with_enumeration(row, slate_size):
    all_slates = enumerated(row, slate_size)
    slates = np.array(list(all_slates), np.int32)
    distribution = TopKPlackettLuce(np.tile(np.array(row), (len(slates), 1)), slate_size)
    prefixes = np.exp(distribution.prefix_log_probs(slates))
    items = distribution.slot_probabilities(slates).numpy()
    for slate, prefix, item in zip(all_slates, prefixes, items):
        for slot in range(slate_size):
            first = sum(p for other, p in all_slates.items() if other[: slot + 1] == slate[: slot + 1])
            np.testing.assert_allclose(prefix[slot], first, rtol=1e-12, atol=1e-15)
            here = sum(p for other, p in all_slates.items() if other[slot] == slate[slot])
            np.testing.assert_allclose(item[slot], here, rtol=1e-12, atol=1e-15)
    possible = [i for i, probability in enumerate(all_slates.values()) if probability > 0]
    log_prob = TopKPlackettLuce(np.array(row, np.float32), slate_size).log_prob(slates[possible])
    np.testing.assert_allclose(np.log(prefixes[possible, -1]), log_prob, rtol=1e-5)


def test_three_documents_by_hand():
    distribution = TopKPlackettLuce(np.log([[0.5, 0.3, 0.2]]), 2)
    np.testing.assert_allclose(np.exp(distribution.prefix_log_probs([[1, 0]])), [[0.3, 0.3 * 0.5 / 0.7]])
    second = 0.3 * 0.5 / 0.7 + 0.2 * 0.5 / 0.8
    np.testing.assert_allclose(distribution.slot_probabilities([[1, 0]]), [[0.3, second]])


def test_a_document_that_holds_nearly_all_the_mass_leaves_the_others_exact():
    # 1 - p of the first document is 3e-30, which 1 - exp(log p) rounds to 0. The second slot is a choice of 1 : 2.
    distribution = TopKPlackettLuce(np.log([[1.0, 1e-30, 2e-30]]), 2)
    np.testing.assert_allclose(distribution.slot_probabilities([[0, 1]])[0], [1.0, 1 / 3], rtol=1e-14)
    np.testing.assert_allclose(np.exp(distribution.prefix_log_probs([[0, 2]]))[0], [1.0, 2 / 3], rtol=1e-14)


def test_a_pool_is_indexed_by_its_own_places():
    columns, logits = [3, 0, 2], np.array([LOGITS[0]])
    pool = TopKPlackettLuce(logits, 2, columns=columns)
    whole = TopKPlackettLuce(logits[:, columns], 2)
    slates = np.array(list(itertools.permutations(range(3), 2)), np.int32)[:, np.newaxis]
    for slate in slates:
        np.testing.assert_allclose(pool.prefix_log_probs(slate), whole.prefix_log_probs(slate), rtol=1e-12)
        np.testing.assert_allclose(pool.slot_probabilities(slate), whole.slot_probabilities(slate), rtol=1e-12)


def test_equal_logits_are_exact_in_every_slot():
    slate = np.array([[7, 3, 90, 41]], np.int32)
    distribution = TopKPlackettLuce(np.full((1, 100), 0.3, np.float32), 4)
    expected = np.cumprod(1.0 / np.arange(100, 96, -1))
    np.testing.assert_allclose(np.exp(distribution.prefix_log_probs(slate))[0], expected, rtol=1e-14)
    np.testing.assert_allclose(distribution.slot_probabilities(slate)[0], [0.01] * 4, rtol=1e-14)


def test_later_slots_of_many_documents_are_unknown():
    num_docs = 65
    assert num_docs**2 > slate_marginals.MAX_MARGINAL_TERMS
    logits = tf.random.stateless_normal((2, num_docs), (1, 2))
    items = TopKPlackettLuce(logits, 3).slot_probabilities([[0, 1, 2], [5, 4, 3]]).numpy()
    assert np.isfinite(items[:, :2]).all()
    assert np.isnan(items[:, 2]).all()


def test_unavailable_and_repeated_documents_have_no_probability():
    prefixes = np.exp(slate_marginals.prefix_log_probs(tf.constant(LOGITS[1:]), tf.constant([[0, 0, 1]])))[0]
    assert prefixes[0] > 0.9
    assert prefixes[1:].tolist() == [0, 0]
    assert np.exp(slate_marginals.slot_log_probs(tf.constant(LOGITS[1:]), tf.constant([[1, 1]]))).tolist() == [[0, 0]]


def test_frequencies_of_draws():
    num_draws = 40_000  # standard errors of at most 0.0025
    distribution = TopKPlackettLuce(np.array(LOGITS[0], np.float32), 3)
    slates = distribution.sample(num_draws, seed=(1, 2)).numpy()
    for slate in ([2, 4, 0], [3, 2, 1]):
        items = TopKPlackettLuce(np.array([LOGITS[0]]), 3).slot_probabilities([slate]).numpy()[0]
        np.testing.assert_allclose((slates == slate).mean(axis=0), items, atol=0.01)
        prefixes = np.exp(TopKPlackettLuce(np.array([LOGITS[0]]), 3).prefix_log_probs([slate]))[0]
        shown = [(slates[:, : slot + 1] == slate[: slot + 1]).all(axis=1).mean() for slot in range(3)]
        np.testing.assert_allclose(shown, prefixes, atol=0.01)
