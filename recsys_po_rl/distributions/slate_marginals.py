"""Probabilities of parts of a slate, in float64: of its first documents, and of one document in one slot."""

import tensorflow as tf

from recsys_po_rl.distributions import places

# Largest number of first documents (for the fourth slot: of pairs, and so on), times D, over which a marginal is summed
# for one slate. A slate of 3 out of 64 documents has as many.
MAX_MARGINAL_TERMS = 1 << 12


def prefix_log_probs(logits: tf.Tensor, slate: tf.Tensor) -> tf.Tensor:
    """Return the log-probabilities of the first 1, 2, ... S documents of slates, in order.

    Args:
      logits: float [..., D], -inf: unavailable.
      slate: int32 [..., S], indices of the documents.

    Returns:
      float64 [..., S]; -inf from the first document on that is unavailable or repeated.
    """
    rest = tf.cast(logits, tf.float64)
    log_prob, log_probs = tf.zeros((), tf.float64), []
    for slot in range(int(slate.shape[-1])):
        log_prob += places.at_places(rest, slate[..., slot : slot + 1])[..., 0] - tf.reduce_logsumexp(rest, axis=-1)
        log_probs.append(log_prob)
        rest = places.without(rest, slate[..., slot])
    return tf.stack(log_probs, axis=-1)


def slot_log_probs(logits: tf.Tensor, slate: tf.Tensor) -> tf.Tensor:
    """Return the log-probability of each document of slates in its slot, whatever the other slots hold.

    Exact for the first two slots, and for all slots if all available documents have equal logits. Later slots are
    summed over all documents before them, up to `MAX_MARGINAL_TERMS` terms.

    Args:
      logits: float [..., D], -inf: unavailable.
      slate: int32 [..., S], indices of the documents.

    Returns:
      float64 [..., S]; NaN for slots with too many terms.
    """
    logits = tf.cast(logits, tf.float64)
    num_docs = int(logits.shape[-1])
    available = logits > -float("inf")
    largest = tf.reduce_max(logits, axis=-1)
    is_uniform = tf.reduce_all(~available | (logits == largest[..., tf.newaxis]), axis=-1)
    equal = -tf.math.log(tf.reduce_sum(tf.cast(available, tf.float64), axis=-1))
    log_probs = []
    for slot in range(int(slate.shape[-1])):
        place = slate[..., slot]
        if slot >= 2 and num_docs**slot > MAX_MARGINAL_TERMS:
            log_prob = tf.fill(tf.shape(equal), tf.constant(float("nan"), tf.float64))
        else:
            log_prob = _slot_log_prob(logits, place, slot)
        is_available = places.at_places(logits, place[..., tf.newaxis])[..., 0] > -float("inf")
        log_probs.append(tf.where(is_uniform & is_available, equal, log_prob))
    return tf.stack(log_probs, axis=-1)


def _slot_log_prob(logits: tf.Tensor, place: tf.Tensor, slot: int) -> tf.Tensor:
    """Return the log-probability of the document at `place` [...] in a slot, from 0; float64 [...]."""
    log_probs = tf.nn.log_softmax(logits, axis=-1)
    own = places.at_places(log_probs, place[..., tf.newaxis])[..., 0]
    if slot == 0:
        return own
    if slot == 1:
        # p_j times the sum over other documents i of p_i / (1 - p_i). Only the likeliest document can be likelier than
        # 1/2: its 1 - p_i is summed over the other documents, to avoid cancellation.
        likeliest = tf.argmax(log_probs, axis=-1, output_type=tf.int32)
        others = tf.reduce_logsumexp(places.without(log_probs, likeliest), axis=-1, keepdims=True)
        is_likeliest = places.one_hot(likeliest, int(logits.shape[-1]))
        complement = tf.math.log1p(-tf.exp(tf.where(is_likeliest, tf.zeros_like(log_probs) - 1.0, log_probs)))
        log_odds = log_probs - tf.where(is_likeliest, others, complement)
        return own + tf.reduce_logsumexp(places.without(log_odds, place), axis=-1)
    num_docs = int(logits.shape[-1])
    first = tf.range(num_docs)
    rest = tf.where(first[:, tf.newaxis] == first, tf.cast(-float("inf"), logits.dtype), logits[..., tf.newaxis, :])
    following = _slot_log_prob(rest, tf.broadcast_to(place[..., tf.newaxis], tf.shape(rest)[:-1]), slot - 1)
    # A document that cannot be first adds nothing, whatever follows it.
    possible = (log_probs > -float("inf")) & ~places.one_hot(place, num_docs)
    return tf.reduce_logsumexp(tf.where(possible, log_probs + following, tf.cast(-float("inf"), logits.dtype)), axis=-1)
