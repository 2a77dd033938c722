"""Mode sweep: trials of an experiment with other values of gin bindings, in batches, on any executor."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import output, validation
from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.experiment import resume as resume_lib
from recsys_po_rl.experiment import signals
from recsys_po_rl.experiment.executors import Executor
from recsys_po_rl.experiment.local_processes import LocalExecutor
from recsys_po_rl.experiment.sweep import settings as settings_lib
from recsys_po_rl.experiment.sweep import space as space_lib
from recsys_po_rl.experiment.sweep import study
from recsys_po_rl.experiment.sweep.trial import Job, evaluate_trial, run_trial
from recsys_po_rl.experiment.tasks import Task
from recsys_po_rl.reporting import pages, sweep_text
from recsys_po_rl.run_folder import layout, sweep_file
from recsys_po_rl.run_folder.sweep_file import COMPLETE, BestTrial, Sweep, Trial

# Configurables that a trial does not need.
OF_SWEEPS = tuple(f"{gin_config.MODULE}.{name}" for name in ("sweep", "FloatRange", "IntegerRange", "Choice"))


class SweepResult(NamedTuple):
    """Result of a sweep."""

    sweep: Sweep
    folder: str


@gin_config.configurable(denylist=("executor",))
@gin_config.wrong_calls_in_one_line
def sweep(
    space: Optional[Mapping[str, space_lib.Distribution]] = None,
    num_trials: int = 20,
    num_trials_at_once: int = 4,
    sampler: str = "tpe",
    sampler_seed: int = 0,
    num_startup_trials: int = 8,
    pruner: str = "median",
    percentile: float = 25.0,
    num_warmup_steps: int = 0,
    num_best: int = 3,
    num_fresh_users: int = 2000,
    storage: str = "journal",
    output_dir: Optional[str] = None,
    quiet: bool = False,
    resume: bool = False,
    executor: Optional[Executor] = None,
) -> SweepResult:
    """Run trials of the experiment that gin has bound, each with other values of some bindings, and compare the best.

    Each trial is a run folder. Values come from Optuna, in batches that do not depend on the number of workers: a sweep
    whose processes were killed and that was resumed has the trials of an uninterrupted one. The value of a trial is the
    validation reward of its best policy. Since the best of many is partly lucky, the best trials are evaluated again,
    on fresh users that no trial has used.

    Args:
      space: distributions of values by binding, see `space`.
      num_trials: number of trials, at least 1. A resumed sweep may have more than before.
      num_trials_at_once: trials of a batch, at least 1: all values of a batch are suggested before its trials start.
      sampler: tpe (tree-structured Parzen estimator, Bergstra et al. 2011), random, or brute_force (every combination
        of choices and integers once, in random order).
      sampler_seed: seed of the sampler, at least 0.
      num_startup_trials: trials whose values are random with tpe, and complete trials before any is pruned, at least 0.
      pruner: none; median: stops a trial whose best validation so far is below the median of the trials of earlier
        batches at the same step; percentile: one that is not among the best `percentile` per cent.
      percentile: per cent of the trials that the pruner percentile keeps at a step, 0 to 100.
      num_warmup_steps: training steps before which no trial is pruned, at least 0.
      num_best: complete trials with the best values that are compared on fresh users, at least 0.
      num_fresh_users: number of these users, at least 2.
      storage: journal (file study.journal), sqlite (study.db) or none: copy of the trials for Optuna's own tools.
      output_dir: folder of the sweep; a new, time-stamped one under sweeps/ if None.
      quiet: whether to print nothing.
      resume: whether to go on with the sweep in output_dir, with the same space, sampler and configuration.
      executor: where trials run, see `executors`; None: processes of this machine. Gin cannot bind it.

    Returns:
      Content of sweep.json, and the folder.

    Raises:
      InvalidInputError: one line, if an argument is invalid, Optuna is not installed, or the folder holds another
        sweep, raised before anything is written; or if a file cannot be written.
      tasks.TaskFailedError: if a process failed; the sweep can be resumed.
    """
    gin_state.raise_if_not_writable()
    with signals.handled():
        config = settings_lib.validated(
            space=space, num_trials=num_trials, num_trials_at_once=num_trials_at_once, sampler=sampler,
            sampler_seed=sampler_seed, num_startup_trials=num_startup_trials, pruner=pruner, percentile=percentile,
            num_warmup_steps=num_warmup_steps, num_best=num_best, num_fresh_users=num_fresh_users, storage=storage,
            quiet=quiet,
        )  # fmt: skip
        before = settings_lib.sweep_in(config, output_dir, validation.boolean("sweep.resume", resume))
        if before is None:
            settings_lib.raise_if_not_bindable(config.settings.space)
        folder = layout.create(output_dir, settings_lib.UNDER, may_hold_a_run=resume)
        with resume_lib.exclusive_lock(folder), layout.errors_of(folder):
            try:
                return _run(config, before, folder, executor or LocalExecutor(fresh_processes=True))
            except KeyboardInterrupt:
                if not quiet:
                    output.complain(f"interrupted: --mode sweep --resume --output_dir {folder} goes on")
                raise


def _run(config: settings_lib.Config, before: Optional[Sweep], folder: str, executor: Executor) -> SweepResult:
    layout.remove_leftovers(folder)
    done = before or Sweep(settings=config.settings, num_trials=config.num_trials, trials=[])
    if _is_finished(config, done):
        if not config.quiet:
            output.say(f"the sweep in {folder} is finished: nothing is done\n\n{sweep_text.table(done)}")
        return SweepResult(done, folder)
    if before is None:
        layout.write_text(folder, layout.CONFIG, gin_config.config_text())
    base = gin_config.config_text()
    with gin_state.isolated():
        gin_config.parse_text(base)
        gin_state.unbind(OF_SWEEPS)  # they are no part of a trial's config.gin
        done = run_batches(
            dataclasses.replace(done, num_trials=config.num_trials), folder, config.storage, executor, run_trial,
            config.quiet,
        )  # fmt: skip
        best = compared(done, folder, executor, config.num_best, config.num_fresh_users, config.quiet)
    done = dataclasses.replace(
        done,
        importances=study.importances(done.settings, done.trials),
        best=best,
        num_fresh_users=config.num_fresh_users,
    )
    sweep_file.write(folder, done)
    pages.report_sweep(folder)
    if not config.quiet:
        output.say(f"\n{sweep_text.table(done)}\n\nfiles: {folder}")
    return SweepResult(done, folder)


def run_batches(
    done: Sweep,
    folder: str,
    storage: str,
    executor: Executor,
    run_trial: Callable[[Job], Trial],
    quiet: bool = False,
) -> Sweep:
    """Run the trials that are missing, batch by batch, and write sweep.json after each batch.

    Args:
      done: the sweep so far.
      folder: folder of the sweep.
      storage: copy of the trials for Optuna's tools, a key of `study.STORAGES`.
      executor: where trials run.
      run_trial: runs a trial; the result depends on its job alone.
      quiet: whether to print nothing.

    Returns:
      The sweep with all trials.
    """
    settings, at_once = done.settings, done.settings.num_trials_at_once
    sweep_file.write(folder, done)
    copy = study.Storage(folder, storage, settings)
    copy.add(done.trials)
    while len(done.trials) < done.num_trials:
        batch = len(done.trials) // at_once
        earlier = done.trials[: batch * at_once]
        suggested = study.suggestions(settings, earlier, batch)
        numbers = range(len(done.trials), min((batch + 1) * at_once, done.num_trials))
        jobs = [
            Job(
                number,
                suggested[number - batch * at_once],
                settings,
                earlier,
                layout.make_subfolder(os.path.abspath(folder), trial_name(number)),
            )
            for number in numbers
        ]
        trials = executor.run([Task(f"trial {job.number}", run_trial, (job,)) for job in jobs], quiet)
        done = dataclasses.replace(done, trials=[*done.trials, *trials], best=None, importances=None)
        sweep_file.write(folder, done)
        copy.add(trials)
        if not quiet:
            output.say("\n".join(sweep_text.trial_line(trial) for trial in trials))
    return done


def compared(
    done: Sweep, folder: str, executor: Executor, num_best: int, num_users: int, quiet: bool = False
) -> list[BestTrial]:
    """Return the rewards of the best complete trials on the same fresh users, the best mean first."""
    complete = [trial for trial in done.trials if trial.state == COMPLETE]
    finalists = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:num_best]
    if not finalists:
        return []
    if not quiet:
        output.say(f"evaluating the best {len(finalists)} trials on {num_users} fresh users")
    rewards: Sequence[np.ndarray] = executor.run(
        [
            Task(
                f"evaluation of trial {trial.number}",
                evaluate_trial,
                (os.path.join(os.path.abspath(folder), trial_name(trial.number)), num_users),
            )
            for trial in finalists
        ],
        quiet,
    )
    order = sorted(range(len(finalists)), key=lambda place: -float(rewards[place].mean()))
    best = []
    for place in order:
        estimate = statistics.mean_interval(rewards[place])
        difference = statistics.paired_difference(rewards[place], rewards[order[0]])
        best.append(
            BestTrial(
                trial=finalists[place].number,
                mean=estimate.mean,
                interval95=estimate.bounds,
                minus_first=MeanInterval.from_estimate(difference),
            )
        )
    return best


def trial_name(number: int) -> str:
    """Return the name of a trial's folder."""
    return f"trial_{number:04}"


def _is_finished(config: settings_lib.Config, done: Sweep) -> bool:
    num_complete = sum(trial.state == COMPLETE for trial in done.trials)
    return (
        len(done.trials) == config.num_trials
        and done.best is not None
        and len(done.best) == min(config.num_best, num_complete)
        and done.num_fresh_users == config.num_fresh_users
    )
