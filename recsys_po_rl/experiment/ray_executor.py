"""Executor of tasks on Ray, on one machine or a cluster (extra `cluster`).

Files of run folders are written by the tasks: on a cluster they must be on a file system that all machines share.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from recsys_po_rl.common import output, validation
from recsys_po_rl.experiment import signals, tasks
from recsys_po_rl.experiment.local_processes import in_this_process, raise_if_killed_too_often, say_not_sendable
from recsys_po_rl.experiment.tasks import Packed, Task, TaskFailedError
from recsys_po_rl.experiment.training_workers import TrainingWorkers, lost

SECONDS_TO_ANSWER = 10.0
SECONDS_TO_STOP = 60.0  # after which an interrupted task is killed


class RayExecutor:
    """Executor on Ray; see `executors.Executor`. Each task has a fresh process."""

    def __init__(self, address: Optional[str] = None, num_at_once: Optional[int] = None) -> None:
        """Validate the arguments; Ray is connected to at the first `run`.

        Args:
          address: host:port of a running Ray, or "auto" for that of this machine; None: a Ray of this machine, which
            starts and ends with each `run`. A Ray that this process is connected to already is used as it is.
          num_at_once: tasks that run at once, at least 1; None: the number of CPUs of the cluster.

        Raises:
          InvalidInputError: one line, if Ray is not installed, or an argument is invalid.
        """
        if address is not None and (not isinstance(address, str) or not address):
            raise validation.InvalidTypeError(
                f"ray_address must be host:port, 'auto' or None, got {validation.shown(address)}"
            )
        if num_at_once is not None:
            validation.integer(f"{type(self).__name__}: num_at_once", num_at_once, 1)
        try:
            import ray
        except ImportError as error:
            raise validation.InvalidInputError(
                'the executor ray needs Ray, which is not installed: pip install "recsys_po_rl[cluster]"'
            ) from error
        self._ray: Any = ray
        self._address = address
        self._num_at_once = num_at_once

    def run(self, given: Sequence[Task], quiet: bool = False) -> list[Any]:
        """Run tasks, and return their results in the order of the tasks; see `executors.Executor`.

        If a task cannot be sent to another process, all run in this one, one after another, and a line is printed.
        """
        try:
            packed = [tasks.pack(task) for task in given]
        except tasks.NotSendableError as reason:
            if not quiet:
                say_not_sendable(reason)
            return in_this_process(given)
        with self._connected(quiet):
            return self._run(given, packed)

    @contextlib.contextmanager
    def training_workers(self, number: int, quiet: bool = False) -> Iterator[TrainingWorkers]:
        """Provide processes that compute the shards of a training's steps; they end with the block.

        Args:
          number: number of processes, at least 1; each needs one CPU of Ray.
          quiet: whether to print nothing but warnings.

        Raises:
          InvalidInputError: one line, if Ray does not answer or has too few CPUs.
        """
        with self._connected(quiet):
            workers = TrainingWorkers(self._ray, number)
            try:
                yield workers
            finally:
                workers.stop()

    @contextlib.contextmanager
    def _connected(self, quiet: bool) -> Iterator[None]:
        if self._address is not None:
            _raise_if_silent(self._address)
        is_ours = not self._ray.is_initialized()
        if is_ours:
            self._connect(quiet)
        try:
            yield
        finally:
            if is_ours:
                self._ray.shutdown()

    def _connect(self, quiet: bool) -> None:
        options: dict[str, Any] = {"log_to_driver": not quiet, "logging_level": "ERROR", "include_dashboard": False}
        if self._address is None:
            path = os.pathsep.join(entry for entry in sys.path if entry)
            options["runtime_env"] = {"env_vars": {"PYTHONPATH": path}}
        else:
            options = {"address": self._address, "log_to_driver": not quiet, "logging_level": "ERROR"}
        try:
            with signals.kept():  # Ray replaces the handler of SIGTERM
                self._ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:  # of another version, or no cluster
            reason = " ".join(str(error).split())[:300]
            raise validation.InvalidInputError(f"Ray at {self._address or 'this machine'}: {reason}") from error

    def _run(self, given: Sequence[Task], packed: Sequence[Packed]) -> list[Any]:
        remote = self._ray.remote(num_cpus=1, max_calls=1, max_retries=0)(tasks.run)
        at_once = self._num_at_once or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        waiting = list(zip(range(len(given)), packed))
        results: list[Any] = [None] * len(given)
        kills = [0] * len(given)
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    number, content = waiting.pop(0)
                    running[remote.remote(content)] = number
                (ended,), _ = self._ray.wait(list(running), num_returns=1)
                number = running.pop(ended)
                label = given[number].label
                try:
                    outcome = self._ray.get(ended)
                except lost(self._ray):
                    kills[number] += 1
                    raise_if_killed_too_often(label, kills[number])
                    waiting.insert(0, (number, tasks.pack(given[number].after_kill())))
                    continue
                except self._ray.exceptions.RayError as error:  # for instance, the project is not installed there
                    reason = " ".join(str(error).split())[-300:]
                    raise TaskFailedError(f"{label} failed on Ray: {reason}") from error
                if outcome.trace:
                    output.complain(outcome.trace)
                results[number] = tasks.result_of(label, outcome)
        finally:
            self._stop(list(running))
        return results

    def _stop(self, running: Sequence[Any]) -> None:
        """Interrupt tasks, wait until they have saved their step, and kill those that do not end."""
        for reference in running:
            self._ray.cancel(reference)
        if running:
            _, unended = self._ray.wait(list(running), num_returns=len(running), timeout=SECONDS_TO_STOP)
            for reference in unended:
                self._ray.cancel(reference, force=True)


def _raise_if_silent(address: str) -> None:
    """Validate that something answers at host:port; "auto" and other forms are left to Ray."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise validation.InvalidInputError(
            f"no Ray answers at {address!r} within {SECONDS_TO_ANSWER:g} s ({error}): start one by `ray start --head`"
        ) from error
