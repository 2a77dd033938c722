"""Random draws that are equal in graph, XLA and eager mode: inverse CDFs of uniform numbers from Philox bits.

TensorFlow's own samplers turn equal bits into different floats under XLA, and XLA's default generator on CPU takes
130 ns per number, Philox 18 ns (benchmarks/RESULTS.md).
"""

from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl.common.protocols import UniformDriven

_PHILOX = 1  # number of the algorithm in TensorFlow; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"
_INVERSE_CDFS = (tfp.distributions.Categorical, tfp.distributions.Normal, tfp.distributions.MultivariateNormalDiag)
_LARGEST_TRIANGLE = 256
_ANY_SEED = np.zeros(2, np.int32)  # for deterministic distributions, which ignore the seed
_MANTISSA_BITS = {tf.float32: 24, tf.float64: 53}


def fold_in(seed: tf.Tensor, number: Any) -> tf.Tensor:
    """Derive a seed from a seed and a number: Philox with the seed as key and the number as counter.

    Args:
      seed: int32 [2].
      number: integer scalar, at least 0.

    Returns:
      int32 [2].
    """
    return _bits([2], seed, tf.int32, counter=number)


def uniform(shape: Any, seed: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Draw uniformly from the multiples of 2^-24 (float64: 2^-53) in [0, 1).

    Args:
      shape: shape of the result.
      seed: int32 [2].
      dtype: float32 or float64.
    """
    bits = _bits(shape, seed, tf.uint64 if dtype == tf.float64 else tf.uint32)
    width = 8 * bits.dtype.size
    mantissa = _MANTISSA_BITS.get(dtype, 24)
    shifted = tf.bitwise.right_shift(bits, tf.constant(width - mantissa, bits.dtype))
    signed = tf.cast(shifted, tf.int64 if width == 64 else tf.int32)
    return tf.cast(signed, dtype) * tf.constant(2.0**-mantissa, dtype)


def salted(seed: tf.Tensor, salt: Optional[str]) -> tf.Tensor:
    """Return the seed that a TFP distribution derives from `seed` with its salt; int32 [2]."""
    return seed if salt is None else tfp.random.sanitize_seed(seed, salt=salt)


def _bits(shape: Any, seed: tf.Tensor, dtype: tf.DType, counter: Any = 0) -> tf.Tensor:
    # The raw op, because tf.random.stateless_uniform first hashes the seed in fifty operations. These seeds are hashes.
    key = tf.bitcast(seed, tf.uint64)[tf.newaxis]
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.cast(shape, tf.int32), key=key, counter=_counter(counter), alg=_PHILOX, dtype=dtype
    )


def _counter(number: Any) -> tf.Tensor:
    if isinstance(number, int):
        return tf.constant([number, 0], tf.uint64)
    return tf.stack([tf.cast(number, tf.uint64), tf.constant(0, tf.uint64)])


def row_sums(mass: tf.Tensor) -> tf.Tensor:
    """Sum over the last axis, as a product with ones.

    XLA on CPU fuses exponentials into a sum and then computes them one by one. Before a matrix product it vectorises
    them, which takes an eighth of the time.
    """
    size = int(mass.shape[-1])
    return tf.reshape(tf.matmul(tf.reshape(mass, (-1, size)), tf.ones((size, 1), mass.dtype)), tf.shape(mass)[:-1])


def cumulative(mass: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the exclusive and the inclusive cumulative sums of `mass` [..., N]; both [..., N].

    Computed by a product with a triangular matrix for N up to `_LARGEST_TRIANGLE`: XLA's cumulative sum on CPU takes
    about ten times as long for N near 10, but the matrix grows with the square of N.
    """
    size = int(mass.shape[-1])
    if size > _LARGEST_TRIANGLE:
        exclusive = tf.cumsum(mass, axis=-1, exclusive=True)
        return exclusive, exclusive + mass
    before = tf.linalg.band_part(tf.ones((size, size), mass.dtype), 0, -1) - tf.eye(size, dtype=mass.dtype)
    rows = tf.reshape(mass, (-1, size))
    exclusive = tf.reshape(tf.matmul(rows, before), tf.shape(mass))
    return exclusive, exclusive + mass


def pick(mass: tf.Tensor, threshold: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the first place at which the cumulative sum exceeds a threshold.

    A place without mass is never picked. If the threshold reaches the total by rounding, the result is the last place
    with mass.

    Args:
      mass: float [..., N], at least 0.
      threshold: float [...].

    Returns:
      The place, int32 [...], in 0..N-1 for any mass; and the sum of the mass before the place, [...].
    """
    size = int(mass.shape[-1])
    exclusive, inclusive = cumulative(mass)
    positions = tf.range(size)
    has_mass = mass > 0
    above = (inclusive > threshold[..., tf.newaxis]) & has_mass
    first_above = tf.reduce_min(tf.where(above, positions, size), axis=-1)
    last_with_mass = tf.reduce_max(tf.where(has_mass, positions, 0), axis=-1)
    place = tf.minimum(first_above, last_with_mass)
    return place, tf.gather(exclusive, place, batch_dims=len(place.shape))


def categorical(logits: tf.Tensor, uniform_number: tf.Tensor) -> tf.Tensor:
    """Evaluate the inverse CDF of a softmax.

    Args:
      logits: float [..., N]; -inf: probability 0.
      uniform_number: [...], in [0, 1).

    Returns:
      int32 [...].
    """
    mass = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    place, _ = pick(mass, uniform_number * tf.reduce_sum(mass, axis=-1))
    return place


def sample(distribution: Any, sample_shape: Any, make_seed: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Draw from a TFP distribution: categorical and normal by inverse CDF, others by TFP's sampler.

    A distribution with its own transformation of uniform numbers is `UniformDriven`, as `TopKPlackettLuce` is.

    Args:
      distribution: TFP distribution.
      sample_shape: as in TFP.
      make_seed: returns the seed, int32 [2]; not called for deterministic distributions.
    """

    def numbers(shape: tf.Tensor, dtype: tf.DType, salt: Optional[str]) -> tf.Tensor:
        return uniform(shape, salted(make_seed(), salt), dtype)

    is_one_draw = isinstance(sample_shape, tuple) and not sample_shape  # tensors and arrays are not compared with ()
    if is_one_draw and type(distribution) is tfp.distributions.Deterministic and not _has_tolerances(distribution):
        return tf.convert_to_tensor(distribution.loc)  # TFP's sampler takes a dozen operations to broadcast it
    if is_deterministic(distribution):
        return distribution.sample(sample_shape, seed=_ANY_SEED)
    if isinstance(distribution, UniformDriven):
        return distribution.of_numbers(numbers(*distribution.numbers_needed(sample_shape)))
    if not is_drawn_from_uniforms(distribution):
        return distribution.sample(sample_shape, seed=make_seed())
    kind = type(distribution)
    shape = tf.concat([tf.reshape(tf.cast(sample_shape, tf.int32), [-1]), distribution.batch_shape_tensor()], axis=0)
    if kind is tfp.distributions.Categorical:
        logits = distribution.logits_parameter()
        chances = numbers(shape, logits.dtype, None)
        return tf.cast(categorical(logits + tf.zeros_like(chances)[..., tf.newaxis], chances), distribution.dtype)
    shape = tf.concat([shape, distribution.event_shape_tensor()], axis=0)
    # In float64: float32 cannot distinguish the 2^53 cells.
    standard = _standard_normal(numbers(shape, tf.float64, None), distribution.dtype)
    return distribution.mean() + distribution.stddev() * standard


def is_drawn_from_uniforms(distribution: Any) -> bool:
    """Return whether `sample` computes draws from uniform numbers and the distribution's parameters alone."""
    return isinstance(distribution, UniformDriven) or type(distribution) in _INVERSE_CDFS


def is_deterministic(distribution: Any) -> bool:
    """Return whether a distribution has only one value."""
    while isinstance(distribution, tfp.distributions.Independent):
        distribution = distribution.distribution
    return isinstance(distribution, (tfp.distributions.Deterministic, tfp.distributions.VectorDeterministic))


def _has_tolerances(deterministic: Any) -> bool:
    """Return whether a deterministic distribution has tolerances, which can broadcast its value."""
    return any(deterministic.parameters[name] is not None for name in ("atol", "rtol"))


def _standard_normal(numbers: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    # Uniform numbers are moved to the centres of their cells, where they are never 0 or 1.
    return tf.cast(tf.math.ndtri(numbers + 2.0**-54), dtype)
