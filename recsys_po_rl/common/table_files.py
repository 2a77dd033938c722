"""Bounded readers of a user's tables and arrays: CSV and Parquet through pyarrow (extra `data`), `.npy` through NumPy.

Cells are validated one by one, so that a message can name the row and the column of each fault. Nothing is unpickled.

Over 350 lines: the readers of three formats share their bounds and their messages.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from recsys_po_rl.common import regular_files, validation

MAX_TABLE_BYTES = 512 << 20  # of a file, and of the columns of a Parquet file once unpacked
MAX_ARRAY_BYTES = 1 << 30
MAX_ROWS = 1_000_000
MAX_CELL = 200  # characters of an id or a topic's name
MAX_HEADER = 10_000  # characters of an array's header, as in NumPy
MAX_FAULTS = 10  # faults in a message
MAX_KEPT = 100_000  # faults in memory; those of single rows of a CSV file come in order
MAX_FAULT_SHOWN = 40  # characters of a cell in a fault
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # characters that no id has

_MISSING_PYARROW = 'tables need pyarrow, which is not installed: pip install "recsys_po_rl[data]"'
_PARQUET_MAGIC = b"PAR1"
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # fits into 64 bits; "007" is a text

Label = Union[int, str]


class Fault(NamedTuple):
    """Fault of a table; without a row, of a whole column; without both, of the table."""

    row: Optional[int]  # from 1, the first row below the header
    column: Optional[str]
    text: str

    def __str__(self) -> str:
        """Return the fault in a few words."""
        place = [] if self.row is None else [f"row {self.row}"]
        place += [] if self.column is None else [f"column {validation.shown(self.column, MAX_FAULT_SHOWN)}"]
        return f"{', '.join(place)}: {self.text}" if place else self.text


class Faults:
    """Collector of the faults of a table: all are counted, the first ones of each kind are kept."""

    def __init__(self) -> None:
        """Create an empty collector."""
        self.count = 0
        self._kept: list[Fault] = []

    def add(self, column: Optional[str], text: str, row: Optional[int] = None) -> None:
        """Add one fault; `row` counts from 1."""
        self.count += 1
        if len(self._kept) < MAX_KEPT:
            self._kept.append(Fault(row, column, text))

    def add_rows(self, column: str, places: Iterable[int], text_of: Callable[[int], str]) -> None:
        """Add a fault of a column for each place; places count from 0 and ascend.

        Args:
          column: name of the column.
          places: places of the faulty cells.
          text_of: returns the text of a place's fault.
        """
        places = list(places)
        self.count += len(places)
        self._kept += [Fault(place + 1, column, text_of(place)) for place in places[:MAX_FAULTS]]

    def raise_if_any(self, owner: str, path: str) -> None:
        """Raise one line with the number of faults and the first `MAX_FAULTS`, ordered by row.

        Raises:
          InvalidInputError: if there is a fault.
        """
        if not self.count:
            return
        in_order = sorted(self._kept, key=lambda fault: fault.row or 0)[:MAX_FAULTS]
        number = "1 fault" if self.count == 1 else f"{self.count} faults"
        first = f", the first {MAX_FAULTS}" if self.count > MAX_FAULTS else ""
        raise validation.InvalidInputError(
            f"{owner}: {shown(path)} has {number}{first}: {'; '.join(map(str, in_order))}"
        )


class Table:
    """Columns of a CSV or Parquet file, constructed by `read`.

    Attributes:
      num_rows: number of rows below the header.
    """

    def __init__(self, columns: dict[str, Any], num_rows: int, is_text: bool) -> None:
        """Store the columns.

        Args:
          columns: arrow arrays by name.
          num_rows: number of rows.
          is_text: whether all cells are text, as in CSV, of which numbers have to be parsed.
        """
        self._columns = columns
        self._is_text = is_text
        self.num_rows = num_rows

    def numbers(self, name: str, faults: Faults, minimum: float = -math.inf) -> np.ndarray:
        """Return a column of finite numbers.

        Args:
          name: name of the column.
          faults: collector of missing cells, wrong types, NaN, infinite and too small numbers.
          minimum: the smallest valid number.

        Returns:
          float64 [rows]; arbitrary in rows with a fault.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._columns[name]
        missing = column.is_null().to_numpy(zero_copy_only=False)
        wrong = np.zeros(len(missing), bool)
        if self._is_text:
            try:
                parsed = pc.cast(pc.utf8_trim_whitespace(column), pa.float64())
                values = parsed.to_numpy(zero_copy_only=False)
            except pa.ArrowInvalid:
                values, wrong = _parsed_one_by_one(column.to_pylist())
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
            values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        else:
            faults.add(name, f"must hold numbers, it holds {_type(column)}")
            return np.zeros(self.num_rows)
        values = np.asarray(values, np.float64)
        with np.errstate(over="ignore"):
            not_finite = ~np.isfinite(values.astype(np.float32)) & ~missing & ~wrong  # entities compute in float32
        faults.add_rows(name, np.flatnonzero(missing), lambda place: "is missing")
        faults.add_rows(name, np.flatnonzero(wrong), lambda place: f"{_cell(column, place)} is not a number")
        faults.add_rows(name, np.flatnonzero(not_finite), lambda place: f"{_cell(column, place)} is not finite")
        too_small = ~missing & ~wrong & ~not_finite & (values < minimum)
        faults.add_rows(
            name, np.flatnonzero(too_small), lambda place: f"{_cell(column, place)} must be at least {minimum:g}"
        )
        return values

    def labels(self, name: str, faults: Faults) -> list[Optional[Label]]:
        """Return a column of integers or of texts.

        A CSV column holds integers if all its cells are integers without a leading zero or plus.

        Args:
          name: name of the column.
          faults: collector of missing cells, wrong types, and texts that are too long or hold control characters.

        Returns:
          Integers, or texts; None for a missing cell.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._columns[name]
        if self._is_text and pc.all(pc.match_substring_regex(column, _INTEGER), min_count=0).as_py():
            column = pc.cast(column, pa.int64())
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if not is_text and not pa.types.is_integer(column.type):
            faults.add(name, f"must hold texts or integers, it holds {_type(column)}")
            return [None] * self.num_rows
        if is_text:
            lengths = pc.fill_null(pc.utf8_length(column), 0).to_numpy(zero_copy_only=False)
            too_long = np.flatnonzero(lengths > MAX_CELL)
            if too_long.size:
                faults.add_rows(name, too_long, lambda place: f"has more than {MAX_CELL} characters")
                return [None] * self.num_rows
        labels: list[Optional[Label]] = [None if label == "" else label for label in column.to_pylist()]
        faults.add_rows(name, (i for i, label in enumerate(labels) if label is None), lambda place: "is missing")
        if is_text:
            control = [i for i, label in enumerate(labels) if isinstance(label, str) and CONTROL.search(label)]
            faults.add_rows(name, control, lambda place: f"{_cell(column, place)} holds a control character")
        return labels


def read(owner: str, path: str, select: Callable[[Sequence[str]], Sequence[str]]) -> Table:
    """Read columns of a CSV or Parquet file; Parquet is recognised by its first bytes.

    Args:
      owner: the reader's name, for messages.
      path: path of the file, UTF-8 with a header if it is CSV.
      select: returns the names of the columns to read, from the names of all columns, or raises.

    Returns:
      The columns.

    Raises:
      InvalidInputError: one line, if pyarrow is not installed; if the file does not exist, is not a regular file, is
        too large or malformed; or, as faults, if rows have more or fewer cells than the header.
    """
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise validation.InvalidInputError(f"{owner}: {_MISSING_PYARROW}") from error
    content = _content(owner, path, MAX_TABLE_BYTES)
    reader = _parquet if content.startswith(_PARQUET_MAGIC) else _csv
    try:
        return reader(owner, path, pa.BufferReader(content), select)
    except validation.InvalidInputError:
        raise
    # For damaged bytes pyarrow raises a dozen kinds of errors: ArrowInvalid, OSError, ArrowNotImplementedError,
    # UnicodeDecodeError, MemoryError, ...
    except Exception as error:
        raise _unreadable(owner, path, error) from error


def read_array(owner: str, path: str) -> np.ndarray:
    """Read an array of numbers from a `.npy` file, without unpickling.

    Args:
      owner: the reader's name, for messages.
      path: path of the file.

    Returns:
      The array, integers or floats.

    Raises:
      InvalidInputError: one line, if the file does not exist, is not a regular file, is too large, or is not an array
        of numbers with as many values as its header says.
    """
    content = _content(owner, path, MAX_ARRAY_BYTES)
    try:
        stream = io.BytesIO(content)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(np.lib.format.read_magic(stream))
        if header is None:
            raise ValueError("it is not an array of format 1.0 or 2.0")
        shape, fortran_order, dtype = header(stream, max_header_size=MAX_HEADER)
        if dtype.hasobject or dtype.kind not in "iuf":
            raise ValueError(f"it holds {validation.shown(str(dtype), MAX_FAULT_SHOWN)}, numbers are needed")
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
            raise ValueError("its number of values differs from its header")
        values = np.frombuffer(content, dtype, offset=stream.tell())
        return values.reshape(shape, order="F" if fortran_order else "C")
    except Exception as error:  # NumPy's header reader parses Python syntax, and raises a dozen kinds of errors
        raise _unreadable(owner, path, error) from error


def shown(path: Any) -> str:
    """Return a path for a message."""
    return validation.shown(path, validation.MAX_PATH_SHOWN)


def _content(owner: str, path: str, max_bytes: int) -> bytes:
    try:
        return regular_files.content(path, max_bytes)
    except FileNotFoundError:
        raise validation.InvalidInputError(f"{owner}: there is no file {shown(path)}") from None
    except validation.InvalidInputError as error:
        raise validation.InvalidInputError(f"{owner}: {error}") from error


def _unreadable(owner: str, path: str, error: Exception) -> validation.InvalidInputError:
    why = validation.one_line(str(error)) or type(error).__name__
    return validation.InvalidInputError(f"{owner}: {shown(path)} cannot be read: {why}")


def _selected(
    owner: str, path: str, names: Sequence[str], select: Callable[[Sequence[str]], Sequence[str]]
) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise validation.InvalidInputError(f"{owner}: {shown(path)} has two columns {validation.shown(twice)}")
    return list(select(names))


def _raise_if_too_many_rows(num_rows: int) -> None:
    if num_rows > MAX_ROWS:
        raise ValueError(f"it has {num_rows} rows, at most {MAX_ROWS} are allowed")


def _csv(owner: str, path: str, buffer: Any, select: Callable[[Sequence[str]], Sequence[str]]) -> Table:
    import pyarrow as pa
    from pyarrow import csv

    unequal = Faults()

    def note(row: Any) -> str:
        cells = "1 cell" if row.actual_columns == 1 else f"{row.actual_columns} cells"
        unequal.add(
            None, f"{cells} where the header has {row.expected_columns}", None if row.number is None else row.number - 1
        )
        return "skip"

    parsing = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
    reading = csv.ReadOptions(use_threads=False)  # with threads, invalid rows have no number
    names = csv.open_csv(
        buffer, read_options=reading, parse_options=csv.ParseOptions(invalid_row_handler=lambda row: "skip")
    ).schema.names
    selected = _selected(owner, path, names, select)
    buffer.seek(0)
    converting = csv.ConvertOptions(
        include_columns=selected,
        column_types={name: pa.string() for name in selected},
        strings_can_be_null=True,
        null_values=[""],
    )
    table = csv.read_csv(buffer, read_options=reading, parse_options=parsing, convert_options=converting)
    unequal.raise_if_any(owner, path)
    _raise_if_too_many_rows(table.num_rows)
    return Table({name: one_chunk(table.column(name)) for name in selected}, table.num_rows, is_text=True)


def _parquet(owner: str, path: str, buffer: Any, select: Callable[[Sequence[str]], Sequence[str]]) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    schema = parquet.ParquetFile(buffer).schema_arrow
    selected = _selected(owner, path, schema.names, select)
    buffer.seek(0)
    # A text that stands in many rows stays one text until its length is known.
    texts = [name for name in selected if pa.types.is_string(schema.field(name).type)]
    file = parquet.ParquetFile(buffer, read_dictionary=texts)
    _raise_if_too_many_rows(file.metadata.num_rows)
    unpacked = 0
    for group in range(file.metadata.num_row_groups):
        chunks = file.metadata.row_group(group)
        unpacked += sum(
            max(0, chunks.column(i).total_uncompressed_size)
            for i in range(chunks.num_columns)
            if chunks.column(i).path_in_schema.split(".")[0] in selected
        )
    if unpacked > MAX_TABLE_BYTES:
        raise ValueError(f"its columns have more than {MAX_TABLE_BYTES} bytes")
    nested = [name for name in selected if pa.types.is_nested(schema.field(name).type)]
    if nested:
        raise ValueError(f"column {validation.shown(nested[0])} holds {schema.field(nested[0]).type}")
    table = file.read(columns=selected, use_threads=False)
    table.validate(full=True)
    _raise_if_too_many_rows(table.num_rows)
    return Table({name: one_chunk(plain(table.column(name))) for name in selected}, table.num_rows, is_text=False)


def plain(column: Any) -> Any:
    """Return a column without dictionary, in which texts beyond `MAX_CELL` are cut.

    Args:
      column: chunked arrow array.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return column
    if not pa.types.is_string(column.type.value_type) and not pa.types.is_large_string(column.type.value_type):
        return column.cast(column.type.value_type)
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, pc.utf8_slice_codeunits(chunk.dictionary, 0, MAX_CELL + 1))
        for chunk in column.chunks
    ]
    return pa.chunked_array([chunk.dictionary_decode() for chunk in chunks], type=column.type.value_type)


def one_chunk(column: Any) -> Any:
    """Return a chunked arrow array as one array.

    Args:
      column: chunked arrow array.
    """
    import pyarrow as pa

    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def _parsed_one_by_one(cells: Sequence[Optional[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers, NaN for cells that are missing or not a number, and where cells are not a number."""
    values, wrong = np.full(len(cells), math.nan), np.zeros(len(cells), bool)
    for place, cell in enumerate(cells):
        try:
            values[place] = math.nan if cell is None else float(cell)
        except ValueError:
            wrong[place] = True
    return values, wrong


def _cell(column: Any, place: int) -> str:
    return validation.shown(column[place].as_py(), MAX_FAULT_SHOWN)


def _type(column: Any) -> str:
    return validation.cut(str(column.type), MAX_FAULT_SHOWN)
