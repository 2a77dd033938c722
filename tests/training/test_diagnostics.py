"""Variances of the gradient against a computation from each shard's gradient, taken on its own."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import algorithms, diagnostics
from recsys_po_rl.training.critic import LearnedValue
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, K, S, H, T = 5, 8, 4, 2, 3, 4
SHARDS = 3
KEYS = [seeding.make_keys(3, "gradient variance", 1, batch=shard) for shard in range(SHARDS)]
DISCOUNT, TRACE_DECAY = 0.9, 0.6


@pytest.fixture(scope="module")
def make_learner():
    tf.keras.utils.set_random_seed(1)
    network = create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip
    runtime = SeededRuntime(network.variables, mode="eager")
    # Neither the bonus nor the clipping nor the scale of the advantages is to count.
    return functools.partial(
        PolicyGradientLearner, network, T, discount=DISCOUNT, entropy_bonus=0.5, max_gradient_norm=1e-3,
        runtime_ctor=lambda variables: runtime,
    )  # fmt: skip


def gradient_of_shard(learner, rollout, advantages):
    """One vector: the gradient of sum_t A_t log pi_t, averaged over users, by one tape."""
    with tf.GradientTape() as tape:
        log_probs = tf.stack(
            [
                learner._replay.log_prob_and_entropy(
                    [{name: field[step] for name, field in part.items()} for part in rollout.recording.inputs],
                    [drawn[step] for drawn in rollout.recording.draws],
                )[0]
                for step in range(T)
            ]
        )
        objective = tf.reduce_sum(log_probs * tf.cast(advantages, tf.float32)) / U
    found = tape.gradient(objective, learner.trainable_variables)
    return np.concatenate([np.ravel(tf.convert_to_tensor(part)) for part in found]).astype(np.float64)


def variance(vectors):
    mean = sum(vectors) / len(vectors)
    return sum(float(((vector - mean) ** 2).sum()) for vector in vectors) / (len(vectors) - 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm",
    [algorithms.Reinforce, functools.partial(algorithms.ProximalPolicyOptimization, num_minibatches=3)],
    ids=["reinforce", "ppo"],
)
def test_variances_equal_a_direct_computation(algorithm, make_learner):
    learner = make_learner(algorithm=algorithm, critic=LearnedValue, trace_decay=TRACE_DECAY)
    random = np.random.default_rng(0)
    for weight in learner.critic.weights:
        weight.assign(random.normal(0.0, 0.3, weight.shape))
    before = [variable.numpy() for variable in (*learner.trainable_variables, *learner.critic.variables)]
    found = diagnostics.gradient_variances(learner, KEYS)

    rollouts = [learner.rollout(keys) for keys in KEYS]
    rewards = np.concatenate([rollout.rewards for rollout in rollouts], axis=1).astype(np.float64)
    values = np.concatenate([learner.critic.values(rollout.critic_inputs) for rollout in rollouts], axis=1)
    to_go, estimated = np.zeros_like(rewards), np.zeros_like(rewards)
    for step in reversed(range(T)):
        last = step + 1 == T
        to_go[step] = rewards[step] + (0.0 if last else DISCOUNT * to_go[step + 1])
        error = rewards[step] + (0.0 if last else DISCOUNT * values[step + 1]) - values[step]
        estimated[step] = error + (0.0 if last else DISCOUNT * TRACE_DECAY * estimated[step + 1])
    mean = to_go.mean(axis=1, keepdims=True)
    users = U * SHARDS
    expected = {
        "none": to_go,
        "population_mean": to_go - mean,
        "leave_one_out_mean": to_go - (users * mean - to_go) / (users - 1),
        "learned_value": to_go - values,
        "generalized_advantage": estimated,
    }
    assert list(found) == list(expected)
    for name, advantages in expected.items():
        of_shards = [
            gradient_of_shard(learner, rollout, advantages[:, U * shard : U * (shard + 1)])
            for shard, rollout in enumerate(rollouts)
        ]
        assert found[name] > 0.0
        np.testing.assert_allclose(found[name], variance(of_shards), rtol=1e-3, err_msg=name)
    assert len({round(number, 6) for number in found.values()}) == len(found)
    for variable, old in zip((*learner.trainable_variables, *learner.critic.variables), before):
        np.testing.assert_array_equal(variable, old)  # looking changes nothing


@pytest.mark.slow
def test_without_a_critic_there_are_three_baselines(make_learner):
    assert list(diagnostics.gradient_variances(make_learner(), KEYS)) == [
        "none", "population_mean", "leave_one_out_mean",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_shards_have_no_variance(count):
    with pytest.raises(ValueError, match=f"keys must be those of at least 2 shards, got {count}"):
        diagnostics.gradient_variances(None, KEYS[:count])
