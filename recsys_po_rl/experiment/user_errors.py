"""Errors of users' code, reported in one line and the frames of that code."""

import os
import sysconfig
import traceback
from typing import Optional

import gin
import tensorflow as tf

from recsys_po_rl import checks
from recsys_po_rl.runtime import EVALUATION_PLACE

# Code that is not the user's: this package, the standard library and installed packages.
_OTHERS = tuple(
    os.path.realpath(folder) + os.sep
    for folder in {
        os.path.dirname(checks.__file__),
        os.path.dirname(os.path.dirname(tf.__file__)),
        os.path.dirname(os.path.dirname(gin.__file__)),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    }
)


def report(error: BaseException) -> Optional[str]:
    """Return a report of an error that users' code raised or led to.

    Args:
      error: an exception that was caught.

    Returns:
      One line that names the entity, the network variable and the step, as far as they are known, and the error; then
      the traceback from the first frame of the user's code on, frames of other packages left out. None if no frame is
      the user's and the error does not name an entity or a scorer.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    place = getattr(error, EVALUATION_PLACE, None)
    if not frames and not isinstance(error, (FloatingPointError, checks.WrongScoresError)):
        return None
    kind = type(error).__name__
    text = " ".join(str(error).split())
    line = checks.cut(f"{kind}: {text}" if text else kind, 500)
    where = f" in {place}" if place is not None else ""
    if not frames:
        return f"error{where}: {line}"
    shown = "".join(traceback.format_list(frames))
    return f"error{where}: {line}\nTraceback (most recent call last):\n{shown}{line}"


def _is_users(filename: str) -> bool:
    if filename.startswith("<") and not filename.startswith(("<stdin>", "<string>", "<ipython")):
        return False  # frozen modules of Python's own
    return not os.path.realpath(filename).startswith(_OTHERS) and "site-packages" not in filename
