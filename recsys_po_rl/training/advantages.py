"""Returns and advantages: pure functions of tensors with axes [T steps, U users]."""

import math

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.training import shapes

# Added to the standard deviation before dividing; far below the standard deviation of informative advantages.
WHITENING_EPSILON = 1e-8


def rewards_to_go(rewards: tf.Tensor, discount: float = 1.0) -> tf.Tensor:
    """Compute the discounted rewards-to-go G_t = sum_(k >= t) discount^(k - t) r_k.

    Sutton and Barto, Reinforcement Learning (2nd ed., 2018), equation 3.8, truncated at the horizon.

    Args:
      rewards: float [T, U].
      discount: between 0 and 1.

    Returns:
      float [T, U].

    Raises:
      ValueError: if `rewards` does not have rank 2, or the discount is out of bounds.
    """
    rewards = tf.convert_to_tensor(rewards)
    shapes.require_rank_2("rewards", rewards)
    _require_share("discount", discount)
    zeros = tf.zeros(tf.shape(rewards)[1:], rewards.dtype)
    return tf.scan(lambda following, reward: reward + discount * following, rewards, zeros, reverse=True)


def total_returns(rewards: tf.Tensor) -> tf.Tensor:
    """Compute the total return of each user, repeated at every step.

    Episodic REINFORCE weights all actions of a trajectory with the total return: Williams, "Simple statistical
    gradient-following algorithms for connectionist reinforcement learning" (1992), section 5, without a baseline.

    Args:
      rewards: float [T, U].

    Returns:
      float [T, U], constant along the first axis.

    Raises:
      ValueError: if `rewards` does not have rank 2.
    """
    shapes.require_rank_2("rewards", rewards)
    return tf.broadcast_to(tf.reduce_sum(rewards, axis=0), tf.shape(rewards))


def generalized_advantages(
    rewards: tf.Tensor, values: tf.Tensor, discount: float = 1.0, trace_decay: float = 0.95
) -> tf.Tensor:
    """Compute generalized advantages: exponentially weighted sums of temporal-difference errors.

    Schulman et al., "High-dimensional continuous control using generalized advantage estimation" (2016), equation 16,
    truncated at the horizon, after which the value is 0: A_t = sum_(k >= t) (discount * trace_decay)^(k - t) delta_k
    with delta_k = r_k + discount * V_(k + 1) - V_k. At trace_decay 1 the estimate is the reward-to-go minus the value,
    a learned baseline (equation 18); below 1 it is biased unless the values are exact for the policy.

    Args:
      rewards: float [T, U].
      values: float [T, U], expected reward-to-go at each step, the reward of the step included.
      discount: between 0 and 1.
      trace_decay: lambda, between 0 and 1.

    Returns:
      float [T, U].

    Raises:
      ValueError: if an argument does not have rank 2, their shapes differ, or a number is out of bounds.
    """
    rewards, values = tf.convert_to_tensor(rewards), tf.convert_to_tensor(values)
    shapes.require_equal_shapes(rewards=rewards, values=values)
    _require_share("discount", discount)
    _require_share("trace_decay", trace_decay)
    following = tf.concat([values[1:], tf.zeros_like(values[:1])], axis=0)
    return rewards_to_go(rewards + discount * following - values, discount * trace_decay)


def minus_population_mean(returns: tf.Tensor) -> tf.Tensor:
    """Subtract the mean over users of the same step.

    The mean contains the user's own return, which scales the expected gradient by (U - 1) / U without changing its
    direction. Kool, van Hoof and Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (2019), has the unscaled
    form.

    Args:
      returns: float [T, U].

    Returns:
      float [T, U], with mean 0 along the second axis.

    Raises:
      ValueError: if `returns` does not have rank 2.
    """
    shapes.require_rank_2("returns", returns)
    return returns - tf.reduce_mean(returns, axis=1, keepdims=True)


def minus_leave_one_out_mean(returns: tf.Tensor) -> tf.Tensor:
    """Subtract the mean over the other users of the same step.

    Kool, van Hoof and Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (2019), equation 8. The baseline is
    independent of the user's own actions, so the gradient keeps its scale.

    Args:
      returns: float [T, U], U at least 2.

    Returns:
      float [T, U], with mean 0 along the second axis.

    Raises:
      ValueError: if `returns` does not have rank 2, or has a single user.
    """
    returns = tf.convert_to_tensor(returns)
    shapes.require_rank_2("returns", returns)
    if returns.shape[1] == 1:
        raise ValueError("returns must have at least 2 users for a mean over the others, got 1")
    num_users = tf.cast(tf.shape(returns)[1], returns.dtype)
    return minus_population_mean(returns) * (num_users / (num_users - 1.0))


def whiten(advantages: tf.Tensor) -> tf.Tensor:
    """Scale advantages to standard deviation 1 over all steps and users.

    Andrychowicz et al., "What matters for on-policy deep actor-critic methods?" (2021), choice C67 (per minibatch
    there), with a deviation: the mean of the advantages is not subtracted, since that is the baseline's task.

    Args:
      advantages: float [T, U].

    Returns:
      float [T, U].

    Raises:
      ValueError: if `advantages` does not have rank 2.
    """
    shapes.require_rank_2("advantages", advantages)
    return advantages / (tf.math.reduce_std(advantages) + WHITENING_EPSILON)


def explained_variance(values: tf.Tensor, returns: tf.Tensor) -> tf.Tensor:
    """Compute the share of the returns' variance that values explain: 1 - Var[returns - values] / Var[returns].

    The measure is the coefficient of determination R^2_4 of Kvalseth, "Cautionary note about R^2" (1985), over all
    steps and users: a constant error of the values does not lower it.

    Args:
      values: float [T, U].
      returns: float [T, U].

    Returns:
      Scalar, at most 1; 0 for uninformative values, NaN if the returns do not vary.

    Raises:
      ValueError: if an argument does not have rank 2, or their shapes differ.
    """
    values, returns = tf.convert_to_tensor(values), tf.convert_to_tensor(returns)
    shapes.require_equal_shapes(values=values, returns=returns)
    variance = tf.math.reduce_variance(returns)
    explained = 1.0 - tf.math.reduce_variance(returns - values) / variance
    return tf.where(variance > 0.0, explained, tf.constant(math.nan, returns.dtype))


def _require_share(name: str, number: float) -> None:
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must be between 0 and 1, got {number}")


for _baseline in (minus_population_mean, minus_leave_one_out_mean):
    gin_config.register_external(_baseline, module=gin_config.MODULE)
