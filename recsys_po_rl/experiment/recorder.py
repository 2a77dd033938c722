"""Recorder of a training: its tables and checkpoints in the run folder."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from recsys_po_rl.common import output
from recsys_po_rl.experiment import resume, selection, signals
from recsys_po_rl.run_folder import checkpoints, csv_tables, layout
from recsys_po_rl.training import diagnostics, loop
from recsys_po_rl.training.callbacks import Callback, ValidationResult
from recsys_po_rl.training.rows import TrainingRow, row_from_text


class Start(NamedTuple):
    """Position from which a training starts."""

    step: int = 0  # steps that are done
    history: Sequence[TrainingRow] = ()  # rows of these steps
    restored: bool = False  # whether weights come from a checkpoint


def tables(config: Any) -> dict[str, Callable[[int], bool]]:
    """Return the tables that a run writes, each with a predicate of the steps that have rows."""
    tables: dict[str, Callable[[int], bool]] = {layout.METRICS: lambda step: True}
    if config.validate_every_steps:
        tables[layout.VALIDATION] = lambda step: selection.is_validated(config, step)
    if config.gradient_variance_every_steps:
        tables[layout.GRADIENT_VARIANCE] = lambda step: step % config.gradient_variance_every_steps == 0
    return tables


class Recorder(Callback):
    """Callback that writes the tables and checkpoints of one training.

    A run can be resumed from a step once the rows, the validation and then the checkpoint of the step are on disk.
    """

    def __init__(
        self,
        config: Any,
        seed: int,
        recommender: Any,
        learner: Any,
        selector: selection.BestPolicySelector,
        folder: str,
    ) -> None:
        """Locate the checkpoint to resume from, if any, and restore recommender, learner and best policy.

        Args:
          config: the `ExperimentConfig`.
          seed: seed of the run.
          recommender: the recommender that is trained.
          learner: its learner.
          selector: owner of the best policy.
          folder: the run folder, with its environment.json.

        Raises:
          InvalidInputError: if the folder's checkpoints belong to another run; nothing is changed then.
        """
        self._config = config
        self._seed = seed
        self._learner = learner
        self._place = layout.Place(folder)
        environment = layout.read_environment(folder)
        run = (environment and environment.run) or ""
        self._saved = checkpoints.Checkpoints(folder, recommender, learner, run)
        self._selector = selector
        self._last_step = 0
        self.start = Start()
        position = resume.Position([], [])
        if config.resume:
            position = resume.position_of(folder, tables(config))
            if not config.quiet:
                output.say("\n".join(position.notes))
            if position.keep:
                self.start = self._restored(position.keep[0], folder)
        self._saved.begin(position.keep, None if selector.best is None else selector.best.step)
        after_step = self.start.step if config.resume else None
        self._tables = {name: csv_tables.CsvLogger(os.path.join(folder, name), after_step) for name in tables(config)}

    def _restored(self, checkpoint: checkpoints.Found, folder: str) -> Start:
        weights = self._saved.restore(checkpoint)
        rows = csv_tables.whole_rows(os.path.join(folder, layout.METRICS))[: checkpoint.step]
        self._selector.restore(checkpoint.state, weights)
        return Start(checkpoint.step, [row_from_text(row) for row in rows], restored=True)

    def on_update(self, row: TrainingRow) -> None:
        """Write a row of metrics.csv."""
        self._tables[layout.METRICS].write({"seed": self._seed, **row._asdict()})

    def on_validation(self, result: ValidationResult) -> None:
        """Write a row of validation.csv; save the policy if it is the best so far."""
        mean_reward = float(result.outcome.total.mean())
        self._tables[layout.VALIDATION].write({"seed": self._seed, "step": result.step, "mean_reward": mean_reward})
        if result.improved:
            self._saved.save_best(result.step)

    def on_step_end(self, step: int) -> None:
        """Save a checkpoint if one is due.

        Raises:
          signals.Stopped: if a signal was received; the step is saved.
          layout.FolderMovedError: if the run folder was renamed, removed or replaced; the step is saved if the
            folder still exists.
        """
        self._last_step = step
        variances = self._tables.get(layout.GRADIENT_VARIANCE)
        if variances is not None and step % self._config.gradient_variance_every_steps == 0:
            keys = loop.keys_of_step(self._seed, step, self._config.num_shards, "gradient variance")
            for name, variance in diagnostics.gradient_variances(self._learner, keys).items():
                variances.write({"seed": self._seed, "step": step, "baseline": name, "variance": variance})
        minutes = self._config.checkpoint_every_minutes
        due = step % self._config.checkpoint_every_steps == 0 or step == self._config.num_training_steps
        if self._place.moved:
            self._leave(step)
        if due or signals.asked() or (minutes is not None and self._saved.minutes_since_save >= minutes):
            self.save(step)
        if signals.asked():
            signals.stop()

    def _leave(self, step: int) -> None:
        """Save to the folder under its new path, and raise `layout.FolderMovedError`."""
        try:
            self.save(step)
        except FileNotFoundError:
            self._place.raise_if_moved(f"training stops after step {step}, and nothing is left of it")
        self._place.raise_if_moved(
            f"training stops after step {step}, which is saved; --resume --output_dir with the new path goes on"
        )

    def save(self, step: int) -> None:
        """Save a checkpoint after a step."""
        for table in self._tables.values():
            table.sync()  # a run can resume from a checkpoint only if the rows before it are on disk
        self._saved.save(step, self._selector.state())

    def save_last_step(self) -> None:
        """Save a checkpoint of the last completed step."""
        self.save(self._last_step)

    def close(self) -> None:
        """Close tables and checkpoints."""
        self._saved.close()
        for table in self._tables.values():
            table.close()
