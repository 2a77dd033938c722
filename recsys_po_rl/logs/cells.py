"""Cells of a log's columns, from arrow arrays to NumPy, with the places of cells that are missing or of wrong type."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import table_files, validation
from recsys_po_rl.logs.columns import IdTable, Label

MAX_EXACT = 2**53  # integers that a float64 holds
_TRUE_FALSE = {"true": 1.0, "false": 0.0}
_INTEGER = re.compile(r"(0|-?[1-9][0-9]{0,17})$")  # fits into 64 bits; "007" is a text


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
    """Return a column of integers.

    Args:
      column: arrow array of integers, whole floating numbers, or texts of such.
      dtype: an integer dtype of NumPy; numbers beyond it are wrong.

    Raises:
      TypeError: if the column holds another type.
    """
    import pyarrow as pa

    missing = _missing(column)
    exact = _cast(column, pa.int64(), (pa.types.is_integer,))
    if exact is None:
        values, _, wrong = numbers(column)
        wrong |= ~missing & ~((np.abs(values) <= MAX_EXACT) & (values == np.floor(values)))
        exact = np.where(missing | wrong, 0.0, values).astype(np.int64)
    else:
        wrong = np.zeros(len(missing), bool)
    limits = np.iinfo(dtype)
    wrong |= ~missing & ((exact < limits.min) | (exact > limits.max))
    return Cells(np.where(wrong, 0, exact).astype(dtype), missing, wrong)


def numbers(column: Any) -> Cells:
    """Return a column of numbers, float64; NaN and infinite ones are not wrong.

    Args:
      column: arrow array of numbers, or of texts of such.

    Raises:
      TypeError: if the column holds another type.
    """
    import pyarrow as pa

    missing = _missing(column)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    values = _cast(column, pa.float64(), kinds)
    if values is not None:
        return Cells(values, missing, np.zeros(len(missing), bool))
    if not _is_text(column):
        raise TypeError(f"must hold numbers, it holds {validation.cut(str(column.type))}")
    return _one_by_one(column.to_pylist(), missing, lambda text: _TRUE_FALSE.get(text.strip().lower()))


def timestamps(column: Any) -> Cells:
    """Return a column of times, int64 or float64, in a unit of its own.

    Args:
      column: arrow array of numbers, of dates with time, or of texts of such.

    Raises:
      TypeError: if the column holds another type.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = _missing(column)
    right = np.zeros(len(missing), bool)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
        return Cells(_filled(pc.cast(column, pa.int64())), missing, right)
    if _is_text(column):
        for zone in ("UTC", None):  # with and without an offset from UTC
            dates = _cast(column, pa.timestamp("us", zone), (), then=pa.int64())
            if dates is not None:
                return Cells(dates, missing, right)
    exact = _cast(column, pa.int64(), (pa.types.is_integer,))
    if exact is not None:
        return Cells(exact, missing, right)
    values, _, wrong = numbers(column)
    return Cells(values, missing | np.isnan(values), wrong | np.isinf(values))


def labels(column: Any, table: IdTable) -> Cells:
    """Return the numbers of a column's labels, int64; -1 for labels unknown to a closed table.

    Args:
      column: arrow array of integers or texts; texts of integers, as in CSV, are integers.
      table: table that numbers the labels.

    Raises:
      TypeError: if the column holds another type.
    """
    import pyarrow as pa

    if not pa.types.is_integer(column.type) and not _is_text(column):
        raise TypeError(f"must hold texts or integers, it holds {validation.cut(str(column.type))}")
    missing = _missing(column)
    encoded = column.dictionary_encode()
    distinct = [_label(value) for value in encoded.dictionary.to_pylist()]
    numbers_of = np.array([-2 if label is None else table.number(label) for label in distinct], np.int64)
    places = _filled(encoded.indices)
    values = numbers_of[places] if len(numbers_of) else np.zeros(len(missing), np.int64)
    wrong = ~missing & (values == -2)
    return Cells(np.where(missing, 0, values), missing, wrong)


def texts(column: Any) -> Cells:
    """Return a column of texts, objects; None for a missing text, which is not a fault.

    Args:
      column: arrow array of texts.

    Raises:
      TypeError: if the column holds another type.
    """
    if not _is_text(column):
        raise TypeError(f"must hold texts, it holds {validation.cut(str(column.type))}")
    encoded = column.dictionary_encode()
    distinct = np.array([*encoded.dictionary.to_pylist(), None], object)  # equal texts are one object
    missing = _missing(column)
    values = distinct[np.where(missing, -1, _filled(encoded.indices))]
    too_long = np.array([text is not None and len(text) > table_files.MAX_CELL for text in distinct])
    wrong = too_long[np.where(missing, -1, _filled(encoded.indices))]
    return Cells(values, np.zeros(len(missing), bool), wrong)


def _label(value: Any) -> Optional[Label]:
    if isinstance(value, str):
        if not value or len(value) > table_files.MAX_CELL:
            return None
        return int(value) if _INTEGER.match(value) else value
    return None if value is None else int(value)


def _missing(column: Any) -> np.ndarray:
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _is_text(column: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type)
    )


def _filled(column: Any) -> np.ndarray:
    """Return a column of numbers with 0 where a cell is missing."""
    import pyarrow.compute as pc

    return np.asarray((pc.fill_null(column, 0) if column.null_count else column).to_numpy(zero_copy_only=False))


def _cast(column: Any, to: Any, kinds: tuple[Callable[[Any], bool], ...], then: Any = None) -> Optional[np.ndarray]:
    """Return a column of texts or of some kinds of numbers as another type; None if a cell does not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _is_text(column) and not any(kind(column.type) for kind in kinds):
        return None
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.utf8_trim_whitespace(column)
        column = pc.cast(column, to, safe=not pa.types.is_floating(to))
        return _filled(column if then is None else pc.cast(column, then))
    except pa.ArrowInvalid:
        return None


def _one_by_one(cells: list[Optional[str]], missing: np.ndarray, otherwise: Callable[[str], Optional[float]]) -> Cells:
    values, wrong = np.zeros(len(cells)), np.zeros(len(cells), bool)
    for place, cell in enumerate(cells):
        if cell is None:
            continue
        try:
            values[place] = float(cell)
        except ValueError:
            known = otherwise(cell)
            values[place], wrong[place] = known or 0.0, known is None
    return Cells(values, missing, wrong)
