"""Value iteration, dynamic program, searches and the tuned score, in worlds small enough to enumerate."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.policies import baselines
from recsys_po_rl.policies import slate_search as slate_search_lib
from recsys_po_rl.policies.values import attraction, grid
from recsys_po_rl.policies.values import fitted as fitted_lib
from recsys_po_rl.simulation import runtime

NUM_USERS, NUM_DOCS, NUM_TOPICS, SLATE_SIZE, HORIZON = 60, 6, 2, 2, 3


def make_network(recommender_ctor, num_docs=NUM_DOCS, slate_size=SLATE_SIZE, full_information=False):
    return simulation_config.create_interest_evolution_simulation_network(
        NUM_USERS, NUM_TOPICS, num_docs, slate_size=slate_size, corpus_seed=3, corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=recommender_ctor, full_information=full_information,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return make_network(baselines.UniformRandomRecommender)


@pytest.fixture(scope="module")
def documents(world):
    return world.corpus.initial_state().map(tf.convert_to_tensor)


def optimum(people, documents, interest, steps):
    """Value of one interest by enumeration of every slate and response."""
    if steps == 0:
        return 0.0
    stay = optimum(people, documents, people.next_interest(interest, None), steps - 1)
    after = [
        float(people.consumed_time(documents)[d])
        + optimum(people, documents, people.next_interest(interest, documents.map(lambda f, d=d: f[d])), steps - 1)
        for d in range(NUM_DOCS)
    ]
    logits = people.choice_logits(interest, documents).numpy()
    return max(
        (
            tf.nn.softmax(logits[[*slate, NUM_DOCS]]).numpy() * np.array([*(after[d] for d in slate), stay])
        ).sum()
        for slate in itertools.combinations(range(NUM_DOCS), SLATE_SIZE)
    )  # fmt: skip


@pytest.mark.slow
def test_the_grid_holds_the_value_of_explicit_enumeration(world, documents):
    solution = grid.solve(world.user, documents, NUM_TOPICS, SLATE_SIZE, 2, points=121)
    interests = np.array([[0.3, -0.8], [1.7, 0.2], [-2.5, 1.1]], np.float32)
    for steps in (0, 1, 2):
        found = solution.value(tf.constant(interests), tf.constant(float(steps))).numpy()
        expected = [optimum(world.user, documents, tf.constant(one), steps) for one in interests]
        np.testing.assert_allclose(found, expected, atol=0.01)
    assert solution.value.table.shape == (3, 121**2)
    assert solution.limit == pytest.approx(20.0, rel=1e-3)


def test_interpolation_is_exact_at_the_nodes_and_between_them_multilinear():
    table = np.arange(2 * 25, dtype=np.float32).reshape(2, 25)
    value = grid.GridValue(table, 2, 5, 4.0)
    nodes = grid._Grid(2, 5, 4.0).nodes()
    np.testing.assert_allclose(value(tf.constant(nodes), tf.constant(1.0)), table[1], rtol=1e-4)
    np.testing.assert_allclose(value(tf.constant([[-99.0, 99.0]]), tf.constant(0.0)), [4.0], atol=1e-4)


@pytest.mark.slow
def test_refinement_says_what_the_finer_grid_changes(world, documents):
    interests = tf.random.stateless_normal((50, NUM_TOPICS), [1, 1])
    arguments = (world.user, documents, NUM_TOPICS, SLATE_SIZE, HORIZON)
    refined = grid.solve_refined(*arguments, interests, points=31)
    coarse = grid.solve(*arguments, points=16)
    mean = float(tf.reduce_mean(coarse.value(interests, tf.constant(float(HORIZON)))))
    assert refined.solution.points == 31
    assert refined.change == pytest.approx(refined.mean_value - mean, abs=1e-6)
    assert 0 < abs(refined.change) < 0.2


def test_a_dynamic_program_refuses_what_it_cannot_hold(world, documents):
    solve = functools.partial(grid.solve, world.user, documents)
    for options, named in (
        ((3, 2, 3), "num_topics"), ((2, 2, 0), "horizon"), ((2, 2, 3, 1), "points"), ((2, 2, 3, 10**4), "points"),
        ((2, 2, 3, 5, 0.0), "limit"),
    ):  # fmt: skip
        with pytest.raises(validation.InvalidInputError, match=named):
            solve(*options)
    with pytest.raises(validation.InvalidInputError, match="points"):
        grid.solve_refined(world.user, documents, 2, 2, 3, [[0.0, 0.0]], points=2)
    config = {"num_users": 4, "num_topics": 2, "slate_size": 2}
    differing = user.InterestEvolutionUser(config, no_click_mass=[0.0, 1.0, 2.0, 3.0])
    with pytest.raises(validation.InvalidInputError, match="differ"):
        grid.solve(differing, documents, 2, 2, 3, 5)
    unbounded = user.InterestEvolutionUser(config, max_user_affinity=1e5)
    with pytest.raises(validation.InvalidInputError, match="limit must be given"):
        grid.solve(unbounded, documents, 2, 2, 3, 5)


def test_targets_are_the_value_and_the_surprises_that_follow():
    values = np.array([[3.0], [2.0], [1.0]])
    planned = np.array([[3.5], [1.0], [1.25]])
    # 1 + 0.25; 2 - 1 + 0.25; 3 + 0.5 - 1 + 0.25
    np.testing.assert_allclose(fitted_lib.returns_to_go(values, planned), [[2.75], [1.25], [1.25]])


def fit(world, seed=0, **options):
    def make_runtime(value):
        planner = functools.partial(baselines.PlanningRecommender, user=world.user, horizon=HORIZON, value=value)
        return runtime.SeededRuntime(make_network(planner, full_information=True).variables)

    return fitted_lib.fit(make_runtime, NUM_TOPICS, HORIZON, seed, **options)


@pytest.mark.slow
def test_the_fitted_value_comes_near_the_optimum_and_repeats(world, documents):
    options = dict(num_iterations=6, batches_per_iteration=20, hidden=16, epochs=15, minibatch_size=200)
    fitted = fit(world, **options)
    interests = tf.random.stateless_normal((40, NUM_TOPICS), [1, 1])
    interests = interests[tf.norm(interests, axis=-1) < 1.5][:8]  # where there are many samples
    found = fitted.value(interests, tf.constant(2.0))
    expected = [optimum(world.user, documents, one, 2) for one in interests]
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert np.std(expected) > 0.1
    assert fitted.num_users == 6 * 20 * NUM_USERS
    short = dict(num_iterations=1, batches_per_iteration=1)
    np.testing.assert_array_equal(*(fit(world, 5, **short).value(interests, tf.constant(2.0)) for _ in range(2)))


@pytest.mark.parametrize(
    "option", ["num_iterations", "batches_per_iteration", "hidden", "epochs", "minibatch_size", "learning_rate"]
)
def test_impossible_fits_are_refused(world, option):
    with pytest.raises(validation.InvalidInputError, match=option):
        fit(world, **{option: 0})


def test_a_value_network_starts_at_nothing():
    value = fitted_lib.ValueNetwork(3, 10, 4, 0)
    np.testing.assert_array_equal(value(tf.ones((2, 5, 3)), tf.ones((2, 1))), np.zeros((2, 5)))


def slate_search(num_docs, slate_size, rounds):
    network = make_network(baselines.SlateOfEachUserRecommender, num_docs, slate_size)
    seeded = runtime.SeededRuntime(network.variables)
    return slate_search_lib.search_slates(seeded, network.recommender, num_docs, HORIZON, 0, rounds)


@pytest.mark.slow
def test_search_finds_the_best_pair_of_one_step():
    """After one response the expected time of every pair is known: the search must choose one of the best."""
    network = make_network(baselines.SlateOfEachUserRecommender)
    seeded = runtime.SeededRuntime(network.variables)
    found = slate_search_lib.search_slates(
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


@pytest.mark.slow
def test_topics_differ_and_are_compared_on_the_same_users():
    network = make_network(baselines.TopicRecommender, num_docs=20)
    seeded = runtime.SeededRuntime(network.variables)
    call = functools.partial(slate_search_lib.topic_means, seeded, network.recommender, NUM_TOPICS, 20, 0)
    means = call(num_users=120, batch_size=NUM_USERS)
    for topic, mean in enumerate(means):
        fixed = make_network(functools.partial(baselines.TopicRecommender, topic=topic), num_docs=20)
        alone = runtime.SeededRuntime(fixed.variables)
        rewards = evaluator.evaluate(alone, 20, 120, NUM_USERS, 0, ("references", "topic"))
        assert rewards.total.mean() == pytest.approx(mean)
    assert abs(means[1] - means[0]) > 1.0


@pytest.mark.slow
def test_tuning_keeps_the_best_coefficient(world, documents):
    score = attraction.Attraction(world.user, documents, 20)
    planner = functools.partial(baselines.PlanningRecommender, user=world.user, horizon=20, value=score)
    seeded = runtime.SeededRuntime(make_network(planner, full_information=True).variables)
    means = attraction.tune(seeded, score, [-20.0, 0.0, 10.0], 20, 0, 120, NUM_USERS)
    assert means.argmax() == 2
    assert score.coefficient.numpy() == 10.0
    for bad in ([], [float("nan")]):
        with pytest.raises(validation.InvalidInputError, match="coefficients"):
            attraction.tune(seeded, score, bad, 20, 0, 120, NUM_USERS)


def test_attraction_is_the_log_sum_of_attractions(world, documents):
    score = attraction.Attraction(world.user, documents, 10)
    score.coefficient.assign(5.0)
    interest = np.array([0.5, -1.0], np.float32)
    distances = np.linalg.norm(documents.get("doc_features").numpy() - interest, axis=1)
    expected = 5.0 * 3 / 10 * np.log(np.exp(2.0 - distances).sum())
    assert float(score(tf.constant(interest), tf.constant(3.0))) == pytest.approx(expected, rel=1e-5)


def test_search_follows_the_better_slates_in_every_round(monkeypatch):
    """With exact scores, every neighbour of the best ten is tried and the best of all slates tried wins."""
    tried = []

    def means(self, slates, users_of_each):
        tried.append(slates)
        return slates.sum(axis=1).astype(float)

    monkeypatch.setattr(slate_search_lib._Search, "means", means)
    found = slate_search(9, 4, ((70, 1), (6, 1), (2, 1)))
    first, neighbours, *rounds = tried
    best_ten = {tuple(slate) for slate in first[np.argsort(-first.sum(axis=1), kind="stable")[:10]].tolist()}
    for slate in neighbours.tolist():
        assert any(len(set(slate) - set(other)) == 1 for other in best_ten)
    everything = sorted(np.concatenate([first, neighbours]).sum(axis=1))
    for slates, size in zip(rounds, (6, 2)):
        assert sorted(slates.sum(axis=1)) == everything[-size:]
    assert found.mean_reward == everything[-1]
