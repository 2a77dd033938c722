"""Intervals of off-policy estimates, over users.

The contributions of users to an estimate (`offline.Terms.contributions`) are independent, for ratios to first order, so
that Student's t applies to their mean. With heavy weights the contributions are skewed: logs without one of the rare
heavy users give a low estimate with a short interval. The interval is therefore computed for the logarithm of the
estimate, whose standard error is that of the estimate divided by the estimate (delta method): it is asymmetric in the
direction of the skewness, and does not reach below 0, as no sum of consumed times does.

Percentile and studentised bootstrap were measured beside it (benchmarks/results/OFFLINE.md) and cover no better. With
few effectively equally weighted users none of them has its nominal coverage; `offline_evaluation` refuses those.
"""

import math

from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.offline import Terms
from recsys_po_rl.evaluation.statistics import Estimate


def log_t_interval(terms: Terms, confidence: float = statistics.CONFIDENCE) -> Estimate:
    """Return an estimate with its t interval on the log scale; on the plain scale if the estimate is not positive.

    Args:
      terms: the estimate, finite.
      confidence: between 0 and 1, exclusive.

    Raises:
      ValueError: if contributions are not finite, or the confidence is out of bounds.
    """
    plain = statistics.mean_interval(terms.contributions, confidence)
    if plain.mean <= 0.0 or not math.isfinite(plain.high):
        return plain
    relative = (plain.high - plain.mean) / plain.mean
    with_overflow = math.exp(relative) if relative < 700.0 else math.inf
    return Estimate(plain.mean, plain.mean * math.exp(-relative), plain.mean * with_overflow, plain.num_units)
