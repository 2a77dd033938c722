"""Shards of a training step that are computed apart from the learner that updates the weights."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np
import tensorflow as tf

from recsys_po_rl.simulation import seeding
from recsys_po_rl.training.replay import ReplayGradient


class ShardRollout(NamedTuple):
    """Part of a shard's rollout from which advantages are computed; arrays or tensors."""

    rewards: Any  # float32 [T, U]
    critic_inputs: Any  # float32 [T, U, F]; None without a critic


class ShardComputer(Protocol):
    """Computer of the shards of a learner's steps, see `PolicyGradientLearner.compute_shards_with`."""

    def collect(self, keys: Sequence[seeding.Keys]) -> list[ShardRollout]:
        """Begin a step: roll out its shards under the learner's weights.

        Args:
          keys: seeds of each shard.

        Raises:
          FloatingPointError: as `PolicyGradientLearner.step`.
        """

    def gradient(
        self, numbers: Sequence[int], advantages: Sequence[tf.Tensor], entropy_bonus: tf.Tensor
    ) -> ReplayGradient:
        """Compute the sum of the shards' terms of the gradient of one update under the learner's weights.

        Args:
          numbers: numbers of the shards of the update, within the step.
          advantages: for each of these shards float32 [T, U].
          entropy_bonus: scalar.

        Returns:
          The sum of the terms (see `SideBySideGradient.of_batch`), added in the order of `numbers`.
        """


def added(terms: Sequence[ReplayGradient]) -> ReplayGradient:
    """Return the sum of terms, added in their order.

    By NumPy: the order of three or more terms in `tf.add_n` depends on the buffers that it can reuse.

    Args:
      terms: terms of NumPy arrays, at least one.
    """
    gradients = [functools.reduce(np.add, of_source) for of_source in zip(*(term.gradients for term in terms))]
    return ReplayGradient(gradients, functools.reduce(np.add, [term.statistics for term in terms]))


class ShardLearner(Protocol):
    """Learner that computes single shards, see `PolicyGradientLearner`."""

    def collect_shard(self, keys: seeding.Keys) -> tuple[Any, tf.Tensor]:
        """Roll out one shard; return its rollout and the log-probabilities of its slates, float32 [T, U]."""

    def shard_gradient(
        self, rollout: Any, old_log_probs: Any, advantages: Any, entropy_bonus: Any, num_shards: int
    ) -> ReplayGradient:
        """Return one shard's term of the gradient of an update of `num_shards` shards."""


class Weights(NamedTuple):
    """Weights of the learner, which are loaded where they are needed."""

    version: int  # equal versions have equal values
    load: Callable[[], Sequence[np.ndarray]]  # values, in the order of the variables


class Shard(NamedTuple):
    """Identity of a shard of a training step, which determines its rollout."""

    step: int
    number: int  # within the step
    keys: seeding.Keys  # NumPy arrays
    start: Weights  # at the start of the step


class ShardProgram:
    """Program that computes rollouts and gradients of single shards, as functions of their arguments.

    The rollouts of the current step are kept. One that is missing, since another process computed it and was lost, is
    computed again, with the same result. Results are NumPy arrays.
    """

    def __init__(self, learner: ShardLearner, variables: Sequence[tf.Variable]) -> None:
        """Store the arguments.

        Args:
          learner: learner of the same network; its weights are set, its optimizers are not used.
          variables: the variables whose values are `Weights`.
        """
        self._learner = learner
        self._variables = list(variables)
        self._version: Optional[int] = None
        self._step: Optional[int] = None
        self._rollouts: dict[int, Any] = {}  # by number of the shard

    def collect(self, shard: Shard) -> ShardRollout:
        """Roll out a shard.

        Raises:
          FloatingPointError: as `PolicyGradientLearner.step`.
        """
        rollout, _ = self._rollout(shard)
        seen = rollout.critic_inputs
        return ShardRollout(rollout.rewards.numpy(), None if seen is None else seen.numpy())

    def gradient(
        self, shard: Shard, weights: Weights, advantages: np.ndarray, entropy_bonus: float, num_shards: int
    ) -> ReplayGradient:
        """Compute a shard's term of the gradient of an update.

        Args:
          shard: the shard.
          weights: weights before the update.
          advantages: float32 [T, U].
          entropy_bonus: weight of the entropy.
          num_shards: number of shards of the update.
        """
        rollout, log_probs = self._rollout(shard)
        self._set(weights)
        term = self._learner.shard_gradient(
            rollout, log_probs, tf.constant(advantages), tf.constant(entropy_bonus, tf.float32), num_shards
        )
        return ReplayGradient([gradient.numpy() for gradient in term.gradients], term.statistics.numpy())

    def _rollout(self, shard: Shard) -> Any:
        if shard.step != self._step:
            self._step, self._rollouts = shard.step, {}
        if shard.number not in self._rollouts:
            self._set(shard.start)
            keys = seeding.Keys(*map(tf.constant, shard.keys))
            self._rollouts[shard.number] = self._learner.collect_shard(keys)
        return self._rollouts[shard.number]

    def _set(self, weights: Weights) -> None:
        if weights.version == self._version:
            return
        self._version = None
        for variable, value in zip(self._variables, weights.load(), strict=True):
            variable.assign(value)
        self._version = weights.version
