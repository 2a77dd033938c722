"""Advantages against others and against learned values, the clipped loss, entropy, and what is reported of a policy."""

import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.training import estimators

# [T, U]; the axes differ, and 1 is among them.
SIZES = [(1, 3), (2, 1), (3, 2), (4, 7), (11, 5)]


def draw(sizes, seed, dtype=np.float64):
    return np.random.default_rng(seed).normal(1.5, 2.0, sizes).astype(dtype)


# generalized_advantages


def test_generalized_advantages_worked_by_hand():
    rewards = tf.constant([[1.0, 8.0], [2.0, 0.0], [4.0, -4.0]])
    values = tf.constant([[3.0, 2.0], [2.0, 4.0], [6.0, -2.0]])
    # Discount 1/2. User 0: deltas 1 + 1 - 3 = -1; 2 + 3 - 2 = 3; 4 - 6 = -2. User 1: 8 + 2 - 2 = 8; 0 - 1 - 4 = -5;
    # -4 + 2 = -2. Each advantage is delta + discount * lambda * the next one; at lambda 1/2 a quarter of it.
    expected = [[-1 + 2.5 / 4, 8 - 5.5 / 4], [3 - 2 / 4, -5 - 2 / 4], [-2, -2]]
    np.testing.assert_array_equal(estimators.generalized_advantages(rewards, values, 0.5, 0.5), expected)
    # Lambda 0: the deltas alone.
    found = estimators.generalized_advantages(rewards, values, 0.5, 0.0)
    np.testing.assert_array_equal(found, [[-1, 8], [3, -5], [-2, -2]])
    # Lambda 1: rewards-to-go (3, 4, 4) and (7, -2, -4) minus values.
    found = estimators.generalized_advantages(rewards, values, 0.5, 1.0)
    np.testing.assert_array_equal(found, [[0, 5], [2, -6], [-2, -2]])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("discount", "trace_decay"), [(1.0, 0.95), (0.9, 0.3), (0.7, 0.0), (0.0, 0.8), (0.8, 1.0)])
def test_generalized_advantages_equal_a_slow_mixture(sizes, discount, trace_decay):
    """The definition: a mixture of k-step advantages with weights (1 - lambda) lambda^(k - 1), the rest on the last."""
    rewards, values = draw(sizes, seed=0), draw(sizes, seed=1)
    horizon = sizes[0]
    expected = np.zeros(sizes)
    for start, user in np.ndindex(*sizes):
        longest = horizon - start
        for length in range(1, longest + 1):
            of_length = sum(discount**k * rewards[start + k, user] for k in range(length)) - values[start, user]
            if start + length < horizon:
                of_length += discount**length * values[start + length, user]
            weight = trace_decay ** (length - 1) * (1.0 if length == longest else 1.0 - trace_decay)
            expected[start, user] += weight * of_length
    found = estimators.generalized_advantages(tf.constant(rewards), tf.constant(values), discount, trace_decay)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_at_trace_decay_1_they_are_rewards_to_go_minus_values():
    rewards, values = tf.constant(draw((6, 4), seed=2)), tf.constant(draw((6, 4), seed=3))
    expected = estimators.rewards_to_go(rewards, 0.9) - values
    np.testing.assert_allclose(estimators.generalized_advantages(rewards, values, 0.9, 1.0), expected, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_generalized_advantages_of_a_compiled_function(jit_compile):
    rewards, values = tf.constant(draw((4, 7), seed=1)), tf.constant(draw((4, 7), seed=2))
    compiled = tf.function(estimators.generalized_advantages, jit_compile=jit_compile)
    expected = estimators.generalized_advantages(rewards, values)
    np.testing.assert_allclose(compiled(rewards, values), expected, rtol=1e-12)


@pytest.mark.parametrize("number", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["discount", "trace_decay"])
def test_discount_and_trace_decay_out_of_bounds_are_refused(name, number):
    options = {"discount": 0.5, "trace_decay": 0.5, name: number}  # a product of the two that is in bounds
    with pytest.raises(ValueError, match=rf"^{name} must be between 0 and 1, got {number}$"):
        estimators.generalized_advantages(tf.ones((3, 2)), tf.ones((3, 2)), **options)


# minus_leave_one_out_mean


def test_minus_leave_one_out_mean_worked_by_hand():
    returns = tf.constant([[1.0, 2.0, 6.0], [0.0, -3.0, 0.0]])
    # Means of the other two: 4, 3.5, 1.5; -1.5, 0, -1.5.
    np.testing.assert_allclose(
        estimators.minus_leave_one_out_mean(returns), [[-3, -1.5, 4.5], [1.5, -3, 1.5]], rtol=1e-6
    )


@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if sizes[1] > 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_minus_leave_one_out_mean_equals_a_slow_mean(sizes, dtype, tolerance):
    returns = draw(sizes, seed=3, dtype=dtype)
    expected = np.zeros(sizes)
    for step, user in np.ndindex(*sizes):
        others = [float(returns[step, other]) for other in range(sizes[1]) if other != user]
        expected[step, user] = returns[step, user] - sum(others) / len(others)
    found = estimators.minus_leave_one_out_mean(tf.constant(returns))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_single_user_has_no_others():
    with pytest.raises(ValueError, match="returns must have at least 2 users for a mean over the others, got 1"):
        estimators.minus_leave_one_out_mean(tf.ones((3, 1)))


# ppo_clip_loss


def test_ppo_clip_loss_worked_by_hand():
    ratios = np.array([[1.5, 1.5, 1.1], [0.5, 0.5, 0.9]])
    advantages = tf.constant([[2.0, -2.0, 1.0], [4.0, -4.0, -1.0]], tf.float64)
    old = tf.constant([[-1.0, -2.0, -0.5], [-3.0, -1.0, -4.0]], tf.float64)
    # Clip range 0.2, the lower of ratio and clipped ratio times advantage. User 0: min(3, 2.4) + min(2, 3.2) = 4.4;
    # user 1: min(-3, -2.4) + min(-2, -3.2) = -6.2; user 2: 1.1 - 0.9 = 0.2. Minus their mean: 1.6 / 3.
    loss = estimators.ppo_clip_loss(old + np.log(ratios), old, advantages, 0.2)
    assert float(loss) == pytest.approx(1.6 / 3, rel=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("clip_range", [0.05, 0.2, 1.5])
def test_ppo_clip_loss_and_its_gradients_equal_a_slow_oracle(sizes, clip_range):
    old = draw(sizes, seed=5)
    new = old + np.random.default_rng(6).normal(0.0, 0.3, sizes)
    advantages = draw(sizes, seed=7) - 1.5  # of both signs
    expected, slopes = 0.0, np.zeros(sizes)
    for place in np.ndindex(*sizes):
        ratio, advantage = math.exp(new[place] - old[place]), advantages[place]
        # Where the ratio has already moved out of the range in the advantage's direction, nothing is left to gain.
        if advantage > 0 and ratio > 1 + clip_range:
            expected -= (1 + clip_range) * advantage / sizes[1]
        elif advantage < 0 and ratio < 1 - clip_range:
            expected -= (1 - clip_range) * advantage / sizes[1]
        else:
            expected -= ratio * advantage / sizes[1]
            slopes[place] = -ratio * advantage / sizes[1]
    tensors = [tf.constant(array) for array in (new, old, advantages)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        loss = estimators.ppo_clip_loss(*tensors, clip_range)
    into_new, into_old, into_advantages = tape.gradient(loss, tensors)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(into_new, slopes, rtol=1e-10)
    assert into_old is None
    assert into_advantages is None
    if sizes == (11, 5) and clip_range < 1.0:
        assert 0 < (slopes == 0.0).sum() < slopes.size


def test_at_ratio_1_it_has_the_gradient_of_reinforce():
    log_probs, advantages = tf.constant(draw((4, 7), seed=8)), tf.constant(draw((4, 7), seed=9))
    found = []
    for loss in (
        lambda: estimators.ppo_clip_loss(log_probs, log_probs, advantages, 0.2),
        lambda: estimators.reinforce_loss(log_probs, advantages),
    ):
        with tf.GradientTape() as tape:
            tape.watch(log_probs)
            value = loss()
        found.append(tape.gradient(value, log_probs))
    np.testing.assert_allclose(*found, rtol=1e-13)


@pytest.mark.parametrize("clip_range", [0.0, -0.2, float("nan")])
def test_a_clip_range_must_be_above_0(clip_range):
    for function in (
        lambda: estimators.ppo_clip_loss(tf.ones((3, 2)), tf.ones((3, 2)), tf.ones((3, 2)), clip_range),
        lambda: estimators.policy_change(tf.ones((3, 2)), tf.ones((3, 2)), clip_range),
    ):
        with pytest.raises(ValueError, match=f"^clip_range must be above 0, got {clip_range}$"):
            function()


# entropy_loss


def test_entropy_loss_worked_by_hand():
    entropies = tf.constant([[1.0, 2.0, 0.5], [3.0, 1.0, 1.5]])
    # Sums over steps 4, 3, 2, their mean 3, times 0.1.
    assert float(estimators.entropy_loss(entropies, 0.1)) == pytest.approx(-0.3, rel=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_entropy_loss_and_its_gradient_equal_a_slow_oracle(sizes):
    entropies = tf.constant(draw(sizes, seed=4))
    expected = 0.0
    for place in np.ndindex(*sizes):
        expected -= 0.3 * entropies.numpy()[place] / sizes[1]
    with tf.GradientTape() as tape:
        tape.watch(entropies)
        loss = estimators.entropy_loss(entropies, 0.3)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(tape.gradient(loss, entropies), np.full(sizes, -0.3 / sizes[1]), rtol=1e-12)


# policy_change


def test_policy_change_worked_by_hand():
    ratios = np.array([[1.0, 2.0, 0.5], [1.1, 0.85, 1.25]])
    # r - 1 - log r: 0; 1 - log 2 = 0.306853; -0.5 + log 2 = 0.193147; 0.1 - log 1.1 = 0.004690;
    # -0.15 - log 0.85 = 0.012519; 0.25 - log 1.25 = 0.026856. Sum 0.544065. Outside 0.2: 2, 0.5 and 1.25.
    old = draw((2, 3), seed=0)
    change = estimators.policy_change(tf.constant(old + np.log(ratios)), tf.constant(old), 0.2)
    np.testing.assert_allclose(change.approximate_kl, 0.544065 / 6, atol=1e-6)
    np.testing.assert_allclose(change.clip_share, 0.5)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("clip_range", [0.05, 0.2, 0.5])
def test_policy_change_equals_a_slow_oracle(sizes, clip_range):
    old = draw(sizes, seed=1)
    new = old + np.random.default_rng(2).normal(0.0, 0.3, sizes)
    divergence, outside = 0.0, 0
    for place in np.ndindex(*sizes):
        ratio = math.exp(new[place] - old[place])
        divergence += (ratio - 1 - math.log(ratio)) / old.size
        outside += ratio < 1 - clip_range or ratio > 1 + clip_range
    change = estimators.policy_change(tf.constant(new), tf.constant(old), clip_range)
    np.testing.assert_allclose(change.approximate_kl, divergence, rtol=1e-10)
    np.testing.assert_allclose(change.clip_share, outside / old.size, rtol=1e-12)


def test_a_tiny_change_in_float32_is_not_lost_in_rounding():
    old = tf.fill((3, 2), -4.0)
    change = estimators.policy_change(old + 1e-3, old)
    # x^2 / 2 at the x that float32 holds beside -4.
    step = float((old + 1e-3 - old)[0, 0])
    np.testing.assert_allclose(change.approximate_kl, step**2 / 2, rtol=1e-3)
    assert float(estimators.policy_change(old, old).approximate_kl) == 0.0


# explained_variance


def test_explained_variance_worked_by_hand():
    returns = tf.constant([[1.0, 3.0], [5.0, 7.0]])  # variance 5
    values = tf.constant([[0.0, 4.0], [4.0, 8.0]])  # errors 1, -1, 1, -1: variance 1
    assert float(estimators.explained_variance(values, returns)) == pytest.approx(0.8, rel=1e-6)
    assert float(estimators.explained_variance(values + 10.0, returns)) == pytest.approx(0.8, rel=1e-6)
    assert float(estimators.explained_variance(returns, returns)) == 1.0
    assert float(estimators.explained_variance(tf.zeros((2, 2)), returns)) == 0.0
    assert float(estimators.explained_variance(-returns, returns)) == pytest.approx(-3.0, rel=1e-6)
    assert math.isnan(float(estimators.explained_variance(values, tf.ones((2, 2)))))


@pytest.mark.parametrize("sizes", SIZES)
def test_explained_variance_equals_a_slow_oracle(sizes):
    values, returns = draw(sizes, seed=5), draw(sizes, seed=6)

    def variance(numbers):
        mean = sum(numbers) / len(numbers)
        return sum((number - mean) ** 2 for number in numbers) / len(numbers)

    expected = 1.0 - variance((returns - values).ravel()) / variance(returns.ravel())
    found = estimators.explained_variance(tf.constant(values), tf.constant(returns))
    assert found.shape == ()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# Ranks and shapes

ONES = tf.ones((3, 2))


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 4)])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("rewards", lambda tensor: estimators.generalized_advantages(tensor, ONES)),
        ("values", lambda tensor: estimators.generalized_advantages(ONES, tensor)),
        ("returns", estimators.minus_leave_one_out_mean),
        ("log_probs", lambda tensor: estimators.ppo_clip_loss(tensor, ONES, ONES)),
        ("old_log_probs", lambda tensor: estimators.ppo_clip_loss(ONES, tensor, ONES)),
        ("advantages", lambda tensor: estimators.ppo_clip_loss(ONES, ONES, tensor)),
        ("entropies", lambda tensor: estimators.entropy_loss(tensor, 0.1)),
        ("log_probs", lambda tensor: estimators.policy_change(tensor, ONES)),
        ("old_log_probs", lambda tensor: estimators.policy_change(ONES, tensor)),
        ("values", lambda tensor: estimators.explained_variance(tensor, ONES)),
        ("returns", lambda tensor: estimators.explained_variance(ONES, tensor)),
    ],
)
def test_other_ranks_than_2_are_refused(name, function, shape):
    with pytest.raises(ValueError, match=rf"^{name} must have the axes \[T steps, U users\], got rank {len(shape)}$"):
        function(tf.ones(shape))


@pytest.mark.parametrize("shape", [(3, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize(
    ("names", "function"),
    [
        ("rewards and values", lambda tensor: estimators.generalized_advantages(ONES, tensor)),
        ("log_probs and old_log_probs", lambda tensor: estimators.ppo_clip_loss(ONES, tensor, ONES)),
        ("log_probs and advantages", lambda tensor: estimators.ppo_clip_loss(ONES, ONES, tensor)),
        ("log_probs and old_log_probs", lambda tensor: estimators.policy_change(ONES, tensor)),
        ("values and returns", lambda tensor: estimators.explained_variance(tensor, ONES)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(names, function, shape):
    with pytest.raises(ValueError, match=f"^{names} must have the same shape, got "):
        function(tf.ones(shape))
