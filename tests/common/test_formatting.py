"""Numbers as people read them."""

import pytest

from recsys_po_rl.common import formatting
from recsys_po_rl.evaluation.results import MeanInterval


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (1234.567, False, "1,234.57"),
        (2.5, True, "+2.50"),
        (-2.5, True, "\u22122.50"),
        (-0.004, False, "0.00"),
        (-0.004, True, "+0.00"),
        (None, False, "unknown"),
        ("3", False, "unknown"),
        (True, False, "unknown"),
        (float("nan"), False, "unknown"),
        (float("inf"), True, "unknown"),
    ],
)
def test_fixed(value, sign, text):
    assert formatting.fixed(value, sign=sign) == text


@pytest.mark.parametrize("bounds", [None, [1.0], [None, 2.0], [1.0, float("inf")], ["1", "2"], "ab", 3])
def test_what_is_no_interval_is_unbounded(bounds):
    assert formatting.interval(bounds) == formatting.percent_interval(bounds) == "[unbounded]"


@pytest.mark.parametrize("value", [-0.004, -1e-9, -0.0])
def test_what_rounds_to_zero_has_no_minus(value):
    assert formatting.percent(value) == "0%"
    assert formatting.percent_interval([value, -0.5]) == "[0%, \u221250%]"
    assert formatting.plain(value, ".2f") == "0.00"
    assert formatting.plain(value, "+.2f") == "+0.00"
    assert formatting.plain(-0.5, "+.0%") == "-50%"
    assert formatting.short(-0.0) == "0"


def test_intervals_and_shares():
    assert formatting.interval([-1.0, 2.25], digits=1, sign=True) == "[\u22121.0, +2.2]"
    assert formatting.percent_interval([0.0, 1.125]) == "[0%, 112%]"
    assert formatting.percent("x") == "unknown"
    assert formatting.estimate(MeanInterval(mean=1.0, interval95=[None, None])) == "1.00 [unbounded]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1500.0, "1,500"), (2.5e7, "2e7"), (-0.0004, "\u22124e-4"), (0.25, "0.25"), (1e-300, "1e-300")],
)
def test_short(value, text):
    assert formatting.short(value).replace("\u2212", "-") == text.replace("\u2212", "-")


@pytest.mark.parametrize(
    ("cell", "value"), [("1.5", 1.5), ("nan", None), ("inf", None), ("", None), (None, None), ("x", None)]
)
def test_as_number(cell, value):
    assert formatting.as_number(cell) == value
