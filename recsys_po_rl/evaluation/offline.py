"""Estimators of a target policy's value from the log of another policy (off-policy evaluation), in NumPy.

Notation: user u of U, step t of T, history h (all that the recommender observed before the step), slate a, reward r.
The target policy pi and the behaviour policy mu, which wrote the log, give the ratio

    rho[u, t] = pi(a[u, t] | h[u, t]) / mu(a[u, t] | h[u, t]),    w[u, t] = rho[u, 0] ... rho[u, t],    w[u, -1] = 1.

Histories are complete observations, so that the estimators hold in partially observable worlds too: the latent interest
cancels in the ratio of the probabilities of a trajectory. Rewards are not discounted. Weights are products of many
ratios and are kept as logarithms until they are needed; a slate that the target never shows has the weight 0.

Each estimator returns `Terms`, from which value, interval (`offline_intervals`) and effective sample size follow.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation


@dataclasses.dataclass(frozen=True)
class LoggedTrajectories:
    """Logged users with the propensities of their slates under two policies, and optionally values."""

    rewards: np.ndarray  # float64 [U, T]
    target_log_propensities: np.ndarray  # float64 [U, T], joint, of the ordered slate; -inf: the target never shows it
    behaviour_log_propensities: np.ndarray  # float64 [U, T], joint, finite
    action_values: Optional[np.ndarray] = None  # float64 [U, T], Q(h, a) of the target policy, rewards from t on
    state_values: Optional[np.ndarray] = None  # float64 [U, T], V(h), expectation of Q(h, a) over a from the target

    def __post_init__(self) -> None:
        """Convert the arrays to float64 and validate them.

        Raises:
          InvalidInputError: if shapes differ, there is no user or no step, only one kind of values is given, or a
            number is not finite (NaN or +inf for the target's propensities) or a log-propensity is above 0.
        """
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            if given is not None:
                object.__setattr__(self, field.name, np.asarray(given, np.float64))
        shape = self.rewards.shape
        if len(shape) != 2 or 0 in shape:
            raise validation.InvalidInputError(f"rewards must have shape [users, steps], none of them 0, got {shape}")
        if (self.action_values is None) != (self.state_values is None):
            raise validation.InvalidInputError("action_values and state_values must both be given, or neither")
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if values is not None:
                _raise_if_invalid(field.name, values, shape)

    @property
    def num_users(self) -> int:
        """U."""
        return self.rewards.shape[0]

    @property
    def log_weights(self) -> np.ndarray:
        """Logarithms of the cumulative weights w; float64 [U, T], -inf from the first slate the target never shows."""
        return np.cumsum(self.target_log_propensities - self.behaviour_log_propensities, axis=1)


def _raise_if_invalid(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise validation.InvalidInputError(f"{name} must have the shape {shape}, got {values.shape}")
    if name == "target_log_propensities":
        if np.isnan(values).any() or (values > 0.0).any():
            raise validation.InvalidInputError(f"{name} must be logarithms of probabilities, at most 0")
    elif not np.isfinite(values).all():
        raise validation.InvalidInputError(f"{name} must be finite numbers")
    elif name == "behaviour_log_propensities" and (values > 0.0).any():
        raise validation.InvalidInputError(f"{name} must be logarithms of probabilities, at most 0")


class Terms(NamedTuple):
    """Estimate as a sum over C columns of ratios of means over users: sum_c mean(numerators) / mean(denominators)."""

    numerators: np.ndarray  # float64 [U, C]
    denominators: Optional[np.ndarray]  # float64 [U, C], not negative; None: ones
    effective_sample_size: Optional[float]  # smallest of the columns' weights; None: the estimator has no weights

    @property
    def value(self) -> float:
        """The estimate; NaN if all weights of a column are 0."""
        return float(self.contributions.mean())

    @property
    def contributions(self) -> np.ndarray:
        """Contributions of the users, whose mean is the estimate; float64 [U].

        For ratios they are the linearisation at the estimate (delta method),
        sum_c (v[c] + (numerators[u, c] - v[c] denominators[u, c]) / mean(denominators[:, c])) with the column's ratio
        v[c]; their standard error is that of the ratios to first order.
        """
        if self.denominators is None:
            return self.numerators.sum(axis=1)
        scale = self.denominators.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = self.numerators.mean(axis=0) / scale
            result: np.ndarray = (ratios + (self.numerators - ratios * self.denominators) / scale).sum(axis=1)
        return result


def effective_sample_size(log_weights: np.ndarray) -> np.ndarray:
    """Return the number of equally weighted users with the same variance of a weighted mean, for each column.

    L. Kish, "Survey Sampling" (1965), section 11.7: (sum_u w[u])^2 / sum_u w[u]^2, between 1 and U.

    Args:
      log_weights: float [U, C], -inf for weights of 0.

    Returns:
      float64 [C]; 0 for a column without a positive weight.
    """
    relative, _ = _relative_weights(log_weights)
    squares = (relative**2).sum(axis=0)
    return np.divide(relative.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0.0)


def _relative_weights(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [U, C] relative to the largest of each column, and the logarithm of the largest [C], finite."""
    largest = np.max(log_weights, axis=0)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    return np.exp(log_weights - largest), largest


def _weighted(values: np.ndarray, log_weights: np.ndarray, self_normalised: bool) -> Terms:
    """Return the terms of weighted values, float [U, C], by column."""
    relative, largest = _relative_weights(log_weights)
    smallest_size = float(effective_sample_size(log_weights).min())
    if self_normalised:
        return Terms(relative * values, relative, smallest_size)
    with np.errstate(over="ignore", invalid="ignore"):
        return Terms(np.where(relative > 0.0, relative * np.exp(largest) * values, 0.0), None, smallest_size)


def importance_sampling(logged: LoggedTrajectories) -> Terms:
    """Return trajectory-wise importance sampling: mean over u of w[u, T-1] sum_t r[u, t].

    D. Precup, R. S. Sutton, S. Singh, "Eligibility Traces for Off-Policy Policy Evaluation" (ICML 2000), section 3, for
    whole episodes without discount. Unbiased if mu shows every slate that pi shows.

    Args:
      logged: the log.
    """
    return _weighted(logged.rewards.sum(axis=1, keepdims=True), logged.log_weights[:, -1:], self_normalised=False)


def weighted_importance_sampling(logged: LoggedTrajectories) -> Terms:
    """Return self-normalised trajectory-wise importance sampling.

    sum_u w[u, T-1] sum_t r[u, t] / sum_u w[u, T-1], the weighted importance sampling of Precup et al. (2000), section
    3. Consistent; its bias is of order 1 / U.

    Args:
      logged: the log.
    """
    return _weighted(logged.rewards.sum(axis=1, keepdims=True), logged.log_weights[:, -1:], self_normalised=True)


def per_decision_importance_sampling(logged: LoggedTrajectories) -> Terms:
    """Return per-decision importance sampling: mean over u of sum_t w[u, t] r[u, t].

    Precup et al. (2000), section 4: a reward is weighted by the slates up to its step only, since later slates have no
    influence on it. Unbiased where `importance_sampling` is.

    Args:
      logged: the log.
    """
    return _weighted(logged.rewards, logged.log_weights, self_normalised=False)


def weighted_per_decision_importance_sampling(logged: LoggedTrajectories) -> Terms:
    """Return self-normalised per-decision importance sampling: sum_t (sum_u w[u, t] r[u, t] / sum_u w[u, t]).

    Each step is normalised by the weights of that step, as in P. Thomas, "Safe Reinforcement Learning" (PhD thesis,
    University of Massachusetts Amherst, 2015), section 3.8, the consistent weighted per-decision estimator. The
    normalisation over all steps together of Precup et al. (2000), section 4, is not consistent.

    Args:
      logged: the log.
    """
    return _weighted(logged.rewards, logged.log_weights, self_normalised=True)


def doubly_robust(logged: LoggedTrajectories) -> Terms:
    """Return the doubly robust estimator with given values.

    N. Jiang, L. Li, "Doubly Robust Off-policy Value Evaluation for Reinforcement Learning" (ICML 2016), section 4: from
    the last step backwards, DR[u, t] = V(h[u, t]) + rho[u, t] (r[u, t] + DR[u, t+1] - Q(h[u, t], a[u, t])) with
    DR[u, T] = 0; the estimate is the mean of DR[u, 0]. Here as its sum
    mean over u of sum_t (w[u, t] (r[u, t] - Q[u, t]) + w[u, t-1] V[u, t]),
    equation 1 of P. Thomas, E. Brunskill, "Data-Efficient Off-Policy Policy Evaluation for Reinforcement Learning"
    (ICML 2016). Unbiased for any values that are not fitted on the same users, if V is the target's expectation of Q,
    or an independent unbiased estimate of it.

    Args:
      logged: the log, with values.

    Raises:
      InvalidInputError: if the log has no values.
    """
    return _doubly_robust(logged, self_normalised=False)


def weighted_doubly_robust(logged: LoggedTrajectories) -> Terms:
    """Return the weighted doubly robust estimator with given values.

    Thomas and Brunskill (2016), section 5: in the sum of `doubly_robust` the weights of each step are divided by their
    mean over the users. Consistent.

    Args:
      logged: the log, with values.

    Raises:
      InvalidInputError: if the log has no values.
    """
    return _doubly_robust(logged, self_normalised=True)


def _doubly_robust(logged: LoggedTrajectories, self_normalised: bool) -> Terms:
    action_values, state_values = _values(logged)
    log_weights = logged.log_weights
    before = np.concatenate([np.zeros((logged.num_users, 1)), log_weights[:, :-1]], axis=1)  # w[u, t-1]
    return _weighted(
        np.concatenate([logged.rewards - action_values, state_values], axis=1),
        np.concatenate([log_weights, before], axis=1),
        self_normalised,
    )


def direct_method(logged: LoggedTrajectories) -> Terms:
    """Return the mean of the values of the first histories, V(h[u, 0]).

    The regression estimator of Jiang and Li (2016), section 3. As biased as the values; the log's propensities are not
    used, so that no interval for the policy's value follows from it.

    Args:
      logged: the log, with values.

    Raises:
      InvalidInputError: if the log has no values.
    """
    return Terms(_values(logged)[1][:, :1], None, None)


def _values(logged: LoggedTrajectories) -> tuple[np.ndarray, np.ndarray]:
    if logged.action_values is None or logged.state_values is None:
        raise validation.InvalidInputError("this estimator needs a log with action_values and state_values")
    return logged.action_values, logged.state_values


IMPORTANCE_SAMPLING_ESTIMATORS: Mapping[str, Callable[[LoggedTrajectories], Terms]] = {
    "importance_sampling": importance_sampling,
    "weighted_importance_sampling": weighted_importance_sampling,
    "per_decision_importance_sampling": per_decision_importance_sampling,
    "weighted_per_decision_importance_sampling": weighted_per_decision_importance_sampling,
}
VALUE_ESTIMATORS: Mapping[str, Callable[[LoggedTrajectories], Terms]] = {
    "doubly_robust": doubly_robust,
    "weighted_doubly_robust": weighted_doubly_robust,
    "direct_method": direct_method,
}
