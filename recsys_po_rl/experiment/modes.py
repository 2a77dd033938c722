"""What each mode of the command line does; its modules are imported when it is chosen."""

from collections.abc import Callable
from typing import Any

from recsys_po_rl import gin_config


def train_and_evaluate(flags: Any) -> None:
    """Trains, then compares the learned policy with others; with --dry_run says what that would take.

    Args:
      flags: gin_files, gin_bindings (lists of text), output_dir (text or None) and resume.
    """
    from recsys_po_rl.experiment.train_and_evaluate import experiment

    gin_config.parse(flags.gin_files, flags.gin_bindings)
    given: dict[str, Any] = {} if flags.output_dir is None else {"output_dir": flags.output_dir}
    if flags.resume:
        given["resume"] = True
    experiment(**given)


# By name, the same as `__main__.MODES`.
MODES: dict[str, Callable[[Any], None]] = {
    "train_and_evaluate": train_and_evaluate,
}
