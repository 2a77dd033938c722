"""Evaluation: the same users for every policy, whatever the size of the population."""

import functools

import numpy as np
import pytest

from recsys_po_rl import baselines, checks, corpus, draws, fields
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

BATCH, T = 6, 4


@pytest.fixture(scope="module")
def runtimes():
    make = functools.partial(
        create_interest_evolution_simulation_network,
        num_users=BATCH, num_docs=9, num_topics=4, corpus_seed=0, corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip
    fixed = functools.partial(baselines.FixedSlateRecommender, doc_ids=[3, 5])
    return {
        "random": SeededRuntime(make(recommender_ctor=baselines.UniformRandomRecommender).variables),
        "fixed": SeededRuntime(make(recommender_ctor=fixed).variables),
    }


def test_totals_are_sums_of_consumed_times(runtimes):
    rewards = evaluator.evaluate(runtimes["random"], T, BATCH, BATCH, seed=1)
    trajectory = runtimes["random"].trajectory(T, keys=draws.make_keys(1, "evaluation"))
    times = np.maximum(trajectory[fields.USER_RESPONSE].get(fields.CONSUMED_TIME).numpy(), 0.0)
    np.testing.assert_allclose(rewards.total, times.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(rewards.upstream_total, times[:-1].sum(axis=0), rtol=1e-5)
    # Upstream's metric after T - 1 steps is the sum of the first T - 1 responses.
    last = runtimes["random"].execute(T - 1, keys=draws.make_keys(1, "evaluation"))
    np.testing.assert_allclose(
        rewards.upstream_total, last[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD), rtol=1e-5
    )


def test_more_users_leave_the_first_ones_as_they_were(runtimes):
    few = evaluator.evaluate(runtimes["random"], T, 5, BATCH, seed=1)
    many = evaluator.evaluate(runtimes["random"], T, 2 * BATCH + 1, BATCH, seed=1)
    assert few.total.shape == (5,)
    assert many.total.shape == (2 * BATCH + 1,)
    np.testing.assert_array_equal(many.total[:5], few.total)
    assert len(np.unique(many.total)) > BATCH  # further batches are other users


def test_seed_and_path_choose_the_users(runtimes):
    base = evaluator.evaluate(runtimes["fixed"], T, BATCH, BATCH, seed=1)
    assert not np.array_equal(base.total, evaluator.evaluate(runtimes["fixed"], T, BATCH, BATCH, seed=2).total)
    other = evaluator.evaluate(runtimes["fixed"], T, BATCH, BATCH, seed=1, path=("validation",))
    assert not np.array_equal(base.total, other.total)


def test_summary_has_the_promised_form(runtimes):
    random, fixed = (evaluator.evaluate(runtimes[name], T, 12, BATCH, seed=3) for name in ("random", "fixed"))
    entry = evaluator.summary(random, fixed)
    assert set(entry) == {"mean", "interval95", "mean_upstream_count", "num_users", "minus_learned"}
    assert entry["mean"] == pytest.approx(random.total.mean())
    assert entry["interval95"][0] < entry["mean"] < entry["interval95"][1]
    assert entry["mean_upstream_count"] < entry["mean"]
    assert entry["num_users"] == 12
    assert entry["minus_learned"]["mean"] == pytest.approx(random.total.mean() - fixed.total.mean())
    itself = evaluator.summary(fixed, fixed)["minus_learned"]
    assert (itself["mean"], itself["interval95"]) == (0.0, [0.0, 0.0])


def test_pooled_takes_the_seed_as_the_unit(runtimes):
    per_seed = [
        evaluator.summary(*(evaluator.evaluate(runtimes[name], T, 12, BATCH, seed) for name in ("random", "fixed")))
        for seed in (0, 1, 2)
    ]
    pooled = evaluator.pooled(per_seed)
    means = np.array([entry["mean"] for entry in per_seed])
    assert pooled["mean"] == pytest.approx(means.mean())
    half_width = 4.30265 * means.std(ddof=1) / np.sqrt(3)  # t quantile of 2 degrees of freedom
    assert pooled["interval95"][1] - pooled["mean"] == pytest.approx(half_width, rel=1e-4)
    assert (pooled["num_seeds"], pooled["num_users"]) == (3, 36)


@pytest.mark.parametrize("argument", ["horizon", "num_users", "batch_size"])
def test_errors_name_the_argument(runtimes, argument):
    arguments = {"horizon": T, "num_users": BATCH, "batch_size": BATCH, argument: 0}
    with pytest.raises(checks.InvalidInputError, match=f"{argument} must be an integer of at least 1, got 0"):
        evaluator.evaluate(runtimes["random"], seed=0, **arguments)
