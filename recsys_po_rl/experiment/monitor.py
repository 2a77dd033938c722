"""Live training monitor: console, TensorBoard, alarms."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from recsys_po_rl.common.protocols import Learner
from recsys_po_rl.evaluation.evaluator import Outcome
from recsys_po_rl.experiment.console import TrainingProgress
from recsys_po_rl.run_folder import csv_tables, layout, tensorboard
from recsys_po_rl.training.alarms import Alarm, Alarms
from recsys_po_rl.training.callbacks import Callback, ValidationResult
from recsys_po_rl.training.rows import TrainingRow

# TensorBoard's name of each number of a row.
SCALARS = {
    "mean_reward": "train/reward",
    "gradient_norm": "train/gradient_norm",
    "entropy": "train/entropy",
    "explained_variance": "train/explained_variance",
    "approximate_kl": "train/approximate_kl",
    "clip_share": "train/clip_share",
    "critic_gradient_norm": "train/critic_gradient_norm",
    "step_seconds": "time/step_seconds",
    "user_steps_per_second": "time/user_steps_per_second",
}


class TrainingMonitor(Callback):
    """Live monitor of a training: shows each row on the console and in TensorBoard, and raises alarms.

    Attributes:
      raised: all alarms so far.
    """

    def __init__(
        self,
        progress: TrainingProgress,
        alarms: Alarms,
        seed: int,
        folder: Optional[str] = None,
        history: Sequence[TrainingRow] = (),
        hyperparameters: Optional[Mapping[str, tensorboard.HyperParameter]] = None,
        learning_rate: Callable[[], Optional[float]] = lambda: None,
        training: str = "",
    ) -> None:
        """Open the files.

        Args:
          progress: console.
          alarms: rules of the alarms.
          seed: seed of the run, for alarms.csv.
          folder: the run folder; None: alarms are shown on the console only, and no events are written.
          history: rows of the steps completed before.
          hyperparameters: hyperparameters for TensorBoard, written at the start of a run.
          learning_rate: returns the learning rate, called at each step; returns None if the optimizer has none.
          training: name of the training, appended to "alarm at step 3".
        """
        self.raised: list[Alarm] = []
        self._progress = progress
        self._alarms = alarms
        self._seed = seed
        self._folder = folder
        self._history = list(history)
        self._learning_rate = learning_rate
        self._training = training
        self._raised: list[Alarm] = []  # alarms of the last step
        self._table: Optional[csv_tables.CsvLogger] = None
        self._events: Optional[tensorboard.EventWriter] = None
        self._place = None if folder is None else layout.Place(folder)
        if folder is not None:
            csv_tables.cut(os.path.join(folder, layout.ALARMS), len(self._history))
            self._events = tensorboard.EventWriter(folder, after_step=len(self._history))
            if hyperparameters and not history:
                self._events.hyperparameters(hyperparameters)

    def on_update(self, row: TrainingRow) -> None:
        """Show a step and the alarms that it raises, unless the run folder has moved."""
        if self._place is not None and self._place.moved:
            return  # alarms.csv, created at the first alarm, would be created at the old path
        self._history.append(row)
        self._progress.update(row)
        self._raised = self._alarms.raised(self._history)
        self.raised += self._raised
        for alarm in self._raised:
            self._progress.say(f"alarm at step {alarm.step}{self._training}: {alarm.alarm}: {alarm.message}")
            if self._folder is not None:
                if self._table is None:
                    self._table = csv_tables.CsvLogger(os.path.join(self._folder, layout.ALARMS), row.step)
                self._table.write({"seed": self._seed, **alarm._asdict()})
        if self._events is not None:
            values = {name: getattr(row, column) for column, name in SCALARS.items()}
            rate = self._learning_rate()
            self._events.scalars(row.step, values if rate is None else {**values, "train/learning_rate": rate})
            for alarm in self._raised:
                self._events.text(row.step, f"alarms/{alarm.alarm}", alarm.message)

    def on_step_end(self, step: int) -> None:
        """Stop the training if the step raised an alarm that demands it.

        Args:
          step: number of the step.

        Raises:
          alarms.StoppedByAlarmError: if the step raised an alarm that stops the training.
        """
        self._alarms.stop([alarm for alarm in self._raised if alarm.step == step])

    def on_validation(self, result: ValidationResult) -> None:
        """Write rewards and behaviour of the validation users to TensorBoard."""
        if self._events is not None:
            self._events.scalars(result.step, validation_scalars(result.outcome))

    def close(self) -> None:
        """Close the files."""
        self._progress.close()
        if self._table is not None:
            self._table.close()
        if self._events is not None:
            self._events.close()


def validation_scalars(outcome: Outcome) -> dict[str, float]:
    """Return TensorBoard's scalars of an evaluation: means over all users and the whole horizon.

    Args:
      outcome: outcome of the evaluation.

    Returns:
      users/reward (per user, cumulative), users/click_rate, users/mean_quality_consumed, users/share_positive_quality,
      users/interest_drift_at_the_end (of the last quarter), policy/catalogue_coverage and policy/slate_diversity
      (means over quarters), as far as the network has the required fields.
    """
    scalars = {"users/reward": float(outcome.total.mean())}
    seen = outcome.behaviour
    if seen is None:
        return scalars
    if seen.clicks is not None:
        clicks = float(seen.clicks.sum())
        scalars["users/click_rate"] = clicks / (len(seen.clicks) * float(seen.steps.sum()))
        over_clicks = {"users/mean_quality_consumed": seen.quality, "users/share_positive_quality": seen.positive}
        scalars.update(
            {name: float(sums.sum()) / clicks for name, sums in over_clicks.items() if sums is not None and clicks}
        )
    if seen.drift is not None:
        last = int(np.flatnonzero(seen.steps)[-1])
        scalars["users/interest_drift_at_the_end"] = float(seen.drift[:, last].mean() / seen.steps[last])
    for name, quarters in (("catalogue_coverage", seen.catalogue_coverage), ("slate_diversity", seen.slate_diversity)):
        present = [value for value in quarters or () if value is not None]
        if present:
            scalars[f"policy/{name}"] = float(np.mean(present))
    return scalars


def learning_rate_of(learner: Learner) -> Optional[float]:
    """Return the current learning rate of a learner's optimizer; None without such an attribute."""
    rate = getattr(getattr(learner, "optimizer", None), "learning_rate", None)
    return None if rate is None else float(rate)


def hyperparameters_of(config: Any, seed: int, bound: Mapping[str, tensorboard.HyperParameter]) -> dict[str, Any]:
    """Return the columns of TensorBoard's table of runs: the configuration's numbers, the seed and gin's bindings.

    Args:
      config: an `ExperimentConfig`.
      seed: seed of the run.
      bound: gin's bindings, see `gin_config.bound_scalars`.
    """
    return {"seed": seed, **config.sizes(), **bound}
