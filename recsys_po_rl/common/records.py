"""Records of JSON files: frozen dataclasses, validated on reading by the annotations of their fields.

A field without a default is in every file, as null if it is None. A field with a default may be missing from a file,
and is not written if it is None. Keys of a file that are no fields of the record are kept in `others`, unvalidated: a
later version of the project may have written them.

Annotations may be: str, bool, int, float, Any, dataclasses derived from `Record`, Optional, list and Mapping[str, ...]
of these, and `Annotated` with a `Check` for values with further conditions, such as `Bounds` and `Count`.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Optional, TypeVar, Union

from recsys_po_rl.common import validation

MAX_COUNT = 10**15  # maximum number of users, slates, steps
_R = TypeVar("_R", bound="Record")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """JSON object with known fields."""

    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # keys that are no fields

    def to_json(self) -> dict[str, Any]:
        """Return the content of the JSON object: dicts, lists, texts, numbers and None, keys in the fields' order."""
        known = {field.name: getattr(self, field.name) for field in _fields(type(self))}
        optional = {field.name for field in _fields(type(self)) if not _is_required(field)}
        written = {name: value for name, value in known.items() if value is not None or name not in optional}
        return {name: _to_json(value) for name, value in {**written, **self.others}.items()}

    @classmethod
    def from_json(cls: type[_R], content: Any, where: str) -> _R:
        """Validate the content of a JSON object and return it as a record.

        Args:
          content: any value that a JSON file can hold.
          where: text before the names of fields in messages, such as "report.json: " or "report.json: policies.".

        Raises:
          InvalidInputError: one line, if the content is not of this form; it names the field and what is allowed.
        """
        if not isinstance(content, dict):
            raise error(where.removesuffix("."), "an object", content)
        fields, kinds = _fields(cls), _annotations(cls)  # type: ignore[arg-type]
        needed = [field.name for field in fields if _is_required(field)]
        if any(name not in content for name in needed):
            raise error(where.removesuffix("."), f"an object with {', '.join(needed)}", content)
        given = [field.name for field in fields if field.name in content]
        values = {name: _from_json(kinds[name], f"{where}{name}", content[name]) for name in given}
        return cls(**values, others={key: value for key, value in content.items() if key not in kinds})


@dataclasses.dataclass(frozen=True)
class Check:
    """Validation of a value in a file, for `Annotated`."""

    validate: Callable[[str, Any], None]  # called with the place and the value; raises `error`


def error(where: str, allowed: str, value: Any) -> validation.InvalidInputError:
    """Return the error for a value that is not allowed at a place of a file."""
    return validation.InvalidInputError(
        f"{validation.cut(where, 300)} must be {allowed}, got {validation.shown(value, 60)}"
    )


def between(minimum: int, maximum: int) -> Check:
    """Return a check for integers between two bounds, both allowed."""

    def validate(where: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise error(where, f"an integer between {minimum} and {maximum}", value)

    return Check(validate)


def known_version(latest: int) -> Check:
    """Return a check for the version of a file's form, from 1 to the latest that this project reads."""

    def validate(where: str, value: Any) -> None:
        between(1, MAX_COUNT).validate(where, value)
        if value > latest:
            raise validation.InvalidInputError(
                f"{where} is {value}, written by a later version of this project; this version reads {latest}"
            )

    return Check(validate)


def _pair(where: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise error(where, "a pair of numbers", value)
    for bound in value:
        _from_json(Optional[float], where, bound)
    if None not in value and value[0] > value[1]:
        raise error(where, "a pair of numbers in order", value)


Bounds = Annotated[Sequence[Optional[float]], Check(_pair)]  # interval: low, high; None: infinite
Count = Annotated[int, between(1, MAX_COUNT)]
NonNegative = Annotated[int, between(0, MAX_COUNT)]


def _from_json(kind: Any, where: str, value: Any) -> Any:
    """Validate a value by an annotation and return it, with records in the place of their JSON objects."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        inner[1].validate(where, value)
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _from_json(inner[0], where, value)
    if origin is list:
        if not isinstance(value, list):
            raise error(where, "a list", value)
        return [_from_json(inner[0], f"{where}[{place}]", item) for place, item in enumerate(value)]
    if origin is Mapping:
        if not isinstance(value, dict):
            raise error(where, "an object", value)
        return {key: _from_json(inner[1], f"{where}.{validation.shown(key, 60)}", item) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_json(value, f"{where}.")
    allowed = _SCALARS[kind]
    if not isinstance(value, allowed.types) or (isinstance(value, bool) and kind in (int, float)):
        raise error(where, allowed.name, value)
    return value


class _Scalar(typing.NamedTuple):
    name: str
    types: tuple[type, ...]


_SCALARS: Mapping[Any, _Scalar] = {
    str: _Scalar("a text", (str,)),
    bool: _Scalar("true or false", (bool,)),
    int: _Scalar("an integer", (int,)),
    float: _Scalar("a finite number", (int, float)),  # readers of files refuse infinite numbers and NaN
    Any: _Scalar("anything", (object,)),
}


def _to_json(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value


@functools.cache
def _annotations(record: type[Record]) -> Mapping[str, Any]:
    kinds = typing.get_type_hints(record, include_extras=True)
    return {field.name: kinds[field.name] for field in _fields(record)}


def _fields(record: type[Record]) -> Sequence[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(record) if field.name != "others"]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
