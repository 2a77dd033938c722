"""Recommenders that learn by policy gradient from consumption histories alone, as a RecSim NG application."""

import importlib
from typing import TYPE_CHECKING, Any

from recsys_po_rl import (
    _compat,  # noqa: F401  (first: selects Keras 2 before TensorFlow is imported)
    scoring,  # registers the scorers with Keras, which can then load saved ones
)
from recsys_po_rl.version import __version__

if TYPE_CHECKING:
    from recsys_po_rl.interop.evaluation import evaluate_policy
    from recsys_po_rl.run_folder.policy_file import load_policy

_MODULES = (
    "corpus",
    "experiment",
    "fields",
    "gin_config",
    "interest_evolution_simulation",
    "metrics",
    "recommender",
    "simulation_config",
    "user",
)
__all__ = ["__version__", "evaluate_policy", "load_policy", "scoring", *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name on first access (PEP 562)."""
    if name == "load_policy":
        from recsys_po_rl.run_folder.policy_file import load_policy

        return load_policy
    if name == "evaluate_policy":
        from recsys_po_rl.interop.evaluation import evaluate_policy

        return evaluate_policy
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
