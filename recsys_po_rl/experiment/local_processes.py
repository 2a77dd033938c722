"""Executor of tasks in processes of this machine, each task in a fresh one."""

import base64
import collections
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any, Optional

import cloudpickle

from recsys_po_rl.common import output, validation
from recsys_po_rl.experiment import tasks
from recsys_po_rl.experiment.tasks import Outcome, Packed, Task, TaskFailedError

LINES_OF_AN_ERROR = 50


class LocalExecutor:
    """Executor in processes of this machine; see `executors.Executor`.

    A process uses as many threads as a single run: the last digits of products over many users depend on the number of
    threads.
    """

    def __init__(self, num_processes: Optional[int] = None, fresh_processes: bool = False) -> None:
        """Validate the argument.

        Args:
          num_processes: processes that run at once, at least 1; 1: tasks run in this process, one after another; None:
            the number of cores.
          fresh_processes: whether each task has a process of its own, even if one runs at a time: compiled programs of
            one after another would fill the memory of this process.

        Raises:
          InvalidInputError: if the number is out of bounds.
        """
        if num_processes is not None:
            validation.integer(f"{type(self).__name__}: num_processes", num_processes, 1)
        self.num_processes = num_processes or os.cpu_count() or 1
        self._fresh_processes = fresh_processes

    def run(self, given: Sequence[Task], quiet: bool = False) -> list[Any]:
        """Run tasks, and return their results in the order of the tasks; see `executors.Executor`.

        If a task cannot be sent to another process, all run in this one, one after another, and a line is printed.
        """
        if min(len(given), self.num_processes) <= 1 and not self._fresh_processes:
            return in_this_process(given)
        try:
            for task in given:
                tasks.pack(task)
        except tasks.NotSendableError as reason:
            if not quiet:
                say_not_sendable(reason)
            return in_this_process(given)
        results: list[Any] = [None] * len(given)
        waiting = collections.deque(enumerate(given))
        running: list[_Process] = []
        kills = [0] * len(given)
        with tempfile.TemporaryDirectory(prefix="recsys_po_rl_") as folder:
            try:
                while waiting or running:
                    while waiting and len(running) < self.num_processes:
                        number, task = waiting.popleft()
                        running.append(_Process(number, task, os.path.join(folder, str(number)), quiet))
                    process = _next_to_end(running)
                    if process.is_killed:
                        kills[process.number] += 1
                        raise_if_killed_too_often(process.task.label, kills[process.number])
                        waiting.appendleft((process.number, process.task.after_kill()))
                    else:
                        results[process.number] = process.result()
            finally:
                _stop(running)
        return results


def raise_if_killed_too_often(label: str, kills: int) -> None:
    """Tell that a task is started again, or raise if it was killed too often.

    Raises:
      TaskFailedError: after more than `tasks.MAX_KILLS` kills.
    """
    if kills > tasks.MAX_KILLS:
        raise TaskFailedError(f"{label} failed: its process was killed {kills} times (is there too little memory?)")
    output.complain(f"warning: {label}: its process was killed, and is started again")


def say_not_sendable(reason: tasks.NotSendableError) -> None:
    """Print why tasks run in this process."""
    output.say(
        f"all tasks run one after another in this process: {reason}: put it into a module and import that with gin"
    )


def in_this_process(given: Sequence[Task]) -> list[Any]:
    """Run tasks in this process, one after another, and return their results."""
    return [task.function(*task.arguments) for task in given]


def work() -> None:
    """Run the process of a task: read it from standard input, run it, write the outcome to a file, and exit.

    The pipe stays open: it closes when the parent process ends, and then this process ends too.
    """
    packed, path = pickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    outcome = tasks.run(packed)
    with open(f"{path}.new", "wb") as file:
        file.write(cloudpickle.dumps(outcome))
    os.replace(f"{path}.new", path)
    sys.exit(outcome.status)


def _end_with_parent() -> None:
    # os.read instead of sys.stdin: a thread that waits while it holds sys.stdin's lock aborts Python at exit.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)  # without cleanup: files are consistent at every moment


class _Process:
    """Process of one task; its output is forwarded, each line prefixed with the task's label."""

    def __init__(self, number: int, task: Task, path: str, quiet: bool) -> None:
        """Start the process; the outcome goes to `path`."""
        self.number, self.task = number, task
        self._path = path
        packed: Packed = tasks.pack(task)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from recsys_po_rl.experiment import local_processes; local_processes.work()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "PYTHONIOENCODING": "utf-8:backslashreplace",  # the parent decodes and forwards the lines
            },
            text=True,
            encoding="utf-8",
            errors="backslashreplace",  # libraries may write invalid UTF-8
            start_new_session=True,  # Ctrl-C in a terminal reaches the parent process only, which forwards it
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._errors: collections.deque[str] = collections.deque(maxlen=LINES_OF_AN_ERROR)
        self._readers = [
            threading.Thread(target=self._pass_on, args=(self._process.stdout, quiet), daemon=True),
            threading.Thread(target=self._remember_errors, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError):  # the process reports its own error
            self._process.stdin.write(base64.b64encode(pickle.dumps((packed, path))).decode() + "\n")
            self._process.stdin.flush()

    def _pass_on(self, lines: Any, quiet: bool) -> None:
        for line in lines:
            if not quiet:
                output.say(f"{self.task.label}: {line.rstrip()}")

    def _remember_errors(self, lines: Any) -> None:
        for line in lines:
            if line.startswith("warning:"):
                output.complain(f"{self.task.label}: {line.rstrip()}")
            elif line.strip():
                self._errors.append(line.rstrip())

    def has_ended(self, timeout: float) -> bool:
        """Return whether the process ends within `timeout` seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        for reader in self._readers:
            reader.join()
        return True

    @property
    def is_killed(self) -> bool:
        """True if the ended process was killed, and not by this one."""
        return self._process.returncode == -signal.SIGKILL

    def result(self) -> Any:
        """Return the result of the ended process.

        Raises:
          InvalidInputError: if the task reports one.
          TaskFailedError: if the task failed.
        """
        try:
            with open(self._path, "rb") as file:
                outcome = pickle.loads(file.read())
        except FileNotFoundError:  # the interpreter itself failed
            outcome = Outcome(self._process.returncode or tasks.FAILED, report="\n".join(self._errors))
            if len(self._errors) > 1:
                output.complain("\n".join(f"{self.task.label}: {line}" for line in self._errors))
        lines = [*outcome.trace.splitlines(), *outcome.report.splitlines()]
        if outcome.status not in (tasks.DONE, tasks.BAD_INPUT) and len(lines) > 1:
            output.complain("\n".join(f"{self.task.label}: {line}" for line in lines))
        return tasks.result_of(self.task.label, outcome)

    def interrupt(self) -> None:
        """Interrupt the process: the first call stops it after its training step, the second at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def wait_to_the_end(self) -> None:
        """Wait until the process has ended, with any exit status."""
        self._process.wait()


def _stop(running: list[_Process]) -> None:
    """Stop all processes and wait for them; a further signal stops them at once."""
    while True:
        try:
            for process in running:
                process.interrupt()
            for process in running:
                process.wait_to_the_end()
        except KeyboardInterrupt:
            continue
        return


def _next_to_end(running: list[_Process]) -> _Process:
    """Wait for one of the processes, and take it off the list."""
    while True:
        for process in running:
            if process.has_ended(0.1):
                running.remove(process)
                return process
