"""Calls of scorers, also user-defined ones: with two tensors, or with a pair if the model takes one argument."""

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.common.protocols import Scorer

_OF_KERAS = ("training", "mask")  # arguments of `call` that are not inputs


def scorer(owner: str, model: Any) -> Scorer:
    """Return the result of a scorer constructor after validating that it is callable.

    Args:
      owner: name of the recommender, for the message.
      model: a callable.

    Raises:
      InvalidTypeError: if the model is not callable, or is a Keras 3 model.
    """
    if not callable(model):
        raise validation.InvalidTypeError(f"{owner}: model_ctor must return a scorer, got {type(model).__name__}")
    packages = {base.__module__.split(".")[0] for base in type(model).__mro__}
    if "keras" in packages and not isinstance(model, tf.keras.layers.Layer):
        raise validation.InvalidTypeError(
            f"{owner}: model_ctor returned a {type(model).__name__} made with Keras 3: use tf.keras of this process"
        )
    return model


def scores(model: Callable[..., tf.Tensor], first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the scores of all documents.

    Args:
      model: any callable of two tensors, or a Keras layer or model whose `call` takes one argument, such as a
        functional model with two inputs or a subclass with `call(self, inputs)`, which receives a list of both.
      first: the first input, such as the ids of the histories.
      second: the second input, such as the times of the histories.
    """
    return model([first, second]) if _takes_one_argument(model) else model(first, second)


def _takes_one_argument(model: Callable[..., tf.Tensor]) -> bool:
    if not isinstance(model, tf.keras.layers.Layer):
        return False
    kinds = inspect.Parameter
    parameters = inspect.signature(model.call).parameters.values()
    if any(parameter.kind is kinds.VAR_POSITIONAL for parameter in parameters):
        return False
    positional = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    return sum(item.kind in positional and item.name not in _OF_KERAS for item in parameters) == 1
