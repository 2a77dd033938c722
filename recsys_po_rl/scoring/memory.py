"""Memory of a recommender beside the clicks: its own slates and the step, as state and features of scorers."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from recsys_po_rl.common import validation

SLATES = "slates"  # the slates shown, with the clicked slot of each
STEP = "step"  # the number of slates shown, and the steps since the last click
MEMORIES = (SLATES, STEP)
TIME_SCALE = 100.0  # steps; scales the step to the order of 1: its share of the default horizon
NUM_CLOCK_FEATURES = 2

State = Mapping[str, tf.Tensor]


def validated(name: str, memory: Any) -> tuple[str, ...]:
    """Return a memory in the order of `MEMORIES`.

    Args:
      name: name of the argument, for the message.
      memory: any of `MEMORIES`, each once.

    Raises:
      InvalidInputError: if it is something else.
    """
    allowed = f"{name} must be a list of {' and '.join(map(repr, MEMORIES))}, each at most once"
    if isinstance(memory, (str, bytes)) or not isinstance(memory, Sequence):
        raise validation.InvalidTypeError(f"{allowed}; got {validation.shown(memory)}")
    if any(part not in MEMORIES for part in memory) or len(set(memory)) != len(memory):
        raise validation.InvalidInputError(f"{allowed}; got {validation.shown(memory)}")
    return tuple(part for part in MEMORIES if part in memory)


def clock(num_rows: Any, dtype: tf.DType) -> dict[str, tf.Tensor]:
    """Return the state of the memory of the step before the first slate; `dtype` [num_rows] each."""
    return {"steps": tf.zeros((num_rows,), dtype), "steps_since_click": tf.zeros((num_rows,), dtype)}


def clock_after(state: State, clicked: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return the state of `clock` one step later; `clicked` bool [B], whether a document was consumed."""
    since = state["steps_since_click"] + 1.0
    return {"steps": state["steps"] + 1.0, "steps_since_click": tf.where(clicked, tf.zeros_like(since), since)}


def clock_features(state: State) -> tf.Tensor:
    """Return features of the state of `clock`, of the order of 1; [B, NUM_CLOCK_FEATURES]."""
    return tf.stack([state["steps"] / TIME_SCALE, tf.math.log1p(state["steps_since_click"])], axis=1)


def shown_in_vain(table: tf.keras.layers.Embedding, shown_ids: tf.Tensor, clicked: tf.Tensor) -> tf.Tensor:
    """Return the mean over slots of the embeddings of the documents that were shown and not clicked.

    Args:
      table: built table [D + 1, E].
      shown_ids: int [B, S]; slots of id 0 are empty. A row with an id outside of 0..D is NaN.
      clicked: int [B], the clicked slot, S for none.

    Returns:
      compute dtype [B, E]; a clicked or empty slot counts as a zero vector.
    """
    slate_size = shown_ids.shape[1]
    known = (shown_ids >= 0) & (shown_ids < table.input_dim)
    ids = tf.where(known, shown_ids, tf.zeros_like(shown_ids))
    in_vain = (ids > 0) & (tf.range(slate_size)[tf.newaxis] != tf.cast(clicked, tf.int32)[:, tf.newaxis])
    embeddings = table(ids)
    shares = tf.cast(in_vain, embeddings.dtype) / slate_size
    shares = tf.where(known, shares, tf.cast(float("nan"), embeddings.dtype))
    return tf.reduce_sum(shares[..., tf.newaxis] * embeddings, axis=1)
