"""Shards that are computed apart from their learner: the step is the learner's own, bit for bit."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import algorithms, critic, loop, shards
from recsys_po_rl.training.callbacks import Callback
from recsys_po_rl.training.learner import PolicyGradientLearner
from recsys_po_rl.training.replay import ReplayGradient

U, D, K, S, H, T = 6, 10, 4, 2, 3, 5
STEPS, SHARDS = 2, 6


def make_learner(mode):
    tf.keras.utils.set_random_seed(1)
    network = create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip
    return network, PolicyGradientLearner(
        network, T, runtime_ctor=functools.partial(SeededRuntime, mode=mode), trace_decay=0.9, entropy_bonus=0.01,
        algorithm=lambda: algorithms.ProximalPolicyOptimization(num_epochs=1, num_minibatches=2),
        critic=critic.LearnedValue,
    )  # fmt: skip


class Apart:
    """Shards of a program in this process; a program that is lost before each call is the worst case."""

    def __init__(self, variables, make_program, is_lost=False):
        self._variables, self._make_program, self._is_lost = variables, make_program, is_lost
        self._program = make_program()
        self._version = 0
        self._shards = []

    def _weights(self):
        self._version += 1
        values = [variable.numpy() for variable in self._variables]
        return shards.Weights(self._version, lambda: values)

    def collect(self, keys):
        start = self._weights()
        self._shards = [
            shards.Shard(self._version, number, seeding.Keys(*map(np.asarray, of_shard)), start)
            for number, of_shard in enumerate(keys)
        ]
        return [self._program.collect(shard) for shard in self._shards]

    def gradient(self, numbers, advantages, bonus):
        if self._is_lost:
            self._program = self._make_program()
        weights = self._weights()
        arguments = [(self._shards[number], weights, np.asarray(of)) for number, of in zip(numbers, advantages)]
        return shards.added([self._program.gradient(*of, float(bonus), len(numbers)) for of in arguments])


def trained(mode, apart=False, is_lost=False):
    network, learner = make_learner(mode)
    if apart:
        others_network, others = make_learner(mode)
        make_program = functools.partial(shards.ShardProgram, others, others_network.recommender.variables)
        learner.compute_shards_with(Apart(network.recommender.variables, make_program, is_lost))
    rows = loop.train(
        learner, seed=4, num_steps=STEPS, users_per_step=SHARDS * U, horizon=T, callback=Callback(), num_shards=SHARDS
    )
    numbers = [row._replace(step_seconds=0.0, user_steps_per_second=0.0) for row in rows]
    state = [*network.recommender.variables, *learner.critic.weights]
    return [np.array(numbers, np.float64), *(variable.numpy() for variable in state)]


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "is_lost"), [("eager", False), ("xla", True)])
def test_steps_of_shards_computed_apart_are_the_learners_own(mode, is_lost):
    for mine, others in zip(trained(mode, apart=True, is_lost=is_lost), trained(mode), strict=True):
        np.testing.assert_array_equal(mine, others)


def test_terms_are_added_in_their_order():
    terms = [ReplayGradient([np.float32([value])], np.float32([value])) for value in (1e8, 1.0, -1e8)]
    assert shards.added(terms) == ([0.0], [0.0])  # 1 is lost beside 1e8
    assert shards.added([terms[0], terms[2], terms[1]]) == ([1.0], [1.0])


class Counting:
    """Learner whose rollout is its weight at the time."""

    def __init__(self):
        self.weight = tf.Variable(0.0)
        self.rolled_out = []

    def collect_shard(self, keys):
        self.rolled_out.append(int(keys.world[0]))
        return float(self.weight), None

    def shard_gradient(self, rollout, old_log_probs, advantages, entropy_bonus, num_shards):
        del old_log_probs, entropy_bonus, num_shards
        return ReplayGradient([self.weight * rollout * advantages], tf.zeros(()))


def test_a_missing_rollout_is_computed_again_under_the_weights_of_the_start():
    keys = seeding.Keys(*(np.int32([5, 0]) for _ in range(3)))
    start, after = shards.Weights(1, lambda: [np.float32(2.0)]), shards.Weights(2, lambda: [np.float32(3.0)])
    learner = Counting()
    program = shards.ShardProgram(learner, [learner.weight])
    shard = shards.Shard(step=1, number=0, keys=keys, start=start)
    for _ in range(2):
        assert program.gradient(shard, after, np.float32(1.0), 0.0, 1).gradients == [6.0]
    assert learner.rolled_out == [5]  # kept for further updates
    program.gradient(shard._replace(step=2, start=after), after, np.float32(1.0), 0.0, 1)
    assert learner.rolled_out == [5, 5]
