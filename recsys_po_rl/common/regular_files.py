"""Bounded reads of regular files: a pipe, device or folder raises an error instead of blocking."""

import os
import stat
from typing import BinaryIO, Optional

from recsys_po_rl.common import validation

MAX_GIN_BYTES = 1 << 20  # shipped gin files have a few thousand bytes


def content(path: str, max_bytes: int) -> bytes:
    """Return the bytes of a regular file.

    Args:
      path: the file; a symbolic link to a regular file is allowed.
      max_bytes: the largest allowed file size.

    Raises:
      FileNotFoundError: if the path does not exist.
      InvalidInputError: one line, if the path is not a regular file, is too large, or cannot be read.
    """
    file = opened(path, max_bytes)
    try:
        with file:
            data = file.read(max_bytes + 1)
    except (OSError, MemoryError) as error:
        raise _unreadable(path, error) from error
    if len(data) > max_bytes:  # the file grew meanwhile, or is a file in /proc, whose size is 0
        raise _too_large(path, max_bytes)
    return data


def opened(path: str, max_bytes: Optional[int] = None) -> BinaryIO:
    """Open a regular file for reading; see `content` for errors.

    Args:
      path: the file; a symbolic link to a regular file is allowed.
      max_bytes: the largest allowed file size; None: any size.

    Raises:
      FileNotFoundError: if the path does not exist.
      InvalidInputError: one line, if the path is not a regular file, is too large, or cannot be opened.
    """
    try:
        # Opening a pipe blocks until its other end is opened, unless O_NONBLOCK is set.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise validation.InvalidInputError(f"{_shown(path)} cannot be read: it is no regular file")
            if max_bytes is not None and status.st_size > max_bytes:
                raise _too_large(path, max_bytes)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (FileNotFoundError, validation.InvalidInputError):
        raise
    except (OSError, ValueError, MemoryError) as error:  # ValueError: the path contains NUL
        raise _unreadable(path, error) from error


def text(path: str, max_bytes: int = MAX_GIN_BYTES) -> str:
    """Return the text of a regular UTF-8 file; see `content` for arguments and errors.

    Raises:
      FileNotFoundError: if the path does not exist.
      InvalidInputError: see `content`; also if the file is not UTF-8 or contains NUL.
    """
    data = content(path, max_bytes)
    if b"\0" in data:
        raise validation.InvalidInputError(f"{_shown(path)} cannot be read: it is no text, it holds a NUL")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise validation.InvalidInputError(
            f"{_shown(path)} cannot be read: byte {error.start + 1} is not utf-8, {error.reason}"
        ) from error


def _unreadable(path: str, error: Exception) -> validation.InvalidInputError:
    why = getattr(error, "strerror", None) or type(error).__name__
    return validation.InvalidInputError(f"{_shown(path)} cannot be read: {why}")


def _too_large(path: str, max_bytes: int) -> validation.InvalidInputError:
    return validation.InvalidInputError(f"{_shown(path)} cannot be read: it has more than {max_bytes} bytes")


def _shown(path: str) -> str:
    return validation.shown(os.fspath(path), validation.MAX_PATH_SHOWN)
