"""Computed once before a loop instead of at each of its steps: what depends on weights alone.

XLA does not move such work out of a loop on CPU. A scorer names it, `loop_invariant(key, compute)`, and whoever runs
the loop opens a `scope` around it; without a scope it is computed on the spot.
"""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Optional

import tensorflow as tf

Computations = Mapping[Hashable, Callable[[], tf.Tensor]]


class Scope:
    """The invariants of one loop.

    Attributes:
      computations: how each invariant that was asked for is computed, by key.
    """

    def __init__(self, values: Optional[Mapping[Hashable, tf.Tensor]] = None) -> None:
        """Opens with values that are known already; others are computed in the graph that is the default now."""
        self.computations: dict[Hashable, Callable[[], tf.Tensor]] = {}
        self._values: dict[Hashable, tf.Tensor] = dict(values or {})
        self._graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()

    def value(self, key: Hashable, compute: Callable[[], tf.Tensor]) -> tf.Tensor:
        """The value of an invariant, computed at the first call."""
        self.computations.setdefault(key, compute)
        if key not in self._values:
            outside = contextlib.nullcontext() if self._graph is None else self._graph.as_default()
            with outside:
                self._values[key] = compute()
        return self._values[key]


class _Open(threading.local):
    def __init__(self) -> None:
        self.scopes: list[Scope] = []


_open = _Open()


@contextlib.contextmanager
def scope(values: Optional[Mapping[Hashable, tf.Tensor]] = None) -> Iterator[Scope]:
    """While the block runs, invariants are computed at most once, in the graph in which the block was entered.

    Args:
      values: of invariants that are known already, by key.
    """
    opened = Scope(values)
    _open.scopes.append(opened)
    try:
        yield opened
    finally:
        _open.scopes.remove(opened)


def in_loop() -> bool:
    """Whether a loop is being run that computes its invariants once."""
    return bool(_open.scopes)


def loop_invariant(key: Hashable, compute: Callable[[], Any]) -> Any:
    """The value of `compute()`, computed once per loop.

    Args:
      key: what is computed; for instance the identity of a layer and a name.
      compute: takes nothing, reads weights alone, returns a tensor.
    """
    return _open.scopes[-1].value(key, compute) if _open.scopes else compute()
