"""Rows of metrics.csv: the scalars of a training step."""

from collections.abc import Mapping
from typing import NamedTuple

from recsys_po_rl.common import validation


class TrainingRow(NamedTuple):
    """Row of metrics.csv; only columns named *_seconds and *_per_second differ between equal runs."""

    step: int  # from 1
    mean_reward: float  # mean cumulative reward per user, all responses counted, before this step's update
    gradient_norm: float  # before clipping; mean over the step's updates, as the columns up to clip_share
    entropy: float  # nats, of the first pick
    explained_variance: float  # of the returns by the critic's values; nan without a critic
    approximate_kl: float  # nats, from the policy that drew the slates to the policy before each update
    clip_share: float  # share of probability ratios outside PPO's clip range, before each update
    critic_gradient_norm: float  # before clipping; nan without a critic
    user_steps: int  # users * responses so far
    step_seconds: float
    user_steps_per_second: float


def row_from_text(cells: Mapping[str, str]) -> TrainingRow:
    """Return the row that was written to metrics.csv as `cells`.

    Args:
      cells: text of each cell, by column.

    Raises:
      InvalidInputError: one line, if a column is missing or a cell is not a number.
    """
    types = TrainingRow.__annotations__
    values = {}
    for name in TrainingRow._fields:
        try:
            values[name] = types[name](cells[name])
        except (KeyError, ValueError) as error:
            raise validation.InvalidInputError(
                f"metrics.csv: a row cannot be read, its {name} is {validation.shown(cells.get(name, ''), 60)}"
            ) from error
    return TrainingRow(**values)
