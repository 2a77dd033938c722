"""Policy-gradient algorithms: the number of updates per training step and the loss of each update.

A custom algorithm has the attributes and the method of `common.protocols.Algorithm`.
"""

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.training import losses


@gin_config.configurable
class Reinforce:
    """REINFORCE: one update on all users of a step (Williams 1992)."""

    num_epochs = 1  # passes over the users of a step
    num_minibatches = 1  # updates in a pass
    clip_range = 0.2  # used for the reported clip share only
    needs_old_log_probs = False  # True if the loss or the metrics depend on the weights that drew the slates

    def loss(self, log_probs: tf.Tensor, old_log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
        """Return `losses.reinforce_loss`, a scalar; arguments float32 [T, U]."""
        del old_log_probs
        return losses.reinforce_loss(log_probs, advantages)


@gin_config.configurable
class ProximalPolicyOptimization:
    """PPO: several minibatch updates with the clipped surrogate objective (Schulman et al. 2017)."""

    needs_old_log_probs = True

    def __init__(self, num_epochs: int = 1, num_minibatches: int = 4, clip_range: float = 0.2) -> None:
        """Validate the hyperparameters.

        Args:
          num_epochs: passes over the users of a step, at least 1.
          num_minibatches: updates in a pass, at least 1; each uses an equal number of the step's shards.
          clip_range: epsilon of the surrogate objective, above 0.

        Raises:
          InvalidInputError: if a number is out of bounds.
        """
        name = type(self).__name__
        self.num_epochs = validation.integer(f"{name}: num_epochs", num_epochs, 1)
        self.num_minibatches = validation.integer(f"{name}: num_minibatches", num_minibatches, 1)
        self.clip_range = validation.number(f"{name}: clip_range", clip_range, 0.0, exclusive_minimum=True)

    def loss(self, log_probs: tf.Tensor, old_log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
        """Return `losses.ppo_clip_loss`, a scalar; arguments float32 [T, U]."""
        return losses.ppo_clip_loss(log_probs, old_log_probs, advantages, self.clip_range)
