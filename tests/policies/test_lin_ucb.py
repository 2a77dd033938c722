"""LinUCB against its definition."""

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.policies.lin_ucb import LinUCB, LinUCBRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

NUM_USERS, NUM_TOPICS, NUM_DOCS, SLATE_SIZE, HISTORY = 3, 4, 7, 2, 5
SIZES = {
    "num_users": NUM_USERS,
    "num_topics": NUM_TOPICS,
    "num_docs": NUM_DOCS,
    "slate_size": SLATE_SIZE,
    "history_length": HISTORY,
}


def documents(features):
    """Available documents, or slates, with these features; other fields are arbitrary."""
    shape = features.shape[:-1]
    ids = np.broadcast_to(1 + np.arange(shape[-1], dtype=np.int32), shape)
    return Value(
        doc_id=tf.constant(ids),
        doc_topic=tf.zeros(shape, tf.int32),
        doc_quality=tf.zeros(shape),
        doc_length=tf.ones(shape),
        doc_features=tf.constant(features, tf.float32),
    )


@pytest.mark.parametrize("alpha", [0.0, 1.7])
def test_scores_are_those_of_ridge_regressions_of_each_user(alpha):
    rng = np.random.default_rng(5)
    ridge = 0.6
    entity = LinUCBRecommender(SIZES, alpha=alpha, ridge=ridge)
    pool = rng.normal(size=(NUM_DOCS, NUM_TOPICS))
    state = entity.initial_state()
    design = np.stack([ridge * np.eye(NUM_TOPICS)] * NUM_USERS)
    moment = np.zeros((NUM_USERS, NUM_TOPICS))
    for _ in range(6):
        slate = rng.normal(size=(NUM_USERS, SLATE_SIZE, NUM_TOPICS))
        choice = rng.integers(0, SLATE_SIZE + 1, NUM_USERS)
        time = np.where(choice < SLATE_SIZE, rng.uniform(1.0, 3.0, NUM_USERS), 0.0)
        response = Value(choice=tf.constant(choice, tf.int32), consumed_time=tf.constant(time, tf.float32))
        state = entity.next_state(state, response, documents(slate))
        for user in range(NUM_USERS):
            for slot in range(SLATE_SIZE):
                shown = slate[user, slot]
                design[user] += np.outer(shown, shown)
                moment[user] += shown * (time[user] if choice[user] == slot else 0.0)
    with seeding.seeded_draws(tf.constant([1, 2]), fields.SLATE_DOCS):
        ranks = entity.slate_ranks(state, Value(), documents(pool)).numpy()
    for user in range(NUM_USERS):
        inverse = np.linalg.inv(design[user])
        bounds = [doc @ inverse @ moment[user] + alpha * np.sqrt(doc @ inverse @ doc) for doc in pool]
        np.testing.assert_array_equal(ranks[user], np.argsort(bounds)[::-1][:SLATE_SIZE])


def test_a_choice_worked_by_hand():
    # One user, two one-hot topics. Topic 1 was chosen once for 3 time units: A = diag(2, 2) after one slate of both,
    # b = (0, 3). Bounds: 0 + sqrt(1/2) and 3/2 + sqrt(1/2).
    sizes = {**SIZES, "num_users": 1, "num_topics": 2, "num_docs": 2, "slate_size": 1}
    entity = LinUCBRecommender({**sizes, "slate_size": 2})
    slate = documents(np.eye(2)[np.newaxis])
    response = Value(choice=tf.constant([1]), consumed_time=tf.constant([3.0]))
    state = entity.next_state(entity.initial_state(), response, slate)
    np.testing.assert_allclose(state.get(fields.INVERSE_DESIGN)[0], np.eye(2) / 2, rtol=1e-6)
    np.testing.assert_allclose(state.get(fields.REWARD_FEATURES)[0], [0.0, 3.0])
    with seeding.seeded_draws(tf.constant([1, 2]), fields.SLATE_DOCS):
        shown = LinUCBRecommender(sizes).slate_ranks(state, Value(), documents(np.eye(2)))
    np.testing.assert_array_equal(shown, [[1]])


def test_documents_with_equal_features_take_turns():
    entity = LinUCBRecommender({**SIZES, "slate_size": 1})
    pool = documents(np.ones((NUM_DOCS, NUM_TOPICS)))
    shown = set()
    for seed in range(20):
        with seeding.seeded_draws(tf.constant([seed, 2]), fields.SLATE_DOCS):
            shown.update(entity.slate_ranks(entity.initial_state(), Value(), pool).numpy().ravel().tolist())
    assert len(shown) == NUM_DOCS


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_it_runs_compiled_and_learns_more_than_a_random_policy(mode):
    def mean_reward(alpha):
        network = create_interest_evolution_simulation_network(
            num_users=200,
            num_topics=6,
            num_docs=40,
            slate_size=2,
            corpus_seed=3,
            recommender_ctor=lambda config: LinUCBRecommender(config, alpha=alpha),
        )
        stacked = SeededRuntime(network.variables, mode=mode).trajectory(
            31, keys=seeding.make_keys(1), record={fields.METRICS_STATE: [fields.REWARD]}
        )
        return float(tf.reduce_mean(tf.reduce_sum(stacked[fields.METRICS_STATE].get(fields.REWARD), axis=0)))

    assert mean_reward(0.5) > mean_reward(1e6)  # with a huge alpha the rewards do not count


@pytest.mark.parametrize(
    ("options", "message"),
    [({"alpha": -1.0}, "LinUCBRecommender: alpha must be"), ({"ridge": 0.0}, "LinUCBRecommender: ridge must be")],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        LinUCBRecommender(SIZES, **options)
    with pytest.raises(validation.InvalidInputError, match=message.replace("LinUCBRecommender", "lin_ucb")):
        LinUCB(**options)
