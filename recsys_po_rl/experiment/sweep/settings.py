"""Settings of a sweep: validation of its arguments, and of the folder that it goes on in."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Optional

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import resume as resume_lib
from recsys_po_rl.experiment import run as run_lib
from recsys_po_rl.experiment import single_seed
from recsys_po_rl.experiment.sweep import space as space_lib
from recsys_po_rl.experiment.sweep import study
from recsys_po_rl.run_folder import layout, sweep_file
from recsys_po_rl.run_folder.sweep_file import CHOICE, FLOAT, DistributionRecord, Settings, Sweep

UNDER = "sweeps"  # parent of time-stamped folders
# Bindings that may differ when a sweep is resumed.
FREE = tuple(
    f"sweep.{name}"
    for name in ("num_trials", "num_best", "num_fresh_users", "storage", "output_dir", "quiet", "resume")
)
MAX_TRIALS = 100_000


class Config(NamedTuple):
    """Validated arguments."""

    settings: Settings
    num_trials: int
    num_best: int
    num_fresh_users: int
    storage: str
    quiet: bool


def validated(**given: Any) -> Config:
    """Validate arguments, as far as possible without a trial."""
    study.optuna()
    integer = functools.partial(_integer, given)
    space = space_lib.validated(given["space"])
    settings = Settings(
        version=layout.PROJECT_VERSION,
        space=space,
        num_trials_at_once=integer("num_trials_at_once", 1, MAX_TRIALS),
        sampler=validation.one_of("sweep.sampler", given["sampler"], study.SAMPLERS),
        sampler_seed=integer("sampler_seed", 0, config_lib.MAX_SEED),
        num_startup_trials=integer("num_startup_trials", 0, MAX_TRIALS),
        pruner=validation.one_of("sweep.pruner", given["pruner"], study.PRUNERS),
        percentile=validation.number("sweep.percentile", given["percentile"], 0.0, 100.0),
        num_warmup_steps=integer("num_warmup_steps", 0, MAX_TRIALS),
    )
    if settings.sampler == "brute_force":
        for name, distribution in space.items():
            if distribution.kind == FLOAT:
                raise validation.InvalidInputError(
                    f"sweep.sampler brute_force needs integers and choices, {name} has a FloatRange"
                )
    config = Config(
        settings,
        num_trials=integer("num_trials", 1, MAX_TRIALS),
        num_best=integer("num_best", 0, MAX_TRIALS),
        num_fresh_users=integer("num_fresh_users", 2, validation.MAX_INTEGER),
        storage=validation.one_of("sweep.storage", given["storage"], study.STORAGES),
        quiet=validation.boolean("sweep.quiet", given["quiet"]),
    )
    experiment = config_lib.validated(**config_lib.bound(run_lib.experiment))
    if len(experiment.seeds) > 1:
        raise validation.InvalidInputError(
            f"experiment.seeds must be one seed in a sweep, the same for all trials, got {experiment.seeds}"
        )
    for name in ("validate_every_steps", "num_training_steps"):
        if not getattr(experiment, name):
            raise validation.InvalidInputError(
                f"experiment.{name} must be at least 1 in a sweep, whose trials are compared by validations, got 0"
            )
    return config


def _integer(given: Mapping[str, Any], name: str, minimum: int, maximum: int) -> int:
    value = validation.integer(f"sweep.{name}", given[name], minimum)
    if value > maximum:
        raise validation.InvalidInputError(f"sweep.{name} must be at most {maximum}, got {value}")
    return value


def raise_if_not_bindable(space: Mapping[str, DistributionRecord]) -> None:
    """Validate that the experiment accepts the extreme values of each binding, one binding at a time."""
    base = gin_config.config_text()
    for name, distribution in space.items():
        for value in space_lib.ends(distribution):
            (line,) = space_lib.lines({name: distribution}, {name: value})
            try:
                with gin_state.isolated():
                    gin_config.parse_text(base)
                    gin_config.parse([], [line])
                    config = config_lib.validated(**config_lib.bound(run_lib.experiment))
                    single_seed.prepare(config, config.seeds[0], config.world_seed(config.seeds[0]))
            except validation.InvalidInputError as error:
                raise validation.InvalidInputError(f"sweep.space: {line}: {gin_config.first_line(error)}") from error


def sweep_in(config: Config, output_dir: Optional[str], resume: bool) -> Optional[Sweep]:
    """Return the sweep to go on with; None: a new one."""
    if not resume:
        layout.free_path(output_dir, UNDER)
        return None
    if output_dir is None:
        raise validation.InvalidInputError("sweep.resume needs output_dir, the folder of the sweep to resume")
    folder = layout.raise_if_no_folder(output_dir)
    if not os.path.lexists(os.path.join(folder, sweep_file.SWEEP)):
        if os.path.isdir(folder) and set(os.listdir(folder)) - {layout.CONFIG}:
            raise validation.InvalidInputError(f"output_dir {folder!r} holds files, but no sweep: choose a new folder")
        return None
    before = sweep_file.read(folder)
    different = [*_differences(before.settings, config.settings), *resume_lib.changed_bindings(folder, FREE)]
    if different:
        raise validation.InvalidInputError(f"output_dir {folder!r} holds another sweep: " + "; ".join(different))
    if len(before.trials) > config.num_trials:
        raise validation.InvalidInputError(
            f"sweep.num_trials must be at least {len(before.trials)}, the trials of {folder!r}, got {config.num_trials}"
        )
    return before


def _differences(before: Settings, now: Settings) -> Iterator[str]:
    """Yield a text for each setting that differs, with both values."""
    for name in sorted({*before.space, *now.space}):
        theirs, ours = _in_words(before.space.get(name)), _in_words(now.space.get(name))
        if theirs != ours:
            yield f"space: {validation.one_line(name)} was {theirs}, is {ours}"
    for field in dataclasses.fields(Settings):
        if field.name not in ("space", "others"):
            theirs, ours = (validation.shown(getattr(settings, field.name), 60) for settings in (before, now))
            if theirs != ours:
                yield f"{field.name} was {theirs}, is {ours}"


def _in_words(distribution: Optional[DistributionRecord]) -> str:
    if distribution is None:
        return "not there"
    if distribution.kind == CHOICE:
        return validation.shown(distribution.choices, 100)
    return f"{distribution.kind} {distribution.low} to {distribution.high}{', log' if distribution.log else ''}"
