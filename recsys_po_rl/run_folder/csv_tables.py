"""Tables that grow by whole lines."""

import csv
import io
import os
from typing import Any, Optional

from recsys_po_rl.run_folder import readers


class CsvLogger:
    """A CSV file whose rows are visible as soon as they are written, and never half."""

    def __init__(self, path: str, after_step: Optional[int] = None) -> None:
        """Opens a file; its folder must exist.

        Args:
          path: the file.
          after_step: None: the file must not exist. Otherwise rows of later steps are cut off an existing one, by its
            column `step`, and whatever is not a whole line.

        Raises:
          FileExistsError: if the file is there and `after_step` is None.
        """
        self._columns: Optional[list[str]] = None
        if after_step is not None:
            self._columns = cut(path, after_step)
        # Unbuffered: one write call for each line.
        self._file = open(path, "xb" if after_step is None else "ab", buffering=0)  # noqa: SIM115  (open for the run)

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row; the first one's keys become the header.

        Raises:
          ValueError: if a later row has other columns.
          OSError: if the line cannot be written, as on a full disk; nothing of it stays.
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
            while written < len(line):  # a disk that fills up takes a part, and refuses the rest
                written += self._file.write(line[written:])
        except OSError:
            os.ftruncate(self._file.fileno(), size)
            os.lseek(self._file.fileno(), size, os.SEEK_SET)  # or the next line would begin behind a hole
            raise

    def sync(self) -> None:
        """Makes sure that what was written is on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Makes sure that the file is on disk, and closes it."""
        self.sync()
        self._file.close()


def whole_rows(path: str) -> list[dict[str, str]]:
    """Returns the rows of a table up to the first line that is no whole row, as text; none if there is no file.

    Args:
      path: the file.

    Raises:
      checks.InvalidInputError: one line, if it is no regular file.
    """
    try:
        found = readers.table(path)
    except FileNotFoundError:
        return []
    return found.rows[: found.num_intact]


def cut(path: str, last_step: int) -> Optional[list[str]]:
    """Cuts rows of later steps off a table, and what is no whole line; a table without a row left is removed.

    Args:
      path: the file; it need not exist.
      last_step: the last value of the column `step` that stays.

    Returns:
      The columns, if a row is left.

    Raises:
      checks.InvalidInputError: one line, if it is no regular file.
    """
    try:
        found = readers.table(path)
    except FileNotFoundError:
        return None
    end, previous = 0, 0
    for row, row_end in zip(found.rows[: found.num_intact], found.ends):
        step = readers.step_in(row)
        if step is None or not previous <= step <= last_step:
            break
        end, previous = row_end, step
    if not end:
        os.unlink(path)
        return None
    if end < os.path.getsize(path):
        os.truncate(path, end)
    return found.columns


def _text(cell: Any) -> str:
    # repr: the shortest text that reads back equal; float: NumPy 2 writes its own as np.float64(...).
    return repr(float(cell)) if isinstance(cell, float) else str(cell)
