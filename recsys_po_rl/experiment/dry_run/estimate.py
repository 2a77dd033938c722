"""Dry run: estimates of an experiment's shapes, parameters, memory, time and files from measurements at small size."""

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import recorder, single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.dry_run import calibration, scaling
from recsys_po_rl.experiment.dry_run.calibration import PolicyCost
from recsys_po_rl.policies.base import PolicyContext
from recsys_po_rl.run_folder import layout, per_user
from recsys_po_rl.simulation_config import SimulationNetwork

MEMORY_SHARE = 0.95  # largest share of the available memory that an experiment may use
BYTES_PER_NUMBER = 4
COPIES_OF_THE_CORPUS = 4  # the drawn corpus, the network's state, the available documents, the runtime
FILES_SECONDS = 3.0  # figures and tables at the end
SECOND_CORE = 1.6  # speedup of one seed on two cores over one, which two parallel seeds lose


class Estimate(NamedTuple):
    """Estimated requirements of an experiment."""

    shapes: list[tuple[str, str, str]]  # variable, field, shape: U stands for users
    entities: dict[str, str]  # class names by role
    num_parameters: int  # trained parameters, without the critic's
    memory_bytes: float  # peak of the largest process
    num_processes: int  # processes that run at once
    memory_parts: dict[str, float]  # summands of memory_bytes, by name
    seconds: float
    seconds_parts: dict[str, float]  # seconds of one seed, by part
    files: list[str]
    calibration_seconds: float


def estimate(config: ExperimentConfig) -> Estimate:
    """Estimate an experiment from short measurements on this machine.

    Args:
      config: configuration of the experiment.

    Returns:
      Estimates: memory to about a quarter, time to a factor of about 1.5 if the machine's load stays the same, see
      benchmarks/results/PLAN_ACCURACY.md.

    Raises:
      InvalidInputError: one line, if the experiment does not fit in memory; it names the largest population that does.
    """
    loading, loaded = calibration.seconds_since_start(), calibration.resident_bytes()
    started = time.perf_counter()
    seed = config.seeds[0]
    world_seed = config.world_seed(seed)
    available = calibration.available_bytes() * MEMORY_SHARE
    network_config = _small_network(config, world_seed, 2).config if _fits_a_corpus(config, available) else {}
    _raise_if_too_many_are_evaluated(config, available)
    at_once = min(len(config.seeds), config.num_processes or os.cpu_count() or 1)

    training = calibration.of_training(config, seed, world_seed, network_config["num_docs"])
    # Planners evaluate all pairs of documents, so their work grows with the square of D.
    scale = min(1.0, (calibration.USUAL_DOCS / network_config["num_docs"]) ** 2)
    sizes = calibration.small_sizes(config, config.evaluation_batch_size, scale, evaluator.BATCHES_AT_ONCE)

    def context_of(sizes: calibration.Sizes) -> PolicyContext:
        small = dataclasses.replace(config, horizon=sizes.slates, evaluation_batch_size=sizes.users, quiet=True)
        return single_seed.policy_context(small, seed, world_seed, network_config)

    larger = calibration.larger_sizes(config, config.evaluation_batch_size, sizes)
    learned = calibration.of_evaluation(context_of, PolicyContext.network, sizes, larger)
    small = context_of(sizes)
    full = single_seed.policy_context(config, seed, world_seed, network_config)
    searches = {policy.name: policy.search_cost(full) for policy in config.policies}
    policies: dict[str, Optional[PolicyCost]] = {}
    for policy in config.policies:
        trained = searches[policy.name].num_trainings > 0
        policies[policy.name] = None if trained else calibration.of_policy(small, policy)

    memory_parts = scaling.memory_parts(config, loaded, training, learned, policies, searches)
    memory = sum(memory_parts.values())
    limit = available / at_once
    if memory > limit:
        of_config = functools.partial(
            scaling.memory_parts,
            loaded=loaded,
            training=training,
            learned=learned,
            policies=policies,
            searches=searches,
        )
        raise validation.InvalidInputError(_refusal(config, of_config, limit, at_once))
    seconds_parts = scaling.seconds_parts(config, training, learned, policies, searches)
    seconds_parts["loading and files"] = loading + FILES_SECONDS
    rounds = math.ceil(len(config.seeds) / at_once)
    slower = min(SECOND_CORE, at_once) if at_once > 1 else 1.0
    network = _small_network(config, world_seed, 2)
    return Estimate(
        shapes=_shapes(config, world_seed),
        entities={role: type(getattr(network, role)).__name__ for role in ("user", "corpus", "recommender", "metrics")},
        num_parameters=sum(int(np.prod(weight.shape)) for weight in network.trainable_variables),
        memory_bytes=memory,
        num_processes=at_once,
        memory_parts=memory_parts,
        seconds=rounds * slower * sum(seconds_parts.values()),
        seconds_parts=seconds_parts,
        files=files(config, config.seeds, network.recommender),
        calibration_seconds=time.perf_counter() - started,
    )


def text(found: Estimate, config: ExperimentConfig) -> str:
    """Format an estimate as text.

    Args:
      found: result of `estimate`.
      config: configuration of the experiment.
    """
    memory = ", ".join(f"{part} {_gigabytes(size)}" for part, size in found.memory_parts.items() if size > 5e6)
    times = ", ".join(f"{part} {_duration(of)}" for part, of in found.seconds_parts.items() if of >= 0.5)
    each = f" in each of {found.num_processes} processes" if found.num_processes > 1 else ""
    rows = [("variable", "field", "shape"), *found.shapes]
    lines = [
        "What this experiment would take; nothing is written.",
        "",
        f"training    {config.num_training_steps} steps of {config.users_per_step} users in {config.num_shards} "
        f"shards, {config.horizon} slates for each user",
        f"evaluation  {config.num_evaluation_users} users in batches of {config.evaluation_batch_size}, "
        f"{scaling.POLICIES_OF_THE_LEARNER + len(config.policies)} policies",
        f"seeds       {', '.join(map(str, config.seeds))}",
        "entities    " + ", ".join(f"{role} {name}" for role, name in found.entities.items()),
        "",
        *_columns(rows),
        f"U: {config.users_per_step // config.num_shards} in a shard, {config.evaluation_batch_size} in evaluation",
        "",
        f"parameters  {found.num_parameters:,} that are trained",
        f"memory      {_gigabytes(found.memory_bytes)}{each} ({memory})",
        f"time        {_duration(found.seconds)} (for a seed: {times})",
        "files       " + ", ".join(found.files),
        f"calibrated in {_duration(found.calibration_seconds)} on this machine, as busy as it is now",
    ]
    return "\n".join(lines)


def files(config: ExperimentConfig, seeds: Sequence[int], recommender: Any) -> list[str]:
    """Return the files that a run folder will hold, with several seeds also those of each seed's folder.

    Args:
      config: configuration of the experiment.
      seeds: seeds of the experiment.
      recommender: the trained recommender; a policy file is written if its `model` is a Keras model.
    """
    top = [
        layout.CONFIG, layout.OPERATIVE_CONFIG, layout.ENVIRONMENT, layout.METRICS, layout.EVALUATION,
        layout.PRICE_FIGURE, layout.REPORT,
    ]  # fmt: skip
    own = [*recorder.tables(config), layout.TIMINGS, layout.PORTRAIT, per_user.FILE]
    if isinstance(getattr(recommender, "model", None), tf.keras.Model):
        own.append(layout.POLICY)
    folders = ["checkpoints/", "tensorboard/"]
    if len(seeds) == 1:
        return sorted({*top, *own}) + folders
    of_each = sorted({*top, *own} - {layout.PRICE_FIGURE}) + folders
    return sorted(top) + [f"seed_{seed}/{name}" for seed in seeds for name in of_each]


def _small_network(config: ExperimentConfig, world_seed: int, num_users: int) -> SimulationNetwork:
    network: SimulationNetwork = config.network_ctor(num_users=num_users, corpus_seed=world_seed)
    return network


def _fits_a_corpus(config: ExperimentConfig, available: float) -> bool:
    """Validate the memory of the corpus from the bound sizes: a network of too many documents cannot be built."""
    try:
        given = config_lib.bound(config.network_ctor)
    except (TypeError, ValueError):  # a user's constructor that is not registered with gin
        return True
    num_docs, num_topics = given.get("num_docs"), given.get("num_topics")
    if not isinstance(num_docs, int) or not isinstance(num_topics, int):
        return True
    bytes_per_doc = (num_topics + 4) * BYTES_PER_NUMBER * COPIES_OF_THE_CORPUS
    if num_docs * bytes_per_doc > available:
        raise validation.InvalidInputError(
            f"{num_docs} documents need {_gigabytes(num_docs * bytes_per_doc)} and {_gigabytes(available)} are "
            f"available: num_docs may be at most {_rounded(available / bytes_per_doc)}"
        )
    return True


def _raise_if_too_many_are_evaluated(config: ExperimentConfig, available: float) -> None:
    per_evaluated = scaling.BYTES_PER_EVALUATED_USER * (scaling.POLICIES_OF_THE_LEARNER + len(config.policies))
    if config.num_evaluation_users * per_evaluated > available:
        raise validation.InvalidInputError(
            f"what {config.num_evaluation_users} users bring needs "
            f"{_gigabytes(config.num_evaluation_users * per_evaluated)} and {_gigabytes(available)} are available: "
            f"experiment.num_evaluation_users may be at most {_rounded(available / per_evaluated)}"
        )


def _refusal(
    config: ExperimentConfig, memory: Callable[[ExperimentConfig], dict[str, float]], limit: float, num_processes: int
) -> str:
    """Return the message that an experiment does not fit in memory, with the largest population that does."""
    needed = sum(memory(config).values())
    each = f" in each of {num_processes} processes" if num_processes > 1 else ""
    told = f"this experiment needs about {_gigabytes(needed)}{each} and {_gigabytes(limit)} are available: "

    def fits(smaller: ExperimentConfig) -> bool:
        return sum(memory(smaller).values()) <= limit

    def trained_on(num: int) -> ExperimentConfig:
        return dataclasses.replace(config, users_per_step=num * config.num_shards)

    def in_batches_of(num: int) -> ExperimentConfig:
        return dataclasses.replace(config, evaluation_batch_size=num)

    least_training, least_evaluation = trained_on(1), in_batches_of(1)
    if fits(least_training):
        most = (
            _largest(lambda num: fits(trained_on(num)), config.users_per_step // config.num_shards) * config.num_shards
        )
        return f"{told}experiment.users_per_step may be at most {most} here, got {config.users_per_step}"
    if fits(least_evaluation):
        most = _largest(lambda num: fits(in_batches_of(num)), config.evaluation_batch_size)
        return f"{told}experiment.evaluation_batch_size may be at most {most} here, got {config.evaluation_batch_size}"
    both = dataclasses.replace(least_training, evaluation_batch_size=1)
    if fits(both):
        most = _largest(
            lambda num: fits(dataclasses.replace(trained_on(num), evaluation_batch_size=num)), config.users_per_step
        )
        return (
            f"{told}experiment.users_per_step may be at most {most * config.num_shards} and "
            f"experiment.evaluation_batch_size {most} here"
        )
    return f"{told}no population would fit"


def _largest(fits: Callable[[int], bool], too_many: int) -> int:
    """Return the largest number below `too_many` that fits; requires that 1 fits."""
    low, high = 1, too_many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _shapes(config: ExperimentConfig, world_seed: int) -> list[tuple[str, str, str]]:
    """Return the shapes of the network's fields; a dimension that depends on the number of users is named U."""
    two, three = (_small_network(config, world_seed, num) for num in (2, 3))
    found = []
    for var, more in zip(two.variables, three.variables):
        for field, spec in var.spec.as_dict.items():
            shapes = [getattr(getattr(of, "space", None), "shape", None) for of in (spec, more.spec.as_dict[field])]
            if None in shapes:
                found.append((var.name, field, "not stated"))
                continue
            sizes = ["U" if here != there else str(int(here)) for here, there in zip(*shapes)]
            found.append((var.name, field, f"({', '.join(sizes)})" if sizes else "()"))
    return found


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _rounded(number: float) -> int:
    """Round down to two significant digits."""
    if number < 10:
        return int(number)
    unit = 10 ** (int(math.log10(number)) - 1)
    return int(number / unit) * unit


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
