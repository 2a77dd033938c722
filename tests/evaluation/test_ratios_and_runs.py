"""Ratios with Fieller's intervals; interquartile mean, probability of improvement and their bootstrap."""

import itertools

import numpy as np
import pytest

from benchmarks import coverage
from recsys_po_rl.evaluation import statistics

SIMULATIONS = 2000  # a coverage of 0.95 then has a standard error of 0.0049


# Ratios.


def test_ratio_worked_by_hand():
    # Numerators average 3, denominators 4. Fieller: (3 - 4 r)^2 = q (var_a - 2 r cov + r^2 var_b) with q = t^2 / n.
    # Deviations (-1, 0, 1) and (1, -2, 1): var_a = 1, cov = 0, var_b = 3; t^2 / 3 = 4.302653^2 / 3 = 6.170941.
    # (16 - 18.512823) r^2 is negative: unbounded. Four copies of the units: var_a = 8/11, var_b = 24/11, t = 2.200985,
    # q = 0.403695: (16 - 0.880789) r^2 - 24 r + (9 - 0.293596) = 0, r = (24 -+ sqrt(576 - 526.538...)) / 30.238422.
    numerators, denominators = np.array([2.0, 3.0, 4.0]), np.array([5.0, 2.0, 5.0])
    assert statistics.ratio_of_means(numerators, denominators) == (0.75, -np.inf, np.inf, 3)
    estimate = statistics.ratio_of_means(np.tile(numerators, 4), np.tile(denominators, 4))
    leading, last = 16 - 0.403695 * 24 / 11, 9 - 0.403695 * 8 / 11
    root = np.sqrt(12**2 - leading * last)
    assert estimate == pytest.approx((0.75, (12 - root) / leading, (12 + root) / leading, 12), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_ends_of_a_ratio_are_where_the_t_test_is_indifferent(seed):
    rng = np.random.default_rng(seed)
    numerators, denominators = rng.normal(2.0, 1.0, 17), rng.normal(5.0, 1.0, 17) - seed * 12
    estimate = statistics.ratio_of_means(numerators, denominators)
    assert estimate.low < estimate.mean < estimate.high
    for ratio in (estimate.low, estimate.high):
        tested = statistics.mean_interval(numerators - ratio * denominators)
        assert min(abs(tested.low), abs(tested.high)) == pytest.approx(0.0, abs=1e-9)


def test_with_many_units_a_ratio_has_the_interval_of_the_delta_method():
    rng = np.random.default_rng(0)
    denominators = rng.gamma(4.0, size=100_000)
    numerators = 0.3 * denominators + rng.normal(size=100_000)
    estimate = statistics.ratio_of_means(numerators, denominators)
    residuals = (numerators - estimate.mean * denominators) / denominators.mean()
    half_width = 1.959964 * residuals.std() / np.sqrt(100_000)
    assert estimate.high - estimate.mean == pytest.approx(half_width, rel=0.01)
    assert estimate.mean - estimate.low == pytest.approx(half_width, rel=0.01)


def test_exact_ratios_have_no_width():
    denominators = np.array([3.0, 4.0, 8.0])
    for factor in (0.0, 1.0):
        assert statistics.ratio_of_means(factor * denominators, denominators) == (factor, factor, factor, 3)


def test_a_single_ratio_is_bounded_by_nothing():
    assert statistics.ratio_of_means([1.0], [2.0]) == (0.5, -np.inf, np.inf, 1)


def test_errors_of_ratios():
    with pytest.raises(ValueError, match=r"must have the same shape, got \(2,\) and \(3,\)"):
        statistics.ratio_of_means([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="denominators must not average 0"):
        statistics.ratio_of_means([1.0, 2.0], [1.0, -1.0])
    with pytest.raises(ValueError, match="finite numbers"):
        statistics.ratio_of_means([1.0, np.nan], [1.0, 2.0])


def test_bounds_are_as_json_has_them():
    assert statistics.Estimate(1.0, -np.inf, 2.0, 1).bounds == [None, 2.0]


# Coverage over users as skewed as the world's: totals of 2000 random users have skewness 0.73 (a gamma law of shape
# 7.5) and mean 9.3; 500 users are simulated. The bounds are 4 standard errors from 0.95.


def totals(rng, users=500):
    """Random, learned, reference: what users share, and what each policy adds; true means 9.3, 11.3, 13.3."""
    random = rng.gamma(7.5, 9.3 / 7.5, users)
    learned = random + rng.exponential(3.0, users) * rng.choice([-1, 2], users, p=[4 / 9, 5 / 9])
    return random, learned, random + rng.exponential(4.0, users)


def clicks_and_quality(rng, users=500):
    """Rates of clicks Beta(2, 20), 25 steps; those who click more have better taste: ratio -0.2 + 2 var / mean."""
    rates = rng.beta(2.0, 20.0, users)
    clicks = rng.binomial(25, rates)
    taste = -0.2 + 2.0 * (rates - 2 / 22)
    return taste * clicks + 0.5 * np.sqrt(clicks) * rng.normal(size=users), clicks


TRUE_QUALITY = -0.2 + 2.0 * (2 * 20 / (22**2 * 23)) / (2 / 22)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_over_users_cover_as_often_as_they_say(seed):
    rng = np.random.default_rng(seed)
    covered = {"mean": 0, "paired difference": 0, "share of the gap": 0, "quality": 0}
    for _ in range(SIMULATIONS):
        random, learned, reference = totals(rng)
        quality, clicks = clicks_and_quality(rng)
        found = {
            "mean": (statistics.mean_interval(learned), 11.3),
            "paired difference": (statistics.paired_difference(learned, random), 2.0),
            "share of the gap": (statistics.ratio_of_means(learned - random, reference - random), 0.5),
            "quality": (statistics.ratio_of_means(quality, clicks), TRUE_QUALITY),
        }
        for name, (estimate, truth) in found.items():
            covered[name] += estimate.low <= truth <= estimate.high
    for name, times in covered.items():
        assert 0.93 < times / SIMULATIONS < 0.97, name


def test_ratios_over_three_seeds_cover_too():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(SIMULATIONS):
        gap = rng.normal(10.0, 1.0, 3)
        estimate = statistics.ratio_of_means(0.6 * gap + rng.normal(0.0, 0.5, 3), gap)
        covered += estimate.low <= 0.6 <= estimate.high
    assert 0.93 < covered / SIMULATIONS < 0.97


# Across runs.


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 9.0], 4.0),  # a quarter of three is less than one run: nothing is cut
        ([9.0, 1.0, 2.0, 4.0], 3.0),
        ([0.0, 100.0, 3.0, 1.0, 2.0], 2.0),
        ([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -100.0], 4.0),  # two at each end
    ],
)
def test_interquartile_mean_worked_by_hand(scores, expected):
    assert statistics.interquartile_mean(np.array(scores)) == expected


def test_interquartile_mean_is_taken_along_the_last_axis():
    scores = np.random.default_rng(0).normal(size=(3, 2, 9))
    expected = [[statistics.interquartile_mean(row) for row in rows] for rows in scores]
    np.testing.assert_array_equal(statistics.interquartile_mean(scores), expected)


def test_probability_of_improvement_worked_by_hand():
    # 1 beats none of (2, 3), ties with none; 2 ties with 2; 5 beats both: (0.5 + 2) / 6.
    assert statistics.probability_of_improvement([1.0, 2.0, 5.0], [2.0, 3.0]) == pytest.approx(2.5 / 6)
    assert statistics.probability_of_improvement([4.0, 4.0], [4.0, 4.0, 4.0]) == 0.5


def test_bootstrap_of_two_runs_is_known_exactly():
    # Means of two draws from (0, 1): 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    estimate = statistics.bootstrap(statistics.interquartile_mean, np.array([0.0, 1.0]))
    assert estimate == (0.5, 0.0, 1.0, 2)
    half = statistics.bootstrap(statistics.interquartile_mean, np.array([0.0, 1.0]), confidence=0.4)
    assert half == (0.5, 0.5, 0.5, 2)


def test_bootstrap_equals_the_exhaustive_one():
    scores, others = np.array([1.0, 2.5, 3.0]), np.array([0.5, 2.0, 2.75])
    resamples = list(itertools.product(range(3), repeat=3))
    exact = [
        statistics.probability_of_improvement(scores[list(one)], others[list(other)])
        for one in resamples
        for other in resamples
    ]
    estimate = statistics.bootstrap(statistics.probability_of_improvement, scores, others, num_samples=100_000)
    assert estimate.mean == pytest.approx(6 / 9)
    np.testing.assert_allclose(estimate[1:3], np.quantile(exact, [0.025, 0.975]), atol=1e-9)


def test_bootstrap_is_repeatable_and_a_single_run_has_no_interval():
    scores = np.random.default_rng(1).normal(size=7)
    first, again, other = (statistics.bootstrap(statistics.interquartile_mean, scores, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert statistics.bootstrap(statistics.interquartile_mean, scores[:1]) == (scores[0], -np.inf, np.inf, 1)


@pytest.mark.slow
@pytest.mark.parametrize("num_runs", [3, 9])
def test_equals_rliable(num_runs):
    pytest.importorskip("rliable", reason="the authors' package, extra `stats`")
    from rliable import library, metrics

    rng = np.random.default_rng(num_runs)
    scores, others = rng.normal(0.5, size=(num_runs, 1)), rng.normal(size=(num_runs + 1, 1))
    cases = [
        (metrics.aggregate_iqm, statistics.interquartile_mean, (scores,)),
        (metrics.probability_of_improvement, statistics.probability_of_improvement, (scores, others)),
    ]
    for theirs, ours, policies in cases:
        points, intervals = library.get_interval_estimates(
            {"a": policies if len(policies) > 1 else policies[0]},
            lambda *of, f=theirs: np.array([f(*of)]),
            reps=2000,
            random_state=np.random.RandomState(0),
        )
        estimate = statistics.bootstrap(ours, *(of[:, 0] for of in policies), num_samples=2000)
        assert estimate.mean == pytest.approx(float(points["a"][0]), abs=1e-12)
        # Ends of an interval from 2000 samples have a rank error of 0.0035 around 0.025: a tenth of a
        # standard deviation is several times what that moves them.
        np.testing.assert_allclose(estimate[1:3], intervals["a"].ravel(), atol=0.1)


def test_measured_coverage_is_that_of_the_next_smaller_number_of_runs():
    table = statistics.MEASURED_COVERAGE["interquartile_mean"]
    assert statistics.measured_coverage("interquartile_mean", 1) is None
    assert statistics.measured_coverage("interquartile_mean", 5) == table[5]
    assert statistics.measured_coverage("interquartile_mean", 9) == table[5]
    assert statistics.measured_coverage("interquartile_mean", 1000) == table[20]
    assert all(
        coverage < statistics.CONFIDENCE for of in statistics.MEASURED_COVERAGE.values() for coverage in of.values()
    )


@pytest.mark.slow
def test_coverages_are_what_a_new_measurement_finds():
    # Standard errors of 2000 simulations: 0.0068 at 0.897 and 0.0101 at 0.713; bounds are 4 of them.
    found = coverage.coverage_of_interquartile_mean(5, simulations=SIMULATIONS, seed=1)
    assert found == pytest.approx(statistics.MEASURED_COVERAGE["interquartile_mean"][5], abs=0.028)
    found = min(
        coverage.coverage_of_improvement(3, shift, simulations=SIMULATIONS, seed=1) for shift in coverage.SHIFTS
    )
    assert found == pytest.approx(statistics.MEASURED_COVERAGE["probability_of_improvement"][3], abs=0.04)
