"""Executor in forked processes, which start at once, and a trial without a training, for tests with many kills."""

import os
import pathlib
import pickle
import tempfile
import time
import types

from recsys_po_rl.experiment.sweep.trial import Pruning, validations_in
from recsys_po_rl.run_folder import csv_tables, layout
from recsys_po_rl.run_folder.sweep_file import COMPLETE, PRUNED, Trial
from recsys_po_rl.training.callbacks import TrainingStoppedError

LAST_STEP = 5
SECONDS_PER_STEP = 0.03


class ForkExecutor:
    """Executor that forks a process for each task, and starts a killed one again; see `executors.Executor`."""

    def __init__(self, num_processes):
        self._num_processes = num_processes

    def run(self, given, quiet=False):
        """Run tasks and return their results in order."""
        waiting, running, results = list(range(len(given))), {}, [None] * len(given)
        with tempfile.TemporaryDirectory() as folder:
            while waiting or running:
                while waiting and len(running) < self._num_processes:
                    number = waiting.pop(0)
                    running[self._started(given[number], os.path.join(folder, str(number)))] = number
                pid, status = os.waitpid(-1, 0)
                number = running.pop(pid)
                if os.WIFSIGNALED(status):
                    waiting.insert(0, number)
                else:
                    assert os.WEXITSTATUS(status) == 0, given[number].label
                    results[number] = pickle.loads(pathlib.Path(folder, str(number)).read_bytes())
        return results

    @staticmethod
    def _started(task, path):
        pid = os.fork()
        if pid:
            return pid
        try:
            pathlib.Path(path).write_bytes(pickle.dumps(task.function(*task.arguments)))
            os._exit(0)
        finally:
            os._exit(1)


def reward(bindings, step):
    """Validation reward of a trial without a training: best near rate 0.01 with three layers."""
    distance = abs(bindings["rate"] - 0.01) * 20 + abs(bindings["layers"] - 3) + (bindings["kind"] == "'b'")
    return 10.0 - distance + 0.1 * step


def stub_trial(job):
    """Write the validations of a trial, one after another, as a training does; go on after a kill."""
    pruning = Pruning(job, LAST_STEP)
    before = validations_in(job.folder)
    if pruning.pruned_step is None:
        table = csv_tables.CsvLogger(os.path.join(job.folder, layout.VALIDATION), max(before, default=0))
        try:
            for step in range(max(before, default=0) + 1, LAST_STEP + 1):
                time.sleep(SECONDS_PER_STEP)
                mean_reward = reward(job.bindings, step)
                table.write({"seed": 0, "step": step, "mean_reward": mean_reward})
                total = types.SimpleNamespace(mean=lambda mean_reward=mean_reward: mean_reward)
                pruning.on_validation(types.SimpleNamespace(step=step, outcome=types.SimpleNamespace(total=total)))
                pruning.on_step_end(step)
        except TrainingStoppedError:
            pass
    validations = validations_in(job.folder)
    return Trial(
        number=job.number,
        state=COMPLETE if pruning.pruned_step is None else PRUNED,
        bindings=dict(job.bindings),
        steps=list(validations),
        mean_rewards=list(validations.values()),
    )
