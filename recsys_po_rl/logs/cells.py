"""Cells of a log's columns, from arrow arrays to NumPy, with the places of cells that are missing or of wrong type.

Whole columns are cast where all cells fit; otherwise cell by cell, with the same result for each cell.
"""

import decimal
import re
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.logs.id_tables import IdTable, label_of

MAX_EXACT = 2**53  # below it a float64 holds every integer
NUMBER = r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)"  # text of a number, for ASCII and without case

_NUMBER = re.compile(NUMBER, re.ASCII | re.IGNORECASE)
_DIGITS = re.compile(r"[+-]?\d+", re.ASCII)
_NOT_IN_NUMBERS = (b"x", b"X", b"(")  # arrow casts "0x10" and "nan(1)"
_TRUE_FALSE = {"true": 1.0, "false": 0.0}
_INT64 = np.iinfo(np.int64)


class Cells(NamedTuple):
    """Values of a column; arbitrary where missing or wrong."""

    values: np.ndarray  # [N]
    missing: np.ndarray  # bool [N]
    wrong: np.ndarray  # bool [N], of the wrong type

    @property
    def usable(self) -> np.ndarray:
        """True where a cell has a value; bool [N]."""
        return ~(self.missing | self.wrong)


def integers(column: Any, dtype: Any) -> Cells:
    """Return a column of integers, without rounding.

    Args:
      column: arrow array of integers, of whole numbers (floating ones below 2**53 in magnitude), or of texts of such.
      dtype: an integer dtype of NumPy; numbers beyond it are wrong.

    Raises:
      TypeError: if the column holds another type.
    """
    import pyarrow as pa

    missing = is_missing(column)
    if pa.types.is_floating(column.type):
        values = numbers(column).values
        wrong = ~missing & ~((np.abs(values) < MAX_EXACT) & (values == np.floor(values)))
        exact = np.where(missing | wrong, 0.0, values).astype(np.int64)
    else:
        exact, wrong = _exact_integers(column)
    limits = np.iinfo(dtype)
    wrong |= ~missing & ((exact < limits.min) | (exact > limits.max))
    return Cells(np.where(wrong, 0, exact).astype(dtype), missing, wrong)


def _exact_integers(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a column of integers, decimals or texts as int64 [N], and the cells that hold no integer; bool [N]."""
    import pyarrow as pa

    exact = cast(column, pa.int64(), (pa.types.is_integer,))
    if exact is not None:
        return exact, np.zeros(len(exact), bool)
    if not (is_text(column) or pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)):
        raise TypeError(f"must hold integers, it holds {validation.cut(str(column.type))}")
    return _parsed(column, exact_integer, np.int64)


def exact_integer(cell: Any) -> Optional[int]:
    """Return the integer that a cell holds, or None: without one of 64 bits, and for a float that may be rounded.

    Args:
      cell: int, decimal, or text.
    """
    if isinstance(cell, decimal.Decimal):
        value = int(cell) if cell.is_finite() and abs(cell) < 2**64 and cell == int(cell) else None
    elif isinstance(cell, int):
        value = cell
    else:
        text = cell.strip()
        if len(text) <= table_files.MAX_CELL and _DIGITS.fullmatch(text):
            value = int(text)
        else:
            number = number_in(text)
            is_whole = number is not None and abs(number) < MAX_EXACT and number.is_integer()
            value = int(number) if is_whole and number is not None else None
    return value if value is not None and _INT64.min <= value <= _INT64.max else None


def number_in(text: str) -> Optional[float]:
    """Return the number that a text is, as it is written in files: "1e3", "nan" or "inf", not "0x10" or "1_000".

    Args:
      text: text without white space around it.
    """
    return float(text) if _NUMBER.fullmatch(text) else None


def numbers(column: Any) -> Cells:
    """Return a column of numbers, float64; NaN and infinite ones are not wrong.

    Args:
      column: arrow array of numbers or booleans, or of texts of such.

    Raises:
      TypeError: if the column holds another type.
    """
    import pyarrow as pa

    missing = is_missing(column)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    fitting = cast(column, pa.float64(), kinds)
    if fitting is not None:
        return Cells(fitting, missing, np.zeros(len(missing), bool))
    if not is_text(column):
        raise TypeError(f"must hold numbers, it holds {validation.cut(str(column.type))}")
    values, wrong = _parsed(column, _number_or_truth, np.float64)
    return Cells(values, missing, wrong)


def _number_or_truth(cell: str) -> Optional[float]:
    text = cell.strip()
    number = number_in(text)
    return _TRUE_FALSE.get(text.lower()) if number is None else number


def _parsed(column: Any, parse: Callable[[Any], Optional[float]], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers that cells hold, 0 where a cell is missing, and where a cell holds none; arrays [N]."""
    encoded = column.dictionary_encode()
    parsed = [parse(cell) for cell in encoded.dictionary.to_pylist()] or [0]  # each different cell once
    places, missing = filled(encoded.indices), is_missing(column)
    values = np.array([number or 0 for number in parsed], dtype)[places]
    wrong = np.array([number is None for number in parsed])[places]
    return np.where(missing, 0, values), ~missing & wrong


def labels(column: Any, table: IdTable) -> Cells:
    """Return the numbers of a column's labels, int64; -1 for labels unknown to a closed table.

    Args:
      column: arrow array of integers or texts, see `columns.label_of`.
      table: table that numbers the labels.

    Raises:
      TypeError: if the column holds another type.
    """
    import pyarrow as pa

    if not pa.types.is_integer(column.type) and not is_text(column):
        raise TypeError(f"must hold texts or integers, it holds {validation.cut(str(column.type))}")
    missing = is_missing(column)
    encoded = column.dictionary_encode()
    distinct = [label_of(value) for value in encoded.dictionary.to_pylist()]
    numbers_of = np.array([-2 if label is None else table.number(label) for label in distinct], np.int64)
    places = filled(encoded.indices)
    values = numbers_of[places] if len(numbers_of) else np.zeros(len(missing), np.int64)
    wrong = ~missing & (values == -2)
    return Cells(np.where(missing, 0, values), missing, wrong)


def texts(column: Any) -> Cells:
    """Return a column of texts, objects; None for a missing or empty text, which is not a fault.

    Args:
      column: arrow array of texts.

    Raises:
      TypeError: if the column holds another type.
    """
    if not is_text(column):
        raise TypeError(f"must hold texts, it holds {validation.cut(str(column.type))}")
    encoded = column.dictionary_encode()
    distinct = np.array([*encoded.dictionary.to_pylist(), None], object)  # equal texts are one object
    distinct[distinct == ""] = None
    places = np.where(is_missing(column), -1, filled(encoded.indices))
    too_long = np.array([text is not None and len(text) > table_files.MAX_CELL for text in distinct])
    return Cells(distinct[places], np.zeros(len(places), bool), too_long[places])


def is_missing(column: Any) -> np.ndarray:
    """Return whether each cell of an arrow array is missing; bool [N]."""
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def is_text(column: Any) -> bool:
    """Return whether an arrow array holds texts, or no values at all."""
    import pyarrow as pa

    return bool(
        pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type)
    )


def filled(column: Any) -> np.ndarray:
    """Return an arrow array of numbers with 0 where a cell is missing."""
    import pyarrow.compute as pc

    return np.asarray((pc.fill_null(column, 0) if column.null_count else column).to_numpy(zero_copy_only=False))


def cast(column: Any, to: Any, kinds: tuple[Callable[[Any], bool], ...] = ()) -> Optional[np.ndarray]:
    """Return a column as numbers, 0 where a cell is missing; None if a cell does not fit.

    Args:
      column: arrow array.
      to: type of numbers.
      kinds: predicates of the types that are cast beside texts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_text(column) and not any(kind(column.type) for kind in kinds):
        return None
    try:
        if is_text(column) and not pa.types.is_null(column.type):
            column = pc.utf8_trim_whitespace(column)
            characters = column.buffers()[2] or b""
            if any(unfit in memoryview(characters).tobytes() for unfit in _NOT_IN_NUMBERS):
                return None
        return filled(pc.cast(column, to, safe=not pa.types.is_floating(to)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
