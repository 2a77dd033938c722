"""Dry run: memory and time of an experiment, from two measurements and the work that its policies state."""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import selection, single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.dry_run import calibration
from recsys_po_rl.experiment.dry_run.calibration import Cost
from recsys_po_rl.policies.base import SearchCost
from recsys_po_rl.simulation_config import SimulationNetwork

MEMORY_SHARE = 0.95  # largest share of the available memory that an experiment may use
CORPUS_BYTES_PER_NUMBER = 16  # float32, in the drawn corpus, the network, the available documents and the runtime
BYTES_PER_EVALUATED_USER = 200  # for each policy: totals, and measures by quarter of the horizon
POLICIES_OF_THE_LEARNER = 3  # learned, learned_last, learned_greedy
OTHER_SECONDS = 15.0  # loading of the libraries, figures and tables; measured in the tiny experiment
SECOND_CORE = 1.6  # speedup of one seed on two cores over one, which two parallel seeds lose
GRID_USER_STEPS = 5e-3  # time of a compared slate of a dynamic program, in user-steps of the learned policy


class Estimate(NamedTuple):
    """Estimated requirements of an experiment."""

    shapes: list[tuple[str, str, str]]  # variable, field, shape: U stands for users
    num_parameters: int  # trained parameters, without the critic's
    num_processes: int  # processes that run at once
    memory_parts: dict[str, float]  # bytes at the peak of the largest process, by part
    seconds_parts: dict[str, float]  # seconds of one seed, by part
    seconds: float  # of the whole command


def estimate(config: ExperimentConfig) -> Estimate:
    """Estimate an experiment from short measurements on this machine.

    Args:
      config: configuration of the experiment.

    Returns:
      Estimates: memory to about a third, time to a factor of 2 if the machine's load stays the same, see
      benchmarks/results/PLAN_ACCURACY.md.

    Raises:
      InvalidInputError: one line, if the experiment does not fit in memory; it names the largest population that does.
    """
    loaded, seed = calibration.resident_bytes(), config.seeds[0]
    world_seed = config.world_seed(seed)
    available = calibration.available_bytes() * MEMORY_SHARE
    _raise_if_arrays_do_not_fit(config, available)
    network = _small_network(config, world_seed, 2)
    num_docs = network.config["num_docs"]
    full = single_seed.policy_context(config, seed, world_seed, network.config)
    searches = {policy.name: policy.search_cost(full) for policy in config.policies}
    training = calibration.of_training(config, seed, world_seed, num_docs)
    learned = calibration.of_evaluation(
        lambda batch_size: single_seed.policy_context(
            dataclasses.replace(config, evaluation_batch_size=batch_size), seed, world_seed, network.config
        ),
        config.evaluation_batch_size,
        num_docs,
    )
    at_once = min(len(config.seeds), config.num_processes or os.cpu_count() or 1)

    def memory(config: ExperimentConfig) -> dict[str, float]:
        return _memory_parts(config, loaded, training, learned, searches)

    limit = available / at_once
    if sum(memory(config).values()) > limit:
        raise validation.InvalidInputError(_refusal(config, memory, limit, at_once))
    seconds_parts = _seconds_parts(config, training, learned, searches)
    if config.warm_start is not None:
        cost = config.warm_start.search_cost(full)
        seconds_parts["warm start"] = learned.seconds_per_user_step * _search_work(cost)
    slower = min(SECOND_CORE, at_once) if at_once > 1 else 1.0
    return Estimate(
        shapes=_shapes(network, _small_network(config, world_seed, 3)),
        num_parameters=sum(int(np.prod(weight.shape)) for weight in network.trainable_variables),
        num_processes=at_once,
        memory_parts=memory(config),
        seconds_parts=seconds_parts,
        seconds=math.ceil(len(config.seeds) / at_once) * slower * sum(seconds_parts.values()),
    )


def _memory_parts(
    config: ExperimentConfig, loaded: float, training: Cost, learned: Cost, searches: dict[str, SearchCost]
) -> dict[str, float]:
    num_trainings = 1 + sum(cost.num_trainings for cost in searches.values())
    num_programs = 2 + len(searches)  # learned_greedy is compiled separately
    evaluated = config.evaluation_batch_size * config.horizon * evaluator.BATCHES_AT_ONCE
    trained = config.users_per_step * config.horizon
    return {
        "libraries": loaded,
        "programs": num_trainings * training.program_bytes + num_programs * learned.program_bytes,
        "users": max(trained * training.bytes_per_user_step, evaluated * learned.bytes_per_user_step)
        + config.num_evaluation_users * BYTES_PER_EVALUATED_USER * (POLICIES_OF_THE_LEARNER + len(searches)),
    }


def _seconds_parts(
    config: ExperimentConfig, training: Cost, learned: Cost, searches: dict[str, SearchCost]
) -> dict[str, float]:
    num_validations = sum(selection.is_validated(config, step) for step in range(1, config.num_training_steps + 1))
    user_step, evaluated = learned.seconds_per_user_step, config.num_evaluation_users * config.horizon
    train = training.first_seconds + learned.first_seconds * bool(num_validations)
    train += training.seconds_per_user_step * config.num_training_steps * config.users_per_step * config.horizon
    train += user_step * num_validations * config.num_validation_users * config.horizon
    parts = {"training": train, "learned": 2 * learned.first_seconds + POLICIES_OF_THE_LEARNER * user_step * evaluated}
    found: set[Optional[Any]] = {None}  # keys of value functions that are already counted
    for name, cost in searches.items():
        parts[name] = learned.first_seconds + user_step * cost.relative_cost * evaluated + cost.num_trainings * train
        if cost.value_key is None or cost.value_key not in found:
            parts[name] += user_step * _search_work(cost)
            parts[name] += learned.first_seconds * bool(cost.user_steps)
        found.add(cost.value_key)
    return {**parts, "libraries and files": OTHER_SECONDS}


def _search_work(cost: SearchCost) -> float:
    """Return the time of a search in user-steps of the learned policy."""
    return cost.search_work + GRID_USER_STEPS * cost.grid_slates


def _raise_if_arrays_do_not_fit(config: ExperimentConfig, available: float) -> None:
    """Validate the memory of the corpus and of the evaluated users from the bound sizes, before anything is built."""
    try:
        given = config_lib.bound(config.network_ctor)
    except (TypeError, ValueError):  # a user's constructor that is not registered with gin
        given = {}
    num_docs, num_topics = given.get("num_docs"), given.get("num_topics")
    if isinstance(num_docs, int) and isinstance(num_topics, int):
        per_doc = (num_topics + 4) * CORPUS_BYTES_PER_NUMBER
        _raise_if_over(f"{num_docs} documents need", "num_docs", num_docs, per_doc, available)
    per_user = BYTES_PER_EVALUATED_USER * (POLICIES_OF_THE_LEARNER + len(config.policies))
    users, name = config.num_evaluation_users, "experiment.num_evaluation_users"
    _raise_if_over(f"the results of {users} users need", name, users, per_user, available)


def _raise_if_over(lead: str, name: str, number: int, bytes_each: float, available: float) -> None:
    if number * bytes_each > available:
        raise validation.InvalidInputError(
            f"{lead} {_gigabytes(number * bytes_each)} and {_gigabytes(available)} are available: {name} may be at "
            f"most {int(available / bytes_each)}"
        )


def _refusal(
    config: ExperimentConfig, memory: Callable[[ExperimentConfig], dict[str, float]], limit: float, num_processes: int
) -> str:
    """Return the message that an experiment does not fit in memory, with the largest population that does."""
    each = f" in each of {num_processes} processes" if num_processes > 1 else ""
    lead = (
        f"this experiment needs about {_gigabytes(sum(memory(config).values()))}{each} and {_gigabytes(limit)} are "
        "available: "
    )

    def largest(unit: int, **most: int) -> Optional[int]:
        """Return the largest share of the populations `most` that fits, in units; None if one unit is too much."""

        def fits(num: int) -> bool:
            sizes: dict[str, Any] = {
                name: min(size, num * (unit if name == "users_per_step" else 1)) for name, size in most.items()
            }
            return sum(memory(dataclasses.replace(config, **sizes)).values()) <= limit

        low, high = 0, max(most.values())
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low or None

    users, batch = config.users_per_step, config.evaluation_batch_size
    if (num := largest(config.num_shards, users_per_step=users)) is not None:
        return f"{lead}experiment.users_per_step may be at most {num * config.num_shards} here, got {users}"
    if (num := largest(1, evaluation_batch_size=batch)) is not None:
        return f"{lead}experiment.evaluation_batch_size may be at most {num} here, got {batch}"
    if (num := largest(config.num_shards, users_per_step=users, evaluation_batch_size=batch)) is not None:
        return (
            f"{lead}experiment.users_per_step may be at most {min(users, num * config.num_shards)} and "
            f"experiment.evaluation_batch_size {min(batch, num)} here"
        )
    return f"{lead}no population would fit"


def _small_network(config: ExperimentConfig, world_seed: int, num_users: int) -> SimulationNetwork:
    network: SimulationNetwork = config.network_ctor(num_users=num_users, corpus_seed=world_seed)
    return network


def _shapes(two: SimulationNetwork, three: SimulationNetwork) -> list[tuple[str, str, str]]:
    """Return the shapes of the fields of networks of two and three users; what differs is named U."""
    found = []
    for var, more in zip(two.variables, three.variables):
        for field, spec in var.spec.as_dict.items():
            shapes = [getattr(getattr(of, "space", None), "shape", None) for of in (spec, more.spec.as_dict[field])]
            sizes = [] if None in shapes else ["U" if one != other else str(int(one)) for one, other in zip(*shapes)]
            found.append((var.name, field, "not stated" if None in shapes else f"({', '.join(sizes)})"))
    return found


def text(found: Estimate, config: ExperimentConfig, seconds: float) -> str:
    """Format an estimate as text.

    Args:
      found: result of `estimate`.
      config: configuration of the experiment.
      seconds: time that the estimate took.
    """
    memory = ", ".join(f"{part} {_gigabytes(size)}" for part, size in found.memory_parts.items())
    times = ", ".join(f"{part} {_duration(of)}" for part, of in found.seconds_parts.items() if of >= 0.5)
    each = f" in each of {found.num_processes} processes" if found.num_processes > 1 else ""
    widths = [max(len(row[column]) for row in found.shapes) for column in range(2)]
    return "\n".join(
        [
            "Requirements of this experiment; nothing is written.",
            "",
            f"training    {config.num_training_steps} steps of {config.users_per_step} users in {config.num_shards} "
            f"shards, {config.horizon} slates for each user",
            f"evaluation  {config.num_evaluation_users} users in batches of {config.evaluation_batch_size}, "
            f"{POLICIES_OF_THE_LEARNER + len(config.policies)} policies",
            f"seeds       {', '.join(map(str, config.seeds))}",
            "",
            *(f"{name.ljust(widths[0])}  {field.ljust(widths[1])}  {shape}" for name, field, shape in found.shapes),
            f"U: {config.users_per_step // config.num_shards} in a shard, {config.evaluation_batch_size} in evaluation",
            "",
            f"parameters  {found.num_parameters:,} that are trained",
            f"memory      {_gigabytes(sum(found.memory_parts.values()))}{each} ({memory})",
            f"time        {_duration(found.seconds)} (for a seed: {times})",
            f"calibrated in {_duration(seconds)} on this machine, as busy as it is now",
        ]
    )


def timed_text(config: ExperimentConfig) -> str:
    """Estimate an experiment and format the result."""
    started = time.perf_counter()
    return text(estimate(config), config, time.perf_counter() - started)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
