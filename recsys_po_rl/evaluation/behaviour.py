"""Measures of users' and recommender's behaviour in each quarter of the horizon, reduced batch by batch.

The value of a network at step t holds the interest before slate t, slate t, and the response to slate t; the metrics of
step t contain the response of step t - 1. T responses therefore take T + 1 steps: responses, slates and interests
0..T-1, rewards 1..T.

Quarters: the T responses in order, in four parts of as equal length as possible, the longer parts first. With T below 4
the last 4 - T quarters are empty, and their measures are None.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl import fields
from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.statistics import Estimate

NUM_QUARTERS = 4
COVERAGE_USERS = 1000  # catalogue coverage is computed from the slates of the first 1000 users

# Recorded fields, if the network has them; measures whose fields are missing are omitted.
RECORD: Mapping[str, Sequence[str]] = {
    fields.USER_STATE: (fields.INTEREST,),
    fields.USER_RESPONSE: (fields.CHOICE,),
    fields.AVAILABLE_DOCS: (fields.DOC_ID,),
    fields.SLATE_DOCS: (fields.DOC_ID, fields.DOC_TOPIC, fields.DOC_QUALITY),
}

PerQuarter = list[Optional[float]]
Estimates = Mapping[str, Optional[list[Optional[Estimate]]]]  # by measure, for each quarter


class Behaviour(NamedTuple):
    """Measures of N users, by quarter; None if the network lacks a field.

    Arrays [N, 4] allow paired comparisons and take 160 bytes a user: 160 MB for a million users.
    """

    steps: np.ndarray  # int64 [4], responses in each quarter; they sum to T
    reward: np.ndarray  # float64 [N, 4], sums over the quarter, in units of reward
    clicks: Optional[np.ndarray]  # float64 [N, 4], numbers of clicks
    quality: Optional[np.ndarray]  # float64 [N, 4], sums over the clicks
    positive: Optional[np.ndarray]  # float64 [N, 4], numbers of clicks on documents of quality above 0
    drift: Optional[np.ndarray]  # float64 [N, 4], sums of Euclidean distances from the first interest
    catalogue_coverage: Optional[PerQuarter]  # of the first `COVERAGE_USERS` users
    slate_diversity: Optional[PerQuarter]

    def estimates(self) -> Estimates:
        """Return per-user measures with 95% intervals over users.

        Means over steps have t intervals; means over clicks are ratios with intervals of `statistics.ratio_of_means`.

        Returns:
          Four estimates by measure name; None for an empty quarter and, in measures of clicks, for a quarter without
          clicks.
        """
        clicks = self.clicks
        over_clicks = {"mean_quality_consumed": self.quality, "share_positive_quality": self.positive}
        by_measure: dict[str, Optional[list[Optional[Estimate]]]] = {
            "reward_per_step": self._per_step(self.reward),
            "click_rate": None if clicks is None else self._per_step(clicks),
        }
        for name, sums in over_clicks.items():
            by_measure[name] = None if sums is None or clicks is None else _ratios(sums, clicks)
        by_measure["interest_drift"] = None if self.drift is None else self._per_step(self.drift)
        return by_measure

    def _per_step(self, sums: np.ndarray) -> list[Optional[Estimate]]:
        return [
            statistics.mean_interval(of_quarter / steps) if steps else None
            for of_quarter, steps in zip(sums.T, self.steps)
        ]

    def summary(self) -> dict[str, Any]:
        """Return the entries `quarters` and `quarters_interval95` of a policy in evaluation.json."""
        estimates = self.estimates()
        return {
            "quarters": {
                **means(estimates),
                "catalogue_coverage": self.catalogue_coverage,
                "slate_diversity": self.slate_diversity,
            },
            "quarters_interval95": intervals(estimates),
        }


def means(estimates: Estimates) -> dict[str, Optional[PerQuarter]]:
    """Return the means of estimates, by measure and quarter, as in evaluation.json."""
    return {
        name: None if quarters is None else [None if estimate is None else estimate.mean for estimate in quarters]
        for name, quarters in estimates.items()
    }


def intervals(estimates: Estimates) -> dict[str, Any]:
    """Return the intervals of estimates, by measure and quarter, as in evaluation.json."""
    return {
        name: None if quarters is None else [None if estimate is None else estimate.bounds for estimate in quarters]
        for name, quarters in estimates.items()
    }


def parts_of(horizon: int, num_parts: int) -> list[slice]:
    """Return slices of the responses 0..horizon - 1 in parts of as equal length as possible, the longer parts first."""
    edges = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(horizon), num_parts)])
    return [slice(first, end) for first, end in itertools.pairwise(edges.tolist())]


class Collector:
    """Reduction of trajectory batches to a `Behaviour`, so that memory does not grow with trajectories."""

    def __init__(self, horizon: int, num_parts: int = NUM_QUARTERS) -> None:
        """Create an empty collector.

        Args:
          horizon: T, responses of each user, at least 1.
          num_parts: number of parts of the horizon, at least 1; arrays with a column for each quarter then have a
            column for each part.
        """
        self._quarters = parts_of(horizon, num_parts)
        self._sums: dict[str, list[np.ndarray]] = {}
        self._num_users = 0
        self._shown: list[list[np.ndarray]] = [[] for _ in self._quarters]
        self._available: list[list[np.ndarray]] = [[] for _ in self._quarters]
        self._different = np.zeros(num_parts)
        self._pairs = np.zeros(num_parts)

    def add(self, trajectory: Mapping[str, Any], num_users: int) -> None:
        """Add a batch.

        Args:
          trajectory: fields [T + 1, ...] of each recorded variable, with users on the second axis (except for the
            available documents); the reward is required, fields of `RECORD` may be missing.
          num_users: number of users of the batch that count, from the first.
        """

        def recorded(name: str, field: str, rank: int) -> Optional[np.ndarray]:
            of_variable = trajectory[name].as_dict if name in trajectory else {}
            array = np.asarray(of_variable[field]) if field in of_variable else None
            return array[:, :num_users] if array is not None and array.ndim == rank else None

        rewards = np.asarray(trajectory[fields.METRICS_STATE].get(fields.REWARD))[1:, :num_users]
        choice = recorded(fields.USER_RESPONSE, fields.CHOICE, 2)
        ids, topics, qualities = (recorded(fields.SLATE_DOCS, name, 3) for name in RECORD[fields.SLATE_DOCS])
        interest = recorded(fields.USER_STATE, fields.INTEREST, 3)
        slate = next((of_slate for of_slate in (ids, topics, qualities) if of_slate is not None), None)

        self._append("reward", [rewards[quarter].sum(axis=0, dtype=np.float64) for quarter in self._quarters])
        if choice is not None and slate is not None:
            clicked = choice < slate.shape[-1]
            self._append("clicks", [clicked[quarter].sum(axis=0, dtype=np.float64) for quarter in self._quarters])
            if qualities is not None:
                consumed = np.minimum(choice, slate.shape[-1] - 1)[..., np.newaxis]
                quality = np.where(clicked, np.take_along_axis(qualities, consumed, axis=-1)[..., 0], 0.0)
                self._append("quality", [quality[quarter].sum(axis=0, dtype=np.float64) for quarter in self._quarters])
                self._append(
                    "positive", [(quality[quarter] > 0).sum(axis=0, dtype=np.float64) for quarter in self._quarters]
                )
        if interest is not None:
            self._append(
                "drift", [_distances(interest[quarter], interest[0]).sum(axis=0) for quarter in self._quarters]
            )
        if ids is not None:
            self._add_coverage(ids, trajectory)
        if topics is not None:
            self._add_diversity(topics, None if ids is None else ids != fields.NULL_DOC_ID)
        self._num_users += num_users

    def _append(self, name: str, quarters: list[np.ndarray]) -> None:
        self._sums.setdefault(name, []).append(np.stack(quarters, axis=-1))

    def _add_coverage(self, ids: np.ndarray, trajectory: Mapping[str, Any]) -> None:
        counting = COVERAGE_USERS - self._num_users
        on_offer = trajectory.get(fields.AVAILABLE_DOCS)
        if counting <= 0 or on_offer is None or fields.DOC_ID not in on_offer.as_dict:
            return
        available = np.asarray(on_offer.get(fields.DOC_ID))
        always_the_same = bool((available[1:] == available[:-1]).all())
        for index, steps in enumerate(self._quarters):
            of_users = ids[steps, :counting]
            self._shown[index] = [_distinct(*self._shown[index], of_users[of_users != fields.NULL_DOC_ID])]
            of_quarter = available[steps][:1] if always_the_same else available[steps]
            self._available[index] = [_distinct(*self._available[index], of_quarter)]

    def _add_diversity(self, topics: np.ndarray, is_shown: Optional[np.ndarray]) -> None:
        """Count the pairs of documents within slates, and those of different topics; empty slots do not count."""
        for index, steps in enumerate(self._quarters):
            of_quarter = topics[steps]
            shown = np.ones(of_quarter.shape, bool) if is_shown is None else is_shown[steps]
            for apart in range(1, topics.shape[-1]):
                is_pair = shown[..., apart:] & shown[..., :-apart]
                differ = of_quarter[..., apart:] != of_quarter[..., :-apart]
                self._different[index] += np.count_nonzero(differ & is_pair)
                self._pairs[index] += np.count_nonzero(is_pair)

    def result(self) -> Behaviour:
        """Return the measures of all batches added; requires at least one batch."""
        sums = {name: np.concatenate(batches) for name, batches in self._sums.items()}
        coverage = [
            _share(len(shown[0]), len(available[0]))
            for shown, available in zip(self._shown, self._available)
            if available
        ]
        diversity = [_share(*counts) for counts in zip(self._different, self._pairs)]
        return Behaviour(
            steps=np.array([quarter.stop - quarter.start for quarter in self._quarters]),
            reward=sums["reward"],
            clicks=sums.get("clicks"),
            quality=sums.get("quality"),
            positive=sums.get("positive"),
            drift=sums.get("drift"),
            catalogue_coverage=coverage or None,
            slate_diversity=diversity if self._pairs.any() else None,
        )


def _ratios(sums: np.ndarray, clicks: np.ndarray) -> list[Optional[Estimate]]:
    return [
        statistics.ratio_of_means(of_quarter, counts) if counts.any() else None
        for of_quarter, counts in zip(sums.T, clicks.T)
    ]


def _distances(interest: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return Euclidean distances, float64 [T, U], between interest [T, U, K] and first [U, K]."""
    moved = interest - first
    return np.sqrt(np.einsum("tuk,tuk->tu", moved, moved, dtype=np.float64))


def _distinct(*ids: np.ndarray) -> np.ndarray:
    return np.unique(np.concatenate([array.ravel() for array in ids]))


def _share(part: float, whole: float) -> Optional[float]:
    return float(part / whole) if whole else None
