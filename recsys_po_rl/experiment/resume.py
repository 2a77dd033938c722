"""Validation that a run can be resumed, location of its checkpoint, and the lock of its folder."""

import contextlib
import fcntl
import functools
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from recsys_po_rl import gin_config, gin_text
from recsys_po_rl.common import regular_files, validation
from recsys_po_rl.run_folder import checkpoints, csv_tables, layout, readers, schema
from recsys_po_rl.training import rows as rows_lib

# Bindings that may differ: they change output and checkpoints, not the results of a run. The folder of a pretraining
# may be moved, since the arguments hold a hash of its weights.
FREE = (
    "experiment.output_dir",
    "experiment.resume",
    "experiment.quiet",
    "experiment.num_processes",
    "experiment.pretrained",
)
SEEDS = "experiment.seeds"


class Position(NamedTuple):
    """Position from which a run is resumed."""

    keep: list[checkpoints.Found]  # whole checkpoints, the latest first; the run is resumed from the latest
    notes: list[str]  # lines to print for the user

    @property
    def step(self) -> int:
        """Number of completed training steps."""
        return self.keep[0].step if self.keep else 0


def raise_if_other(folder: str, seeds: Sequence[int], arguments: Mapping[str, str]) -> None:
    """Validate that a folder is empty or holds the run to resume, with the same configuration.

    Warns if versions of other packages have changed.

    Args:
      folder: the run folder; it need not exist.
      seeds: seeds to resume.
      arguments: arguments to resume with, as text, see `fingerprint`.

    Raises:
      InvalidInputError: if the folder's run has another configuration (each difference is named), was written by
        another version of this project, or cannot be identified.
    """
    if not any(os.path.exists(os.path.join(folder, name)) for name in (layout.CONFIG, layout.ENVIRONMENT)):
        held = [name for name in layout.OF_A_RUN if os.path.exists(os.path.join(folder, name))]
        if held:
            raise validation.InvalidInputError(
                f"output_dir {folder!r} holds {held[0]} but no {layout.CONFIG}: it cannot be told which run that is"
            )
        return
    environment = layout.read_environment(folder)
    if environment is None and (os.path.exists(os.path.join(folder, layout.ENVIRONMENT)) or _holds_steps(folder)):
        raise validation.InvalidInputError(f"output_dir {folder!r}: {layout.ENVIRONMENT} is missing or cannot be read")
    versions = (environment and environment.versions) or {}
    theirs = versions.get(layout.PROJECT)
    if environment is not None and theirs != layout.PROJECT_VERSION:
        raise validation.InvalidInputError(
            f"output_dir {folder!r} holds a run of {layout.PROJECT} {validation.one_line(str(theirs))}, "
            f"this is {layout.PROJECT_VERSION}: resume it with the version that it was made with"
        )
    others = [
        f"{name} {validation.one_line(str(versions[name]))}, now {now}"
        for name, now in layout.versions().items()
        if versions.get(name, now) != now
    ]
    if others:
        warnings.warn(f"the run began with {'; '.join(others)}: its last digits may differ from now on", stacklevel=2)
    different = _differences(folder, environment, seeds, arguments)
    if different:
        raise validation.InvalidInputError(
            f"output_dir {folder!r} holds a run with another configuration: " + "; ".join(different)
        )


def changed_bindings(folder: str, free: Sequence[str]) -> list[str]:
    """Return one text for each of gin's bindings that differs from config.gin of a folder, with both values.

    Args:
      folder: a folder with config.gin.
      free: names of bindings that may differ, without the project's prefix.

    Raises:
      InvalidInputError: one line, if config.gin cannot be read.
    """
    return _in_words(_unequal(_bindings_in(folder), _bindings(gin_config.config_text()), skip=free))


def raise_if_other_table(folder: str, table: Optional[str]) -> None:
    """Validate that the table of documents is the one with which a run began.

    Args:
      folder: the run folder; it need not exist.
      table: hash of the table's documents, None for a corpus without a table.

    Raises:
      InvalidInputError: if the folder's run began with another table.
    """
    environment = layout.read_environment(folder)
    before = environment and environment.table
    if before is not None and before != table:
        raise validation.InvalidInputError(
            f"output_dir {folder!r} holds a run with another table of documents: it was {_shown(before)}, is "
            f"{_shown(table)}"
        )


def fingerprint(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Convert arguments to text that is equal in every process for equal arguments.

    Args:
      arguments: values by name.
    """
    return {name: _text_of(value) for name, value in arguments.items()}


def position_of(folder: str, tables: Mapping[str, Callable[[int], bool]]) -> Position:
    """Locate the position from which the run in a folder is resumed; files are only read.

    Args:
      folder: the run folder; it need not exist.
      tables: by name of CSV file, a predicate of the steps that have rows. A checkpoint is usable only if all rows up
        to its step exist.

    Raises:
      InvalidInputError: if a checkpoint belongs to another run, or a table is not a regular file.
    """
    environment = layout.read_environment(folder)
    search = checkpoints.find(folder, (environment and environment.run) or "")
    notes = list(search.broken)
    steps = {name: _steps_in(os.path.join(folder, name)) for name in tables}
    csv_tables.whole_rows(os.path.join(folder, layout.ALARMS))  # a pipe in its place is refused here, before training
    keep = []
    for checkpoint in search.whole:
        lacking = [
            name
            for name, has_rows in tables.items()
            if not all(step in steps[name] for step in range(1, checkpoint.step + 1) if has_rows(step))
        ]
        if lacking:
            notes.append(f"the checkpoint of step {checkpoint.step} is of no use ({lacking[0]} lacks rows before it)")
        else:
            keep.append(checkpoint)
    if notes and keep:
        notes[-1] += f": that of step {keep[0].step} is used"
    notes.append(f"resumed from step {keep[0].step}" if keep else f"no whole checkpoint in {folder}: starts at step 0")
    return Position(keep, notes)


@contextlib.contextmanager
def exclusive_lock(folder: str) -> Iterator[None]:
    """Lock a run folder against other processes within a `with` block.

    Args:
      folder: the run folder; it exists.

    Raises:
      InvalidInputError: if another process holds the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise validation.InvalidInputError(f"another process is at work in {folder!r}") from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)  # releases the lock, as does any end of the process


def _steps_in(path: str) -> set[int]:
    """Return the steps of a table's rows, up to the first row that cannot be read or is out of order."""
    steps: set[int] = set()
    for row in csv_tables.whole_rows(path):
        step = readers.step_in(row)
        if step is None:
            break
        if os.path.basename(path) == layout.METRICS and (step != len(steps) + 1 or not _is_training_row(row)):
            break  # on resuming, the first N rows are read as the history of a checkpoint of step N
        steps.add(step)
    return steps


def _is_training_row(row: Mapping[str, str]) -> bool:
    try:
        rows_lib.row_from_text(row)
    except validation.InvalidInputError:
        return False
    return True


def _holds_steps(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in (layout.METRICS, layout.CHECKPOINTS))


def _differences(
    folder: str, environment: Optional[schema.Environment], seeds: Sequence[int], arguments: Mapping[str, str]
) -> list[str]:
    """Return one text for each key that differs, with both values."""
    if environment is None and not os.path.lexists(os.path.join(folder, layout.CONFIG)):
        return []
    theirs = _bindings_in(folder)
    unequal = _unequal(theirs, _bindings(gin_config.config_text()))
    if environment is not None:
        unequal.update(_unequal(environment.arguments or {}, arguments, skip=unequal))
        if list(seeds) != environment.seeds:
            unequal[SEEDS] = (environment.seeds, list(seeds))
        else:
            unequal.pop(SEEDS, None)  # the folder of one seed of several has the configuration of all seeds
    return _in_words(unequal)


def _bindings_in(folder: str) -> dict[str, str]:
    """Return the bindings of a folder's config.gin, see `_bindings`."""
    try:
        return _bindings(regular_files.text(os.path.join(folder, layout.CONFIG)))
    except FileNotFoundError as error:
        raise validation.InvalidInputError(f"output_dir {folder!r}: {layout.CONFIG} is missing") from error
    except validation.InvalidInputError as error:
        why = " ".join(str(error).split())
        raise validation.InvalidInputError(f"output_dir {folder!r}: {layout.CONFIG} cannot be read ({why})") from error


def _in_words(unequal: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [
        f"{validation.one_line(name)} was {_shown(before)}, is {_shown(now)}"
        for name, (before, now) in sorted(unequal.items())
    ]


def _bindings(text: str) -> dict[str, str]:
    """Return gin's bindings by name, without the project's prefix, as gin itself shortens names."""
    prefix = f"{gin_config.MODULE}."
    return {
        re.sub(rf"(^|/){re.escape(prefix)}", r"\1", name): value.replace(f"@{prefix}", "@").replace(f"/{prefix}", "/")
        for name, value in gin_text.bindings(text).items()
    }


_MISSING = object()


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "not bound"
    # The file may have been edited: control characters and line ends are escaped.
    return validation.cut(value) if isinstance(value, str) and value.isprintable() else validation.shown(value)


def _unequal(theirs: Mapping[str, Any], ours: Mapping[str, Any], skip: Any = ()) -> dict[str, tuple[Any, Any]]:
    return {
        name: (theirs.get(name, _MISSING), ours.get(name, _MISSING))
        for name in {*theirs, *ours}
        if name not in FREE and name not in skip and theirs.get(name, _MISSING) != ours.get(name, _MISSING)
    }


def _text_of(value: Any) -> str:
    if hasattr(value, "fingerprint") and not isinstance(value, type):  # policies and warm starts
        text: str = value.fingerprint(_text_of)
        return text
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text_of, value)) + "]"
    if isinstance(value, functools.partial):
        given = [
            *map(_text_of, value.args),
            *(f"{key}={_text_of(argument)}" for key, argument in value.keywords.items()),
        ]
        return f"partial({', '.join([_text_of(value.func), *given])})"
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return type(value).__qualname__
