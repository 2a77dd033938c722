"""Argument validation: each error is one line that names the argument, the value given and the values allowed."""

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

MAX_SHOWN = 200  # characters of a value in a message
MAX_PATH_SHOWN = 400
MAX_MESSAGE = 2000
MAX_INTEGER = 2**63 - 1  # the largest int64, which tensors can hold


class InvalidInputError(ValueError):
    """Invalid value given by the user; the message is one line and names the argument."""

    def __init__(self, message: str = "") -> None:
        """Create the error; a message longer than `MAX_MESSAGE` characters is shortened in the middle."""
        super().__init__(cut(message, MAX_MESSAGE))


class InvalidTypeError(InvalidInputError, TypeError):
    """Wrong type of a value given by the user; the message is one line and names the argument."""


class WrongScoresError(ValueError):
    """Wrong shape of the scores returned by a scorer; the message is one line."""


def integer(name: str, value: Any, minimum: int) -> int:
    """Return `value` as an int.

    Args:
      name: name of the argument, for the message.
      value: any integral number except bool.
      minimum: the smallest value allowed.

    Raises:
      InvalidTypeError: if `value` is not an integer.
      InvalidInputError: if `value` is below `minimum`, or above `MAX_INTEGER`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidTypeError(f"{name} must be an integer of at least {minimum}, got {shown(value)}")
    as_int = int(value)
    if as_int < minimum:
        raise InvalidInputError(f"{name} must be an integer of at least {minimum}, got {_number_shown(value)}")
    if as_int > MAX_INTEGER:
        raise InvalidInputError(
            f"{name} must be an integer of at least {minimum} and below 2**63, got {_number_shown(value)}"
        )
    return as_int


def number(
    name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf, exclusive_minimum: bool = False
) -> float:
    """Return `value` as a finite float between `minimum` and `maximum` (inclusive).

    Args:
      name: name of the argument, for the message.
      value: any real number except bool.
      minimum: lower bound.
      maximum: upper bound.
      exclusive_minimum: whether the lower bound itself is invalid.

    Raises:
      InvalidTypeError: if `value` is not a real number.
      InvalidInputError: if `value` is NaN, infinite or out of bounds.
    """
    allowed = _bounds(minimum, maximum, exclusive_minimum)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidTypeError(f"{name} must be a finite number{allowed}, got {shown(value)}")
    try:
        as_float = float(value)
    except OverflowError:  # integer or fraction beyond the largest float: invalid whatever its sign
        as_float = math.inf
    too_low = as_float <= minimum if exclusive_minimum else as_float < minimum
    if not math.isfinite(as_float) or too_low or as_float > maximum:
        raise InvalidInputError(f"{name} must be a finite number{allowed}, got {_number_shown(value)}")
    return as_float


def boolean(name: str, value: Any) -> bool:
    """Return `value` if it is a bool.

    Raises:
      InvalidTypeError: if `value` is not a bool.
    """
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def constructor(name: str, value: Any) -> Any:
    """Return `value` if it is callable.

    Raises:
      InvalidTypeError: if `value` is not callable.
    """
    if not callable(value):
        raise InvalidTypeError(f"{name} must be a constructor (in gin: @recsys_po_rl.Name), got {shown(value)}")
    return value


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the strings in `allowed`.

    Raises:
      InvalidInputError: if `value` is not in `allowed`; the message suggests the nearest allowed string.
    """
    known = sorted(allowed)
    if not isinstance(value, str) or value not in known:
        raise InvalidInputError(f"{name} must be one of {', '.join(known)}, got {shown(value)}{nearest(value, known)}")
    return value


def config_value(config: Mapping[str, Any], key: str, minimum: int, owner: str) -> int:
    """Return the integer `config[key]`.

    Args:
      config: an entity's configuration.
      key: the key to read.
      minimum: the smallest value allowed.
      owner: the entity that reads the key, for the message.

    Raises:
      InvalidInputError: if the key is missing, or its value is not an integer of at least `minimum`.
    """
    if key not in config:
        raise InvalidInputError(f"{owner}: config lacks {key!r}, it has {', '.join(map(repr, config)) or 'no key'}")
    return integer(f"{owner}: config[{key!r}]", config[key], minimum)


def nearest(value: Any, known: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for the known string nearest to `value`, or '' if no known string is near."""
    matches = difflib.get_close_matches(value if isinstance(value, str) else shown(value), list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]}?)" if matches else ""


def shown(value: Any, max_length: int = MAX_SHOWN) -> str:
    """Return the `repr` of a value on one line, shortened to a maximum length.

    Args:
      value: any object; line breaks, as in the `repr` of arrays and tensors, are replaced by spaces.
      max_length: maximum number of characters.
    """
    try:
        text = repr(value)
    except ValueError:  # Python does not convert integers of more than 4300 digits to text
        text = f"{type(value).__name__} that Python does not write"
    return one_line(text, max_length)


def one_line(text: str, max_length: int = MAX_SHOWN) -> str:
    """Return a text with runs of white space replaced by single spaces, shortened to a maximum length."""
    return cut(" ".join(text.split()), max_length)


def cut(text: str, max_length: int = MAX_SHOWN) -> str:
    """Return a text shortened to `max_length` characters: its beginning and end with an ellipsis between them."""
    if len(text) <= max_length:
        return text
    head = (max_length - 3 + 1) // 2
    return f"{text[:head]}...{text[len(text) - (max_length - 3 - head) :]}"


def _number_shown(value: Any) -> str:
    try:
        return cut(str(value))
    except ValueError:  # as in `shown`
        return "a number of more than 4300 digits"


def _bounds(minimum: float, maximum: float, exclusive_minimum: bool) -> str:
    parts = []
    if minimum > -math.inf:
        parts.append(f"above {minimum:g}" if exclusive_minimum else f"of at least {minimum:g}")
    if maximum < math.inf:
        parts.append(f"of at most {maximum:g}")
    return f" {' and '.join(parts)}" if parts else ""
