"""Record of interaction logs, and checks of single rows; NumPy only."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation

# Columns of a log by name, in the order in which they are written.
REQUIRED: dict[str, np.dtype[Any]] = {
    "user_id": np.dtype(np.int64),
    "step": np.dtype(np.int32),
    "slot": np.dtype(np.int32),
    "item_id": np.dtype(np.int32),
    "clicked": np.dtype(bool),
    "consumed_time": np.dtype(np.float32),
}
PROPENSITIES = ("propensity", "propensity_prefix", "propensity_item")
POLICY = "policy"
OPTIONAL: dict[str, np.dtype[Any]] = {**dict.fromkeys(PROPENSITIES, np.dtype(np.float64)), POLICY: np.dtype(object)}
COLUMNS = {**REQUIRED, **OPTIONAL}

# Reasons for which a row cannot be right, whatever other rows hold.
UNKNOWN_DOCUMENT = "unknown document"
NEGATIVE_PLACE = "negative user_id, step or slot"
TIME_NOT_FINITE = "consumed_time is not finite"
NEGATIVE_TIME = "negative consumed_time"
TIME_WITHOUT_CLICK = "consumed_time without a click"


def propensity_reason(name: str) -> str:
    """Return the reason for which a row with a propensity out of bounds is invalid.

    Args:
      name: column, one of `PROPENSITIES`.
    """
    return f"{name} is not in (0, 1]"


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Rows of an interaction log, one for each user, step and slot; all fields have shape [N]."""

    user_id: np.ndarray  # int64
    step: np.ndarray  # int32, from 0
    slot: np.ndarray  # int32, from 0
    item_id: np.ndarray  # int32, document id in 1..D
    clicked: np.ndarray  # bool, at most one slot of a slate
    consumed_time: np.ndarray  # float32, 0 where not clicked
    propensity: Optional[np.ndarray] = (
        None  # float64, joint, of the ordered slate (same in each of its rows); NaN: unknown
    )
    propensity_prefix: Optional[np.ndarray] = None  # float64, of the slate up to this slot
    propensity_item: Optional[np.ndarray] = None  # float64, marginal probability of this document in this slot
    policy: Optional[np.ndarray] = None  # str (object array)

    @property
    def num_rows(self) -> int:
        """Number of rows N."""
        return len(self.user_id)

    def present(self) -> dict[str, np.ndarray]:
        """Return the columns that are not None, by name, in the order of `COLUMNS`."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        return {name: values for name, values in columns.items() if values is not None}

    def take(self, rows: Any) -> "Interactions":
        """Return some of the rows.

        Args:
          rows: slice, indices int [M] or mask bool [N].
        """
        return Interactions(**{name: values[rows] for name, values in self.present().items()})

    def in_order(self) -> "Interactions":
        """Return the rows sorted by user, step and slot; rows with equal keys keep their order."""
        return self.take(np.lexsort((self.slot, self.step, self.user_id)))


def raise_if_wrong_columns(log: Interactions) -> None:
    """Raise if a column has a dtype other than that of `COLUMNS`, or another length than the first.

    Args:
      log: rows of a log.

    Raises:
      InvalidTypeError: one line that names the column.
    """
    for name, values in log.present().items():
        if values.dtype != COLUMNS[name] or values.shape != (log.num_rows,):
            raise validation.InvalidTypeError(
                f"log: {name} must be {COLUMNS[name]} [{log.num_rows}], got {values.dtype} {list(values.shape)}"
            )


def concatenate(parts: Sequence[Interactions]) -> Interactions:
    """Return the rows of several logs, in their order; an optional column that some logs lack is unknown there.

    Args:
      parts: logs; none gives a log without rows.
    """
    present = [part.present() for part in parts]
    names = [name for name in COLUMNS if name in REQUIRED or any(name in columns for columns in present)]
    return Interactions(
        **{
            name: np.concatenate(
                [
                    np.empty(0, COLUMNS[name]),
                    *(columns.get(name, unknown(name, part.num_rows)) for columns, part in zip(present, parts)),
                ]
            )
            for name in names
        }
    )


def is_in_order(*keys: np.ndarray) -> bool:
    """Return whether rows are sorted by several keys.

    Args:
      *keys: arrays [N], the first of them first: user, step and slot.
    """
    ascending = np.zeros(max(len(keys[0]) - 1, 0), bool)
    equal = np.ones(len(ascending), bool)
    for key in keys:
        ascending |= equal & (key[1:] > key[:-1])
        equal &= key[1:] == key[:-1]
    return bool(np.all(ascending | equal))


def unknown(name: str, num_rows: int) -> np.ndarray:
    """Return an optional column without known values: NaN, or None for the policy.

    Args:
      name: column, one of `OPTIONAL`.
      num_rows: number of rows N.
    """
    return np.full(num_rows, np.nan) if name in PROPENSITIES else np.full(num_rows, None, object)


class Fault(NamedTuple):
    """Rows that cannot be right for one reason."""

    reason: str
    places: np.ndarray  # int64 [M], indices of the rows, ascending


def single_row_faults(log: Interactions, num_docs: Optional[int] = None) -> Iterator[Fault]:
    """Find rows that cannot be right whatever other rows hold.

    Args:
      log: rows of a log.
      num_docs: D; None: any id of at least 1 is a document.

    Yields:
      Faults; a row can be in several.
    """
    with np.errstate(invalid="ignore"):
        wrong = {
            NEGATIVE_PLACE: (log.user_id < 0) | (log.step < 0) | (log.slot < 0),
            UNKNOWN_DOCUMENT: (log.item_id < 1) | (False if num_docs is None else log.item_id > num_docs),
            TIME_NOT_FINITE: ~np.isfinite(log.consumed_time),
            NEGATIVE_TIME: log.consumed_time < 0,
            TIME_WITHOUT_CLICK: (log.consumed_time > 0) & ~log.clicked,
        }
        for name in PROPENSITIES:
            values = getattr(log, name)
            if values is not None:
                wrong[propensity_reason(name)] = ~np.isnan(values) & ~((values > 0) & (values <= 1))
    for reason, mask in wrong.items():
        if mask.any():
            yield Fault(reason, np.flatnonzero(mask))
