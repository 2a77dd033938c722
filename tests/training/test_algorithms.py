"""The algorithms by themselves, and how the learner turns a step's shards into updates with them."""

import functools
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import advantages as advantages_lib
from recsys_po_rl.training import algorithms, losses, schedules
from recsys_po_rl.training.critic import CriticBatch, LearnedValue
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, K, S, H, T = 5, 8, 4, 2, 3, 4
SGD = functools.partial(tf.keras.optimizers.SGD, 0.5)


class FromMemory(PolicyGradientLearner):
    """Rolls out once for the keys of a shard: in these tests all rollouts are made under the first weights."""

    remembered: ClassVar[dict] = {}

    def rollout(self, keys):
        key = (*keys.world.numpy(), self.critic is None)
        if key not in self.remembered:
            self.remembered[key] = super().rollout(keys)
        return self.remembered[key]


@pytest.fixture(scope="module")
def first():
    """A network, its runtime and its first weights."""
    tf.keras.utils.set_random_seed(1)
    network = create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip
    yield network, SeededRuntime(network.variables, mode="eager"), [var.numpy() for var in network.trainable_variables]
    FromMemory.remembered.clear()


@pytest.fixture
def make_learner(first):
    network, runtime, weights = first

    def make(**options):
        for variable, weight in zip(network.trainable_variables, weights):
            variable.assign(weight)
        tf.keras.utils.set_random_seed(1)  # of the critic
        return FromMemory(network, T, **{"optimizer": SGD, "runtime_ctor": lambda variables: runtime, **options})

    return make


def shards(count, step=1):
    return [seeding.make_keys(3, "training", step, batch=shard) for shard in range(count)]


def ppo(**options):
    return functools.partial(algorithms.ProximalPolicyOptimization, **options)


def weights_of(learner):
    return [variable.numpy() for variable in learner.trainable_variables]


# By themselves.


def test_reinforce_is_one_update_with_its_loss():
    reinforce = algorithms.Reinforce()
    assert (reinforce.num_epochs, reinforce.num_minibatches) == (1, 1)
    log_probs, old, advantages = tf.random.stateless_normal((3, 4, 2), (1, 2))
    found = reinforce.loss(log_probs, old, advantages)
    np.testing.assert_array_equal(found, losses.reinforce_loss(log_probs, advantages))


def test_ppo_keeps_its_numbers_and_clips_at_its_range():
    made = algorithms.ProximalPolicyOptimization(num_epochs=3, num_minibatches=2, clip_range=0.1)
    assert (made.num_epochs, made.num_minibatches, made.clip_range) == (3, 2, 0.1)
    log_probs, old, advantages = tf.random.stateless_normal((3, 4, 2), (1, 2))
    found = made.loss(log_probs, old, advantages)
    np.testing.assert_array_equal(found, losses.ppo_clip_loss(log_probs, old, advantages, 0.1))
    assert found != losses.ppo_clip_loss(log_probs, old, advantages, 0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_epochs": 0}, "num_epochs must be an integer of at least 1, got 0"),
        ({"num_minibatches": 0}, "num_minibatches must be an integer of at least 1, got 0"),
        ({"num_minibatches": 1.5}, "num_minibatches must be an integer of at least 1, got 1.5"),
        ({"clip_range": 0.0}, "clip_range must be a finite number above 0, got 0.0"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(validation.InvalidInputError) as error:
        algorithms.ProximalPolicyOptimization(**options)
    assert gin_config.first_line(error.value) == f"ProximalPolicyOptimization: {message}"


# In the learner.


@pytest.mark.slow
@pytest.mark.parametrize(("num_epochs", "num_minibatches"), [(1, 4), (2, 2), (3, 1)])
def test_one_update_for_each_minibatch_of_each_epoch(num_epochs, num_minibatches, make_learner):
    """Against the same updates written out: equal groups of shards in turn, old log-probabilities of the rollout."""
    options = dict(
        algorithm=ppo(num_epochs=num_epochs, num_minibatches=num_minibatches, clip_range=0.01),
        critic=functools.partial(LearnedValue, optimizer=SGD), trace_decay=0.8, max_gradient_norm=0.3,
        entropy_bonus=0.02,
    )  # fmt: skip
    learner, keys = make_learner(**options), shards(4)
    result = learner.step(keys)
    assert int(learner.optimizer.iterations) == num_epochs * num_minibatches
    assert int(learner.critic.optimizer.iterations) == num_epochs * num_minibatches
    weights = weights_of(learner)

    by_hand = make_learner(**options)
    rollouts = [by_hand.rollout(of_shard) for of_shard in keys]
    critic = by_hand.critic
    critic.observe([rollout.critic_inputs for rollout in rollouts])
    values = tf.concat([critic.values(rollout.critic_inputs) for rollout in rollouts], axis=1)
    rewards = tf.concat([rollout.rewards for rollout in rollouts], axis=1)
    returns = tf.split(advantages_lib.rewards_to_go(rewards), 4, axis=1)
    advantages = tf.split(by_hand.advantages(rewards, values), 4, axis=1)
    old = [by_hand._replay.log_probs(rollout.recording, T) for rollout in rollouts]
    norms, critic_norms, clip_shares = [], [], []
    for _ in range(num_epochs):
        for group in np.split(np.arange(4), num_minibatches):
            found, statistics = by_hand.gradients(
                [rollouts[i] for i in group], [advantages[i] for i in group], [old[i] for i in group]
            )
            clipped, norm = tf.clip_by_global_norm(found, 0.3)
            by_hand.optimizer.apply_gradients(zip(clipped, by_hand.trainable_variables))
            norms.append(norm)
            clip_shares.append(statistics[2] / T)
            critic_norms.append(critic.update([CriticBatch(rollouts[i].critic_inputs, returns[i]) for i in group]))
    for own, theirs in zip(weights, weights_of(by_hand), strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-7)
    for own, theirs in zip(learner.critic.weights, critic.weights, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result.gradient_norm, np.mean(norms), rtol=1e-5)
    np.testing.assert_allclose(result.critic_gradient_norm, np.mean(critic_norms), rtol=1e-5)
    np.testing.assert_allclose(result.clip_share, np.mean(clip_shares), rtol=1e-5)
    np.testing.assert_allclose(result.mean_reward, np.sum(rewards, axis=0).mean(), rtol=1e-5)
    assert float(result.clip_share) > 0.0
    assert float(result.approximate_kl) > 0.0


@pytest.mark.slow
def test_the_first_update_of_ppo_is_that_of_reinforce_also_where_it_is_the_only_one(make_learner):
    moved = []
    for algorithm in (algorithms.Reinforce, ppo(num_minibatches=1)):
        learner = make_learner(algorithm=algorithm)
        before = weights_of(learner)
        result = learner.step(shards(2))
        moved.append([new - old for new, old in zip(weights_of(learner), before)])
        assert abs(float(result.approximate_kl)) < 1e-6
        assert float(result.clip_share) == 0.0
    for one, other in zip(*moved, strict=True):
        assert np.abs(one).max() > 0.0
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6 * np.abs(one).max())


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 3])
def test_shards_that_do_not_make_equal_minibatches_are_refused(count, make_learner):
    learner = make_learner(algorithm=ppo(num_minibatches=2))
    assert learner.num_minibatches == 2
    with pytest.raises(validation.InvalidInputError, match="shards must be a multiple of the 2 minibatches, got"):
        learner.step(shards(count))


# Schedules.


@pytest.mark.slow
def test_the_learning_rate_schedule_multiplies_the_rates_of_policy_and_critic(make_learner):
    learner = make_learner(
        critic=functools.partial(LearnedValue, optimizer=functools.partial(tf.keras.optimizers.Adam, 0.2)),
        optimizer=functools.partial(tf.keras.optimizers.RMSprop, 0.08),
        learning_rate_schedule=functools.partial(schedules.Linear, end=0.5),
    )
    for progress, factor in ((0.0, 1.0), (0.5, 0.75), (1.0, 0.5), (0.5, 0.75)):
        learner.step(shards(1), progress)
        assert float(learner.optimizer.learning_rate) == pytest.approx(0.08 * factor)
        assert float(learner.critic.optimizer.learning_rate) == pytest.approx(0.2 * factor)


@pytest.mark.slow
def test_a_learning_rate_of_zero_moves_nothing_and_half_of_it_half_as_far(make_learner):
    moved = {}
    for progress in (0.0, 0.5, 1.0):
        learner = make_learner(learning_rate_schedule=schedules.Linear)
        before = weights_of(learner)
        learner.step(shards(1), progress)
        moved[progress] = [new - old for new, old in zip(weights_of(learner), before)]
    for whole, half, none in zip(moved[0.0], moved[0.5], moved[1.0], strict=True):
        np.testing.assert_allclose(half, whole / 2, rtol=1e-3, atol=1e-7)
        assert not none.any()


@pytest.mark.slow
def test_the_entropy_schedule_multiplies_the_entropy_bonus(make_learner):
    moved = {}
    for bonus, schedule, progress in (
        (0.3, None, 0.5), (0.6, schedules.Linear, 0.5), (0.6, schedules.Linear, 1.0), (0.0, None, 0.0),
    ):  # fmt: skip
        learner = make_learner(entropy_bonus=bonus, entropy_schedule=schedule, max_gradient_norm=None)
        learner.step(shards(1), progress)
        moved[bonus, schedule, progress] = weights_of(learner)
    constant, half, at_end, without = moved.values()
    for of_constant, of_half, of_end, of_none in zip(constant, half, at_end, without, strict=True):
        np.testing.assert_array_equal(of_half, of_constant)
        np.testing.assert_array_equal(of_end, of_none)
    assert any(not np.array_equal(one, other) for one, other in zip(constant, without))
