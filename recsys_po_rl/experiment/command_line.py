"""From parsed flags to an experiment and an exit status."""

import logging
import sys
import warnings
from typing import Any

import tensorflow as tf

from recsys_po_rl import checks, gin_config
from recsys_po_rl.experiment import modes

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def run(flags: Any) -> int:
    """Does what the flags say.

    Args:
      flags: as `__main__.parse_flags` returns them; `modes` says what each mode reads.

    Returns:
      Exit status: 0 done; 2 bad input, named in one line on standard error; 130 interrupted, with a checkpoint.
    """
    tf.get_logger().setLevel(logging.ERROR)  # retracing and AutoGraph advice is for developers
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning_in_one_line  # type: ignore[assignment]
            modes.MODES[flags.mode](flags)
    except checks.InvalidInputError as error:
        print(f"error: {gin_config.first_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted: the last finished training step is in the run folder's checkpoints", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _show_warning_in_one_line(message: Any, category: Any, filename: Any, lineno: Any, *rest: Any) -> None:
    del category, filename, lineno, rest
    print(f"warning: {message}", file=sys.stderr)
