"""From parsed flags to an experiment and an exit status."""

import logging
import sys
import warnings
from typing import Any

import tensorflow as tf

from recsys_po_rl import checks, gin_config
from recsys_po_rl.experiment.processes import SeedFailedError
from recsys_po_rl.experiment.train_and_evaluate import experiment
from recsys_po_rl.training.alarms import StoppedByAlarmError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def run(flags: Any) -> int:
    """Runs the experiment that the flags describe.

    Args:
      flags: gin_files, gin_bindings (lists of text) and output_dir (text or None).

    Returns:
      Exit status: 0 done; 2 bad input, named in one line on standard error; 130 interrupted, with a checkpoint.
    """
    tf.get_logger().setLevel(logging.ERROR)  # retracing and AutoGraph advice is for developers
    try:
        gin_config.parse(flags.gin_files, flags.gin_bindings)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning_in_one_line  # type: ignore[assignment]
            options = {} if flags.output_dir is None else {"output_dir": flags.output_dir}
            experiment(**options)
    except checks.InvalidInputError as error:
        print(f"error: {gin_config.first_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except (StoppedByAlarmError, SeedFailedError) as error:
        print(f"error: {gin_config.first_line(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted: the last finished training step is in the run folder's checkpoints", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _show_warning_in_one_line(message: Any, category: Any, filename: Any, lineno: Any, *rest: Any) -> None:
    del category, filename, lineno, rest
    print(f"warning: {message}", file=sys.stderr)
