"""Seeds in processes of their own: signals reach them, they end with the process that began them, and resume."""

import fcntl
import functools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import cloudpickle
import pytest

from recsys_po_rl.experiment import config, experiment, recorder, resume, run, signals, tasks
from tests.support import toy_run

if __name__ in sys.modules:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a seed's process cannot import a test
SEEDS = (3, 5)
GATE_STEP = 3


class GatedLearner(toy_run.ToyLearner):
    """Tells that a step has begun, and stays in it until a signal comes, while the gate is shut.

    It is made in each seed's process too, where it puts the cheap evaluation in place.
    """

    def __init__(self, gate, **options):
        super().__init__(**options)
        self.gate = pathlib.Path(gate)
        toy_run.make_evaluations_cheap(setattr)

    def step(self, keys, progress):
        if self.gate.exists() and round(progress * toy_run.TOY["num_training_steps"]) == GATE_STEP - 1:
            (self.gate / str(os.getpid())).touch()
            while not signals.asked():
                time.sleep(0.01)
        return super().step(keys, progress)


class Failing(GatedLearner):
    """Fails in its first step, with a tail as gin's."""

    def step(self, keys, progress):
        raise ValueError("out of luck\n  In call to configurable 'Failing'")


def arguments(gate):
    return {**toy_run.TOY, "learner_ctor": functools.partial(GatedLearner, gate=str(gate)), "num_processes": 2}


@pytest.fixture(autouse=True)
def _evaluations_are_cheap(monkeypatch):
    toy_run.make_evaluations_cheap(monkeypatch.setattr)
    monkeypatch.setattr(run, "_show", lambda plan, result: None)


@pytest.fixture
def gate(tmp_path):
    (tmp_path / "gate").mkdir()
    return tmp_path / "gate"


def wait_until_in_step(gate):
    while len(list(gate.iterdir())) < len(SEEDS):
        time.sleep(0.01)


def open_gate(gate):
    for path in gate.iterdir():
        path.unlink()
    gate.rmdir()


def step_of(folder):
    given = {**config.bound(experiment), **toy_run.TOY}
    plan = config.validated(**given)
    return resume.position_of(str(folder), recorder.tables(plan)).step


@pytest.mark.slow
def test_a_signal_reaches_every_seed_and_all_finish_their_step(tmp_path, gate):
    def interrupt():
        wait_until_in_step(gate)
        os.kill(os.getpid(), signal.SIGINT)

    folder, whole = tmp_path / "run", tmp_path / "whole"
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(signals.Stopped):
        experiment(seeds=SEEDS, output_dir=str(folder), **arguments(gate))
    thread.join()
    assert [step_of(folder / f"seed_{seed}") for seed in SEEDS] == [GATE_STEP, GATE_STEP]
    open_gate(gate)
    experiment(seeds=SEEDS, output_dir=str(folder), resume=True, **arguments(gate))
    experiment(seeds=SEEDS, output_dir=str(whole), **{**arguments(gate), "num_processes": 1})
    assert toy_run.contents(folder) == toy_run.contents(whole)


@pytest.mark.slow
def test_seeds_end_with_the_process_that_began_them(tmp_path, gate, root):
    folder = tmp_path / "run"
    code = (
        "import importlib.util, sys\n"
        "import recsys_po_rl\n"
        "spec = importlib.util.spec_from_file_location('gated', sys.argv[1])\n"
        "gated = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(gated)\n"
        "gated.experiment(seeds=gated.SEEDS, output_dir=sys.argv[2], **gated.arguments(sys.argv[3]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, __file__, str(folder), str(gate)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.DEVNULL,
    )
    wait_until_in_step(gate)
    parent.kill()
    parent.wait()
    for seed in SEEDS:
        descriptor = os.open(folder / f"seed_{seed}", os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # until the process that holds it is gone
        os.close(descriptor)
    assert [step_of(folder / f"seed_{seed}") for seed in SEEDS] == [GATE_STEP - 1, GATE_STEP - 1]
    open_gate(gate)
    experiment(seeds=SEEDS, output_dir=str(folder), resume=True, **{**arguments(gate), "num_processes": 1})
    experiment(seeds=SEEDS, output_dir=str(tmp_path / "whole"), **{**arguments(gate), "num_processes": 1})
    assert toy_run.contents(folder) == toy_run.contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_seed_that_fails_says_why(tmp_path, gate, capfd):
    open_gate(gate)
    failing = functools.partial(Failing, gate=str(gate))
    with pytest.raises(tasks.TaskFailedError, match=r"seed \d failed \(exit status 1\): ValueError: out of luck\n"):
        experiment(seeds=SEEDS, output_dir=str(tmp_path / "run"), **{**arguments(gate), "learner_ctor": failing})
    traceback = capfd.readouterr().err
    assert "Traceback (most recent call last):" in traceback
    assert "in step" in traceback
