"""Content of a run folder, read for reports: missing or damaged files are recorded as problems instead of raising."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional, TypeVar

from recsys_po_rl import gin_text
from recsys_po_rl.common import regular_files
from recsys_po_rl.common import validation as validation_lib
from recsys_po_rl.common.formatting import as_number
from recsys_po_rl.evaluation.portrait import Portrait
from recsys_po_rl.run_folder import layout, readers, schema

Row = Mapping[str, str]
_Content = TypeVar("_Content")
_SEED_FOLDER = re.compile(r"seed_(\d+)")


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """Content of a run folder; None or empty for missing files.

    Attributes:
      folder: path of the folder.
      config: bindings, by name.
      environment, evaluation, portrait, timings: content of the JSON files.
      metrics, validation, alarms: rows of the tables, over all seeds.
      problems: a line for each file that cannot be read.
      seeds: contents of the folders of single seeds, in order, if the run has several seeds.
    """

    folder: str
    config: Optional[dict[str, str]] = None
    environment: Optional[schema.Environment] = None
    evaluation: Optional[schema.Evaluation] = None
    portrait: Optional[Portrait] = None
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

    def problem_of(self, name: str) -> Optional[str]:
        """Return the reason why the run's own file of this name cannot be read; None if it is valid or missing."""
        return next((line for line in self.problems if line.startswith(name)), None)

    @property
    def parts(self) -> Sequence["RunFiles"]:
        """Contents of the folders of single seeds, or this folder if there is only one seed."""
        return self.seeds or [self]

    def bound(self, parameter: str) -> Optional[str]:
        """Return the text bound to a parameter of `recsys_po_rl.experiment`; None if it is not bound."""
        return (self.config or {}).get(f"recsys_po_rl.experiment.{parameter}")


class Curve(NamedTuple):
    """Column of a table over the training steps."""

    steps: list[float]
    mean: list[Optional[float]]  # over the seeds with a value at the step
    low: list[Optional[float]]  # smallest and largest value of these seeds
    high: list[Optional[float]]
    num_seeds: int


def read(folder: str) -> RunFiles:
    """Read a run folder, of one or several seeds, of a finished or unfinished run.

    Args:
      folder: path of the folder.

    Raises:
      validation_lib.InvalidInputError: if the path is not a folder, or the folder does not contain a run.
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
    environment = _json(folder, layout.ENVIRONMENT, problems, schema.Environment.from_json)
    evaluation = _json(folder, layout.EVALUATION, problems, schema.from_json)
    portrait = _json(folder, layout.PORTRAIT, problems, Portrait.from_json)
    timings = _json(folder, layout.TIMINGS, problems, lambda content, _: content)
    config = _config(folder, problems)
    for of_seed in seeds:
        problems += [f"seed folder {of_seed.name}: {problem}" for problem in of_seed.problems]
    return RunFiles(
        folder,
        config=config,
        environment=environment,
        evaluation=evaluation,
        portrait=portrait,
        timings=timings,
        **tables,
        problems=problems,
        seeds=seeds,
    )


def curve(rows: Sequence[Row], column: str) -> Optional[Curve]:
    """Return a column of a table by training step, over the seeds.

    Args:
      rows: rows of a table with the columns seed and step.
      column: name of the column; cells that are not finite numbers count as missing.

    Returns:
      The curve, None if the column has no finite number.
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
    values_by_step = [by_step[step] for step in steps]
    return Curve(
        steps,
        [sum(values) / len(values) if values else None for values in values_by_step],
        [min(values, default=None) for values in values_by_step],
        [max(values, default=None) for values in values_by_step],
        len(seeds),
    )


def _seed_folders(folder: str) -> list[str]:
    matches = [match for name in os.listdir(folder) if (match := _SEED_FOLDER.fullmatch(name))]
    folders = [match for match in matches if os.path.isdir(os.path.join(folder, match.group()))]
    return [match.group() for match in sorted(folders, key=lambda match: (len(match.group(1)), match.group(1)))]


def _json(
    folder: str, name: str, problems: list[str], from_json: Callable[[dict[str, Any], str], _Content]
) -> Optional[_Content]:
    """Read a JSON file; `from_json` is called with the content and the beginning of messages."""
    path = os.path.join(folder, name)
    try:
        content = readers.json_object(path)
        return from_json(content, name if name == layout.EVALUATION else f"{name}: ")
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
    """Return the whole rows of a table: unterminated last lines and lines of another length are omitted."""
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
    """Return an error message with a file's path replaced by its name, because reports show the folder elsewhere."""
    shown = validation_lib.shown(os.path.join(folder, name), validation_lib.MAX_PATH_SHOWN)
    return str(error).replace(shown, name)
