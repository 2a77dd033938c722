"""Form of offline_evaluation.json: estimates of a policy's value from a log."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Annotated, Optional

from recsys_po_rl.common import records
from recsys_po_rl.common.records import Count, Record
from recsys_po_rl.evaluation.offline_evaluation import OfflineEstimate
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.run_folder import readers

OFFLINE_EVALUATION = "offline_evaluation.json"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfflineResults(Record):
    """Content of offline_evaluation.json."""

    schema_version: Annotated[int, records.known_version(SCHEMA_VERSION)] = SCHEMA_VERSION
    policy: str  # target policy
    logging_policies: list[str]  # policies that wrote the log, where it names them
    num_users: Count
    horizon: Count  # T, slates of each user
    slate_size: Count
    logged: MeanInterval  # cumulative reward of the users of the log
    estimates: Mapping[str, OfflineEstimate]  # by estimator
    left_out: Mapping[str, str]  # estimators that do not apply, with the reason
    on_policy: Optional[MeanInterval]  # reward of the target policy in the run's own evaluation; None: another world


def read(path: str) -> OfflineResults:
    """Read an offline_evaluation.json file.

    Args:
      path: path of the file.

    Raises:
      FileNotFoundError: if the file does not exist.
      InvalidInputError: one line, if the file is not a valid offline_evaluation.json.
    """
    return OfflineResults.from_json(readers.json_object(path), f"{os.path.basename(path)}: ")
