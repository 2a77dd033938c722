"""One training over workers: weights do not depend on their number, or on workers that are lost."""

import contextlib
import os
import signal
import sys
import threading
import time

import cloudpickle
import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import run, tasks, training_workers
from recsys_po_rl.experiment.tasks import Task
from recsys_po_rl.run_folder import checkpoints
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import algorithms, critic, loop
from recsys_po_rl.training.callbacks import Callback
from recsys_po_rl.training.learner import PolicyGradientLearner
from recsys_po_rl.training.shards import ShardProgram
from tests.support import local_ray
from tests.support.toy_run import TOY

if __name__ in sys.modules:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a worker cannot import a test

U, D, K, S, H, T = 6, 10, 4, 2, 3, 5
SHARDS, STEPS = 4, 20


def make_learner(name):
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
    return network, PolicyGradientLearner(network, T, **options)


class Program(ShardProgram):
    def pid(self):
        return os.getpid()


def make_program(name):
    network, learner = make_learner(name)
    return Program(learner, network.recommender.variables)


class KillBefore(training_workers.RemoteShards):
    """Shards one of whose workers is killed before some calls."""

    def __init__(self, *arguments, calls):
        super().__init__(*arguments)
        self._due, self._count = calls, 0

    def _kill_when_due(self):
        self._count += 1
        if self._count in self._due:
            (pid,) = self._workers.run(self._program, "pid", [(0, ())])
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)

    def collect(self, keys):
        self._kill_when_due()
        return super().collect(keys)

    def gradient(self, *arguments):
        self._kill_when_due()
        return super().gradient(*arguments)


def trained(name, workers=None, program=None, kills=(), folder=None):
    """State and metrics of a training in this process or over workers.

    With a folder, the training is stopped in the middle, and another learner goes on from the checkpoint there.
    """
    rows = []
    for first, last in [(0, STEPS)] if folder is None else [(0, STEPS // 2), (STEPS // 2, STEPS)]:
        network, learner = make_learner(name)
        if workers is not None:
            arguments = workers, program, network.recommender.variables
            learner.compute_shards_with(KillBefore(*arguments, calls=kills))
        if folder is not None:
            saved = checkpoints.Checkpoints(folder, network.recommender, learner, "run")
            if first:
                saved.restore(checkpoints.find(folder, "run").whole[0])
            saved.begin()
        rows += loop.train(
            learner, seed=4, num_steps=last, users_per_step=SHARDS * U, horizon=T, callback=Callback(),
            num_shards=SHARDS, steps_done=first,
        )  # fmt: skip
        if folder is not None:
            saved.save(last)
            saved.close()
    state = [*network.recommender.variables, *learner.optimizer.variables]
    if learner.critic is not None:
        state += [*learner.critic.variables, *learner.critic.optimizer.variables]
    metrics = [row._replace(step_seconds=0.0, user_steps_per_second=0.0) for row in rows]
    return [np.array(metrics, np.float64), *(variable.numpy() for variable in state)]


def assert_equal(mine, others):
    for number, (left, right) in enumerate(zip(mine, others, strict=True)):
        np.testing.assert_array_equal(left, right, err_msg=f"array {number}")


@pytest.fixture(scope="module")
def ray():
    """A Ray of this machine, shared by the tests."""
    with local_ray.connected(4) as ray:
        yield ray


@pytest.fixture(scope="module")
def workers(ray):
    workers = training_workers.TrainingWorkers(ray, 4)
    yield workers
    workers.stop()


@pytest.fixture
def only(workers):
    """Function that leaves the first of the four workers."""
    everyone = workers._workers

    def first(number):
        workers._workers = everyone[:number]
        return workers

    yield first
    workers._workers = [*workers._workers, *everyone[len(workers._workers) :]]


@pytest.mark.slow
def test_the_state_does_not_depend_on_workers(only, tmp_path, capsys):
    expected = trained("ppo")
    program = only(4).prepared(Task("training", make_program, ("ppo",)))
    assert_equal(trained("ppo", only(4), program), expected)
    assert_equal(trained("ppo", only(1), program, folder=str(tmp_path)), expected)
    assert capsys.readouterr().err == ""
    # Three calls a step: step 2 rolls out, step 5 has its second update.
    assert_equal(trained("ppo", only(2), program, kills=(4, 15)), expected)
    assert capsys.readouterr().err.count("its process was killed, and is started again") == 2


@pytest.mark.slow
def test_the_state_does_not_depend_on_workers_without_a_critic(only):
    expected = trained("reinforce")
    program = only(2).prepared(Task("training", make_program, ("reinforce",)))
    assert_equal(trained("reinforce", only(2), program), expected)


def failing_program(error):
    raise error


class NanProgram:
    def collect(self, shard):
        raise FloatingPointError(f"NaN in shard {shard.number}")


@pytest.mark.slow
def test_failures_of_workers_are_reported(ray, only, monkeypatch):
    one = only(1)
    with pytest.raises(validation.InvalidInputError, match=r"^training worker: disk full$"):
        one.prepared(Task("training", failing_program, (validation.InvalidInputError("disk full"),)))
    with pytest.raises(tasks.TaskFailedError, match=r"ValueError: out of luck$"):
        one.prepared(Task("training", failing_program, (ValueError("out of luck"),)))
    with pytest.raises(validation.InvalidInputError, match=r"^experiment.training_workers: an argument cannot be pick"):
        one.prepared(Task("training", id, (threading.Lock(),)))
    shards = one.shards(Task("training", NanProgram, ()), [])
    with pytest.raises(FloatingPointError, match=r"^NaN in shard 0$"):
        shards.collect(loop.keys_of_step(4, 1, SHARDS))
    with pytest.raises(validation.InvalidInputError, match=r"at most the number of CPUs of Ray, 4, got 5$"):
        training_workers.TrainingWorkers(ray, 5)
    monkeypatch.setattr(tasks, "MAX_KILLS", 1)
    program = one.prepared(Task("training", KilledProgram, ()))
    with pytest.raises(tasks.TaskFailedError, match=r"^training worker 1 failed: its process was killed 2 times"):
        one.run(program, "die", [(0, ())])


class KilledProgram:
    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


TINY = dict(num_training_steps=1, horizon=2, users_per_step=4, num_shards=2, policies=[], quiet=True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"training_workers": 0}, "experiment.training_workers must be an integer of at least 1, got 0"),
        ({"training_workers": 3}, "experiment.training_workers must be at most num_shards, got 3 and 2"),
        ({"training_workers": 2}, "experiment.training_workers needs a RayExecutor as executor, got None"),
    ],
)
def test_impossible_numbers_of_workers_are_refused(arguments, line, tmp_path):
    with pytest.raises(validation.InvalidInputError) as raised:
        run.experiment(**TINY, **arguments, output_dir=str(tmp_path / "run"))
    assert gin_config.first_line(raised.value) == line
    assert not (tmp_path / "run").exists()


class WithWorkers:
    """Executor with training workers that nobody asks for anything."""

    @contextlib.contextmanager
    def training_workers(self, number, quiet):
        yield self


def test_a_learner_without_shards_is_refused(tmp_path):
    with pytest.raises(validation.InvalidInputError) as raised:
        run.experiment(**{**TOY, "output_dir": str(tmp_path / "run"), "executor": WithWorkers(), "training_workers": 2})
    line = "experiment.training_workers needs a learner with the method compute_shards_with, got ToyLearner"
    assert gin_config.first_line(raised.value) == line
    assert not (tmp_path / "run").exists()


def test_gin_cannot_choose_workers():
    with gin_state.isolated(), pytest.raises(validation.InvalidInputError, match="training_workers"):
        gin_config.parse([], ["recsys_po_rl.experiment.training_workers = 2"])
