"""Evaluation: the same users for every policy, whatever the size of the population."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value, ValueSpec
from recsim_ng.entities.recommendation import user as user_lib

from recsys_po_rl import corpus, fields
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator, statistics
from recsys_po_rl.evaluation.results import MeanInterval, PolicyResult
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

BATCH, T = 6, 4


@pytest.fixture(scope="module")
def runtimes():
    make = functools.partial(
        create_interest_evolution_simulation_network,
        num_users=BATCH, num_docs=9, num_topics=4, corpus_seed=0, corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip
    fixed = functools.partial(FixedSlateRecommender, doc_ids=[3, 5])
    return {
        "random": SeededRuntime(make(recommender_ctor=UniformRandomRecommender).variables),
        "fixed": SeededRuntime(make(recommender_ctor=fixed).variables),
    }


@pytest.mark.slow
def test_totals_are_sums_of_consumed_times(runtimes):
    rewards = evaluator.evaluate(runtimes["random"], T, BATCH, BATCH, seed=1)
    trajectory = runtimes["random"].trajectory(T, keys=seeding.make_keys(1, "evaluation"))
    times = np.maximum(trajectory[fields.USER_RESPONSE].get(fields.CONSUMED_TIME).numpy(), 0.0)
    np.testing.assert_allclose(rewards.total, times.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(rewards.upstream_total, times[:-1].sum(axis=0), rtol=1e-5)
    # Upstream's metric after T - 1 steps is the sum of the first T - 1 responses.
    last = runtimes["random"].execute(T - 1, keys=seeding.make_keys(1, "evaluation"))
    np.testing.assert_allclose(
        rewards.upstream_total, last[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD), rtol=1e-5
    )


@pytest.mark.slow
def test_more_users_leave_the_first_ones_as_they_were(runtimes):
    few = evaluator.evaluate(runtimes["random"], T, 5, BATCH, seed=1)
    many = evaluator.evaluate(runtimes["random"], T, 2 * BATCH + 1, BATCH, seed=1)
    assert few.total.shape == (5,)
    assert many.total.shape == (2 * BATCH + 1,)
    np.testing.assert_array_equal(many.total[:5], few.total)
    assert len(np.unique(many.total)) > BATCH  # further batches are other users


@pytest.mark.slow
def test_seed_and_path_choose_the_users(runtimes):
    base = evaluator.evaluate(runtimes["fixed"], T, BATCH, BATCH, seed=1)
    assert not np.array_equal(base.total, evaluator.evaluate(runtimes["fixed"], T, BATCH, BATCH, seed=2).total)
    other = evaluator.evaluate(runtimes["fixed"], T, BATCH, BATCH, seed=1, path=("validation",))
    assert not np.array_equal(base.total, other.total)


@pytest.mark.slow
def test_summary_has_the_promised_form(runtimes):
    random, fixed = (evaluator.evaluate(runtimes[name], T, 12, BATCH, seed=3) for name in ("random", "fixed"))
    entry = evaluator.summary(random, fixed).to_json()
    assert set(entry) == {
        "mean", "interval95", "mean_upstream_count", "num_users", "minus_learned", "quarters", "quarters_interval95",
    }  # fmt: skip
    assert entry["mean"] == pytest.approx(random.total.mean())
    assert entry["interval95"][0] < entry["mean"] < entry["interval95"][1]
    assert entry["mean_upstream_count"] < entry["mean"]
    assert entry["num_users"] == 12
    assert entry["minus_learned"]["mean"] == pytest.approx(random.total.mean() - fixed.total.mean())
    itself = evaluator.summary(fixed, fixed).minus_learned.to_json()
    assert (itself["mean"], itself["interval95"]) == (0.0, [0.0, 0.0])
    quarters = entry["quarters"]
    assert T * np.mean(quarters["reward_per_step"]) == pytest.approx(entry["mean"])
    assert quarters["interest_drift"][0] == 0.0 < quarters["interest_drift"][3]
    # Whoever always shows two documents of nine covers 2 / 9, and its slates are all alike.
    always = evaluator.summary(fixed, fixed).quarters
    assert always["catalogue_coverage"] == pytest.approx([2 / 9] * 4)
    assert always["slate_diversity"] in ([0.0] * 4, [1.0] * 4)
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry


@pytest.mark.slow
def test_rewards_alone_are_those_with_behaviour_bit_for_bit(runtimes):
    alone = evaluator.evaluate(runtimes["random"], T, 13, BATCH, seed=1, behaviour=False)
    assert alone.behaviour is None
    both = evaluator.evaluate(runtimes["random"], T, 13, BATCH, seed=1)
    np.testing.assert_array_equal(alone.total, both.total)
    np.testing.assert_array_equal(alone.upstream_total, both.upstream_total)
    np.testing.assert_allclose(both.behaviour.reward.sum(axis=1), both.total, rtol=1e-12)
    entry = evaluator.summary(alone, alone)
    assert "quarters" not in entry.to_json()
    assert "quarters" not in evaluator.pooled([entry, entry]).to_json()


@pytest.mark.slow
def test_behaviour_of_the_first_users_does_not_depend_on_how_many_follow(runtimes):
    few = evaluator.evaluate(runtimes["random"], T, 5, BATCH, seed=1).behaviour
    many = evaluator.evaluate(runtimes["random"], T, 2 * BATCH + 1, BATCH, seed=1).behaviour
    for name in ("reward", "clicks", "quality", "positive", "drift"):
        assert getattr(many, name).shape == (2 * BATCH + 1, 4)
        np.testing.assert_array_equal(getattr(many, name)[:5], getattr(few, name))


class PlainUser(user_lib.User):
    """Consumes everything for one unit of time, and has neither an interest nor a choice."""

    def initial_state(self):
        return Value(mood=tf.zeros((self._num_users,)))

    def next_state(self, previous_state, user_response, slate_docs):
        del user_response, slate_docs
        return Value(mood=previous_state.get("mood") + 1.0)

    def observation(self, user_state):
        return Value()

    def next_response(self, previous_state, slate_docs):
        return Value(consumed_time=tf.ones((self._num_users,)))

    def specs(self):
        number = fields.tensor_spec((self._num_users,))
        return (
            ValueSpec(mood=number).prefixed_with("state")
            .union(ValueSpec(consumed_time=number).prefixed_with("response"))
            .union(ValueSpec().prefixed_with("observation"))
        )  # fmt: skip


class UnknowingRecommender(UniformRandomRecommender):
    """Remembers nothing, so that no choice has to be read."""

    def next_state(self, previous_state, user_response, slate_docs):
        del user_response, slate_docs
        return previous_state.map(tf.identity)


@pytest.mark.slow
def test_users_without_the_fields_are_evaluated_all_the_same():
    network = create_interest_evolution_simulation_network(
        num_users=BATCH, num_docs=9, num_topics=4, corpus_seed=0, corpus_ctor=corpus.ReferenceCorpus,
        user_ctor=PlainUser, recommender_ctor=UnknowingRecommender,
    )  # fmt: skip
    outcome = evaluator.evaluate(SeededRuntime(network.variables), T, 12, BATCH, seed=3)
    assert outcome.total.tolist() == [T] * 12
    quarters = evaluator.summary(outcome, outcome).quarters
    lost = {name for name, of in quarters.items() if of is None}
    assert lost == {"click_rate", "mean_quality_consumed", "share_positive_quality", "interest_drift"}


@pytest.mark.slow
def test_pooled_takes_the_seed_as_the_unit(runtimes):
    per_seed = [
        evaluator.summary(*(evaluator.evaluate(runtimes[name], T, 12, BATCH, seed) for name in ("random", "fixed")))
        for seed in (0, 1, 2)
    ]
    pooled = evaluator.pooled(per_seed).to_json()
    means = np.array([entry.mean for entry in per_seed])
    assert pooled["mean"] == pytest.approx(means.mean())
    half_width = 4.30265 * means.std(ddof=1) / np.sqrt(3)  # t quantile of 2 degrees of freedom
    assert pooled["interval95"][1] - pooled["mean"] == pytest.approx(half_width, rel=1e-4)
    assert (pooled["num_seeds"], pooled["num_users"]) == (3, 36)


def entry_of(mean, learned, drift=1.0):
    return PolicyResult(
        mean=mean,
        interval95=[mean, mean],
        mean_upstream_count=mean,
        num_users=7,
        minus_learned=MeanInterval(mean=mean - learned, interval95=[None, None]),
        quarters={"interest_drift": [drift, 2.0, None, None], "slate_diversity": None},
    )


def test_pooled_quarters_are_means_over_seeds():
    pooled = evaluator.pooled([entry_of(1.0, 1.0, 3.0), entry_of(2.0, 1.0, None), entry_of(2.0, 1.0, 5.0)]).to_json()
    assert pooled["quarters"] == {"interest_drift": [4.0, 2.0, None, None], "slate_diversity": None}
    estimate = statistics.mean_interval([3.0, 5.0])
    intervals = pooled["quarters_interval95"]["interest_drift"]
    assert intervals == [pytest.approx([estimate.low, estimate.high]), [2.0, 2.0], None, None]


def test_measures_across_runs_say_how_much_they_cover():
    # Means 1, 2, 4, 5, 9: the middle three average 11 / 3. The learned policy has 3 in every run: better in 2 of 5.
    few = evaluator.pooled([entry_of(mean, 3.0) for mean in (1.0, 2.0, 4.0, 5.0, 9.0)]).to_json()
    middle, better = few["interquartile_mean"], few["probability_of_improvement"]
    assert middle["mean"] == pytest.approx(11 / 3)
    assert better["mean"] == pytest.approx(2 / 5)
    for measure, found in (("interquartile_mean", middle), ("probability_of_improvement", better)):
        assert set(found) == {"mean", "interval", "num_runs", "coverage"}
        assert found["num_runs"] == 5
        assert found["coverage"] == {"nominal": 0.95, "measured": statistics.MEASURED_COVERAGE[measure][5]}
        assert found["interval"][0] < found["mean"] < found["interval"][1]
    assert "95" not in json.dumps([middle, better]).replace('"nominal": 0.95', "")


def test_from_ten_runs_on_they_may_be_called_95_percent():
    many = evaluator.pooled([entry_of(float(mean), 3.0) for mean in range(10)]).to_json()
    assert set(many["interquartile_mean"]) == {"mean", "interval95", "num_runs", "coverage"}
    assert many["interquartile_mean"]["coverage"]["measured"] < 0.95


def test_one_run_has_no_interval():
    alone = evaluator.pooled([entry_of(1.0, 3.0)]).to_json()
    assert alone["interval95"] == [None, None]
    assert alone["interquartile_mean"] == {
        "mean": 1.0, "interval": [None, None], "num_runs": 1, "coverage": {"nominal": 0.95, "measured": None},
    }  # fmt: skip


@pytest.mark.parametrize("argument", ["horizon", "num_users", "batch_size"])
def test_errors_name_the_argument(runtimes, argument):
    arguments = {"horizon": T, "num_users": BATCH, "batch_size": BATCH, argument: 0}
    with pytest.raises(validation.InvalidInputError, match=f"{argument} must be an integer of at least 1, got 0"):
        evaluator.evaluate(runtimes["random"], seed=0, **arguments)
