"""Parameters of constructed entities, read from the objects: entry `world` of evaluation.json.

The text of a configuration does not contain them: a value may come from a macro, a scope, a reference or Python. An
entity is described by its attributes. An entity whose attributes change during a run can define the method
`world_parameters` instead, which returns its parameters by name.
"""

import functools
import hashlib
import inspect
import itertools
import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value
from recsim_ng.lib.tensorflow import field_spec

from recsys_po_rl import gin_config

Parameter = Union[None, bool, int, float, str, list[Any]]

MAX_LISTED = 16  # elements of an array that are listed; larger arrays are hashed
# TensorFlow's bookkeeping, and the configuration, which is recorded separately.
_BOOKKEEPING_PREFIXES = ("_self_", "_tf_", "_keras_")
_BOOKKEEPING = frozenset({"_config", "_name", "_name_scope", "_scope_name", "_obj_reference_counts_dict"})
# Attributes that are recorded under an earlier name: runs are paired by the text of their worlds.
_RECORDED_NAMES = {"unmodelled_effects": "untold"}
_REPLACED = frozenset({"observation", "specs"})  # by `user.fully_observed`: the observation does not change the users
_OWN_PACKAGE = __name__.partition(".")[0]
# Objects of these packages are described by their type, parameters and variables; other attributes are caches.
_LIBRARIES = frozenset({"builtins", "gin", "keras", "logging", "numpy", "tensorflow", "tensorflow_probability"})
_LIBRARIES |= {"tf_keras", "threading"}


def parameters(entity: Any, config: Mapping[str, Any]) -> dict[str, Parameter]:
    """Describe an entity by its attributes, those of nested objects included.

    Args:
      entity: the constructed object; its method `world_parameters`, if defined, replaces its attributes.
      config: configuration of the entity; attributes that repeat an entry are omitted.

    Returns:
      By dotted name, without leading underscores, a number, text, None or short list. Tensors, variables and arrays
      count by their values: as one number if all elements are equal, as a list up to `MAX_LISTED` elements, as shape
      and hash beyond. Nested objects and functions count by their qualified name and their own attributes; functions by
      their bound arguments, defaults, closures and gin bindings too. Code is not compared.
    """
    described = getattr(entity, "world_parameters", None)
    state = described() if callable(described) else _attributes(entity, config)
    described_already = {id(entity): entity}
    entries = (
        _entries(_RECORDED_NAMES.get(key, str(key).lstrip("_")), part, described_already) for key, part in state.items()
    )
    return dict(itertools.chain.from_iterable(entries))


def _attributes(entity: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    def repeats_config(key: str, value: Any) -> bool:
        return key in config and isinstance(value, int) and value == config[key]

    return {
        key: value
        for key, value in _own_attributes(entity).items()
        if not (key in _REPLACED and callable(value)) and not repeats_config(key.lstrip("_"), value)
    }


def _own_attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object without a library's bookkeeping; empty for objects without `__dict__`."""
    return {
        key: part
        for key, part in getattr(value, "__dict__", {}).items()
        if key not in _BOOKKEEPING and not key.startswith(_BOOKKEEPING_PREFIXES)
    }


def _entries(name: str, value: Any, described: dict[int, Any]) -> Iterator[tuple[str, Parameter]]:
    """Yield a value's parameters by dotted name; an object among those described already counts by its type alone."""
    if isinstance(value, field_spec.FieldSpec):
        return  # follows from the parameters, and holds random generators
    if value is None or isinstance(value, (bool, str)):
        yield name, value
    elif tf.is_symbolic_tensor(value):
        yield name, _type_of(value)  # a graph tensor that a traced step left behind
    elif isinstance(value, (numbers.Number, np.ndarray, np.generic, tf.Tensor, tf.Variable)):
        yield name, _array(value)
    elif isinstance(value, (list, tuple)) and all(isinstance(part, (numbers.Real, np.generic)) for part in value):
        yield name, _array(np.asarray(value)) if value else []
    elif id(value) in described:
        yield name, _type_of(value)
    else:
        described[id(value)] = value
        label, parts = _parts(value)
        if label is not None:
            yield name, label
        for key, part in parts.items():
            yield from _entries(f"{name}.{key.lstrip('_')}", part, described)


def _parts(value: Any) -> tuple[Optional[str], dict[str, Any]]:
    """Return the name of a value's type (None for containers), and its parts by name."""
    if isinstance(value, Value):
        return None, value.as_dict
    if isinstance(value, Mapping):
        return None, {str(key): part for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return None, {"length": len(value), **{str(place): part for place, part in enumerate(value)}}
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(map(str, value))), {}
    if isinstance(value, functools.partial):
        parts = _parts(value.func)[1]
        given = {str(place): part for place, part in enumerate(value.args)}
        return _type_of(value.func), {**parts, **given, **value.keywords}
    if inspect.ismethod(value):
        return _type_of(value), {"self": value.__self__}
    if inspect.isfunction(value):
        return _type_of(value), _function_parts(value)
    if isinstance(value, type) or inspect.isbuiltin(value):
        return _type_of(value), {}
    if type(value).__module__.split(".")[0] in _LIBRARIES or isinstance(value, tf.keras.layers.Layer):
        return _type_of(value), _library_parts(value)
    return _type_of(value), _own_attributes(value)


def _library_parts(value: Any) -> dict[str, Any]:
    """Return parameters of distributions and linear operators; variables and plain public attributes of layers."""
    given = getattr(value, "parameters", None)
    if isinstance(given, Mapping):
        return {key: part for key, part in given.items() if key != "name"}
    if not isinstance(value, tf.keras.layers.Layer):
        return {}
    public = {
        key: part
        for key, part in _own_attributes(value).items()
        if not key.startswith("_") and key != "name" and isinstance(part, (bool, int, float, str, np.ndarray))
    }
    return {**public, "variables": list(value.variables) if value.built else []}


def _function_parts(function: Any) -> dict[str, Any]:
    """Return the inputs of a function beside its code and globals: defaults, closure and gin bindings."""
    bindings = gin_config.bindings_of(function)
    function = inspect.unwrap(function)
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **inspect.getclosurevars(function).nonlocals, **bindings}


def _type_of(value: Any) -> str:
    """Return the qualified name of a class or function, or of an object's class.

    Names of this package omit the module: a class that moves within the package stays the same class of a world.
    """
    named = value if hasattr(value, "__qualname__") else type(value)
    package, _, _ = named.__module__.partition(".")
    return f"{package if package == _OWN_PACKAGE else named.__module__}.{named.__qualname__}"


def _array(value: Any) -> Parameter:
    array = np.asarray(value.numpy() if isinstance(value, (tf.Tensor, tf.Variable)) else value)
    if array.dtype.kind in "SUOc":
        return str(array.tolist())
    if array.dtype.kind not in "biu":
        array = array.astype(np.float32)  # as entities compute
    if array.size and (array.size == 1 or (array == array.flat[0]).all()):
        return _number(array.flat[0])
    if array.size <= MAX_LISTED:
        return [_number(element) for element in array.flat] if array.ndim == 1 else [*map(_array, array)]
    little_endian = array.astype(array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(np.ascontiguousarray(little_endian).tobytes()).hexdigest()[:16]
    return f"{array.dtype.name} {list(array.shape)} sha256 {digest}"


def _number(element: Any) -> Parameter:
    """Return a NumPy number as Python's, floats with float32's digits, numbers that JSON lacks as text."""
    if element.dtype.kind == "b":
        return bool(element)
    if element.dtype.kind in "iu":
        return int(element)
    return float(str(element)) if math.isfinite(element) else str(element)
