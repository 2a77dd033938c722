"""Streams of record batches from CSV and Parquet files, as hostile input: bounded memory, nothing executed."""

import array
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from recsys_po_rl.common import regular_files, table_files, validation
from recsys_po_rl.logs import csv_texts
from recsys_po_rl.logs.id_tables import repeated
from recsys_po_rl.run_folder import readers

OWNER = "log"
MAX_ROWS = 1 << 32  # of a file: a few kilobytes of Parquet can claim any number
MAX_ROW_GROUP_BYTES = 1 << 31  # of the columns read, once unpacked
MAX_METADATA_BYTES = readers.MAX_JSON_BYTES  # of a log's metadata, for writers and readers
MAX_FOOTER_ITEMS = 1 << 22  # items of a list in a Parquet file's footer
MAX_UNEQUAL_ROWS = 200_000  # rows of a CSV file with a wrong number of cells: each costs about 20 microseconds
CSV_BLOCK_BYTES = 1 << 22  # of a batch; no row may be longer
MISSING_PYARROW = 'logs need pyarrow, which is not installed: pip install "recsys_po_rl[data]"'
_PARQUET_MAGIC = b"PAR1"
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}


class Batch(NamedTuple):
    """Rows of a file."""

    columns: dict[str, Any]  # arrow arrays by name
    rows: np.ndarray  # int64 [N], numbers of the rows, the first row below the header is 1


class UnequalRows(NamedTuple):
    """Rows of a CSV file that have more or fewer cells than the header."""

    rows: np.ndarray  # int64 [M], numbers of the rows, ascending
    num_cells: np.ndarray  # int64 [M]


class FileState(NamedTuple):
    """State of a file, which changes with its content."""

    device: int
    inode: int
    num_bytes: int
    modified: int  # nanoseconds


class TableStream:
    """Open file of rows, constructed by `opened`.

    Attributes:
      is_parquet: whether the file is Parquet; otherwise CSV.
      names: names of all columns.
    """

    def __init__(self, path: str, file: Any) -> None:
        """Read the names of the columns.

        Args:
          path: path of the file, for messages.
          file: the file, open for reading; stays open.
        """
        self._path = path
        self._file = file
        start = file.read(8)
        self.is_parquet = start.startswith(_PARQUET_MAGIC)
        packed = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
        if packed is not None:
            raise ValueError(f"it is packed ({packed}), unpack it first")
        self._footer: Any = None  # of a Parquet file, parsed once
        self._unequal = (array.array("q"), array.array("q"))  # rows, numbers of cells
        if self.is_parquet:
            self.names: list[str] = self._parquet([]).schema_arrow.names
        else:
            self.names = csv_texts.header(file, CSV_BLOCK_BYTES)
        twice = repeated(self.names)
        if twice is not None:
            raise ValueError(f"it has two columns {validation.shown(twice)}")

    @property
    def state(self) -> FileState:
        """State of the file."""
        status = os.fstat(self._file.fileno())
        return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def unequal(self) -> UnequalRows:
        """Rows left out of the batches read so far, because their number of cells is wrong."""
        return UnequalRows(*(np.array(values, np.int64) for values in self._unequal))

    def batches(self, names: Sequence[str], batch_rows: int) -> Iterator[Batch]:
        """Return the rows, in order.

        Args:
          names: the columns to read.
          batch_rows: maximum number of rows of a batch.

        Raises:
          InvalidInputError: one line, if the file is malformed.
        """
        self._unequal = (array.array("q"), array.array("q"))
        read = self._parquet_batches if self.is_parquet else self._csv_batches
        batches = read(names, batch_rows)
        while True:
            with _errors_in_one_line(self._path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def metadata(self) -> dict[bytes, bytes]:
        """Return the key-value metadata of a Parquet file; empty for CSV."""
        return dict(self._parquet([]).metadata.metadata or {}) if self.is_parquet else {}

    def _parquet(self, texts: Sequence[str]) -> Any:
        from pyarrow import parquet

        self._file.seek(0)
        file = parquet.ParquetFile(
            self._file,
            metadata=self._footer,
            read_dictionary=list(texts),
            pre_buffer=False,
            thrift_string_size_limit=MAX_METADATA_BYTES + (1 << 20),
            thrift_container_size_limit=MAX_FOOTER_ITEMS,
        )
        self._footer = file.metadata
        return file

    def _parquet_batches(self, names: Sequence[str], batch_rows: int) -> Iterator[Batch]:
        import pyarrow as pa

        schema = self._parquet([]).schema_arrow
        types = {name: schema.field(name).type for name in names}
        nested = next((name for name in names if pa.types.is_nested(types[name])), None)
        if nested is not None:
            raise ValueError(f"column {validation.shown(nested)} holds {types[nested]}")
        # A text that stands in many rows stays one text until its length is known.
        texts = [name for name in names if pa.types.is_string(types[name]) or pa.types.is_large_string(types[name])]
        file = self._parquet(texts)
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"it has {file.metadata.num_rows} rows, at most {MAX_ROWS} are allowed")
        for group in range(file.metadata.num_row_groups):
            chunks = file.metadata.row_group(group)
            sizes = [chunks.column(i) for i in range(chunks.num_columns)]
            unpacked = sum(max(0, size.total_uncompressed_size) for size in sizes if size.path_in_schema in names)
            if unpacked > MAX_ROW_GROUP_BYTES:
                raise ValueError(f"row group {group} has more than {MAX_ROW_GROUP_BYTES} bytes")
        before = 0
        for batch in file.iter_batches(batch_size=batch_rows, columns=list(names), use_threads=False):
            batch.validate(full=True)
            rows = np.arange(before + 1, before + 1 + batch.num_rows)
            before += batch.num_rows
            columns = {name: table_files.plain(pa.chunked_array([batch.column(name)])) for name in names}
            yield Batch({name: table_files.one_chunk(column) for name, column in columns.items()}, rows)

    def _csv_reader(self, names: Sequence[str]) -> Any:
        import pyarrow as pa
        from pyarrow import csv

        def note(row: Any) -> str:
            rows, num_cells = self._unequal
            if len(rows) >= MAX_UNEQUAL_ROWS:
                return "error"
            rows.append(0 if row.number is None else row.number - 1)
            num_cells.append(row.actual_columns)
            return "skip"

        return csv.open_csv(
            pa.PythonFile(csv_texts.Checked(self._file), mode="r"),
            read_options=csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),  # so that rows have numbers
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            convert_options=csv.ConvertOptions(
                include_columns=names,
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )

    def _csv_batches(self, names: Sequence[str], batch_rows: int) -> Iterator[Batch]:
        following, num_skipped = 1, 0
        for batch in self._parsed_csv(names):
            skipped = np.array(self._unequal[0][num_skipped:], np.int64)
            numbers = np.arange(following, following + batch.num_rows + len(skipped))
            numbers = numbers[~np.isin(numbers, skipped)][: batch.num_rows]
            if len(numbers):
                following = int(numbers[-1]) + 1
                num_skipped += int(np.sum(skipped < following))
            for first in range(0, batch.num_rows, batch_rows):
                part = batch.slice(first, batch_rows)
                columns = {name: part.column(name) for name in names}
                yield Batch(columns, numbers[first : first + batch_rows])

    def _parsed_csv(self, names: Sequence[str]) -> Iterator[Any]:
        """Return arrow's record batches, with errors that say what to do."""
        import pyarrow as pa

        try:
            yield from self._csv_reader(names)
        except pa.ArrowInvalid as error:
            if len(self._unequal[0]) >= MAX_UNEQUAL_ROWS:
                raise ValueError(
                    f"more than {MAX_UNEQUAL_ROWS} rows have another number of cells than the header, {len(self.names)}"
                ) from error
            if "straddl" in str(error):
                raise ValueError(
                    f"a row has more than {CSV_BLOCK_BYTES} bytes; perhaps a quotation mark is not closed"
                ) from error
            raise


@contextlib.contextmanager
def opened(path: str) -> Iterator[TableStream]:
    """Open a CSV or Parquet file; Parquet is recognised by its first bytes.

    Args:
      path: path of the file, UTF-8 with a header if it is CSV.

    Yields:
      The open file.

    Raises:
      InvalidInputError: one line, if pyarrow is not installed; if the file does not exist, is not a regular file, or
        is malformed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise validation.InvalidInputError(f"{OWNER}: {MISSING_PYARROW}") from error
    try:
        file = regular_files.opened(path)
    except FileNotFoundError:
        raise validation.InvalidInputError(f"{OWNER}: there is no file {table_files.shown(path)}") from None
    except validation.InvalidInputError as error:
        raise validation.InvalidInputError(f"{OWNER}: {error}") from error
    with file:
        with _errors_in_one_line(path):
            stream = TableStream(path, file)
        yield stream


@contextlib.contextmanager
def _errors_in_one_line(path: str) -> Iterator[None]:
    try:
        yield
    except validation.InvalidInputError:
        raise
    # For damaged bytes pyarrow raises a dozen kinds of errors: ArrowInvalid, OSError, ArrowNotImplementedError, ...
    except Exception as error:
        why = validation.one_line(str(error)) or type(error).__name__
        raise validation.InvalidInputError(f"{OWNER}: {table_files.shown(path)} cannot be read: {why}") from error
