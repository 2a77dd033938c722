"""Protocols of the objects that modules pass to one another; any object with these methods will do."""

from collections.abc import Sequence
from typing import Any, Optional, Protocol, runtime_checkable

import tensorflow as tf
from recsim_ng.core.value import Value


@runtime_checkable
class UserDynamics(Protocol):
    """Known dynamics of users, by which planners compute; `user.InterestEvolutionUser` documents the formulas.

    All methods are differentiable functions without random draws.
    """

    def choice_logits(self, interest: tf.Tensor, slate_docs: Value) -> tf.Tensor:
        """Return the logits of choosing each document of a slate, then of no click.

        Args:
          interest: float32 [..., K].
          slate_docs: documents, fields [..., S, ...].

        Returns:
          float32 [..., S + 1].
        """

    def consumed_time(self, docs: Value) -> tf.Tensor:
        """Return the time for which a chosen document is consumed; float32 [...] for fields [..., ...]."""

    def next_interest(self, interest: tf.Tensor, doc: Optional[Value]) -> tf.Tensor:
        """Return the interest after a step.

        Args:
          interest: float32 [..., K].
          doc: the consumed document, fields [..., ...]; None on no click.

        Returns:
          float32 [..., K].
        """


class ValueFunction(Protocol):
    """Value of interests, as planners use it."""

    def __call__(self, interest: tf.Tensor, steps_left: tf.Tensor, /) -> tf.Tensor:
        """Return the values in units of time, float32 [...].

        Args:
          interest: float32 [..., K].
          steps_left: float32 [...], responses that are left; broadcastable to the leading axes of `interest`.
        """


class Scorer(Protocol):
    """Model of the scores of all documents; usually a Keras model, see `scoring.HistoryScorer`.

    A Keras model whose `call` takes one argument may stand in its place, see `scoring.calling.scores`.
    """

    def __call__(self, first: tf.Tensor, second: tf.Tensor, /) -> tf.Tensor:
        """Return the scores, float [U, D].

        Args:
          first: the first input, such as the ids of the histories, int32 [U, H].
          second: the second input, such as the times of the histories, float32 [U, H].
        """


class Algorithm(Protocol):
    """Policy-gradient algorithm: the updates of a training step and their loss; see `training.algorithms`."""

    num_epochs: int  # passes over the users of a step
    num_minibatches: int  # updates in a pass
    clip_range: float  # the reported clip share counts ratios outside of 1 +- clip_range
    needs_old_log_probs: bool  # whether the loss or the metrics depend on the weights that drew the slates

    def loss(self, log_probs: tf.Tensor, old_log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
        """Return the loss, a scalar.

        Args:
          log_probs: float32 [T, U], of the slates shown, under the current weights.
          old_log_probs: float32 [T, U], under the weights that drew the slates.
          advantages: float32 [T, U], of the slates shown.
        """


class StepStatistics(Protocol):
    """Scalars of a training step by name: a NamedTuple such as `training.learner.StepResult`."""

    def _asdict(self) -> dict[str, Any]:
        """Return the scalars by name."""


class Learner(Protocol):
    """Learner that updates a policy; the experiment uses `PolicyGradientLearner` by default."""

    def step(self, keys: Sequence[Any], progress: float) -> StepStatistics:
        """Run one training step.

        Args:
          keys: `seeding.Keys` of each shard of users.
          progress: share of the training that is done, in [0, 1).
        """


@runtime_checkable
class UniformDriven(Protocol):
    """Distribution whose draws are a function of uniform numbers, so that all modes of the runtime draw the same."""

    def numbers_needed(self, sample_shape: Any) -> tuple[tf.Tensor, tf.DType, str]:
        """Return shape and dtype of the uniform numbers of a sample, and the salt of their seed."""

    def of_numbers(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Return the sample that uniform numbers in [0, 1) determine."""
