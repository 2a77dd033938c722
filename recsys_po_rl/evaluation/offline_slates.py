"""One-step estimators of a target policy's value that use the slots of a slate, in NumPy.

Users are logged for a single step. Slot s of S shows document a[u, s] and gives the reward r[u, s]; the value is the
expectation of the sum over slots under the target policy pi. The estimators differ in the slates that they take a
slot's reward to depend on, and so in the ratio of propensities by which it is weighted.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation.offline import Terms, effective_sample_size


class SlatePropensities(NamedTuple):
    """Log-propensities of logged slates, by slot; float64 [U, S] each."""

    prefix: np.ndarray  # of the documents in the slots up to this; in the last slot that of the slate
    item: np.ndarray  # marginal, of this document in this slot


@dataclasses.dataclass(frozen=True)
class LoggedSlates:
    """Logged slates of one step with the propensities of both policies."""

    rewards: np.ndarray  # float64 [U, S]
    target: SlatePropensities  # -inf where the target never shows the documents
    behaviour: SlatePropensities  # finite

    def __post_init__(self) -> None:
        """Convert the arrays to float64 and validate them.

        Raises:
          InvalidInputError: if shapes differ, there is no user or no slot, a reward or a propensity of the behaviour
            policy is not finite, or a log-propensity is NaN or above 0.
        """
        object.__setattr__(self, "rewards", np.asarray(self.rewards, np.float64))
        shape = self.rewards.shape
        if len(shape) != 2 or 0 in shape or not np.isfinite(self.rewards).all():
            raise validation.InvalidInputError(f"rewards must be finite, of shape [users, slots], got shape {shape}")
        for policy in ("target", "behaviour"):
            given = SlatePropensities(*(np.asarray(values, np.float64) for values in getattr(self, policy)))
            for kind, values in given._asdict().items():
                name = f"{policy}.{kind}"
                if values.shape != shape:
                    raise validation.InvalidInputError(f"{name} must have the shape {shape}, got {values.shape}")
                if np.isnan(values).any() or (values > 0.0).any() or (policy == "behaviour" and np.isinf(values).any()):
                    raise validation.InvalidInputError(f"{name} must be logarithms of probabilities, at most 0")
            object.__setattr__(self, policy, given)


def standard_ips(slates: LoggedSlates, self_normalised: bool = False) -> Terms:
    """Return inverse propensity scoring of whole slates: mean over u of pi(a[u]) / mu(a[u]) sum_s r[u, s].

    Equation 1 of J. McInerney, B. Brost, P. Chandar, R. Mehrotra, B. Carterette, "Counterfactual Evaluation of Slate
    Recommendations with Sequential Reward Interactions" (KDD 2020). No assumption on the rewards.

    Args:
      slates: the log.
      self_normalised: whether weights are divided by their mean.
    """
    ratio = (slates.target.prefix - slates.behaviour.prefix)[:, -1:]
    return _weighted(slates.rewards, np.broadcast_to(ratio, slates.rewards.shape), self_normalised)


def independent_ips(slates: LoggedSlates, self_normalised: bool = False) -> Terms:
    """Return inverse propensity scoring by slot: mean over u of sum_s pi(a[u, s]) / mu(a[u, s]) r[u, s].

    S. Li, Y. Abbasi-Yadkori, B. Kveton, S. Muthukrishnan, V. Vinay, Z. Wen, "Offline Evaluation of Ranking Policies
    with Click Models" (KDD 2018), the estimator of the item-position click model; equation 2 of McInerney et al.
    (2020). pi(a[u, s]) is the marginal probability of the document in the slot. Unbiased if a slot's reward depends on
    its own document alone.

    Args:
      slates: the log.
      self_normalised: whether the weights of each slot are divided by their mean.
    """
    return _weighted(slates.rewards, slates.target.item - slates.behaviour.item, self_normalised)


def reward_interaction_ips(slates: LoggedSlates, self_normalised: bool = False) -> Terms:
    """Return inverse propensity scoring by prefix: mean over u of sum_s pi(a[u, :s+1]) / mu(a[u, :s+1]) r[u, s].

    Equations 3 and 4 of McInerney et al. (2020), with a[u, :s+1] the documents up to slot s; they divide by the sum of
    the weights, which is `self_normalised` here. Unbiased, or consistent, if a slot's reward depends on the documents
    up to it alone.

    Args:
      slates: the log.
      self_normalised: whether the weights of each slot are divided by their mean.
    """
    return _weighted(slates.rewards, slates.target.prefix - slates.behaviour.prefix, self_normalised)


def _weighted(rewards: np.ndarray, log_weights: np.ndarray, self_normalised: bool) -> Terms:
    size = float(effective_sample_size(log_weights).min())
    if not self_normalised:
        with np.errstate(over="ignore"):
            return Terms(np.exp(log_weights) * rewards, None, size)
    largest = log_weights.max(axis=0)
    relative = np.exp(log_weights - np.where(np.isfinite(largest), largest, 0.0))
    return Terms(relative * rewards, relative, size)


class SlateEstimator(NamedTuple):
    """One-step estimator with the assumption under which it estimates the policy's value."""

    estimate: Callable[..., Terms]  # called with the slates, and self_normalised
    self_normalised: bool
    assumption: Optional[str]  # None: no assumption

    def terms(self, slates: LoggedSlates) -> Terms:
        """Return the terms of the estimate."""
        return self.estimate(slates, self_normalised=self.self_normalised)


_BY_SLOT = "the reward of a slot depends on its own document alone"
_BY_PREFIX = "the reward of a slot depends on the documents up to it alone"
SLATE_ESTIMATORS: Mapping[str, SlateEstimator] = {
    f"{'weighted_' if self_normalised else ''}{estimate.__name__}": SlateEstimator(
        estimate, self_normalised, assumption
    )
    for estimate, assumption in (
        (standard_ips, None),
        (independent_ips, _BY_SLOT),
        (reward_interaction_ips, _BY_PREFIX),
    )
    for self_normalised in (False, True)
}
