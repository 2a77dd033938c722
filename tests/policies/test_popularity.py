import functools

import numpy as np
import pytest

from recsys_po_rl import corpus, fields, simulation_config
from recsys_po_rl.evaluation.propensities import SlatePropensities
from recsys_po_rl.policies import popularity
from recsys_po_rl.policies.base import PolicyContext
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import runtime, seeding

# Every axis has a different length.
NUM_USERS, NUM_DOCS, NUM_TOPICS, SLATE_SIZE, HISTORY_LENGTH = 6, 9, 4, 3, 5
HORIZON, NUM_BATCHES = 7, 2


def make_network(recommender_ctor, slate_size=SLATE_SIZE, num_users=NUM_USERS):
    return simulation_config.create_interest_evolution_simulation_network(
        num_users=num_users,
        num_topics=NUM_TOPICS,
        num_docs=NUM_DOCS,
        history_length=HISTORY_LENGTH,
        slate_size=slate_size,
        corpus_seed=0,
        corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=recommender_ctor,
    )


def make_runtime(recommender_ctor):
    return runtime.SeededRuntime(make_network(recommender_ctor).variables)


@pytest.fixture(scope="module")
def random_runtime():
    return make_runtime(UniformRandomRecommender)


def test_top_documents_are_ids_by_falling_weight():
    # Weights of documents 1 to 5: the largest is that of document 2, then 5, 1, 4, 3.
    assert popularity.top_documents([2.0, 9.0, -1.0, 0.5, 3.0], 3) == [2, 5, 1]


def test_ties_of_top_documents_go_to_the_lower_id():
    assert popularity.top_documents([1, 3, 3, 1, 3, 0], 4) == [2, 3, 5, 1]
    # Long enough for an unstable sort to differ: documents 3, 6, 9, ... share the largest weight, 2.
    assert popularity.top_documents(np.arange(100) % 3, 5) == [3, 6, 9, 12, 15]


def test_top_documents_accepts_an_iterator_and_returns_plain_integers():
    ids = popularity.top_documents(iter(np.array([1, 2], np.int64)), 2)
    assert ids == [2, 1]
    assert all(type(doc_id) is int for doc_id in ids)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3])
def test_popularity_equals_a_slow_loop_over_the_recorded_log(random_runtime, seed):
    clicks, times = np.zeros(NUM_DOCS, np.int64), np.zeros(NUM_DOCS)
    abstained = 0
    for batch in range(NUM_BATCHES):
        trajectory = random_runtime.trajectory(HORIZON, keys=seeding.make_keys(seed, "popularity", batch=batch))
        choice = trajectory[fields.USER_RESPONSE].get(fields.CHOICE).numpy()
        time = trajectory[fields.USER_RESPONSE].get(fields.CONSUMED_TIME).numpy()
        shown = trajectory[fields.SLATE_DOCS].get(fields.DOC_ID).numpy()
        assert shown.shape == (HORIZON, NUM_USERS, SLATE_SIZE)
        for step in range(HORIZON):
            for user in range(NUM_USERS):
                chosen = choice[step, user]
                if chosen == SLATE_SIZE:
                    abstained += 1
                    continue
                clicks[shown[step, user, chosen] - 1] += 1
                times[shown[step, user, chosen] - 1] += time[step, user]
    assert abstained > 0
    assert clicks.sum() > 0

    result = popularity.popularity_from_logs(random_runtime, NUM_DOCS, HORIZON, NUM_BATCHES, seed)

    np.testing.assert_array_equal(result.clicks, clicks)
    np.testing.assert_allclose(result.consumed_time, times, rtol=1e-12)  # the same float64 sums in another order
    assert result.clicks.dtype == np.int64
    assert result.consumed_time.dtype == np.float64


@pytest.mark.slow
def test_the_log_has_users_of_its_own_in_every_batch_and_for_every_seed(random_runtime):
    one, two = (popularity.popularity_from_logs(random_runtime, NUM_DOCS, HORIZON, batches, 0) for batches in (1, 2))
    other_seed = popularity.popularity_from_logs(random_runtime, NUM_DOCS, HORIZON, 1, 1)
    again = popularity.popularity_from_logs(random_runtime, NUM_DOCS, HORIZON, 1, 0)
    np.testing.assert_array_equal(again.clicks, one.clicks)
    assert not np.array_equal(two.clicks - one.clicks, one.clicks)
    assert not np.array_equal(other_seed.clicks, one.clicks)


@pytest.mark.slow
def test_only_documents_that_were_shown_are_popular():
    shown = [8, 2, 5]
    fixed = make_runtime(lambda config: FixedSlateRecommender(config, doc_ids=shown))
    result = popularity.popularity_from_logs(fixed, NUM_DOCS, HORIZON, NUM_BATCHES, 0)
    assert set(np.flatnonzero(result.clicks) + 1) == set(shown)
    assert set(np.flatnonzero(result.consumed_time) + 1) == set(shown)
    assert result.clicks.sum() <= HORIZON * NUM_USERS * NUM_BATCHES
    assert (result.consumed_time >= 0).all()


@pytest.mark.slow
def test_documents_are_drawn_from_their_weights():
    weights = np.array([1.0, 2.0, 5.0, 1e-30, 1e-30, 1e-30, 1e-30, 1e-30, 1e-30])
    network = make_network(
        functools.partial(popularity.SampledDocumentsRecommender, log_weights=np.log(weights)), slate_size=2
    )
    seeded = runtime.SeededRuntime(network.variables)
    propensities = SlatePropensities(network.variables, seeded)
    trajectory = seeded.trajectory(50, keys=seeding.make_keys(0), record=propensities.record)
    joint = propensities.of_slates(trajectory).joint
    first, second = (trajectory[fields.SLATE_DOCS].get(fields.DOC_RANKS).numpy()[..., place] for place in (0, 1))
    # First 3 of 8, then 2 of the 3 that are left, and so on.
    expected = {(2, 1): 5 / 8 * 2 / 3, (2, 0): 5 / 8 / 3, (1, 2): 2 / 8 * 5 / 6, (1, 0): 2 / 8 / 6,
                (0, 2): 1 / 8 * 5 / 7, (0, 1): 1 / 8 * 2 / 7}  # fmt: skip
    for slate, probability in expected.items():
        is_shown = (first == slate[0]) & (second == slate[1])
        np.testing.assert_allclose(joint[is_shown], probability, rtol=1e-6)
        half_width = 5 * np.sqrt(probability * (1 - probability) / joint.size)
        np.testing.assert_allclose(is_shown.mean(), probability, atol=half_width)


@pytest.mark.slow
def test_the_power_sharpens_the_popularity(monkeypatch):
    clicks = np.array([0, 3, 1, 0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(popularity, "popularity_from_logs", lambda *args: popularity.Popularity(clicks, clicks * 2.0))
    context = PolicyContext(make_network, runtime.SeededRuntime, {"num_docs": NUM_DOCS}, 0, HORIZON, NUM_USERS)
    for power in (0.0, 1.0, 2.0):
        built = popularity.SampledByPopularity(6, power).build(context)
        weights = np.exp(built.network.recommender._log_weights)  # the entity has no other way to tell
        np.testing.assert_allclose(weights, (1 + clicks) ** power, rtol=1e-6)
        assert built.details == {"power": power, "num_log_users": 6}
