"""Sampling of slates: a two-level inverse CDF, which reads each row of logits once, however many slots there are."""

from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl.distributions import places as places_lib
from recsys_po_rl.simulation import random_ops


def can_be_drawn(logits: tf.Tensor, slate_size: int) -> tf.Tensor:
    """Return whether each row of logits [..., D] has S finite ones and no +inf, or contains NaN; bool [...]."""
    finite = tf.reduce_sum(tf.cast(tf.math.is_finite(logits), tf.int32), axis=-1)
    is_valid = (finite >= slate_size) & ~tf.reduce_any(logits == float("inf"), axis=-1)
    return is_valid | tf.reduce_any(tf.math.is_nan(logits), axis=-1)


def require_documents(logits: tf.Tensor, slate_size: int, name: str) -> tf.Tensor:
    """Raise for rows of logits [..., D] from which no slate can be drawn; do nothing under XLA."""
    possible = can_be_drawn(logits, slate_size)
    message = f"{name.strip('/')}: a slate of {slate_size} needs as many documents with a finite logit (none of +inf)"
    assertion = tf.debugging.Assert(tf.reduce_all(possible), [message])
    with tf.control_dependencies([assertion] if assertion is not None else []):
        return tf.constant(True)


def _num_blocks(num_docs: int) -> int:
    """Return the number of blocks B, near sqrt(D); a divisor of D if one is within a factor of 2."""
    root = max(round(num_docs**0.5), 1)
    divisors = [size for size in range(max(root // 2, 1), 2 * root + 1) if num_docs % size == 0]
    return min(divisors, key=lambda size: abs(size - root), default=root)


# Below this share of the first pick's mass, remaining documents may have underflowed.
_LEAST_MASS = {tf.float32: 1e-20, tf.float64: 1e-200}


def draw(
    logits: tf.Tensor, uniforms: tf.Tensor, unavailable: Optional[tf.Tensor] = None, check: bool = False
) -> tf.Tensor:
    """Draw one slate for each row from logits [..., D] and uniforms [..., S]: int32 [..., S]; -1 if no slate exists.

    With `check` a row without a slate raises. In a graph the assertion keeps the draw alive even if its result is
    unused. `unavailable` [D], 0 or -inf, is added to the logits here: adding it earlier would be one more pass over all
    logits.
    """
    shape = tf.shape(uniforms)
    logits, uniforms = _rows(logits), _rows(uniforms)
    places, least_mass = _draw_in_blocks(logits, uniforms, unavailable)
    # Comparisons with NaN are false; the slates of NaN rows are never used.
    underflow = tf.reduce_any(least_mass < _LEAST_MASS.get(logits.dtype, 1e-4))

    def slot_by_slot() -> tf.Tensor:
        whole = logits if unavailable is None else logits + unavailable
        slate_size = int(uniforms.shape[-1])
        # A row with too few documents runs out of mass, so it is detected only here, at no cost to other rows.
        required = [require_documents(whole, slate_size, "TopKPlackettLuce")] if check else []
        with tf.control_dependencies(required):
            slates = _draw_slot_by_slot(whole, uniforms)
        return tf.where(can_be_drawn(whole, slate_size)[:, tf.newaxis], slates, -1)

    places = tf.cond(underflow, slot_by_slot, lambda: places)
    return tf.reshape(places, shape)


def _block_mass(logits: tf.Tensor, unavailable: Optional[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return document masses [N, B, C] and block sums [N, B] of rows [N, D], relative to the largest document's mass.

    The largest document may be unavailable: if its mass dwarfs the available mass, slates are drawn slot by slot.
    """
    num_docs, num_blocks = int(logits.shape[-1]), _num_blocks(int(logits.shape[-1]))
    block_size = -(-num_docs // num_blocks)
    # Lower bound, so that a row without any finite logit has zero mass instead of NaN.
    largest = tf.maximum(tf.reduce_max(logits, axis=-1, keepdims=True), logits.dtype.min)
    mass = tf.exp((logits if unavailable is None else logits + unavailable) - largest)
    padding = num_blocks * block_size - num_docs
    if padding:
        mass = tf.pad(mass, [[0, 0], [0, padding]])
    table = tf.reshape(mass, (-1, num_blocks, block_size))
    return table, random_ops.row_sums(table)


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, (-1, int(tensor.shape[-1])))


def _draw_in_blocks(
    logits: tf.Tensor, uniforms: tf.Tensor, unavailable: Optional[tf.Tensor] = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return slates of rows [N, D] and the least mass [N] a slot was drawn from, relative to the largest document's."""
    num_docs = int(logits.shape[-1])
    table, block_mass = _block_mass(logits, unavailable)
    num_blocks, block_size = (int(size) for size in table.shape[1:])
    places: list[tf.Tensor] = []
    least_mass = tf.fill(tf.shape(logits)[:-1], tf.cast(float("inf"), logits.dtype))
    for slot in range(int(uniforms.shape[-1])):
        total = tf.reduce_sum(block_mass, axis=-1)
        least_mass = tf.minimum(least_mass, total)
        threshold = uniforms[..., slot] * total
        block, before = random_ops.pick(block_mass, threshold)
        documents = (block * block_size)[..., tf.newaxis] + tf.range(block_size)
        left = tf.gather(table, block, axis=1, batch_dims=1)
        for place in places:
            left = tf.where(documents == place[..., tf.newaxis], tf.zeros_like(left), left)
        within, _ = random_ops.pick(left, threshold - before)
        places.append(tf.minimum(block * block_size + within, num_docs - 1))  # NaN rows may point into the padding
        left = tf.where(documents == places[-1][..., tf.newaxis], tf.zeros_like(left), left)
        # The block's mass is summed again without the document: subtracting the document's mass leaves rounding error.
        weight = tf.reduce_sum(left, axis=-1, keepdims=True)
        block_mass = tf.where(places_lib.one_hot(block, num_blocks), weight, block_mass)
    return tf.stack(places, axis=-1), least_mass


def _draw_slot_by_slot(logits: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Draw slates one slot at a time, each relative to the largest remaining logit, to avoid underflow."""
    slots = int(uniforms.shape[-1])

    def body(slot: tf.Tensor, logits: tf.Tensor, places: tf.Tensor) -> Any:
        drawn, _ = _draw_in_blocks(logits, tf.gather(uniforms, [slot], axis=1))
        place = drawn[:, 0]
        places = tf.where(tf.range(slots) == slot, place[:, tf.newaxis], places)
        return slot + 1, places_lib.without(logits, place), places

    # A loop, because it runs rarely: unrolled, it would be a third of the compiled code.
    start = (tf.constant(0), logits, tf.zeros(tf.shape(uniforms), tf.int32))
    return tf.while_loop(lambda slot, *_: slot < slots, body, start, maximum_iterations=slots)[2]
