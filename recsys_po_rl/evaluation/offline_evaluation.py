"""Evaluation of a policy on a log: all estimators with intervals, and refusals where the weights carry too little."""

import dataclasses
from typing import Optional

import numpy as np

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.common.records import Bounds, Count, Record
from recsys_po_rl.evaluation import offline, offline_intervals, offline_slates
from recsys_po_rl.evaluation.offline import LoggedTrajectories, Terms
from recsys_po_rl.evaluation.offline_slates import LoggedSlates

BY_VALUES = "the fitted values are right"  # assumption of the direct method


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfflineEstimate(Record):
    """Result of one estimator."""

    value: Optional[float]  # estimated cumulative reward of a user; None: refused
    interval95: Optional[Bounds]  # None: refused, or the bias of the estimator is unknown
    effective_sample_size: Optional[float]  # of the users, see `offline.effective_sample_size`; None: no weights
    num_users: Count
    assumption: Optional[str] = None  # under which the estimator has an interval
    refused: Optional[str] = None  # reason, in one line


@gin_config.configurable
class OfflineEvaluation:
    """Settings of an offline evaluation, and its estimators.

    Example:
        settings = OfflineEvaluation(min_effective_sample_size=500.0)
        results = settings.estimates(LoggedTrajectories(rewards, target_log_propensities, behaviour_log_propensities))
    """

    def __init__(
        self,
        min_effective_sample_size: float = 200.0,
        horizon: Optional[int] = None,
        num_target_slates: int = 4,
    ) -> None:
        """Validate the settings.

        Args:
          min_effective_sample_size: least effective sample size of an estimator that is not refused, at least 2.
          horizon: number of first steps of each user that are evaluated; None: all.
          num_target_slates: slates drawn from the target policy at each history for its expected values; 0: no values,
            and no estimators that need them.

        Raises:
          InvalidInputError: if a number is out of bounds.
        """
        owner = type(self).__name__
        self.min_effective_sample_size = validation.number(
            f"{owner}: min_effective_sample_size", min_effective_sample_size, 2.0
        )
        self.horizon = None if horizon is None else validation.integer(f"{owner}: horizon", horizon, 1)
        self.num_target_slates = validation.integer(f"{owner}: num_target_slates", num_target_slates, 0)

    def estimates(
        self, logged: LoggedTrajectories, slates: Optional[LoggedSlates] = None
    ) -> dict[str, OfflineEstimate]:
        """Return the results of all estimators that apply, by name.

        Args:
          logged: the log; with values, doubly robust estimators and the direct method apply.
          slates: slots of the same users, for a log of one step; None: the estimators of slates do not apply.
        """
        results = {}
        for name, estimator in offline.IMPORTANCE_SAMPLING_ESTIMATORS.items():
            results[name] = self.result(estimator(logged))
        if logged.action_values is not None:
            for name, estimator in offline.VALUE_ESTIMATORS.items():
                assumption = BY_VALUES if estimator is offline.direct_method else None
                results[name] = self.result(estimator(logged), assumption)
        if slates is not None:
            for name, of_slates in offline_slates.SLATE_ESTIMATORS.items():
                results[name] = self.result(of_slates.terms(slates), of_slates.assumption)
        return results

    def result(self, terms: Terms, assumption: Optional[str] = None) -> OfflineEstimate:
        """Return the result of an estimate: value and interval, or the reason for refusing it.

        Args:
          terms: the estimate.
          assumption: assumption under which its expectation is the policy's value; None: it always is, at least for
            many users. With an assumption there is no interval, because none covers an unknown bias.
        """
        refused = self.refusal(terms)
        estimate = None if refused else offline_intervals.log_t_interval(terms)
        size = terms.effective_sample_size
        return OfflineEstimate(
            value=None if estimate is None else estimate.mean,
            interval95=None if estimate is None or assumption else estimate.bounds,
            effective_sample_size=None if size is None else float(size),
            num_users=len(terms.numerators),
            assumption=assumption,
            refused=refused,
        )

    def refusal(self, terms: Terms) -> Optional[str]:
        """Return the reason for which an estimate is not to be believed, in one line; None: it is."""
        size, num_users = terms.effective_sample_size, len(terms.numerators)
        if size is None:
            return None
        if size == 0.0:
            return "the target policy never shows what the log shows: all weights are 0"
        if size < self.min_effective_sample_size:
            return (
                f"the weights of {num_users} users are worth {size:.1f} equally weighted users, fewer than "
                f"{self.min_effective_sample_size:g} (OfflineEvaluation.min_effective_sample_size)"
            )
        if not np.isfinite(terms.value):
            return "the weights are beyond the range of floating-point numbers"
        return None
