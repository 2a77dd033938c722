"""Functional Keras models from a saved architecture: parsing of the layer calls, and the calls themselves.

The layers themselves are validated and rebuilt in `rebuilding`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from recsys_po_rl.scoring import keras_parts as parts
from recsys_po_rl.scoring.base import HistoryScorer
from recsys_po_rl.scoring.interest import InterestModel
from recsys_po_rl.scoring.keras_parts import RefusedError

MAX_CALLS = 1000  # maximum number of layer calls in a functional model


class Tensor(NamedTuple):
    """Output of a layer call in a functional model."""

    layer: str
    call: int
    output: int


class Call(NamedTuple):
    """Call of a layer in a functional model."""

    layer: str
    inputs: Any  # a tensor, or a list or dict of them
    arguments: dict[str, Any]  # plain values, tensors, and lists of both


def layer_names(layers: list[Any], where: str) -> list[str]:
    """Return the names of the layers; raises `RefusedError` unless they are different texts."""
    names = [layer.get("name") if isinstance(layer, dict) else None for layer in layers]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        parts.refuse(where, "layers of different names", names)
    return [str(name) for name in names]


def calls_of(layer: str, nodes: Any, where: str) -> list[Call]:
    """Return the calls of a layer, parsed from its inbound nodes; raises `RefusedError` if a node is malformed."""
    place = f"{where}.{layer}.inbound_nodes"
    if not isinstance(nodes, list):
        parts.refuse(place, "a list of calls", nodes)
    calls = []
    for node in nodes:
        inputs = tensors_of(node, place)
        # The arguments of a call are repeated beside each of its tensors.
        first = node
        while isinstance(first, (dict, list)) and not _is_tensor(first):
            first = next(iter(first.values() if isinstance(first, dict) else first), None)
        given = first[3] if isinstance(first, list) and len(first) == 4 else {}
        if not isinstance(given, dict) or not all(name.isidentifier() and name[0] != "_" for name in given):
            parts.refuse(place, "a call with named arguments", given)
        if isinstance(inputs, list) and len(inputs) == 1:
            inputs = inputs[0]
        calls.append(Call(layer, inputs, {name: _argument(value, place) for name, value in given.items()}))
    return calls


def _is_tensor(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(type(index) is int and 0 <= index <= MAX_CALLS for index in value[1:3])
    )


def tensors_of(value: Any, where: str) -> Any:
    """Return a tensor of a functional model, or a list or dict of tensors."""
    if _is_tensor(value):
        return Tensor(*value[:3])
    if isinstance(value, list) and value and all(map(_is_tensor, parts.bounded(value, where))):
        return [Tensor(*item[:3]) for item in value]
    if isinstance(value, dict) and value and all(map(_is_tensor, value.values())):
        return {key: Tensor(*item[:3]) for key, item in value.items()}
    return parts.refuse(where, "tensors of the model", value)


def _argument(value: Any, where: str) -> Any:
    if _is_tensor(value):
        return Tensor(*value[:3])
    if isinstance(value, list):
        return [_argument(item, where) for item in parts.bounded(value, where)]
    if value is None or isinstance(value, bool):
        return value
    return parts.number(value, where, {})


def functional(
    layers: dict[str, Any],
    calls: tuple[Call, ...],
    inputs: Any,
    outputs: Any,
    name: Any = None,
    trainable: bool = True,
    dtype: Any = None,
) -> tf.keras.Model:
    """Call layers as described in the file, and create the model from the results."""
    del dtype  # its layers have their own dtypes
    tensors: dict[Tensor, Any] = {}
    # Constructing a nested model calls it once; Keras does not count that call.
    num_calls = {key: int(isinstance(layer, tf.keras.Model) and _has_inputs(layer)) for key, layer in layers.items()}
    for key, layer in layers.items():
        if isinstance(layer, tf.keras.layers.InputLayer):
            tensors[Tensor(key, 0, 0)] = layer.output
    pending = list(calls)
    while pending:
        waiting: list[Call] = []
        for call in pending:
            earlier = any(other.layer == call.layer for other in waiting)
            if earlier or not all(needed in tensors for needed in _needed(call)):
                waiting.append(call)
                continue
            results = layers[call.layer](_resolved(call.inputs, tensors), **_resolved(call.arguments, tensors))
            for output, result in enumerate(tf.nest.flatten(results)):
                _raise_if_large(result.shape, call.layer)
                tensors[Tensor(call.layer, num_calls[call.layer], output)] = result
            num_calls[call.layer] += 1
        if len(waiting) == len(pending):
            raise RefusedError(f"the layer {parts.shown(waiting[0].layer)} needs tensors that no layer makes")
        pending = waiting
    model = tf.keras.Model(_resolved(inputs, tensors), _resolved(outputs, tensors), name=name)
    return frozen(model, trainable)


def _has_inputs(model: tf.keras.Model) -> bool:
    """Return whether a nested model was created from symbolic tensors, as functional and most sequential models are."""
    return not isinstance(model, (HistoryScorer, InterestModel)) and bool(getattr(model, "inputs", None))


def _needed(call: Call) -> list[Tensor]:
    needed: list[Tensor] = []
    pending = [call.inputs, call.arguments]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            needed.append(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return needed


def _resolved(value: Any, tensors: Mapping[Tensor, Any]) -> Any:
    if isinstance(value, Tensor):
        if value not in tensors:
            raise RefusedError(f"there is no output {value.output} of the layer {parts.shown(value.layer)}")
        return tensors[value]
    if isinstance(value, dict):
        return {key: _resolved(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, tensors) for item in value]
    return value


def _raise_if_large(shape: tf.TensorShape, layer: str) -> None:
    if shape.rank is not None and math.prod(size or 1 for size in shape.as_list()) > parts.MAX_INTEGER:
        raise RefusedError(f"the layer {parts.shown(layer)} has an output of more than 2 ** 31 numbers")


def frozen(model: tf.keras.Model, trainable: bool) -> tf.keras.Model:
    """Return the model, frozen unless it is trainable."""
    if not trainable:  # True would unfreeze layers that are frozen individually
        model.trainable = False
    return model
