"""One trial of a sweep, and the evaluation of its policy: the work of a process."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.common.formatting import as_number
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import actors, single_seed, transfer
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import run as run_lib
from recsys_po_rl.experiment.sweep import space as space_lib
from recsys_po_rl.experiment.sweep import study
from recsys_po_rl.run_folder import csv_tables, layout, readers
from recsys_po_rl.run_folder.sweep_file import COMPLETE, FAILED, PRUNED, Settings, Trial
from recsys_po_rl.training.alarms import StoppedByAlarmError
from recsys_po_rl.training.callbacks import Callback, TrainingStoppedError, ValidationResult

FRESH_USERS = "sweep"  # stream of the users on whom the best trials are compared
# Trials are compared with one another: other policies would only take time.
_ALSO_BOUND = (f"{gin_config.MODULE}.experiment.policies = []",)


class Job(NamedTuple):
    """Trial to run."""

    number: int
    bindings: Mapping[str, Any]  # sampled values
    settings: Settings
    earlier: Sequence[Trial]  # all trials of earlier batches
    folder: str  # of the trial


class Pruning(Callback):
    """Callback that stops the training of a trial once its validations are worse than those of earlier trials."""

    def __init__(self, job: Job, last_step: int) -> None:
        """Read the validations of the steps that were completed before.

        Args:
          job: the trial.
          last_step: the last step of the training.
        """
        self._job = job
        self._last_step = last_step
        self._validations = validations_in(job.folder)

    @property
    def pruned_step(self) -> Optional[int]:
        """Step at which the trial is pruned; None: the trial goes on."""
        return study.pruned_step(self._job.settings, self._job.earlier, self._validations, self._last_step)

    def on_validation(self, result: ValidationResult) -> None:
        """Store the mean reward."""
        self._validations[result.step] = float(result.outcome.total.mean())

    def on_step_end(self, step: int) -> None:
        """Stop the training if the trial is pruned.

        Raises:
          TrainingStoppedError: if the trial is pruned at this step.
        """
        if step in self._validations and self.pruned_step == step:
            raise TrainingStoppedError(f"trial {self._job.number} is pruned at step {step}")


def run_trial(job: Job) -> Trial:
    """Run a trial in its folder, or go on with it from its last checkpoint.

    Args:
      job: the trial; gin holds the configuration without the trial's bindings.

    Raises:
      InvalidInputError: one line, if the folder holds another run or cannot be written.
    """
    base = gin_config.config_text()
    with gin_state.isolated():
        gin_config.parse_text(base)
        gin_config.parse([], [*space_lib.lines(job.settings.space, job.bindings), *_ALSO_BOUND])
        if not os.path.lexists(os.path.join(job.folder, layout.CONFIG)):
            try:
                config = config_lib.validated(**config_lib.bound(run_lib.experiment))
                single_seed.prepare(config, config.seeds[0], config.world_seed(config.seeds[0]))
            except validation.InvalidInputError as error:  # values that do not go together; nothing is written yet
                return _trial(job, FAILED, gin_config.first_line(error))
        last_step = int(config_lib.bound(run_lib.experiment)["num_training_steps"])
        pruning = Pruning(job, last_step)
        try:
            if pruning.pruned_step is None:
                run_lib.experiment(output_dir=job.folder, quiet=True, resume=True, callbacks=[pruning])
        except TrainingStoppedError:
            pass
        except (StoppedByAlarmError, FloatingPointError) as error:
            return _trial(job, FAILED, gin_config.first_line(error))
        return _trial(job, COMPLETE if pruning.pruned_step is None else PRUNED)


def evaluate_trial(folder: str, num_users: int) -> np.ndarray:
    """Return the rewards of fresh users, on whom no trial was trained, selected or evaluated, under a trial's policy.

    Args:
      folder: folder of a complete trial.
      num_users: N, fresh users, the same for all trials.

    Returns:
      float64 [N], cumulative rewards.
    """
    with gin_state.isolated(), transfer.opened_run(folder, (), (), quiet=True) as loaded:
        (job,) = loaded.restored()
        config = loaded.config
        network = config.network_ctor(num_users=config.evaluation_batch_size, corpus_seed=job.world_seed)
        context = single_seed.policy_context(config, job.seed, job.world_seed, network.config)
        actor = actors.build(single_seed.LEARNED, context, config, job.trained)
        return evaluator.evaluate(
            actor.rollouts,
            config.horizon,
            num_users,
            config.evaluation_batch_size,
            job.seed,
            path=(FRESH_USERS,),
            behaviour=False,
        ).total


def validations_in(folder: str) -> dict[int, float]:
    """Return the mean rewards of the validations so far, by training step."""
    validations = {}
    for row in csv_tables.whole_rows(os.path.join(folder, layout.VALIDATION)):
        step, mean_reward = readers.step_in(row), as_number(row.get("mean_reward"))
        if step is None or mean_reward is None:
            break
        validations[step] = mean_reward
    return validations


def _trial(job: Job, state: str, reason: Optional[str] = None) -> Trial:
    validations = validations_in(job.folder)
    if state == COMPLETE and not validations:
        raise validation.InvalidInputError(f"{job.folder!r} holds a finished run without {layout.VALIDATION}")
    return Trial(
        number=job.number,
        state=state,
        bindings=dict(job.bindings),
        steps=sorted(validations),
        mean_rewards=[validations[step] for step in sorted(validations)],
        reason=reason,
    )
