"""Reads of regular files in bounded memory: a pipe, device or folder in a file's place is refused, never waited for."""

import os
import stat

from recsys_po_rl.common import validation

MAX_GIN_BYTES = 1 << 20  # a shipped file has a few thousand


def content(path: str, max_bytes: int) -> bytes:
    """Returns the bytes of a regular file.

    Args:
      path: the file; a symbolic link to a regular file counts as one.
      max_bytes: the largest size that is read.

    Raises:
      FileNotFoundError: if nothing is there.
      InvalidInputError: one line, if it is no regular file, is larger, or cannot be read.
    """
    try:
        # Opening a pipe waits for its other end, unless it is opened without blocking.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise validation.InvalidInputError(f"{_shown(path)} cannot be read: it is no regular file")
            if status.st_size > max_bytes:
                raise _too_large(path, max_bytes)
            found = file.read(max_bytes + 1)
    except (FileNotFoundError, validation.InvalidInputError):
        raise
    except IsADirectoryError:
        raise validation.InvalidInputError(f"{_shown(path)} cannot be read: it is no regular file") from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or type(error).__name__
        raise validation.InvalidInputError(f"{_shown(path)} cannot be read: {why}") from error
    if len(found) > max_bytes:  # it grew meanwhile, or is a file of /proc, whose size is 0
        raise _too_large(path, max_bytes)
    return found


def text(path: str, max_bytes: int = MAX_GIN_BYTES) -> str:
    """Returns the text of a regular file in UTF-8; see `content` for arguments and errors.

    Raises:
      FileNotFoundError: if nothing is there.
      InvalidInputError: also if it is not UTF-8, or holds a NUL.
    """
    found = content(path, max_bytes)
    if b"\0" in found:
        raise validation.InvalidInputError(f"{_shown(path)} cannot be read: it is no text, it holds a NUL")
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise validation.InvalidInputError(
            f"{_shown(path)} cannot be read: byte {error.start + 1} is not utf-8, {error.reason}"
        ) from error


def _too_large(path: str, max_bytes: int) -> validation.InvalidInputError:
    return validation.InvalidInputError(f"{_shown(path)} cannot be read: it has more than {max_bytes} bytes")


def _shown(path: str) -> str:
    return validation.shown(os.fspath(path), validation.MAX_PATH_SHOWN)
