"""Form of evaluation.json and environment.json: records, validated once on reading; consumers rely on the content."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Annotated, Any, Optional

from recsys_po_rl.common import records, validation
from recsys_po_rl.common.records import Bounds, Check, Count, NonNegative, Record
from recsys_po_rl.evaluation import price as price_lib
from recsys_po_rl.evaluation.results import PolicyResult, Price
from recsys_po_rl.run_folder import readers

SCHEMA_VERSION = 1  # files of 0.1.0 have no version, and the form of version 1
MAX_SEED = 2**32 - 1


def _parameter(where: str, value: Any) -> None:
    """Validate a parameter of a world: a number, a text, None, or a (nested) list of these."""
    if isinstance(value, list):
        for element in value:
            _parameter(where, element)
    elif not isinstance(value, (str, int, float, type(None))):
        raise records.error(where, "a number or a text", value)


Seed = Annotated[int, records.between(0, MAX_SEED)]
World = Mapping[str, Annotated[Any, Check(_parameter)]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection(Record):
    """Selection of the learned policy by validation users; only shown, so that the values are not validated."""

    best_step: Any = None  # training step of the policy
    num_validation_users: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change(Record):
    """gin binding that differs between training and evaluation."""

    name: str
    trained: Optional[str]  # value as gin text; None: not bound
    evaluated: Optional[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedWhereTrained(Record):
    """Reward of the learned policy in the world of its training."""

    mean: float
    interval95: Bounds
    num_users: Optional[Count] = None
    horizon: Optional[Count] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """Content of evaluation.json: of one seed, of several seeds, or of a trained policy in another world."""

    schema_version: Annotated[int, records.known_version(SCHEMA_VERSION)] = SCHEMA_VERSION
    policies: Mapping[str, PolicyResult]  # by name
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)  # reason, by policy name
    full_information: list[str] = dataclasses.field(default_factory=list)  # policies that see the interest
    price_of_partial_observability: Optional[Price] = None
    selection: Optional[Selection] = None
    seed: Optional[Seed] = None  # of the users; None: several seeds
    horizon: Optional[Count] = None  # T, slates shown to each user
    # Settings that determine the users and their random draws, see `experiment.evaluation_files.world_of`.
    world: Optional[World] = None
    corpus_seed: Optional[Seed] = None
    per_seed: Optional[list["Evaluation"]] = None  # None: one seed
    # Evaluations of trained policies only:
    trained_seed: Optional[Seed] = None
    trained_in: Optional[World] = None  # world of the training, and corpus_seed
    evaluated_in: Optional[World] = None
    changed: Optional[list[Change]] = None  # differences in the configuration that can affect the evaluation
    learned_where_it_was_trained: Optional[LearnedWhereTrained] = None  # null: the training has no evaluation
    best_step: Optional[NonNegative] = None  # training step of the policy

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file; see `Record.to_json`."""
        content = super().to_json()
        if self.trained_seed is not None:
            content.setdefault("learned_where_it_was_trained", None)
        return content

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Evaluation":
        """Validate the content of a file, of any known version, and return it; see `Record.from_json`."""
        if isinstance(content, dict) and "schema_version" in content:  # before a form that a later version may change
            records.known_version(SCHEMA_VERSION).validate(f"{where}schema_version", content["schema_version"])
        return super().from_json(content, where)

    @property
    def by_seed(self) -> list["Evaluation"]:
        """The evaluation of each seed."""
        return [self] if self.per_seed is None else self.per_seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine(Record):
    """Machine of a run."""

    platform: str
    processor: str
    cpu_count: Optional[int]  # None: not known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """Content of environment.json: the identity of a run, where it ran, and whether it is finished."""

    run: Optional[str] = None  # unique name
    versions: Optional[Mapping[str, str]] = None  # by package, see `layout.versions`
    seeds: Optional[list[Seed]] = None
    machine: Optional[Machine] = None
    command: Optional[list[str]] = None
    started: Optional[str] = None  # time in ISO 8601, as `finished`
    corpus_seed: Optional[Seed] = None  # None: several seeds, each with its own
    table: Optional[str] = None  # hash of the documents of a table
    arguments: Optional[Mapping[str, str]] = None  # those that decide the results, see `ExperimentConfig.fingerprint`
    finished: Optional[str] = None  # None: the run is not finished
    files: Optional[list[str]] = None  # files of the finished run, except for TensorBoard's


def read(path: str) -> Evaluation:
    """Read an evaluation.json file.

    Unknown keys are allowed and kept, and all keys but `policies` may be missing.

    Args:
      path: path of the file.

    Raises:
      FileNotFoundError: if the file does not exist.
      InvalidInputError: one line, if the file is not a valid evaluation.json.
    """
    return from_json(readers.json_object(path), path)


def from_json(content: Mapping[str, Any], path: str) -> Evaluation:
    """Validate the content of an evaluation.json file and return it.

    Args:
      content: the content.
      path: path or name of the file, for messages.

    Raises:
      InvalidInputError: one line, if the content is not of this form.
    """
    lead = _lead(os.path.basename(path))
    if "policies" not in content and content.get("schema_version", SCHEMA_VERSION) == SCHEMA_VERSION:
        raise validation.InvalidInputError(f"{lead}it lacks policies")
    return Evaluation.from_json(content, lead)


def raise_if_not_comparable(evaluation: Evaluation, name: str) -> None:
    """Validate that an evaluation of one seed has the entries needed by comparisons.

    Args:
      evaluation: the evaluation.
      name: name of the file, for messages.

    Raises:
      InvalidInputError: one line, if a seed or the horizon are missing, or there are no policies.
    """
    _raise_if_lacking(f"{_lead(name)}it", evaluation, "seed", "corpus_seed", "horizon")
    if not evaluation.policies:
        raise validation.InvalidInputError(f"{_lead(name)}it has no policies")


def raise_if_not_shown(evaluation: Evaluation, name: str) -> None:
    """Validate that an evaluation has the entries of the tables of results.

    Args:
      evaluation: the evaluation.
      name: name of the file, for messages.

    Raises:
      InvalidInputError: one line, if the horizon is missing, a policy or its price lacks a number, or there are no
        policies.
    """
    lead = _lead(name)
    _raise_if_lacking(f"{lead}it", evaluation, "horizon")
    if not evaluation.policies:
        raise validation.InvalidInputError(f"{lead}it has no policies")
    for key in ("num_seeds", "interquartile_mean", "probability_of_improvement"):
        if any(getattr(result, key) is not None for result in evaluation.policies.values()):
            for policy, result in evaluation.policies.items():
                _raise_if_lacking(f"{lead}policies.{validation.shown(policy)}", result, key)
    price = evaluation.price_of_partial_observability
    if price is not None:
        for policy, priced in price.policies.items():
            if priced.share_of_gap is not None and priced.share_interval95 is None:
                raise validation.InvalidInputError(
                    f"{lead}the price of {validation.shown(policy)} lacks its share of the gap"
                )
        if price.gap is None and {price_lib.FLOOR, price_lib.CEILING} <= set(price.policies):
            raise validation.InvalidInputError(f"{lead}price_of_partial_observability lacks gap or differences")


def _lead(name: str) -> str:
    return f"{name} has not the form that this project writes: "


def _raise_if_lacking(where: str, record: Record, *keys: str) -> None:
    for key in keys:
        if getattr(record, key) is None:
            raise validation.InvalidInputError(f"{where} lacks {key}")
