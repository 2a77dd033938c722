"""The best slate of a choice model against enumeration, and the recommender that plans with it."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, fields, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.policies import planning
from recsys_po_rl.simulation import runtime

NUM_USERS, NUM_DOCS, NUM_TOPICS, HISTORY, SLATE_SIZE = 4, 6, 2, 5, 3
CONFIG = {
    "num_users": NUM_USERS,
    "num_docs": NUM_DOCS,
    "num_topics": NUM_TOPICS,
    "history_length": HISTORY,
    "slate_size": SLATE_SIZE,
}


@pytest.fixture(scope="module")
def documents():
    return corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)


def worth_of(slate, logits, values):
    mass = np.exp(logits.astype(np.float64))
    chosen = list(slate)
    return (mass[chosen] * values[chosen]).sum() / (mass[-1] + mass[chosen].sum())


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("no_click", [0.0, 3.0, -np.inf])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 2.0])  # all worths below, around and above nothing
def test_best_slates_are_those_of_enumeration(size, no_click, shift):
    state = np.random.RandomState(0)
    logits = np.concatenate([3 * state.randn(11, 7), np.full((11, 1), no_click)], axis=1).astype(np.float32)
    values = (state.randn(11, 7) + shift).astype(np.float32)
    found = planning.best_slates(tf.constant(logits), tf.constant(values), size)
    for row in range(11):
        slate = found.ranks[row].numpy()
        assert len(set(slate.tolist())) == size
        best = max(worth_of(one, logits[row], values[row]) for one in itertools.combinations(range(7), size))
        np.testing.assert_allclose(found.value[row], best, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(worth_of(slate, logits[row], values[row]), best, rtol=1e-4, atol=1e-5)


def test_best_slates_refuse_impossible_sizes():
    logits, values = tf.zeros((2, 4)), tf.zeros((2, 3))
    for bad in (0, 4):
        with pytest.raises(validation.InvalidInputError, match="slate_size"):
            planning.best_slates(logits, values, bad)
    with pytest.raises(validation.InvalidInputError, match="max_iterations"):
        planning.best_slates(logits, values, 2, max_iterations=0)


@pytest.mark.parametrize("steps_left", [0.0, 2.0])
def test_plan_is_the_best_of_all_slates_by_expected_time_and_value_after(documents, steps_left):
    people = user.InterestEvolutionUser({**CONFIG, "slate_size": 2})
    interest = tf.random.stateless_normal((NUM_USERS, NUM_TOPICS), [1, 2])

    def value(interest, steps):
        return steps * tf.reduce_sum(interest**2 - interest, axis=-1)

    found = planning.plan(people, documents, interest, tf.fill((NUM_USERS,), steps_left), 2, value)
    for u in range(NUM_USERS):
        expected = []
        for slate in itertools.combinations(range(NUM_DOCS), 2):
            shown = documents.map(lambda field, slate=slate: tf.gather(field, slate))
            chances = tf.nn.softmax(people.choice_logits(interest[u], shown)).numpy()
            after = tf.concat(
                [people.next_interest(interest[u], shown), people.next_interest(interest[u], None)[None]], axis=0
            )
            now = np.append(people.consumed_time(shown), 0.0)
            expected.append((chances * (now + value(after, tf.constant(steps_left)).numpy())).sum())
        np.testing.assert_allclose(found.value[u], max(expected), rtol=1e-4, atol=1e-5)


def planning_network(recommender_ctor, full_information=True):
    return simulation_config.create_interest_evolution_simulation_network(
        NUM_USERS, NUM_TOPICS, NUM_DOCS, history_length=HISTORY, slate_size=2, corpus_seed=2,
        corpus_ctor=corpus.ReferenceCorpus, recommender_ctor=recommender_ctor, full_information=full_information,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_full_information_shows_the_plan_of_the_interest_at_each_step(mode):
    people = user.InterestEvolutionUser({**CONFIG, "slate_size": 2})

    def value(interest, steps):
        return steps * tf.reduce_sum(interest, axis=-1)

    network = planning_network(functools.partial(planning.PlanningRecommender, user=people, horizon=3, value=value))
    record = {
        fields.USER_STATE: [fields.INTEREST],
        fields.SLATE_DOCS: [fields.DOC_RANKS, fields.PLANNED_VALUE],
    }
    run = runtime.SeededRuntime(network.variables, mode=mode).trajectory(4, record=record)
    docs = network.corpus.initial_state().map(tf.convert_to_tensor)
    for step in range(4):
        interest = run[fields.USER_STATE].get(fields.INTEREST)[step]
        expected = planning.plan(people, docs, interest, tf.fill((NUM_USERS,), float(2 - step)), 2, value)
        np.testing.assert_array_equal(run[fields.SLATE_DOCS].get(fields.DOC_RANKS)[step], expected.ranks)
        np.testing.assert_allclose(
            run[fields.SLATE_DOCS].get(fields.PLANNED_VALUE)[step], expected.value, rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
def test_full_information_needs_laws_a_horizon_and_the_interest():
    people = user.InterestEvolutionUser({**CONFIG, "slate_size": 2})
    with pytest.raises(validation.InvalidInputError, match=r"user object lacks a dynamics\(\) of its own"):
        planning.PlanningRecommender(CONFIG, user=object())
    with pytest.raises(validation.InvalidInputError, match="horizon"):
        planning.PlanningRecommender(CONFIG, user=people, horizon=0)
    hidden = planning_network(functools.partial(planning.PlanningRecommender, user=people), False)
    with pytest.raises(validation.InvalidInputError, match="full_information"):
        runtime.SeededRuntime(hidden.variables, mode="eager").execute(0)
