"""Files of a population: settings, a file for each shard, and the result over all shards."""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from recsys_po_rl.common import records, validation
from recsys_po_rl.common.records import Count, NonNegative, Record
from recsys_po_rl.evaluation.populations import PolicyOfPopulation, PolicyOfShard
from recsys_po_rl.run_folder import layout, readers

SETTINGS, RESULT, SHARDS = "population_settings.json", "population.json", "shards"
SCHEMA_VERSION = 1
_SHARD_FILE = re.compile(r"shard_(0|[1-9][0-9]{0,11})\.json")
MAX_NAMED = 10  # ranges of missing shards in a message
MAX_SHARDS = 10**6
_BIN = re.compile(r"0|-?[1-9][0-9]{0,11}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Record):
    """Settings that decide the numbers of a population."""

    schema_version: Annotated[int, records.known_version(SCHEMA_VERSION)] = SCHEMA_VERSION
    policies: list[str]  # the first one is that of `minus_learned`
    num_users: Count
    users_per_shard: Count
    horizon: Count  # T
    batch_size: Count
    seed: NonNegative  # of the users
    corpus_seed: NonNegative
    weights: str  # hash of the learned weights
    configuration: str  # hash of gin's configuration
    bin_width: float  # of the histograms

    @property
    def num_shards(self) -> int:
        """Number of shards; the last one may have fewer users."""
        return -(-self.num_users // self.users_per_shard)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard(Record):
    """Content of a shard's file."""

    shard: NonNegative
    settings: Settings
    policies: Mapping[str, PolicyOfShard]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Population(Record):
    """Content of population.json."""

    schema_version: Annotated[int, records.known_version(SCHEMA_VERSION)] = SCHEMA_VERSION
    settings: Settings
    policies: Mapping[str, PolicyOfPopulation]


def shard_path(folder: str, shard: int) -> str:
    """Return the path of a shard's file."""
    return os.path.join(folder, SHARDS, f"shard_{shard}.json")


def shards_in(folder: str) -> set[int]:
    """Return the numbers of the shards that have a file."""
    try:
        names = os.listdir(os.path.join(folder, SHARDS))
    except FileNotFoundError:
        return set()
    return {int(match[1]) for match in map(_SHARD_FILE.fullmatch, names) if match}


def write_shard(folder: str, shard: Shard) -> None:
    """Write a shard's file; it appears whole or not at all."""
    layout.write_json(os.path.join(folder, SHARDS), os.path.basename(shard_path(folder, shard.shard)), shard.to_json())


def read_settings(folder: str) -> Settings:
    """Read the settings of a population's folder.

    Raises:
      InvalidInputError: one line, if the folder has no settings, or they have another form.
    """
    try:
        content = readers.json_object(os.path.join(folder, SETTINGS))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise validation.InvalidInputError(
            f"{validation.shown(folder, validation.MAX_PATH_SHOWN)} holds no population: --mode population makes one"
        ) from error
    settings = Settings.from_json(content, f"{SETTINGS}: ")
    raise_if_impossible(settings)
    return settings


def raise_if_impossible(settings: Settings) -> None:
    """Validate the numbers of a population against one another.

    Raises:
      InvalidInputError: one line, if there is no policy, or there are too many shards.
    """
    if not settings.policies or len(set(settings.policies)) < len(settings.policies):
        raise validation.InvalidInputError(f"{SETTINGS}: policies must be different names, at least one")
    if settings.num_shards > MAX_SHARDS:
        raise validation.InvalidInputError(
            f"a population has at most {MAX_SHARDS:,} shards, {settings.num_users:,} users in shards of "
            f"{settings.users_per_shard:,} are {settings.num_shards:,}: choose larger shards"
        )


def read_shards(folder: str, settings: Settings) -> Iterator[Shard]:
    """Read all shards, in order.

    Raises:
      InvalidInputError: one line, if shards are missing (it names them), or a file has another form, or is of another
        population.
    """
    missing = sorted(set(range(settings.num_shards)) - shards_in(folder))
    if missing:
        raise validation.InvalidInputError(
            f"{len(missing)} of {settings.num_shards} shards are missing, --shards {_ranges(missing)}"
        )
    for number in range(settings.num_shards):
        path = shard_path(folder, number)
        shard = Shard.from_json(readers.json_object(path), f"{os.path.basename(path)}: ")
        if shard.shard != number or shard.settings != settings or list(shard.policies) != settings.policies:
            raise validation.InvalidInputError(
                f"{os.path.basename(path)} is of another population: delete it and run --shards {number}:{number + 1}"
            )
        for name, policy in shard.policies.items():
            if not all(_BIN.fullmatch(place) for place in policy.histogram):
                raise validation.InvalidInputError(f"{os.path.basename(path)}: bins of {name} must be integers")
        yield shard


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers as ranges A:B, the end exclusive, such as "3:4, 7:10"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1][1] += 1
        else:
            ranges.append([number, number + 1])
    shown = ", ".join(f"{first}:{end}" for first, end in ranges[:MAX_NAMED])
    return shown + (f" and {len(ranges) - MAX_NAMED} more" if len(ranges) > MAX_NAMED else "")
