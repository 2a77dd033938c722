"""Operations on documents of a row of logits by place."""

import tensorflow as tf


def one_hot(place: tf.Tensor, num_docs: int) -> tf.Tensor:
    """Return bool [..., D], true at `place` int32 [...]; all false if `place` is out of range."""
    return tf.range(num_docs) == place[..., tf.newaxis]


def without(logits: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Return `logits` [..., D] with -inf at `place` [...]."""
    return tf.where(one_hot(place, logits.shape[-1]), tf.cast(-float("inf"), logits.dtype), logits)


def at_places(logits: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Return `logits` at `place` [..., S], -inf out of range, where a gather would raise, or clamp under XLA."""
    num_docs = int(logits.shape[-1])
    inside = (place >= 0) & (place < num_docs)
    gathered = tf.gather(logits, tf.clip_by_value(place, 0, num_docs - 1), batch_dims=len(logits.shape) - 1)
    return tf.where(inside, gathered, tf.cast(-float("inf"), logits.dtype))
