"""Execution of parsed flags, with errors as one line and an exit status."""

import logging
import signal
import warnings
from typing import Any

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.cli import modes
from recsys_po_rl.common import output, validation
from recsys_po_rl.experiment import signals, user_errors
from recsys_po_rl.experiment.tasks import TaskFailedError
from recsys_po_rl.run_folder import layout
from recsys_po_rl.training.alarms import StoppedByAlarmError

DONE, FAILED, BAD_INPUT, SIGNALLED = 0, 1, 2, 128


def run(flags: Any) -> int:
    """Run the mode that the flags choose.

    Args:
      flags: namespace, as `parser.parse_flags` returns it; `modes` lists the flags that each mode reads.

    Returns:
      Exit status: 0 done; 2 bad input, named in one line on standard error; 130 or 143 interrupted by SIGINT or
      SIGTERM, with a run folder that can be resumed; 1 any other error, for instance in user code.
    """
    tf.get_logger().setLevel(logging.ERROR)  # hide retracing and AutoGraph advice, which is meant for developers
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning_in_one_line  # type: ignore[assignment]
            with signals.handled():
                modes.MODES[flags.mode](flags)
    except output.NotWrittenError as error:
        output.complain(f"error: {error}")
        return FAILED
    except validation.InvalidInputError as error:
        output.complain(f"error: {gin_config.first_line(error)}")
        return BAD_INPUT
    except RecursionError as error:
        report = user_errors.report(error)
        output.complain(report or "error: gin: a binding refers to itself, or values nest too deep")
        return FAILED if report else BAD_INPUT
    except (StoppedByAlarmError, TaskFailedError, layout.FolderMovedError) as error:
        output.complain(f"error: {gin_config.first_line(error)}")
        return FAILED
    except (Exception, SystemExit) as error:  # user code may raise any error; the package's own errors are re-raised
        report = user_errors.report(error)
        if report is None:
            raise
        output.complain(report)
        return FAILED
    except KeyboardInterrupt as stopped:
        return SIGNALLED + getattr(stopped, "signum", signal.SIGINT)
    return DONE


def _show_warning_in_one_line(message: Any, category: Any, filename: Any, lineno: Any, *rest: Any) -> None:
    del category, filename, lineno, rest
    output.complain(f"warning: {message}")
