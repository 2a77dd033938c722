"""Hit rate and NDCG: values worked by hand, a slow oracle over orders of ties, random rankings."""

import itertools

import numpy as np
import pytest

from recsys_po_rl.evaluation import ranking

SCORES = np.array([[0.5, 2.0, 1.0, -1.0], [3.0, 3.0, 3.0, 0.0], [0.0, 1.0, 2.0, 3.0]])  # C = 3, D = 4
DOCS = np.array([3, 2, 1])


def test_places_and_measures_worked_by_hand():
    places = ranking.ranks(SCORES, DOCS)
    np.testing.assert_array_equal(places.higher, [1, 0, 3])
    np.testing.assert_array_equal(places.equal, [1, 3, 1])
    # Ranks: 2; one of 1, 2, 3; 4.
    np.testing.assert_allclose(ranking.hit_rate(places, 2), [1.0, 2 / 3, 0.0])
    np.testing.assert_allclose(ranking.ndcg(places, 2), [1 / np.log2(3), (1 + 1 / np.log2(3)) / 3, 0.0])
    np.testing.assert_allclose(
        ranking.ndcg(places, 4), [1 / np.log2(3), (1 + 1 / np.log2(3) + 0.5) / 3, 1 / np.log2(5)]
    )


def rank_in_each_order(scores, doc_id):
    """Return the ranks of a document over all orders of the documents in which higher scores come first."""
    found = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[first] >= scores[second] for first, second in itertools.pairwise(order)):
            found.append(order.index(doc_id - 1) + 1)
    return np.array(found)


@pytest.mark.parametrize("num_docs", [1, 3, 6])
@pytest.mark.parametrize("cutoff", [1, 2, 5])
def test_measures_are_means_over_all_orders_of_ties(num_docs, cutoff):
    rng = np.random.default_rng(num_docs)
    scores = rng.integers(0, 3, (7, num_docs)).astype(np.float32)
    docs = rng.integers(1, num_docs + 1, 7)
    places = ranking.ranks(scores, docs)
    for row in range(7):
        ranks = rank_in_each_order(scores[row], docs[row])
        gains = np.where(ranks <= cutoff, 1.0 / np.log2(1.0 + ranks), 0.0)
        np.testing.assert_allclose(ranking.hit_rate(places, cutoff)[row], (ranks <= cutoff).mean())
        np.testing.assert_allclose(ranking.ndcg(places, cutoff)[row], gains.mean())


def test_scores_of_all_rows_can_be_one_vector():
    one = ranking.ranks(SCORES[1], DOCS)
    each = ranking.ranks(np.tile(SCORES[1], (3, 1)), DOCS)
    np.testing.assert_array_equal(one.higher, each.higher)
    np.testing.assert_array_equal(one.equal, each.equal)


def test_constant_scores_are_a_random_ranking():
    places = ranking.ranks(np.zeros(20), np.array([7]))
    np.testing.assert_allclose(ranking.measures(places)["hit_rate_at_5"], 5 / 20)
    np.testing.assert_allclose(
        ranking.measures(places)["ndcg_at_10"], sum(1 / np.log2(1 + r) for r in range(1, 11)) / 20
    )
    assert tuple(ranking.measures(places)) == ranking.MEASURES


def test_means_by_user_weigh_users_alike():
    values, users = np.array([1.0, 0.0, 0.5, 1.0]), np.array([4, 4, 4, 1])
    np.testing.assert_allclose(ranking.by_user(values, users), [1.0, 0.5])


def test_nan_is_refused():
    with pytest.raises(ValueError, match="must not be NaN"):
        ranking.ranks(np.array([[np.nan, 1.0]]), np.array([1]))
