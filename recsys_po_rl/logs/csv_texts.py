"""Text of CSV files before it is parsed: header, encoding and last line."""

import codecs
import csv
import io
from typing import Any

_BOM = b"\xef\xbb\xbf"


def header(file: Any, max_bytes: int) -> list[str]:
    """Return the cells of a CSV file's first line that is not empty.

    Args:
      file: the file, open for reading bytes.
      max_bytes: maximum size of the line.

    Raises:
      ValueError: one line, if the file is empty, the line is too long or is not UTF-8.
    """
    file.seek(0)
    start = file.read(max_bytes).removeprefix(_BOM)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) < max_bytes - len(_BOM))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from error
    try:
        cells = next((cells for cells in csv.reader(io.StringIO(text, newline="")) if cells), None)
    except csv.Error as error:
        raise ValueError(f"its header is no line of CSV: {error}") from error
    if cells is None:
        raise ValueError("it is empty, the header is missing")
    return cells


class Checked(io.RawIOBase):
    """Reader of a CSV file's bytes, from its beginning, that requires UTF-8 and ends the last line.

    A damaged byte is an error here, by its place: arrow reports it only in the columns read, and prints a traceback for
    rows with a wrong number of cells.
    """

    def __init__(self, file: Any) -> None:
        """Start at the beginning of a file.

        Args:
          file: the file, open for reading bytes; stays open.
        """
        file.seek(0)
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._num_bytes = 0
        self._last = b"\n"

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; none at the end.

        Args:
          size: maximum number of bytes, -1: all.

        Raises:
          ValueError: one line, if a byte is not UTF-8.
        """
        content: bytes = self._file.read(size)
        pending = len(self._decoder.getstate()[0])  # bytes of a character that the last ones began
        try:
            self._decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            place = self._num_bytes - pending + error.start + 1
            raise ValueError(f"byte {place} is not UTF-8") from error
        self._num_bytes += len(content)
        self._last = content[-1:] or self._last
        is_end = size < 0 or len(content) < size
        if is_end and self._last not in (b"\n", b"\r"):
            self._last = b"\n"
            content += b"\n"  # with the last bytes: arrow refuses a header that comes alone and does not end
        return content
