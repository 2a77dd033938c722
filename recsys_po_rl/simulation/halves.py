"""Rows in two halves, so that XLA has something to compute side by side.

A step of a rollout is a chain of operations, each of which waits for the one before: on CPU XLA's programs keep one
core busy, whatever the number of threads. Scores and slates of different users do not wait for each other: computed for
the users in two halves they are two chains, which XLA runs on two cores (benchmarks/NOTES.md).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

LEAST_ROWS = 1000  # fewer are meant to be batches that run side by side; and there is twice as much to compile
MOST_DOCS = 512  # with more, operations are large enough for XLA to share out each among threads


class _Wanted(threading.local):
    def __init__(self) -> None:
        self.halve = False
        self.inside = False


_wanted = _Wanted()


@contextlib.contextmanager
def wanted(halve: bool = True) -> Iterator[None]:
    """While the block runs, `by_rows` computes halves, if `halve`."""
    before = _wanted.halve
    _wanted.halve = halve
    try:
        yield
    finally:
        _wanted.halve = before


def of_rows(tensor: tf.Tensor, num_docs: int) -> list[tf.Tensor]:
    """A tensor [B, ...] in two halves, where they are wanted and help; else the tensor alone.

    Args:
      tensor: of a batch whose scores are [B, D].
      num_docs: D.
    """
    rows = tensor.shape[0]
    if not _wanted.halve or _wanted.inside or rows is None or rows < LEAST_ROWS or num_docs > MOST_DOCS:
        return [tensor]
    return [tensor[: rows // 2], tensor[rows // 2 :]]


def by_rows(function: Callable[..., tf.Tensor], *tensors: Any, num_docs: int) -> tf.Tensor:
    """`function(*tensors)`, in halves where they are wanted and help.

    Args:
      function: of whose result each row depends on the same row of each tensor alone.
      *tensors: [B, ...], or structures of them.
      num_docs: D, as in `of_rows`.
    """
    parts = [of_rows(tensor, num_docs) for tensor in tf.nest.flatten(tensors)]
    if len(parts[0]) == 1:
        return function(*tensors)
    _wanted.inside = True
    try:
        found = [function(*tf.nest.pack_sequence_as(tensors, of_half)) for of_half in zip(*parts)]
    finally:
        _wanted.inside = False
    return tf.concat(found, axis=0)


def whole_rows(tensor: tf.Tensor) -> int:
    """Rows of the batch that a tensor [B, ...] is, or is half of; 0 if unknown."""
    rows = tensor.shape[0] or 0
    return 2 * rows if _wanted.inside else rows
