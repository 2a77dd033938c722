"""Expected gradients of losses and advantages against exact enumeration of a tiny world."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.training import advantages as advantages_lib
from recsys_po_rl.training import losses

# Exact enumeration: a world of T steps in which every action sequence of every user can be listed.

NUM_ACTIONS, NUM_STATES = 2, 3


def next_state(state, action):
    return (2 * state + action + 1) % NUM_STATES


class TinyWorld:
    """Users who start in different states, with rewards of their own, under one softmax policy per state."""

    def __init__(self, horizon, num_users):
        rng = np.random.default_rng(7)
        self.horizon, self.num_users = horizon, num_users
        self.rewards = rng.normal(1.0, 5.0, (num_users, horizon, NUM_STATES, NUM_ACTIONS))
        self.theta = tf.constant(rng.normal(0.0, 1.0, (NUM_STATES, NUM_ACTIONS)))

    def roll_out(self, user, actions):
        """States [T] and rewards [T] of a user who is shown these actions."""
        states, rewards, state = [], [], user % NUM_STATES
        for step, action in enumerate(actions):
            states.append(state)
            rewards.append(self.rewards[user, step, state, action])
            state = next_state(state, action)
        return states, rewards

    def log_probs(self, user, actions, theta=None):
        """Log-probability [T] of a user's actions, differentiable."""
        states, _ = self.roll_out(user, actions)
        return tf.gather_nd(tf.nn.log_softmax(self.theta if theta is None else theta), list(zip(states, actions)))

    def values(self):
        """Return of the policy for each user from each step and state on, [U, T + 1, states], by backward induction."""
        policy = tf.nn.softmax(self.theta).numpy()
        values = np.zeros((self.num_users, self.horizon + 1, NUM_STATES))
        for step in reversed(range(self.horizon)):
            for state, action in np.ndindex(NUM_STATES, NUM_ACTIONS):
                then = values[:, step + 1, next_state(state, action)]
                values[:, step, state] += policy[state, action] * (self.rewards[:, step, state, action] + then)
        return values

    def sequences(self):
        return list(itertools.product(range(NUM_ACTIONS), repeat=self.horizon))

    def true_gradient(self):
        """Gradient of the expected return, averaged over users, from its definition."""
        with tf.GradientTape() as tape:
            tape.watch(self.theta)
            expected = 0.0
            for user, actions in itertools.product(range(self.num_users), self.sequences()):
                probability = tf.exp(tf.reduce_sum(self.log_probs(user, actions)))
                expected += probability * sum(self.roll_out(user, actions)[1]) / self.num_users
        return tape.gradient(expected, self.theta).numpy()

    def expected_loss_gradient(self, to_advantages, loss_of=losses.reinforce_loss, error_of_values=0.0):
        """Sum over all joint action sequences of their probability times the gradient of their loss."""
        of_states = self.values()
        paths = {
            (user, actions): self.roll_out(user, actions)
            for user in range(self.num_users)
            for actions in self.sequences()
        }
        values_on = {
            (user, actions): of_states[user, range(self.horizon), states]
            for (user, actions), (states, _) in paths.items()
        }
        with tf.GradientTape() as tape:
            tape.watch(self.theta)
            log_probs_of = {path: self.log_probs(*path) for path in paths}
            expected, total_probability = 0.0, 0.0
            for joint in itertools.product(self.sequences(), repeat=self.num_users):
                taken = list(enumerate(joint))
                log_probs = tf.stack([log_probs_of[path] for path in taken], axis=1)
                rewards = np.array([paths[path][1] for path in taken]).T
                values = np.array([values_on[path] for path in taken]).T + error_of_values
                probability = tf.stop_gradient(tf.exp(tf.reduce_sum(log_probs)))
                loss = loss_of(log_probs, to_advantages(tf.constant(rewards), tf.constant(values)))
                expected += probability * loss
                total_probability += probability
        np.testing.assert_allclose(total_probability, 1.0, rtol=1e-12)
        return tape.gradient(expected, self.theta).numpy()


def to_go(rewards, values):
    del values
    return advantages_lib.rewards_to_go(rewards)


def totals(rewards, values):
    del values
    return advantages_lib.total_returns(rewards)


def against_values(rewards, values):
    return advantages_lib.generalized_advantages(rewards, values, 1.0, 1.0)


def against_all(advantages):
    return lambda rewards, values: advantages_lib.minus_population_mean(advantages(rewards, values))


def against_others(advantages):
    return lambda rewards, values: advantages_lib.minus_leave_one_out_mean(advantages(rewards, values))


ADVANTAGES = {  # and whether their expected gradient is shorter by one part in U
    "rewards_to_go": (to_go, False),
    "total_returns": (totals, False),
    "learned_value": (against_values, False),
    "centred_rewards_to_go": (against_all(to_go), True),
    "centred_total_returns": (against_all(totals), True),
    "centred_learned_value": (against_all(against_values), True),
    "leave_one_out_rewards_to_go": (against_others(to_go), False),
    "leave_one_out_total_returns": (against_others(totals), False),
    "leave_one_out_learned_value": (against_others(against_values), False),
}


def ppo_at_ratio_1(log_probs, advantages):
    return losses.ppo_clip_loss(log_probs, tf.stop_gradient(log_probs), advantages, 0.2)


@pytest.mark.parametrize("loss_of", [losses.reinforce_loss, ppo_at_ratio_1], ids=["reinforce", "ppo_at_ratio_1"])
@pytest.mark.parametrize("advantages", ADVANTAGES)
@pytest.mark.parametrize(("horizon", "num_users"), [(1, 2), (3, 2), (2, 3)])
def test_expected_gradient_of_the_loss_is_minus_that_of_the_expected_return(loss_of, advantages, horizon, num_users):
    to_advantages, is_centred = ADVANTAGES[advantages]
    world = TinyWorld(horizon, num_users)
    true = world.true_gradient()
    assert np.abs(true).max() > 0.1
    # The mean over users contains each user's own return: its gradient is shorter by one part in U.
    scale = (num_users - 1) / num_users if is_centred else 1.0
    # A learned value may be wrong, at each step and for each user, as long as it does not know the action.
    error = np.random.default_rng(3).normal(0.0, 4.0, (horizon, num_users))
    found = world.expected_loss_gradient(to_advantages, loss_of, error)
    np.testing.assert_allclose(found, -scale * true, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("trace_decay", [0.0, 0.6])
def test_generalized_advantages_are_unbiased_with_the_policys_own_values_only(trace_decay):
    world = TinyWorld(3, 2)

    def advantages(rewards, values):
        return advantages_lib.generalized_advantages(rewards, values, 1.0, trace_decay)

    true = world.true_gradient()
    np.testing.assert_allclose(world.expected_loss_gradient(advantages), -true, rtol=1e-10, atol=1e-12)
    error = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, -3.0]])  # the same for all states of a step: still no bias
    found = world.expected_loss_gradient(advantages, error_of_values=error)
    np.testing.assert_allclose(found, -true, rtol=1e-10, atol=1e-12)

    def wrong(rewards, values):
        return advantages(rewards, values**2)

    assert np.abs(world.expected_loss_gradient(wrong) + true).max() > 0.01 * np.abs(true).max()


@pytest.mark.parametrize("clip_range", [0.2, 50.0])
def test_the_expected_clipped_objective_of_one_step_is_that_of_its_definition(clip_range):
    """Slates drawn under other weights: unclipped it has the gradient of the return under the weights as they are."""
    world = TinyWorld(1, 3)
    old = world.theta + tf.constant(np.random.default_rng(1).normal(0.0, 0.6, world.theta.shape))
    expected, by_definition = 0.0, 0.0
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(world.theta)
        for joint in itertools.product(world.sequences(), repeat=3):
            taken = list(enumerate(joint))
            new_log_probs = tf.stack([world.log_probs(*path) for path in taken], axis=1)
            old_log_probs = tf.stack([world.log_probs(*path, old) for path in taken], axis=1)
            rewards = tf.constant(np.array([world.roll_out(*path)[1] for path in taken]).T)
            loss = losses.ppo_clip_loss(new_log_probs, old_log_probs, rewards, clip_range)
            expected += tf.exp(tf.reduce_sum(old_log_probs)) * loss
        for user, action in itertools.product(range(3), range(NUM_ACTIONS)):
            new, before = (tf.nn.softmax(theta)[user % NUM_STATES, action] for theta in (world.theta, old))
            reward = world.rewards[user, 0, user % NUM_STATES, action]
            bounded = tf.clip_by_value(new / before, 1 - clip_range, 1 + clip_range) * reward
            by_definition -= before * tf.minimum(new / before * reward, bounded) / 3
    found, exact = tape.gradient(expected, world.theta), tape.gradient(by_definition, world.theta)
    np.testing.assert_allclose(expected, by_definition, rtol=1e-10)
    np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-12)
    is_whole = np.allclose(found, -world.true_gradient(), rtol=1e-10, atol=1e-12)
    assert is_whole == (clip_range == 50.0)


def test_the_expected_approximate_kl_is_the_divergence_from_the_old_policy():
    world = TinyWorld(3, 2)
    old = world.theta + tf.constant(np.random.default_rng(2).normal(0.0, 0.5, world.theta.shape))
    log_old, log_new = (tf.nn.log_softmax(theta).numpy() for theta in (old, world.theta))
    of_states = (np.exp(log_old) * (log_old - log_new)).sum(axis=1)
    expected, exact = 0.0, 0.0
    for joint in itertools.product(world.sequences(), repeat=2):
        taken = list(enumerate(joint))
        old_log_probs = tf.stack([world.log_probs(*path, old) for path in taken], axis=1)
        new_log_probs = tf.stack([world.log_probs(*path) for path in taken], axis=1)
        probability = float(tf.exp(tf.reduce_sum(old_log_probs)))
        expected += probability * float(losses.policy_change(new_log_probs, old_log_probs).approximate_kl)
        visited = [world.roll_out(*path)[0] for path in taken]
        exact += probability * of_states[np.array(visited)].mean()
    assert exact > 0.01
    np.testing.assert_allclose(expected, exact, rtol=1e-10)
