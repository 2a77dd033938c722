"""Names and units of a log's columns, with ready-made maps for public data sets."""

import dataclasses
from collections.abc import Sequence
from typing import Optional

import numpy as np

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.logs import interactions
from recsys_po_rl.logs.id_tables import repeated

SORTED, FIRST_APPEARANCE = "sorted", "first_appearance"  # orders of a table of ids

_OWNER = "ColumnMap"
_NAMES = (*interactions.COLUMNS, "timestamp")
_MAX_FIRST_SLOT = np.iinfo(np.int32).max


@gin_config.configurable
@dataclasses.dataclass(frozen=True)
class ColumnMap:
    """Columns of a file that hold the fields of `Interactions`; the defaults are the project's own names.

    A column of `interactions.OPTIONAL` under its default name may be absent. Any other column must be in the file. No
    two fields are read from one column.

    Attributes:
      user_id: integers of at least 0, or any labels with `user_table`; None: each row is a user of its own.
      step: integers from 0. None: a user's steps are counted in the order of `timestamp`, or of the rows without
        `timestamp`. The rows of a user must then stand together, or be in the order of time.
      slot: integers from `first_slot`; None: slates of one document. Where steps are counted and both slot and
        timestamp are given, a user's rows with equal timestamps are one slate.
      item_id: ids 1..D, or any labels with `item_table`.
      clicked: a row is a click if its value is above `click_above`; None: each row is a click.
      consumed_time: times of at least 0, in units of 1 / `time_scale`; None: 1 for each click.
      propensity: probability of the ordered slate, see `Interactions`; None: not read, as of the next three.
      propensity_prefix: probability of the slate up to this slot.
      propensity_item: probability of this document in this slot.
      policy: names of policies.
      timestamp: numbers or dates, in any unit; read only where steps are counted.
      first_slot: number of the first slot in the file, from 0 to 2**31 - 1.
      click_above: bound of a click; 0 for columns of 0 and 1, or of false and true.
      time_scale: factor from the file's times to those of the log, above 0; 0.001 from milliseconds to seconds.
      ignore_time_without_click: whether times of rows without a click are read as 0; otherwise such rows are invalid.
      item_table: whether item ids are labels, to be numbered 1..D: "sorted", "first_appearance", or None.
      user_table: whether user ids are labels, to be numbered from 0 in the order of their first appearance.
    """

    user_id: Optional[str] = "user_id"
    step: Optional[str] = "step"
    slot: Optional[str] = "slot"
    item_id: str = "item_id"
    clicked: Optional[str] = "clicked"
    consumed_time: Optional[str] = "consumed_time"
    propensity: Optional[str] = "propensity"
    propensity_prefix: Optional[str] = "propensity_prefix"
    propensity_item: Optional[str] = "propensity_item"
    policy: Optional[str] = "policy"
    timestamp: Optional[str] = None
    first_slot: int = 0
    click_above: float = 0.0
    time_scale: float = 1.0
    ignore_time_without_click: bool = False
    item_table: Optional[str] = None
    user_table: bool = False

    def __post_init__(self) -> None:
        """Validate the map.

        Raises:
          InvalidTypeError: if an argument has the wrong type.
          InvalidInputError: if a number is out of bounds, or arguments contradict one another.
        """
        for field in _NAMES:
            name = getattr(self, field)
            if (name is None and field != "item_id") or (isinstance(name, str) and name):
                continue
            what = "the name of a column" if field == "item_id" else "the name of a column or None"
            raise validation.InvalidTypeError(f"{_OWNER}: {field} must be {what}, got {validation.shown(name)}")
        if validation.integer(f"{_OWNER}: first_slot", self.first_slot, 0) > _MAX_FIRST_SLOT:
            raise validation.InvalidInputError(
                f"{_OWNER}: first_slot must be at most {_MAX_FIRST_SLOT}, got {self.first_slot}"
            )
        validation.number(f"{_OWNER}: click_above", self.click_above)
        validation.number(f"{_OWNER}: time_scale", self.time_scale, 0.0, exclusive_minimum=True)
        validation.boolean(f"{_OWNER}: ignore_time_without_click", self.ignore_time_without_click)
        validation.boolean(f"{_OWNER}: user_table", self.user_table)
        if self.item_table is not None:
            validation.one_of(f"{_OWNER}: item_table", self.item_table, (SORTED, FIRST_APPEARANCE))
        if self.step is not None and self.timestamp is not None:
            raise validation.InvalidInputError(f"{_OWNER}: step must be None where timestamp is given")
        if self.step is not None and self.user_id is None:
            raise validation.InvalidInputError(f"{_OWNER}: step must be None where user_id is None")
        named = [getattr(self, field) for field in _NAMES]
        twice = repeated([name for name in named if name is not None])
        if twice is not None:
            fields = ", ".join(field for field, name in zip(_NAMES, named) if name == twice)
            raise validation.InvalidInputError(
                f"{_OWNER}: each field must have a column of its own, {validation.shown(twice)} is that of {fields}"
            )

    @property
    def counts_steps(self) -> bool:
        """True if steps are counted instead of read."""
        return self.step is None

    def present(self, names: Sequence[str], place: str) -> dict[str, str]:
        """Return the columns to read by field.

        Args:
          names: names of the columns of a file.
          place: the file, for the message.

        Raises:
          InvalidInputError: if a column is missing; the message names the columns of the file.
        """
        columns = {}
        for field in _NAMES:
            name = getattr(self, field)
            if name is None or (field in interactions.OPTIONAL and name == field and name not in names):
                continue
            if name not in names:
                shown = validation.cut(", ".join(validation.shown(each) for each in names))
                raise validation.InvalidInputError(
                    f"{place} lacks the column {validation.shown(name)} ({_OWNER}.{field}), it has {shown}"
                )
            columns[field] = name
        return columns


def _foreign(**columns: Optional[str]) -> dict[str, Optional[str]]:
    """Return arguments of a map that reads no other columns than these."""
    return {**dict.fromkeys((name for name in _NAMES if name != "item_id"), None), **columns}


@gin_config.configurable
def movielens_columns() -> ColumnMap:
    """Return the map of MovieLens' ratings.csv: a rating is a click, and the rating is the consumed time.

    Columns as in the README of ml-latest: userId, movieId, rating (0.5 to 5), timestamp (seconds); ordered by user, not
    by time. Harper and Konstan 2015, "The MovieLens Datasets: History and Context".
    """
    named = _foreign(user_id="userId", item_id="movieId", consumed_time="rating", timestamp="timestamp")
    return ColumnMap(**named, item_table=SORTED)  # type: ignore[arg-type]


@gin_config.configurable
def kuairand_columns() -> ColumnMap:
    """Return the map of KuaiRand's log_*.csv: the time is the view time of clicked videos, in seconds.

    Columns as in its README: user_id, video_id, time_ms, is_click, play_time_ms. Gao et al. 2022, "KuaiRand: An
    Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos".
    """
    named = _foreign(
        user_id="user_id", item_id="video_id", clicked="is_click", consumed_time="play_time_ms", timestamp="time_ms"
    )
    return ColumnMap(**named, time_scale=0.001, ignore_time_without_click=True, item_table=SORTED)  # type: ignore[arg-type]


@gin_config.configurable
def kuairec_columns() -> ColumnMap:
    """Return the map of KuaiRec's big_matrix.csv and small_matrix.csv: the time is the play duration, in seconds.

    A video that was watched is a click, `ColumnMap.click_above` raises the watch ratio that this takes. Columns as in
    its README: user_id, video_id, play_duration (milliseconds), timestamp (seconds), watch_ratio. Rows without a
    timestamp are invalid, see `max_invalid_share`. Gao et al. 2022, "KuaiRec: A Fully-observed Dataset and Insights for
    Evaluating Recommender Systems".
    """
    named = _foreign(
        user_id="user_id",
        item_id="video_id",
        clicked="watch_ratio",
        consumed_time="play_duration",
        timestamp="timestamp",
    )
    return ColumnMap(**named, time_scale=0.001, ignore_time_without_click=True, item_table=SORTED)  # type: ignore[arg-type]


@gin_config.configurable
def open_bandit_columns() -> ColumnMap:
    """Return the map of the Open Bandit Dataset: each impression is a user with one step.

    Columns as in its README: item_id (from 0), position (1 to 3), click, propensity_score (of the item at this
    position). Saito et al. 2020, "Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy
    Evaluation".
    """
    named = _foreign(slot="position", item_id="item_id", clicked="click", propensity_item="propensity_score")
    return ColumnMap(**named, first_slot=1, item_table=SORTED)  # type: ignore[arg-type]
