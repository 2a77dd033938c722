"""Mode population: rewards of very many users in numbered shards, anywhere, in any order; mode merge: their result."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

import numpy as np

from recsys_po_rl import gin_config
from recsys_po_rl.common import formatting, output, validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.evaluation.populations import BINS, PolicyOfPopulation, PolicyOfShard
from recsys_po_rl.experiment import actors, single_seed, transfer
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.executors import Executor
from recsys_po_rl.experiment.local_processes import LocalExecutor
from recsys_po_rl.experiment.tasks import Task
from recsys_po_rl.reporting import tables
from recsys_po_rl.run_folder import layout, population_files
from recsys_po_rl.run_folder.population_files import Population, Settings, Shard

POPULATIONS = "populations"  # subfolder of the run folder that holds time-stamped folders
BATCHES_PER_SHARD = 200
MAX_TASKS = 64  # each compiles once


class PopulationResult(NamedTuple):
    """Result of a population."""

    population: Optional[Population]  # None: shards are missing
    folder: str


def evaluate_population(
    run: str,
    num_users: int,
    policies: Sequence[str] = (single_seed.LEARNED,),
    shards: Optional[tuple[int, int]] = None,
    users_per_shard: Optional[int] = None,
    gin_files: Sequence[str] = (),
    gin_bindings: Sequence[str] = (),
    output_dir: Optional[str] = None,
    executor: Optional[Executor] = None,
    quiet: bool = False,
) -> PopulationResult:
    """Evaluate policies of a run on very many users, in numbered shards, and merge the shards once all are there.

    The users begin with those of the run's own evaluation, and are the same for all policies. Memory and files do not
    grow with the users of a shard: a shard's file holds sums and a histogram. Shards that have a file are not computed
    again, so that the same command goes on after a stop, and any launcher can run parts with `shards`, also at the same
    time, into one folder. As in `transfer.evaluate`, all previous gin bindings are cleared, and a run folder may come
    from an untrusted source.

    Args:
      run: run folder of one seed.
      num_users: N, users of the population, at least 1.
      policies: learned, learned_last, learned_greedy, and names of `experiment.policies`, all different; the first one
        is compared with the others.
      shards: first shard and end (exclusive) of those that are computed; None: all.
      users_per_shard: a multiple of `experiment.evaluation_batch_size`; None: 200 batches.
      gin_files: gin files read after the run's config.gin.
      gin_bindings: gin bindings applied after the files.
      output_dir: folder of the population, which may exist; None: a time-stamped folder in the run's `populations/`.
      executor: where the shards are computed, see `executors`; None: processes of this machine.
      quiet: whether to print nothing.

    Returns:
      The result, and the folder.

    Raises:
      InvalidInputError: one line, if the folder does not hold a policy of one seed, a policy is not known or cannot be
        built, an argument is invalid, or the output folder holds another population.
      tasks.TaskFailedError: if a task failed; shards that were computed stay.
    """
    num_users = validation.integer("users", num_users, 1)
    with transfer.opened_run(run, gin_files, gin_bindings, quiet) as loaded:
        loaded.raise_if_several_seeds("a population")
        names = actors.checked_names(policies, loaded.config)
        batch_size = loaded.config.evaluation_batch_size
        if users_per_shard is None:
            users_per_shard = BATCHES_PER_SHARD * batch_size
        elif validation.integer("users_per_shard", users_per_shard, 1) % batch_size:
            raise validation.InvalidInputError(
                f"users_per_shard must be a multiple of experiment.evaluation_batch_size, {batch_size}, "
                f"got {users_per_shard}"
            )
        (job,) = loaded.restored()
        settings = Settings(
            policies=names,
            num_users=num_users,
            users_per_shard=users_per_shard,
            horizon=loaded.config.horizon,
            batch_size=batch_size,
            seed=job.seed,
            corpus_seed=job.world_seed,
            weights=_hash_of(job.trained),
            configuration=hashlib.sha256(gin_config.config_text().encode()).hexdigest(),
            bin_width=loaded.config.horizon / BINS,
        )
        population_files.raise_if_impossible(settings)
        wanted = _checked_shards(shards, settings)
        folder = _prepared(output_dir, os.path.join(run, POPULATIONS), settings)
        left = sorted(set(wanted) - population_files.shards_in(folder))
        if left and not quiet:
            output.say(f"{len(left)} of {settings.num_shards} shards of {users_per_shard:,} users to compute")
        chunks = [part.tolist() for part in np.array_split(left, min(len(left), MAX_TASKS))] if left else []
        given = [
            Task(
                f"shards {chunk[0]} to {chunk[-1]}",
                compute_shards,
                (loaded.config, job.trained, settings, chunk, os.path.abspath(folder)),
            )
            for chunk in chunks
        ]
        (executor or LocalExecutor(loaded.config.num_processes)).run(given, quiet)
    missing = settings.num_shards - len(population_files.shards_in(folder))
    if missing:
        if not quiet:
            output.say(f"{missing} of {settings.num_shards} shards are not there yet; then: --mode merge {folder}")
        return PopulationResult(None, folder)
    return merge(folder, quiet)


def compute_shards(
    config: ExperimentConfig, trained: single_seed.Trained, settings: Settings, numbers: Sequence[int], folder: str
) -> None:
    """Compute shards in this process, and write their files; those that have a file are passed over."""
    network = config.network_ctor(num_users=settings.batch_size, corpus_seed=settings.corpus_seed)
    context = single_seed.policy_context(config, settings.seed, settings.corpus_seed, network.config)
    context.learned_weights = trained.best
    acting = [actors.build(name, context, config, trained) for name in settings.policies]
    for number in sorted(set(numbers) - population_files.shards_in(folder)):
        first_user = number * settings.users_per_shard
        counting = min(settings.users_per_shard, settings.num_users - first_user)
        rewards = {
            actor.name: evaluator.evaluate(
                actor.rollouts,
                settings.horizon,
                counting,
                settings.batch_size,
                settings.seed,
                behaviour=False,
                first_batch=first_user // settings.batch_size,
            ).total
            for actor in acting
        }
        compared = rewards[settings.policies[0]]
        shard = Shard(
            shard=number,
            settings=settings,
            policies={name: PolicyOfShard.of(values, compared, settings.bin_width) for name, values in rewards.items()},
        )
        with layout.errors_of(folder, "the same command goes on when that is mended"):
            population_files.write_shard(folder, shard)
        if not config.quiet:
            output.say(f"shard {number}: {counting:,} users")


def merge(folder: str, quiet: bool = False) -> PopulationResult:
    """Merge the shards of a population, and write population.json.

    Args:
      folder: folder of a population.
      quiet: whether to print nothing.

    Raises:
      InvalidInputError: one line, if shards are missing (it names them) or of another population.
    """
    settings = population_files.read_settings(folder)
    parts = list(population_files.read_shards(folder, settings))
    merged = {name: PolicyOfShard.merged([part.policies[name] for part in parts]) for name in settings.policies}
    for name, users in merged.items():
        if users.reward.count != settings.num_users:
            raise validation.InvalidInputError(
                f"the shards in {folder!r} have {users.reward.count} users of {name}, not {settings.num_users}"
            )
    population = Population(
        settings=settings,
        policies={name: PolicyOfPopulation.of(users, settings.bin_width) for name, users in merged.items()},
    )
    with layout.errors_of(folder, "merge again when that is mended"):
        layout.write_json(folder, population_files.RESULT, population.to_json())
    if not quiet:
        output.say(f"\n{table(population)}\n\nfiles: {folder}")
    return PopulationResult(population, folder)


def table(population: Population) -> str:
    """Format a population for a terminal."""
    settings = population.settings
    first = settings.policies[0]
    rows: list[tuple[str, ...]] = [
        ("policy", "mean", "95% interval", "sd", "5%", "median", "95%", f"minus {first}", "95% interval")
    ]
    for name, policy in population.policies.items():
        quantiles = [formatting.plain(policy.quantiles[share], ".2f") for share in ("0.05", "0.5", "0.95")]
        difference = policy.minus_learned
        rows.append(
            (
                name,
                formatting.plain(policy.mean, ".4f"),
                formatting.interval(policy.interval95, 4),
                formatting.plain(policy.standard_deviation, ".2f"),
                *quantiles,
                "" if name == first else formatting.plain(difference.mean, "+.4f"),
                "" if name == first else formatting.interval(difference.interval95, 4),
            )
        )
    return "\n".join(
        [
            f"Cumulative consumed time per user over {settings.horizon} slates, {settings.num_users:,} users "
            "(95% t intervals over users; differences are paired)",
            "",
            *tables.aligned(rows),
        ]
    )


def _checked_shards(shards: Optional[tuple[int, int]], settings: Settings) -> range:
    if shards is None:
        return range(settings.num_shards)
    first, end = shards
    if not 0 <= first < end <= settings.num_shards:
        raise validation.InvalidInputError(
            f"shards must be FIRST:END between 0:1 and 0:{settings.num_shards}, got {first}:{end}"
        )
    return range(first, end)


def _prepared(output_dir: Optional[str], under: str, settings: Settings) -> str:
    """Return the population's folder: a new one, or one of the same settings."""
    if output_dir is not None and os.path.lexists(output_dir):
        layout.raise_if_no_folder(output_dir)
    folder = layout.create(output_dir, under, may_hold_a_run=True)
    with layout.errors_of(folder, "the same command goes on when that is mended"):
        if not os.path.lexists(os.path.join(folder, population_files.SETTINGS)):
            if os.listdir(folder):
                raise validation.InvalidInputError(f"{folder!r} holds files, but no population: choose a new folder")
            os.makedirs(os.path.join(folder, population_files.SHARDS), exist_ok=True)
            layout.write_json(folder, population_files.SETTINGS, settings.to_json())
    existing = population_files.read_settings(folder)
    for name, value in _differences(existing, settings):
        raise validation.InvalidInputError(f"{folder!r} holds another population: {name} {value}")
    return folder


def _differences(existing: Settings, settings: Settings) -> Iterator[tuple[str, str]]:
    theirs, ours = existing.to_json(), settings.to_json()
    for name in ours:
        if theirs.get(name) != ours[name]:
            yield name, f"was {theirs.get(name)}, is {ours[name]}"


def _hash_of(trained: single_seed.Trained) -> str:
    """Return the hash of the weights of a trained policy."""
    digest = hashlib.sha256()
    for values in (*trained.best, *trained.last):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
