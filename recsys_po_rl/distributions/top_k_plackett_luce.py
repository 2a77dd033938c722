"""Distribution of slates: the first S places of a Plackett-Luce ranking, as a TFP distribution."""

from typing import Any, Optional

import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl.common import validation
from recsys_po_rl.distributions import places, slate_log_prob, slate_marginals, slate_sampling
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
        drawn = slate_sampling.draw(logits, uniforms, self._unavailable, check=check)
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
        log_prob = slate_log_prob.slate_log_prob(logits, value)
        # log_prob is NaN although no logit is: checked only for rows with NaN.
        checked = tf.cond(
            tf.reduce_any(tf.math.is_nan(log_prob)),
            lambda: slate_sampling.require_documents(logits, self._slate_size, self.name),
            lambda: tf.constant(True),
        )
        with tf.control_dependencies([checked]):
            return tf.identity(log_prob)

    def prefix_log_probs(self, value: Any) -> tf.Tensor:
        """Return the log-probabilities of the first 1, 2, ... S documents of slates, in order.

        Args:
          value: int32 [..., S], with the batch shape.

        Returns:
          float64 [..., S]; the last one is `log_prob`, in double precision.
        """
        slate = self._columns_at(tf.convert_to_tensor(value, tf.int32))
        return slate_marginals.prefix_log_probs(self._offered, slate)

    def slot_probabilities(self, value: Any) -> tf.Tensor:
        """Return the probability of each document of slates in its slot, whatever the other slots hold.

        Args:
          value: int32 [..., S], with the batch shape.

        Returns:
          float64 [..., S]; NaN where the marginal has too many terms, see `slate_marginals.slot_log_probs`.
        """
        slate = self._columns_at(tf.convert_to_tensor(value, tf.int32))
        return tf.exp(slate_marginals.slot_log_probs(self._offered, slate))

    def first_pick_entropy(self) -> tf.Tensor:
        """Exact entropy in nats of the first document of the slate; float [...]."""
        return slate_log_prob.categorical_entropy(self._offered)

    def _entropy(self) -> tf.Tensor:
        terms = self._num_columns**self._slate_size
        if terms > MAX_EXACT_ENTROPY_TERMS:
            raise NotImplementedError(
                f"the exact entropy of a slate of {self._slate_size} out of {self._num_columns} documents sums {terms} "
                f"terms a row, more than {MAX_EXACT_ENTROPY_TERMS}: use estimated_entropy or first_pick_entropy"
            )
        return slate_log_prob.slate_entropy(self._offered, self._slate_size)

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
            left = places.without(left, slates[..., slot])
            total += tf.reduce_mean(slate_log_prob.categorical_entropy(left), axis=0)
        return total

    def _mode(self) -> tf.Tensor:
        checked = slate_sampling.require_documents(self._offered, self._slate_size, self.name)
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
