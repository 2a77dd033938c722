"""Callbacks of the training loop."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from recsys_po_rl.evaluation.evaluator import Outcome
from recsys_po_rl.training.rows import TrainingRow


class ValidationResult(NamedTuple):
    """Result of evaluating the policy on the validation users after a training step."""

    step: int
    outcome: Outcome
    improved: bool  # True if the policy is the best so far


class TrainingStoppedError(RuntimeError):
    """Training stopped by a callback after a step, which an experiment saves; the message is one line."""


class Callback:
    """Base class of callbacks of the training loop; its methods do nothing.

    The loop calls, for each training step: `on_update`, then `on_validation` if the step is validated, then
    `on_step_end`. An exception ends the training; with a `TrainingStoppedError` the step is saved.

    Example:
      ```python
      class RewardPrinter(Callback):
          def on_update(self, row):
              print(row.step, row.mean_reward)
      ```
    """

    def on_update(self, row: TrainingRow) -> None:
        """Handle the row of a step whose update is applied."""

    def on_validation(self, result: ValidationResult) -> None:
        """Handle the validation of a step."""

    def on_step_end(self, step: int) -> None:
        """Handle the end of a step, after its validation: the state can be saved."""


class CallbackList(Callback):
    """Callback that calls several callbacks in their order."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        """Store the callbacks."""
        self.callbacks = list(callbacks)

    def on_update(self, row: TrainingRow) -> None:
        """Call `on_update` of each callback."""
        for callback in self.callbacks:
            callback.on_update(row)

    def on_validation(self, result: ValidationResult) -> None:
        """Call `on_validation` of each callback."""
        for callback in self.callbacks:
            callback.on_validation(result)

    def on_step_end(self, step: int) -> None:
        """Call `on_step_end` of each callback."""
        for callback in self.callbacks:
            callback.on_step_end(step)


class Validator(Protocol):
    """Evaluator of the policy during training; the experiment uses `experiment.selection.BestPolicySelector`."""

    def is_due(self, step: int) -> bool:
        """Return whether the policy is evaluated after a step."""

    def validate(self, step: int) -> ValidationResult:
        """Evaluate the policy after a step."""
