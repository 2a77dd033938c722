"""Intervals for means, paired differences and ratios, and the measures of Agarwal et al. (2021) across runs.

Over users, units are many and t intervals hold what they say. Over runs (seeds) there are few: for them too the t
interval comes first. The interquartile mean and the probability of improvement follow Agarwal, Schwarzer, Castro,
Courville, Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021), with their
percentile bootstrap, stratified by task; an experiment is one task, so runs are resampled within each policy. They are
computed here, in NumPy, and tested for equality with the authors' `rliable` (extra `stats`), so that evaluation.json
says the same with and without it.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

CONFIDENCE = 0.95
BOOTSTRAP_SAMPLES = 10000  # standard error of an end's rank: sqrt(0.025 * 0.975 / 10000) = 0.0016
LEAST_RUNS_TO_BE_CALLED_95 = 10  # below, the bootstrap covers far less than it says

# How often the nominal 95% percentile bootstrap interval covers, by number of runs (of each policy, for the
# probability of improvement): measured on normal scores by benchmarks/coverage.py, see benchmarks/COVERAGE.md.
MEASURED_COVERAGE: Mapping[str, Mapping[int, float]] = {
    "interquartile_mean": {2: 0.505, 3: 0.748, 5: 0.897, 10: 0.933, 20: 0.941},
    "probability_of_improvement": {2: 0.508, 3: 0.713, 5: 0.889, 10: 0.928, 20: 0.937},
}


class Estimate(NamedTuple):
    """A mean and the interval that covers the true one with the stated confidence."""

    mean: float
    low: float
    high: float
    num_units: int  # independent units that were averaged

    @property
    def bounds(self) -> list[Optional[float]]:
        """The interval as JSON has it, [low, high], an infinite end as None."""
        return [bound if np.isfinite(bound) else None for bound in (self.low, self.high)]


def mean_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of independent values with a Student t interval (Student 1908).

    Args:
      values: float [n], n at least 1, one for each independent unit (a user, or a seed).
      confidence: between 0 and 1, both excluded.

    Returns:
      The estimate; with a single value its interval is the whole line.

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
    """Mean of `values - others` over the same units, with a t interval.

    With common random numbers unit i is the same user under two policies, and the interval is that of the differences.

    Args:
      values: float [n].
      others: float [n], of the same units in the same order.
      confidence: between 0 and 1, both excluded.

    Raises:
      ValueError: if the lengths differ, or as `mean_interval`.
    """
    values, others = np.asarray(values, np.float64), np.asarray(others, np.float64)
    if values.shape != others.shape:
        raise ValueError(f"paired values must have the same shape, got {values.shape} and {others.shape}")
    return mean_interval(values - others, confidence)


def unpaired_difference(one: Estimate, other: Estimate, confidence: float = CONFIDENCE) -> Estimate:
    """Difference of the means of two independent samples, with Welch's interval.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are involved"
    (1947), with the degrees of freedom of Satterthwaite (1946).

    Args:
      one: from `mean_interval`, with at least two units.
      other: from `mean_interval`, with at least two units; it is subtracted.
      confidence: of all three intervals.

    Returns:
      The estimate; num_units is the smaller number of units. Its interval is the whole line if a sample has one unit.
    """
    mean, num_units = one.mean - other.mean, min(one.num_units, other.num_units)
    if num_units < 2:
        return Estimate(mean, -np.inf, np.inf, num_units)
    squares = [
        ((of.high - of.low) / 2 / t_quantile(0.5 + confidence / 2, of.num_units - 1)) ** 2 for of in (one, other)
    ]
    total = sum(squares)
    if not np.isfinite(total):
        return Estimate(mean, -np.inf, np.inf, num_units)
    if total**2 == 0.0:  # all values are the same within each sample, as far as can be told
        return Estimate(mean, mean, mean, num_units)
    freedom = total**2 / sum(square**2 / (of.num_units - 1) for square, of in zip(squares, (one, other)))
    half_width = t_quantile(0.5 + confidence / 2, freedom) * np.sqrt(total)
    return Estimate(mean, float(mean - half_width), float(mean + half_width), num_units)


@functools.cache
def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t distribution."""
    law = tfp.distributions.StudentT(df=tf.constant(degrees_of_freedom, tf.float64), loc=0.0, scale=1.0)
    return float(law.quantile(tf.constant(probability, tf.float64)))


def ratio_of_means(numerators: np.ndarray, denominators: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of the numerators over mean of the denominators, with Fieller's interval.

    E. C. Fieller, "Some problems in interval estimation" (1954): all ratios r for which a t test does not reject that
    `numerators - r * denominators` has mean 0. With many units and a clear denominator it agrees with the delta
    method; with few, or a denominator near 0, it stays honest where the delta method is too narrow.

    Args:
      numerators: float [n], one for each independent unit.
      denominators: float [n], of the same units in the same order; their mean must not be 0.
      confidence: between 0 and 1, both excluded.

    Returns:
      The estimate. Its interval is the whole line if there is one unit, or if the denominators' own interval reaches 0
      and the ratio is not the same in every unit.

    Raises:
      ValueError: if the lengths differ or the denominators average 0, or as `mean_interval`.
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
    # The roots r of (top - r bottom)^2 = t^2 var(top - r bottom), written around the ratio: with r = ratio + x and
    # e = numerators - ratio * denominators of mean 0, it is (x bottom)^2 = t^2 (var(e) - 2 x cov(e, d) + x^2 var(d)).
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
    """Mean of the middle half of the runs (Agarwal et al. 2021, section 4.3): a quarter is cut off at each end.

    Args:
      scores: float [..., n], n runs; as in `scipy.stats.trim_mean(scores, 0.25)`, the whole part of n / 4 is cut.

    Returns:
      float64 [...].
    """
    cut = scores.shape[-1] // 4
    in_order = np.sort(np.asarray(scores, np.float64), axis=-1)
    return in_order[..., cut : scores.shape[-1] - cut].mean(axis=-1)


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of pairs of runs in which the first policy is better, ties counted half (Agarwal et al. 2021, section 4.3).

    Args:
      scores: float [..., n], runs of the first policy.
      others: float [..., m], runs of the second.

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
    """A statistic of runs with its percentile bootstrap interval; runs are resampled within each policy.

    Args:
      statistic: takes an array [..., n] for each policy, returns [...].
      *policies: float [n], n at least 1, scores of each policy's runs; lengths may differ.
      confidence: between 0 and 1, both excluded: nominal, see `measured_coverage` for what it is worth.
      num_samples: bootstrap samples.
      seed: of the resampling.

    Returns:
      The estimate; num_units is the smallest number of runs, and with a single run the interval is the whole line.

    Raises:
      ValueError: as `mean_interval`, for each policy.
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
    """How often the nominal 95% bootstrap interval of a measure covers, on normal scores.

    Args:
      measure: a key of `MEASURED_COVERAGE`.
      num_runs: runs of each policy; between two measured numbers, that of the smaller one is given.

    Returns:
      The measured share, None below the smallest number measured.
    """
    measured = [size for size in MEASURED_COVERAGE[measure] if size <= num_runs]
    return MEASURED_COVERAGE[measure][max(measured)] if measured else None
