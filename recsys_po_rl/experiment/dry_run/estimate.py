"""Dry run: memory and time of an experiment, from two measurements and the work that its policies state."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import selection, single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.dry_run import calibration
from recsys_po_rl.experiment.dry_run.calibration import Cost
from recsys_po_rl.policies.base import SearchCost

MEMORY_SHARE = 0.95  # largest share of the available memory that an experiment may use
CORPUS_BYTES_PER_NUMBER = 16  # float32, in the drawn corpus, the network, the available documents and the runtime
BYTES_PER_EVALUATED_USER = 200  # for each policy: totals, and measures by quarter of the horizon
POLICIES_OF_THE_LEARNER = 3  # learned, learned_last, learned_greedy
PROGRAMS_OF_THE_LEARNER = 2  # of evaluation: learned_greedy is compiled separately
OTHER_SECONDS = 15.0  # loading of the libraries, figures and tables; measured in the tiny experiment
SECOND_CORE = 1.6  # speedup of one seed on two cores over one, which two parallel seeds lose


class Estimate(NamedTuple):
    """Estimated requirements of an experiment."""

    num_processes: int  # processes that run at once
    memory_parts: Mapping[str, float]  # bytes at the peak of the largest process, by part
    seconds_parts: Mapping[str, float]  # seconds of one seed, by part
    seconds: float  # of the whole command


def estimate(config: ExperimentConfig) -> Estimate:
    """Estimate an experiment from short measurements on this machine.

    Args:
      config: configuration of the experiment.

    Returns:
      Estimates: memory to about a third, time to a factor of 2 if the machine's load stays the same, see
      benchmarks/results/PLAN_ACCURACY.md.

    Raises:
      InvalidInputError: one line, if the experiment does not fit in memory; it names a number that does.
    """
    loaded, seed = calibration.resident_bytes(), config.seeds[0]
    num_processes = min(len(config.seeds), config.num_processes or os.cpu_count() or 1)
    available = calibration.available_bytes() * MEMORY_SHARE / num_processes
    results = float(BYTES_PER_EVALUATED_USER * (POLICIES_OF_THE_LEARNER + len(config.policies)))
    _raise_if_over(available, "experiment.num_evaluation_users", config.num_evaluation_users, results)
    _raise_if_corpus_is_over(config, available)
    network = config.network_ctor(num_users=2, corpus_seed=config.world_seed(seed))
    context = single_seed.policy_context(config, seed, config.world_seed(seed), network.config)
    costs = [policy.search_cost(context) for policy in config.policies]
    warm_start = SearchCost() if config.warm_start is None else config.warm_start.search_cost(context)
    training, learned = calibration.of_training(config, context), calibration.of_evaluation(context)
    programs = (1 + sum(cost.num_trainings for cost in costs)) * training.program_bytes
    programs += (PROGRAMS_OF_THE_LEARNER + len(costs)) * learned.program_bytes
    memory_parts = {"libraries": loaded, "programs": programs, "results": results * config.num_evaluation_users}
    free = available - sum(memory_parts.values())
    trained, evaluated = (cost.bytes_per_user_step * config.horizon for cost in (training, learned))
    evaluated *= evaluator.BATCHES_AT_ONCE
    _raise_if_over(free, "experiment.users_per_step", config.users_per_step, trained, config.num_shards)
    _raise_if_over(free, "experiment.evaluation_batch_size", config.evaluation_batch_size, evaluated)
    memory_parts["users"] = max(trained * config.users_per_step, evaluated * config.evaluation_batch_size)
    seconds_parts = _seconds_parts(config, training, learned, costs, warm_start)
    seconds = (
        math.ceil(len(config.seeds) / num_processes) * min(SECOND_CORE, num_processes) * sum(seconds_parts.values())
    )
    return Estimate(
        num_processes=num_processes, memory_parts=memory_parts, seconds_parts=seconds_parts, seconds=seconds
    )


def text(config: ExperimentConfig) -> str:
    """Estimate an experiment and format the result."""
    required = estimate(config)
    memory = ", ".join(f"{part} {_gigabytes(size)}" for part, size in required.memory_parts.items())
    times = ", ".join(f"{part} {_duration(seconds)}" for part, seconds in required.seconds_parts.items())
    each = f" in each of {required.num_processes} processes" if required.num_processes > 1 else ""
    return (
        "Requirements of this experiment; nothing is written.\n\n"
        f"memory      {_gigabytes(sum(required.memory_parts.values()))}{each} ({memory})\n"
        f"time        {_duration(required.seconds)} (for a seed: {times})\n"
        "from short measurements on this machine, as busy as it is now"
    )


def _seconds_parts(
    config: ExperimentConfig, training: Cost, learned: Cost, costs: Sequence[SearchCost], warm_start: SearchCost
) -> dict[str, float]:
    num_validations = sum(selection.is_validated(config, step) for step in range(1, config.num_training_steps + 1))
    user_step, first = learned.seconds_per_user_step, learned.first_seconds
    train = training.first_seconds + first * bool(num_validations)
    train += training.seconds_per_user_step * config.num_training_steps * config.users_per_step * config.horizon
    train += user_step * num_validations * config.num_validation_users * config.horizon
    shared = {number if cost.value_key is None else cost.value_key: cost for number, cost in enumerate(costs)}
    searches = sum(user_step * cost.search_work + first * bool(cost.user_steps) for cost in shared.values())
    evaluated = (POLICIES_OF_THE_LEARNER + sum(cost.relative_cost for cost in costs)) * config.num_evaluation_users
    return {
        "training": train + user_step * warm_start.search_work,
        "searches": searches + train * sum(cost.num_trainings for cost in costs),
        "evaluation": (PROGRAMS_OF_THE_LEARNER + len(costs)) * first + user_step * evaluated * config.horizon,
        "libraries and files": OTHER_SECONDS,
    }


def _raise_if_corpus_is_over(config: ExperimentConfig, available: float) -> None:
    try:
        sizes = config_lib.bound(config.network_ctor)
    except (TypeError, ValueError):  # a user's constructor that is not registered with gin
        return
    num_docs, num_topics = sizes.get("num_docs"), sizes.get("num_topics")
    if isinstance(num_docs, int) and isinstance(num_topics, int):
        _raise_if_over(available, "num_docs", num_docs, (num_topics + 4.0) * CORPUS_BYTES_PER_NUMBER)


def _raise_if_over(free: float, name: str, number: int, bytes_each: float, multiple: int = 1) -> None:
    """Validate that a number of users or documents, a multiple of `multiple`, fits in the memory that is free."""
    if number * bytes_each > free:
        largest = max(0, int(free / bytes_each) // multiple * multiple) if bytes_each else 0
        fits = f"{name} may be at most {largest}, got {number}" if largest else "no number would fit"
        raise validation.InvalidInputError(
            f"{name} = {number} needs about {_gigabytes(number * bytes_each)} in a process and "
            f"{_gigabytes(max(0.0, free))} are free for it: {fits}"
        )


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
