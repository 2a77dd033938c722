"""Recommenders that do not learn: their laws, and the documents they show from any pool."""

import functools
import inspect
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core import network as network_lib
from recsim_ng.core import value
from recsim_ng.lib.tensorflow import runtime as tf_runtime

from recsys_po_rl import corpus, fields, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.policies import baselines
from recsys_po_rl.simulation import runtime, seeding

Value = value.Value

NUM_USERS, NUM_DOCS, NUM_TOPICS, HISTORY, SLATE_SIZE = 4, 6, 2, 5, 3
CONFIG = {
    "num_users": NUM_USERS,
    "num_docs": NUM_DOCS,
    "num_topics": NUM_TOPICS,
    "history_length": HISTORY,
    "slate_size": SLATE_SIZE,
}
POOLS = {"in_order": [1, 2, 3, 4, 5, 6], "reordered": [4, 1, 6, 2, 5, 3], "smaller": [5, 2, 1, 4]}
FIXED = [5, 1, 4]
TOLERANCE = 0.004  # of a frequency
SEEDS = (1, 2)


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


def draws_needed(tolerance, failure=1e-7):
    """Draws after which a frequency is off by `tolerance` with that probability at most (Hoeffding 1963)."""
    return math.ceil(math.log(2 / failure) / (2 * tolerance**2))


@pytest.fixture(scope="module")
def documents():
    return corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)


def pool_of(documents, ids):
    return documents.map(lambda field: tf.gather(field, np.array(ids) - 1))


def assert_shows_its_ranks(slate, pool):
    ranks = array(slate.get("doc_ranks"))
    assert list(slate.as_dict) == [*fields.DOC_FIELDS, "doc_ranks"]
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(array(slate.get(name)), array(pool.get(name))[ranks])


# Uniform.


@pytest.mark.slow
@pytest.mark.parametrize("ids", POOLS.values(), ids=POOLS)
def test_uniform_law_is_exact(documents, ids):
    entity = baselines.UniformRandomRecommender(CONFIG)
    pool = pool_of(documents, ids)
    slate = entity.slate_docs(entity.initial_state(), Value(), pool)
    assert_shows_its_ranks(slate, pool)
    law = slate.get("doc_ranks").distribution
    assert (law.batch_shape, law.event_shape) == ((NUM_USERS,), (SLATE_SIZE,))
    expected = -math.log(math.perm(len(ids), SLATE_SIZE))
    for ranks in itertools.permutations(range(len(ids)), SLATE_SIZE):
        np.testing.assert_allclose(law.log_prob(ranks), np.full(NUM_USERS, expected), rtol=1e-6)
    assert np.all(np.isneginf(law.log_prob([0, 1, 0])))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_slates_are_equally_frequent(documents, seed):
    count = draws_needed(TOLERANCE)
    entity = baselines.UniformRandomRecommender({**CONFIG, "num_users": count, "slate_size": 2})
    with seeding.seeded_draws(seeding.stateless_seed(seed, "test"), fields.SLATE_DOCS):
        shown = array(entity.slate_docs(Value(), Value(), pool_of(documents, POOLS["reordered"])).get("doc_id"))
    frequencies = np.zeros((NUM_DOCS, NUM_DOCS))
    np.add.at(frequencies, (shown[:, 0] - 1, shown[:, 1] - 1), 1 / count)
    expected = (1 - np.eye(NUM_DOCS)) / math.perm(NUM_DOCS, 2)
    np.testing.assert_allclose(frequencies, expected, atol=TOLERANCE)
    assert np.all(np.diag(frequencies) == 0)


def test_uniform_depends_on_nothing(documents):
    entity = baselines.UniformRandomRecommender(CONFIG)
    pool = pool_of(documents, POOLS["reordered"])
    slates = []
    for doc_ids in (0, 5):
        state = Value(doc_history=Value(state=tf.fill((NUM_USERS, HISTORY), doc_ids)))
        with seeding.seeded_draws(seeding.stateless_seed(7), fields.SLATE_DOCS):
            slates.append(array(entity.slate_docs(state, Value(), pool).get("doc_ranks")))
    np.testing.assert_array_equal(*slates)


# Fixed.


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("ids", POOLS.values(), ids=POOLS)
def test_fixed_slate_shows_exactly_those_documents_in_order(documents, ids, compiled):
    entity = baselines.FixedSlateRecommender(CONFIG, FIXED)

    def show(given):
        return entity.slate_docs(entity.initial_state(), Value(), Value(**given)).as_dict

    pool = pool_of(documents, ids)
    slate = Value(**(tf.function(show, autograph=False) if compiled else show)(pool.as_dict))
    np.testing.assert_array_equal(slate.get("doc_id"), np.tile(FIXED, (NUM_USERS, 1)))
    np.testing.assert_array_equal(slate.get("doc_ranks"), np.tile([ids.index(i) for i in FIXED], (NUM_USERS, 1)))
    assert slate.get("doc_ranks").dtype == tf.int32
    assert_shows_its_ranks(slate, pool)


@pytest.mark.parametrize("as_given", [tuple, np.array, list, lambda ids: np.array(ids, np.int64)])
def test_fixed_slate_takes_any_integers(documents, as_given):
    entity = baselines.FixedSlateRecommender(CONFIG, as_given(FIXED))
    slate = entity.slate_docs(entity.initial_state(), Value(), documents)
    np.testing.assert_array_equal(slate.get("doc_id"), np.tile(FIXED, (NUM_USERS, 1)))


@pytest.mark.parametrize(
    "doc_ids",
    [(), [5, 1], [5, 1, 4, 2], [5, 1, 5], [5, 0, 1], [5, -2, 1], [5, 1.5, 4], [5, True, 4], [5, "one", 4]],
    ids=str,
)
def test_fixed_slate_refuses_impossible_ids(doc_ids):
    with pytest.raises(validation.InvalidInputError, match="doc_ids"):
        baselines.FixedSlateRecommender(CONFIG, doc_ids)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_fixed_document_that_is_missing_from_the_pool_is_an_error(documents, compiled):
    entity = baselines.FixedSlateRecommender(CONFIG, FIXED)

    def show(given):
        return entity.slate_docs(entity.initial_state(), Value(), Value(**given)).as_dict

    pool = pool_of(documents, [2, 5, 6, 4, 3])  # 1 is not there
    with pytest.raises(tf.errors.InvalidArgumentError, match="document of the fixed slate is not available"):
        (tf.function(show, autograph=False) if compiled else show)(pool.as_dict)


# Both.

BASELINES = {
    "uniform": baselines.UniformRandomRecommender,
    "fixed": functools.partial(baselines.FixedSlateRecommender, doc_ids=FIXED),
}


@pytest.mark.parametrize("kind", BASELINES)
def test_names_trainables_and_histories(kind):
    entity = BASELINES[kind](CONFIG)
    assert entity.name == "Recommender"
    assert BASELINES[kind](CONFIG, name="Random").name == "Random"
    assert entity.trainable_variables == ()
    response = Value(choice=tf.constant([2, 3, 0, 1]), consumed_time=tf.constant([1.5, -1.0, 0.5, 2.0]))
    docs = Value(doc_id=tf.constant([[1, 2, 3], [4, 5, 6], [2, 4, 6], [3, 1, 5]]))
    state = entity.next_state(entity.initial_state(), response, docs)
    np.testing.assert_array_equal(array(state.get(fields.DOC_HISTORY))[:, -1], [3, 0, 2, 1])
    np.testing.assert_array_equal(array(state.get(fields.CTIME_HISTORY))[:, -1], [1.5, 0, 0.5, 2])


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("key", ["num_users", "num_docs", "slate_size", "history_length"])
def test_baselines_refuse_impossible_configs(kind, key):
    with pytest.raises(validation.InvalidInputError, match=key):
        BASELINES[kind]({**CONFIG, key: 0})


@pytest.mark.parametrize("kind", BASELINES)
def test_slate_longer_than_the_corpus_is_an_error(kind):
    with pytest.raises(validation.InvalidInputError, match="slate_size"):
        BASELINES[kind]({**CONFIG, "slate_size": NUM_DOCS + 1})


def test_constructors_take_config_first():
    assert list(inspect.signature(baselines.FixedSlateRecommender).parameters) == ["config", "doc_ids", "name"]
    assert next(iter(inspect.signature(baselines.UniformRandomRecommender).parameters)) == "config"


@pytest.mark.slow
@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("graph_compile", [False, True], ids=["eager", "graph"])
def test_baselines_run_in_recsim_ngs_runtime(kind, graph_compile):
    network = simulation_config.create_interest_evolution_simulation_network(
        NUM_USERS,
        NUM_TOPICS + 2,
        NUM_DOCS,
        history_length=HISTORY,
        slate_size=SLATE_SIZE,
        corpus_seed=2,
        recommender_ctor=BASELINES[kind],
    )
    assert network.trainable_variables == ()
    trajectory = tf_runtime.TFRuntime(network_lib.Network(network.variables), graph_compile).trajectory(3)
    shown = array(trajectory[fields.SLATE_DOCS].get("doc_id"))
    assert shown.shape == (3, NUM_USERS, SLATE_SIZE)
    if kind == "fixed":
        np.testing.assert_array_equal(shown, np.tile(FIXED, (3, NUM_USERS, 1)))
    assert all(len(set(slate)) == SLATE_SIZE for slate in shown.reshape(-1, SLATE_SIZE).tolist())


@pytest.mark.slow
def test_baselines_meet_the_same_users_in_the_projects_runtime():
    first = []
    for kind in BASELINES.values():
        network = simulation_config.create_interest_evolution_simulation_network(
            NUM_USERS, 4, NUM_DOCS, history_length=HISTORY, slate_size=SLATE_SIZE, corpus_seed=2, recommender_ctor=kind
        )
        first.append(runtime.SeededRuntime(network.variables, mode="eager").execute(0))
    for name in (fields.USER_STATE, fields.CORPUS_STATE):
        for field, held in first[0][name].as_dict.items():
            np.testing.assert_array_equal(held, first[1][name].get(field))


# Best slates, and who plans with them.


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
    found = baselines.best_slates(tf.constant(logits), tf.constant(values), size)
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
            baselines.best_slates(logits, values, bad)
    with pytest.raises(validation.InvalidInputError, match="max_iterations"):
        baselines.best_slates(logits, values, 2, max_iterations=0)


@pytest.mark.parametrize("steps_left", [0.0, 2.0])
def test_plan_is_the_best_of_all_slates_by_expected_time_and_value_after(documents, steps_left):
    people = user.InterestEvolutionUser({**CONFIG, "slate_size": 2})
    interest = tf.random.stateless_normal((NUM_USERS, NUM_TOPICS), [1, 2])

    def value(interest, steps):
        return steps * tf.reduce_sum(interest**2 - interest, axis=-1)

    found = baselines.plan(people, documents, interest, tf.fill((NUM_USERS,), steps_left), 2, value)
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

    network = planning_network(functools.partial(baselines.PlanningRecommender, user=people, horizon=3, value=value))
    record = {
        fields.USER_STATE: [fields.INTEREST],
        fields.SLATE_DOCS: [fields.DOC_RANKS, fields.PLANNED_VALUE],
    }
    run = runtime.SeededRuntime(network.variables, mode=mode).trajectory(4, record=record)
    docs = network.corpus.initial_state().map(tf.convert_to_tensor)
    for step in range(4):
        interest = run[fields.USER_STATE].get(fields.INTEREST)[step]
        expected = baselines.plan(people, docs, interest, tf.fill((NUM_USERS,), float(2 - step)), 2, value)
        np.testing.assert_array_equal(run[fields.SLATE_DOCS].get(fields.DOC_RANKS)[step], expected.ranks)
        np.testing.assert_allclose(
            run[fields.SLATE_DOCS].get(fields.PLANNED_VALUE)[step], expected.value, rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
def test_full_information_needs_dynamics_a_horizon_and_the_interest():
    people = user.InterestEvolutionUser({**CONFIG, "slate_size": 2})
    with pytest.raises(validation.InvalidInputError, match=r"user object lacks a dynamics\(\) of its own"):
        baselines.PlanningRecommender(CONFIG, user=object())
    with pytest.raises(validation.InvalidInputError, match="horizon"):
        baselines.PlanningRecommender(CONFIG, user=people, horizon=0)
    hidden = planning_network(functools.partial(baselines.PlanningRecommender, user=people), False)
    with pytest.raises(validation.InvalidInputError, match="full_information"):
        runtime.SeededRuntime(hidden.variables, mode="eager").execute(0)


@pytest.mark.slow
def test_each_user_has_a_slate_that_can_be_changed_between_runs():
    network = planning_network(baselines.SlateOfEachUserRecommender, False)
    compiled = runtime.SeededRuntime(network.variables)
    for slates in ([[0, 1], [5, 2], [3, 4], [1, 0]], [[2, 3]] * NUM_USERS):
        network.recommender.places.assign(slates)
        shown = compiled.trajectory(2, record={fields.SLATE_DOCS: ["doc_ranks"]})[fields.SLATE_DOCS].get("doc_ranks")
        np.testing.assert_array_equal(shown, [slates, slates])


def test_topic_recommender_shows_its_topic_and_fills_up_with_others():
    docs = corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)
    docs = Value(**{**docs.as_dict, fields.DOC_TOPIC: tf.constant([0, 0, 0, 0, 1, 0])})
    for topic, sure in ((0, set()), (1, {5})):
        entity = baselines.TopicRecommender(CONFIG, topic=topic)
        with seeding.seeded_draws(seeding.stateless_seed(1), fields.SLATE_DOCS):
            shown = array(entity.slate_docs(Value(), Value(), docs).get("doc_id"))
        for slate in shown.tolist():
            assert len(set(slate)) == SLATE_SIZE
            assert sure <= set(slate)
            assert topic == 1 or 5 not in slate
    with pytest.raises(validation.InvalidInputError, match="topic"):
        baselines.TopicRecommender(CONFIG, topic=-1)
