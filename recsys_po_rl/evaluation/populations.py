"""Statistics of populations too large for an array over users: computed in shards, merged in the order of the shards.

A shard's sums are exactly rounded (Shewchuk 1997, "Adaptive precision floating-point arithmetic and fast robust
geometric predicates", through `math.fsum`), and so is the sum over shards: the result does not depend on how shards
were divided between processes.
"""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from recsys_po_rl.common.records import Bounds, Count, Record
from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.evaluation.statistics import Estimate

BINS = 1000  # of a histogram, from 0 to a reward of 1 a step
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments(Record):
    """Sums over users."""

    count: Count
    total: float
    squares: float  # sum of squares

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """Return the sums of some users' values; float64 [n]."""
        return cls(count=len(values), total=math.fsum(values), squares=math.fsum(values * values))

    @classmethod
    def merged(cls, parts: Sequence["Moments"]) -> "Moments":
        """Return the sums over the users of all parts."""
        return cls(
            count=sum(part.count for part in parts),
            total=math.fsum(part.total for part in parts),
            squares=math.fsum(part.squares for part in parts),
        )

    @property
    def variance(self) -> float:
        """Unbiased variance; 0 for one user.

        The difference of two sums loses about log10(mean² / variance) of 16 digits: 2 for rewards of this project.
        """
        if self.count == 1:
            return 0.0
        return max(0.0, self.squares - self.total * self.total / self.count) / (self.count - 1)

    @property
    def estimate(self) -> Estimate:
        """Mean with a t interval over users, see `statistics.mean_interval`."""
        mean = self.total / self.count
        if self.count == 1:
            return Estimate(mean, -math.inf, math.inf, 1)
        quantile = statistics.t_quantile(0.5 + statistics.CONFIDENCE / 2, self.count - 1)
        half_width = quantile * math.sqrt(self.variance / self.count)
        return Estimate(mean, mean - half_width, mean + half_width, self.count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyOfShard(Record):
    """Rewards of the users of a shard under one policy."""

    reward: Moments
    minus_learned: Moments  # paired difference to the first policy, on the same users
    minimum: float
    maximum: float
    histogram: Mapping[str, Count]  # users by bin; bin i holds rewards from i to i + 1 widths

    @classmethod
    def of(cls, rewards: np.ndarray, learned: np.ndarray, width: float) -> "PolicyOfShard":
        """Return the statistics of some users.

        Args:
          rewards: float64 [n], cumulative rewards under the policy.
          learned: float64 [n], those of the same users under the policy that is compared with.
          width: of a bin.
        """
        bins, counts = np.unique(np.floor(rewards / width).astype(np.int64), return_counts=True)
        return cls(
            reward=Moments.of(rewards),
            minus_learned=Moments.of(rewards - learned),
            minimum=float(rewards.min()),
            maximum=float(rewards.max()),
            histogram={str(place): int(count) for place, count in zip(bins, counts)},
        )

    @classmethod
    def merged(cls, parts: Sequence["PolicyOfShard"]) -> "PolicyOfShard":
        """Return the statistics over the users of all parts."""
        histogram: collections.Counter[int] = collections.Counter()
        for part in parts:
            histogram.update({int(place): count for place, count in part.histogram.items()})
        return cls(
            reward=Moments.merged([part.reward for part in parts]),
            minus_learned=Moments.merged([part.minus_learned for part in parts]),
            minimum=min(part.minimum for part in parts),
            maximum=max(part.maximum for part in parts),
            histogram={str(place): histogram[place] for place in sorted(histogram)},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyOfPopulation(Record):
    """Result of a policy over a population."""

    mean: float
    interval95: Bounds
    standard_deviation: float
    minimum: float
    maximum: float
    quantiles: Mapping[str, float]  # by probability, to the width of a bin
    minus_learned: MeanInterval

    @classmethod
    def of(cls, users: PolicyOfShard, width: float) -> "PolicyOfPopulation":
        """Return the result from the statistics over all users."""
        estimate = users.reward.estimate
        return cls(
            mean=estimate.mean,
            interval95=estimate.bounds,
            standard_deviation=math.sqrt(users.reward.variance),
            minimum=users.minimum,
            maximum=users.maximum,
            quantiles={f"{share:g}": quantile(users.histogram, share, width) for share in QUANTILES},
            minus_learned=MeanInterval.from_estimate(users.minus_learned.estimate),
        )


def quantile(histogram: Mapping[str, int], share: float, width: float) -> float:
    """Return a quantile of a histogram, linear within a bin.

    Args:
      histogram: users by bin, at least one.
      share: between 0 and 1.
      width: of a bin.
    """
    places = sorted(int(place) for place in histogram)
    target = share * sum(histogram.values())
    below = 0
    for place in places:
        count = histogram[str(place)]
        if below + count >= target:
            return (place + (target - below) / count) * width
        below += count
    return (places[-1] + 1) * width
