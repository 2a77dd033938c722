"""Suggestions, pruning, importances and storage by Optuna (Akiba et al. 2019), as functions of the trials so far.

Suggestions of a batch depend on the settings and on the trials of earlier batches, the pruning of a trial on its own
validations and on those trials: on nothing that depends on time, on the number of workers or on restarts.

Optuna's storage is a copy for its tools: it is written and never read.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder.sweep_file import CHOICE, COMPLETE, INTEGER, PRUNED, DistributionRecord, Settings, Trial

SAMPLERS = ("tpe", "random", "brute_force")
PRUNERS = ("none", "median", "percentile")
STORAGES: Mapping[str, str] = {"journal": "study.journal", "sqlite": "study.db", "none": ""}  # files in the folder
STUDY_NAME = "sweep"


def optuna() -> Any:
    """Import Optuna.

    Raises:
      InvalidInputError: one line, if Optuna is not installed.
    """
    try:
        import optuna as module
    except ImportError as error:
        raise validation.InvalidInputError(
            'a sweep needs Optuna, which is not installed: pip install "recsys_po_rl[cluster]"'
        ) from error
    return module


def suggestions(settings: Settings, trials: Sequence[Trial], batch: int) -> list[dict[str, Any]]:
    """Return the values of the trials of a batch.

    Args:
      settings: settings of the sweep.
      trials: all trials of earlier batches, in their order.
      batch: number of the batch, from 0.

    Returns:
      For each trial values by binding; those of choices are gin texts.
    """
    with _silent():
        study = _study(_sampler(settings, batch))
        _add(study, settings.space, trials)
        space = _distributions(settings.space)
        return [dict(study.ask(space).params) for _ in range(settings.num_trials_at_once)]


def pruned_step(
    settings: Settings, earlier: Sequence[Trial], validations: Mapping[int, float], last_step: int
) -> Optional[int]:
    """Return the training step at which a trial is pruned.

    Args:
      settings: settings of the sweep.
      earlier: all trials of batches before that of the trial.
      validations: mean validation rewards of the trial by training step.
      last_step: the last step of the training, at which no trial is pruned.

    Returns:
      The first step at which the pruner stops the trial; None: the trial goes on.
    """
    if settings.pruner == "none":
        return None
    with _silent():
        pruner = optuna().pruners.PercentilePruner(
            50.0 if settings.pruner == "median" else settings.percentile,
            n_startup_trials=settings.num_startup_trials,
            n_warmup_steps=settings.num_warmup_steps,
        )
        study = _study(optuna().samplers.RandomSampler(0), pruner)
        _add(study, settings.space, earlier)
        trial = study.ask()
        for step, mean_reward in sorted(validations.items()):
            trial.report(mean_reward, step)
            if step < last_step and trial.should_prune():
                return step
    return None


def importances(settings: Settings, trials: Sequence[Trial]) -> Optional[dict[str, float]]:
    """Return the importance of each binding for the value, by PED-ANOVA (Watanabe et al. 2023); shares of 1.

    Args:
      settings: settings of the sweep.
      trials: all trials.

    Returns:
      Importances by binding, the largest first; None with fewer than four complete trials, or equal values.
    """
    if len({trial.value for trial in trials if trial.state == COMPLETE}) < 4:
        return None
    with _silent():
        study = _study(optuna().samplers.RandomSampler(0))
        _add(study, settings.space, trials)
        evaluator = optuna().importance.PedAnovaImportanceEvaluator()
        shares = optuna().importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()} if np.isfinite(list(shares.values())).all() else None


class Storage:
    """Copy of the trials in a storage of Optuna, for its command line and its dashboard."""

    def __init__(self, folder: str, kind: str, settings: Settings) -> None:
        """Remove a storage of before, and create an empty one.

        Args:
          folder: folder of the sweep.
          kind: a key of `STORAGES`.
          settings: settings of the sweep.
        """
        self._space = settings.space
        self._study: Any = None
        if kind == "none":
            return
        path = os.path.join(folder, STORAGES[kind])
        for name in (path, f"{path}.lock", f"{path}-journal"):
            if os.path.isdir(name) and not os.path.islink(name):
                raise validation.InvalidInputError(f"{name!r} is a folder: a file is written there")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        with _silent():
            storages = optuna().storages
            if kind == "journal":
                storage = storages.JournalStorage(storages.journal.JournalFileBackend(path))
            else:
                import sqlalchemy  # Optuna needs it too

                url = sqlalchemy.URL.create("sqlite", database=os.path.abspath(path))
                storage = storages.RDBStorage(url.render_as_string(hide_password=False))
            self._study = optuna().create_study(storage=storage, study_name=STUDY_NAME, direction="maximize")

    def add(self, trials: Sequence[Trial]) -> None:
        """Append trials."""
        if self._study is not None:
            with _silent():
                _add(self._study, self._space, trials)


def _sampler(settings: Settings, batch: int) -> Any:
    # A new generator for each batch: a resumed sweep suggests the same without the generator's state.
    seed = int(np.random.SeedSequence([settings.sampler_seed, batch]).generate_state(1)[0])
    samplers = optuna().samplers
    if settings.sampler == "random":
        return samplers.RandomSampler(seed)
    if settings.sampler == "brute_force":
        return samplers.BruteForceSampler(seed)
    # Trials of a batch that are not told yet count as bad ones, so that suggestions keep apart.
    return samplers.TPESampler(
        n_startup_trials=settings.num_startup_trials, seed=seed, multivariate=True, constant_liar=True
    )


def _study(sampler: Any, pruner: Any = None) -> Any:
    return optuna().create_study(direction="maximize", sampler=sampler, pruner=pruner or optuna().pruners.NopPruner())


def _add(study: Any, space: Mapping[str, DistributionRecord], trials: Sequence[Trial]) -> None:
    states = optuna().trial.TrialState
    distributions = _distributions(space)
    for trial in trials:
        state = {COMPLETE: states.COMPLETE, PRUNED: states.PRUNED}.get(trial.state, states.FAIL)
        study.add_trial(
            optuna().trial.create_trial(
                state=state,
                params=dict(trial.bindings),
                distributions=distributions,
                value=trial.value if trial.state == COMPLETE else None,
                intermediate_values=dict(zip(trial.steps, trial.mean_rewards)),
            )
        )


def _distributions(space: Mapping[str, DistributionRecord]) -> dict[str, Any]:
    module = optuna().distributions
    made: dict[str, Any] = {}
    for name, record in space.items():
        if record.kind == CHOICE:
            made[name] = module.CategoricalDistribution(record.choices)
        elif record.kind == INTEGER:
            made[name] = module.IntDistribution(int(record.low or 0), int(record.high or 0), log=bool(record.log))
        else:
            made[name] = module.FloatDistribution(record.low, record.high, log=bool(record.log))
    return made


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppress Optuna's log lines and its warnings about experimental options within the block."""
    logging = optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
