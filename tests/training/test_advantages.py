"""Returns and advantages: by hand, against slow oracles, ranks and shapes."""

import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.training import advantages as advantages_lib

# [T, U]; the axes differ, and 1 is among them.
SIZES = [(1, 3), (2, 1), (3, 2), (4, 7), (11, 5)]


def draw(sizes, seed, dtype=np.float64):
    return np.random.default_rng(seed).normal(1.5, 2.0, sizes).astype(dtype)


# rewards_to_go


def test_rewards_to_go_worked_by_hand():
    rewards = tf.constant([[1.0, 8.0], [2.0, 0.0], [4.0, -4.0]])
    # User 0: 4; 2 + 4 / 2 = 4; 1 + 4 / 2 = 3. User 1: -4; 0 - 4 / 2 = -2; 8 - 2 / 2 = 7.
    np.testing.assert_array_equal(advantages_lib.rewards_to_go(rewards, 0.5), [[3, 7], [4, -2], [4, -4]])
    np.testing.assert_array_equal(advantages_lib.rewards_to_go(rewards), [[7, 4], [6, -4], [4, -4]])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("discount", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_rewards_to_go_equals_a_slow_sum(sizes, discount, dtype, tolerance):
    rewards = draw(sizes, seed=0, dtype=dtype)
    expected = np.zeros(sizes)
    for step, user in np.ndindex(*sizes):
        for later in range(step, sizes[0]):
            expected[step, user] += discount ** (later - step) * float(rewards[later, user])
    result = advantages_lib.rewards_to_go(tf.constant(rewards), discount)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rewards_to_go_of_a_compiled_function(jit_compile):
    rewards = tf.constant(draw((4, 7), seed=1))
    compiled = tf.function(lambda rewards: advantages_lib.rewards_to_go(rewards, 0.7), jit_compile=jit_compile)
    np.testing.assert_allclose(compiled(rewards), advantages_lib.rewards_to_go(rewards, 0.7), rtol=1e-13)


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_out_of_bounds_is_refused(discount):
    with pytest.raises(ValueError, match="discount must be between 0 and 1"):
        advantages_lib.rewards_to_go(tf.ones((3, 2)), discount)


def test_no_steps_have_no_rewards_to_go():
    assert advantages_lib.rewards_to_go(tf.zeros((0, 2))).shape == (0, 2)


# total_returns


def test_total_returns_worked_by_hand():
    rewards = tf.constant([[1.0, 8.0], [2.0, 0.0], [4.0, -4.0]])
    np.testing.assert_array_equal(advantages_lib.total_returns(rewards), [[7, 4], [7, 4], [7, 4]])


@pytest.mark.parametrize("sizes", SIZES)
def test_total_returns_equals_a_slow_sum(sizes):
    rewards = draw(sizes, seed=2)
    expected = np.zeros(sizes)
    for step, user in np.ndindex(*sizes):
        expected[step, user] = sum(rewards[other, user] for other in range(sizes[0]))
    np.testing.assert_allclose(advantages_lib.total_returns(tf.constant(rewards)), expected, rtol=1e-13, atol=1e-13)


# minus_population_mean


def test_minus_population_mean_worked_by_hand():
    returns = tf.constant([[1.0, 2.0, 6.0], [0.0, -3.0, 0.0]])  # means over users 3 and -1
    np.testing.assert_array_equal(advantages_lib.minus_population_mean(returns), [[-2, -1, 3], [1, -2, 1]])


@pytest.mark.parametrize("sizes", SIZES)
def test_minus_population_mean_equals_a_slow_mean(sizes):
    returns = draw(sizes, seed=3)
    expected = np.zeros(sizes)
    for step, user in np.ndindex(*sizes):
        expected[step, user] = returns[step, user] - sum(returns[step]) / sizes[1]
    result = advantages_lib.minus_population_mean(tf.constant(returns)).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(result.sum(axis=1), 0.0, atol=1e-13)


# whiten


def test_whiten_worked_by_hand():
    # Mean 3, squared deviations 4 + 0 + 0 + 4 + 4 + 4 = 16 over 6 numbers: standard deviation sqrt(8 / 3).
    advantages = tf.constant([[1.0, 3.0, 3.0], [5.0, 1.0, 5.0]], tf.float64)
    expected = np.array([[1, 3, 3], [5, 1, 5]]) * np.sqrt(3 / 8)
    np.testing.assert_allclose(advantages_lib.whiten(advantages), expected, rtol=1e-7)


@pytest.mark.parametrize("sizes", SIZES)
def test_whiten_equals_a_slow_oracle(sizes):
    advantages = draw(sizes, seed=4)
    mean = sum(advantages.ravel()) / advantages.size
    deviation = np.sqrt(sum((number - mean) ** 2 for number in advantages.ravel()) / advantages.size)
    result = advantages_lib.whiten(tf.constant(advantages)).numpy()
    # The epsilon beside the deviation is a relative change of 1e-8 / deviation.
    np.testing.assert_allclose(result, advantages / deviation, rtol=2 * advantages_lib.WHITENING_EPSILON / deviation)
    np.testing.assert_allclose(result.std(), 1.0, rtol=2 * advantages_lib.WHITENING_EPSILON / deviation)
    np.testing.assert_allclose(result.mean(), mean / deviation, rtol=1e-7)


def test_whiten_of_zeros_is_zeros():
    np.testing.assert_array_equal(advantages_lib.whiten(tf.zeros((3, 2))), np.zeros((3, 2)))


# generalized_advantages


def test_generalized_advantages_worked_by_hand():
    rewards = tf.constant([[1.0, 8.0], [2.0, 0.0], [4.0, -4.0]])
    values = tf.constant([[3.0, 2.0], [2.0, 4.0], [6.0, -2.0]])
    # Discount 1/2. User 0: deltas 1 + 1 - 3 = -1; 2 + 3 - 2 = 3; 4 - 6 = -2. User 1: 8 + 2 - 2 = 8; 0 - 1 - 4 = -5;
    # -4 + 2 = -2. Each advantage is delta + discount * lambda * the next one; at lambda 1/2 a quarter of it.
    expected = [[-1 + 2.5 / 4, 8 - 5.5 / 4], [3 - 2 / 4, -5 - 2 / 4], [-2, -2]]
    np.testing.assert_array_equal(advantages_lib.generalized_advantages(rewards, values, 0.5, 0.5), expected)
    # Lambda 0: the deltas alone.
    found = advantages_lib.generalized_advantages(rewards, values, 0.5, 0.0)
    np.testing.assert_array_equal(found, [[-1, 8], [3, -5], [-2, -2]])
    # Lambda 1: rewards-to-go (3, 4, 4) and (7, -2, -4) minus values.
    found = advantages_lib.generalized_advantages(rewards, values, 0.5, 1.0)
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
    found = advantages_lib.generalized_advantages(tf.constant(rewards), tf.constant(values), discount, trace_decay)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_at_trace_decay_1_they_are_rewards_to_go_minus_values():
    rewards, values = tf.constant(draw((6, 4), seed=2)), tf.constant(draw((6, 4), seed=3))
    expected = advantages_lib.rewards_to_go(rewards, 0.9) - values
    np.testing.assert_allclose(advantages_lib.generalized_advantages(rewards, values, 0.9, 1.0), expected, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_generalized_advantages_of_a_compiled_function(jit_compile):
    rewards, values = tf.constant(draw((4, 7), seed=1)), tf.constant(draw((4, 7), seed=2))
    compiled = tf.function(advantages_lib.generalized_advantages, jit_compile=jit_compile)
    expected = advantages_lib.generalized_advantages(rewards, values)
    np.testing.assert_allclose(compiled(rewards, values), expected, rtol=1e-12)


@pytest.mark.parametrize("number", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["discount", "trace_decay"])
def test_discount_and_trace_decay_out_of_bounds_are_refused(name, number):
    options = {"discount": 0.5, "trace_decay": 0.5, name: number}  # a product of the two that is in bounds
    with pytest.raises(ValueError, match=rf"^{name} must be between 0 and 1, got {number}$"):
        advantages_lib.generalized_advantages(tf.ones((3, 2)), tf.ones((3, 2)), **options)


# minus_leave_one_out_mean


def test_minus_leave_one_out_mean_worked_by_hand():
    returns = tf.constant([[1.0, 2.0, 6.0], [0.0, -3.0, 0.0]])
    # Means of the other two: 4, 3.5, 1.5; -1.5, 0, -1.5.
    np.testing.assert_allclose(
        advantages_lib.minus_leave_one_out_mean(returns), [[-3, -1.5, 4.5], [1.5, -3, 1.5]], rtol=1e-6
    )


@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if sizes[1] > 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_minus_leave_one_out_mean_equals_a_slow_mean(sizes, dtype, tolerance):
    returns = draw(sizes, seed=3, dtype=dtype)
    expected = np.zeros(sizes)
    for step, user in np.ndindex(*sizes):
        others = [float(returns[step, other]) for other in range(sizes[1]) if other != user]
        expected[step, user] = returns[step, user] - sum(others) / len(others)
    found = advantages_lib.minus_leave_one_out_mean(tf.constant(returns))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_single_user_has_no_others():
    with pytest.raises(ValueError, match="returns must have at least 2 users for a mean over the others, got 1"):
        advantages_lib.minus_leave_one_out_mean(tf.ones((3, 1)))


# explained_variance


def test_explained_variance_worked_by_hand():
    returns = tf.constant([[1.0, 3.0], [5.0, 7.0]])  # variance 5
    values = tf.constant([[0.0, 4.0], [4.0, 8.0]])  # errors 1, -1, 1, -1: variance 1
    assert float(advantages_lib.explained_variance(values, returns)) == pytest.approx(0.8, rel=1e-6)
    assert float(advantages_lib.explained_variance(values + 10.0, returns)) == pytest.approx(0.8, rel=1e-6)
    assert float(advantages_lib.explained_variance(returns, returns)) == 1.0
    assert float(advantages_lib.explained_variance(tf.zeros((2, 2)), returns)) == 0.0
    assert float(advantages_lib.explained_variance(-returns, returns)) == pytest.approx(-3.0, rel=1e-6)
    assert math.isnan(float(advantages_lib.explained_variance(values, tf.ones((2, 2)))))


@pytest.mark.parametrize("sizes", SIZES)
def test_explained_variance_equals_a_slow_oracle(sizes):
    values, returns = draw(sizes, seed=5), draw(sizes, seed=6)

    def variance(numbers):
        mean = sum(numbers) / len(numbers)
        return sum((number - mean) ** 2 for number in numbers) / len(numbers)

    expected = 1.0 - variance((returns - values).ravel()) / variance(returns.ravel())
    found = advantages_lib.explained_variance(tf.constant(values), tf.constant(returns))
    assert found.shape == ()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# Ranks and shapes

ONES = tf.ones((3, 2))


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 4)])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("rewards", advantages_lib.rewards_to_go),
        ("rewards", advantages_lib.total_returns),
        ("returns", advantages_lib.minus_population_mean),
        ("returns", advantages_lib.minus_leave_one_out_mean),
        ("advantages", advantages_lib.whiten),
        ("rewards", lambda tensor: advantages_lib.generalized_advantages(tensor, ONES)),
        ("values", lambda tensor: advantages_lib.generalized_advantages(ONES, tensor)),
        ("values", lambda tensor: advantages_lib.explained_variance(tensor, ONES)),
        ("returns", lambda tensor: advantages_lib.explained_variance(ONES, tensor)),
    ],
)
def test_other_ranks_than_2_are_refused(name, function, shape):
    with pytest.raises(ValueError, match=rf"^{name} must have the axes \[T steps, U users\], got rank {len(shape)}$"):
        function(tf.ones(shape))


@pytest.mark.parametrize("shape", [(3, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize(
    ("names", "function"),
    [
        ("rewards and values", lambda tensor: advantages_lib.generalized_advantages(ONES, tensor)),
        ("values and returns", lambda tensor: advantages_lib.explained_variance(tensor, ONES)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(names, function, shape):
    with pytest.raises(ValueError, match=f"^{names} must have the same shape, got "):
        function(tf.ones(shape))
