"""Baseline recommenders that do not learn, for comparison with a learned policy."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl import user as user_lib
from recsys_po_rl.common import protocols, validation

MAX_DINKELBACH_ITERATIONS = 50  # three to eight suffice in practice
_RELATIVE_GAIN = 1e-6  # convergence threshold of the ratio; about ten units in float32's last place
_OTHER_TOPIC_LOGIT = -40.0  # documents of other topics fill a slate only if the topic has too few


@gin_config.configurable
class UniformRandomRecommender(recommender.HistoryRecommender):
    """Uniformly random recommender over all slates of S different documents; fields as in `HistoryRecommender`."""

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Draw slates uniformly; int32 [U, S]."""
        del previous_state, user_obs
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID)).shape[0]
        return recommender.top_k_plackett_luce(logits=tf.zeros((self._num_users, pool)), slate_size=self._slate_size)


@gin_config.configurable
class FixedSlateRecommender(recommender.HistoryRecommender):
    """Recommender that shows all users the same slate at every step; fields as in `HistoryRecommender`."""

    def __init__(self, config: Config, doc_ids: Sequence[int] = (), name: str = "Recommender") -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          doc_ids: S different ids of documents that are available at every step, in slate order.
          name: name of the entity.

        Raises:
          InvalidInputError: if `doc_ids` are not S different integers from 1 to D.
        """
        super().__init__(config, name=name)
        ids = [validation.integer(f"{type(self).__name__}: doc_ids", doc_id, 1) for doc_id in doc_ids]
        if ids and max(ids) > self._num_docs:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: doc_ids must be at most {self._num_docs}, got {max(ids)}"
            )
        if len(set(ids)) != self._slate_size or len(ids) != self._slate_size:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: doc_ids must be {self._slate_size} different ids, got {list(doc_ids)}"
            )
        self._doc_ids = np.array(ids, np.int32)

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the places of the fixed documents; int32 [U, S].

        Raises:
          tf.errors.InvalidArgumentError: if a document is not available (not checked under XLA).
        """
        del previous_state, user_obs
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        here = tf.equal(pool[tf.newaxis, :], self._doc_ids[:, np.newaxis])
        tf.debugging.Assert(
            tf.reduce_all(tf.reduce_any(here, axis=1)), ["a document of the fixed slate is not available:", pool]
        )
        places = tf.argmax(tf.cast(here, tf.int32), axis=1, output_type=tf.int32)
        return tf.broadcast_to(places, (self._num_users, self._slate_size))


@gin_config.configurable
class SlateOfEachUserRecommender(recommender.HistoryRecommender):
    """Recommender that shows each user one fixed slate, assignable between runs; fields as in `HistoryRecommender`.

    Attributes:
      places: int32 variable [U, S], places among the available documents, from 0, different within a row.
    """

    def __init__(self, config: Config, name: str = "Recommender") -> None:
        """Create the entity; every slate holds the first S documents until `places` is assigned.

        Args:
          config: as in `HistoryRecommender`.
          name: name of the entity.
        """
        super().__init__(config, name=name)
        first = np.tile(np.arange(self._slate_size, dtype=np.int32), (self._num_users, 1))
        self.places = tf.Variable(first, trainable=False, name="places")

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the users' places; int32 [U, S]."""
        del previous_state, user_obs, available_docs
        return tf.convert_to_tensor(self.places)


@gin_config.configurable
class TopicRecommender(recommender.HistoryRecommender):
    """Recommender that shows S documents of one topic, drawn uniformly without replacement at each step.

    If the topic has fewer than S documents, random documents of other topics fill the slate. Fields as in
    `HistoryRecommender`.

    Attributes:
      topic: int32 variable, 0 to K - 1; assignable between runs.
    """

    def __init__(self, config: Config, topic: int = 0, name: str = "Recommender") -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          topic: the topic shown, 0 to K - 1.
          name: name of the entity.

        Raises:
          InvalidInputError: if `topic` is not an integer from 0 to K - 1.
        """
        super().__init__(config, name=name)
        topic = validation.integer(f"{type(self).__name__}: topic", topic, 0)
        if topic >= config.get("num_topics", topic + 1):
            raise validation.InvalidInputError(
                f"{type(self).__name__}: topic must be at most {config['num_topics'] - 1}, got {topic}"
            )
        self.topic = tf.Variable(topic, trainable=False, dtype=tf.int32, name="topic")

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Draw slates uniformly from the topic; int32 [U, S]."""
        del previous_state, user_obs
        of_topic = tf.equal(tf.convert_to_tensor(available_docs.get(fields.DOC_TOPIC)), self.topic)
        logits = tf.where(of_topic, 0.0, _OTHER_TOPIC_LOGIT) + tf.zeros((self._num_users, 1))
        return recommender.top_k_plackett_luce(logits=logits, slate_size=self._slate_size)


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
