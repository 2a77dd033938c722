"""Runs a frozen policy on users that neither training nor anything else has seen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from recsys_po_rl import checks, draws, fields
from recsys_po_rl.evaluation import statistics

BATCHES_AT_ONCE = 2  # side by side, on two cores


class UserRewards(NamedTuple):
    """What each evaluated user brought, in the order of the users; equal seeds mean the same users."""

    total: np.ndarray  # float64 [N], cumulative reward, all T responses
    upstream_total: np.ndarray  # float64 [N], the first T - 1 responses, as recsim_ng's metric counts them


def evaluate(
    runtime: Any,
    horizon: int,
    num_users: int,
    batch_size: int,
    seed: int,
    path: tuple[Any, ...] = ("evaluation",),
    on_progress: Callable[[int], None] = lambda num_done: None,
) -> UserRewards:
    """Rolls the runtime's network out, a few batches at a time, so that memory does not grow with the population.

    User i is the same person with the same luck for every policy, and whatever `num_users` is, as long as the batch
    size and the seed are the same (common random numbers).

    Args:
      runtime: a `SeededRuntime` over a network of `batch_size` users.
      horizon: T, slates shown to each user, at least 1.
      num_users: N, users evaluated, at least 1; of the last batch only as many as are needed count.
      batch_size: users of the network.
      seed: seed of the run.
      path: what the users are for; see `draws.make_keys`.
      on_progress: called with the number of users done, whenever there are more.

    Raises:
      checks.InvalidInputError: if a number is out of bounds.
    """
    checks.integer("horizon", horizon, 1)
    checks.integer("num_users", num_users, 1)
    checks.integer("batch_size", batch_size, 1)
    totals, upstream_totals = [], []
    num_batches = -(-num_users // batch_size)
    for first in range(0, num_batches, BATCHES_AT_ONCE):
        together = range(first, min(first + BATCHES_AT_ONCE, num_batches))
        # The metrics of a step see the response of the step before: the last one is counted after T more steps.
        trajectories = runtime.trajectories(
            horizon + 1,
            [draws.make_keys(seed, *path, batch=batch) for batch in together],
            record={fields.METRICS_STATE: [fields.REWARD]},
        )
        for trajectory in trajectories:
            rewards = trajectory[fields.METRICS_STATE].get(fields.REWARD)[1:].numpy().astype(np.float64)
            totals.append(rewards.sum(axis=0))
            upstream_totals.append(rewards[:-1].sum(axis=0))
        on_progress(min((together[-1] + 1) * batch_size, num_users))
    return UserRewards(np.concatenate(totals)[:num_users], np.concatenate(upstream_totals)[:num_users])


def summary(rewards: UserRewards, learned: UserRewards) -> dict[str, Any]:
    """A policy's entry in evaluation.json: means, intervals over users, paired difference to the learned policy."""
    total = statistics.mean_interval(rewards.total)
    difference = statistics.paired_difference(rewards.total, learned.total)
    return {
        "mean": total.mean,
        "interval95": [total.low, total.high],
        "mean_upstream_count": float(rewards.upstream_total.mean()),
        "num_users": total.num_units,
        "minus_learned": {"mean": difference.mean, "interval95": [difference.low, difference.high]},
    }


def pooled(per_seed: list[dict[str, Any]]) -> dict[str, Any]:
    """A policy's entry over several seeds: the unit is the seed, the interval is over seeds."""
    means = statistics.mean_interval(np.array([entry["mean"] for entry in per_seed]))
    differences = statistics.mean_interval(np.array([entry["minus_learned"]["mean"] for entry in per_seed]))
    return {
        "mean": means.mean,
        "interval95": [means.low, means.high],
        "mean_upstream_count": float(np.mean([entry["mean_upstream_count"] for entry in per_seed])),
        "num_users": int(sum(entry["num_users"] for entry in per_seed)),
        "num_seeds": means.num_units,
        "minus_learned": {"mean": differences.mean, "interval95": [differences.low, differences.high]},
    }
