"""Results of an evaluation, as evaluation.json holds them: policies, and the price of partial observability.

See `common.records` for how a record is read and written, and `run_folder.schema` for the whole file.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from recsys_po_rl.common.records import Bounds, Count, NonNegative, Record

if TYPE_CHECKING:
    from recsys_po_rl.evaluation import statistics

UNBOUNDED: Sequence[Optional[float]] = (None, None)
Quarters = Mapping[str, Optional[list[Optional[float]]]]  # by measure; None: not measured, or no clicks in the quarter
QuartersIntervals = Mapping[str, Optional[list[Optional[Bounds]]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanInterval(Record):
    """Mean with its 95% interval."""

    mean: float
    interval95: Bounds

    @classmethod
    def from_estimate(cls, estimate: "statistics.Estimate") -> "MeanInterval":
        """Return the mean and interval of an estimate."""
        return cls(mean=estimate.mean, interval95=estimate.bounds)

    def negated(self) -> "MeanInterval":
        """Return the mean and interval of the negative quantity."""
        low, high = (None if bound is None else -bound for bound in self.interval95)
        return MeanInterval(mean=-self.mean, interval95=[high, low])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage(Record):
    """Coverage of an interval: the share of intervals that contain the true value."""

    nominal: Optional[float]
    measured: Optional[float]  # by simulation, see `statistics.MEASURED_COVERAGE`; None: not measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcrossRuns(Record):
    """Statistic over runs with its bootstrap interval.

    The interval is `interval95` from ten runs on, and `interval` below, because its coverage is then far below 95%.
    """

    mean: float
    interval95: Optional[Bounds] = None
    interval: Optional[Bounds] = None
    num_runs: Count
    coverage: Coverage

    @property
    def bounds(self) -> Sequence[Optional[float]]:
        """The bootstrap interval, whatever its name."""
        return self.interval95 or self.interval or UNBOUNDED


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyResult(Record):
    """Rewards and behaviour of one policy.

    Rewards are cumulative consumed times per user over the horizon. Intervals are t intervals over users, and for
    several seeds over seeds.
    """

    mean: float
    interval95: Bounds
    mean_upstream_count: float  # mean over the first T - 1 responses, as counted by recsim_ng's metric
    num_users: Count  # over all seeds
    num_seeds: Optional[Count] = None  # None: one seed, the unit is the user
    minus_learned: MeanInterval  # paired difference to the learned policy, on the same users
    interquartile_mean: Optional[AcrossRuns] = None  # of the seeds' means
    probability_of_improvement: Optional[AcrossRuns] = None  # of the learned policy over this policy
    quarters: Optional[Quarters] = None  # behaviour by quarter of the horizon, see `behaviour.Behaviour`
    quarters_interval95: Optional[QuartersIntervals] = None
    details: Optional[Any] = None  # what the policy reports about itself: any JSON


@dataclasses.dataclass(frozen=True, kw_only=True)
class PricedPolicy(Record):
    """A policy in the price of partial observability."""

    label: str
    sees_interest: bool
    mean: float
    interval95: Bounds
    mean_upstream_count: Optional[float] = None
    share_of_gap: Optional[float]  # may exceed 1; None: an end of the gap is missing, or the gap is 0
    share_interval95: Optional[Bounds]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """Paired difference between two policies."""

    of: str  # the better informed or more able policy
    minus: str
    mean: float
    interval95: Bounds

    @property
    def estimate(self) -> MeanInterval:
        """The difference without the policies' names."""
        return MeanInterval(mean=self.mean, interval95=self.interval95)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Price(Record):
    """Price of partial observability, see `evaluation.price`."""

    unit: str  # users or seeds
    num_units: NonNegative
    policies: Mapping[str, PricedPolicy]
    gap: Optional[MeanInterval]  # full_information_reference minus uniform_random; None if one is missing
    differences: list[Difference]
    learned_position: Optional[str] = None  # policy that observes as much as `learned`, see `price.POSITIONS`
