"""Rebuilding of saved scorers from an allow-list: nothing that a file names is imported or resolved.

A configuration is validated as a whole and converted to a `keras_parts.Recipe`; only then are constructors called.
Allowed constructors are this project's scorers, the Keras layers in `keras_layers.LAYERS`, and classes given by the
user.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from recsys_po_rl.scoring import calling, functional_graph, keras_layers
from recsys_po_rl.scoring import keras_parts as parts
from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel
from recsys_po_rl.scoring.base import HistoryScorer
from recsys_po_rl.scoring.collab_filtering import CollabFilteringModel
from recsys_po_rl.scoring.dot_product import DocumentBias
from recsys_po_rl.scoring.gru import GRUModel
from recsys_po_rl.scoring.interest import InterestModel
from recsys_po_rl.scoring.keras_parts import Given, Reader, Recipe, RefusedError
from recsys_po_rl.scoring.keras_surface import Embedding
from recsys_po_rl.scoring.self_attention import SelfAttentionModel

MAX_DEPTH = 30  # maximum nesting of models and values
SPARE_NUMBERS = 10_000  # allowance for Keras variables that files do not contain, such as counters

_SIZES: dict[str, Reader] = {
    "num_users": parts.integer,
    "num_docs": parts.integer,
    "doc_embed_dim": parts.integer,
    "history_length": parts.integer,
}
_NAMED: dict[str, Reader] = {"name": parts.name, "trainable": parts.boolean, "dtype": parts.dtype}
_SCORER = {**_SIZES, **_NAMED, "proposal_stddev": parts.number}
_MEMORY = {**_SCORER, "memory": parts.names}
_INTEREST: dict[str, Reader] = {
    **_NAMED,
    "num_topics": parts.integer,
    "num_docs": parts.integer,
    "doc_embed_dim": parts.integer,
    "hidden_units": parts.integer,
    "proposal_stddev": parts.number,
}
_ATTENTION: dict[str, Reader] = {"num_blocks": parts.few, "num_heads": parts.integer, "dropout": parts.number}
OWN: dict[str, tuple[Any, dict[str, Reader]]] = {
    "recsys_po_rl>CollabFilteringModel": (CollabFilteringModel, {**_SCORER, "mask_null_documents": parts.boolean}),
    "recsys_po_rl>AveragedHistoryModel": (AveragedHistoryModel, {**_MEMORY, "decays": parts.numbers}),
    "recsys_po_rl>GRUModel": (GRUModel, {**_MEMORY, "units": parts.integer}),
    "recsys_po_rl>SelfAttentionModel": (SelfAttentionModel, {**_SCORER, **_ATTENTION}),
    "recsys_po_rl>InterestModel": (InterestModel, _INTEREST),
    "recsys_po_rl>DocumentBias": (DocumentBias, {**keras_layers.COMMON, "num_docs": parts.integer}),
    "recsys_po_rl>Embedding": (Embedding, {**keras_layers.COMMON, **keras_layers.EMBEDDING}),
}
_FUNCTIONAL_KEYS = {"layers", "input_layers", "output_layers"}
_KERAS_MODULES = ("keras", "keras.layers", "keras.models")
_FUNCTIONAL_MODULES = (*_KERAS_MODULES, "keras.src.engine.functional", "tf_keras.src.engine.functional")


def recipe_of(config: Any, given: Given) -> Recipe:
    """Validate a saved architecture without constructing anything.

    Args:
      config: parsed JSON, as Keras 2 writes it to `.keras` files.
      given: the user's own classes and activations, by the names under which they are registered with Keras.

    Returns:
      The recipe of the model.

    Raises:
      keras_parts.UnknownClassError: if a class is neither on the allow-list nor given.
      keras_parts.RefusedError: if the configuration has another form, or contains a value that is not allowed.
    """
    return _object(config, "config", given)


def build(recipe: Recipe, num_weights: int) -> tf.keras.Model:
    """Construct a model and its weights.

    Args:
      recipe: result of `recipe_of`.
      num_weights: number of weights in the file; a larger model raises before memory is allocated.

    Returns:
      The model, with initial weights.

    Raises:
      keras_parts.RefusedError: if the model is larger, or the architecture is a layer, not a model.
      Exception: any exception that constructors raise for incompatible arguments.
    """
    left = num_weights + SPARE_NUMBERS

    def bounded(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        nonlocal left
        left -= _size_of(kwargs)
        if left < 0:
            raise RefusedError(f"its architecture has more weights than the {num_weights} numbers that it holds")
        return next_creator(**kwargs)

    with tf.variable_creator_scope(bounded):
        model = parts.make(recipe)
    if not isinstance(model, tf.keras.Model):
        raise RefusedError(f"it is a {type(model).__name__}, not a model")
    return model


def _size_of(kwargs: Mapping[str, Any]) -> int:
    """Return the number of elements of a variable that is about to be created."""
    shape, value = kwargs.get("shape"), kwargs.get("initial_value")
    if shape is None:
        shape = getattr(value, "shape", ())
    shape = tf.TensorShape(shape)
    return math.prod(shape.as_list()) if shape.is_fully_defined() else 1


# Objects: classes with their configuration.


def _object(value: Any, where: str, given: Given) -> Recipe:
    """Return the recipe of a layer or model."""
    if where.count(".") > 2 * MAX_DEPTH:
        raise RefusedError(f"its architecture is nested more than {MAX_DEPTH} deep")
    if not isinstance(value, dict):
        parts.refuse(where, "a layer or a model", value)
    class_name, registered, module = (value.get(key) for key in ("class_name", "registered_name", "module"))
    config = value.get("config")
    if not isinstance(class_name, str) or not isinstance(registered, (str, type(None))):
        parts.refuse(where, "a layer or a model", class_name)
    if registered in OWN:
        constructor, readers = OWN[registered]
        return Recipe(_built, {"constructor": constructor, "arguments": _arguments(config, readers, where, given)})
    if registered in given:
        constructor = given[registered]
        shape = _build_shape(value.get("build_config"), f"{where}.build_config", given)
        return Recipe(_users_own, {"constructor": constructor, "config": _plain(config, where, given), "shape": shape})
    if class_name == "Functional" and registered in (None, "Functional") and module in _FUNCTIONAL_MODULES:
        return _functional_recipe(config, where, given)
    of_keras = isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras")
    if not of_keras or registered not in (None, class_name):
        raise parts.UnknownClassError(registered or class_name, class_name)
    if class_name == "Sequential" and module in _KERAS_MODULES:
        return _sequential_recipe(config, where, given)
    table = {**keras_layers.LAYERS, **_WRAPPERS}
    if class_name not in table or module not in _KERAS_MODULES:
        raise RefusedError(
            f"it names the Keras class {parts.shown(class_name)}, which is not among those that are loaded "
            "(docs/security.md lists them): write a class of your own in its place"
        )
    constructor, readers = table[class_name]
    return Recipe(constructor, _arguments(config, {**keras_layers.COMMON, **readers}, where, given))


def _arguments(config: Any, readers: Mapping[str, Reader], where: str, given: Given) -> dict[str, Any]:
    return parts.arguments(config, readers, where, given)


def _attention(query_shape: Any = None, key_shape: Any = None, value_shape: Any = None, **arguments: Any) -> Any:
    """Create `MultiHeadAttention`; shapes are accepted but not needed, because its call builds it."""
    del query_shape, key_shape, value_shape
    return tf.keras.layers.MultiHeadAttention(**arguments)


_ATTENTION_SHAPES: dict[str, Reader] = {name: parts.shape for name in ("query_shape", "key_shape", "value_shape")}
_WRAPPERS: dict[str, tuple[Any, dict[str, Reader]]] = {
    "Bidirectional": (
        tf.keras.layers.Bidirectional,
        {
            "layer": _object,
            "backward_layer": _object,
            "merge_mode": parts.choice("sum", "mul", "concat", "ave", None),
        },
    ),
    "TimeDistributed": (tf.keras.layers.TimeDistributed, {"layer": _object}),
    "MultiHeadAttention": (_attention, {**keras_layers.LAYERS["MultiHeadAttention"][1], **_ATTENTION_SHAPES}),
}


def _built(constructor: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Return an object of this project; a scorer with its weights."""
    model = constructor(**arguments)
    if isinstance(model, HistoryScorer):
        model.build((None, model.history_length))
    return model


# Classes given by the user.


def _plain(value: Any, where: str, given: Given) -> Any:
    """Return the configuration of a user's class: JSON values with rebuilt layers, initialisers and the like."""
    if where.count(".") > 2 * MAX_DEPTH:
        raise RefusedError(f"its architecture is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_plain(item, f"{where}.{index}", given) for index, item in enumerate(parts.bounded(value, where))]
    if isinstance(value, dict):
        if "class_name" in value or "module" in value:
            return _nested(value, where, given)
        if set(value) >= _FUNCTIONAL_KEYS:
            raise RefusedError(f"{where} is a subclass of a functional model, which is not loaded")
        return {key: _plain(item, f"{where}.{key}", given) for key, item in value.items()}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return parts.number(value, where, given)
    return value


def _nested(value: dict[str, Any], where: str, given: Given) -> Any:
    readers: dict[Any, Reader] = {
        "keras.initializers": parts.initializer,
        "keras.regularizers": parts.regularizer,
        "keras.constraints": parts.constraint,
    }
    by_class: dict[Any, Reader] = {"function": parts.activation, "Policy": parts.dtype, "__numpy__": parts.number}
    module, class_name = value.get("module"), value.get("class_name")
    if isinstance(module, str) and module in readers:
        return readers[module](value, where, given)
    if isinstance(class_name, str) and class_name in by_class:
        return by_class[class_name](value, where, given)
    return _object(value, where, given)


def _build_shape(value: Any, where: str, given: Given) -> Any:
    """Return the shape or shapes of the inputs of the first call; None if the file does not contain them."""
    shape = value.get("input_shape") if isinstance(value, dict) else None
    if isinstance(shape, list) and any(isinstance(item, list) for item in shape):
        return [parts.shape(item, where, given) for item in parts.bounded(shape, where)]
    return parts.shape(shape, where, given)


def _users_own(constructor: Any, config: Any, shape: Any) -> Any:
    """Return an object of a user's class; its `build`, or else a call with empty histories, creates the weights.

    Raises:
      RefusedError: if the class has no `from_config`.
    """
    if not hasattr(constructor, "from_config"):
        raise RefusedError(f"{getattr(constructor, '__name__', constructor)} of custom_objects has no from_config")
    model = constructor.from_config(config)
    if not isinstance(model, tf.keras.Model) or model.built:
        return model
    first = shape[0] if isinstance(shape, list) and shape else shape
    if isinstance(model, HistoryScorer):
        model.build((None, model.history_length))
    elif shape is not None and type(model).build is not tf.keras.Model.build:
        model.build(shape)
    elif first:
        history = (1, first[-1] or 1)
        calling.scores(model, tf.zeros(history, tf.int32), tf.zeros(history))
    return model


# Models composed of layers.


def _layers(value: Any, where: str, given: Given) -> list[Recipe]:
    if not isinstance(value, list) or not value:
        parts.refuse(where, "a list of layers", value)
    return [_object(layer, f"{where}.{index}", given) for index, layer in enumerate(parts.bounded(value, where))]


def _sequential_recipe(config: Any, where: str, given: Given) -> Recipe:
    readers: dict[str, Reader] = {**_NAMED, "layers": _layers, "build_input_shape": parts.shape}
    return Recipe(_sequential, _arguments(config, readers, where, given))


def _sequential(
    layers: list[Any], name: Any = None, trainable: bool = True, dtype: Any = None, build_input_shape: Any = None
) -> tf.keras.Model:
    del dtype  # its layers have their own dtypes
    model = tf.keras.Sequential(layers, name=name)
    if not model.built and build_input_shape is not None:
        model.build(build_input_shape)
    return functional_graph.frozen(model, trainable)


def _functional_recipe(config: Any, where: str, given: Given) -> Recipe:
    """Return the recipe of a functional model: layers in the order of the file, and their calls."""
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
        parts.refuse(where, "a functional model", config)
    settings = {key: value for key, value in config.items() if key not in _FUNCTIONAL_KEYS}
    arguments = _arguments(settings, _NAMED, where, given)
    layers = dict(
        zip(functional_graph.layer_names(config["layers"], where), _layers(config["layers"], f"{where}.layers", given))
    )
    calls = [
        call
        for layer in config["layers"]
        for call in functional_graph.calls_of(layer["name"], layer.get("inbound_nodes"), where)
    ]
    if len(calls) > functional_graph.MAX_CALLS:
        raise RefusedError(f"{where} calls layers more than {functional_graph.MAX_CALLS} times")
    return Recipe(
        functional_graph.functional,
        {
            **arguments,
            "layers": layers,
            "calls": tuple(calls),
            "inputs": functional_graph.tensors_of(config.get("input_layers"), f"{where}.input_layers"),
            "outputs": functional_graph.tensors_of(config.get("output_layers"), f"{where}.output_layers"),
        },
    )
