"""Statistics of populations in shards."""

import fractions
import math

import numpy as np
import pytest

from recsys_po_rl.evaluation import populations, statistics
from recsys_po_rl.evaluation.populations import Moments, PolicyOfPopulation, PolicyOfShard

WIDTH = 0.5


def test_moments_of_three_users_by_hand():
    moments = Moments.of(np.array([1.0, 2.0, 6.0]))
    assert (moments.count, moments.total, moments.squares) == (3, 9.0, 41.0)
    assert moments.variance == 7.0  # (4 + 1 + 9) / 2
    assert moments.estimate.mean == 3.0
    assert moments.estimate.high - 3.0 == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)  # t of 2 degrees
    assert Moments.of(np.array([4.0])).estimate == (4.0, -math.inf, math.inf, 1)


def test_sums_are_exactly_rounded():
    values = np.array([1e16, 1.0, -1e16, 1e-3])
    assert Moments.of(values).total == float(sum(map(fractions.Fraction, values))) == 1.001
    assert Moments.merged([Moments.of(values[:2]), Moments.of(values[2:])]).count == 4


def test_shards_in_any_grouping_give_the_same_numbers():
    random = np.random.default_rng(0)
    rewards, learned = random.gamma(40.0, 1.5, (2, 1000))
    shards = [PolicyOfShard.of(rewards[i : i + 100], learned[i : i + 100], WIDTH) for i in range(0, 1000, 100)]
    merged = PolicyOfShard.merged(shards)
    assert PolicyOfShard.merged(shards[::-1]) == merged
    result = PolicyOfPopulation.of(merged, WIDTH)
    whole = statistics.mean_interval(rewards)
    np.testing.assert_allclose([result.mean, *result.interval95], whole[:3], rtol=1e-13)
    paired = statistics.paired_difference(rewards, learned)
    difference = result.minus_learned
    np.testing.assert_allclose([difference.mean, *difference.interval95], paired[:3], rtol=1e-10)
    np.testing.assert_allclose(result.standard_deviation, rewards.std(ddof=1), rtol=1e-12)
    assert (result.minimum, result.maximum) == (rewards.min(), rewards.max())
    for share in populations.QUANTILES:
        assert abs(result.quantiles[f"{share:g}"] - np.quantile(rewards, share)) < 3 * WIDTH, share
    assert sum(merged.histogram.values()) == 1000
    assert PolicyOfShard.from_json(merged.to_json(), "shard: ") == merged


def test_quantiles_of_a_histogram_by_hand():
    histogram = {"2": 1, "10": 3}  # 1.0 to 1.5, and 5.0 to 5.5
    assert populations.quantile(histogram, 0.25, WIDTH) == 1.5
    assert populations.quantile(histogram, 0.125, WIDTH) == 1.25
    assert populations.quantile(histogram, 1.0, WIDTH) == 5.5
    assert populations.quantile(histogram, 0.5, WIDTH) == pytest.approx(5.0 + 0.5 / 3)


def test_bins_hold_negative_rewards_too():
    shard = PolicyOfShard.of(np.array([-0.1, 0.0, 0.49, 0.5]), np.zeros(4), WIDTH)
    assert shard.histogram == {"-1": 1, "0": 2, "1": 1}
