"""Value iteration, dynamic program and the tuned score, in worlds small enough to enumerate."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.policies import planning
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
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
    return make_network(UniformRandomRecommender)


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
        planner = functools.partial(planning.PlanningRecommender, user=world.user, horizon=HORIZON, value=value)
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


@pytest.mark.slow
def test_tuning_keeps_the_best_coefficient(world, documents):
    score = attraction.Attraction(world.user, documents, 20)
    planner = functools.partial(planning.PlanningRecommender, user=world.user, horizon=20, value=score)
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
