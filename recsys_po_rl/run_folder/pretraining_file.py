"""Form of pretraining.json: versioned records, validated on reading."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Annotated, Optional

from recsys_po_rl.common import records
from recsys_po_rl.common.records import Count, NonNegative, Record
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.run_folder import layout, readers

SCHEMA_VERSION = 1

Measures = Mapping[str, MeanInterval]  # by name, such as ndcg_at_5


@dataclasses.dataclass(frozen=True, kw_only=True)
class UsersOfLog(Record):
    """Users with at least one click, by part."""

    training: Count
    validation: Count
    test: Count


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSummary(Record):
    """Content of the log."""

    num_rows: NonNegative
    num_clicks: Count
    num_users: UsersOfLog


@dataclasses.dataclass(frozen=True, kw_only=True)
class InversePropensity(Record):
    """Weights of the training loss, over the clicks of the training users."""

    max_weight: float
    share_clipped: float
    effective_sample_size: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining(Record):
    """Content of pretraining.json."""

    schema_version: Annotated[int, records.known_version(SCHEMA_VERSION)] = SCHEMA_VERSION
    scorer: str  # class
    num_docs: Count  # D
    history_length: Count  # H
    seed: NonNegative
    log: LogSummary
    num_epochs: Count  # done
    best_epoch: Count  # of the weights that are kept
    weights: str  # hash of the weights, see `policy_file.weights_hash`
    measures: Mapping[str, Measures]  # of the scorer, popularity and random, means over the test users
    scorer_minus: Mapping[str, Measures]  # the scorer's measures minus those of the others, paired by user
    inverse_propensity: Optional[InversePropensity] = None


def read(folder: str) -> Pretraining:
    """Read pretraining.json of a folder.

    Args:
      folder: path of the folder.

    Raises:
      FileNotFoundError: if the file does not exist.
      InvalidInputError: one line, if the file has another form.
    """
    content = readers.json_object(os.path.join(folder, layout.PRETRAINING))
    lead = f"{layout.PRETRAINING} has not the form that this project writes: "
    if "schema_version" in content:  # before a form that a later version may change
        records.known_version(SCHEMA_VERSION).validate(f"{lead}schema_version", content["schema_version"])
    return Pretraining.from_json(content, lead)
