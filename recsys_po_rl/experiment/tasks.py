"""Tasks for other processes: packing with all that they need, and their outcome.

A task is a call of a function. It runs under gin's bindings and scope of the process that packed it, and gives the same
result wherever it runs. The function may come from a script or a notebook: cloudpickle then sends it by value.
"""

import contextlib
import functools
import socket
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

import cloudpickle
import gin

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import signals, user_errors
from recsys_po_rl.run_folder import layout
from recsys_po_rl.training.alarms import StoppedByAlarmError

DONE, FAILED, BAD_INPUT, SIGNALLED = 0, 1, 2, 128  # statuses; interrupted: SIGNALLED plus the signal
MAX_KILLS = 5  # of one task; then it fails


class Task(NamedTuple):
    """Call of a function in another process."""

    label: str  # such as "seed 3"
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    # Arguments after the process was killed, by the kernel for want of memory for instance; None: the same.
    arguments_after_kill: Optional[tuple[Any, ...]] = None

    def after_kill(self) -> "Task":
        """Return the task that goes on with the work of a killed process."""
        return self if self.arguments_after_kill is None else self._replace(arguments=self.arguments_after_kill)


class Outcome(NamedTuple):
    """Outcome of a task."""

    status: int  # DONE, FAILED, BAD_INPUT, or SIGNALLED plus the signal
    result: Any = None
    report: str = ""  # a line about the error, or one with the frames of users' code
    trace: str = ""  # traceback of an unexpected error


class TaskFailedError(RuntimeError):
    """Failure of a task; the message contains its label and the last line of its report."""


class NotSendableError(Exception):
    """Object that cannot be sent to another process; the message names it."""


class _Content(NamedTuple):
    config_text: str
    scope: list[str]
    registrations: list[gin_state.Registration]
    task: Task


class Packed(NamedTuple):
    """Task as bytes, with the versions of the process that packed it."""

    versions: dict[str, str]
    content: bytes


def pack(task: Task) -> Packed:
    """Pack a task with gin's bindings, scope and registrations.

    Raises:
      NotSendableError: if gin refers to a class that no module defines, or an argument cannot be pickled.
    """
    needed = gin_state.needed()
    if needed.not_importable:
        raise NotSendableError(f"{needed.not_importable[0]} is defined in no module that another process can import")
    content = _Content(gin_config.config_text(), gin_state.scope(), needed.registrations, task)
    try:
        return Packed(layout.versions(), cloudpickle.dumps(content))
    except Exception as error:  # pickling calls code of the user's objects, which may raise any error
        raise NotSendableError(f"an argument cannot be pickled ({' '.join(str(error).split())[:200]})") from error


def run(packed: Packed) -> Outcome:
    """Run a packed task in this process, which has no gin configuration of its own."""
    differing = other_versions(packed)
    if differing:
        return Outcome(BAD_INPUT, report=differing)
    return outcome_of(functools.partial(_run, packed))


def other_versions(packed: Packed) -> str:
    """Return a line that names the versions of this process that differ from the packing process; "" if none does."""
    own = layout.versions()
    differing = [
        f"{name} {own.get(name)} instead of {version}"
        for name, version in packed.versions.items()
        if own.get(name) != version
    ]
    return f"the worker on {socket.gethostname()} has {', '.join(differing)}" if differing else ""


def _run(packed: Packed) -> Any:
    with unpacked(packed) as task, signals.handled():
        return task.function(*task.arguments)


@contextlib.contextmanager
def unpacked(packed: Packed) -> Iterator[Task]:
    """Provide a packed task, under the gin bindings and scope of the process that packed it."""
    content: _Content = cloudpickle.loads(packed.content)
    with gin_state.isolated():
        gin_state.register(content.registrations)
        gin_config.parse_text(content.config_text)
        with gin.config_scope(content.scope):
            yield content.task


def outcome_of(function: Callable[[], Any]) -> Outcome:
    """Call a function, and return its outcome; users' code may raise any error."""
    try:
        return Outcome(DONE, function())
    except validation.InvalidInputError as error:
        return Outcome(BAD_INPUT, report=gin_config.first_line(error))
    except signals.Stopped as stopped:
        return Outcome(SIGNALLED + stopped.signum)
    except (StoppedByAlarmError, layout.FolderMovedError) as error:
        return Outcome(FAILED, report=gin_config.first_line(error))
    except (Exception, SystemExit) as error:  # users' code may raise any error
        report = user_errors.report(error)
        if report is not None:
            return Outcome(FAILED, report=report)
        line = f"{type(error).__name__}: {gin_config.first_line(error) if str(error) else ''}"
        return Outcome(FAILED, report=line, trace=traceback.format_exc())


def result_of(label: str, outcome: Outcome) -> Any:
    """Return a task's result.

    Raises:
      InvalidInputError: if the task reports one, as for a full disk.
      TaskFailedError: if the task failed.
    """
    if outcome.status == DONE:
        return outcome.result
    lines = outcome.report.strip().splitlines() or ["it said nothing"]
    if outcome.status == BAD_INPUT:
        raise validation.InvalidInputError(f"{label}: {lines[-1].strip()}")
    raise TaskFailedError(f"{label} failed (exit status {outcome.status}): {lines[-1].strip()}")
