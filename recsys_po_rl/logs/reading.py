"""Readers of interaction logs from Parquet and CSV files: in streams of bounded memory, or whole."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.common.table_files import Label
from recsys_po_rl.logs import interactions, table_streams
from recsys_po_rl.logs.columns import SORTED, ColumnMap
from recsys_po_rl.logs.id_tables import IdTable, Numbering, checked_labels
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.logs.invalid_rows import InvalidRow, InvalidRows
from recsys_po_rl.logs.row_streams import Rows, RowStream
from recsys_po_rl.logs.sequence_checks import BACKWARDS, SequenceChecker
from recsys_po_rl.logs.slate_sets import SlateSet
from recsys_po_rl.run_folder import readers

BATCH_ROWS = 1 << 17
METADATA_KEY = b"recsys_po_rl"  # of a Parquet file's key-value metadata
METADATA_SUFFIX = ".metadata.json"  # of the file beside a CSV file

Paths = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


class InteractionLog:
    """Log in one or several files, whose rows have been validated; constructed by `open_interactions`.

    Attributes:
      num_rows: number of rows, without those dropped.
      num_dropped: number of rows that cannot be right, and of other rows of their slates; all are dropped.
      num_users: number of users with a row that is not dropped.
      invalid_counts: number of rows that cannot be right by reason.
      invalid_rows: the first of these rows with file, row and reason.
      item_ids: labels of the documents 1..D if the map has an item table, else None.
      user_ids: labels of the users from 0 on if the map has a user table, else None.
    """

    def __init__(
        self,
        paths: Sequence[str],
        columns: ColumnMap,
        num_docs: Optional[int],
        max_invalid_share: float,
        batch_rows: int,
        item_ids: Optional[Sequence[Label]],
    ) -> None:
        """Read and validate all rows once; see `open_interactions` for arguments and errors."""
        self._columns = columns
        self._batch_rows = batch_rows
        self._stream = RowStream(paths, columns, batch_rows)
        self._num_docs = num_docs
        self._given_items = None if item_ids is None else list(item_ids)
        labels = () if item_ids is None else checked_labels("log: item_ids", item_ids)
        self._items = None if columns.item_table is None else IdTable(labels, closed=item_ids is not None)
        self._users = IdTable() if columns.user_table else None
        self._invalid = InvalidRows(paths)
        self._dropped = SlateSet()
        self.num_rows, self.num_users = 0, 0
        users = self._validate(keeps_slates=max_invalid_share > 0)
        num_read = self.num_rows
        self._invalid.raise_if_above(max_invalid_share, num_read)
        self._item_numbers = None if self._items is None or item_ids is not None else Numbering(self._items)
        self._user_numbers = None if self._users is None else Numbering(self._users)
        if self._invalid.total:
            self._count_kept(users)
        self.num_dropped = num_read - self.num_rows
        if self._item_numbers is not None and columns.item_table == SORTED:
            self._item_numbers.sort()
        num_items = len(self.item_ids or ())
        if num_docs is not None and num_items > num_docs:
            raise validation.InvalidInputError(
                f"log: num_docs = {num_docs} must be at least the number of items, {num_items}"
            )

    @property
    def invalid_counts(self) -> dict[str, int]:
        """Number of rows that cannot be right by reason."""
        return dict(self._invalid.counts)

    @property
    def invalid_rows(self) -> list[InvalidRow]:
        """The first rows that cannot be right."""
        return list(self._invalid.rows)

    @property
    def item_ids(self) -> Optional[list[Label]]:
        """Labels of the documents: `item_ids[i - 1]` belongs to item_id i."""
        return self._given_items if self._item_numbers is None else list(self._item_numbers.labels)

    @property
    def user_ids(self) -> Optional[list[Label]]:
        """Labels of the users: `user_ids[i]` belongs to user_id i."""
        return None if self._user_numbers is None else list(self._user_numbers.labels)

    def batches(self) -> Iterator[Interactions]:
        """Return the valid rows in the order of the files; slates may be split between batches.

        Yields:
          Rows, at most as many as the log's `batch_rows`; where steps are counted, a user's rows in order of time.

        Raises:
          InvalidInputError: one line, if a file has changed since the log was validated.
        """
        num_rows = 0
        for rows in self._kept_rows():
            num_rows += rows.log.num_rows
            if num_rows > self.num_rows:
                break
            log = self._numbered(rows.log)
            for first in range(0, log.num_rows, self._batch_rows):
                yield log.take(slice(first, first + self._batch_rows))
        if num_rows != self.num_rows:
            raise validation.InvalidInputError("log: a file has changed while it was read, open the log again")

    def load(self) -> Interactions:
        """Return all valid rows, sorted by user, step and slot; optional columns that no file has are None."""
        columns: dict[str, np.ndarray] = {}
        end = 0
        for part in self.batches():
            present = part.present()
            for name in {*present, *columns}:
                if name not in columns:
                    empty = np.empty(self.num_rows, interactions.COLUMNS[name])
                    columns[name] = (
                        interactions.unknown(name, self.num_rows) if name in interactions.OPTIONAL else empty
                    )
                if name in present:
                    columns[name][end : end + part.num_rows] = present[name]
            end += part.num_rows
        log = Interactions(**columns) if columns else interactions.concatenate([])
        return log if interactions.is_in_order(log.user_id, log.step, log.slot) else log.in_order()

    def _read(self, invalid: Optional[InvalidRows]) -> Iterator[Rows]:
        return self._stream.read(self._items, self._users, invalid)

    def _largest_id(self) -> Optional[int]:
        return self._num_docs if self._items is None else None

    def _validate(self, keeps_slates: bool) -> np.ndarray:
        """Collect and count the rows that cannot be right, and count rows and users; return the users, int64."""
        checker = SequenceChecker()
        for rows in self._read(self._invalid):
            valid = ~rows.unreadable
            backwards = interactions.Fault(BACKWARDS, np.flatnonzero(rows.backwards))
            for fault in [backwards, *interactions.single_row_faults(rows.log, self._largest_id())]:
                places = fault.places[valid[fault.places]]
                if len(places):
                    self._invalid.add(fault.reason, rows.file[places], rows.row[places])
                valid[places] = False
            if self._columns.user_id is not None:  # otherwise each row is a user of its own
                for fault in checker.faults(rows.log, valid.copy()):
                    self._invalid.add(fault.reason, rows.file[fault.places], rows.row[fault.places])
                    valid[fault.places] = False
            if keeps_slates and not valid.all():
                self._dropped.add(rows.log.user_id[~valid], rows.log.step[~valid])
            self.num_rows += rows.log.num_rows
        self.num_rows += self._stream.num_left_out
        self._dropped.merge()
        users = checker.users
        self.num_users = self.num_rows if self._columns.user_id is None else len(users)
        return users

    def _kept_rows(self) -> Iterator[Rows]:
        """Return the rows whose slates have no row that cannot be right."""
        for rows in self._read(None):
            valid = ~rows.unreadable & ~rows.backwards
            for fault in interactions.single_row_faults(rows.log, self._largest_id()):
                valid[fault.places] = False
            valid &= ~self._dropped.contains(rows.log.user_id, rows.log.step)
            yield rows if valid.all() else rows.take(valid)

    def _count_kept(self, users: np.ndarray) -> None:
        """Read the rows again to count those kept and their users, and to leave out labels of dropped rows."""
        is_kept = np.zeros(len(self._dropped.users), bool)
        self.num_rows = 0
        for rows in self._kept_rows():
            self.num_rows += rows.log.num_rows
            is_kept |= np.isin(self._dropped.users, rows.log.user_id)
            if self._item_numbers is not None:
                self._item_numbers.note(rows.log.item_id - 1, rows.file, rows.row)
            if self._user_numbers is not None:
                self._user_numbers.note(rows.log.user_id, rows.file, rows.row)
        self.num_users -= int(np.sum(np.isin(self._dropped.users, users) & ~is_kept))
        if self._columns.user_id is None:
            self.num_users = self.num_rows
        for numbering in (self._item_numbers, self._user_numbers):
            if numbering is not None:
                numbering.keep_noted()

    def _numbered(self, log: Interactions) -> Interactions:
        """Return rows with final numbers of items and users."""
        if self._item_numbers is not None:
            log = dataclasses.replace(log, item_id=(self._item_numbers.final(log.item_id - 1) + 1).astype(np.int32))
        if self._user_numbers is not None:
            log = dataclasses.replace(log, user_id=self._user_numbers.final(log.user_id).astype(np.int64))
        return log


def open_interactions(
    paths: Paths,
    columns: Optional[ColumnMap] = None,
    num_docs: Optional[int] = None,
    max_invalid_share: float = 0.0,
    batch_rows: int = BATCH_ROWS,
    item_ids: Optional[Sequence[Label]] = None,
) -> InteractionLog:
    """Validate all rows of a log, and return it for reading.

    A row cannot be right if a cell is missing or of wrong type, or for a reason of `interactions`: an unknown document,
    a time that is negative, not finite or without a click, a repeated user, step and slot, steps of a user that
    descend, a propensity outside of (0, 1], a second click in a slate. Memory does not grow with the number of rows,
    but with the numbers of users and items.

    Args:
      paths: a CSV or Parquet file, or several, read in this order.
      columns: columns of the files; None: the project's own, `ColumnMap()`.
      num_docs: D, the largest id of a document, or the largest number of items with an item table; None: any.
      max_invalid_share: the largest share of rows that cannot be right, in [0, 1]. Below it, such rows are dropped with
        all rows of their slates.
      batch_rows: maximum number of rows of a batch, at least 1.
      item_ids: labels of the documents 1..D, for a map with an item table, for instance `TableCorpus.document_ids`;
        other items are unknown documents. None: the table is made of the log's items.

    Raises:
      InvalidInputError: one line, if pyarrow is not installed, a file cannot be read or lacks a column, a column has a
        wrong type, an argument is out of bounds, or too many rows cannot be right: their number, counts by reason, and
        the first of them by file and row.
    """
    columns = ColumnMap() if columns is None else columns
    if not isinstance(columns, ColumnMap):
        raise validation.InvalidTypeError(f"log: columns must be a ColumnMap, got {validation.shown(columns)}")
    if num_docs is not None:
        num_docs = validation.integer("log: num_docs", num_docs, 1)
    if item_ids is not None and columns.item_table is None:
        raise validation.InvalidInputError("log: item_ids need a ColumnMap with an item_table")
    return InteractionLog(
        _checked_paths(paths),
        columns,
        num_docs=num_docs,
        max_invalid_share=validation.number("log: max_invalid_share", max_invalid_share, 0.0, 1.0),
        batch_rows=validation.integer("log: batch_rows", batch_rows, 1),
        item_ids=item_ids,
    )


def read_interactions(
    paths: Paths,
    columns: Optional[ColumnMap] = None,
    num_docs: Optional[int] = None,
    max_invalid_share: float = 0.0,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[Interactions]:
    """Validate a log, and return its rows in batches; see `open_interactions` for arguments and errors.

    The files are read twice: no row is returned before all rows have been validated.
    """
    return open_interactions(paths, columns, num_docs, max_invalid_share, batch_rows=batch_rows).batches()


def load_interactions(
    paths: Paths,
    columns: Optional[ColumnMap] = None,
    num_docs: Optional[int] = None,
    max_invalid_share: float = 0.0,
) -> Interactions:
    """Validate a log, and return all its rows sorted by user, step and slot; see `open_interactions`."""
    return open_interactions(paths, columns, num_docs, max_invalid_share).load()


def read_metadata(path: Union[str, "os.PathLike[str]"]) -> dict[str, Any]:
    """Return the metadata of a log that this project wrote; empty for a log without metadata.

    Args:
      path: path of the log; the metadata of a CSV file stand beside it.

    Raises:
      InvalidInputError: one line, if the log or its metadata cannot be read.
    """
    (path,) = _checked_paths(path)
    with table_streams.opened(path) as stream:
        if stream.is_parquet:
            content = stream.metadata().get(METADATA_KEY)
            return {} if content is None else readers.parsed_object(f"metadata of {table_files.shown(path)}", content)
    try:
        return readers.json_object(path + METADATA_SUFFIX)
    except FileNotFoundError:
        return {}


def _checked_paths(paths: Paths) -> list[str]:
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    if not isinstance(several, Sequence):
        several = []
    checked = [os.fspath(path) for path in several if isinstance(path, (str, os.PathLike))]
    if not checked or len(checked) < len(several) or not all(isinstance(path, str) for path in checked):
        raise validation.InvalidTypeError(
            f"log: paths must be a path or a list of paths, got {validation.shown(paths)}"
        )
    return checked
