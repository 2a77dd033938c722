"""Report of the rows of a log that cannot be right: file, row and reason."""

import collections
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import table_files, validation

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
        self.rows: list[InvalidRow] = []
        self.counts: collections.Counter[str] = collections.Counter()

    @property
    def total(self) -> int:
        """Number of invalid rows."""
        return sum(self.counts.values())

    def add(
        self, reason: str, files: np.ndarray, rows: np.ndarray, text_of: Optional[Callable[[int], str]] = None
    ) -> None:
        """Add rows that are invalid for one reason.

        Args:
          reason: the reason, of which there are few.
          files: int32 [M], for each row the index of its path.
          rows: int64 [M], numbers of the rows.
          text_of: returns the reason in the words of one of the M rows; None: as for all.
        """
        self.counts[reason] += len(rows)
        for place in range(min(len(rows), MAX_KEPT - len(self.rows))):
            text = reason if text_of is None else text_of(place)
            self.rows.append(InvalidRow(self._paths[files[place]], int(rows[place]), text))

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
