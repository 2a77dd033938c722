"""Memory that is handed back to the system while XLA compiles.

XLA's compiler allocates and frees a few hundred MB from several threads, and glibc keeps what it is given back in an
arena for each of them: at the end of a first training step a fifth of a process was memory that nobody used
(benchmarks/NOTES.md). Handing it back every now and then keeps the peak that much lower and takes about 0.1 s.
"""

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any, Optional

import tensorflow as tf

SECONDS_BETWEEN = 0.05


def _glibc_trim() -> Optional[Callable[[int], int]]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None


_trim = _glibc_trim()


@contextlib.contextmanager
def freed_memory_returned() -> Iterator[None]:
    """While the block runs, a thread hands back to the system what has been freed; nothing where glibc is not there."""
    if _trim is None:
        yield
        return
    trim, over = _trim, threading.Event()

    def work() -> None:
        while not over.wait(SECONDS_BETWEEN):
            trim(0)

    thread = threading.Thread(target=work, name="freed memory returned", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        trim(0)


class LeanFirstCall:
    """A `tf.function` whose first call outside of a graph, which compiles, runs inside `freed_memory_returned`."""

    def __init__(self, function: Any) -> None:
        """Wraps `function`; its attributes can be read here."""
        self._function = function
        self._called = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `function` returns."""
        if self._called or not tf.executing_eagerly():
            return self._function(*args, **kwargs)
        self._called = True
        with freed_memory_returned():
            return self._function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """That of `function`."""
        if name == "_function":  # of an object that is being copied, and has nothing yet
            raise AttributeError(name)
        return getattr(self._function, name)
