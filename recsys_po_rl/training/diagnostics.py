"""Gradient diagnostics that are too expensive for every training step."""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl.simulation import seeding
from recsys_po_rl.training import advantages as advantages_lib
from recsys_po_rl.training.learner import PolicyGradientLearner, Rollout


def gradient_variances(learner: PolicyGradientLearner, keys: Sequence[seeding.Keys]) -> dict[str, float]:
    """Compute the variance of the policy gradient under several baselines, on the same rollouts.

    Each shard gives one estimate of the gradient, under the weights with which it was rolled out (so that PPO's loss
    has the gradient of REINFORCE). The variance is summed over all weights (the trace of the covariance). It is the
    variance of one shard's estimate: divide it by the number of shards for the variance of their mean. Advantages are
    neither normalised nor clipped, so that all baselines estimate the same gradient; only `generalized_advantage`,
    with the learner's trace decay, is biased.

    Args:
      learner: learner whose weights and critic are used.
      keys: keys of at least 2 shards.

    Returns:
      Variance by baseline: none, population_mean, leave_one_out_mean and, if the learner has a critic, learned_value
      and generalized_advantage.

    Raises:
      ValueError: if there are fewer than 2 shards.
    """
    if len(keys) < 2:
        raise ValueError(f"keys must be those of at least 2 shards, got {len(keys)}")
    rollouts = learner.rollouts(keys)
    rewards = tf.concat([rollout.rewards for rollout in rollouts], axis=1)
    to_go = advantages_lib.rewards_to_go(rewards, learner.discount)
    advantages = {
        "none": to_go,
        "population_mean": advantages_lib.minus_population_mean(to_go),
        "leave_one_out_mean": advantages_lib.minus_leave_one_out_mean(to_go),
    }
    values = _values(learner, rollouts)
    if values is not None:
        advantages["learned_value"] = to_go - values
        advantages["generalized_advantage"] = advantages_lib.generalized_advantages(
            rewards, values, learner.discount, learner.trace_decay
        )
    return {name: _variance(learner, rollouts, estimates) for name, estimates in advantages.items()}


def _values(learner: PolicyGradientLearner, rollouts: Sequence[Rollout]) -> Optional[tf.Tensor]:
    if learner.critic is None:
        return None
    return tf.concat([learner.critic.values(rollout.critic_inputs) for rollout in rollouts], axis=1)


def _variance(learner: PolicyGradientLearner, rollouts: Sequence[Rollout], advantages: tf.Tensor) -> float:
    of_shards = [
        np.concatenate(
            [np.ravel(part) for part in learner.gradients([rollout], [of_shard], entropy_bonus=0.0).gradients]
        )
        for rollout, of_shard in zip(rollouts, tf.split(advantages, len(rollouts), axis=1))
    ]
    return float(np.var(np.stack(of_shards).astype(np.float64), axis=0, ddof=1).sum())
