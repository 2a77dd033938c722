"""Parallel execution of several seeds, each in its own process."""

import base64
import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import cloudpickle
import gin

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import output, validation
from recsys_po_rl.experiment import resume, signals, single_seed, user_errors
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.run_folder import layout
from recsys_po_rl.training.alarms import StoppedByAlarmError

FAILED, BAD_INPUT = 1, 2  # exit statuses
LINES_OF_AN_ERROR = 50

Job = tuple[int, int, str]  # seed, seed of the world, run folder


class _Work(NamedTuple):
    config_text: str
    scope: list[str]
    registrations: list[gin_state.Registration]
    config: ExperimentConfig
    job: Job


class SeedFailedError(RuntimeError):
    """Failure of a seed's process; the message contains the last line of its error output."""


def run_seeds(config: ExperimentConfig, jobs: Sequence[Job]) -> list[single_seed.SeedResult]:
    """Run seeds in processes; each seed gives the same results as alone.

    The configuration is sent to the processes by cloudpickle, which supports functions defined in a script or a
    notebook. If pickling fails, or gin refers to a class that no module defines, all seeds run in this process, one
    after another, and a line is printed.

    Args:
      config: configuration of the experiment; `num_processes` seeds run at once (None: the number of cores; 1: in this
        process).
      jobs: seeds, each with the seed of its world and its run folder.

    Returns:
      The result of each seed, in order.

    Raises:
      InvalidInputError: if a seed's process reports one, as for a full disk.
      SeedFailedError: if a seed failed; the other seeds are stopped and keep their checkpoints.
      KeyboardInterrupt: after interrupting all processes.
    """
    cores = os.cpu_count() or 1
    at_once = min(len(jobs), cores if config.num_processes is None else config.num_processes)
    if at_once == 1:
        return [_run(config, job) for job in jobs]
    left = [job for job in jobs if not (config.resume and layout.is_finished(job[2]))]
    try:
        waiting = [(job, _packed(config, job)) for job in left]
    except _StaysHereError as reason:
        if not config.quiet:
            output.say(
                f"seeds run one after another in this process: {reason}: put it into a module and import that with gin"
            )
        return [_run(config, job) for job in jobs]
    running: list[_Process] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                (seed, _, _), packed = waiting.pop(0)
                running.append(_Process(seed, packed, config.quiet))
            _wait_for_one(running)
    finally:
        _stop(running)
    return [single_seed.result_in(folder, seed) for seed, _, folder in jobs]


class _StaysHereError(Exception):
    """Object that cannot be sent to another process; the message names it."""


def _packed(config: ExperimentConfig, job: Job) -> str:
    """Return a line of text from which another process can run a seed."""
    needed = gin_state.needed()
    if needed.not_importable:
        raise _StaysHereError(f"{needed.not_importable[0]} is defined in no module that another process can import")
    content = _Work(gin_config.config_text(), gin_state.scope(), needed.registrations, config, job)
    try:
        return base64.b64encode(cloudpickle.dumps(content)).decode()
    except Exception as error:  # pickling calls code of the user's objects, which may raise any error
        raise _StaysHereError(f"an argument cannot be pickled ({' '.join(str(error).split())[:200]})") from error


def work() -> None:
    """Run a seed's process: read the job from standard input, run it, and exit.

    The pipe stays open: it closes when the parent process ends, and then this process ends too. The process uses as
    many threads as a single run: the last digits of products over many users depend on the number of threads.
    """
    job = cloudpickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        gin_state.register(job.registrations)
        gin_config.parse_text(job.config_text)
        with signals.handled(), gin.config_scope(job.scope):
            _run(job.config, job.job)
    except validation.InvalidInputError as error:
        output.complain(gin_config.first_line(error))
        sys.exit(BAD_INPUT)
    except signals.Stopped as stopped:
        sys.exit(128 + stopped.signum)
    except (StoppedByAlarmError, layout.FolderMovedError) as error:
        output.complain(gin_config.first_line(error))
        sys.exit(FAILED)
    except (Exception, SystemExit) as error:  # users' code may raise any error
        report = user_errors.report(error)
        if report is None:
            traceback.print_exc()
            report = f"{type(error).__name__}: {gin_config.first_line(error) if str(error) else ''}"
        output.complain(report)
        sys.exit(FAILED)


def _end_with_parent() -> None:
    # os.read instead of sys.stdin: a thread that waits while it holds sys.stdin's lock aborts Python at exit.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)  # without cleanup: the run folder is consistent at every moment


def _run(config: ExperimentConfig, job: Job) -> single_seed.SeedResult:
    seed, world_seed, folder = job
    with resume.exclusive_lock(folder), layout.errors_of(folder):
        result = single_seed.run(config, seed, world_seed, folder)
        if not (config.resume and layout.is_finished(folder)):
            layout.mark_finished(folder)
    return result


class _Process:
    """Process of one seed; its output is forwarded, each line prefixed with the seed."""

    def __init__(self, seed: int, packed: str, quiet: bool) -> None:
        self.seed = seed
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from recsys_po_rl.experiment import workers; workers.work()"],
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
            self._process.stdin.write(packed + "\n")
            self._process.stdin.flush()

    def _pass_on(self, lines: Any, quiet: bool) -> None:
        for line in lines:
            if not quiet:
                output.say(f"seed {self.seed}: {line.rstrip()}")

    def _remember_errors(self, lines: Any) -> None:
        for line in lines:
            if line.startswith("warning:"):
                output.complain(f"seed {self.seed}: {line.rstrip()}")
            elif line.strip():
                self._errors.append(line.rstrip())

    def wait(self, timeout: float) -> bool:
        """Return whether the process ended within `timeout` seconds; raise if it failed."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        for reader in self._readers:
            reader.join()
        if status == BAD_INPUT:
            raise validation.InvalidInputError(f"seed {self.seed}: {self._last_error}")
        if status:
            if len(self._errors) > 1:
                output.complain("\n".join(f"seed {self.seed}: {line}" for line in self._errors))
            raise SeedFailedError(f"seed {self.seed} failed (exit status {status}): {self._last_error}")
        return True

    @property
    def _last_error(self) -> str:
        return self._errors[-1].strip() if self._errors else "it said nothing"

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


def _wait_for_one(running: list[_Process]) -> None:
    while True:
        for process in running:
            try:
                if process.wait(0.1):
                    running.remove(process)
                    return
            except (SeedFailedError, validation.InvalidInputError):
                running.remove(process)
                raise
