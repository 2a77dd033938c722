"""Recommenders that learn by policy gradient from consumption histories alone, as a RecSim NG application."""

import sys
from typing import Any

from recsys_po_rl.version import __version__

__all__ = ["__version__", "load_policy"]


def __getattr__(name: str) -> Any:
    """Import `load_policy` on first access, because it imports the whole package."""
    if name == "load_policy":
        from recsys_po_rl.run_folder.policy_file import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_the_program() -> bool:
    """Return whether `python -m recsys_po_rl` is starting, whose `__main__` loads the rest after reading the flags."""
    arguments = [*sys.orig_argv, "", ""]
    module = arguments[arguments.index("-m") + 1] if "-m" in arguments else ""
    return sys.argv[:1] == ["-m"] and module == __name__


if not _is_the_program():
    from recsys_po_rl import (
        _compat,  # noqa: F401  (first: settles Keras 2 and the shims before TensorFlow loads)
        scoring,  # noqa: F401  (registers the scorers with Keras, which can then load saved ones)
    )
