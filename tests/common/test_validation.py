import fractions
import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.common import validation

# A value of no number type for each check, and one whose repr has several lines.
NO_NUMBERS = ["3", None, [3], True, np.bool_(True), 1j, np.zeros((3, 2))]


def message_of(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_invalid_type_error_is_both_a_type_error_and_a_value_error():
    assert issubclass(validation.InvalidTypeError, TypeError)
    assert issubclass(validation.InvalidTypeError, ValueError)
    assert issubclass(validation.InvalidTypeError, validation.InvalidInputError)
    assert not issubclass(validation.InvalidInputError, TypeError)


# integer


@pytest.mark.parametrize("value", [2, 7, np.int32(2), np.int64(7), np.uint8(3)])
def test_integer_accepts_integral_numbers_and_returns_an_int(value):
    result = validation.integer("horizon", value, 2)
    assert result == value
    assert type(result) is int


@pytest.mark.parametrize("value", [*NO_NUMBERS, 3.0, np.float32(3), fractions.Fraction(3)])
def test_integer_refuses_other_types(value):
    with pytest.raises(validation.InvalidTypeError) as error:
        validation.integer("horizon", value, 2)
    assert message_of(error).startswith("horizon must be an integer of at least 2, got ")


@pytest.mark.parametrize("value", [1, 0, -5, np.int64(1)])
def test_integer_refuses_values_below_the_minimum(value):
    with pytest.raises(validation.InvalidInputError) as error:
        validation.integer("horizon", value, 2)
    assert message_of(error) == f"horizon must be an integer of at least 2, got {value}"
    assert not isinstance(error.value, TypeError)


# number


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.25), np.int64(1), fractions.Fraction(1, 4)])
def test_number_accepts_real_numbers_between_its_bounds_and_returns_a_float(value):
    result = validation.number("discount", value, 0.0, 1.0)
    assert result == value
    assert type(result) is float


@pytest.mark.parametrize("value", [-1e300, 0, 1e300])
def test_number_without_bounds_accepts_every_finite_number(value):
    assert validation.number("mass", value) == value


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_number_refuses_other_types(value):
    with pytest.raises(validation.InvalidTypeError) as error:
        validation.number("discount", value, 0.0, 1.0)
    assert message_of(error).startswith("discount must be a finite number of at least 0 and of at most 1, got ")


@pytest.mark.parametrize(
    "value",
    [-1e-9, 1.0000001, math.nan, math.inf, -math.inf, np.float32(np.nan)],
    ids=["low", "high", "nan", "inf", "minus_inf", "numpy_nan"],
)
def test_number_refuses_values_out_of_bounds_or_not_finite(value):
    with pytest.raises(validation.InvalidInputError) as error:
        validation.number("discount", value, 0.0, 1.0)
    assert message_of(error) == f"discount must be a finite number of at least 0 and of at most 1, got {value}"
    assert not isinstance(error.value, TypeError)


@pytest.mark.parametrize(("value", "head"), [(10**400, "1000"), (-(10**400), "-1000")])
def test_number_refuses_integers_beyond_floats_and_cuts_them(value, head):
    with pytest.raises(validation.InvalidInputError) as error:
        validation.number("discount", value, 0.0, 1.0)
    lead = f"discount must be a finite number of at least 0 and of at most 1, got {head}"
    assert message_of(error).startswith(lead)
    assert message_of(error).endswith("000")
    assert "..." in message_of(error)
    assert len(message_of(error)) < len(lead) + validation.MAX_SHOWN


def test_number_refuses_infinity_even_without_bounds():
    with pytest.raises(validation.InvalidInputError, match=r"^mass must be a finite number, got inf$"):
        validation.number("mass", math.inf)


def test_number_with_an_exclusive_minimum_refuses_the_minimum_alone():
    assert validation.number("rate", 1e-12, 0.0, exclusive_minimum=True) == 1e-12
    assert validation.number("rate", 0.0, 0.0) == 0.0
    with pytest.raises(validation.InvalidInputError, match=r"^rate must be a finite number above 0, got 0\.0$"):
        validation.number("rate", 0.0, 0.0, exclusive_minimum=True)


def test_number_allows_its_maximum():
    assert validation.number("rate", 3, maximum=3) == 3.0
    with pytest.raises(validation.InvalidInputError, match=r"^rate must be a finite number of at most 3, got 4$"):
        validation.number("rate", 4, maximum=3)


# boolean


@pytest.mark.parametrize("value", [True, False])
def test_boolean_accepts_bools(value):
    assert validation.boolean("quiet", value) is value


@pytest.mark.parametrize("value", [0, 1, "True", None, np.bool_(True), tf.constant([[True], [False]])])
def test_boolean_refuses_everything_else(value):
    with pytest.raises(validation.InvalidTypeError) as error:
        validation.boolean("quiet", value)
    assert message_of(error).startswith("quiet must be True or False, got ")


# constructor


@pytest.mark.parametrize("value", [dict, len, lambda config: config])
def test_constructor_accepts_what_can_be_called(value):
    assert validation.constructor("user_ctor", value) is value


@pytest.mark.parametrize("value", ["InterestEvolutionUser", None, 3, np.zeros((2, 3))])
def test_constructor_refuses_everything_else(value):
    with pytest.raises(validation.InvalidTypeError) as error:
        validation.constructor("user_ctor", value)
    assert message_of(error).startswith("user_ctor must be a constructor (in gin: @recsys_po_rl.Name), got ")


# one_of


def test_one_of_accepts_each_allowed_string():
    assert [validation.one_of("mode", mode, ("graph", "xla")) for mode in ("graph", "xla")] == ["graph", "xla"]


def test_one_of_accepts_an_iterator():
    assert validation.one_of("mode", "xla", iter(["graph", "xla"])) == "xla"


def test_one_of_names_the_allowed_strings_and_the_nearest():
    with pytest.raises(validation.InvalidInputError) as error:
        validation.one_of("mode", "grpah", ("xla", "graph", "eager"))
    assert message_of(error) == "mode must be one of eager, graph, xla, got 'grpah' (did you mean graph?)"


@pytest.mark.parametrize("value", [3, None, ["graph"], "GRAPH IN\nTWO LINES", np.zeros((2, 3))])
def test_one_of_refuses_everything_else(value):
    with pytest.raises(validation.InvalidInputError) as error:
        validation.one_of("mode", value, ("graph", "xla"))
    assert message_of(error).startswith("mode must be one of graph, xla, got ")


# config_value


def test_config_value_returns_the_integer():
    assert validation.config_value({"num_docs": 6, "num_users": np.int64(3)}, "num_users", 1, "User") == 3


def test_config_value_names_the_missing_key_its_owner_and_the_keys_there():
    with pytest.raises(validation.InvalidInputError) as error:
        validation.config_value({"num_docs": 6, "num_users": 3}, "num_topics", 1, "User")
    assert message_of(error) == "User: config lacks 'num_topics', it has 'num_docs', 'num_users'"


def test_config_value_says_that_a_config_is_empty():
    with pytest.raises(validation.InvalidInputError, match=r"^User: config lacks 'num_topics', it has no key$"):
        validation.config_value({}, "num_topics", 1, "User")


@pytest.mark.parametrize(
    ("value", "error_type"), [(0, validation.InvalidInputError), ("six", validation.InvalidTypeError)]
)
def test_config_value_names_the_key_of_a_wrong_value(value, error_type):
    with pytest.raises(error_type) as error:
        validation.config_value({"num_docs": value}, "num_docs", 1, "Corpus")
    assert message_of(error) == f"Corpus: config['num_docs'] must be an integer of at least 1, got {value!r}"


# nearest


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [("horizn", " (did you mean horizon?)"), ("seed", " (did you mean seeds?)"), ("zzz", ""), (None, "")],
)
def test_nearest_names_one_similar_string_or_none(value, suggestion):
    assert validation.nearest(value, ["horizon", "seeds", "seed_of_policy"]) == suggestion


def test_nearest_of_nothing_known_is_empty():
    assert validation.nearest("horizon", []) == ""
