"""Reports of errors in users' code: one line, followed by the frames of that code."""

import os
import re
import sysconfig
import traceback
from typing import Optional

import gin
import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.simulation.step import EVALUATION_PLACE

# Code that is not the user's: this package, the standard library and installed packages.
_OTHERS = tuple(
    os.path.realpath(folder) + os.sep
    for folder in {
        os.path.dirname(os.path.dirname(__file__)),
        os.path.dirname(os.path.dirname(tf.__file__)),
        os.path.dirname(os.path.dirname(gin.__file__)),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    }
)
_GENERATED = "__autograph_generated_file"  # AutoGraph's rewritten code; the error's text contains the user's lines
_FRAME_IN_TEXT = re.compile(r'^\s*File "(.+?)", line (\d+), in (\S+)', re.MULTILINE)
# Text that TensorFlow adds around the message of an operation that failed in a compiled program.
_GRAPH_NODES = re.compile(r"\{\{function_node .*?\}\}\s*|\s*\[Op:.*?\]( name: .*)?|\s*\[\[\{\{node .*?\}\}\]\]")
_GRAPH_LINES = re.compile(
    r'^\s*(File ".*|Detected at node .*|Graph execution error:?|\d+ successful operations.*|\(\d+\) .*'
    r"|\d+ derived errors ignored.*|Stack trace for op definition:.*|defined at \(most recent call last\):)\s*$"
)
_MAX_FRAMES = 20


def report(error: BaseException) -> Optional[str]:
    """Return a report of an error that users' code raised or led to.

    Args:
      error: an exception that was caught.

    Returns:
      One line that names the entity, the network variable and the step, as far as they are known, and the error; then
      the traceback from the first frame of the user's code on, without frames of other packages. None if no frame is
      the user's and the error does not name an entity or a scorer.
    """
    raised = _without_copies(error)
    frames = _frames_of_user(error)
    place = getattr(raised, EVALUATION_PLACE, None) or getattr(error, EVALUATION_PLACE, None)
    if not frames and place is None and not isinstance(raised, (FloatingPointError, validation.WrongScoresError)):
        return None
    text = " ".join(_message(raised).split())
    line = validation.cut(": ".join(filter(None, [type(raised).__name__, text])), 500)
    where = f" in {place}" if place is not None else ""
    if not frames:
        return f"error{where}: {line}"
    shown = "".join(traceback.format_list(frames[-_MAX_FRAMES:]))
    return f"error{where}: {line}\nTraceback (most recent call last):\n{shown}{line}"


def _without_copies(error: BaseException) -> BaseException:
    """Return the error as it was raised: gin and AutoGraph raise copies with a longer message."""
    while error.__context__ is not None and _is_copy(error):
        error = error.__context__
    return error


def _is_copy(error: BaseException) -> bool:
    # gin raises copies of a class that it defines within the function that extends the message.
    of_gin = "augment_exception_message_and_reraise" in getattr(type(error).__init__, "__qualname__", "")
    return of_gin or _is_autograph_text(error)


def _is_autograph_text(error: BaseException) -> bool:
    return any(isinstance(text, str) and text.startswith("in user code:") for text in (str(error), *error.args[:1]))


def _frames_of_user(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of users' code, the outermost first."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if isinstance(error, tf.errors.OpError) or _is_autograph_text(error):
        for file, line, name in _FRAME_IN_TEXT.findall(str(error)):
            frame = traceback.FrameSummary(file, int(line), name)
            if _is_users(file) and frame not in frames:
                frames.append(frame)
    return frames


def _message(error: BaseException) -> str:
    if not isinstance(error, tf.errors.OpError):
        return str(error)
    lines = _GRAPH_NODES.sub("", error.message).splitlines()
    return "\n".join(line for line in lines if not _GRAPH_LINES.match(line))


def _is_users(filename: str) -> bool:
    if filename.startswith("<") and not filename.startswith(("<stdin>", "<string>", "<ipython")):
        return False  # Python's frozen modules
    path = os.path.realpath(filename)
    return not path.startswith(_OTHERS) and "site-packages" not in path and _GENERATED not in path
