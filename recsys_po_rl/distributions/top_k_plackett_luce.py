"""Distribution of slates: the first S places of a Plackett-Luce ranking, as a TFP distribution."""

from typing import Any, NamedTuple, Optional

import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl.common import validation
from recsys_po_rl.simulation import random_ops

# Largest number of terms that `entropy` sums: the product over all slots but the last, times D. 4 Mi terms take a few
# tens of ms.
MAX_EXACT_ENTROPY_TERMS = 1 << 22


class TopKPlackettLuce(tfp.distributions.Distribution):
    """Distribution of S documents drawn in turn without replacement, each by a softmax over the remaining documents.

    For logits l and a slate (r_1, ..., r_S) of different documents,

        log p(r) = sum_s ( l[r_s] - logsumexp(l[d] for d not in {r_1, ..., r_(s-1)}) )

    (Luce 1959; Plackett 1975, "The Analysis of Permutations", stopped after S places). Every normaliser is summed over
    the remaining documents, never computed as the total minus the mass of the chosen ones: that difference is rounding
    error as soon as one document holds nearly all the mass. A document with logit -inf is unavailable and is never
    drawn. At least S documents must be available: with fewer, `sample`, `mode` and `log_prob` raise (under XLA, where
    no operation can raise, drawn slates are -1, and `log_prob` is NaN or -inf). For rows whose logits contain NaN the
    distribution is undefined: `log_prob` is NaN.

    With `columns`, slates are drawn from a pool of P documents, each with its column of the logits; events are indices
    into the pool. This costs O(P), whereas gathering the logits in pool order costs as much as drawing.

    Batch shape: shape of `logits` without the last axis. Event shape: [S]. Event dtype: int32, indices from 0 to D-1
    (or P-1).
    """

    def __init__(
        self,
        logits: Any,
        slate_size: int,
        columns: Any = None,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "TopKPlackettLuce",
    ) -> None:
        """Create the distribution.

        Args:
          logits: floating [..., D], unnormalised log-probabilities of the first slot; -inf: unavailable. Half
            precision is cast to float32.
          slate_size: S, at least 1 and at most D (or P).
          columns: int32 [P], distinct numbers from 0 to D-1; None: all documents, in the order of the logits. If
            columns repeat or are out of range (where no operation can raise), the distribution's logits are NaN.
          validate_args: whether to validate values in `log_prob`, as in TFP.
          allow_nan_stats: as in TFP.
          name: name of the distribution.

        Raises:
          InvalidInputError: if `slate_size` is below 1 or above D, D is unknown, or logits are not floating.
        """
        parameters = dict(locals())
        with tf.name_scope(name) as scope:
            # `dtype_hint` overrides the dtype of an array, so float64 has to be requested.
            dtype_hint = getattr(logits, "dtype", tf.float32)
            self._logits = tf.convert_to_tensor(logits, name="logits", dtype_hint=dtype_hint)
            if not self._logits.dtype.is_floating:
                raise validation.InvalidTypeError(f"{name}: logits must be floating, got {self._logits.dtype.name}")
            if self._logits.dtype.size < tf.float32.size:  # half precision is too coarse for cumulative sums
                self._logits = tf.cast(self._logits, tf.float32)
            self._num_columns = self._static_size(name, "logits", self._logits)
            self._columns = None if columns is None else tf.convert_to_tensor(columns, tf.int32, name="columns")
            num_docs = self._num_columns
            if self._columns is not None:
                num_docs = self._static_size(name, "columns", self._columns)
            self._slate_size = validation.integer(f"{name}: slate_size", slate_size, 1)
            if self._slate_size > num_docs:
                raise validation.InvalidInputError(
                    f"{name}: slate_size must be at most the number of documents, {num_docs}, got {slate_size}"
                )
            self._offered, self._unavailable = self._logits, None
            if self._columns is not None:
                self._place_of = _place_of(self._columns, self._num_columns)
                self._unavailable = _penalty(self._place_of, num_docs, self._logits.dtype)
                self._offered += self._unavailable
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
        return {
            "logits": tfp.util.ParameterProperties(event_ndims=1),
            "columns": tfp.util.ParameterProperties(event_ndims=1),
        }

    @staticmethod
    def _static_size(name: str, argument: str, tensor: tf.Tensor) -> int:
        if tensor.shape.rank == 0:
            raise validation.InvalidInputError(f"{name}: {argument} must have an axis of documents, got a scalar")
        size = tf.compat.dimension_value(tensor.shape[-1])
        if size is None:
            raise validation.InvalidInputError(f"{name}: the last axis of {argument} must have a known size")
        return int(size)

    @property
    def logits(self) -> tf.Tensor:
        """Unnormalised log-probabilities of the first slot, float [..., D], or [..., P] in pool order."""
        return self._offered if self._columns is None else tf.gather(self._offered, self._columns, axis=-1)

    def nan_witness(self, value: tf.Tensor) -> tf.Tensor:
        """Return row sums that are NaN if a logit of the row is NaN or no slate could be drawn.

        Cheaper under XLA than `is_nan` of all logits.

        Args:
          value: int32 [..., S], the slates drawn.

        Returns:
          float [...].
        """
        witness = tf.reduce_sum(self._logits, axis=-1)
        undrawn = tf.reduce_any(tf.convert_to_tensor(value) < 0)
        witness = tf.where(undrawn, tf.cast(float("nan"), witness.dtype), witness)
        if self._unavailable is None:
            return witness
        pool = self._unavailable[0]  # NaN if an element is NaN
        return witness + tf.where(tf.math.is_nan(pool), pool, tf.zeros_like(pool))

    def _places(self, columns: tf.Tensor) -> tf.Tensor:
        """Return pool indices for columns that are in the pool."""
        return columns if self._columns is None else tf.gather(self._place_of, columns)

    def _columns_at(self, places: tf.Tensor) -> tf.Tensor:
        """Return columns for pool indices, -1 for indices out of range."""
        if self._columns is None:
            return places
        size = int(self._columns.shape[0])
        looked_up = tf.gather(self._columns, tf.clip_by_value(places, 0, size - 1))
        return tf.where((places >= 0) & (places < size), looked_up, -1)

    @property
    def slate_size(self) -> int:
        """Number of slots S."""
        return self._slate_size

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._slate_size])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self._slate_size], tf.int32)

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        shape, dtype, salt = self.numbers_needed([n])
        return self.of_numbers(random_ops.uniform(shape, tfp.random.sanitize_seed(seed, salt=salt), dtype), check=True)

    def numbers_needed(self, sample_shape: Any) -> tuple[tf.Tensor, tf.DType, str]:
        """Return shape and dtype of the uniform numbers of a sample (one for each slot), and the salt of their seed."""
        shape = tf.concat([tf.cast(sample_shape, tf.int32), tf.shape(self._logits)[:-1], [self._slate_size]], axis=0)
        return shape, self._logits.dtype, "TopKPlackettLuce"

    def of_numbers(self, uniforms: tf.Tensor, check: Optional[bool] = None) -> tf.Tensor:
        """Return the sample determined by uniform numbers; -1 in rows from which no slate can be drawn.

        Args:
          uniforms: numbers in [0, 1), with the shape given by `numbers_needed`.
          check: whether a row without a slate raises; None: only in eager mode. A runtime detects it with
            `nan_witness`.

        Returns:
          int32, same shape as `uniforms`.
        """
        check = tf.executing_eagerly() if check is None else check
        logits = tf.broadcast_to(self._logits, tf.concat([tf.shape(uniforms)[:-1], [self._num_columns]], axis=0))
        drawn = _draw(logits, uniforms, self._unavailable, check=check)
        return drawn if self._columns is None else tf.where(drawn < 0, drawn, self._places(tf.maximum(drawn, 0)))

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        value = self._columns_at(tf.convert_to_tensor(value, tf.int32))
        if value.shape.rank == 0 or tf.compat.dimension_value(value.shape[-1]) not in (None, self._slate_size):
            raise validation.InvalidInputError(
                f"{self.name}: slates must have shape (..., {self._slate_size}), got {value.shape}"
            )
        batch = tf.broadcast_dynamic_shape(tf.shape(value)[:-1], tf.shape(self._logits)[:-1])
        logits = tf.broadcast_to(self._offered, tf.concat([batch, [self._num_columns]], axis=0))
        value = tf.broadcast_to(value, tf.concat([batch, [self._slate_size]], axis=0))
        log_prob = _slate_log_prob(logits, value)
        # log_prob is NaN although no logit is: checked only for rows with NaN.
        checked = tf.cond(
            tf.reduce_any(tf.math.is_nan(log_prob)),
            lambda: _require_documents(logits, self._slate_size, self.name),
            lambda: tf.constant(True),
        )
        with tf.control_dependencies([checked]):
            return tf.identity(log_prob)

    def first_pick_entropy(self) -> tf.Tensor:
        """Exact entropy in nats of the first document of the slate; float [...]."""
        return _categorical_entropy(self._offered)

    def _entropy(self) -> tf.Tensor:
        terms = self._num_columns**self._slate_size
        if terms > MAX_EXACT_ENTROPY_TERMS:
            raise NotImplementedError(
                f"the exact entropy of a slate of {self._slate_size} out of {self._num_columns} documents sums {terms} "
                f"terms a row, more than {MAX_EXACT_ENTROPY_TERMS}: use estimated_entropy or first_pick_entropy"
            )
        return _slate_entropy(self._offered, self._slate_size)

    def estimated_entropy(self, num_samples: int, seed: Any) -> tf.Tensor:
        """Return an unbiased Monte-Carlo estimate of the slate's entropy in nats.

        The first slot contributes its exact entropy. Each later slot contributes the mean, over sampled slates, of its
        exact entropy given the earlier slots, which has a lower variance than minus the log-probability.

        Args:
          num_samples: number of slates drawn for each row.
          seed: as in TFP; int32 [2] for stateless sampling.

        Returns:
          float [...].
        """
        left = tf.broadcast_to(self._offered, tf.concat([[num_samples], tf.shape(self._logits)], axis=0))
        slates = self._columns_at(self.sample(num_samples, seed=seed))
        total = self.first_pick_entropy()
        for slot in range(self._slate_size - 1):
            left = _without(left, slates[..., slot])
            total += tf.reduce_mean(_categorical_entropy(left), axis=0)
        return total

    def _mode(self) -> tf.Tensor:
        checked = _require_documents(self._offered, self._slate_size, self.name)
        with tf.control_dependencies([checked]):
            return self._places(tf.math.top_k(self._offered, k=self._slate_size).indices)

    def _default_event_space_bijector(self) -> None:
        return None


def _place_of(columns: tf.Tensor, num_columns: int) -> tf.Tensor:
    """Return the pool index of each column, int32 [D]; -1 outside the pool. Invalid pools have fewer columns."""
    places = tf.range(1, int(columns.shape[0]) + 1)
    return tf.scatter_nd(columns[:, tf.newaxis], places, [num_columns]) - 1


def _penalty(place_of: tf.Tensor, num_docs: int, dtype: tf.DType) -> tf.Tensor:
    """Return the term added to logits [..., D]: 0 in the pool, -inf outside; NaN if the pool is invalid."""
    # Repeated or out-of-range columns (under XLA, where no operation raises) leave fewer distinct columns than P.
    is_pool = tf.reduce_sum(tf.cast(place_of >= 0, tf.int32)) == num_docs
    absent = tf.where(place_of >= 0, tf.constant(0.0, dtype), tf.constant(-float("inf"), dtype))
    return tf.where(is_pool, absent, tf.constant(float("nan"), dtype))


def _one_hot(place: tf.Tensor, num_docs: int) -> tf.Tensor:
    """Return bool [..., D], true at `place` int32 [...]; all false if `place` is out of range."""
    return tf.range(num_docs) == place[..., tf.newaxis]


def _without(logits: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Return `logits` [..., D] with -inf at `place` [...]."""
    return tf.where(_one_hot(place, logits.shape[-1]), tf.cast(-float("inf"), logits.dtype), logits)


def _at(logits: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Return `logits` at `place` [..., S], -inf out of range, where a gather would raise, or clamp under XLA."""
    num_docs = int(logits.shape[-1])
    inside = (place >= 0) & (place < num_docs)
    gathered = tf.gather(logits, tf.clip_by_value(place, 0, num_docs - 1), batch_dims=len(logits.shape) - 1)
    return tf.where(inside, gathered, tf.cast(-float("inf"), logits.dtype))


def _largest(logits: tf.Tensor) -> tf.Tensor:
    """Return the largest logit of each row, or the lowest number of the dtype if no logit is finite."""
    largest = tf.reduce_max(logits, axis=-1)
    return tf.where(tf.math.is_finite(largest), largest, tf.constant(logits.dtype.min, logits.dtype))


def _can_be_drawn(logits: tf.Tensor, slate_size: int) -> tf.Tensor:
    """Return whether each row of logits [..., D] has S finite ones and no +inf, or contains NaN; bool [...]."""
    finite = tf.reduce_sum(tf.cast(tf.math.is_finite(logits), tf.int32), axis=-1)
    is_valid = (finite >= slate_size) & ~tf.reduce_any(logits == float("inf"), axis=-1)
    return is_valid | tf.reduce_any(tf.math.is_nan(logits), axis=-1)


def _require_documents(logits: tf.Tensor, slate_size: int, name: str) -> tf.Tensor:
    """Raise for rows of logits [..., D] from which no slate can be drawn; do nothing under XLA."""
    possible = _can_be_drawn(logits, slate_size)
    message = f"{name.strip('/')}: a slate of {slate_size} needs as many documents with a finite logit (none of +inf)"
    assertion = tf.debugging.Assert(tf.reduce_all(possible), [message])
    with tf.control_dependencies([assertion] if assertion is not None else []):
        return tf.constant(True)


# Sampling: two-level inverse CDF, which reads each row once, however many slots there are.


def _num_blocks(num_docs: int) -> int:
    """Return the number of blocks B, near sqrt(D); a divisor of D if one is within a factor of 2."""
    root = max(round(num_docs**0.5), 1)
    divisors = [size for size in range(max(root // 2, 1), 2 * root + 1) if num_docs % size == 0]
    return min(divisors, key=lambda size: abs(size - root), default=root)


# Below this share of the first pick's mass, remaining documents may have underflowed.
_LEAST_MASS = {tf.float32: 1e-20, tf.float64: 1e-200}


def _draw(
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
        required = [_require_documents(whole, slate_size, "TopKPlackettLuce")] if check else []
        with tf.control_dependencies(required):
            slates = _draw_slot_by_slot(whole, uniforms)
        return tf.where(_can_be_drawn(whole, slate_size)[:, tf.newaxis], slates, -1)

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
        block_mass = tf.where(_one_hot(block, num_blocks), weight, block_mass)
    return tf.stack(places, axis=-1), least_mass


def _draw_slot_by_slot(logits: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Draw slates one slot at a time, each relative to the largest remaining logit, to avoid underflow."""
    slots = int(uniforms.shape[-1])

    def body(slot: tf.Tensor, logits: tf.Tensor, places: tf.Tensor) -> Any:
        drawn, _ = _draw_in_blocks(logits, tf.gather(uniforms, [slot], axis=1))
        place = drawn[:, 0]
        places = tf.where(tf.range(slots) == slot, place[:, tf.newaxis], places)
        return slot + 1, _without(logits, place), places

    # A loop, because it runs rarely: unrolled, it would be a third of the compiled code.
    start = (tf.constant(0), logits, tf.zeros(tf.shape(uniforms), tf.int32))
    return tf.while_loop(lambda slot, *_: slot < slots, body, start, maximum_iterations=slots)[2]


# Log-probability: one exponential for each document, regardless of the number of slots.


@tf.custom_gradient
def _slate_log_prob(logits: tf.Tensor, slate: tf.Tensor) -> tuple[tf.Tensor, Any]:
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
            place = _one_hot(slate[..., slot], int(logits.shape[-1]))
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
        rest = _without(rest, slate[..., slot])
    rest_largest = _largest(rest)[..., tf.newaxis]
    rest_mass = tf.exp(rest - rest_largest)
    chosen = _at(logits, slate)
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
def _categorical_entropy(logits: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Return the entropy in nats of a softmax over the last axis, with 0 log 0 = 0."""
    log_probs = tf.nn.log_softmax(logits, axis=-1)
    finite = tf.where(log_probs > -float("inf"), log_probs, tf.zeros_like(log_probs))
    probs = tf.exp(log_probs)
    entropy = -tf.reduce_sum(probs * finite, axis=-1)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return -upstream[..., tf.newaxis] * probs * (finite + entropy[..., tf.newaxis])

    return entropy, gradient


def _slate_entropy(logits: tf.Tensor, slots: int) -> tf.Tensor:
    """Return H(first pick) + sum_d p(d) H(rest of the slate | d first), by recursion over slots."""
    first = _categorical_entropy(logits)
    if slots == 1:
        return first
    num_docs = int(logits.shape[-1])
    taken = tf.cast(tf.eye(num_docs), tf.bool)
    rest = tf.where(taken, tf.cast(-float("inf"), logits.dtype), logits[..., tf.newaxis, :])
    # An unavailable document is never first: the entropy of the slots after it may be NaN and is masked.
    available = tf.exp(tf.nn.log_softmax(logits, axis=-1))
    followed = tf.where(available > 0, _slate_entropy(rest, slots - 1), tf.zeros_like(available))
    return first + tf.reduce_sum(available * followed, axis=-1)
