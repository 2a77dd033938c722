"""The particle filter against exact Bayes, and slates for a belief against enumeration."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.policies import belief_reference as belief
from recsys_po_rl.policies import planning
from recsys_po_rl.simulation import runtime

NUM_USERS, NUM_PARTICLES, NUM_TOPICS, SLATE_SIZE, NUM_DOCS = 5, 4, 3, 2, 7
CONFIG = {
    "num_users": NUM_USERS,
    "num_docs": NUM_DOCS,
    "num_topics": NUM_TOPICS,
    "history_length": 3,
    "slate_size": SLATE_SIZE,
}


@pytest.fixture(scope="module")
def people():
    return user.InterestEvolutionUser(CONFIG)


@pytest.fixture(scope="module")
def documents():
    return corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)


def test_update_is_bayes_rule_and_moves_every_particle(people, documents):
    state = np.random.RandomState(0)
    particles = state.randn(NUM_USERS, NUM_PARTICLES, NUM_TOPICS).astype(np.float32)
    prior = state.dirichlet(np.ones(NUM_PARTICLES), NUM_USERS)
    ranks = np.array([[0, 1], [2, 3], [4, 5], [6, 0], [1, 3]])
    choice = np.array([0, 1, 2, 2, 0])
    shown = documents.map(lambda field: tf.gather(field, ranks))
    before = belief.Belief(tf.constant(particles), tf.constant(np.log(prior), tf.float32))
    after = belief.update(people, before, tf.constant(choice), shown)
    features, quality = shown.get("doc_features").numpy(), shown.get("doc_quality").numpy()
    for u in range(NUM_USERS):
        likelihood = np.zeros(NUM_PARTICLES)
        for p in range(NUM_PARTICLES):
            z = particles[u, p].astype(np.float64)
            odds = [np.exp(2.0 - np.linalg.norm(z - features[u, s])) for s in range(SLATE_SIZE)] + [1.0]
            likelihood[p] = odds[choice[u]] / sum(odds)
            if choice[u] < SLATE_SIZE:
                z = z + 0.1 * quality[u, choice[u]] * (features[u, choice[u]] - z)
            np.testing.assert_allclose(
                after.particles[u, p], 40 * (1 / (1 + np.exp(-z / 10)) - 0.5), rtol=1e-4, atol=1e-5
            )
        expected = prior[u] * likelihood / (prior[u] * likelihood).sum()
        np.testing.assert_allclose(np.exp(after.log_weights[u]), expected, rtol=1e-4)


def test_resampling_copies_in_proportion_where_weights_are_scarce():
    particles = np.arange(2 * 4 * 1, dtype=np.float32).reshape(2, 4, 1)
    weights = np.array([[0.75, 0.25, 1e-30, 1e-30], [0.3, 0.3, 0.2, 0.2]], np.float32)
    given = belief.Belief(tf.constant(particles), tf.math.log(weights))
    result = belief.resample(given, tf.constant([0.5, 0.5]), tf.ones((2, 4, 1)), 1.0)
    np.testing.assert_array_equal(result.particles[0, :, 0], [0, 0, 0, 1])
    np.testing.assert_allclose(np.exp(result.log_weights[0]), 0.25, rtol=1e-6)
    np.testing.assert_array_equal(result.particles[1], particles[1])  # 1 / sum w^2 = 3.8 of 4: left as they were
    np.testing.assert_allclose(np.exp(result.log_weights[1]), weights[1], rtol=1e-5)


def test_smoothing_keeps_mean_and_variance():
    count = 4000
    state = np.random.RandomState(1)
    particles = state.randn(1, count, 2).astype(np.float32) * [1.0, 3.0] + [2.0, -1.0]
    weights = np.exp(-2 * (particles[..., 0] - 1) ** 2)  # fewer than half count effectively
    weights /= weights.sum()
    given = belief.Belief(tf.constant(particles, tf.float32), tf.constant(np.log(weights), tf.float32))
    normal = tf.constant(state.randn(1, count, 2), tf.float32)
    result = belief.resample(given, tf.constant([0.3]), normal, 0.8).particles.numpy()[0]
    mean = (weights[0, :, None] * particles[0]).sum(0)
    variance = (weights[0, :, None] * (particles[0] - mean) ** 2).sum(0)
    np.testing.assert_allclose(result.mean(0), mean, atol=0.2)
    np.testing.assert_allclose(result.var(0), variance, rtol=0.15)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_slates_for_a_belief_are_as_good_as_the_best_pair(size):
    state = np.random.RandomState(2)
    logits = state.randn(NUM_USERS, NUM_PARTICLES, NUM_DOCS + 1).astype(np.float32)
    values = state.randn(NUM_USERS, NUM_PARTICLES, NUM_DOCS).astype(np.float32)
    weights = state.dirichlet(np.ones(NUM_PARTICLES), NUM_USERS).astype(np.float32)
    found = belief.slates_for(tf.constant(weights), tf.constant(logits), tf.constant(values), size)
    mass = np.exp(logits)

    def worth(u, slate):
        slate = list(slate)
        gained = (mass[u][:, slate] * values[u][:, slate]).sum(1)
        return (weights[u] * gained / (mass[u][:, -1] + mass[u][:, slate].sum(1))).sum()

    for u in range(NUM_USERS):
        slate = found.ranks[u].numpy()
        assert len(set(slate.tolist())) == size
        np.testing.assert_allclose(found.value[u], worth(u, slate), rtol=1e-4, atol=1e-5)
        every = sorted(worth(u, one) for one in itertools.combinations(range(NUM_DOCS), size))
        assert worth(u, slate) >= every[-3 if size > 1 else -1] - 1e-5


def test_one_certain_particle_plays_as_full_information(people, documents):
    """With the interest known and no value of later interests, the belief's slate is the exact myopic one."""
    interest = tf.random.stateless_normal((NUM_USERS, NUM_TOPICS), [4, 4])
    recommender = belief.BeliefRecommender({**CONFIG, "slate_size": 1}, people, 4, num_particles=1)
    state = recommender.initial_state().union(Value())
    particles = Value(
        particles=interest[:, tf.newaxis], log_weights=tf.zeros((NUM_USERS, 1)), step=tf.zeros((NUM_USERS,), tf.int32)
    )
    del state
    ranks = recommender.slate_ranks(particles, Value(), documents)
    expected = planning.plan(people, documents, interest, tf.fill((NUM_USERS,), 3.0), 1)
    np.testing.assert_array_equal(ranks, expected.ranks)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_it_runs_compiled_and_repeats(people, mode):
    network = simulation_config.create_interest_evolution_simulation_network(
        **{key: CONFIG[key] for key in CONFIG},
        corpus_seed=0,
        corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=functools.partial(
            belief.BeliefRecommender,
            user=people,
            horizon=4,
            value=lambda interest, steps: steps * tf.reduce_sum(interest**2, axis=-1),
            num_particles=6,
        ),
    )
    record = {fields.SLATE_DOCS: ["doc_id"], fields.RECOMMENDER_STATE: ["log_weights", "step"]}
    seeded = runtime.SeededRuntime(network.variables, mode=mode)
    one, two = seeded.trajectory(4, record=record), seeded.trajectory(4, record=record)
    np.testing.assert_array_equal(one[fields.SLATE_DOCS].get("doc_id"), two[fields.SLATE_DOCS].get("doc_id"))
    weights = np.exp(one[fields.RECOMMENDER_STATE].get("log_weights"))
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(one[fields.RECOMMENDER_STATE].get("step")[:, 0], [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("option", "given"), [("horizon", 0), ("num_particles", 0), ("shrinkage", 1.5), ("user", object())]
)
def test_impossible_arguments_are_refused(people, option, given):
    with pytest.raises(validation.InvalidInputError, match=option):
        belief.BeliefRecommender(CONFIG, **{"user": people, option: given})
