"""What a run folder holds, read for people: whatever is missing or broken is said, not raised."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from recsys_po_rl import gin_text
from recsys_po_rl.common import regular_files
from recsys_po_rl.common import validation as validation_lib
from recsys_po_rl.common.formatting import as_number
from recsys_po_rl.run_folder import evaluation_schema, layout, readers

Row = Mapping[str, str]
_SEED_FOLDER = re.compile(r"seed_(\d+)")


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The content of a run folder; None or empty where a file is missing.

    Attributes:
      folder: its path.
      config: what was bound, by name.
      environment, evaluation, portrait, timings: content of the JSON files.
      metrics, validation, alarms: rows of the tables, those of all seeds.
      problems: a line for each file that cannot be read.
      seeds: folders of the single seeds, in their order, where there are several.
    """

    folder: str
    config: Optional[dict[str, str]] = None
    environment: Optional[dict[str, Any]] = None
    evaluation: Optional[dict[str, Any]] = None
    portrait: Optional[dict[str, Any]] = None
    timings: Optional[dict[str, Any]] = None
    metrics: Sequence[Row] = ()
    validation: Sequence[Row] = ()
    alarms: Sequence[Row] = ()
    problems: Sequence[str] = ()
    seeds: Sequence["RunFiles"] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return os.path.basename(os.path.abspath(self.folder))

    @property
    def evaluation_problem(self) -> Optional[str]:
        """Why the run's own evaluation.json cannot be read; None if it can, or is missing."""
        return next((line for line in self.problems if line.startswith(layout.EVALUATION)), None)

    @property
    def parts(self) -> Sequence["RunFiles"]:
        """The folders of single seeds: this one, if there is only one seed."""
        return self.seeds or [self]

    def bound(self, parameter: str) -> Optional[str]:
        """What a parameter of `recsys_po_rl.experiment` is bound to, as text; None if it is not bound."""
        return (self.config or {}).get(f"recsys_po_rl.experiment.{parameter}")


class Curve(NamedTuple):
    """A column of a table over the training steps."""

    steps: list[float]
    mean: list[Optional[float]]  # over the seeds that have the step
    low: list[Optional[float]]  # smallest and largest of them
    high: list[Optional[float]]
    num_seeds: int


def read(folder: str) -> RunFiles:
    """Reads a run folder, also one of several seeds, and one of a run that is not finished.

    Args:
      folder: its path.

    Raises:
      validation_lib.InvalidInputError: if it is not a folder, or holds no run.
    """
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise validation_lib.InvalidTypeError(f"a run folder must be a path, got {folder!r}")
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise validation_lib.InvalidInputError(f"{folder!r} is no folder: a run folder is needed")
    run = _read_one(folder)
    if not run.seeds and run.config is None and run.evaluation is None and not run.metrics and not run.problems:
        names = f"{layout.CONFIG}, {layout.METRICS} or {layout.EVALUATION}"
        raise validation_lib.InvalidInputError(f"{folder!r} holds no run: there is no {names}")
    return run


def _read_one(folder: str) -> RunFiles:
    problems: list[str] = []
    seeds = [_read_one(os.path.join(folder, name)) for name in _seed_folders(folder)]
    names = {"metrics": layout.METRICS, "validation": layout.VALIDATION, "alarms": layout.ALARMS}
    tables: dict[str, Any] = {
        field: [row for of_seed in seeds for row in getattr(of_seed, field)] or _rows(folder, name, problems)
        for field, name in names.items()
    }
    contents: dict[str, Any] = {
        field: _json(folder, name, problems)
        for field, name in (
            ("environment", layout.ENVIRONMENT),
            ("evaluation", layout.EVALUATION),
            ("portrait", layout.PORTRAIT),
            ("timings", layout.TIMINGS),
        )
    }
    config = _config(folder, problems)
    for of_seed in seeds:
        problems += [f"seed folder {of_seed.name}: {problem}" for problem in of_seed.problems]
    return RunFiles(folder, config=config, **contents, **tables, problems=problems, seeds=seeds)


def curve(rows: Sequence[Row], column: str) -> Optional[Curve]:
    """A column by training step, over the seeds.

    Args:
      rows: of a table with the columns seed and step.
      column: which one; cells that are no finite number count as missing.

    Returns:
      The curve, None if no row has a number there.
    """
    by_step: dict[float, list[float]] = {}
    seeds = set()
    for row in rows:
        step, value = as_number(row.get("step")), as_number(row.get(column))
        if step is None:
            continue
        of_step = by_step.setdefault(step, [])
        if value is not None:
            of_step.append(value)
            seeds.add(row.get("seed"))
    if not seeds:
        return None
    steps = sorted(by_step)
    found = [by_step[step] for step in steps]
    return Curve(
        steps,
        [sum(values) / len(values) if values else None for values in found],
        [min(values, default=None) for values in found],
        [max(values, default=None) for values in found],
        len(seeds),
    )


def _seed_folders(folder: str) -> list[str]:
    found = [match for name in os.listdir(folder) if (match := _SEED_FOLDER.fullmatch(name))]
    there = [match for match in found if os.path.isdir(os.path.join(folder, match.group()))]
    return [match.group() for match in sorted(there, key=lambda match: (len(match.group(1)), match.group(1)))]


def _json(folder: str, name: str, problems: list[str]) -> Optional[dict[str, Any]]:
    path = os.path.join(folder, name)
    try:
        return evaluation_schema.read(path) if name == layout.EVALUATION else readers.json_object(path)
    except FileNotFoundError:
        return None
    except validation_lib.InvalidInputError as error:
        problems.append(_problem(folder, name, error))
        return None


def _config(folder: str, problems: list[str]) -> Optional[dict[str, str]]:
    name = layout.CONFIG
    try:
        text = regular_files.text(os.path.join(folder, name))
    except FileNotFoundError:
        return None
    except validation_lib.InvalidInputError as error:
        problems.append(_problem(folder, name, error))
        return None
    try:
        return gin_text.bindings(text)
    except validation_lib.InvalidInputError as error:
        problems.append(f"{name}: {error}")
        return None


def _rows(folder: str, name: str, problems: list[str]) -> list[dict[str, str]]:
    """Whole rows: a last line without its end does not count, and lines of another length are left out."""
    try:
        table = readers.table(os.path.join(folder, name))
    except FileNotFoundError:
        return []
    except validation_lib.InvalidInputError as error:
        problems.append(_problem(folder, name, error))
        return []
    problems += table.problems
    return table.rows


def _problem(folder: str, name: str, error: validation_lib.InvalidInputError) -> str:
    """A message that names a file by its path, with the name alone: where the folder is stands elsewhere."""
    shown = validation_lib.shown(os.path.join(folder, name), validation_lib.MAX_PATH_SHOWN)
    return str(error).replace(shown, name)
