"""The training loop."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.training.learner import StepResult


class TrainingRow(NamedTuple):
    """One row of metrics.csv. Columns in _seconds and _per_second differ between equal runs, the others do not."""

    step: int  # from 1
    mean_reward: float  # mean cumulative reward per user, all responses counted, before this step's update
    gradient_norm: float  # before clipping; mean over the step's updates, as all that follow to clip_share
    entropy: float  # nats, of the first pick
    explained_variance: float  # of the returns by the critic's values; nan without a critic
    approximate_kl: float  # nats, from the policy that drew the slates to that before each update
    clip_share: float  # of probability ratios outside PPO's clip range, before each update
    critic_gradient_norm: float  # before clipping; nan without a critic
    user_steps: int  # users * responses so far
    step_seconds: float
    user_steps_per_second: float


def row_from_text(cells: Mapping[str, str]) -> TrainingRow:
    """Returns a row as metrics.csv has it; exactly the one that was written.

    Args:
      cells: by column.

    Raises:
      InvalidInputError: one line, if a column is missing, or a cell is no number.
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


def keys_of_step(seed: int, step: int, num_shards: int, path: str = "training") -> list[seeding.Keys]:
    """Seeds of the users and of the policy's draws in each shard of a training step."""
    return [seeding.make_keys(seed, path, step, batch=shard) for shard in range(num_shards)]


def train(
    learner: Any,
    seed: int,
    num_steps: int,
    users_per_step: int,
    horizon: int,
    on_row: Callable[[TrainingRow], None],
    num_shards: int = 1,
    after_step: Callable[[int], None] = lambda step: None,
    path: str = "training",
    done: int = 0,
) -> list[TrainingRow]:
    """Runs training steps, each with fresh users, until `num_steps` are done.

    Args:
      learner: its `step(keys of each shard, share of the training that is done)` returns a `StepResult`.
      seed: seed of the run; step k uses the users of path (`path`, k).
      num_steps: steps of the whole training.
      users_per_step: U.
      horizon: T.
      on_row: called with each row as soon as it is there.
      num_shards: batches of users in each step.
      after_step: called with the number of the step that is done.
      path: name of the users that are trained on.
      done: steps that were done before; a step depends on them through the learner alone.

    Returns:
      The rows of the steps that are run.

    Raises:
      FloatingPointError: if a rollout has a NaN, see the learner. A gradient that is not finite stops nothing: the
        learner leaves its update out, and its norm in the row tells (see `training.alarms`).
    """
    rows = []
    for step in range(done + 1, num_steps + 1):
        started = time.perf_counter()
        keys = keys_of_step(seed, step, num_shards, path)
        result: StepResult = learner.step(keys, (step - 1) / num_steps)
        scalars = {name: float(scalar) for name, scalar in result._asdict().items()}
        seconds = time.perf_counter() - started
        rows.append(
            TrainingRow(
                step=step,
                **scalars,
                user_steps=step * users_per_step * horizon,
                step_seconds=seconds,
                user_steps_per_second=users_per_step * horizon / seconds,
            )
        )
        on_row(rows[-1])
        after_step(step)
    return rows
