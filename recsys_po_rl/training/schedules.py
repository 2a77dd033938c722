"""Schedules of coefficients: factors as functions of the share of training steps that is done."""

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation


class Constant:
    """Constant factor 1."""

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, the share of training that is done, in [0, 1]."""
        del progress
        return 1.0


@gin_config.configurable
class Linear:
    """Linear interpolation from 1 at the start to `end` at `until`, constant afterwards."""

    def __init__(self, end: float = 0.0, until: float = 1.0) -> None:
        """Validate the end point.

        Args:
          end: the last factor, at least 0.
          until: share of training after which `end` is reached, above 0, at most 1.

        Raises:
          InvalidInputError: if a number is out of bounds.
        """
        self._end = validation.number("Linear: end", end, 0.0)
        self._until = validation.number("Linear: until", until, 0.0, 1.0, exclusive_minimum=True)

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, the share of training that is done, in [0, 1]."""
        return 1.0 + (self._end - 1.0) * min(progress / self._until, 1.0)
