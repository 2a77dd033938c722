"""Planning with known user dynamics: the best slate of a choice model, and the recommender that shows it."""

from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec

from recsys_po_rl import fields, recommender
from recsys_po_rl import user as user_lib
from recsys_po_rl.common import protocols, validation

# Time of a planner's user-step in user-steps of the learned policy, for `SearchCost`: from the seconds of each policy
# of the default experiment on two cores (0.9 microseconds a user-step of the learned policy).
MYOPIC_COST = 5.0
VALUE_COST = 60.0  # with a value function, fit included
GRID_SLATE_COST = 5e-3  # that of one slate that a dynamic program compares
MAX_DINKELBACH_ITERATIONS = 50  # three to eight suffice in practice
_RELATIVE_GAIN = 1e-6  # convergence threshold of the ratio; about ten units in float32's last place


class BestSlates(NamedTuple):
    """Best slates, one per row of the arguments of `best_slates`."""

    ranks: tf.Tensor  # int32 [..., S], different places among the D documents
    value: tf.Tensor  # float32 [...], values of the slates


def best_slates(
    logits: tf.Tensor, values: tf.Tensor, slate_size: int, max_iterations: int = MAX_DINKELBACH_ITERATIONS
) -> BestSlates:
    """Find the slate A of S documents with the largest expected value of one multinomial-logit choice.

    The slate maximises sum_A w v / (w0 + sum_A w) with weights w = exp(logit). Dinkelbach 1967, "On nonlinear
    fractional programming": if the largest ratio were x, the best slate would have the S largest w (v - x); the ratio
    of that slate is the next x. Every iteration raises the ratio until it is the largest.

    Args:
      logits: float32 [..., D + 1], of choosing each of all documents and, last, nothing (may be -inf).
      values: float32 [..., D], value of choosing each document minus the value of choosing nothing, of any sign.
      slate_size: S, 1 to D.
      max_iterations: at least 1.

    Returns:
      Slates and their values.

    Raises:
      InvalidInputError: if a number is out of bounds.
    """
    validation.integer("max_iterations", max_iterations, 1)
    num_docs = int(logits.shape[-1]) - 1
    if validation.integer("slate_size", slate_size, 1) > num_docs:
        raise validation.InvalidInputError(f"slate_size must be at most {num_docs} documents, got {slate_size}")
    weights = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    documents, nothing = weights[..., :-1], weights[..., -1]
    worth = documents * values

    def improved(ratio: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        _, ranks = tf.math.top_k(worth - documents * ratio[..., tf.newaxis], slate_size)
        batch_dims = len(ratio.shape)
        mass = nothing + tf.reduce_sum(tf.gather(documents, ranks, batch_dims=batch_dims), axis=-1)
        gained = tf.reduce_sum(tf.gather(worth, ranks, batch_dims=batch_dims), axis=-1)
        return tf.math.divide_no_nan(gained, mass), ranks

    def body(before: tf.Tensor, ratio: tf.Tensor, ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        new_ratio, new_ranks = improved(ratio)
        better = new_ratio > ratio
        return ratio, tf.where(better, new_ratio, ratio), tf.where(better[..., tf.newaxis], new_ranks, ranks)

    def goes_on(before: tf.Tensor, ratio: tf.Tensor, ranks: tf.Tensor) -> tf.Tensor:
        del ranks
        return tf.reduce_any(ratio - before > _RELATIVE_GAIN * (1.0 + tf.abs(ratio)))

    ratio, ranks = improved(tf.zeros_like(nothing))
    before = tf.fill(tf.shape(ratio), -np.inf)
    _, ratio, ranks = tf.while_loop(goes_on, body, (before, ratio, ranks), maximum_iterations=max_iterations - 1)
    return BestSlates(ranks, ratio)


def plan(
    user: protocols.UserDynamics,
    docs: Value,
    interest: tf.Tensor,
    steps_left: tf.Tensor,
    slate_size: int,
    value: Optional[protocols.ValueFunction] = None,
) -> BestSlates:
    """Find the slate with the largest expected consumed time now plus value of the next interest.

    Exact for users who choose by a multinomial logit and whose interests move without noise.

    Args:
      user: dynamics of the users, see `InterestEvolutionUser.dynamics`.
      docs: the D documents, fields as in `fields.DOC_FIELDS`.
      interest: float32 [U, K].
      steps_left: float32 [U], number of responses after this one; the value is 0 at 0 steps.
      slate_size: S.
      value: value of an interest, in units of time, as a function of interest and steps left; None: 0.

    Returns:
      Slates [U, S] and their values [U], in units of time.
    """
    logits = user.choice_logits(interest, docs)
    values = user.consumed_time(docs) + tf.zeros_like(logits[..., :-1])
    if value is None:
        return best_slates(logits, values, slate_size)
    goes_on = steps_left > 0
    moved = user.next_interest(interest[..., tf.newaxis, :], docs)
    stay = tf.where(goes_on, value(user.next_interest(interest, None), steps_left), 0.0)
    after = tf.where(goes_on[..., tf.newaxis], value(moved, steps_left[..., tf.newaxis]), 0.0)
    slates = best_slates(logits, values + after - stay[..., tf.newaxis], slate_size)
    return slates._replace(value=slates.value + stay)


class PlanningRecommender(recommender.StepCountingRecommender):
    """Recommender that observes the interest, knows the users' dynamics and shows the slate found by `plan`.

    Myopic without a value function. Requires users whose observation contains the interest (`full_information` of the
    network's constructor).

    Slate fields, in addition to those of `StepCountingRecommender`:
      planned_value: float32 [U], expected consumed time plus value of the next interest, in units of time.
    """

    def __init__(
        self,
        config: Config,
        user: Any = None,
        horizon: int = 1,
        value: Optional[protocols.ValueFunction] = None,
        name: str = "Recommender",
    ) -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          user: a user entity whose `dynamics()` is not None.
          horizon: T, responses in an episode, at least 1.
          value: value of an interest, see `plan`; None: 0.
          name: name of the entity.

        Raises:
          InvalidInputError: if the user entity's dynamics are not known, or the horizon is out of bounds.
        """
        super().__init__(config, name=name)
        owner = type(self).__name__
        missing = user_lib.missing_dynamics(user)
        if missing:
            raise validation.InvalidInputError(f"{owner}: user {type(user).__name__} lacks {', '.join(missing)}")
        self._dynamics = user.dynamics()
        self._horizon = validation.integer(f"{owner}: horizon", horizon, 1)
        self._value = value
        self._planned: Optional[BestSlates] = None  # within `slate_docs`

    def _plan(self, previous_state: Value, user_obs: Value, available_docs: Value) -> BestSlates:
        if fields.OBSERVED_INTEREST not in user_obs.as_dict:
            raise validation.InvalidInputError(
                f"{type(self).__name__} needs users who show {fields.OBSERVED_INTEREST!r}: set full_information"
            )
        interest = tf.convert_to_tensor(user_obs.get(fields.OBSERVED_INTEREST))
        docs = available_docs.map(tf.convert_to_tensor)
        steps_left = tf.cast(self._horizon - 1 - tf.convert_to_tensor(previous_state.get(fields.STEP)), tf.float32)
        return plan(self._dynamics, docs, interest, steps_left, self._slate_size, self._value)

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the best slates; int32 [U, S].

        Raises:
          InvalidInputError: if the users' observation does not contain the interest.
        """
        if self._planned is not None:
            return self._planned.ranks
        return self._plan(previous_state, user_obs, available_docs).ranks

    def slate_docs(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Value:
        """Return the documents of the best slates and the planned values; see the class for the fields."""
        planned = self._planned = self._plan(previous_state, user_obs, available_docs)
        try:
            shown = super().slate_docs(previous_state, user_obs, available_docs)
        finally:
            self._planned = None
        return shown.union(Value(**{fields.PLANNED_VALUE: planned.value}))

    def specs(self) -> ValueSpec:
        """Return the specs of `state` and `slate`."""
        planned = ValueSpec(**{fields.PLANNED_VALUE: fields.tensor_spec((self._num_users,))})
        return super().specs().union(planned.prefixed_with("slate"))
