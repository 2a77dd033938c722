"""Rows of log files as `Interactions`: columns mapped, cells converted, ids numbered, steps counted."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.logs import cells, interactions, table_streams
from recsys_po_rl.logs.cells import Cells
from recsys_po_rl.logs.columns import ColumnMap
from recsys_po_rl.logs.id_tables import IdTable
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.logs.invalid_rows import InvalidRows
from recsys_po_rl.logs.step_counting import StepCounter
from recsys_po_rl.logs.times import TimeReader

_INT32 = np.iinfo(np.int32)


class Rows(NamedTuple):
    """Rows with their places in the files."""

    log: Interactions
    file: np.ndarray  # int32 [N], indices of paths
    row: np.ndarray  # int64 [N], from 1
    unreadable: np.ndarray  # bool [N], whether a cell is missing or wrong, not those of user and step or time
    backwards: np.ndarray  # bool [N], whether a counted row is earlier than a row before it of the same user
    timestamp: Optional[np.ndarray]  # [N]

    def take(self, places: Any) -> "Rows":
        """Return some of the rows; see `Interactions.take`."""
        return Rows(
            self.log.take(places),
            file=self.file[places],
            row=self.row[places],
            unreadable=self.unreadable[places],
            backwards=self.backwards[places],
            timestamp=None if self.timestamp is None else self.timestamp[places],
        )

    def followed_by(self, other: "Rows") -> "Rows":
        """Return these rows and others."""
        timestamp = None
        if self.timestamp is not None and other.timestamp is not None:
            timestamp = np.concatenate([self.timestamp, other.timestamp])
        return Rows(
            interactions.concatenate([self.log, other.log]),
            file=np.concatenate([self.file, other.file]),
            row=np.concatenate([self.row, other.row]),
            unreadable=np.concatenate([self.unreadable, other.unreadable]),
            backwards=np.concatenate([self.backwards, other.backwards]),
            timestamp=timestamp,
        )


class RowStream:
    """Rows of files, which can be read several times.

    Attributes:
      num_left_out: number of rows that the latest reading left out, because it is unknown to which slate they belong:
        the number of cells is wrong, or the cell of the user, the step or the time is missing or of wrong type.
    """

    def __init__(self, paths: Sequence[str], columns: ColumnMap, batch_rows: int) -> None:
        """Store the arguments; no file is opened.

        Args:
          paths: paths of the files, in order.
          columns: columns of the files.
          batch_rows: maximum number of rows that are read at once.
        """
        self._paths = paths
        self._columns = columns
        self._batch_rows = batch_rows
        self._states: dict[int, table_streams.FileState] = {}  # by index of path, at the first reading
        self.num_left_out = 0

    def read(
        self, items: Optional[IdTable], users: Optional[IdTable], invalid: Optional[InvalidRows]
    ) -> Iterator[Rows]:
        """Return the rows whose slates are known, in order.

        Args:
          items: numbers the labels of documents; None: item ids are integers.
          users: numbers the labels of users; None: user ids are integers.
          invalid: collects rows that cannot be read; None: they are left out silently.

        Raises:
          InvalidInputError: one line, if a file cannot be read, lacks a column, a column has a wrong type, or the
            file is not the one that was read first.
        """
        self.num_left_out = 0
        uncounted = self._uncounted(items, users, invalid)
        if not self._columns.counts_steps or self._columns.user_id is None:
            yield from uncounted
            return
        is_slate = self._columns.slot is not None and self._columns.timestamp is not None
        counter = StepCounter(one_slate_for_equal_times=is_slate)
        held: Optional[Rows] = None
        for rows in uncounted:
            done = counter.add(rows.log.user_id, rows.timestamp)
            held = rows if held is None else held.followed_by(rows)
            yield _with_steps(held.take(done.places), done.step, done.backwards)
            held = held.take(slice(len(done.places), None))
        if held is not None:
            done = counter.add(
                held.log.user_id[:0], None if held.timestamp is None else held.timestamp[:0], is_last=True
            )
            yield _with_steps(held.take(done.places), done.step, done.backwards)

    def _uncounted(
        self, items: Optional[IdTable], users: Optional[IdTable], invalid: Optional[InvalidRows]
    ) -> Iterator[Rows]:
        num_before = 0
        times = TimeReader()
        for number, path in enumerate(self._paths):
            times.start_file()
            with table_streams.opened(path) as stream:
                self._raise_if_changed(number, path, stream)
                names = self._columns.present(stream.names, f"log: {table_files.shown(path)}")
                for batch in stream.batches(list(names.values()), self._batch_rows):
                    columns = _Columns(path, number=number, names=names, batch=batch)
                    yield self._mapped(columns, num_before, items=items, users=users, invalid=invalid, times=times)
                    num_before += len(batch.rows)
                self._raise_if_changed(number, path, stream)
                unequal = stream.unequal
                self.num_left_out += len(unequal.rows)
                if invalid is not None and len(unequal.rows):
                    text_of = functools.partial(_unequal_text, unequal, len(stream.names))
                    files = np.full(len(unequal.rows), number, np.int32)
                    invalid.add("wrong number of cells", files, unequal.rows, text_of=text_of)

    def _raise_if_changed(self, number: int, path: str, stream: table_streams.TableStream) -> None:
        if self._states.setdefault(number, stream.state) != stream.state:
            raise validation.InvalidInputError(
                f"log: {table_files.shown(path)} has changed since it was read first, open the log again"
            )

    def _mapped(
        self,
        batch: "_Columns",
        num_before: int,
        *,
        items: Optional[IdTable],
        users: Optional[IdTable],
        invalid: Optional[InvalidRows],
        times: TimeReader,
    ) -> Rows:
        columns = self._columns
        read: dict[str, Cells] = {}
        if columns.user_id is not None:
            read["user_id"] = batch.integers("user_id", np.int64) if users is None else batch.labels("user_id", users)
        if columns.step is not None:
            read["step"] = batch.integers("step", np.int32)
        if columns.slot is not None:
            read["slot"] = _moved(batch.integers("slot", np.int64), columns.first_slot)
        read["item_id"] = batch.integers("item_id", np.int32) if items is None else batch.labels("item_id", items)
        for name in ("clicked", "consumed_time"):
            if getattr(columns, name) is not None:
                read[name] = batch.cells(name, cells.numbers)
        if columns.timestamp is not None and columns.user_id is not None:
            read["timestamp"] = batch.cells("timestamp", times.read)
        for name in interactions.PROPENSITIES:
            if name in batch.names:
                read[name] = _known_or_nan(batch.cells(name, cells.numbers))
        if interactions.POLICY in batch.names:
            read[interactions.POLICY] = batch.cells(interactions.POLICY, cells.texts)
        if "clicked" in read:
            clicked = read["clicked"]
            read["clicked"] = clicked._replace(missing=clicked.missing | np.isnan(clicked.values))
            if columns.ignore_time_without_click and "consumed_time" in read:
                is_click, time = clicked.values > columns.click_above, read["consumed_time"]
                read["consumed_time"] = Cells(time.values, time.missing & is_click, time.wrong & is_click)
        usable = self._usable(batch, read, invalid)
        places = [read[name].usable for name in ("user_id", "step", "timestamp") if name in read]
        is_placed = np.logical_and.reduce(places) if places else usable
        self.num_left_out += int(np.sum(~is_placed))
        log = self._log({name: column.values for name, column in read.items()}, len(usable), num_before, items)
        rows = Rows(
            log,
            file=np.full(len(usable), batch.number, np.int32),
            row=batch.rows,
            unreadable=~usable,
            backwards=np.zeros(len(usable), bool),
            timestamp=read["timestamp"].values if "timestamp" in read else None,
        )
        return rows if is_placed.all() else rows.take(is_placed)

    def _usable(self, batch: "_Columns", read: dict[str, Cells], invalid: Optional[InvalidRows]) -> np.ndarray:
        """Return whether all cells of each row have values, and collect the other rows."""
        usable = np.ones(len(batch.rows), bool)
        for name, column in read.items():
            for reason, mask in ((f"missing {name}", column.missing), (f"wrong type of {name}", column.wrong)):
                places = np.flatnonzero(mask & usable)
                usable[places] = False
                if invalid is not None and len(places):
                    invalid.add(reason, np.full(len(places), batch.number, np.int32), batch.rows[places])
        return usable

    def _log(
        self, values: dict[str, np.ndarray], num_rows: int, num_before: int, items: Optional[IdTable]
    ) -> Interactions:
        """Return the rows of columns as in the file."""
        columns = self._columns
        zeros = np.zeros(num_rows, np.int32)
        clicked = np.ones(num_rows, bool) if columns.clicked is None else values["clicked"] > columns.click_above
        time = clicked.astype(np.float64)
        if columns.consumed_time is not None:
            time = values["consumed_time"] * columns.time_scale
        if columns.ignore_time_without_click:
            time = np.where(clicked, time, 0.0)
        item_id = values["item_id"] + (0 if items is None else 1)
        optional = {name: values[name] for name in interactions.OPTIONAL if name in values}
        with np.errstate(over="ignore"):  # a time beyond float32 is infinite, which is a fault
            return Interactions(
                user_id=values.get("user_id", np.arange(num_before, num_before + num_rows)),
                step=values.get("step", zeros),
                slot=values.get("slot", zeros),
                item_id=item_id.astype(np.int32),
                clicked=clicked,
                consumed_time=time.astype(np.float32),
                **optional,
            )


class _Columns:
    """Columns of a batch by field, with errors that name file and column."""

    def __init__(self, path: str, number: int, names: dict[str, str], batch: table_streams.Batch) -> None:
        self.number = number
        self.names = names
        self.rows = batch.rows
        self._path = path
        self._batch = batch

    def cells(self, field: str, convert: Callable[..., Cells], *arguments: Any) -> Cells:
        name = self.names[field]
        try:
            return convert(self._batch.columns[name], *arguments)
        except TypeError as error:
            raise validation.InvalidInputError(
                f"log: {table_files.shown(self._path)}: column {validation.shown(name)} {error}"
            ) from error

    def integers(self, field: str, dtype: Any) -> Cells:
        return self.cells(field, cells.integers, dtype)

    def labels(self, field: str, table: IdTable) -> Cells:
        return self.cells(field, cells.labels, table)


def _moved(slot: Cells, first_slot: int) -> Cells:
    """Return slots from 0 on, int32; those beyond it are wrong."""
    least, most = (bound + first_slot for bound in (_INT32.min, _INT32.max))
    beyond = slot.usable & ((slot.values < least) | (slot.values > most))
    values = np.where(beyond, 0, slot.values - first_slot).astype(np.int32)
    return Cells(values, slot.missing, slot.wrong | beyond)


def _unequal_text(unequal: table_streams.UnequalRows, expected: int, place: int) -> str:
    actual = unequal.num_cells[place]
    return f"{'1 cell' if actual == 1 else f'{actual} cells'} where the header has {expected}"


def _known_or_nan(column: Cells) -> Cells:
    values = np.where(column.missing, np.nan, column.values)
    return Cells(values, np.zeros(len(values), bool), column.wrong)


def _with_steps(rows: Rows, step: np.ndarray, backwards: np.ndarray) -> Rows:
    if len(step) and step.max() > _INT32.max:
        raise validation.InvalidInputError(f"log: user {rows.log.user_id[step.argmax()]} has more than 2**31 slates")
    log = Interactions(**{**rows.log.present(), "step": step.astype(np.int32)})
    return rows._replace(log=log, backwards=backwards)
