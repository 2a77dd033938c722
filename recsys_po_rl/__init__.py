"""Recommenders that learn by policy gradient from consumption histories alone, as a RecSim NG application."""

from recsys_po_rl import (
    _compat,  # noqa: F401  (first: settles Keras 2 and the shims before TensorFlow loads)
    scoring,  # noqa: F401  (registers the scorers with Keras, which can then load saved ones)
)
from recsys_po_rl.version import __version__

__all__ = ["__version__"]
