"""The training loop."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from recsys_po_rl import draws
from recsys_po_rl.training.learner import StepResult


class TrainingRow(NamedTuple):
    """One row of metrics.csv. Columns in _seconds and _per_second differ between equal runs, the others do not."""

    step: int  # from 1
    mean_reward: float  # mean cumulative reward per user, all responses counted, before this step's update
    gradient_norm: float  # before clipping
    entropy: float  # nats, of the first pick
    user_steps: int  # users * responses so far
    step_seconds: float
    user_steps_per_second: float


def train(
    learner: Any,
    seed: int,
    num_steps: int,
    users_per_step: int,
    horizon: int,
    on_row: Callable[[TrainingRow], None],
    num_shards: int = 1,
    after_step: Callable[[int], None] = lambda step: None,
) -> list[TrainingRow]:
    """Runs `num_steps` training steps, each with fresh users.

    Args:
      learner: its `step(keys of each shard)` returns a `StepResult`.
      seed: seed of the run; step k uses the users of path ("training", k).
      num_steps: steps to run.
      users_per_step: U.
      horizon: T.
      on_row: called with each row as soon as it is there.
      num_shards: batches of users in each step.
      after_step: called with the number of the step that is done.

    Returns:
      All rows.

    Raises:
      FloatingPointError: if a loss or gradient is not finite; names the step.
    """
    rows = []
    for step in range(1, num_steps + 1):
        started = time.perf_counter()
        keys = [draws.make_keys(seed, "training", step, batch=shard) for shard in range(num_shards)]
        result: StepResult = learner.step(keys)
        mean_reward, gradient_norm, entropy = (float(scalar) for scalar in result)
        seconds = time.perf_counter() - started
        if not gradient_norm < float("inf"):
            raise FloatingPointError(f"the gradient of training step {step} is not finite (norm {gradient_norm})")
        rows.append(
            TrainingRow(
                step=step,
                mean_reward=mean_reward,
                gradient_norm=gradient_norm,
                entropy=entropy,
                user_steps=step * users_per_step * horizon,
                step_seconds=seconds,
                user_steps_per_second=users_per_step * horizon / seconds,
            )
        )
        on_row(rows[-1])
        after_step(step)
    return rows
