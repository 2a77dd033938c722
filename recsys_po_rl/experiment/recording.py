"""What a training leaves in its run folder while it goes: tables, and checkpoints that it can go on from."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import output
from recsys_po_rl.experiment import resume, signals
from recsys_po_rl.run_folder import checkpoints, csv_tables, layout
from recsys_po_rl.training import diagnostics, loop


class Best(NamedTuple):
    """The policy that validation users like best so far."""

    mean_reward: float
    step: int
    weights: list[np.ndarray]  # of all of the recommender's variables, in their order


class Start(NamedTuple):
    """Where a training begins."""

    step: int = 0  # steps that are done
    history: Sequence[loop.TrainingRow] = ()  # of those steps
    best: Optional[Best] = None


def tables(plan: Any) -> dict[str, Callable[[int], bool]]:
    """The tables that a run of a `single_seed.Plan` writes, and whether each has rows for a step."""
    found: dict[str, Callable[[int], bool]] = {layout.METRICS: lambda step: True}
    if plan.validate_every_steps:
        found[layout.VALIDATION] = lambda step: is_validated(plan, step)
    if plan.gradient_variance_every_steps:
        found[layout.GRADIENT_VARIANCE] = lambda step: step % plan.gradient_variance_every_steps == 0
    return found


def is_validated(plan: Any, step: int) -> bool:
    """Whether the policy after a step is tried on validation users."""
    every = plan.validate_every_steps
    return bool(every) and (step % every == 0 or step == plan.num_training_steps)


class Recorder:
    """Writes one training's files; its methods are the callbacks of `single_seed.train`.

    A step counts as done, and can be resumed from, when its rows and its validation are on disk and its checkpoint
    after them.
    """

    def __init__(self, plan: Any, seed: int, recommender: Any, learner: Any, folder: str) -> None:
        """Finds out where to begin, and sets recommender and learner to it.

        Args:
          plan: the `single_seed.Plan`.
          seed: of the run.
          recommender: that learns.
          learner: that teaches it.
          folder: the run folder, with its environment.json.

        Raises:
          checks.InvalidInputError: if the folder's checkpoints are of another run; nothing is changed then.
        """
        self._plan = plan
        self._seed = seed
        self._learner = learner
        self._place = layout.Place(folder)
        environment = layout.read_json(folder, layout.ENVIRONMENT) or {}
        self._saved = checkpoints.Checkpoints(folder, recommender, learner, str(environment.get("run", "")))
        self._best: Optional[tuple[float, int]] = None
        self.start = Start()
        position = resume.Position([], [])
        if plan.resume:
            position = resume.position_of(folder, tables(plan))
            if not plan.quiet:
                output.say("\n".join(position.notes))
            if position.keep:
                self.start = self._restored(position.keep[0], folder)
        self._saved.begin(position.keep, None if self._best is None else self._best[1])
        after_step = self.start.step if plan.resume else None
        self._tables = {name: csv_tables.CsvLogger(os.path.join(folder, name), after_step) for name in tables(plan)}

    def _restored(self, found: checkpoints.Found, folder: str) -> Start:
        weights = self._saved.restore(found)
        rows = csv_tables.whole_rows(os.path.join(folder, layout.METRICS))[: found.step]
        best = None
        if found.state.get("best_step") is not None:
            self._best = found.state["best_mean_reward"], found.state["best_step"]
            best = Best(*self._best, weights)
        return Start(found.step, [loop.row_from_text(row) for row in rows], best)

    def on_row(self, row: loop.TrainingRow) -> None:
        """Writes a row of metrics.csv."""
        self._tables[layout.METRICS].write({"seed": self._seed, **row._asdict()})

    def on_validation(self, step: int, mean_reward: float, best: bool) -> None:
        """Writes a row of validation.csv; keeps the policy if it is the best so far."""
        self._tables[layout.VALIDATION].write({"seed": self._seed, "step": step, "mean_reward": mean_reward})
        if best:
            self._best = mean_reward, step
            self._saved.save_best(step)

    @property
    def folder_moved(self) -> bool:
        """True if the run folder was renamed, removed or replaced since."""
        return self._place.moved

    def after_step(self, step: int) -> None:
        """To be called when a step and its validation are done.

        Raises:
          signals.Stopped: if a signal has come; the step is saved.
          layout.FolderMovedError: if the run folder was renamed, removed or replaced; the step is saved if it exists.
        """
        variances = self._tables.get(layout.GRADIENT_VARIANCE)
        if variances is not None and step % self._plan.gradient_variance_every_steps == 0:
            keys = loop.keys_of_step(self._seed, step, self._plan.num_shards, "gradient variance")
            for name, variance in diagnostics.gradient_variances(self._learner, keys).items():
                variances.write({"seed": self._seed, "step": step, "baseline": name, "variance": variance})
        minutes = self._plan.checkpoint_every_minutes
        due = step % self._plan.checkpoint_every_steps == 0 or step == self._plan.num_training_steps
        if self._place.moved:
            self._leave(step)
        if due or signals.asked() or (minutes is not None and self._saved.minutes_since_save >= minutes):
            self.save(step)
        if signals.asked():
            signals.stop()

    def _leave(self, step: int) -> None:
        """Saves to the folder, wherever that is now, and stops."""
        try:
            self.save(step)
        except FileNotFoundError:
            self._place.raise_if_moved(f"training stops after step {step}, and nothing is left of it")
        self._place.raise_if_moved(
            f"training stops after step {step}, which is saved; --resume --output_dir with the new path goes on"
        )

    def save(self, step: int) -> None:
        """Saves everything after a step that is done."""
        for table in self._tables.values():
            table.sync()  # a checkpoint is of no use without the rows before it
        state: Mapping[str, Any] = {}
        if self._best is not None:
            state = {"best_mean_reward": self._best[0], "best_step": self._best[1]}
        self._saved.save(step, state)

    def close(self) -> None:
        """Leaves whole tables."""
        self._saved.close()
        for table in self._tables.values():
            table.close()
