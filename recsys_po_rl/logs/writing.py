"""Writer of interaction logs, as Parquet or CSV, in bounded memory."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Optional, Union

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.logs import interactions, reading, table_streams
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.logs.sequence_checks import SequenceChecker
from recsys_po_rl.run_folder import readers

ROW_GROUP_ROWS = 1 << 18  # held in memory until they are written
PARQUET, CSV = ".parquet", ".csv"


class InteractionWriter:
    """Writer of one log, a context manager; the file appears whole at the end of the block, or not at all.

    Parquet files hold the metadata among their key-value metadata; beside a CSV file they are a file of their own, with
    `reading.METADATA_SUFFIX`. Unknown propensities (NaN) are written as missing cells. Numbers keep all their bits.
    """

    def __init__(
        self,
        path: Union[str, "os.PathLike[str]"],
        metadata: Optional[Mapping[str, Any]] = None,
        optional: Sequence[str] = tuple(interactions.OPTIONAL),
        whole_users: bool = False,
    ) -> None:
        """Validate the arguments; files are created at the start of the block.

        Args:
          path: path of the file, whose name ends with .parquet or .csv; it must not exist.
          metadata: JSON object within the limits of `run_folder.readers`.
          optional: columns of `interactions.OPTIONAL` to write; values that a log lacks are missing cells.
          whole_users: whether each `write` has all rows of its users, with ids above those before; then memory does not
            grow with the number of users.

        Raises:
          InvalidTypeError: if the path is no path of text.
          InvalidInputError: one line, if pyarrow is not installed, the suffix is another, the file exists, or the
            metadata cannot be written and read again.
        """
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise validation.InvalidInputError(f"log: {table_streams.MISSING_PYARROW}") from error
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise validation.InvalidTypeError(f"log: the path must be a text or a path, got {validation.shown(path)}")
        self._path = os.fspath(path)
        self._is_parquet = self._path.endswith(PARQUET)
        if not self._is_parquet and not self._path.endswith(CSV):
            raise validation.InvalidInputError(
                f"log: the file's name must end with {PARQUET} or {CSV}, got {table_files.shown(self._path)}"
            )
        for path_ in (self._path, self._path + reading.METADATA_SUFFIX):
            if os.path.lexists(path_):
                raise validation.InvalidInputError(f"log: {table_files.shown(path_)} exists already")
        for name in optional:
            validation.one_of("log: optional: each", name, interactions.OPTIONAL)
        self._names = [*interactions.REQUIRED, *(name for name in interactions.OPTIONAL if name in optional)]
        self._metadata = _encoded({} if metadata is None else metadata)
        self._whole_users = validation.boolean("log: whole_users", whole_users)
        self._checker = SequenceChecker()
        self._waiting: list[Interactions] = []
        self._temporary: list[str] = []
        self._file: Any = None
        self._writer: Any = None
        self.num_rows = 0

    def __enter__(self) -> "InteractionWriter":
        """Create the file under a temporary name.

        Raises:
          InvalidInputError: one line, if it cannot be created.
        """
        try:
            self._file = open(self._created(self._path), "wb")
        except (OSError, ValueError) as error:  # ValueError: the path contains NUL
            why = getattr(error, "strerror", None) or str(error)
            raise validation.InvalidInputError(
                f"log: {table_files.shown(self._path)} cannot be written: {why}"
            ) from error
        try:
            self._writer = self._opened_writer()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Complete and rename the file; after an error, delete it."""
        if kind is not None:
            self._discard()
            return
        try:
            self._flush()
            self._writer.close()
            if not self._file.closed:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
            self._rename()
        except BaseException:
            self._discard()
            raise

    def write(self, log: Interactions) -> None:
        """Write rows.

        Args:
          log: rows, a user's steps in ascending order.

        Raises:
          InvalidTypeError: if a column has the wrong dtype or length, or a policy is not a text.
          InvalidInputError: if a row cannot be right, by itself or beside the rows before it.
        """
        interactions.raise_if_wrong_columns(log)
        if log.policy is not None:
            _raise_if_no_policy(log.policy)
        faults = [*interactions.single_row_faults(log)] or [*self._sequence_faults(log)]
        if faults:
            first = min(faults, key=lambda fault: int(fault.places[0]))
            raise validation.InvalidInputError(f"log: row {self.num_rows + int(first.places[0]) + 1}: {first.reason}")
        self.num_rows += log.num_rows
        self._waiting.append(log)
        if sum(part.num_rows for part in self._waiting) >= ROW_GROUP_ROWS:
            self._flush()

    def _sequence_faults(self, log: Interactions) -> Iterator[interactions.Fault]:
        if self._whole_users and log.num_rows:
            if len(self._checker.users) and log.user_id.min() <= self._checker.users[-1]:
                raise validation.InvalidInputError(
                    f"log: row {self.num_rows + 1}: with whole_users each write has users above those before, "
                    f"{self._checker.users[-1]}, got {log.user_id.min()}"
                )
            self._checker = SequenceChecker()
        yield from self._checker.faults(log, np.ones(log.num_rows, bool))

    def _created(self, path: str) -> str:
        folder, name = os.path.split(path)
        temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}")
        self._temporary.append(temporary)
        return temporary

    def _schema(self) -> Any:
        import pyarrow as pa

        types = {np.dtype(object): pa.string()}
        if not self._is_parquet:
            types[np.dtype(np.float32)] = pa.float64()  # its digits are read as float64, too
        fields = []
        for name in self._names:
            dtype = interactions.COLUMNS[name]
            fields.append(pa.field(name, types.get(dtype) or pa.from_numpy_dtype(dtype), name in interactions.OPTIONAL))
        return pa.schema(fields)

    def _opened_writer(self) -> Any:
        from pyarrow import csv, parquet

        if self._is_parquet:
            writer = parquet.ParquetWriter(self._file, self._schema(), compression="snappy")
            # Metadata of a schema are stored twice: also in arrow's own schema.
            writer.add_key_value_metadata({reading.METADATA_KEY: self._metadata})
            return writer
        return csv.CSVWriter(self._file, self._schema())

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        log = interactions.concatenate(self._waiting)
        self._waiting = []
        present = log.present()
        schema = self._schema()
        arrays = []
        for name in self._names:
            values = present[name] if name in present else interactions.unknown(name, log.num_rows)
            arrays.append(pa.array(values, schema.field(name).type, from_pandas=name in interactions.OPTIONAL))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    def _rename(self) -> None:
        if self._is_parquet:
            os.replace(self._temporary[0], self._path)
            return
        beside = self._path + reading.METADATA_SUFFIX
        with open(self._created(beside), "wb") as file:
            file.write(self._metadata)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._temporary[-1], beside)
        try:
            os.replace(self._temporary[0], self._path)  # last: rows without their metadata would look whole
        except BaseException:
            os.unlink(beside)
            raise

    def _discard(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception):  # what made the log fail can fail here again, and the file is deleted
                self._writer.close()
        with contextlib.suppress(OSError):  # of a full disk, which is reported already
            self._file.close()
        for temporary in self._temporary:
            if os.path.exists(temporary):
                os.unlink(temporary)


def _encoded(metadata: Mapping[str, Any]) -> bytes:
    """Return metadata as JSON that `reading.read_metadata` accepts."""
    try:
        content = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode()
        readers.parsed_object("metadata", content)
    except validation.InvalidInputError as error:
        raise validation.InvalidInputError(f"log: {error}") from error
    except (TypeError, ValueError, RecursionError) as error:  # NaN, NumPy values, cycles, half a character, ...
        why = validation.one_line(str(error)) or type(error).__name__
        raise validation.InvalidInputError(f"log: metadata must be a JSON object: {why}") from error
    return content


def _raise_if_no_policy(policy: np.ndarray) -> None:
    """Validate names of policies, so that readers return them as they are."""
    names = policy.tolist()
    wrong = next((name for name in names if name is not None and not isinstance(name, str)), None)
    if wrong is not None:
        raise validation.InvalidTypeError(f"log: policy must be texts or None, got {validation.shown(wrong)}")
    for name in set(names) - {None}:
        if not 0 < len(name) <= table_files.MAX_CELL or "\0" in name or not _is_encodable(name):
            raise validation.InvalidInputError(
                f"log: policy must have 1 to {table_files.MAX_CELL} characters, all of them text, "
                f"got {validation.shown(name)}"
            )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
