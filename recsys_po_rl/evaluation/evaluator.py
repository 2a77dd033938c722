"""Evaluation of a frozen policy on held-out users."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import behaviour as behaviour_lib
from recsys_po_rl.evaluation import statistics
from recsys_po_rl.evaluation.behaviour import Behaviour
from recsys_po_rl.evaluation.results import AcrossRuns, Coverage, MeanInterval, PolicyResult
from recsys_po_rl.simulation import seeding

BATCHES_AT_ONCE = 2  # run in parallel on two cores


class Outcome(NamedTuple):
    """Rewards and behaviour of evaluated users, in the order of the users; equal seeds give equal users."""

    total: np.ndarray  # float64 [N], cumulative reward, all T responses
    upstream_total: np.ndarray  # float64 [N], first T - 1 responses, as counted by recsim_ng's metric
    behaviour: Optional[Behaviour] = None  # by quarter of the horizon; None if only rewards were recorded


class Rollouts(Protocol):
    """Rollouts of a network and its policy; usually a `SeededRuntime`."""

    @property
    def variables(self) -> Sequence[Any]:
        """Variables of the network."""

    def trajectories(self, length: int, keys: Any, record: Any) -> list[dict[str, Any]]:
        """Return trajectories of several batches of users, see `SeededRuntime.trajectories`."""


class Reducer(Protocol):
    """Reduction of trajectory batches; see `behaviour.Collector`."""

    def add(self, trajectory: Mapping[str, Any], num_users: int) -> None:
        """Add a batch; only its first `num_users` users count."""


def evaluate(
    runtime: Rollouts,
    horizon: int,
    num_users: int,
    batch_size: int,
    seed: int,
    path: tuple[Any, ...] = ("evaluation",),
    on_progress: Callable[[int], None] = lambda num_done: None,
    behaviour: bool = True,
    reducer: Optional[Reducer] = None,
    first_batch: int = 0,
) -> Outcome:
    """Roll out the runtime's network, a few batches at a time, so that memory does not grow with the population.

    User i and the user's random draws are the same for every policy and every `num_users`, as long as batch size and
    seed are the same (common random numbers).

    Args:
      runtime: a `SeededRuntime`, or other rollouts, over a network of `batch_size` users.
      horizon: T, slates shown to each user, at least 1.
      num_users: N, users evaluated, at least 1; surplus users of the last batch are dropped.
      batch_size: users of the network.
      seed: seed of the run.
      path: purpose of the users, such as evaluation; see `seeding.make_keys`.
      on_progress: called with the number of users evaluated so far, after each group of batches.
      behaviour: whether to record behaviour too, as far as the network has the fields; False records only rewards.
        Totals are the same (under XLA up to rounding, because the compiled program differs).
      reducer: also receives the recorded trajectories; has no influence on the recorded fields.
      first_batch: number of batches of users before these, at least 0.

    Returns:
      Rewards and, by quarter of the horizon, behaviour of each user.

    Raises:
      InvalidInputError: if a number is out of bounds, or the batch size differs from the network's.
    """
    validation.integer("horizon", horizon, 1)
    validation.integer("num_users", num_users, 1)
    validation.integer("batch_size", batch_size, 1)
    validation.integer("first_batch", first_batch, 0)
    record = {fields.METRICS_STATE: [fields.REWARD], **(_recordable(runtime) if behaviour else {})}
    collector = behaviour_lib.Collector(horizon)
    totals, upstream_totals = [], []
    num_batches = -(-num_users // batch_size)
    for first in range(0, num_batches, BATCHES_AT_ONCE):
        together = range(first, min(first + BATCHES_AT_ONCE, num_batches))
        # The metrics of a step contain the response of the step before: the last response is counted after T more
        # steps.
        trajectories = runtime.trajectories(
            horizon + 1,
            [seeding.make_keys(seed, *path, batch=first_batch + batch) for batch in together],
            record=record,
        )
        for batch, trajectory in zip(together, trajectories):
            rewards = trajectory[fields.METRICS_STATE].get(fields.REWARD)[1:].numpy().astype(np.float64)
            counting = min(batch_size, num_users - batch * batch_size)
            if rewards.shape[1] != batch_size:
                raise validation.InvalidInputError(
                    f"batch_size must be {rewards.shape[1]}, the users of the network, got {batch_size}"
                )
            totals.append(rewards.sum(axis=0))
            upstream_totals.append(rewards[:-1].sum(axis=0))
            if behaviour:
                collector.add(trajectory, counting)
            if reducer is not None:
                reducer.add(trajectory, counting)
        on_progress(min((together[-1] + 1) * batch_size, num_users))
    return Outcome(
        np.concatenate(totals)[:num_users],
        np.concatenate(upstream_totals)[:num_users],
        collector.result() if behaviour else None,
    )


def _recordable(runtime: Rollouts) -> dict[str, list[str]]:
    """Return the fields of `behaviour.RECORD` that the network has."""
    known = {var.name: var.spec.as_dict for var in runtime.variables}
    recordable = {
        name: [field for field in wanted if field in known.get(name, {})]
        for name, wanted in behaviour_lib.RECORD.items()
    }
    return {name: names for name, names in recordable.items() if names}


def summary(outcome: Outcome, learned: Outcome) -> PolicyResult:
    """Return a policy's result.

    Args:
      outcome: outcome of the policy.
      learned: outcome of the learned policy, on the same users.

    Returns:
      Means with t intervals over users; with behaviour also the quarters: for each measure four numbers and four
      intervals over users, None for undefined values (see `behaviour.Behaviour`).
    """
    total = statistics.mean_interval(outcome.total)
    return PolicyResult(
        mean=total.mean,
        interval95=total.bounds,
        mean_upstream_count=float(outcome.upstream_total.mean()),
        num_users=total.num_units,
        minus_learned=MeanInterval.from_estimate(statistics.paired_difference(outcome.total, learned.total)),
        **({} if outcome.behaviour is None else outcome.behaviour.summary()),
    )


def pooled(per_seed: Sequence[PolicyResult]) -> PolicyResult:
    """Return a policy's result over several seeds: the unit is the seed, intervals are over seeds.

    Args:
      per_seed: the policy's results by seed, at least one.

    Returns:
      As `summary`, with t intervals over seeds; interquartile mean of the seeds' means, and probability of improvement
      of the learned policy over this policy, both with their bootstrap intervals.
    """
    values = np.array([result.mean for result in per_seed])
    differences = np.array([result.minus_learned.mean for result in per_seed])
    mean = statistics.mean_interval(values)
    middle = statistics.bootstrap(statistics.interquartile_mean, values)
    improvement = statistics.bootstrap(statistics.probability_of_improvement, values - differences, values)
    return PolicyResult(
        mean=mean.mean,
        interval95=mean.bounds,
        mean_upstream_count=float(np.mean([result.mean_upstream_count for result in per_seed])),
        num_users=int(sum(result.num_users for result in per_seed)),
        num_seeds=mean.num_units,
        minus_learned=MeanInterval.from_estimate(statistics.mean_interval(differences)),
        interquartile_mean=_across_runs("interquartile_mean", middle),
        probability_of_improvement=_across_runs("probability_of_improvement", improvement),
        **_pooled_quarters([result.quarters for result in per_seed if result.quarters is not None]),
    )


def _across_runs(measure: str, statistic: statistics.Estimate) -> AcrossRuns:
    is_95 = statistic.num_units >= statistics.LEAST_RUNS_TO_BE_CALLED_95
    return AcrossRuns(
        mean=statistic.mean,
        interval95=statistic.bounds if is_95 else None,
        interval=None if is_95 else statistic.bounds,
        num_runs=statistic.num_units,
        coverage=Coverage(
            nominal=statistics.CONFIDENCE, measured=statistics.measured_coverage(measure, statistic.num_units)
        ),
    )


def _pooled_quarters(per_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means over the seeds that have a value."""
    if not per_seed:
        return {}
    estimates: dict[str, Optional[list[Optional[statistics.Estimate]]]] = {}
    for name in per_seed[0]:
        known = [quarters[name] for quarters in per_seed if quarters.get(name) is not None]
        present = [[estimate for estimate in of_quarter if estimate is not None] for of_quarter in zip(*known)]
        estimates[name] = [statistics.mean_interval(np.array(values)) if values else None for values in present] or None
    return {
        "quarters": behaviour_lib.means(estimates),
        "quarters_interval95": behaviour_lib.intervals(estimates),
    }
