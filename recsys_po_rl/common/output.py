"""Console output for the user; a failing stream never stops a run.

The only place of the package that prints, besides the flags' own messages in `cli.parser`.
"""

import contextlib
import os
import sys
from typing import Any, Optional, TextIO


class NotWrittenError(Exception):
    """Failure to write the result of a command to standard output; the message is one line."""


def say(text: str) -> bool:
    """Write lines to standard output and flush.

    Args:
      text: lines without the final line break. Characters missing from the stream's encoding are written as escapes.

    Returns:
      Whether writing succeeded. A closed pipe counts as success: the caller must not write the text elsewhere.
    """
    return _write(sys.stdout, f"{text}\n")


def deliver(text: str) -> None:
    """Write the result of a command to standard output; see `say`.

    Args:
      text: see `say`.

    Raises:
      NotWrittenError: if standard output cannot be written.
    """
    if not say(text):
        raise NotWrittenError("standard output cannot be written")


def complain(text: str) -> bool:
    """Write lines to standard error; see `say`."""
    return _write(sys.stderr, f"{text}\n")


def is_terminal() -> bool:
    """Return whether standard error is a terminal, which can show a progress bar."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


class ErrorStream:
    """Standard error as a stream for progress bars and the like; write errors are dropped as in `say`."""

    @property
    def encoding(self) -> Optional[str]:
        """Encoding of standard error."""
        return getattr(sys.stderr, "encoding", None)

    def write(self, text: str) -> int:
        """Write a text unchanged."""
        _write(sys.stderr, text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: `write` flushes."""

    def isatty(self) -> bool:
        """Return whether standard error is a terminal."""
        return is_terminal()

    def fileno(self) -> int:
        """Return the file descriptor, from which a terminal's width is read."""
        return sys.stderr.fileno()


def _write(stream: Any, text: str) -> bool:
    if stream is None:  # closed before Python started
        return False
    try:
        stream.write(_encodable(stream, text))
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
        return True
    except (OSError, ValueError):  # a full disk, a lost terminal; a closed stream
        return False
    return True


def _encodable(stream: TextIO, text: str) -> str:
    """Return a text with escapes for the characters that a stream cannot encode."""
    encoding = getattr(stream, "encoding", None)
    return text if not encoding else text.encode(encoding, "backslashreplace").decode(encoding)


def _discard(stream: Any) -> None:
    """Redirect a broken pipe to `os.devnull` (Python manual, "Note on SIGPIPE"), or flushing at exit fails again."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
