"""Returns, advantages and losses: pure functions of tensors whose axes are [T steps, U users]."""

import tensorflow as tf

# Added to the standard deviation before dividing; far below that of any advantage that carries information.
WHITENING_EPSILON = 1e-8


def rewards_to_go(rewards: tf.Tensor, discount: float = 1.0) -> tf.Tensor:
    """Discounted sum of the rewards from each step on: G_t = sum_(k >= t) discount^(k - t) r_k.

    Sutton and Barto, Reinforcement Learning (2nd ed., 2018), equation 3.8, cut at the horizon.

    Args:
      rewards: float [T, U].
      discount: between 0 and 1.

    Returns:
      float [T, U].

    Raises:
      ValueError: if `rewards` does not have rank 2, or the discount is out of bounds.
    """
    rewards = tf.convert_to_tensor(rewards)
    _require_rank_2("rewards", rewards)
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount must be between 0 and 1, got {discount}")
    zeros = tf.zeros(tf.shape(rewards)[1:], rewards.dtype)
    return tf.scan(lambda following, reward: reward + discount * following, rewards, zeros, reverse=True)


def total_returns(rewards: tf.Tensor) -> tf.Tensor:
    """The whole return of each user, at every step: what REINFORCE (Williams 1992) weighs a trajectory's actions with.

    Args:
      rewards: float [T, U].

    Returns:
      float [T, U], constant along the first axis.

    Raises:
      ValueError: if `rewards` does not have rank 2.
    """
    _require_rank_2("rewards", rewards)
    return tf.broadcast_to(tf.reduce_sum(rewards, axis=0), tf.shape(rewards))


def minus_population_mean(returns: tf.Tensor) -> tf.Tensor:
    """Advantages against the mean over users of the same step.

    The mean contains the user's own return, which scales the expected gradient by (U - 1) / U and turns it nowhere.
    Kool, van Hoof and Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (2019), has the unscaled form.

    Args:
      returns: float [T, U].

    Returns:
      float [T, U], with mean 0 along the second axis.

    Raises:
      ValueError: if `returns` does not have rank 2.
    """
    _require_rank_2("returns", returns)
    return returns - tf.reduce_mean(returns, axis=1, keepdims=True)


def whiten(advantages: tf.Tensor) -> tf.Tensor:
    """Scales advantages to standard deviation 1 over all steps and users; their mean is left alone.

    Args:
      advantages: float [T, U].

    Returns:
      float [T, U].

    Raises:
      ValueError: if `advantages` does not have rank 2.
    """
    _require_rank_2("advantages", advantages)
    return advantages / (tf.math.reduce_std(advantages) + WHITENING_EPSILON)


def reinforce_loss(log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    """Minus the advantage-weighted log-probability, summed over steps, averaged over users.

    Its gradient is minus an estimate of the gradient of the expected return: Williams (1992), "Simple statistical
    gradient-following algorithms for connectionist reinforcement learning", theorem 1 with a baseline.

    Args:
      log_probs: float [T, U], of the slates shown.
      advantages: float [T, U]; no gradient flows into them.

    Returns:
      Scalar.

    Raises:
      ValueError: if an argument does not have rank 2, or their shapes differ.
    """
    _require_rank_2("log_probs", log_probs)
    _require_rank_2("advantages", advantages)
    shapes = tf.convert_to_tensor(log_probs).shape, tf.convert_to_tensor(advantages).shape
    if not shapes[0].is_compatible_with(shapes[1]):
        raise ValueError(f"log_probs and advantages must have the same shape, got {shapes[0]} and {shapes[1]}")
    return -tf.reduce_mean(tf.reduce_sum(log_probs * tf.stop_gradient(advantages), axis=0))


def _require_rank_2(name: str, tensor: tf.Tensor) -> None:
    rank = tf.convert_to_tensor(tensor).shape.rank
    if rank != 2:
        raise ValueError(f"{name} must have the axes [T steps, U users], got rank {rank}")
