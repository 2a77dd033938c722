"""One training over workers: weights do not depend on their number, or on workers that are lost."""

import functools
import os
import signal
import sys
import time

import cloudpickle
import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus
from recsys_po_rl.experiment import training_workers
from recsys_po_rl.experiment.tasks import Task
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import algorithms, critic, loop
from recsys_po_rl.training.callbacks import Callback
from recsys_po_rl.training.learner import PolicyGradientLearner
from recsys_po_rl.training.shards import ShardProgram

if __name__ in sys.modules:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a worker cannot import a test

U, D, K, S, H, T = 6, 10, 4, 2, 3, 5
SHARDS, STEPS = 4, 20


def make_learner(name, mode="graph"):
    tf.keras.utils.set_random_seed(1)
    network = create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip
    options = {}
    if name == "ppo":
        options = dict(
            algorithm=lambda: algorithms.ProximalPolicyOptimization(num_epochs=1, num_minibatches=2),
            critic=critic.LearnedValue, trace_decay=0.9, entropy_bonus=0.01,
        )  # fmt: skip
    runtime_ctor = functools.partial(SeededRuntime, mode=mode)
    return network, PolicyGradientLearner(network, T, runtime_ctor=runtime_ctor, **options)


class Program(ShardProgram):
    def pid(self):
        return os.getpid()


def make_program(name, mode):
    network, learner = make_learner(name, mode)
    return Program(learner, network.recommender.variables)


class KillBefore:
    """Shards whose worker 0 is killed before some calls."""

    def __init__(self, shards, calls):
        self._shards, self._calls, self._count = shards, calls, 0

    def _kill_when_due(self):
        self._count += 1
        if self._count in self._calls:
            (pid,) = self._shards._workers.run(self._shards._program, "pid", [(0, ())])
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)

    def collect(self, keys):
        self._kill_when_due()
        return self._shards.collect(keys)

    def gradient(self, *arguments):
        self._kill_when_due()
        return self._shards.gradient(*arguments)


def trained(name, mode="graph", workers=None, kills=()):
    """Weights, and rows without times, of a training in this process or over workers."""
    network, learner = make_learner(name, mode)
    variables = network.recommender.variables
    if workers is not None:
        shards = workers.shards(Task("training", make_program, (name, mode)), variables)
        learner.compute_shards_with(KillBefore(shards, kills))
    rows = loop.train(
        learner, seed=4, num_steps=STEPS, users_per_step=SHARDS * U, horizon=T, callback=Callback(), num_shards=SHARDS
    )
    state = [*variables, *learner.optimizer.variables, *(learner.critic.weights if learner.critic else ())]
    metrics = [row._replace(step_seconds=0.0, user_steps_per_second=0.0) for row in rows]
    return [variable.numpy() for variable in state], np.array(metrics, dtype=np.float64)


@pytest.fixture(scope="module")
def ray():
    """A Ray of this machine, shared by the tests."""
    import ray

    path = os.pathsep.join(entry for entry in sys.path if entry)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def four(ray):
    workers = training_workers.TrainingWorkers(ray, 4)
    yield workers
    workers.stop()


@pytest.fixture
def only(four):
    """Function that returns the first of the four workers."""
    everyone = four._workers

    def first(number):
        four._workers = everyone[:number]
        return four

    yield first
    four._workers = [*four._workers, *everyone[len(four._workers) :]]


def assert_equal(one, other):
    for name, left, right in (("weights", one[0], other[0]), ("metrics", [one[1]], [other[1]])):
        for number, (mine, theirs) in enumerate(zip(left, right, strict=True)):
            np.testing.assert_array_equal(mine, theirs, err_msg=f"{name} {number}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "reinforce"])
def test_weights_do_not_depend_on_the_number_of_workers(name, only):
    expected = trained(name)
    for number in (4, 2, 1):
        assert_equal(trained(name, workers=only(number)), expected)


@pytest.mark.slow
def test_lost_workers_change_nothing(only, capsys):
    expected = trained("ppo")
    # Step 2 rolls out, step 5 has its second update: three calls a step.
    assert_equal(trained("ppo", workers=only(2), kills=(4, 15)), expected)
    assert (
        capsys.readouterr().err.count("warning: training worker 1: its process was killed, and is started again") == 2
    )
