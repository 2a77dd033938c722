"""The halving search over slates, in worlds small enough to enumerate."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, fields, simulation_config
from recsys_po_rl.common import validation
from recsys_po_rl.policies import best_fixed_slate
from recsys_po_rl.simulation import runtime

NUM_USERS, NUM_DOCS, NUM_TOPICS, SLATE_SIZE, HORIZON = 60, 6, 2, 2, 3


def make_network(recommender_ctor, num_docs=NUM_DOCS, slate_size=SLATE_SIZE, num_users=NUM_USERS):
    return simulation_config.create_interest_evolution_simulation_network(
        num_users, NUM_TOPICS, num_docs, slate_size=slate_size, corpus_seed=3, corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=recommender_ctor,
    )  # fmt: skip


@pytest.mark.slow
def test_each_user_has_a_slate_that_can_be_changed_between_runs():
    network = make_network(best_fixed_slate.SlateOfEachUserRecommender, num_users=4)
    compiled = runtime.SeededRuntime(network.variables)
    for slates in ([[0, 1], [5, 2], [3, 4], [1, 0]], [[2, 3]] * 4):
        network.recommender.places.assign(slates)
        shown = compiled.trajectory(2, record={fields.SLATE_DOCS: ["doc_ranks"]})[fields.SLATE_DOCS].get("doc_ranks")
        np.testing.assert_array_equal(shown, [slates, slates])


def slate_search(num_docs, slate_size, rounds):
    network = make_network(best_fixed_slate.SlateOfEachUserRecommender, num_docs, slate_size)
    seeded = runtime.SeededRuntime(network.variables)
    return best_fixed_slate.search_slates(seeded, network.recommender, num_docs, HORIZON, 0, rounds)


@pytest.mark.slow
def test_search_finds_the_best_pair_of_one_step():
    """After one response the expected time of every pair is known: the search must choose one of the best."""
    network = make_network(best_fixed_slate.SlateOfEachUserRecommender)
    seeded = runtime.SeededRuntime(network.variables)
    found = best_fixed_slate.search_slates(
        seeded, network.recommender, NUM_DOCS, 1, 0, rounds=((99, 100), (8, 1000), (4, 8000))
    )
    docs = network.corpus.initial_state().map(tf.convert_to_tensor)
    interest = tf.random.stateless_normal((20000, NUM_TOPICS), [7, 7])
    logits = network.user.choice_logits(interest, docs).numpy()
    times = network.user.consumed_time(docs).numpy()
    means = {}
    for slate in itertools.combinations(range(NUM_DOCS), 2):
        chances = tf.nn.softmax(logits[:, [*slate, NUM_DOCS]]).numpy()[:, :2]
        means[slate] = (chances * times[list(slate)]).sum(1).mean()
    assert means[found.places] > max(means.values()) - 0.03  # standard error of a mean of 8000: 0.008
    assert found.mean_reward == pytest.approx(means[found.places], abs=0.04)
    assert (found.exhaustive, found.num_candidates) == (True, 15)
    assert found.num_users == 15 * 100 + 8 * 1000 + 4 * 8000


@pytest.mark.slow
def test_search_without_enumeration_tries_neighbours():
    found = slate_search(9, 4, ((20, 30), (3, 40)))
    assert not found.exhaustive
    assert found.num_candidates == 40  # 20 at random and 20 of their neighbours
    assert len(set(found.places)) == 4
    assert found.num_users == 40 * 30 + 3 * 40


@pytest.mark.parametrize("rounds", [(), ((0, 1),), ((1, 0),)])
def test_search_refuses_impossible_rounds(rounds):
    with pytest.raises(validation.InvalidInputError, match="rounds"):
        slate_search(NUM_DOCS, SLATE_SIZE, rounds)


def test_search_follows_the_better_slates_in_every_round(monkeypatch):
    """With exact scores, every neighbour of the best ten is tried and the best of all slates tried wins."""
    tried = []

    def means(self, slates, users_of_each):
        tried.append(slates)
        return slates.sum(axis=1).astype(float)

    monkeypatch.setattr(best_fixed_slate._Search, "means", means)
    found = slate_search(9, 4, ((70, 1), (6, 1), (2, 1)))
    first, neighbours, *rounds = tried
    best_ten = {tuple(slate) for slate in first[np.argsort(-first.sum(axis=1), kind="stable")[:10]].tolist()}
    for slate in neighbours.tolist():
        assert any(len(set(slate) - set(other)) == 1 for other in best_ten)
    everything = sorted(np.concatenate([first, neighbours]).sum(axis=1))
    for slates, size in zip(rounds, (6, 2)):
        assert sorted(slates.sum(axis=1)) == everything[-size:]
    assert found.mean_reward == everything[-1]
