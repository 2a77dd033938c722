import numpy as np
import pytest

from recsys_po_rl.evaluation import statistics

# Two-sided 95 % points of Student's t as printed in tables.
T_TABLE = {1: 12.7062, 2: 4.30265, 3: 3.18245, 9: 2.26216, 30: 2.04227, 1999: 1.96115}


@pytest.mark.parametrize("degrees_of_freedom", T_TABLE)
def test_t_quantile_equals_the_tables(degrees_of_freedom):
    quantile = statistics.t_quantile(0.975, degrees_of_freedom)
    assert quantile == pytest.approx(T_TABLE[degrees_of_freedom], rel=3e-6)  # half a unit of the last printed digit
    assert statistics.t_quantile(0.025, degrees_of_freedom) == pytest.approx(-quantile, rel=1e-9)


def test_t_quantile_with_two_degrees_of_freedom_equals_its_closed_form():
    for probability in (0.6, 0.9, 0.995):
        closed = (2 * probability - 1) * np.sqrt(2 / (1 - (2 * probability - 1) ** 2))
        assert statistics.t_quantile(probability, 2) == pytest.approx(closed, rel=1e-9)


def test_mean_interval_worked_by_hand():
    # Mean 5; squared deviations 9 + 1 + 1 + 9 = 20, variance 20 / 3, standard error sqrt(20 / 3) / 2 = 1.290994.
    # t with 3 degrees of freedom: 3.182446; half width 4.108520.
    estimate = statistics.mean_interval(np.array([2.0, 4.0, 6.0, 8.0]))
    assert estimate == pytest.approx((5.0, 5.0 - 4.108520, 5.0 + 4.108520, 4), abs=1e-6)
    assert [type(part) for part in estimate] == [float, float, float, int]


def test_confidence_sets_the_width():
    # t with 3 degrees of freedom at 50 %: 0.764892; half width 0.987471.
    estimate = statistics.mean_interval([2, 4, 6, 8], confidence=0.5)
    assert (estimate.low, estimate.high) == pytest.approx((5.0 - 0.987471, 5.0 + 0.987471), abs=1e-6)


def test_the_interval_of_a_single_value_is_the_whole_line():
    assert statistics.mean_interval(np.array([3.5])) == (3.5, -np.inf, np.inf, 1)


def test_equal_values_have_an_interval_of_width_zero():
    assert statistics.mean_interval(np.full(7, 2.5)) == (2.5, 2.5, 2.5, 7)


def test_float32_values_are_summed_in_float64():
    values = np.array([1e8, 1.0, 1.0, 1.0], np.float32)
    assert statistics.mean_interval(values).mean == (1e8 + 3) / 4


@pytest.mark.parametrize("values", [[], 3.0, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [1.0, np.nan], [1.0, np.inf, 2.0]])
def test_values_must_be_a_vector_of_finite_numbers(values):
    with pytest.raises(ValueError, match=r"^values must be a non-empty vector of finite numbers, got shape "):
        statistics.mean_interval(np.array(values))


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95, float("nan")])
@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0]])
def test_confidence_must_be_between_0_and_1(values, confidence):
    with pytest.raises(ValueError, match=rf"^confidence must be between 0 and 1, got {confidence}$"):
        statistics.mean_interval(values, confidence)
    with pytest.raises(ValueError, match=rf"^confidence must be between 0 and 1, got {confidence}$"):
        statistics.paired_difference(values, values, confidence)


def test_paired_difference_worked_by_hand():
    # Differences 1, 2, 6: mean 3, squared deviations 4 + 1 + 9 = 14, variance 7, standard error sqrt(7 / 3) = 1.527525.
    # t with 2 degrees of freedom: 4.302653; half width 6.572411.
    estimate = statistics.paired_difference(np.array([11.0, 102.0, -4.0]), np.array([10.0, 100.0, -10.0]))
    assert estimate == pytest.approx((3.0, 3.0 - 6.572411, 3.0 + 6.572411, 3), abs=1e-6)


def test_paired_difference_changes_sign_with_the_order():
    rng = np.random.default_rng(0)
    values, others = rng.normal(size=(2, 13))
    forth, back = statistics.paired_difference(values, others, 0.8), statistics.paired_difference(others, values, 0.8)
    assert (forth.mean, forth.low, forth.high) == (-back.mean, -back.high, -back.low)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3,), (1,)), ((3,), ()), ((3, 2), (2, 3))])
def test_paired_values_must_have_one_shape(shapes):
    values, others = (np.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"^paired values must have the same shape, got "):
        statistics.paired_difference(values, others)


@pytest.mark.parametrize("shape", [(0,), (3, 2)])
def test_paired_values_must_be_vectors(shape):
    with pytest.raises(ValueError, match=r"^values must be a non-empty vector"):
        statistics.paired_difference(np.ones(shape), np.ones(shape))


# The share of intervals that cover, over 2000 simulations, has a standard error of sqrt(0.95 * 0.05 / 2000) = 0.0049.
# The bounds 0.93 and 0.97 are 4.1 of them away from 0.95. Few skewed values cover less (an exponential's skewness of 2
# costs about 0.03 with 20 values), so skewed samples have 200, where the loss is below 0.005.
SIMULATIONS = 2000


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("size", "draw", "true_mean"),
    [
        (20, lambda rng, size: rng.normal(3.0, 2.0, size), 3.0),
        (200, lambda rng, size: rng.exponential(2.0, size), 2.0),
    ],
    ids=["normal", "skewed"],
)
def test_mean_interval_covers_the_true_mean_as_often_as_it_says(size, draw, true_mean, seed):
    rng = np.random.default_rng(seed)
    estimates = [statistics.mean_interval(draw(rng, size)) for _ in range(SIMULATIONS)]
    covered = np.mean([estimate.low <= true_mean <= estimate.high for estimate in estimates])
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("size", "draw", "true_difference"),
    [
        (20, lambda rng, size: rng.normal(-1.0, 0.5, size), -1.0),
        (200, lambda rng, size: rng.exponential(0.5, size), 0.5),
    ],
    ids=["normal", "skewed"],
)
def test_paired_difference_covers_the_true_difference_as_often_as_it_says(size, draw, true_difference, seed):
    rng = np.random.default_rng(seed)
    covered, widths = [], []
    for _ in range(SIMULATIONS):
        others = rng.normal(0.0, 10.0, size)  # what a pair has in common is twenty times what sets it apart
        estimate = statistics.paired_difference(others + draw(rng, size), others)
        covered.append(estimate.low <= true_difference <= estimate.high)
        widths.append(estimate.high - estimate.low)
    assert 0.93 < np.mean(covered) < 0.97
    # Unpaired, the width would be near 2 * 1.96 * sqrt(2) * 10 / sqrt(size).
    assert np.mean(widths) < 0.1 * 2 * 1.96 * np.sqrt(2) * 10 / np.sqrt(size)


def test_welch_by_hand():
    # Variances 2.5 and 10 over 5 values each: squares of standard errors 0.5 and 2, sum 2.5, degrees of freedom
    # 2.5 ** 2 / (0.5 ** 2 / 4 + 2 ** 2 / 4) = 5.88235, quantile 2.45886.
    one = statistics.mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    other = statistics.mean_interval(np.array([2.0, 4.0, 6.0, 8.0, 10.0]))
    found = statistics.unpaired_difference(other, one)
    assert found.mean == pytest.approx(3.0)
    assert found.high - found.mean == pytest.approx(2.45886 * np.sqrt(2.5), rel=1e-4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert found.num_units == 5


def test_welch_of_one_unit_is_unbounded_and_of_constants_exact():
    one, two = statistics.mean_interval(np.array([1.0])), statistics.mean_interval(np.array([2.0, 4.0]))
    assert statistics.unpaired_difference(two, one) == (2.0, -np.inf, np.inf, 1)
    same = statistics.mean_interval(np.array([1.0, 1.0, 1.0]))
    assert statistics.unpaired_difference(same, same) == (0.0, 0.0, 0.0, 3)


@pytest.mark.slow
def test_welch_covers_what_it_says():
    # 200 simulations: the standard error of the share is 0.0154, the bounds are 4 of them away.
    rng, covered = np.random.default_rng(3), 0
    for _ in range(200):
        one = statistics.mean_interval(rng.normal(1.0, 1.0, 12))
        other = statistics.mean_interval(rng.normal(0.0, 3.0, 30))
        found = statistics.unpaired_difference(one, other)
        covered += found.low <= 1.0 <= found.high
    assert covered / 200 >= 0.888
