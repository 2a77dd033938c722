"""Recommenders that learn by policy gradient from consumption histories alone, as a RecSim NG application."""

import sys

from recsys_po_rl.version import __version__

__all__ = ["__version__"]


def _is_the_program() -> bool:
    """Whether Python looks for `__main__` of `python -m recsys_po_rl`, which loads the rest after reading the flags."""
    arguments = [*sys.orig_argv, "", ""]
    module = arguments[arguments.index("-m") + 1] if "-m" in arguments else ""
    return sys.argv[:1] == ["-m"] and module == __name__


if not _is_the_program():
    from recsys_po_rl import (
        _compat,  # noqa: F401  (first: settles Keras 2 and the shims before TensorFlow loads)
        scoring,  # noqa: F401  (registers the scorers with Keras, which can then load saved ones)
    )
