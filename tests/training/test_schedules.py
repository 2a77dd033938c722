import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.training import schedules


def test_constant_is_always_1():
    assert [schedules.Constant()(progress) for progress in (0.0, 0.4, 1.0)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [  # at 0, 1/4, 1/2, 3/4 and 1
        ({}, [1.0, 0.75, 0.5, 0.25, 0.0]),
        ({"end": 0.2}, [1.0, 0.8, 0.6, 0.4, 0.2]),
        ({"until": 0.5}, [1.0, 0.5, 0.0, 0.0, 0.0]),
        ({"end": 3.0, "until": 0.5}, [1.0, 2.0, 3.0, 3.0, 3.0]),
        ({"end": 1.0}, [1.0] * 5),
    ],
)
def test_linear_worked_by_hand(options, expected):
    linear = schedules.Linear(**options)
    assert [linear(progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"end": -0.1}, "Linear: end must be a finite number of at least 0, got -0.1"),
        ({"end": float("nan")}, "Linear: end must be a finite number of at least 0, got nan"),
        ({"end": "half"}, "Linear: end must be a finite number of at least 0, got 'half'"),
        ({"until": 0.0}, "Linear: until must be a finite number above 0 and of at most 1, got 0.0"),
        ({"until": 1.1}, "Linear: until must be a finite number above 0 and of at most 1, got 1.1"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(validation.InvalidInputError) as error:
        schedules.Linear(**options)
    assert gin_config.first_line(error.value) == message


def test_two_schedules_are_bound_apart_by_scopes():
    import gin

    gin_config.parse([], ["one/recsys_po_rl.Linear.end = 0.5", "other/recsys_po_rl.Linear.until = 0.5"])
    one, other = (gin.get_configurable(f"{scope}/recsys_po_rl.Linear")() for scope in ("one", "other"))
    assert (one(0.5), other(0.5)) == (0.75, 0.0)
