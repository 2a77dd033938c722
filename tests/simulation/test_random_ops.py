"""Draws by inverse CDF: the law, the ends, and the same numbers in every mode."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl.simulation import random_ops

tfd = tfp.distributions
SEED = (17, 4)
N = 100_000


def in_every_mode(function):
    """Results in eager, graph and XLA mode."""
    compiled = [tf.function(function, jit_compile=jit_compile, autograph=False) for jit_compile in (None, True)]
    return [np.asarray(run()) for run in (function, *compiled)]


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_uniform_numbers_are_in_range_uniform_and_the_same_in_every_mode(dtype):
    eager, graph, xla = in_every_mode(lambda: random_ops.uniform([N], tf.constant(SEED), dtype))
    np.testing.assert_array_equal(eager, graph)
    np.testing.assert_array_equal(eager, xla)
    assert eager.min() >= 0.0
    assert eager.max() < 1.0
    counts = np.histogram(eager, 20, (0.0, 1.0))[0]
    assert ((counts - N / 20) ** 2 / (N / 20)).sum() < 43.8  # chi-squared, 19 degrees of freedom, 0.1%


@pytest.mark.slow
def test_folding_in_gives_a_seed_of_its_own_for_each_number():
    seeds = {tuple(random_ops.fold_in(tf.constant(SEED), number).numpy()) for number in range(1000)}
    assert len(seeds) == 1000
    assert tuple(random_ops.fold_in(tf.constant(SEED), 3).numpy()) == tuple(
        tf.function(random_ops.fold_in, jit_compile=True)(tf.constant(SEED), tf.constant(3)).numpy()
    )


def test_categorical_draws_follow_their_law_in_every_mode():
    logits = np.log(np.array([0.5, 0.2, 0.0, 0.3], np.float32) + 1e-30)
    law = tfd.Categorical(logits=logits)
    eager, graph, xla = in_every_mode(lambda: random_ops.sample(law, N, lambda: tf.constant(SEED)))
    np.testing.assert_array_equal(eager, graph)
    np.testing.assert_array_equal(eager, xla)
    assert eager.dtype == np.int32
    shares = np.bincount(eager, minlength=4) / N
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.0, 0.3], atol=4 * np.sqrt(0.25 / N))
    assert shares[2] == 0.0


@pytest.mark.parametrize(
    "law",
    [
        lambda: tfd.Normal(loc=2.0, scale=3.0),
        lambda: tfd.MultivariateNormalDiag(loc=[2.0], scale_diag=[3.0]),
    ],
)
def test_normal_draws_follow_their_law_and_agree_between_modes(law):
    eager, graph, xla = in_every_mode(lambda: random_ops.sample(law(), N, lambda: tf.constant(SEED)))
    np.testing.assert_allclose(graph, eager, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(xla, eager, rtol=1e-5, atol=1e-5)
    z = np.sort((eager.ravel().astype(np.float64) - 2.0) / 3.0)
    cdf = tfd.Normal(np.float64(0.0), np.float64(1.0)).cdf(z).numpy()
    assert np.abs(cdf - (np.arange(N) + 0.5) / N).max() < 1.95 / np.sqrt(N)  # Kolmogorov-Smirnov, 0.1%


def test_a_deterministic_distribution_needs_no_seed_and_others_are_drawn_by_tfp():
    def refuse():
        raise AssertionError("a seed was made")

    law = tfd.Independent(tfd.Deterministic(loc=[1.0, 2.0]), 1)
    np.testing.assert_array_equal(random_ops.sample(law, (), refuse), [1.0, 2.0])
    gamma = tfd.Gamma(2.0, 1.0)
    expected = gamma.sample(3, seed=tf.constant(SEED))
    np.testing.assert_array_equal(random_ops.sample(gamma, 3, lambda: tf.constant(SEED)), expected)


@pytest.mark.parametrize("shape", [(), [], (3,), 3, np.array([]), np.array([2, 3]), tf.constant([], tf.int32)])
@pytest.mark.parametrize("tolerances", [{}, {"atol": [0.0, 0.1]}, {"rtol": [[0.0], [0.5]]}])
def test_a_deterministic_distribution_has_the_shape_of_tfp_s(shape, tolerances):
    law = tfd.Deterministic(loc=[7.0], **tolerances)
    actual = random_ops.sample(law, shape, lambda: tf.constant(SEED))
    np.testing.assert_array_equal(actual, law.sample(shape))
    assert actual.shape == law.sample(shape).shape


def test_pick_takes_places_with_mass_only():
    mass = tf.constant([[0.0, 1.0, 0.0, 3.0, 0.0]] * 4)
    place, before = random_ops.pick(mass, tf.constant([0.0, 0.999, 1.0, 4.0]))
    np.testing.assert_array_equal(place, [1, 1, 3, 3])
    np.testing.assert_array_equal(before, [0.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize("size", [1, 5, 256, 257])
def test_sums_of_rows(size):
    mass = np.random.default_rng(0).uniform(size=(3, 4, size)).astype(np.float32)
    np.testing.assert_allclose(random_ops.row_sums(tf.constant(mass)), mass.sum(-1), rtol=1e-6)
    exclusive, inclusive = random_ops.cumulative(tf.constant(mass))
    np.testing.assert_allclose(inclusive, mass.cumsum(-1), rtol=1e-5)
    np.testing.assert_allclose(exclusive, mass.cumsum(-1) - mass, rtol=1e-5, atol=1e-4)
