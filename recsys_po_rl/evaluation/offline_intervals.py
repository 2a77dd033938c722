"""Intervals of off-policy estimates, over users."""

import numpy as np

from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.offline import Terms
from recsys_po_rl.evaluation.statistics import Estimate

BOOTSTRAP_SAMPLES = 2000
BLOCK = 1 << 24  # elements of a bootstrap's counts held at once


def t_interval(terms: Terms, confidence: float = statistics.CONFIDENCE) -> Estimate:
    return statistics.mean_interval(terms.contributions, confidence)


def log_t_interval(terms: Terms, confidence: float = statistics.CONFIDENCE) -> Estimate:
    z = statistics.mean_interval(terms.contributions, confidence)
    half = z.high - z.mean
    if z.mean <= 0 or not np.isfinite(half):
        return z
    return Estimate(z.mean, z.mean * np.exp(-half / z.mean), z.mean * np.exp(half / z.mean), z.num_units)


def percentile_interval(terms: Terms, confidence=0.95, num_samples=1000, seed=0):
    rng = np.random.default_rng(seed)
    n = terms.numerators.shape[0]
    counts = rng.multinomial(n, np.full(n, 1 / n), size=num_samples).astype(float)
    num = counts @ terms.numerators
    if terms.denominators is None:
        v = num.sum(1) / n
    else:
        v = (num / (counts @ terms.denominators)).sum(1)
    lo, hi = np.quantile(v, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(terms.value, lo, hi, n)


def bootstrap_t_interval(terms: Terms, confidence=0.95, num_samples=1000, seed=0):
    rng = np.random.default_rng(seed)
    z = terms.contributions
    n = len(z)
    z = z - terms.value
    counts = rng.multinomial(n, np.full(n, 1 / n), size=num_samples).astype(float)
    mean = counts @ z / n
    var = counts @ z**2 / n - mean**2
    t = mean / np.sqrt(np.maximum(var, 1e-300) / (n - 1))
    lo, hi = np.quantile(t, [0.5 - confidence / 2, 0.5 + confidence / 2])
    se = z.std(ddof=1) / np.sqrt(n)
    return Estimate(terms.value, terms.value - hi * se, terms.value - lo * se, n)
