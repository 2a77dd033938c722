"""A run that was cut off goes on as if it had not been.

Most tests run the real experiment on a learner that is cheap: a few numbers, moved by Adam along a seeded walk, judged
by a formula. What is interrupted and written is the same.
"""

import csv
import functools
import os
import pathlib
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.checkpoint import checkpoint_management

from recsys_po_rl.artifacts import loggers, run_dir
from recsys_po_rl.experiment import experiment, seed_run
from recsys_po_rl.training.learner import StepResult


class ToyRecommender(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.keras.initializers.RandomNormal()((3,)))
        self.count = tf.Variable(0.0, trainable=False)


class ToyCritic(tf.Module):
    def __init__(self):
        super().__init__()
        self.mean = tf.Variable(0.5, trainable=False)
        self.weight = tf.Variable([0.1, 0.2])
        self.optimizer = tf.keras.optimizers.Adam(0.1)
        self.optimizer.build([self.weight])


class ToyLearner:
    """Whatever a run can depend on is there: a critic with statistics, two optimizers with slots, a schedule."""

    def __init__(self, network, horizon, runtime_ctor):
        del horizon, runtime_ctor
        self.recommender = network.recommender
        self.critic = ToyCritic()
        self.optimizer = tf.keras.optimizers.Adam(0.1)
        self.optimizer.build([self.recommender.weights])

    def step(self, keys, progress):
        self.optimizer.learning_rate.assign(0.1 * (1.0 - 0.5 * progress))
        noise = tf.random.stateless_normal((3,), tf.cast(keys[0].world, tf.int32))
        gradient = noise + 0.1 * self.recommender.weights + tf.reduce_sum(self.critic.weight)
        self.optimizer.apply_gradients([(gradient, self.recommender.weights)])
        self.recommender.count.assign_add(1.0)
        self.critic.mean.assign(0.9 * self.critic.mean + tf.reduce_mean(noise))
        self.critic.optimizer.apply_gradients([(noise[:2] * self.critic.mean, self.critic.weight)])
        return StepResult(tf.reduce_sum(self.recommender.weights), tf.norm(gradient), tf.constant(1.0))


def toy_network(num_users, corpus_seed, **options):
    recommender = ToyRecommender()
    return types.SimpleNamespace(
        recommender=recommender, trainable_variables=recommender.trainable_variables, variables=[], config={}
    )


def toy_runtime(variables):
    return types.SimpleNamespace(mode="graph")


def judged(recommender):
    return np.sin(7.0 * recommender.weights.numpy())


def toy_evaluation(plan, study, network, runtime, trained, timings, folder):
    entries = {}
    for name, weights in (("learned", trained.best), ("learned_last", trained.last)):
        seed_run.with_weights(network, weights)
        entries[name] = {"mean": float(judged(network.recommender).mean()), "weights": [w.tolist() for w in weights]}
    return {
        "policies": entries, "left_out": {}, "best_step": trained.best_step, "horizon": plan.horizon,
        "price_of_partial_observability": {"policies": {}}, "full_information": [],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _evaluations_are_cheap(request, monkeypatch):
    if "real" not in request.keywords:
        monkeypatch.setattr(seed_run, "evaluate_policies", toy_evaluation)
        monkeypatch.setattr(
            seed_run.Validation,
            "outcome",
            lambda self, weights: types.SimpleNamespace(
                total=judged(seed_run.with_weights(self._network, weights).recommender), behaviour=None
            ),
        )
        monkeypatch.setattr(
            "recsys_po_rl.training.diagnostics.gradient_variances",
            lambda learner, keys: {"none": float(learner.critic.mean), "mean": 1.0},
        )
        monkeypatch.setattr("recsys_po_rl.evaluation.evaluator.pooled", lambda entries: {"of": entries})
        monkeypatch.setattr("recsys_po_rl.evaluation.price.pooled", lambda prices: prices[0])


TOY = dict(
    num_training_steps=7, horizon=3, users_per_step=2, num_shards=2, validate_every_steps=2, checkpoint_every_steps=2,
    gradient_variance_every_steps=3, policies=[], quiet=True, network_ctor=toy_network, runtime_ctor=toy_runtime,
    learner_ctor=ToyLearner,
)  # fmt: skip


class Killed(BaseException):
    """In place of SIGKILL, within this process."""


class Disk:
    """Counts the calls that change files; before a given one the process is gone, and later ones do nothing."""

    CALLS = (
        (os, "replace"), (os, "unlink"), (os, "truncate"), (os, "fsync"), (os, "makedirs"), (shutil, "rmtree"),
        (loggers.CsvLogger, "_write_line"), (tf.train.Checkpoint, "_write"),
        (checkpoint_management.CheckpointManager, "_sweep"),
        (checkpoint_management.CheckpointManager, "_record_state"),
    )  # fmt: skip

    def __init__(self, patch, gone_before=None):
        self.calls = 0
        for owner, name in self.CALLS:
            patch.setattr(owner, name, self._watched(getattr(owner, name), gone_before))

    def _watched(self, function, gone_before):
        @functools.wraps(function)
        def call(*args, **options):
            self.calls += 1
            if gone_before is not None and self.calls >= gone_before:
                raise Killed
            return function(*args, **options)

        return call


def untimed(path):
    with path.open(newline="") as file:
        return [
            {key: cell for key, cell in row.items() if not key.endswith(("_seconds", "_per_second"))}
            for row in csv.DictReader(file)
        ]


def contents(folder):
    """All that must not depend on interruptions, of every run folder under a folder."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".csv":
            found[name] = untimed(path)
        elif path.name in (run_dir.EVALUATION, run_dir.CONFIG):
            found[name] = path.read_text()
        elif path.suffix == ".index":
            reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
            found[name] = {
                key: np.asarray(reader.get_tensor(key)).tobytes()
                for key in reader.get_variable_to_shape_map()
                if "save_counter" not in key and "_CHECKPOINTABLE" not in key
            }
        elif path.is_file() and ".tfevents." not in path.name:
            found[name] = True
    return found


def assert_equal(folder, other):
    found, expected = contents(folder), contents(other)
    assert sorted(found) == sorted(expected)
    for name in expected:
        assert found[name] == expected[name], name


def whole_run(folder, seeds=(3,), **options):
    return experiment(seeds=seeds, output_dir=str(folder), **{**TOY, **options})


def resume(folder, seeds=(3,), **options):
    return experiment(seeds=seeds, output_dir=str(folder), resume=True, **{**TOY, **options})


def killed_in_step(folder, step, patch, seeds=(3,), **options):
    """A run whose process disappears in a step."""
    original = ToyLearner.step

    def dying(self, keys, progress):
        if round(progress * TOY["num_training_steps"]) == step - 1:
            raise Killed
        return original(self, keys, progress)

    with patch.context() as patched:
        patched.setattr(ToyLearner, "step", dying)
        with pytest.raises(Killed):
            whole_run(folder, seeds, **options)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def whole(tmp_path):
    whole_run(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 7])
def test_a_resumed_run_equals_an_uninterrupted_one(step, whole, folder, monkeypatch):
    killed_in_step(folder, step, monkeypatch)
    assert len(untimed(folder / run_dir.METRICS)) == step - 1
    result = resume(folder)
    assert_equal(folder, whole)
    assert [row.step for row in result.history] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "every"), [((3,), 1), ((3, 5), 11)])
def test_a_run_that_is_killed_before_any_write_goes_on(seeds, every, tmp_path, monkeypatch):
    whole_run(tmp_path / "whole", seeds, num_processes=1)
    with monkeypatch.context() as patched:
        disk = Disk(patched)
        whole_run(tmp_path / "counted", seeds, num_processes=1)
    expected = contents(tmp_path / "whole")
    assert contents(tmp_path / "counted") == expected
    assert disk.calls > 100
    for moment in range(1, disk.calls + 1, every):
        folder = tmp_path / f"killed_{moment}"
        with monkeypatch.context() as patched:
            Disk(patched, gone_before=moment)
            with pytest.raises(Killed):
                whole_run(folder, seeds, num_processes=1)
        resume(folder, seeds, num_processes=1)
        assert contents(folder) == expected, moment
        shutil.rmtree(folder)
