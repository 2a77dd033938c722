"""Losses: by hand, against slow oracles, their gradients; the change of a policy."""

import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.training import losses

# [T, U]; the axes differ, and 1 is among them.
SIZES = [(1, 3), (2, 1), (3, 2), (4, 7), (11, 5)]


def draw(sizes, seed, dtype=np.float64):
    return np.random.default_rng(seed).normal(1.5, 2.0, sizes).astype(dtype)


# reinforce_loss


def test_reinforce_loss_worked_by_hand():
    log_probs = tf.constant([[-1.0, -2.0, -0.5], [-3.0, -1.0, -4.0]])
    advantages = tf.constant([[2.0, 0.5, -2.0], [1.0, -3.0, 0.25]])
    # Sums over steps: -2 - 3 = -5; -1 + 3 = 2; 1 - 1 = 0. Minus their mean over 3 users: 1.
    assert float(losses.reinforce_loss(log_probs, advantages)) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_reinforce_loss_and_its_gradients_equal_a_slow_oracle(sizes):
    log_probs, advantages = tf.constant(draw(sizes, seed=5)), tf.constant(draw(sizes, seed=6))
    expected = 0.0
    for step, user in np.ndindex(*sizes):
        expected -= log_probs.numpy()[step, user] * advantages.numpy()[step, user] / sizes[1]
    with tf.GradientTape() as tape:
        tape.watch([log_probs, advantages])
        loss = losses.reinforce_loss(log_probs, advantages)
    into_log_probs, into_advantages = tape.gradient(loss, [log_probs, advantages])
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(into_log_probs, -advantages.numpy() / sizes[1], rtol=1e-13)
    assert into_advantages is None


def test_no_gradient_flows_through_advantages_made_of_the_same_parameters():
    theta = tf.constant(0.3, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        # Log-probabilities 2 theta and -theta; advantages theta^2 and 5 theta.
        log_probs = tf.stack([2 * theta, -theta])[:, tf.newaxis]
        advantages = tf.stack([theta**2, 5 * theta])[:, tf.newaxis]
        loss = losses.reinforce_loss(log_probs, advantages)
    # -(2 * 0.09 - 1 * 1.5) = 1.32.
    np.testing.assert_allclose(tape.gradient(loss, theta), 1.32, rtol=1e-13)


# ppo_clip_loss


def test_ppo_clip_loss_worked_by_hand():
    ratios = np.array([[1.5, 1.5, 1.1], [0.5, 0.5, 0.9]])
    advantages = tf.constant([[2.0, -2.0, 1.0], [4.0, -4.0, -1.0]], tf.float64)
    old = tf.constant([[-1.0, -2.0, -0.5], [-3.0, -1.0, -4.0]], tf.float64)
    # Clip range 0.2, the lower of ratio and clipped ratio times advantage. User 0: min(3, 2.4) + min(2, 3.2) = 4.4;
    # user 1: min(-3, -2.4) + min(-2, -3.2) = -6.2; user 2: 1.1 - 0.9 = 0.2. Minus their mean: 1.6 / 3.
    loss = losses.ppo_clip_loss(old + np.log(ratios), old, advantages, 0.2)
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
        loss = losses.ppo_clip_loss(*tensors, clip_range)
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
        lambda: losses.ppo_clip_loss(log_probs, log_probs, advantages, 0.2),
        lambda: losses.reinforce_loss(log_probs, advantages),
    ):
        with tf.GradientTape() as tape:
            tape.watch(log_probs)
            value = loss()
        found.append(tape.gradient(value, log_probs))
    np.testing.assert_allclose(*found, rtol=1e-13)


@pytest.mark.parametrize("clip_range", [0.0, -0.2, float("nan")])
def test_a_clip_range_must_be_above_0(clip_range):
    for function in (
        lambda: losses.ppo_clip_loss(tf.ones((3, 2)), tf.ones((3, 2)), tf.ones((3, 2)), clip_range),
        lambda: losses.policy_change(tf.ones((3, 2)), tf.ones((3, 2)), clip_range),
    ):
        with pytest.raises(ValueError, match=f"^clip_range must be above 0, got {clip_range}$"):
            function()


# entropy_loss


def test_entropy_loss_worked_by_hand():
    entropies = tf.constant([[1.0, 2.0, 0.5], [3.0, 1.0, 1.5]])
    # Sums over steps 4, 3, 2, their mean 3, times 0.1.
    assert float(losses.entropy_loss(entropies, 0.1)) == pytest.approx(-0.3, rel=1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_entropy_loss_and_its_gradient_equal_a_slow_oracle(sizes):
    entropies = tf.constant(draw(sizes, seed=4))
    expected = 0.0
    for place in np.ndindex(*sizes):
        expected -= 0.3 * entropies.numpy()[place] / sizes[1]
    with tf.GradientTape() as tape:
        tape.watch(entropies)
        loss = losses.entropy_loss(entropies, 0.3)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(tape.gradient(loss, entropies), np.full(sizes, -0.3 / sizes[1]), rtol=1e-12)


# policy_change


def test_policy_change_worked_by_hand():
    ratios = np.array([[1.0, 2.0, 0.5], [1.1, 0.85, 1.25]])
    # r - 1 - log r: 0; 1 - log 2 = 0.306853; -0.5 + log 2 = 0.193147; 0.1 - log 1.1 = 0.004690;
    # -0.15 - log 0.85 = 0.012519; 0.25 - log 1.25 = 0.026856. Sum 0.544065. Outside 0.2: 2, 0.5 and 1.25.
    old = draw((2, 3), seed=0)
    change = losses.policy_change(tf.constant(old + np.log(ratios)), tf.constant(old), 0.2)
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
    change = losses.policy_change(tf.constant(new), tf.constant(old), clip_range)
    np.testing.assert_allclose(change.approximate_kl, divergence, rtol=1e-10)
    np.testing.assert_allclose(change.clip_share, outside / old.size, rtol=1e-12)


def test_a_tiny_change_in_float32_is_not_lost_in_rounding():
    old = tf.fill((3, 2), -4.0)
    change = losses.policy_change(old + 1e-3, old)
    # x^2 / 2 at the x that float32 holds beside -4.
    step = float((old + 1e-3 - old)[0, 0])
    np.testing.assert_allclose(change.approximate_kl, step**2 / 2, rtol=1e-3)
    assert float(losses.policy_change(old, old).approximate_kl) == 0.0


# Ranks and shapes

ONES = tf.ones((3, 2))


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 4)])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("log_probs", lambda tensor: losses.reinforce_loss(tensor, ONES)),
        ("advantages", lambda tensor: losses.reinforce_loss(ONES, tensor)),
        ("log_probs", lambda tensor: losses.ppo_clip_loss(tensor, ONES, ONES)),
        ("old_log_probs", lambda tensor: losses.ppo_clip_loss(ONES, tensor, ONES)),
        ("advantages", lambda tensor: losses.ppo_clip_loss(ONES, ONES, tensor)),
        ("entropies", lambda tensor: losses.entropy_loss(tensor, 0.1)),
        ("log_probs", lambda tensor: losses.policy_change(tensor, ONES)),
        ("old_log_probs", lambda tensor: losses.policy_change(ONES, tensor)),
    ],
)
def test_other_ranks_than_2_are_refused(name, function, shape):
    with pytest.raises(ValueError, match=rf"^{name} must have the axes \[T steps, U users\], got rank {len(shape)}$"):
        function(tf.ones(shape))


@pytest.mark.parametrize("shape", [(3, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize(
    ("names", "function"),
    [
        ("log_probs and advantages", lambda tensor: losses.reinforce_loss(ONES, tensor)),
        ("log_probs and old_log_probs", lambda tensor: losses.ppo_clip_loss(ONES, tensor, ONES)),
        ("log_probs and advantages", lambda tensor: losses.ppo_clip_loss(ONES, ONES, tensor)),
        ("log_probs and old_log_probs", lambda tensor: losses.policy_change(ONES, tensor)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(names, function, shape):
    with pytest.raises(ValueError, match=f"^{names} must have the same shape, got "):
        function(tf.ones(shape))
