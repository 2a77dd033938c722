"""Losses of the policy and its change: pure functions of tensors with axes [T steps, U users]."""

from typing import NamedTuple

import tensorflow as tf

from recsys_po_rl.training import shapes


def reinforce_loss(log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    """Compute minus the advantage-weighted log-probability, summed over steps and averaged over users.

    The loss's gradient is minus an estimate of the gradient of the expected return: Williams, "Simple statistical
    gradient-following algorithms for connectionist reinforcement learning" (1992), section 5; with
    rewards-to-go minus a baseline as advantages, Sutton and Barto (2018), equation 13.11.

    Args:
      log_probs: float [T, U], of the slates shown.
      advantages: float [T, U]; no gradient flows into them.

    Returns:
      Scalar.

    Raises:
      ValueError: if an argument does not have rank 2, or their shapes differ.
    """
    shapes.require_equal_shapes(log_probs=log_probs, advantages=advantages)
    return -tf.reduce_mean(tf.reduce_sum(log_probs * tf.stop_gradient(advantages), axis=0))


def ppo_clip_loss(
    log_probs: tf.Tensor, old_log_probs: tf.Tensor, advantages: tf.Tensor, clip_range: float = 0.2
) -> tf.Tensor:
    """Compute minus the clipped surrogate objective, summed over steps and averaged over users.

    Schulman et al., "Proximal policy optimization algorithms" (2017), equation 7, with the ratio of whole slates.

    Args:
      log_probs: float [T, U], of the slates shown, under the current weights.
      old_log_probs: float [T, U], under the weights with which the slates were drawn; no gradient flows into them.
      advantages: float [T, U]; no gradient flows into them.
      clip_range: epsilon, above 0: ratios are clipped to [1 - epsilon, 1 + epsilon].

    Returns:
      Scalar.

    Raises:
      ValueError: if an argument does not have rank 2, their shapes differ, or the range is not above 0.
    """
    shapes.require_equal_shapes(log_probs=log_probs, old_log_probs=old_log_probs)
    shapes.require_equal_shapes(log_probs=log_probs, advantages=advantages)
    _require_clip_range(clip_range)
    advantages = tf.stop_gradient(advantages)
    ratios = tf.exp(log_probs - tf.stop_gradient(old_log_probs))
    clipped = tf.clip_by_value(ratios, 1.0 - clip_range, 1.0 + clip_range)
    return -tf.reduce_mean(tf.reduce_sum(tf.minimum(ratios * advantages, clipped * advantages), axis=0))


def entropy_loss(entropies: tf.Tensor, weight: float | tf.Tensor) -> tf.Tensor:
    """Compute the loss term of an entropy bonus: minus the weighted entropy, summed over steps, averaged over users.

    Williams and Peng, "Function optimization using connectionist reinforcement learning algorithms" (1991); Mnih et
    al., "Asynchronous methods for deep reinforcement learning" (2016), section 4: the entropy of the policy in each
    visited state, ignoring the effect of actions on the states visited later.

    Args:
      entropies: float [T, U], nats; gradients flow into them.
      weight: weight of a step's mean entropy in the objective, a scalar.

    Returns:
      Scalar.

    Raises:
      ValueError: if `entropies` does not have rank 2.
    """
    shapes.require_rank_2("entropies", entropies)
    return -weight * tf.reduce_mean(tf.reduce_sum(entropies, axis=0))


class PolicyChange(NamedTuple):
    """Distance between a policy and the policy that drew the slates; scalars."""

    approximate_kl: tf.Tensor  # nats, mean over steps and users
    clip_share: tf.Tensor  # share of ratios outside the clip range


def policy_change(log_probs: tf.Tensor, old_log_probs: tf.Tensor, clip_range: float = 0.2) -> PolicyChange:
    """Estimate the divergence from the old policy to the current one from the slates shown.

    The estimate is Schulman's "k3" ("Approximating KL divergence", 2020): mean of r - 1 - log r with the ratio
    r = new / old, unbiased for KL(old || new), and never negative.

    Args:
      log_probs: float [T, U], under the current weights.
      old_log_probs: float [T, U], under the weights with which the slates were drawn.
      clip_range: as in `ppo_clip_loss`.

    Returns:
      Approximate KL and clip share, both scalars and not meant to be differentiated.

    Raises:
      ValueError: if an argument does not have rank 2, their shapes differ, or the range is not above 0.
    """
    shapes.require_equal_shapes(log_probs=log_probs, old_log_probs=old_log_probs)
    _require_clip_range(clip_range)
    log_ratios = log_probs - old_log_probs
    changes = tf.math.expm1(log_ratios)
    outside = tf.cast(tf.abs(changes) > clip_range, changes.dtype)
    return PolicyChange(tf.reduce_mean(changes - log_ratios), tf.reduce_mean(outside))


def _require_clip_range(clip_range: float) -> None:
    if not clip_range > 0.0:
        raise ValueError(f"clip_range must be above 0, got {clip_range}")
