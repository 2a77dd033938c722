"""Executors of tasks: order, kills, errors, and machines that do not fit."""

import os
import pathlib
import signal
import sys
import threading

import cloudpickle
import gin
import pytest

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import executors, local_processes, ray_executor, tasks
from recsys_po_rl.experiment.tasks import Outcome, Task
from tests.support import local_ray

if __name__ in sys.modules:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a task's process cannot import a test


def bound_power(base):
    return base ** gin.query_parameter("recsys_po_rl.sampled_by_popularity.power")


def killed_once(folder, number):
    """Die at the first call, as a process does for want of memory."""
    mark = pathlib.Path(folder) / str(number)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def killed_always():
    os.kill(os.getpid(), signal.SIGKILL)


def failing(error):
    raise error


@pytest.fixture(scope="module")
def ray():
    """A Ray of this machine, shared by the tests."""
    with local_ray.connected(3) as ray:
        yield ray


@pytest.fixture(params=["local", "ray"])
def executor(request):
    if request.param == "local":
        return local_processes.LocalExecutor(3)
    request.getfixturevalue("ray")
    return ray_executor.RayExecutor()


@pytest.mark.slow
def test_tasks_run_under_gin_and_survive_kills(executor, tmp_path, capsys):
    given = [
        Task("base 3", bound_power, (3.0,)),
        Task("number 7", killed_once, (str(tmp_path), 7)),
        Task("number 8", killed_once, (str(tmp_path), 8), (str(tmp_path), 9)),
    ]
    (tmp_path / "9").touch()
    with gin_state.isolated():
        gin_config.parse([], ["recsys_po_rl.sampled_by_popularity.power = 2.0"])
        assert executor.run(given, quiet=True) == [9.0, 7, 9]
    warnings = capsys.readouterr().err
    for label in ("number 7", "number 8"):
        assert warnings.count(f"warning: {label}: its process was killed, and is started again") == 1


@pytest.mark.slow
def test_a_task_that_is_always_killed_fails(executor, monkeypatch):
    monkeypatch.setattr(tasks, "MAX_KILLS", 1)
    given = [Task("process", os.getpid, ()), Task("greedy", killed_always, ())]
    with pytest.raises(tasks.TaskFailedError, match=r"^greedy failed: its process was killed 2 times"):
        executor.run(given[::-1], quiet=True)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (validation.InvalidInputError("disk full"), tasks.BAD_INPUT, "disk full"),
        (ValueError("out of luck"), tasks.FAILED, "ValueError: out of luck"),
        (SystemExit(3), tasks.FAILED, "SystemExit: 3"),
    ],
)
def test_errors_are_reported(error, status, line):
    outcome = tasks.run(tasks.pack(Task("seed 3", failing, (error,))))
    assert (outcome.status, outcome.report.splitlines()[-1]) == (status, line)
    expected = validation.InvalidInputError if status == tasks.BAD_INPUT else tasks.TaskFailedError
    with pytest.raises(expected, match=f"^seed 3.*: {line}$"):
        tasks.result_of("seed 3", outcome)


def test_a_worker_of_another_version_is_named():
    packed = tasks.pack(Task("seed 3", bound_power, (3.0,)))
    other = packed._replace(versions={**packed.versions, "python": "3.9.1"}, content=b"never unpickled")
    outcome = tasks.run(other)
    assert outcome.status == tasks.BAD_INPUT
    assert outcome.report.endswith(f" has python {sys.version.split()[0]} instead of 3.9.1")


def test_a_task_leaves_gin_as_it_was():
    with gin_state.isolated():
        gin_config.parse([], ["recsys_po_rl.sampled_by_popularity.power = 3.0"])
        packed = tasks.pack(Task("base", bound_power, (2.0,)))
    with gin_state.isolated():
        gin_config.parse([], ["recsys_po_rl.sampled_by_popularity.power = 5.0"])
        assert tasks.run(packed) == Outcome(tasks.DONE, 8.0)
        assert bound_power(2.0) == 32.0


def test_one_task_runs_in_this_process():
    parent = os.getpid()
    assert local_processes.LocalExecutor(4).run([Task("process", os.getpid, ())]) == [parent]
    assert local_processes.LocalExecutor(1).run([Task("process", os.getpid, ())] * 2) == [parent] * 2


def test_unsendable_tasks_run_in_this_process(capsys):
    lock = threading.Lock()  # cannot be pickled
    assert local_processes.LocalExecutor(2).run([Task("lock", id, (lock,))] * 2) == [id(lock)] * 2
    assert "one after another in this process: an argument cannot be pickled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"name": "slurm"}, "executor must be one of local, ray, got 'slurm'"),
        ({"num_processes": 0}, "LocalExecutor: num_processes must be an integer of at least 1, got 0"),
        ({"ray_address": "auto"}, "ray_address needs the executor ray, got local"),
        ({"name": "ray", "ray_address": ""}, "ray_address must be host:port, 'auto' or None, got ''"),
        ({"name": "ray", "num_processes": 0}, "RayExecutor: num_at_once must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_executors_are_refused(arguments, line):
    with pytest.raises(validation.InvalidInputError) as raised:
        executors.make(**arguments)
    assert str(raised.value) == line


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        validation.InvalidInputError, match=r'Ray, which is not installed: pip install "recsys_po_rl\[cl'
    ):
        executors.make("ray")


def test_a_silent_address_is_named(monkeypatch):
    monkeypatch.setattr(ray_executor, "SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(validation.InvalidInputError, match=r"no Ray answers at '127.0.0.1:1' within 0.5 s"):
        executors.make("ray", ray_address="127.0.0.1:1").run([Task("process", os.getpid, ())] * 2)
