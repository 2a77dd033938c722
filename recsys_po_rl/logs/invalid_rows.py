"""Report of the rows of a log that cannot be right: file, row and reason, and the slates to drop."""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.logs.interactions import Interactions

MAX_KEPT = 1000  # rows in `InvalidRows.rows`
MAX_SHOWN = 5  # rows in a message


class InvalidRow(NamedTuple):
    """Row that cannot be right."""

    path: str
    row: int  # from 1, the first row below the header
    reason: str

    def __str__(self) -> str:
        """Return the row in a few words."""
        return f"{table_files.shown(self.path)} row {self.row}: {self.reason}"


class InvalidRows:
    """Collector of invalid rows; all are counted, the first `MAX_KEPT` are kept.

    Attributes:
      rows: the first invalid rows, in the order of their batches.
      counts: number of rows by reason; each row counts for one reason.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Create an empty collector.

        Args:
          paths: paths of the files.
        """
        self._paths = list(paths)
        self._slates: set[tuple[int, int]] = set()
        self.rows: list[InvalidRow] = []
        self.counts: collections.Counter[str] = collections.Counter()

    @property
    def total(self) -> int:
        """Number of invalid rows."""
        return sum(self.counts.values())

    def add(self, reason: str, files: Iterable[int], rows: Iterable[int]) -> None:
        """Add rows that are invalid for one reason.

        Args:
          reason: the reason.
          files: for each row the index of its path.
          rows: numbers of the rows.
        """
        added = [InvalidRow(self._paths[file], int(row), reason) for file, row in zip(files, rows)]
        self.counts[reason] += len(added)
        self.rows += added[: MAX_KEPT - len(self.rows)]

    def add_slates(self, user_id: np.ndarray, step: np.ndarray) -> None:
        """Add slates that have an invalid row.

        Args:
          user_id: int64 [M].
          step: int32 [M].
        """
        self._slates.update(zip(user_id.tolist(), step.tolist()))

    def without_slates(self, log: Interactions) -> Interactions:
        """Return a log without the rows of the slates that were added.

        Args:
          log: rows of the log.
        """
        if not self._slates:
            return log
        users = np.array(sorted({user for user, _ in self._slates}))
        kept = np.ones(log.num_rows, bool)
        for place in np.flatnonzero(np.isin(log.user_id, users)).tolist():
            kept[place] = (int(log.user_id[place]), int(log.step[place])) not in self._slates
        return log.take(kept)

    def raise_if_above(self, max_share: float, num_rows: int) -> None:
        """Raise one line with the number of invalid rows, counts by reason and the first rows.

        Args:
          max_share: the largest share of invalid rows.
          num_rows: number of all rows.

        Raises:
          InvalidInputError: if the share of invalid rows is above `max_share`.
        """
        if self.total <= max_share * num_rows:
            return
        by_reason = ", ".join(f"{count} x {reason}" for reason, count in self.counts.most_common())
        first = "; ".join(map(str, self.rows[:MAX_SHOWN]))
        raise validation.InvalidInputError(
            f"log: {self.total} of {num_rows} rows cannot be right, max_invalid_share = {max_share:g} allows "
            f"{int(max_share * num_rows)}: {by_reason}; first: {first}"
        )
