"""Allow-list of Keras objects in a saved architecture: layers, their arguments, activations, initialisers.

Each function here converts a parsed JSON value to a value that is safe to pass to a constructor, or raises. Names are
resolved only in the tables of this module and among the objects given by the user. Objects are described by a `Recipe`,
so that a whole architecture is validated before its first part is constructed.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

MAX_INTEGER = 2**31 - 1
MAX_LENGTH = 1000  # maximum length of a list in a configuration
MAX_CHARACTERS = 200  # maximum length of a name
_NAME = re.compile(r"[A-Za-z0-9.][\w.\\/>-]*")  # names that TensorFlow allows for scopes

Given = Mapping[str, Any]  # classes and functions given by the user, by registered name
Reader = Callable[[Any, str, Given], Any]  # (value, its location for messages, given) -> value for a constructor


class RefusedError(ValueError):
    """Value in an architecture that is not allowed; the message is one line."""


class UnknownClassError(RefusedError):
    """Class in an architecture that is neither on the allow-list nor given by the user."""

    def __init__(self, registered_name: str, class_name: str) -> None:
        """Create the error.

        Args:
          registered_name: name in the file, under which the user's class can be given.
          class_name: the class's own name, for the message.
        """
        self.registered_name = registered_name
        self.class_name = class_name
        example = f"custom_objects={{{shown(registered_name)}: THE_CLASS}}"
        super().__init__(
            f"it names the class {shown(registered_name)}, which this project does not load by itself; "
            f"if it is yours, register it with Keras and write load_policy(..., {example})"
        )


class Recipe(NamedTuple):
    """Constructor from the allow-list with validated arguments; executed by `make`."""

    constructor: Callable[..., Any]
    arguments: dict[str, Any]  # plain values, recipes, and lists or dicts of both


def make(value: Any) -> Any:
    """Return a validated value with each recipe replaced by the object it describes."""
    if isinstance(value, Recipe):
        return value.constructor(**{name: make(argument) for name, argument in value.arguments.items()})
    if isinstance(value, list):
        return [make(item) for item in value]
    if isinstance(value, dict):
        return {key: make(item) for key, item in value.items()}
    return value


def shown(value: Any) -> str:
    """Return the `repr` of a value, on one line and shortened."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def refuse(where: str, allowed: str, value: Any) -> Any:
    """Raise an error with the location, the allowed values and the value found."""
    raise RefusedError(f"{where} must be {allowed}, got {shown(value)}")


# Readers of plain values.


def boolean(value: Any, where: str, given: Given) -> Any:
    """Return True or False."""
    del given
    return value if isinstance(value, bool) else refuse(where, "true or false", value)


def false(value: Any, where: str, given: Given) -> Any:
    """Return False: the feature that the argument would switch on is not supported."""
    del given
    return value if value is False else refuse(where, "false", value)


def integer(value: Any, where: str, given: Given) -> Any:
    """Return a 32-bit integer."""
    del given
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_INTEGER:
        return refuse(where, "an integer of 32 bits", value)
    return value


def few(value: Any, where: str, given: Given) -> Any:
    """Return a number of layers, bounded because time and memory grow with it even without weights."""
    return value if 1 <= integer(value, where, given) <= 200 else refuse(where, "an integer from 1 to 200", value)


def names(value: Any, where: str, given: Given) -> Any:
    """Return a list of names."""
    if not isinstance(value, list):
        return refuse(where, "a list of names", value)
    return [name(item, where, given) for item in bounded(value, where)]


def integers(value: Any, where: str, given: Given) -> Any:
    """Return an integer, a list of integers, or None."""
    if value is None:
        return None
    if isinstance(value, list):
        return [integer(item, where, given) for item in bounded(value, where)]
    return integer(value, where, given)


def dot_axes(value: Any, where: str, given: Given) -> Any:
    """Return the axes of `Dot`: an integer, or a tuple of two, as Keras requires."""
    axes = integers(value, where, given)
    return tuple(axes) if isinstance(axes, list) else axes


def seed(value: Any, where: str, given: Given) -> Any:
    """Return None or a 64-bit integer."""
    del given
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return value
    return refuse(where, "null or an integer of 64 bits", value)


def number(value: Any, where: str, given: Given) -> Any:
    """Return a finite number; Keras writes some numbers as arrays of rank 0."""
    del given
    if isinstance(value, dict) and value.get("class_name") == "__numpy__" and isinstance(value.get("config"), dict):
        value = value["config"].get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return refuse(where, "a number", value)
    if abs(value) > 1e38 or not math.isfinite(value):
        return refuse(where, "a finite number", value)
    return value


def optional_number(value: Any, where: str, given: Given) -> Any:
    """Return None or a finite number."""
    return None if value is None else number(value, where, given)


def numbers(value: Any, where: str, given: Given) -> Any:
    """Return a list of finite numbers."""
    if not isinstance(value, list):
        return refuse(where, "a list of numbers", value)
    return [number(item, where, given) for item in bounded(value, where)]


def shape(value: Any, where: str, given: Given) -> Any:
    """Return a tuple of sizes, None for unknown sizes; None: the shape is not given."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 8:
        return refuse(where, "a list of at most 8 sizes", value)
    sizes = tuple(None if size is None else integer(size, where, given) for size in value)
    if math.prod(size or 1 for size in sizes) > MAX_INTEGER or any(size is not None and size < 0 for size in sizes):
        return refuse(where, "a shape of at most 2 ** 31 numbers", value)
    return sizes


def name(value: Any, where: str, given: Given) -> Any:
    """Return a layer's name; None: Keras generates a name."""
    del given
    if value is None or (isinstance(value, str) and len(value) <= MAX_CHARACTERS and _NAME.fullmatch(value)):
        return value
    return refuse(where, "the name of a layer", value)


def bounded(values: list[Any], where: str) -> list[Any]:
    """Return a list after validating its length."""
    return values if len(values) <= MAX_LENGTH else refuse(where, f"at most {MAX_LENGTH} values", len(values))


def choice(*allowed: Any) -> Reader:
    """Return a reader of an argument with few allowed values."""

    def read(value: Any, where: str, given: Given) -> Any:
        del given
        same = [option for option in allowed if type(option) is type(value) and option == value]
        return same[0] if same else refuse(where, f"one of {', '.join(map(repr, allowed))}", value)

    return read


_FLOATING = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")
_OTHER_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


def dtype(value: Any, where: str, given: Given) -> Any:
    """Return the name of a dtype or of a dtype policy."""
    del given
    if isinstance(value, dict) and value.get("class_name") == "Policy" and isinstance(value.get("config"), dict):
        value = value["config"].get("name")
    known = isinstance(value, str) and value in (*_FLOATING, *_OTHER_DTYPES)
    return value if known or value is None else refuse(where, "the name of a dtype", value)


# Readers of functions and small objects, by public name.

ACTIVATIONS = {
    "elu": tf.keras.activations.elu,
    "exponential": tf.keras.activations.exponential,
    "gelu": tf.keras.activations.gelu,
    "hard_sigmoid": tf.keras.activations.hard_sigmoid,
    "linear": tf.keras.activations.linear,
    "mish": tf.keras.activations.mish,
    "relu": tf.keras.activations.relu,
    "selu": tf.keras.activations.selu,
    "sigmoid": tf.keras.activations.sigmoid,
    "softmax": tf.keras.activations.softmax,
    "softplus": tf.keras.activations.softplus,
    "softsign": tf.keras.activations.softsign,
    "swish": tf.keras.activations.swish,
    "tanh": tf.keras.activations.tanh,
}


def activation(value: Any, where: str, given: Given) -> Any:
    """Return a public activation by its name, or a function given by the user."""
    if isinstance(value, dict) and value.get("class_name") == "function":
        registered = value.get("registered_name")
        if isinstance(registered, str) and registered in given:
            return given[registered]
        value = value.get("config") if value.get("module") == "builtins" else registered
    if value is None or (isinstance(value, str) and value in ACTIVATIONS):
        return None if value is None else ACTIVATIONS[value]
    return refuse(where, "the name of a Keras activation", value)


_SEEDED: dict[str, Reader] = {"seed": seed}
_INITIALIZERS: dict[str, tuple[Any, dict[str, Reader]]] = {
    "Zeros": (tf.keras.initializers.Zeros, {}),
    "Ones": (tf.keras.initializers.Ones, {}),
    "Constant": (tf.keras.initializers.Constant, {"value": number}),
    "Identity": (tf.keras.initializers.Identity, {"gain": number}),
    "Orthogonal": (tf.keras.initializers.Orthogonal, {"gain": number, **_SEEDED}),
    "RandomNormal": (tf.keras.initializers.RandomNormal, {"mean": number, "stddev": number, **_SEEDED}),
    "RandomUniform": (tf.keras.initializers.RandomUniform, {"minval": number, "maxval": number, **_SEEDED}),
    "TruncatedNormal": (tf.keras.initializers.TruncatedNormal, {"mean": number, "stddev": number, **_SEEDED}),
    "VarianceScaling": (
        tf.keras.initializers.VarianceScaling,
        {
            "scale": number,
            "mode": choice("fan_in", "fan_out", "fan_avg"),
            "distribution": choice("truncated_normal", "untruncated_normal", "uniform"),
            **_SEEDED,
        },
    ),
    "GlorotNormal": (tf.keras.initializers.GlorotNormal, _SEEDED),
    "GlorotUniform": (tf.keras.initializers.GlorotUniform, _SEEDED),
    "HeNormal": (tf.keras.initializers.HeNormal, _SEEDED),
    "HeUniform": (tf.keras.initializers.HeUniform, _SEEDED),
    "LecunNormal": (tf.keras.initializers.LecunNormal, _SEEDED),
    "LecunUniform": (tf.keras.initializers.LecunUniform, _SEEDED),
}
_REGULARIZERS: dict[str, tuple[Any, dict[str, Reader]]] = {
    "L1": (tf.keras.regularizers.L1, {"l1": number}),
    "L2": (tf.keras.regularizers.L2, {"l2": number}),
    "L1L2": (tf.keras.regularizers.L1L2, {"l1": number, "l2": number}),
    "OrthogonalRegularizer": (
        tf.keras.regularizers.OrthogonalRegularizer,
        {"factor": number, "mode": choice("rows", "columns")},
    ),
}
_CONSTRAINTS: dict[str, tuple[Any, dict[str, Reader]]] = {
    "MaxNorm": (tf.keras.constraints.MaxNorm, {"max_value": number, "axis": integers}),
    "MinMaxNorm": (
        tf.keras.constraints.MinMaxNorm,
        {"min_value": number, "max_value": number, "rate": number, "axis": integers},
    ),
    "NonNeg": (tf.keras.constraints.NonNeg, {}),
    "UnitNorm": (tf.keras.constraints.UnitNorm, {"axis": integers}),
}


def arguments(config: Any, readers: Mapping[str, Reader], where: str, given: Given) -> dict[str, Any]:
    """Return validated keyword arguments.

    Args:
      config: a parsed JSON object.
      readers: readers of the allowed arguments, by name.
      where: location for messages.
      given: classes and functions given by the user.

    Raises:
      RefusedError: if an argument is unknown, or its value is not allowed.
    """
    if not isinstance(config, dict):
        return dict(refuse(where, "an object", config))
    unknown = sorted(set(config) - set(readers))
    if unknown:
        raise RefusedError(f"{where} has an argument that is not allowed: {shown(unknown[0])}")
    return {key: readers[key](value, f"{where}.{key}", given) for key, value in config.items()}


def part_of(table: Mapping[str, tuple[Any, dict[str, Reader]]], kind: str, module: str) -> Reader:
    """Return a reader of a small Keras object: None, or a class of a table with its arguments."""

    def read(value: Any, where: str, given: Given) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict) or value.get("module") != module:
            return refuse(where, f"a Keras {kind}", value)
        class_name = value.get("class_name")
        if not isinstance(class_name, str) or class_name not in table:
            return refuse(where, f"a Keras {kind}", class_name)
        constructor, readers = table[class_name]
        return Recipe(constructor, arguments(value.get("config"), readers, where, given))

    return read


initializer = part_of(_INITIALIZERS, "initializer", "keras.initializers")
regularizer = part_of(_REGULARIZERS, "regularizer", "keras.regularizers")
constraint = part_of(_CONSTRAINTS, "constraint", "keras.constraints")
