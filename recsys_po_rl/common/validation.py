"""Checks of arguments: each raises one line that names the argument, what came and what is allowed."""

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

MAX_SHOWN = 200  # characters of a value in a message
MAX_PATH_SHOWN = 400
MAX_MESSAGE = 2000
MAX_INTEGER = 2**63 - 1  # what a tensor can hold


class InvalidInputError(ValueError):
    """A value handed in by the user is impossible; the message is one line and names the argument."""

    def __init__(self, message: str = "") -> None:
        """Keeps the message; of one with more than `MAX_MESSAGE` characters both ends."""
        super().__init__(cut(message, MAX_MESSAGE))


class InvalidTypeError(InvalidInputError, TypeError):
    """A value handed in by the user has the wrong type; the message is one line and names the argument."""


class WrongScoresError(ValueError):
    """A scorer returned scores of another shape; the message is one line."""


def integer(name: str, value: Any, minimum: int) -> int:
    """Returns `value` as an int.

    Args:
      name: how the argument is called in the message.
      value: any integral number; bool is refused.
      minimum: the smallest value allowed.

    Raises:
      InvalidTypeError: if `value` is no integer.
      InvalidInputError: if it is below `minimum`, or above `MAX_INTEGER`.
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
    """Returns `value` as a finite float between `minimum` and `maximum` (both allowed).

    Args:
      name: how the argument is called in the message.
      value: any real number; bool is refused.
      minimum: lower bound.
      maximum: upper bound.
      exclusive_minimum: whether the lower bound itself is refused.

    Raises:
      InvalidTypeError: if `value` is no real number.
      InvalidInputError: if it is NaN, infinite or out of bounds.
    """
    allowed = _bounds(minimum, maximum, exclusive_minimum)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidTypeError(f"{name} must be a finite number{allowed}, got {shown(value)}")
    try:
        as_float = float(value)
    except OverflowError:  # an integer or a fraction beyond the largest float; it is refused whatever its sign
        as_float = math.inf
    too_low = as_float <= minimum if exclusive_minimum else as_float < minimum
    if not math.isfinite(as_float) or too_low or as_float > maximum:
        raise InvalidInputError(f"{name} must be a finite number{allowed}, got {_number_shown(value)}")
    return as_float


def boolean(name: str, value: Any) -> bool:
    """Returns `value` if it is a bool.

    Raises:
      InvalidTypeError: if it is not.
    """
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def constructor(name: str, value: Any) -> Any:
    """Returns `value` if it can be called.

    Raises:
      InvalidTypeError: if it cannot.
    """
    if not callable(value):
        raise InvalidTypeError(f"{name} must be a constructor (in gin: @recsys_po_rl.Name), got {shown(value)}")
    return value


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Returns `value` if it is among the strings `allowed`.

    Raises:
      InvalidInputError: if it is not; the message names the nearest of them.
    """
    known = sorted(allowed)
    if not isinstance(value, str) or value not in known:
        raise InvalidInputError(f"{name} must be one of {', '.join(known)}, got {shown(value)}{nearest(value, known)}")
    return value


def config_value(config: Mapping[str, Any], key: str, minimum: int, owner: str) -> int:
    """Returns the integer `config[key]`.

    Args:
      config: an entity's configuration.
      key: the key that is read.
      minimum: the smallest value allowed.
      owner: the entity that reads it, for the message.

    Raises:
      InvalidInputError: if the key is missing, or its value no integer of at least `minimum`.
    """
    if key not in config:
        raise InvalidInputError(f"{owner}: config lacks {key!r}, it has {', '.join(map(repr, config)) or 'no key'}")
    return integer(f"{owner}: config[{key!r}]", config[key], minimum)


def nearest(value: Any, known: Iterable[str]) -> str:
    """Returns ' (did you mean X?)' for the known string nearest to `value`, or ''."""
    matches = difflib.get_close_matches(value if isinstance(value, str) else shown(value), list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]}?)" if matches else ""


def shown(value: Any, max_length: int = MAX_SHOWN) -> str:
    """Returns the `repr` of a value on one line, cut to a length.

    Args:
      value: any object; the `repr` of an array or a tensor has several lines.
      max_length: the most characters that are kept.
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4300 digits
        text = f"{type(value).__name__} that Python does not write"
    return one_line(text, max_length)


def one_line(text: str, max_length: int = MAX_SHOWN) -> str:
    """Return a text with single spaces in place of line breaks and other white space, cut to a length."""
    return cut(" ".join(text.split()), max_length)


def cut(text: str, max_length: int = MAX_SHOWN) -> str:
    """Returns a text of at most `max_length` characters: of a longer one both ends, with an ellipsis between them."""
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
