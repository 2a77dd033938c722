"""Columns of times: dates or numbers, in one form for each column of a file."""

import re
from typing import Any, Optional

import numpy as np

from recsys_po_rl.logs import cells
from recsys_po_rl.logs.cells import Cells

_NUMBER, _ZONED, _LOCAL = "numbers", "dates with an offset from UTC", "dates without an offset from UTC"
_ISO = r"\d{4}-\d{2}-\d{2}([ T]\d{2}(:\d{2}(:\d{2}(\.\d{1,6})?)?)?)?"
_PATTERNS = {_NUMBER: f"(?i:{cells.NUMBER})", _ZONED: _ISO + r"(Z|[+-]\d{2}(:?\d{2})?)", _LOCAL: _ISO}
_MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1}  # of a unit of arrow's; ns are divided
_MAX = np.iinfo(np.int64).max


class TimeReader:
    """Reader of the times of a log, file by file.

    The first cell of a file's column that is a time decides the form of the column: numbers, dates with an offset from
    UTC, or without. Cells of another form are of wrong type. All files of a log must hold numbers, or all dates.
    """

    def __init__(self) -> None:
        """Create a reader that has seen no file."""
        self._form: Optional[str] = None  # of this file
        self._is_number: Optional[bool] = None  # in all files
        self._has_fractions = False
        self._has_large = False  # integers that a float64 may round: they cannot be compared with fractions

    def start_file(self) -> None:
        """Forget the form of the last file."""
        self._form = None

    def read(self, column: Any) -> Cells:
        """Return the next cells of a file's column, int64 or float64: microseconds of dates, or the numbers.

        Args:
          column: arrow array of numbers, of dates with or without time, or of texts of such.

        Raises:
          TypeError: if the column holds another type, or numbers where earlier files hold dates, or the reverse.
        """
        import pyarrow as pa

        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            self._decide(_ZONED if getattr(column.type, "tz", None) else _LOCAL)
            return _microseconds(column)
        if not cells.is_text(column):
            self._decide(_NUMBER)
            return self._numbers(column)
        missing = cells.is_missing(column)
        if self._form is None:
            form = next((form for form in map(_form_of, column.to_pylist()) if form is not None), None)
            if form is None:
                return Cells(np.zeros(len(missing), np.int64), missing, ~missing)
            self._decide(form)
        return self._numbers(column) if self._form == _NUMBER else self._dates(column)

    def _decide(self, form: str) -> None:
        is_number = form == _NUMBER
        if self._is_number not in (None, is_number):
            raise TypeError(f"holds {form}, that of files before it {'dates' if is_number else 'numbers'}")
        self._form, self._is_number = form, is_number

    def _dates(self, column: Any) -> Cells:
        import pyarrow as pa
        import pyarrow.compute as pc

        trimmed = pc.utf8_trim_whitespace(column)
        form = str(self._form)
        matches = pc.fill_null(pc.match_substring_regex(trimmed, f"^{_PATTERNS[form]}$"), False)
        kept = pc.if_else(matches, trimmed, pa.scalar(None, trimmed.type))
        values = _cast_or_halve(kept, pa.timestamp("us", "UTC" if form == _ZONED else None))
        missing = cells.is_missing(column)
        return Cells(cells.filled(values), missing, ~missing & cells.is_missing(values))

    def _numbers(self, column: Any) -> Cells:
        """Return numbers: int64 if all are whole, otherwise float64; integers are never rounded."""
        exact, values, right = _whole_and_floating(column)
        is_fraction = right & (values != np.floor(values))
        is_large = right & ~is_fraction & ((exact > cells.MAX_EXACT) | (exact < -cells.MAX_EXACT))
        if not (self._has_fractions or self._has_large) and is_fraction.any() and is_large.any():
            self._has_large = bool(is_large.argmax() < is_fraction.argmax())  # the first of both kinds decides
            self._has_fractions = not self._has_large
        if self._has_large or self._has_fractions:
            right &= ~(is_fraction if self._has_large else is_large)
        is_fraction &= right
        self._has_fractions |= bool(is_fraction.any())
        self._has_large |= bool((is_large & right).any())
        missing = cells.is_missing(column) | np.isnan(values)
        return Cells(np.where(right, values if is_fraction.any() else exact, 0), missing, ~right & ~missing)


def _form_of(cell: Optional[str]) -> Optional[str]:
    text = "" if cell is None else cell.strip()
    return next((form for form, pattern in _PATTERNS.items() if re.fullmatch(pattern, text, re.ASCII)), None)


def _whole_and_floating(column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers as int64 (0 for fractions) and as float64, and whether a cell is a finite one; arrays [N]."""
    import pyarrow as pa

    exact = cells.cast(column, pa.int64(), (pa.types.is_integer,))
    if exact is not None:
        return exact, exact.astype(np.float64), ~cells.is_missing(column)
    if pa.types.is_boolean(column.type):
        raise TypeError("must hold numbers or dates, it holds bool")
    values, missing, wrong = cells.numbers(column)
    values = np.where(missing, 0.0, values)
    right = ~missing & ~wrong & np.isfinite(values) & (np.abs(values) < 2.0**63)
    exact = np.where(right, values, 0.0).astype(np.int64)
    if not pa.types.is_floating(column.type):
        for place in np.flatnonzero(np.abs(values) >= cells.MAX_EXACT):  # rounded above
            whole = cells.exact_integer(column[int(place)].as_py())
            right[place] |= whole is not None
            exact[place] = exact[place] if whole is None else whole
    return exact, values, right


def _microseconds(column: Any) -> Cells:
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = cells.is_missing(column)
    if pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
    values = cells.filled(pc.cast(column, pa.int64()))
    if column.type.unit == "ns":
        return Cells(values // 1000, missing, np.zeros(len(values), bool))
    factor = _MICROSECONDS[column.type.unit]
    wrong = ~missing & ((values > _MAX // factor) | (values < -_MAX // factor))
    return Cells(np.where(wrong, 0, values) * factor, missing, wrong)


def _cast_or_halve(column: Any, to: Any) -> Any:
    """Return texts as integers of timestamps; cells that are no timestamp become missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(pc.cast(column, to), pa.int64())
    except pa.ArrowInvalid:
        if len(column) == 1:
            return pa.nulls(1, pa.int64())
    half = len(column) // 2
    return pa.concat_arrays([_cast_or_halve(column[:half], to), _cast_or_halve(column[half:], to)])
