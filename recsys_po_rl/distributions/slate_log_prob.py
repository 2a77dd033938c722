"""Log-probability and entropy of slates, with one exponential for each document, regardless of the number of slots."""

from typing import Any, NamedTuple

import tensorflow as tf

from recsys_po_rl.distributions import places


def _largest(logits: tf.Tensor) -> tf.Tensor:
    """Return the largest logit of each row, or the lowest number of the dtype if no logit is finite."""
    largest = tf.reduce_max(logits, axis=-1)
    return tf.where(tf.math.is_finite(largest), largest, tf.constant(logits.dtype.min, logits.dtype))


@tf.custom_gradient
def slate_log_prob(logits: tf.Tensor, slate: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Return log-probabilities, float [...], of slates int32 [..., S] under logits [..., D].

    Let A be the log mass of the documents outside the slate. The normaliser of slot s is log(exp(A) + exp(l[r_s]) + ...
    + exp(l[r_S])): sums of positive terms, relative to the largest of each.
    """
    slots = _slate_probabilities(logits, slate)
    log_prob = tf.reduce_sum(tf.linalg.diag_part(slots.log_shares), axis=-1)
    impossible = tf.cast(-float("inf"), logits.dtype)
    log_prob = tf.where(slots.possible | tf.math.is_nan(log_prob), log_prob, impossible)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        # d log p / d l[d] = [d chosen] - sum of d's probabilities over the slots in which d was still available.
        slots = _slate_probabilities(logits, slate)
        upstream = tf.where(slots.possible, upstream, tf.zeros_like(upstream))
        result = -slots.rest_mass * (upstream * slots.rest_share)[..., tf.newaxis]
        # Chosen documents: 1 - p in their own slot, by expm1 to avoid cancellation; - p in earlier slots.
        own = -tf.math.expm1(tf.linalg.diag_part(slots.log_shares))
        earlier = tf.linalg.band_part(tf.exp(slots.log_shares), -1, 0)
        earlier = tf.reduce_sum(tf.linalg.set_diag(earlier, tf.zeros_like(own)), axis=-1)
        chosen = (
            tf.where(slots.possible[..., tf.newaxis], own - earlier, tf.zeros_like(own)) * upstream[..., tf.newaxis]
        )
        for slot in range(int(slate.shape[-1])):
            place = places.one_hot(slate[..., slot], int(logits.shape[-1]))
            result = tf.where(place, chosen[..., slot, tf.newaxis], result)
        return result, None

    return log_prob, gradient


class _SlateProbabilities(NamedTuple):
    log_shares: tf.Tensor  # [..., S, S], log-probability of each document of the slate in each slot
    possible: tf.Tensor  # bool [...], whether the documents are available and distinct
    rest_mass: tf.Tensor  # [..., D], mass of the documents outside the slate, relative to their largest; 0 within
    rest_share: tf.Tensor  # [...], factor that turns `rest_mass` into probabilities, summed over slots


def _slate_probabilities(logits: tf.Tensor, slate: tf.Tensor) -> _SlateProbabilities:
    slate_size = int(slate.shape[-1])
    rest = logits
    for slot in range(slate_size):
        rest = places.without(rest, slate[..., slot])
    rest_largest = _largest(rest)[..., tf.newaxis]
    rest_mass = tf.exp(rest - rest_largest)
    chosen = places.at_places(logits, slate)
    possible = tf.reduce_all(chosen > -float("inf"), axis=-1)
    if slate_size > 1:
        equal = slate[..., tf.newaxis] == slate[..., tf.newaxis, :]
        possible &= ~tf.reduce_any(
            tf.linalg.band_part(equal, 0, -1) & ~tf.eye(slate_size, dtype=tf.bool), axis=[-1, -2]
        )
    # Slot s contains the remaining documents and the documents chosen from slot s on. Its reference is their largest
    # logit, kept apart from the log of the relative mass, so that differences survive however large the logits are.
    finite = tf.where(tf.math.is_finite(chosen), chosen, rest_largest)
    references = [rest_largest]
    for slot in reversed(range(slate_size)):
        references.append(tf.maximum(references[-1], finite[..., slot, tf.newaxis]))
    reference = tf.concat(references[:0:-1], axis=-1)
    of_chosen = tf.exp(chosen[..., tf.newaxis] - reference[..., tf.newaxis, :])
    total = tf.reduce_sum(tf.linalg.band_part(of_chosen, -1, 0), axis=-2)
    rest_sum = tf.reduce_sum(rest_mass, axis=-1, keepdims=True)
    log_mass = tf.math.log(rest_sum * tf.exp(rest_largest - reference) + total)
    return _SlateProbabilities(
        log_shares=(chosen[..., tf.newaxis] - reference[..., tf.newaxis, :]) - log_mass[..., tf.newaxis, :],
        possible=possible,
        rest_mass=rest_mass,
        rest_share=tf.reduce_sum(tf.exp((rest_largest - reference) - log_mass), axis=-1),
    )


@tf.custom_gradient
def categorical_entropy(logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Return the entropy in nats of a softmax over the last axis, with 0 log 0 = 0."""
    log_probs = tf.nn.log_softmax(logits, axis=-1)
    finite = tf.where(log_probs > -float("inf"), log_probs, tf.zeros_like(log_probs))
    probs = tf.exp(log_probs)
    entropy = -tf.reduce_sum(probs * finite, axis=-1)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return -upstream[..., tf.newaxis] * probs * (finite + entropy[..., tf.newaxis])

    return entropy, gradient


def slate_entropy(logits: tf.Tensor, slots: int) -> tf.Tensor:
    """Return H(first pick) + sum_d p(d) H(rest of the slate | d first), by recursion over slots."""
    first = categorical_entropy(logits)
    if slots == 1:
        return first
    num_docs = int(logits.shape[-1])
    taken = tf.cast(tf.eye(num_docs), tf.bool)
    rest = tf.where(taken, tf.cast(-float("inf"), logits.dtype), logits[..., tf.newaxis, :])
    # An unavailable document is never first: the entropy of the slots after it may be NaN and is masked.
    available = tf.exp(tf.nn.log_softmax(logits, axis=-1))
    followed = tf.where(available > 0, slate_entropy(rest, slots - 1), tf.zeros_like(available))
    return first + tf.reduce_sum(available * followed, axis=-1)
