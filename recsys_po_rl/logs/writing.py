"""Writer of interaction logs, as Parquet or CSV, in bounded memory."""

import contextlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Optional, Union

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.logs import interactions, reading, table_streams
from recsys_po_rl.logs.interactions import Interactions

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
    ) -> None:
        """Validate the arguments; files are created at the start of the block.

        Args:
          path: path of the file, whose name ends with .parquet or .csv; it must not exist.
          metadata: JSON object.
          optional: columns of `interactions.OPTIONAL` to write; values that a log lacks are missing cells.

        Raises:
          InvalidInputError: one line, if pyarrow is not installed, the suffix is another, or the file exists.
        """
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise validation.InvalidInputError(f"log: {table_streams.MISSING_PYARROW}") from error
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
        self._metadata = json.dumps(dict(metadata or {}), allow_nan=False).encode()
        self._waiting: list[Interactions] = []
        self._temporary: list[str] = []
        self._file: Any = None
        self._writer: Any = None
        self.num_rows = 0

    def __enter__(self) -> "InteractionWriter":
        """Create the file under a temporary name."""
        self._file = open(self._created(self._path), "wb")
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
          log: rows; readers expect the steps of a user in ascending order.

        Raises:
          InvalidTypeError: if a column has the wrong dtype or length.
          InvalidInputError: if a row cannot be right.
        """
        interactions.raise_if_wrong_columns(log)
        fault = next(interactions.single_row_faults(log), None)
        if fault is not None:
            raise validation.InvalidInputError(f"log: row {self.num_rows + int(fault.places[0]) + 1}: {fault.reason}")
        self.num_rows += log.num_rows
        self._waiting.append(log)
        if sum(part.num_rows for part in self._waiting) >= ROW_GROUP_ROWS:
            self._flush()

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
        return pa.schema(fields, metadata={reading.METADATA_KEY: self._metadata} if self._is_parquet else None)

    def _opened_writer(self) -> Any:
        from pyarrow import csv, parquet

        if self._is_parquet:
            return parquet.ParquetWriter(self._file, self._schema(), compression="snappy")
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
        if not self._is_parquet:
            beside = self._path + reading.METADATA_SUFFIX
            with open(self._created(beside), "wb") as file:
                file.write(self._metadata)
            os.replace(self._temporary[-1], beside)
        os.replace(self._temporary[0], self._path)

    def _discard(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception):  # what made the log fail can fail here again, and the file is deleted
                self._writer.close()
        self._file.close()
        for temporary in self._temporary:
            if os.path.exists(temporary):
                os.unlink(temporary)
