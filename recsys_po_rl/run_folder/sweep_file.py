"""File sweep.json: settings of a sweep, its trials so far, and the comparison of the best ones on fresh users."""

import csv
import dataclasses
import io
import os
from collections.abc import Mapping
from typing import Annotated, Any, Optional

from recsys_po_rl.common import records, validation
from recsys_po_rl.common.records import Bounds, Count, NonNegative, Record
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.run_folder import layout, readers

SWEEP, TRIALS, PAGE = "sweep.json", "trials.csv", "sweep.html"
SCHEMA_VERSION = 1
COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"  # states of a trial
FLOAT, INTEGER, CHOICE = "float", "integer", "choice"  # kinds of a distribution


def _one_of(*allowed: str) -> records.Check:
    def validate(where: str, value: Any) -> None:
        if value not in allowed:
            raise records.error(where, " or ".join(allowed), value)

    return records.Check(validate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributionRecord(Record):
    """Distribution of a binding's values."""

    kind: Annotated[str, _one_of(FLOAT, INTEGER, CHOICE)]
    low: Optional[float] = None
    high: Optional[float] = None
    log: Optional[bool] = None  # whether the logarithm is uniform
    choices: Optional[list[str]] = None  # gin texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Record):
    """Settings that decide the trials of a sweep, besides the configuration of the experiment."""

    version: str  # of this project
    space: Mapping[str, DistributionRecord]  # by binding
    num_trials_at_once: Count
    sampler: str
    sampler_seed: NonNegative
    num_startup_trials: NonNegative
    pruner: str
    percentile: float  # kept at a step
    num_warmup_steps: NonNegative


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """Trial of a sweep, with its validations."""

    number: NonNegative
    state: Annotated[str, _one_of(COMPLETE, PRUNED, FAILED)]
    bindings: Mapping[str, Any]  # sampled values: numbers, or gin texts
    steps: list[int]  # training steps that were validated
    mean_rewards: list[float]  # of the validation users after these steps
    reason: Optional[str] = None  # of a failure

    @property
    def value(self) -> Optional[float]:
        """Validation reward of the best policy so far, which the sweep maximises; None without a validation."""
        return max(self.mean_rewards) if self.mean_rewards else None

    @property
    def best_step(self) -> Optional[int]:
        """Training step of the best policy so far, the first one of equals."""
        value = self.value
        return None if value is None else self.steps[self.mean_rewards.index(value)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestTrial(Record):
    """Reward of a trial's policy on fresh users, the same for all trials that are compared."""

    trial: NonNegative
    mean: float
    interval95: Bounds
    minus_first: MeanInterval  # paired difference to the first of the list


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(Record):
    """Content of sweep.json."""

    schema_version: Annotated[int, records.known_version(SCHEMA_VERSION)] = SCHEMA_VERSION
    settings: Settings
    num_trials: Count  # wanted
    trials: list[Trial]  # of whole batches
    importances: Optional[Mapping[str, float]] = None  # share of the variance of values, by binding (PED-ANOVA)
    num_fresh_users: Optional[int] = None  # on whom the best are compared
    best: Optional[list[BestTrial]] = None  # by the mean on fresh users; None: not compared yet


def read(folder: str) -> Sweep:
    """Read sweep.json.

    Raises:
      InvalidInputError: one line, if the folder holds no sweep, or the file has another form.
    """
    try:
        content = readers.json_object(os.path.join(folder, SWEEP))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise validation.InvalidInputError(
            f"{validation.shown(folder, validation.MAX_PATH_SHOWN)} holds no sweep: there is no {SWEEP}"
        ) from error
    sweep = Sweep.from_json(content, f"{SWEEP}: ")
    for number, trial in enumerate(sweep.trials):
        where = f"{SWEEP}: trials[{number}]"
        if trial.number != number:
            raise records.error(f"{where}.number", f"{number}, as trials are in order", trial.number)
        if set(trial.bindings) != set(sweep.settings.space):
            raise records.error(f"{where}.bindings", "values of the bindings of the space", list(trial.bindings))
        for name, value in trial.bindings.items():
            _raise_if_outside(f"{where}.bindings.{validation.shown(name, 60)}", sweep.settings.space[name], value)
        if len(trial.steps) != len(trial.mean_rewards) or trial.steps != sorted({*trial.steps} - {0}):
            raise records.error(f"{where}.steps", "different steps in order, one for each mean reward", trial.steps)
        if trial.state == COMPLETE and not trial.steps:
            raise records.error(f"{where}.steps", "at least one step of a complete trial", trial.steps)
    for best in sweep.best or ():
        if best.trial >= len(sweep.trials):
            raise records.error(f"{SWEEP}: best", "numbers of trials", best.trial)
    return sweep


def write(folder: str, sweep: Sweep) -> None:
    """Write sweep.json and trials.csv; each appears whole or not at all."""
    layout.write_text(folder, TRIALS, trials_text(sweep))
    layout.write_json(folder, SWEEP, sweep.to_json())


def trials_text(sweep: Sweep) -> str:
    """Return the trials as the text of a CSV file."""
    names = list(sweep.settings.space)
    rows: list[list[Any]] = [["trial", "state", "value", "best_step", "last_step", *names]]
    for trial in sweep.trials:
        last_step = trial.steps[-1] if trial.steps else None
        row = [trial.number, trial.state, trial.value, trial.best_step, last_step]
        rows.append([*row, *(trial.bindings[name] for name in names)])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _raise_if_outside(where: str, distribution: DistributionRecord, value: Any) -> None:
    """Validate that a value is one that a distribution can have."""
    if distribution.kind == CHOICE:
        if not isinstance(value, str) or value not in (distribution.choices or ()):
            raise records.error(where, "one of the choices", value)
        return
    low, high = distribution.low, distribution.high
    kinds = (int,) if distribution.kind == INTEGER else (int, float)
    if low is None or high is None or isinstance(value, bool) or not isinstance(value, kinds):
        raise records.error(where, f"{'an integer' if distribution.kind == INTEGER else 'a number'}", value)
    if not low <= value <= high:
        raise records.error(where, f"between {low} and {high}", value)
