"""The law of a slate: the first S places of a Plackett-Luce ranking, as a TFP distribution."""

from typing import Any, Optional

import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl import checks

# Terms that `entropy` may sum: the product over all slots but the last, times D. 4 Mi terms take a few tens of ms.
MAX_EXACT_ENTROPY_TERMS = 1 << 22


class TopKPlackettLuce(tfp.distributions.Distribution):
    """S documents drawn one after another, without replacement, each by a softmax over those that are left.

    For logits l and a slate (r_1, ..., r_S) of different documents,

        log p(r) = sum_s ( l[r_s] - logsumexp(l[d] for d not in {r_1, ..., r_(s-1)}) )

    (Luce 1959; Plackett 1975, "The Analysis of Permutations", stopped after S places). Every normaliser is summed
    over the documents that are left, never as the total minus what was taken: that difference is rounding error as soon
    as one document holds nearly all the mass. A document with logit -inf is unavailable and is never drawn; at least S
    others must be there. Rows whose logits contain NaN have no law: their `log_prob` is NaN.

    Batch shape: that of `logits` without its last axis. Event shape: [S]. Dtype of events: int32, places from 0 to D-1.
    """

    def __init__(
        self,
        logits: Any,
        slate_size: int,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "TopKPlackettLuce",
    ) -> None:
        """Makes the distribution.

        Args:
          logits: float32 or float64 [..., D], unnormalised log-probabilities of the first place; -inf: unavailable.
          slate_size: S, at least 1 and at most D.
          validate_args: whether to check values in `log_prob`, as in TFP.
          allow_nan_stats: as in TFP.
          name: name of the distribution.

        Raises:
          checks.InvalidInputError: if `slate_size` is below 1 or above D, or D is unknown.
        """
        parameters = dict(locals())
        with tf.name_scope(name) as scope:
            # The hint wins over an array's own dtype: float64 must ask for float64.
            dtype_hint = getattr(logits, "dtype", tf.float32)
            self._logits = tf.convert_to_tensor(logits, name="logits", dtype_hint=dtype_hint)
            num_docs = tf.compat.dimension_value(self._logits.shape[-1])
            if num_docs is None:
                raise checks.InvalidInputError(f"{name}: the last axis of logits must have a known size")
            self._num_docs = int(num_docs)
            self._slate_size = checks.integer(f"{name}: slate_size", slate_size, 1)
            if self._slate_size > self._num_docs:
                raise checks.InvalidInputError(
                    f"{name}: slate_size must be at most the number of documents, {self._num_docs}, got {slate_size}"
                )
            super().__init__(
                dtype=tf.int32,
                reparameterization_type=tfp.distributions.NOT_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=scope,
            )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Optional[int] = None) -> dict[str, Any]:
        del dtype, num_classes
        return {"logits": tfp.util.ParameterProperties(event_ndims=1)}

    @property
    def logits(self) -> tf.Tensor:
        """Unnormalised log-probabilities of the first place, float [..., D]."""
        return self._logits

    @property
    def slate_size(self) -> int:
        """S, the number of places."""
        return self._slate_size

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._slate_size])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self._slate_size], tf.int32)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        seeds = tfp.random.split_seed(seed, n=self._slate_size, salt="TopKPlackettLuce")
        draws = tf.concat([[n], tf.shape(self._logits)[:-1]], axis=0)
        left = tf.broadcast_to(self._logits, tf.concat([draws, [self._num_docs]], axis=0))
        places = []
        for slot in range(self._slate_size):
            uniform = tf.random.stateless_uniform(draws, seeds[slot], dtype=left.dtype)
            places.append(_draw_one(left, uniform))
            left = _without(left, places[-1])
        return tf.stack(places, axis=-1)

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        value = tf.convert_to_tensor(value, tf.int32)
        batch = tf.broadcast_dynamic_shape(tf.shape(value)[:-1], tf.shape(self._logits)[:-1])
        left = tf.broadcast_to(self._logits, tf.concat([batch, [self._num_docs]], axis=0))
        value = tf.broadcast_to(value, tf.concat([batch, [self._slate_size]], axis=0))
        total = tf.zeros(batch, left.dtype)
        for slot in range(self._slate_size):
            place = value[..., slot]
            chosen = _at(left, place)
            possible = chosen > -float("inf")  # false for taken, unavailable and out-of-range documents
            # Both terms are taken relative to the largest logit left: their difference must survive large logits.
            largest = _largest(left)
            log_mass = tf.math.log(tf.reduce_sum(tf.exp(left - largest[..., tf.newaxis]), axis=-1))
            impossible = tf.where(tf.math.is_nan(log_mass), log_mass, tf.cast(-float("inf"), left.dtype))
            total += tf.where(possible, (chosen - largest) - log_mass, impossible)
            left = _without(left, place)
        return total

    def first_pick_entropy(self) -> tf.Tensor:
        """Entropy in nats of the first document of the slate, exact; float [...]."""
        return _categorical_entropy(self._logits)

    def _entropy(self) -> tf.Tensor:
        terms = self._num_docs**self._slate_size
        if terms > MAX_EXACT_ENTROPY_TERMS:
            raise NotImplementedError(
                f"the exact entropy of a slate of {self._slate_size} out of {self._num_docs} documents sums {terms} "
                f"terms a row, more than {MAX_EXACT_ENTROPY_TERMS}: use estimated_entropy or first_pick_entropy"
            )
        return _slate_entropy(self._logits, self._slate_size)

    def estimated_entropy(self, num_samples: int, seed: Any) -> tf.Tensor:
        """Monte-Carlo estimate of the slate's entropy in nats, unbiased.

        The first pick enters exactly; the later ones as the mean, over sampled slates, of the exact entropy of each
        pick given the picks before it, which varies less than minus the log-probability.

        Args:
          num_samples: slates drawn for each row.
          seed: as in TFP; int32 [2] for a stateless draw.

        Returns:
          float [...].
        """
        left = tf.broadcast_to(self._logits, tf.concat([[num_samples], tf.shape(self._logits)], axis=0))
        slates = self.sample(num_samples, seed=seed)
        total = self.first_pick_entropy()
        for slot in range(self._slate_size - 1):
            left = _without(left, slates[..., slot])
            total += tf.reduce_mean(_categorical_entropy(left), axis=0)
        return total

    def _mode(self) -> tf.Tensor:
        return tf.math.top_k(self._logits, k=self._slate_size).indices

    def _default_event_space_bijector(self) -> None:
        return None


def _one_hot(place: tf.Tensor, num_docs: int) -> tf.Tensor:
    """Bool [..., D], true at `place` int32 [...]; all false where it is out of range."""
    return tf.range(num_docs) == place[..., tf.newaxis]


def _without(logits: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """`logits` [..., D] with -inf at `place` [...]."""
    return tf.where(_one_hot(place, logits.shape[-1]), tf.cast(-float("inf"), logits.dtype), logits)


def _at(logits: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """The logit at `place`, -inf where it is out of range (a gather raises there, or clamps under XLA)."""
    num_docs = int(logits.shape[-1])
    inside = (place >= 0) & (place < num_docs)
    gathered = tf.gather(logits, tf.clip_by_value(place, 0, num_docs - 1), batch_dims=len(place.shape))
    return tf.where(inside, gathered, tf.cast(-float("inf"), logits.dtype))


def _largest(logits: tf.Tensor) -> tf.Tensor:
    """The largest logit of each row, a constant for gradients; 0 where there is no finite one."""
    largest = tf.stop_gradient(tf.reduce_max(logits, axis=-1))
    return tf.where(tf.math.is_finite(largest), largest, tf.zeros_like(largest))


def _draw_one(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Inverse CDF: one uniform number in [0, 1) picks one document of each row of `logits` [..., D]."""
    mass = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    cumulative = tf.cumsum(mass, axis=-1)
    threshold = uniform[..., tf.newaxis] * cumulative[..., -1:]
    # A parallel sum need not be monotone and u * total may round up to the total: only documents with mass may be
    # picked, and the last of them where no partial sum exceeds the threshold.
    position = tf.range(logits.shape[-1])
    size = int(logits.shape[-1])
    first_above = tf.reduce_min(tf.where((cumulative > threshold) & (mass > 0), position, size), axis=-1)
    last_with_mass = tf.reduce_max(tf.where(mass > 0, position, 0), axis=-1)
    return tf.minimum(first_above, last_with_mass)


def _categorical_entropy(logits: tf.Tensor) -> tf.Tensor:
    """Entropy in nats of a softmax over the last axis, 0 log 0 = 0."""
    log_probs = tf.nn.log_softmax(logits, axis=-1)
    finite = tf.where(log_probs > -float("inf"), log_probs, tf.zeros_like(log_probs))
    return -tf.reduce_sum(tf.exp(log_probs) * finite, axis=-1)


def _slate_entropy(logits: tf.Tensor, slots: int) -> tf.Tensor:
    """H(first pick) + sum_d p(d) H(rest of the slate | d first), by recursion over slots."""
    first = _categorical_entropy(logits)
    if slots == 1:
        return first
    num_docs = int(logits.shape[-1])
    taken = tf.cast(tf.eye(num_docs), tf.bool)
    rest = tf.where(taken, tf.cast(-float("inf"), logits.dtype), logits[..., tf.newaxis, :])
    # An unavailable document is never first, so the entropy of what would follow it must not be a NaN.
    available = tf.exp(tf.nn.log_softmax(logits, axis=-1))
    followed = tf.where(available > 0, _slate_entropy(rest, slots - 1), tf.zeros_like(available))
    return first + tf.reduce_sum(available * followed, axis=-1)
