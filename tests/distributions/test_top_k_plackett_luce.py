import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl.common import validation
from recsys_po_rl.distributions import slate_sampling, top_k_plackett_luce

INF = math.inf
NAN = math.nan

# [D, S].
SIZES = [(4, 1), (4, 3), (4, 4), (5, 2), (5, 3), (5, 5)]

# Relative to log-probabilities of the order of 10.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def draw_logits(*shape, seed=0, scale=1.5):
    return np.random.default_rng(seed).normal(0.0, scale, shape)


def oracle_log_prob(logits, slate):
    """The definition, one document after another, in float64."""
    left = {doc: float(logit) for doc, logit in enumerate(logits) if logit > -INF}
    total = 0.0
    for doc in slate:
        if doc not in left:
            return -INF
        largest = max(left.values())
        total += (left[doc] - largest) - math.log(sum(math.exp(logit - largest) for logit in left.values()))
        del left[doc]
    return total


def ordered_slates(num_docs, slate_size):
    return np.array(list(itertools.permutations(range(num_docs), slate_size)), np.int32)


def oracle_law(logits, slate_size):
    """All ordered slates [N, S] and their probabilities [N]."""
    all_slates = ordered_slates(len(logits), slate_size)
    return all_slates, np.exp([oracle_log_prob(logits, slate) for slate in all_slates])


def oracle_entropy(logits, slate_size):
    _, probabilities = oracle_law(logits, slate_size)
    possible = probabilities[probabilities > 0]
    return -np.sum(possible * np.log(possible))


def oracle_gradient(logits, slate):
    """At each slot the chosen document's indicator minus the softmax over those left."""
    gradient, taken = np.zeros(len(logits)), []
    for doc in slate:
        left = np.array(logits, np.float64)
        left[taken] = -INF
        mass = np.exp(left - left.max())
        gradient[doc] += 1.0
        gradient -= mass / mass.sum()
        taken.append(doc)
    return gradient


def gradient_of(function, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        result = function(logits)
    return tape.gradient(result, logits).numpy()


def log_prob_gradient(logits, slate):
    return gradient_of(lambda logits: top_k_plackett_luce.TopKPlackettLuce(logits, len(slate)).log_prob(slate), logits)


def central_differences(function, logits, step=1e-5):
    """Truncation is of the order of step^2 and rounding of 1e-16 / step: 1e-10 together."""
    gradient = np.zeros_like(logits)
    for place in np.ndindex(*logits.shape):
        moved = np.zeros_like(logits)
        moved[place] = step
        gradient[place] = (function(logits + moved) - function(logits - moved)) / (2 * step)
    return gradient


# log_prob


@pytest.mark.parametrize(("num_docs", "slate_size"), SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_log_prob_equals_the_enumeration_and_sums_to_one(num_docs, slate_size, dtype, mode):
    logits = draw_logits(num_docs).astype(dtype)
    all_slates = ordered_slates(num_docs, slate_size)
    expected = [oracle_log_prob(logits, slate) for slate in all_slates]

    result = compiled(lambda: top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).log_prob(all_slates), mode)()

    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(np.exp(result, dtype=np.float64).sum(), 1.0, rtol=TOLERANCE[dtype])


def test_log_prob_worked_by_hand():
    # Weights 1, 2, 5: first document 1 with 2 / 8, then document 2 with 5 / 6, then the last one for certain.
    distribution = top_k_plackett_luce.TopKPlackettLuce(np.log([1.0, 2.0, 5.0]), 3)
    np.testing.assert_allclose(distribution.prob([1, 2, 0]), 2 / 8 * 5 / 6, rtol=1e-12)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_are_rows_on_their_own(batch, dtype):
    logits = draw_logits(*batch, 5).astype(dtype)
    distribution = top_k_plackett_luce.TopKPlackettLuce(logits, 4)
    drawn = distribution.sample(7, seed=(1, 2)).numpy()
    assert distribution.batch_shape == batch
    assert distribution.event_shape == (4,)
    assert distribution.dtype == tf.int32
    assert drawn.shape == (7, *batch, 4)
    result = distribution.log_prob(drawn).numpy()
    assert result.shape == (7, *batch)
    for place in np.ndindex(*result.shape):
        expected = oracle_log_prob(logits[place[1:]], drawn[place])
        np.testing.assert_allclose(result[place], expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_one_slate_is_broadcast_over_rows_and_rows_over_slates():
    logits = draw_logits(3, 5)
    rows = top_k_plackett_luce.TopKPlackettLuce(logits, 2)
    np.testing.assert_allclose(rows.log_prob([4, 1]), [oracle_log_prob(row, [4, 1]) for row in logits], rtol=1e-12)
    one_row = top_k_plackett_luce.TopKPlackettLuce(logits[0], 2)
    shown = [[[0, 1], [2, 3], [4, 0], [1, 4]]]
    expected = [[oracle_log_prob(logits[0], slate) for slate in shown[0]]]
    np.testing.assert_allclose(one_row.log_prob(shown), expected, rtol=1e-12)


@pytest.mark.slow
def test_everything_runs_with_a_batch_unknown_when_traced():
    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float64), tf.TensorSpec([None, 2], tf.int32)])
    def traced(logits, shown):
        distribution = top_k_plackett_luce.TopKPlackettLuce(logits, 2)
        return (
            distribution.log_prob(shown),
            distribution.sample(seed=(1, 2)),
            distribution.entropy(),
            distribution.estimated_entropy(3, (1, 2)),
            distribution.mode(),
        )

    logits, shown = draw_logits(3, 5), tf.constant([[0, 1], [4, 2], [3, 0]])
    distribution = top_k_plackett_luce.TopKPlackettLuce(logits, 2)
    log_prob, drawn, entropy, estimate, mode = traced(logits, shown)
    np.testing.assert_allclose(log_prob, distribution.log_prob(shown), rtol=1e-12)
    np.testing.assert_array_equal(drawn, distribution.sample(seed=(1, 2)))
    np.testing.assert_allclose(entropy, distribution.entropy(), rtol=1e-12)
    np.testing.assert_allclose(estimate, distribution.estimated_entropy(3, (1, 2)), rtol=1e-12)
    np.testing.assert_array_equal(mode, distribution.mode())


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("slate", [(0, 2), (0, 1, 3), (0, 3, 2, 1), (2, 0, 1)])
def test_later_picks_after_a_document_with_nearly_all_the_mass(slate, mode):
    # In float32 the mass of the others, 1e-22, vanishes beside that of the first document.
    logits = np.array([50.0, 0.0, 1.0, -2.0], np.float32)
    result = compiled(lambda: top_k_plackett_luce.TopKPlackettLuce(logits, len(slate)).log_prob(slate), mode)()
    np.testing.assert_allclose(result, oracle_log_prob(logits, slate), rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("offset", [1e6, -1e6, 3e4])
def test_only_differences_of_logits_count_however_large_the_logits(offset, mode):
    # Sixteenths are exact in float32 up to 2^20, so the differences are those of the logits without the offset.
    logits = np.array([0.0, 1.25, -0.5625, 2.0, 0.3125], np.float32)
    all_slates = ordered_slates(5, 3)
    shifted = (logits + np.float32(offset)).astype(np.float32)
    np.testing.assert_array_equal(shifted.astype(np.float64) - offset, logits)
    result = compiled(lambda: top_k_plackett_luce.TopKPlackettLuce(shifted, 3).log_prob(all_slates), mode)()
    expected = [oracle_log_prob(logits, slate) for slate in all_slates]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_one_large_logit_does_not_blur_the_others(offset):
    logits = np.array([1e6, 0.3, 0.7, -0.1], np.float32)
    result = top_k_plackett_luce.TopKPlackettLuce(logits, 3).log_prob([0, 2, 1])
    np.testing.assert_allclose(result, oracle_log_prob(logits, [0, 2, 1]), rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_give_no_nan(dtype, mode):
    logits = np.array([1e30, -1e30, 0.0, 1e30, 300.0], dtype)
    all_slates = ordered_slates(5, 3)

    def log_prob_and_gradient():
        watched = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(watched)
            log_prob = top_k_plackett_luce.TopKPlackettLuce(watched, 3).log_prob(all_slates)
        return log_prob, tape.gradient(log_prob, watched), top_k_plackett_luce.TopKPlackettLuce(watched, 3).entropy()

    log_prob, gradient, entropy = compiled(log_prob_and_gradient, mode)()
    expected = [oracle_log_prob(logits, slate) for slate in all_slates]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, sum(oracle_gradient(logits, slate) for slate in all_slates), rtol=1e-5)
    np.testing.assert_allclose(entropy, math.log(2), rtol=1e-5)  # the two of 1e30 in either order, then that of 300
    drawn = top_k_plackett_luce.TopKPlackettLuce(logits, 3).sample(50, seed=(1, 2)).numpy()
    assert {tuple(slate) for slate in drawn} == {(0, 3, 4), (3, 0, 4)}


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_masked_documents_have_no_probability_and_no_gradient(mode):
    logits = np.array([0.5, -INF, 1.0, -0.5, -INF], np.float32)
    all_slates = ordered_slates(5, 3)
    holds_masked = np.isin(all_slates, [1, 4]).any(axis=-1)

    def log_probs_and_gradients():
        # One row for each slate, so that each slate has a gradient of its own.
        rows = tf.tile(tf.constant(logits)[tf.newaxis], [len(all_slates), 1])
        with tf.GradientTape() as tape:
            tape.watch(rows)
            log_prob = top_k_plackett_luce.TopKPlackettLuce(rows, 3).log_prob(all_slates)
        return log_prob, tape.gradient(log_prob, rows)

    log_prob, gradient = (tensor.numpy() for tensor in compiled(log_probs_and_gradients, mode)())
    np.testing.assert_array_equal(log_prob[holds_masked], -INF)
    expected = [oracle_log_prob(logits, slate) for slate in all_slates[~holds_masked]]
    np.testing.assert_allclose(log_prob[~holds_masked], expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-5)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, [1, 4]], 0.0)
    expected_gradient = [oracle_gradient(logits, slate) for slate in all_slates[~holds_masked]]
    np.testing.assert_allclose(gradient[~holds_masked], expected_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize(
    "slate", [(2, 2, 1), (2, 1, 2), (1, 2, 2), (0, 0, 0), (4, 0, 1), (0, 4, 1), (0, 1, 4), (-1, 0, 1), (0, -5, 1)]
)
def test_repeated_and_unknown_documents_are_impossible(slate, mode):
    logits = draw_logits(4)

    def log_prob_and_gradient():
        watched = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(watched)
            log_prob = top_k_plackett_luce.TopKPlackettLuce(watched, 3).log_prob(slate)
        return log_prob, tape.gradient(log_prob, watched)

    log_prob, gradient = compiled(log_prob_and_gradient, mode)()
    assert log_prob == -INF
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("slate_size", [1, 2, 3])
def test_a_row_with_nan_has_no_law_and_the_other_rows_keep_theirs(slate_size, mode):
    logits = draw_logits(3, 4)
    logits[1, 2] = NAN
    logits[1, 3] = -INF
    all_slates = ordered_slates(4, slate_size)

    log_prob = compiled(
        lambda: top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).log_prob(all_slates[:, np.newaxis]), mode
    )()

    log_prob = log_prob.numpy()
    assert np.isnan(log_prob[:, 1]).all()
    for row in (0, 2):
        expected = [oracle_log_prob(logits[row], slate) for slate in all_slates]
        np.testing.assert_allclose(log_prob[:, row], expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("nans", [[2], [0, 3], [0, 1, 2, 3]])
def test_rows_with_nan_are_drawn_within_range_and_leave_the_other_rows_as_they_are(nans, mode):
    logits = draw_logits(3, 4)
    clean = compiled(lambda: top_k_plackett_luce.TopKPlackettLuce(logits, 3).sample(20, seed=(1, 2)), mode)().numpy()
    with_nan = logits.copy()
    with_nan[1, nans] = NAN
    drawn = compiled(lambda: top_k_plackett_luce.TopKPlackettLuce(with_nan, 3).sample(20, seed=(1, 2)), mode)().numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 4
    np.testing.assert_array_equal(drawn[:, [0, 2]], clean[:, [0, 2]])


# Gradients of log_prob


@pytest.mark.parametrize(("num_docs", "slate_size"), [*SIZES, (1, 1), (9, 6), (30, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_of_log_prob_equals_central_differences(num_docs, slate_size, seed):
    logits = draw_logits(num_docs, seed=seed)
    slate = np.random.default_rng(seed).permutation(num_docs)[:slate_size].astype(np.int32)
    expected = central_differences(
        lambda moved: top_k_plackett_luce.TopKPlackettLuce(moved, slate_size).log_prob(slate), logits
    )
    gradient = log_prob_gradient(logits, slate)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)
    np.testing.assert_allclose(gradient, oracle_gradient(logits, slate), atol=1e-12)


@pytest.mark.parametrize("slate", [(0, 2), (0, 1, 3), (0, 3, 2, 1), (1, 0), (3, 2, 0)])
@pytest.mark.parametrize("lead", [8.0, 20.0, 50.0, 90.0])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_gradient_of_a_nearly_deterministic_policy_is_the_same_in_float32(slate, lead, mode):
    logits = np.array([lead, 0.0, 1.0, -2.0])
    exact = log_prob_gradient(logits, slate)
    np.testing.assert_allclose(exact, oracle_gradient(logits, slate), rtol=1e-12, atol=1e-14)
    single = compiled(lambda: log_prob_gradient_tensor(logits.astype(np.float32), slate), mode)().numpy()
    assert single.dtype == np.float32
    # Relative to the gradient's largest component, which is of the order of 1 whatever the lead.
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(single, exact, atol=1e-5 * np.abs(exact).max(), rtol=0)


def log_prob_gradient_tensor(logits, slate):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = top_k_plackett_luce.TopKPlackettLuce(logits, len(slate)).log_prob(slate)
    return tape.gradient(log_prob, logits)


# sample


def compiled(function, mode):
    if mode == "eager":
        return function
    return tf.function(function, jit_compile=mode == "xla", autograph=False)


def chi_square_threshold(degrees_of_freedom, deviations=5.0):
    """A bound that a chi-square variable exceeds about as rarely as a normal one exceeds 5 deviations, 3e-7.

    Wilson and Hilferty (1931), "The distribution of chi-square": its cube root is nearly normal.
    """
    variance = 2 / (9 * degrees_of_freedom)
    return degrees_of_freedom * (1 - variance + deviations * math.sqrt(variance)) ** 3


def samples_needed(probabilities, tolerated=0.01, deviations=5.0):
    """Draws with which a law at a chi-square distance of `tolerated` or more is found out.

    The distance is sum_i (q_i - p_i)^2 / p_i; 0.01 is that of probabilities wrong by a tenth. With n draws the
    statistic has mean df + n distance and variance 2 (df + 2 n distance): n is the smallest power-of-two multiple of
    1000 that puts the threshold 5 deviations below that mean. Each cell gets 10 draws or more in the mean, as the
    chi-square approximation asks for.
    """
    degrees_of_freedom = len(probabilities) - 1
    count = 1000
    while True:
        shift = count * tolerated
        weakest = degrees_of_freedom + shift - deviations * math.sqrt(2 * (degrees_of_freedom + 2 * shift))
        if weakest > chi_square_threshold(degrees_of_freedom) and count * min(probabilities) >= 10:
            return count
        count *= 2


def assert_follows(drawn, cells, probabilities):
    """Checks `drawn` [n, S] against the probabilities of `cells` [N, S] by a chi-square statistic."""
    base = int(max(cells.max(), drawn.max())) + 1
    to_code = base ** np.arange(cells.shape[1])
    count_of = dict(zip(*np.unique(drawn @ to_code, return_counts=True)))
    counts = np.array([count_of.pop(code, 0) for code in cells @ to_code])
    assert not count_of, "slates were drawn that are no slates"
    expected = len(drawn) * probabilities
    statistic = np.sum((counts - expected) ** 2 / expected)
    assert statistic < chi_square_threshold(len(cells) - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("num_docs", "slate_size"), [(4, 1), (4, 4), (5, 2), (5, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_draws_follow_the_enumerated_law(num_docs, slate_size, dtype, mode):
    logits = draw_logits(num_docs, scale=0.7).astype(dtype)
    cells, probabilities = oracle_law(logits, slate_size)
    count = samples_needed(probabilities)
    draw = compiled(
        lambda seed: top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).sample(count, seed=seed), mode
    )
    for seed in ((0, 1), (2, 3)):
        assert_follows(draw(tf.constant(seed)).numpy(), cells, probabilities)


@pytest.mark.parametrize("wrong_by", [0.1, -0.1])
def test_the_chi_square_check_finds_probabilities_wrong_by_a_tenth(wrong_by):
    cells, probabilities = oracle_law(draw_logits(5, scale=0.7), 3)
    half = np.arange(len(cells)) % 2 == 0
    wrong = np.where(half, 1 + wrong_by, 1 - wrong_by) * probabilities
    wrong /= wrong.sum()
    rng = np.random.default_rng(0)
    drawn = cells[rng.choice(len(cells), samples_needed(probabilities), p=wrong)]
    with pytest.raises(AssertionError):
        assert_follows(drawn, cells, probabilities)


def test_rows_of_a_batch_are_drawn_independently():
    # Both rows have one law, and a pair of rows is a cell: the product law holds for independent rows alone.
    logits = draw_logits(4, scale=0.7)
    cells, probabilities = oracle_law(logits, 1)
    pairs = np.array(list(itertools.product(cells[:, 0], repeat=2)))
    pair_probabilities = np.outer(probabilities, probabilities).ravel()
    rows = top_k_plackett_luce.TopKPlackettLuce(np.stack([logits, logits]), 1)
    for seed in ((0, 1), (2, 3)):
        drawn = rows.sample(samples_needed(pair_probabilities), seed=seed).numpy()[..., 0]
        assert_follows(drawn, pairs, pair_probabilities)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_later_draws_after_a_document_with_nearly_all_the_mass_follow_their_law(mode):
    logits = np.array([50.0, 0.0, 1.0, -1.0], np.float32)
    cells, probabilities = oracle_law(logits[1:], 2)
    count = samples_needed(probabilities)
    draw = compiled(lambda seed: top_k_plackett_luce.TopKPlackettLuce(logits, 3).sample(count, seed=seed), mode)
    for seed in ((0, 1), (2, 3)):
        drawn = draw(tf.constant(seed)).numpy()
        np.testing.assert_array_equal(drawn[:, 0], 0)
        assert_follows(drawn[:, 1:] - 1, cells, probabilities)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("masked", [[0, 1], [3, 4], [0, 4], [2]])
def test_masked_documents_are_never_drawn(masked, mode):
    logits = draw_logits(5, scale=0.3).astype(np.float32)
    logits[masked] = -INF
    drawn = compiled(
        lambda: top_k_plackett_luce.TopKPlackettLuce(logits, 3).sample(10_000, seed=(1, 2)), mode
    )().numpy()
    assert set(np.unique(drawn)) == set(range(5)) - set(masked)
    assert (np.diff(np.sort(drawn, axis=-1), axis=-1) > 0).all()


@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
@pytest.mark.parametrize("gap", [3.0, 400.0])
def test_a_pool_is_drawn_from_whatever_the_score_of_documents_outside(gap, mode):
    logits = np.array([0.0, 1.0, gap, 2.0, 0.5, 2.0 * gap], np.float32)
    columns = [3, 0, 4, 1]
    draw = compiled(
        lambda: top_k_plackett_luce.TopKPlackettLuce(logits, 2, columns=columns).sample(40_000, seed=(3, 5)), mode
    )
    inside = top_k_plackett_luce.TopKPlackettLuce(logits[columns], 2)
    pairs = np.array(list(itertools.permutations(range(4), 2)), np.int32)
    drawn = draw().numpy()
    seen = np.array([(drawn == pair).all(axis=-1).mean() for pair in pairs])
    np.testing.assert_allclose(seen, np.exp(inside.log_prob(pairs)), atol=4 * 0.5 / np.sqrt(40_000))


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(np.float32(1), np.float32(0)), 1.0])
def test_the_ends_of_the_uniform_numbers_pick_documents_with_mass(uniform):
    # 1.0 itself is not drawn, but uniform * total may round up to the total, which has the same effect.
    logits = tf.constant([[-INF, 0.0, -INF, 1.0, -INF], [2.0, -INF, 0.0, -INF, -INF]])
    picked = slate_sampling.draw(logits, tf.fill([2, 1], tf.constant(uniform, tf.float32)))[:, 0]
    np.testing.assert_array_equal(picked, [1, 0] if uniform == 0.0 else [3, 2])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_equal_seeds_draw_equal_slates(mode):
    logits = draw_logits(3, 6)
    draw = compiled(lambda seed: top_k_plackett_luce.TopKPlackettLuce(logits, 2).sample(11, seed=seed), mode)
    first, again, other = (draw(tf.constant(seed)).numpy() for seed in ((4, 5), (4, 5), (4, 6)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    if mode == "graph":
        np.testing.assert_array_equal(first, top_k_plackett_luce.TopKPlackettLuce(logits, 2).sample(11, seed=(4, 5)))


@pytest.mark.parametrize("sample_shape", [(), (7,), (7, 4)])
def test_sample_shape_comes_first(sample_shape):
    drawn = top_k_plackett_luce.TopKPlackettLuce(draw_logits(2, 3, 6), 5).sample(sample_shape, seed=(1, 2))
    assert drawn.shape == (*sample_shape, 2, 3, 5)
    assert drawn.dtype == tf.int32
    np.testing.assert_array_less(0, np.diff(np.sort(drawn, axis=-1), axis=-1))


def test_no_documents_drawn_is_an_empty_sample():
    assert top_k_plackett_luce.TopKPlackettLuce(draw_logits(3, 6), 2).sample(0, seed=(1, 2)).shape == (0, 3, 2)


def test_a_slate_of_all_documents_is_a_permutation():
    drawn = top_k_plackett_luce.TopKPlackettLuce(draw_logits(3, 6), 6).sample(50, seed=(1, 2)).numpy()
    np.testing.assert_array_equal(np.sort(drawn, axis=-1), np.broadcast_to(np.arange(6), (50, 3, 6)))


def test_the_only_document_is_certain():
    distribution = top_k_plackett_luce.TopKPlackettLuce([[0.3], [-7.0]], 1)
    np.testing.assert_array_equal(distribution.sample(seed=(1, 2)), [[0], [0]])
    np.testing.assert_array_equal(distribution.log_prob([0]), [0.0, 0.0])
    np.testing.assert_array_equal(distribution.entropy(), [0.0, 0.0])


# mode


@pytest.mark.parametrize(("num_docs", "slate_size"), SIZES)
def test_mode_is_the_likeliest_slate(num_docs, slate_size):
    logits = draw_logits(3, num_docs)
    mode = top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).mode().numpy()
    assert mode.shape == (3, slate_size)
    for row in range(3):
        cells, probabilities = oracle_law(logits[row], slate_size)
        np.testing.assert_array_equal(mode[row], cells[np.argmax(probabilities)])


def test_mode_has_no_masked_document():
    np.testing.assert_array_equal(
        top_k_plackett_luce.TopKPlackettLuce([-INF, -5.0, -INF, -9.0, -7.0], 3).mode(), [1, 4, 3]
    )


# Entropies


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [[], [1, 3]])
def test_first_pick_entropy_is_that_of_the_softmax(dtype, masked):
    logits = draw_logits(3, 5).astype(dtype)
    logits[1, masked] = -INF
    result = top_k_plackett_luce.TopKPlackettLuce(logits, 3).first_pick_entropy()
    assert result.dtype == dtype
    np.testing.assert_allclose(result, [oracle_entropy(row, 1) for row in logits], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize(("num_docs", "slate_size"), [(4, 1), (4, 2), (4, 3), (5, 1), (5, 2), (5, 3), (5, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entropy_equals_the_enumeration(num_docs, slate_size, dtype):
    logits = draw_logits(2, 3, num_docs).astype(dtype)
    result = top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).entropy().numpy()
    assert result.shape == (2, 3)
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(result[place], oracle_entropy(logits[place], slate_size), rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("slate_size", [1, 2, 3])
def test_entropy_of_equal_logits_counts_the_slates(slate_size):
    expected = math.log(math.perm(7, slate_size))
    np.testing.assert_allclose(
        top_k_plackett_luce.TopKPlackettLuce(np.zeros(7), slate_size).entropy(), expected, rtol=1e-12
    )


@pytest.mark.parametrize("slate_size", [1, 2, 3])
def test_entropy_with_masked_documents_and_its_gradient(slate_size):
    logits = np.array([0.5, -INF, 1.0, -0.5, -INF])
    open_logits = logits[[0, 2, 3]]
    result = top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).entropy()
    np.testing.assert_allclose(result, oracle_entropy(open_logits, slate_size), rtol=1e-12)
    gradient = gradient_of(lambda logits: top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).entropy(), logits)
    np.testing.assert_array_equal(gradient[[1, 4]], 0.0)
    expected = central_differences(lambda moved: oracle_entropy(moved, slate_size), open_logits)
    np.testing.assert_allclose(gradient[[0, 2, 3]], expected, atol=1e-8)


@pytest.mark.parametrize(("num_docs", "slate_size"), [(4, 1), (4, 4), (5, 2), (6, 3)])
def test_gradients_of_the_entropies_equal_central_differences(num_docs, slate_size):
    logits = draw_logits(num_docs)
    of_slate = gradient_of(lambda logits: top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).entropy(), logits)
    expected = central_differences(lambda moved: oracle_entropy(moved, slate_size), logits)
    np.testing.assert_allclose(of_slate, expected, atol=1e-8)
    of_first = gradient_of(
        lambda logits: top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).first_pick_entropy(), logits
    )
    expected = central_differences(lambda moved: oracle_entropy(moved, 1), logits)
    np.testing.assert_allclose(of_first, expected, atol=1e-8)


def test_entropy_of_a_nearly_deterministic_policy_is_that_of_the_later_picks():
    logits = np.array([50.0, 0.0, 1.0, -2.0], np.float32)
    result = top_k_plackett_luce.TopKPlackettLuce(logits, 2).entropy()
    np.testing.assert_allclose(result, oracle_entropy(logits[1:], 1), rtol=1e-5)


def test_too_many_terms_for_the_exact_entropy_are_refused():
    assert top_k_plackett_luce.MAX_EXACT_ENTROPY_TERMS == 2048**2
    assert top_k_plackett_luce.TopKPlackettLuce(tf.zeros(2048), 2).entropy().numpy() == pytest.approx(
        math.log(2048 * 2047), rel=1e-5
    )
    with pytest.raises(NotImplementedError, match=r"a slate of 2 out of 2049 documents .*use estimated_entropy"):
        top_k_plackett_luce.TopKPlackettLuce(tf.zeros(2049), 2).entropy()


@pytest.mark.slow
@pytest.mark.parametrize(("num_docs", "slate_size"), [(5, 2), (5, 3), (6, 4)])
@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_estimated_entropy_is_near_the_exact_one(num_docs, slate_size, mode):
    logits = draw_logits(3, num_docs)
    # Each of the S - 1 sampled terms lies between 0 and log D, so their sum has a deviation of at most
    # (S - 1) log(D) / 2; with n draws the mean is off by more than 5 deviations with a probability below 1e-6.
    tolerance = 0.05
    count = math.ceil((5 * (slate_size - 1) * math.log(num_docs) / 2 / tolerance) ** 2)
    estimate = compiled(
        lambda seed: top_k_plackett_luce.TopKPlackettLuce(logits, slate_size).estimated_entropy(count, seed), mode
    )
    exact = [oracle_entropy(row, slate_size) for row in logits]
    for seed in ((0, 1), (2, 3)):
        result = estimate(tf.constant(seed))
        assert result.shape == (3,)
        np.testing.assert_allclose(result, exact, atol=tolerance, rtol=0)


def test_estimated_entropy_of_one_slot_needs_no_draws():
    logits = draw_logits(3, 5)
    result = top_k_plackett_luce.TopKPlackettLuce(logits, 1).estimated_entropy(1, (1, 2))
    np.testing.assert_allclose(result, [oracle_entropy(row, 1) for row in logits], rtol=1e-12)


def test_estimated_entropy_repeats_with_its_seed():
    distribution = top_k_plackett_luce.TopKPlackettLuce(draw_logits(3, 5), 3)
    first, again, other = (distribution.estimated_entropy(4, seed).numpy() for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


# Arguments


@pytest.mark.parametrize("slate_size", [0, -1, 6, 1.0, "2", True, None, np.float32(2)])
def test_impossible_slate_sizes_are_refused(slate_size):
    with pytest.raises(validation.InvalidInputError, match=r"slate_size must be ") as error:
        top_k_plackett_luce.TopKPlackettLuce(draw_logits(3, 5), slate_size)
    assert "\n" not in str(error.value)


def test_a_slate_larger_than_the_pool_is_refused_in_one_line_with_both_sizes():
    with pytest.raises(
        validation.InvalidInputError, match=r"slate_size must be at most the number of documents, 5, got 6$"
    ):
        top_k_plackett_luce.TopKPlackettLuce(draw_logits(3, 5), 6)


def test_an_unknown_number_of_documents_is_refused():
    @tf.function(input_signature=[tf.TensorSpec([3, None])], autograph=False)
    def traced(logits):
        return top_k_plackett_luce.TopKPlackettLuce(logits, 2).mode()

    with pytest.raises(validation.InvalidInputError, match=r"the last axis of logits must have a known size"):
        traced.get_concrete_function()


@pytest.mark.parametrize("slate_size", [np.int64(2), np.int32(2)])
def test_numpy_integers_are_slate_sizes(slate_size):
    distribution = top_k_plackett_luce.TopKPlackettLuce(draw_logits(3, 5), slate_size)
    assert distribution.slate_size == 2
    assert distribution.event_shape == (2,)


def test_it_is_a_tfp_distribution_with_its_arguments_as_parameters():
    logits = draw_logits(3, 5)
    distribution = top_k_plackett_luce.TopKPlackettLuce(logits, 2)
    assert isinstance(distribution, tfp.distributions.Distribution)
    np.testing.assert_array_equal(distribution.logits, logits)
    larger = distribution.copy(slate_size=4)
    assert larger.slate_size == 4
    np.testing.assert_array_equal(larger.logits, logits)
    assert distribution[1:].batch_shape == (2,)
    np.testing.assert_allclose(distribution[2].log_prob([4, 0]), oracle_log_prob(logits[2], [4, 0]), rtol=1e-12)


# Pools of columns, and equal numbers in every mode


@pytest.mark.slow
@pytest.mark.parametrize("num_docs", [5, 7, 100, 101])
def test_every_mode_draws_the_same_slates(num_docs):
    logits = draw_logits(50, num_docs).astype(np.float32)
    eager, graph, xla = (
        compiled(lambda: top_k_plackett_luce.TopKPlackettLuce(logits, 3).sample(seed=(1, 2)), mode)().numpy()
        for mode in ("eager", "graph", "xla")
    )
    np.testing.assert_array_equal(eager, graph)
    assert (eager == xla).mean() > 0.99  # a rounding of the exponential moves one boundary in many thousands


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_later_slots_keep_their_law_after_a_document_with_nearly_all_the_mass(mode):
    """Beside e^200 the others have no mass in float32; among themselves they are 1 : 2 : 5."""
    logits = np.log(np.array([1.0, 2.0, 5.0, 1.0])).astype(np.float32)
    logits[3] += 200.0
    drawn = compiled(
        lambda: top_k_plackett_luce.TopKPlackettLuce(logits, 2).sample(20_000, seed=(1, 2)), mode
    )().numpy()
    np.testing.assert_array_equal(drawn[:, 0], 3)
    shares = np.bincount(drawn[:, 1], minlength=3) / 20_000
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 5 / 8], atol=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_a_pool_is_the_law_of_its_columns(mode):
    logits = draw_logits(3, 6)
    columns = [4, 0, 5, 2]
    pool = top_k_plackett_luce.TopKPlackettLuce(logits, 2, columns=columns)
    plain = top_k_plackett_luce.TopKPlackettLuce(logits[:, columns], 2)
    all_slates = ordered_slates(4, 2)[:, np.newaxis]

    def of_both():
        pool = top_k_plackett_luce.TopKPlackettLuce(logits, 2, columns=columns)
        return pool.log_prob(all_slates), pool.sample(3000, seed=(1, 2)), pool.mode(), pool.first_pick_entropy()

    log_prob, drawn, mode_, entropy = compiled(of_both, mode)()
    np.testing.assert_allclose(log_prob, plain.log_prob(all_slates), rtol=1e-10)
    np.testing.assert_array_equal(mode_, plain.mode())
    np.testing.assert_allclose(entropy, plain.first_pick_entropy(), rtol=1e-10)
    np.testing.assert_allclose(pool.logits, logits[:, columns])
    assert drawn.numpy().min() == 0
    assert drawn.numpy().max() == 3
    for row in range(3):
        all_of_row, law = oracle_law(logits[row, columns], 2)
        counts = [(drawn.numpy()[:, row] == slate).all(-1).mean() for slate in all_of_row]
        np.testing.assert_allclose(counts, law, atol=4 * np.sqrt(0.25 / 3000))
    impossible = pool.log_prob([[4, 0], [-1, 2], [1, 1]])
    np.testing.assert_array_equal(impossible, -INF)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [[0, 0, 1], [0, 1, 6], [-1, 0, 1]])
def test_no_pool_no_law(columns):
    law = compiled(
        lambda: top_k_plackett_luce.TopKPlackettLuce(draw_logits(2, 6), 2, columns=columns).log_prob([0, 1]), "xla"
    )
    assert np.isnan(law()).all()


def test_the_witness_of_nan_is_nan_where_a_logit_is():
    logits, drawn = draw_logits(3, 6), tf.zeros((3, 2), tf.int32)
    logits[:, 2] = -INF
    assert not np.isnan(top_k_plackett_luce.TopKPlackettLuce(logits, 2).nan_witness(drawn)).any()
    logits[1, 4] = NAN
    witness = top_k_plackett_luce.TopKPlackettLuce(logits, 2).nan_witness(drawn)
    np.testing.assert_array_equal(np.isnan(witness), [False, True, False])
