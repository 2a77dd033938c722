"""Hoisting of weight-only computations out of the rollout loop.

XLA does not move such computations out of a loop on CPU. A scorer marks them with `loop_invariant(key, compute)`, and
the code that runs the loop opens a `scope` around it. Without a scope they are computed at each call.

The open scopes are state of a thread, because no argument can carry them: between the loop and a scorer stand RecSim
NG's value functions and Keras's `__call__`, whose signatures are given. The gain is in docs/architecture.md.
"""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Optional

import tensorflow as tf

Computations = Mapping[Hashable, Callable[[], tf.Tensor]]


class Scope:
    """Invariants of one loop.

    Attributes:
      computations: function that computes each requested invariant, by key.
    """

    def __init__(self, values: Optional[Mapping[Hashable, tf.Tensor]] = None) -> None:
        """Store known values; other invariants are computed in the graph that is the default at construction."""
        self.computations: dict[Hashable, Callable[[], tf.Tensor]] = {}
        self._values: dict[Hashable, tf.Tensor] = dict(values or {})
        self._graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()

    def value(self, key: Hashable, compute: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Return the value of an invariant, computed at the first call."""
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
    """Compute each invariant at most once within the block, in the graph in which the block is entered.

    Args:
      values: values of known invariants, by key.
    """
    opened = Scope(values)
    _open.scopes.append(opened)
    try:
        yield opened
    finally:
        _open.scopes.remove(opened)


def in_loop() -> bool:
    """Return whether a scope is open."""
    return bool(_open.scopes)


def loop_invariant(key: Hashable, compute: Callable[[], Any]) -> Any:
    """Return the value of `compute()`, computed once per loop.

    Args:
      key: identifies the computation; for instance the identity of a layer and a name.
      compute: function without arguments that reads only weights and returns a tensor.
    """
    return _open.scopes[-1].value(key, compute) if _open.scopes else compute()
