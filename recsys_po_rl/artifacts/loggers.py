"""Tables that grow by whole lines."""

import os
from typing import Any, Optional


class CsvLogger:
    """A CSV file whose rows are visible as soon as they are written, and never half."""

    def __init__(self, path: str) -> None:
        """Opens a new file; its folder must exist.

        Args:
          path: the file; it must not exist.
        """
        # Unbuffered: one write call for each line.
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115  (open as long as the run)
        self._columns: Optional[list[str]] = None

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row; the first one's keys become the header.

        Raises:
          ValueError: if a later row has other columns.
        """
        if self._columns is None:
            self._columns = list(row)
            self._write_line(self._columns)
        if list(row) != self._columns:
            raise ValueError(f"a row must have the columns {', '.join(self._columns)}, got {', '.join(row)}")
        self._write_line([_text(cell) for cell in row.values()])

    def _write_line(self, cells: list[str]) -> None:
        self._file.write((",".join(cells) + "\n").encode())

    def close(self) -> None:
        """Makes sure that the file is on disk, and closes it."""
        os.fsync(self._file.fileno())
        self._file.close()


def _text(cell: Any) -> str:
    # repr: the shortest text that reads back equal; float: NumPy 2 writes its own as np.float64(...).
    return repr(float(cell)) if isinstance(cell, float) else str(cell)
