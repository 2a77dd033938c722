"""Space of a sweep: distributions of the values of gin bindings.

The values of a trial become lines of gin text on top of the experiment's configuration.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Protocol

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.run_folder.sweep_file import CHOICE, FLOAT, INTEGER, DistributionRecord

MAX_CHOICES = 1000
_NAME = re.compile(r"(?:[\w.]+/)*\w+(?:\.\w+)*")
# Bindings that no trial can change: the sweep sets them, or trials would be compared on other users.
FIXED = frozenset(
    f"experiment.{name}"
    for name in (
        "seeds", "corpus_seed", "horizon", "num_validation_users", "validate_every_steps", "evaluation_batch_size",
        "policies", "output_dir", "quiet", "resume", "num_processes",
    )
)  # fmt: skip


class Distribution(Protocol):
    """Distribution of the values of a binding."""

    def record(self) -> DistributionRecord:
        """Return the distribution as sweep.json holds it."""


@gin_config.configurable
class FloatRange:
    """Uniform distribution of a real number.

    Example:
      ```python
      FloatRange(1e-4, 1e-1, log=True).record().kind  # 'float'
      ```
    """

    def __init__(self, low: Optional[float] = None, high: Optional[float] = None, log: bool = False) -> None:
        """Validate the arguments.

        Args:
          low: the smallest value, above 0 if `log`.
          high: the largest value, above `low`.
          log: whether the logarithm is uniform.

        Raises:
          InvalidInputError: one line, if an argument is invalid.
        """
        self.log = validation.boolean("FloatRange.log", log)
        self.low = validation.number("FloatRange.low", low, 0.0 if log else -float("inf"), exclusive_minimum=self.log)
        self.high = validation.number("FloatRange.high", high, self.low, exclusive_minimum=True)

    def record(self) -> DistributionRecord:
        """Return the distribution as sweep.json holds it."""
        return DistributionRecord(kind=FLOAT, low=self.low, high=self.high, log=self.log)


@gin_config.configurable
class IntegerRange:
    """Uniform distribution of an integer.

    Example:
      ```python
      IntegerRange(1, 4).record().high  # 4
      ```
    """

    def __init__(self, low: Optional[int] = None, high: Optional[int] = None, log: bool = False) -> None:
        """Validate the arguments.

        Args:
          low: the smallest value, at least 0, or 1 if `log`.
          high: the largest value, above `low`.
          log: whether the logarithm is uniform.

        Raises:
          InvalidInputError: one line, if an argument is invalid.
        """
        self.log = validation.boolean("IntegerRange.log", log)
        self.low = validation.integer("IntegerRange.low", low, 1 if self.log else 0)
        self.high = validation.integer("IntegerRange.high", high, self.low + 1)

    def record(self) -> DistributionRecord:
        """Return the distribution as sweep.json holds it."""
        return DistributionRecord(kind=INTEGER, low=self.low, high=self.high, log=self.log)


@gin_config.configurable
class Choice:
    """Uniform distribution over a list of values.

    Example:
      ```python
      Choice([0.9, None, "@recsys_po_rl.GRUModel"]).record().choices  # ['0.9', 'None', '@recsys_po_rl.GRUModel']
      ```
    """

    def __init__(self, choices: Sequence[Any] = ()) -> None:
        """Validate the argument.

        Args:
          choices: at least two different values that gin can write: numbers, texts, None, lists of them. A text that
            begins with @ or % is a reference or a macro, as in gin.

        Raises:
          InvalidInputError: one line, if the argument is invalid.
        """
        if isinstance(choices, (str, bytes)) or not isinstance(choices, Sequence):
            raise validation.InvalidTypeError(f"Choice.choices must be a list, got {validation.shown(choices)}")
        for choice in choices:
            _raise_if_no_literal(choice)
        self.texts = [gin_text_of(gin_state.plain(choice)) for choice in choices]
        if not 2 <= len(set(self.texts)) == len(self.texts) <= MAX_CHOICES:
            raise validation.InvalidInputError(
                f"Choice.choices must be 2 to {MAX_CHOICES} different values, got {validation.shown(choices)}"
            )

    def record(self) -> DistributionRecord:
        """Return the distribution as sweep.json holds it."""
        return DistributionRecord(kind=CHOICE, choices=self.texts)


def validated(space: Any) -> dict[str, DistributionRecord]:
    """Validate a space, without its names.

    Args:
      space: distributions by binding.

    Returns:
      Records by binding, in the order of the names.

    Raises:
      InvalidInputError: one line that names an invalid entry.
    """
    if not isinstance(space, Mapping) or not space:
        raise validation.InvalidTypeError(
            "sweep.space must be a dict of at least one binding, such as "
            "{'recsys_po_rl.PolicyGradientLearner.entropy_bonus': @recsys_po_rl.FloatRange()}, "
            f"got {validation.shown(space)}"
        )
    checked = {}
    for name, distribution in space.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise validation.InvalidTypeError(
                f"sweep.space: each key must be the name of a binding, got {validation.shown(name)}"
            )
        own = name.removeprefix(f"{gin_config.MODULE}.")
        if own in FIXED or own.startswith("sweep."):
            raise validation.InvalidInputError(f"sweep.space: {own} must be the same in all trials: remove it")
        if not isinstance(distribution, (FloatRange, IntegerRange, Choice)):
            raise validation.InvalidTypeError(
                f"sweep.space: {name} must have a distribution: @recsys_po_rl.FloatRange(), "
                f"@recsys_po_rl.IntegerRange() or @recsys_po_rl.Choice(), got {validation.shown(distribution)}"
            )
        checked[name] = distribution.record()
    return dict(sorted(checked.items()))


def ends(distribution: DistributionRecord) -> list[Any]:
    """Return the extreme values of a distribution, or all choices."""
    if distribution.kind == CHOICE:
        return list(distribution.choices or ())
    kind = int if distribution.kind == INTEGER else float
    return [kind(distribution.low or 0), kind(distribution.high or 0)]


def lines(space: Mapping[str, DistributionRecord], values: Mapping[str, Any]) -> list[str]:
    """Return the lines of gin text of a trial.

    Args:
      space: the space.
      values: values by binding; those of choices are gin texts.
    """
    return [
        f"{name} = {values[name] if distribution.kind == CHOICE else repr(values[name])}"
        for name, distribution in space.items()
        if name in values
    ]


def gin_text_of(value: Any) -> str:
    """Return the gin text of a value; a text that begins with @ or % is a reference or a macro."""
    return value if isinstance(value, str) and re.fullmatch(r"[@%][\w./]+(\(\))?", value) else repr(value)


def _raise_if_no_literal(value: Any) -> None:
    if isinstance(value, (list, tuple)):
        for item in value:
            _raise_if_no_literal(item)
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise validation.InvalidTypeError(
            "Choice.choices: each must be a number, a text, None or a list of them (a class as the text "
            f"'@recsys_po_rl.Name'), got {validation.shown(value)}"
        )
