"""Lines for the person who runs something; what cannot be written never stops a run.

The only place of the package that prints, besides the flags' own messages in `cli.parser`.
"""

import contextlib
import os
import sys
from typing import Any, Optional, TextIO


class NotWrittenError(Exception):
    """Standard output took nothing of what a command is for; the message is one line."""


def say(text: str) -> bool:
    """Writes lines to standard output, at once.

    Args:
      text: without the end of the last line. Characters that the stream's encoding lacks are written as escapes.

    Returns:
      Whether they could be written. A pipe whose reader has gone is no reason to write them elsewhere: True.
    """
    return _write(sys.stdout, f"{text}\n")


def deliver(text: str) -> None:
    """Writes what a command is for, with no other result: see `say`.

    Args:
      text: as of `say`.

    Raises:
      NotWrittenError: if it could not be written.
    """
    if not say(text):
        raise NotWrittenError("standard output cannot be written")


def complain(text: str) -> bool:
    """Writes lines to standard error; see `say`."""
    return _write(sys.stderr, f"{text}\n")


def is_terminal() -> bool:
    """Return whether standard error is a terminal, on which a bar can move."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


class ErrorStream:
    """Standard error as a stream for others to write to, such as a progress bar; see `say` for what is lost."""

    @property
    def encoding(self) -> Optional[str]:
        """Encoding of standard error."""
        return getattr(sys.stderr, "encoding", None)

    def write(self, text: str) -> int:
        """Writes text as it is."""
        _write(sys.stderr, text)
        return len(text)

    def flush(self) -> None:
        """Does nothing: what is written is flushed."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return is_terminal()

    def fileno(self) -> int:
        """The descriptor, by which the width of a terminal is known."""
        return sys.stderr.fileno()


def _write(stream: Any, text: str) -> bool:
    if stream is None:  # it was closed before Python began
        return False
    try:
        stream.write(_encodable(stream, text))
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
        return True
    except (OSError, ValueError):  # a full disk, a terminal that is gone; a stream that is closed
        return False
    return True


def _encodable(stream: TextIO, text: str) -> str:
    """Text with escapes in place of what a stream cannot write."""
    encoding = getattr(stream, "encoding", None)
    return text if not encoding else text.encode(encoding, "backslashreplace").decode(encoding)


def _discard(stream: Any) -> None:
    """Leads a pipe without a reader to nowhere, as Python's manual advises: or its buffer fails again at the exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
