"""Intervals for means, paired differences and ratios, and the measures of Agarwal et al. (2021) across runs.

Over users there are many units, and t intervals have their nominal coverage. Over runs (seeds) there are few units, and
the t interval is again the primary one. The interquartile mean and the probability of improvement follow Agarwal,
Schwarzer, Castro, Courville, Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS
2021), with their percentile bootstrap, stratified by task; an experiment is one task, so runs are resampled within each
policy. Both are implemented in NumPy and tested for equality with the authors' `rliable` (extra `stats`), so that
evaluation.json is the same with and without `rliable`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

CONFIDENCE = 0.95
BOOTSTRAP_SAMPLES = 10000  # standard error of the rank of an interval's end: sqrt(0.025 * 0.975 / 10000) = 0.0016
LEAST_RUNS_TO_BE_CALLED_95 = 10  # with fewer runs the bootstrap's coverage is far below nominal

# Coverage of the nominal 95% percentile bootstrap interval by number of runs (of each policy, for the probability of
# improvement), measured on normal scores by benchmarks/coverage.py, see benchmarks/COVERAGE.md.
MEASURED_COVERAGE: Mapping[str, Mapping[int, float]] = {
    "interquartile_mean": {2: 0.505, 3: 0.748, 5: 0.897, 10: 0.933, 20: 0.941},
    "probability_of_improvement": {2: 0.508, 3: 0.713, 5: 0.889, 10: 0.928, 20: 0.937},
}


class Estimate(NamedTuple):
    """Estimated mean with a confidence interval."""

    mean: float
    low: float
    high: float
    num_units: int  # number of independent units averaged

    @property
    def bounds(self) -> list[Optional[float]]:
        """Interval in JSON form, [low, high], infinite ends as None."""
        return [bound if np.isfinite(bound) else None for bound in (self.low, self.high)]


def mean_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of independent values with a Student t interval (Student 1908).

    Args:
      values: float [n], n at least 1, one for each independent unit (a user, or a seed).
      confidence: between 0 and 1, exclusive.

    Returns:
      The estimate; for a single value the interval is the whole line.

    Raises:
      ValueError: if the values are not a non-empty vector of finite numbers, or the confidence is out of bounds.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size < 1 or not np.isfinite(values).all():
        raise ValueError(f"values must be a non-empty vector of finite numbers, got shape {values.shape}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    mean = float(values.mean())
    if values.size == 1:
        return Estimate(mean, -np.inf, np.inf, 1)
    half_width = t_quantile(0.5 + confidence / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return Estimate(mean, float(mean - half_width), float(mean + half_width), int(values.size))


def paired_difference(values: np.ndarray, others: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of `values - others` over the same units, with a t interval.

    With common random numbers unit i is the same user under two policies, and the interval is for the mean difference.

    Args:
      values: float [n].
      others: float [n], values of the same units in the same order.
      confidence: between 0 and 1, exclusive.

    Raises:
      ValueError: if the lengths differ, or as in `mean_interval`.
    """
    values, others = np.asarray(values, np.float64), np.asarray(others, np.float64)
    if values.shape != others.shape:
        raise ValueError(f"paired values must have the same shape, got {values.shape} and {others.shape}")
    return mean_interval(values - others, confidence)


def unpaired_difference(first: Estimate, second: Estimate, confidence: float = CONFIDENCE) -> Estimate:
    """Return the difference of the means of two independent samples, with Welch's interval.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are involved"
    (1947), with the degrees of freedom of Satterthwaite (1946).

    Args:
      first: result of `mean_interval` with at least two units.
      second: result of `mean_interval` with at least two units; subtracted from `first`.
      confidence: confidence level of all three intervals.

    Returns:
      The estimate; num_units is the smaller number of units. If a sample has one unit, the interval is the whole line.
    """
    mean, num_units = first.mean - second.mean, min(first.num_units, second.num_units)
    if num_units < 2:
        return Estimate(mean, -np.inf, np.inf, num_units)
    squares = [
        ((sample.high - sample.low) / 2 / t_quantile(0.5 + confidence / 2, sample.num_units - 1)) ** 2
        for sample in (first, second)
    ]
    total = sum(squares)
    if not np.isfinite(total):
        return Estimate(mean, -np.inf, np.inf, num_units)
    if total**2 == 0.0:  # all values within each sample are equal, up to floating-point underflow
        return Estimate(mean, mean, mean, num_units)
    freedom = total**2 / sum(square**2 / (sample.num_units - 1) for square, sample in zip(squares, (first, second)))
    half_width = t_quantile(0.5 + confidence / 2, freedom) * np.sqrt(total)
    return Estimate(mean, float(mean - half_width), float(mean + half_width), num_units)


@functools.cache
def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return a quantile of Student's t distribution."""
    student_t = tfp.distributions.StudentT(df=tf.constant(degrees_of_freedom, tf.float64), loc=0.0, scale=1.0)
    return float(student_t.quantile(tf.constant(probability, tf.float64)))


def ratio_of_means(numerators: np.ndarray, denominators: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of the numerators over the mean of the denominators, with Fieller's interval.

    E. C. Fieller, "Some problems in interval estimation" (1954): all ratios r for which a t test does not reject that
    `numerators - r * denominators` has mean 0. With many units and a denominator far from 0 it agrees with the delta
    method; with few units, or a denominator near 0, the delta method is too narrow and Fieller's interval keeps its
    coverage.

    Args:
      numerators: float [n], one for each independent unit.
      denominators: float [n], values of the same units in the same order; their mean must not be 0.
      confidence: between 0 and 1, exclusive.

    Returns:
      The estimate. Its interval is the whole line if there is one unit, or if the denominators' own interval contains 0
      and the ratio is not the same in every unit.

    Raises:
      ValueError: if the lengths differ or the denominators average 0, or as in `mean_interval`.
    """
    numerators, denominators = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if numerators.shape != denominators.shape:
        raise ValueError(
            f"numerators and denominators must have the same shape, got {numerators.shape} and {denominators.shape}"
        )
    top, bottom = mean_interval(numerators, confidence), mean_interval(denominators, confidence)
    if bottom.mean == 0.0:
        raise ValueError("denominators must not average 0")
    ratio, num_units = top.mean / bottom.mean, top.num_units
    if num_units == 1:
        return Estimate(ratio, -np.inf, np.inf, 1)
    # The roots r of (top - r bottom)^2 = t^2 var(top - r bottom), in terms of the ratio: with r = ratio + x and
    # e = numerators - ratio * denominators of mean 0, (x bottom)^2 = t^2 (var(e) - 2 x cov(e, d) + x^2 var(d)).
    residuals, deviations = numerators - ratio * denominators, denominators - bottom.mean
    if not residuals.any():  # the same ratio in every unit
        return Estimate(ratio, ratio, ratio, num_units)
    squared_t = t_quantile(0.5 + confidence / 2, num_units - 1) ** 2 / (num_units * (num_units - 1))
    quadratic = bottom.mean**2 - squared_t * (deviations @ deviations)
    if quadratic <= 0.0:
        return Estimate(ratio, -np.inf, np.inf, num_units)
    linear, constant = squared_t * (residuals @ deviations), squared_t * (residuals @ residuals)
    root = np.sqrt(linear**2 + quadratic * constant)
    return Estimate(
        ratio, float(ratio + (-linear - root) / quadratic), float(ratio + (-linear + root) / quadratic), num_units
    )


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half of the runs (Agarwal et al. 2021, section 4.3); each tail loses a quarter.

    Args:
      scores: float [..., n], n runs; as in `scipy.stats.trim_mean(scores, 0.25)`, n / 4 is rounded down.

    Returns:
      float64 [...].
    """
    cut = scores.shape[-1] // 4
    in_order = np.sort(np.asarray(scores, np.float64), axis=-1)
    return in_order[..., cut : scores.shape[-1] - cut].mean(axis=-1)


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the share of pairs of runs in which the first policy is better, ties counted half.

    Agarwal et al. 2021, section 4.3.

    Args:
      scores: float [..., n], runs of the first policy.
      others: float [..., m], runs of the second policy.

    Returns:
      float64 [...], between 0 and 1.
    """
    scores, others = np.asarray(scores)[..., :, np.newaxis], np.asarray(others)[..., np.newaxis, :]
    return ((scores > others) + 0.5 * (scores == others)).mean(axis=(-2, -1))


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *policies: np.ndarray,
    confidence: float = CONFIDENCE,
    num_samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return a statistic of runs with its percentile bootstrap interval; runs are resampled within each policy.

    Args:
      statistic: takes an array [..., n] for each policy, returns [...].
      *policies: float [n], n at least 1, scores of each policy's runs; lengths may differ.
      confidence: nominal confidence level between 0 and 1, exclusive; see `measured_coverage` for the actual coverage.
      num_samples: number of bootstrap samples.
      seed: seed of the resampling.

    Returns:
      The estimate; num_units is the smallest number of runs. With a single run the interval is the whole line.

    Raises:
      ValueError: as in `mean_interval`, for each policy.
    """
    num_runs = min(mean_interval(scores, confidence).num_units for scores in policies)
    value = float(statistic(*(np.asarray(scores, np.float64) for scores in policies)))
    if num_runs == 1:
        return Estimate(value, -np.inf, np.inf, 1)
    rng = np.random.default_rng(seed)
    resampled = [
        np.asarray(scores, np.float64)[rng.integers(len(scores), size=(num_samples, len(scores)))]
        for scores in policies
    ]
    low, high = np.quantile(statistic(*resampled), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(value, float(low), float(high), num_runs)


def measured_coverage(measure: str, num_runs: int) -> Optional[float]:
    """Return the measured coverage of the nominal 95% bootstrap interval of a measure, on normal scores.

    Args:
      measure: a key of `MEASURED_COVERAGE`.
      num_runs: number of runs of each policy; between two measured numbers, the smaller number applies.

    Returns:
      The measured coverage, None below the smallest number of runs measured.
    """
    measured = [size for size in MEASURED_COVERAGE[measure] if size <= num_runs]
    return MEASURED_COVERAGE[measure][max(measured)] if measured else None
