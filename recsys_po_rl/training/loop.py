"""The training loop."""

import time
from typing import Optional

from recsys_po_rl.common.protocols import Learner
from recsys_po_rl.simulation import seeding
from recsys_po_rl.training.callbacks import Callback, Validator
from recsys_po_rl.training.rows import TrainingRow


def keys_of_step(seed: int, step: int, num_shards: int, path: str = "training") -> list[seeding.Keys]:
    """Return the keys of the users and of the policy's draws in each shard of a training step."""
    return [seeding.make_keys(seed, path, step, batch=shard) for shard in range(num_shards)]


def train(
    learner: Learner,
    *,
    seed: int,
    num_steps: int,
    users_per_step: int,
    horizon: int,
    callback: Callback,
    validator: Optional[Validator] = None,
    num_shards: int = 1,
    path: str = "training",
    steps_done: int = 0,
) -> list[TrainingRow]:
    """Run training steps, each with fresh users, until `num_steps` are done.

    Args:
      learner: updates the policy.
      seed: seed of the run; step k uses the users of path (`path`, k).
      num_steps: steps of the whole training.
      users_per_step: U.
      horizon: T.
      callback: called at each step, see `Callback`.
      validator: evaluates the policy at the steps for which `is_due` is true; None: no validation.
      num_shards: batches of users in each step.
      path: name of the stream of training users.
      steps_done: steps completed before; later steps depend on them through the learner alone.

    Returns:
      The rows of the steps that are run.

    Raises:
      FloatingPointError: if a rollout has a NaN, see the learner. A gradient that is not finite stops nothing: the
        learner omits its update, and the row records its norm (see `training.alarms`).
    """
    rows = []
    for step in range(steps_done + 1, num_steps + 1):
        started = time.perf_counter()
        keys = keys_of_step(seed, step, num_shards, path)
        result = learner.step(keys, (step - 1) / num_steps)
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
        callback.on_update(rows[-1])
        if validator is not None and validator.is_due(step):
            callback.on_validation(validator.validate(step))
        callback.on_step_end(step)
    return rows
