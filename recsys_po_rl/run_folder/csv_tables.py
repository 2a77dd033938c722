"""CSV tables that grow by whole lines."""

import csv
import io
import os
from typing import Any, Optional

from recsys_po_rl.run_folder import readers


class CsvLogger:
    """Writer of a CSV file, whose rows are visible as soon as they are written, and always whole."""

    def __init__(self, path: str, after_step: Optional[int] = None) -> None:
        """Open a file in an existing folder.

        Args:
          path: path of the file.
          after_step: None: the file must not exist. Otherwise rows of an existing file after this step (by the column
            `step`) and lines that are not whole rows are removed.

        Raises:
          FileExistsError: if the file exists and `after_step` is None.
        """
        self._columns: Optional[list[str]] = None
        if after_step is not None:
            self._columns = cut(path, after_step)
        # Unbuffered: one write call per line.
        self._file = open(path, "xb" if after_step is None else "ab", buffering=0)  # noqa: SIM115  (open for the run)

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; the keys of the first row become the header.

        Raises:
          ValueError: if a later row has other columns.
          OSError: if the line cannot be written, as on a full disk; the file is then unchanged.
        """
        if self._columns is None:
            self._columns = list(row)
            self._write_line(self._columns)
        if list(row) != self._columns:
            raise ValueError(f"a row must have the columns {', '.join(self._columns)}, got {', '.join(row)}")
        self._write_line([_text(cell) for cell in row.values()])

    def _write_line(self, cells: list[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        line = text.getvalue().encode()
        size = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(line):  # on a full disk a part of the line is written before the error
                written += self._file.write(line[written:])
        except OSError:
            os.ftruncate(self._file.fileno(), size)
            os.lseek(self._file.fileno(), size, os.SEEK_SET)  # otherwise the next line would leave a hole before it
            raise

    def sync(self) -> None:
        """Flush all rows to disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush the file to disk and close it."""
        self.sync()
        self._file.close()


def whole_rows(path: str) -> list[dict[str, str]]:
    """Return the rows of a table, as text, up to the first invalid line; an empty list if the file does not exist.

    Args:
      path: path of the file.

    Raises:
      checks.InvalidInputError: one line, if the path is not a regular file.
    """
    try:
        table = readers.table(path)
    except FileNotFoundError:
        return []
    return table.rows[: table.num_intact]


def cut(path: str, last_step: int) -> Optional[list[str]]:
    """Remove rows after a step, and invalid lines, from a table; a table without remaining rows is deleted.

    Args:
      path: path of the file, which may not exist.
      last_step: last value of the column `step` to keep.

    Returns:
      The columns, if rows remain.

    Raises:
      checks.InvalidInputError: one line, if the path is not a regular file.
    """
    try:
        table = readers.table(path)
    except FileNotFoundError:
        return None
    end, previous = 0, 0
    for row, row_end in zip(table.rows[: table.num_intact], table.ends):
        step = readers.step_in(row)
        if step is None or not previous <= step <= last_step:
            break
        end, previous = row_end, step
    if not end:
        os.unlink(path)
        return None
    if end < os.path.getsize(path):
        os.truncate(path, end)
    return table.columns


def _text(cell: Any) -> str:
    # repr: the shortest text that reads back equal; float: NumPy 2's repr is np.float64(...).
    return repr(float(cell)) if isinstance(cell, float) else str(cell)
