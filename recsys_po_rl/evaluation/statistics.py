"""Intervals for means and paired differences."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean and the interval that covers the true one with the stated confidence."""

    mean: float
    low: float
    high: float
    num_units: int  # independent units that were averaged


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


@functools.cache
def t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Quantile of Student's t distribution."""
    law = tfp.distributions.StudentT(df=tf.constant(degrees_of_freedom, tf.float64), loc=0.0, scale=1.0)
    return float(law.quantile(tf.constant(probability, tf.float64)))
