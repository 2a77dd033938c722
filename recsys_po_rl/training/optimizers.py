"""Validation of Keras optimizers: Keras itself accepts a learning rate of -1 silently."""

import numbers
from typing import Any

import numpy as np
import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation

# Decay rates of running averages: below 1.
_SHARES = ("beta_1", "beta_2", "rho", "momentum", "ema_momentum")
_ABOVE_0 = ("learning_rate", "clipnorm", "clipvalue", "global_clipnorm")
_AT_LEAST_0 = ("epsilon", "weight_decay", "initial_accumulator_value")


def construct(name: str, ctor: Any) -> tf.keras.optimizers.Optimizer:
    """Construct an optimizer and validate its hyperparameters.

    Args:
      name: name of the argument in messages.
      ctor: constructor, called without arguments; gin may bind its arguments.

    Returns:
      The optimizer.

    Raises:
      InvalidInputError: if `ctor` cannot be called, does not return a Keras optimizer, or a hyperparameter is out of
        bounds.
    """
    validation.constructor(name, ctor)
    called = getattr(ctor, "__name__", "optimizer")
    try:
        optimizer = ctor()
    except validation.InvalidInputError:
        raise
    except (TypeError, ValueError) as error:
        raise validation.InvalidInputError(f"{name}: Keras refuses {called}: {gin_config.first_line(error)}") from error
    if not isinstance(optimizer, tf.keras.optimizers.Optimizer):
        raise validation.InvalidTypeError(
            f"{name} must make a Keras optimizer (in gin: @tf.keras.optimizers.Adam), "
            f"got {type(optimizer).__module__}.{type(optimizer).__qualname__}"
        )
    try:
        config = optimizer.get_config()
    except (TypeError, ValueError) as error:  # a learning rate that is not a number fails only here
        raise validation.InvalidInputError(f"{name}: Keras refuses {called}: {gin_config.first_line(error)}") from error
    for argument, value in config.items():
        _check(f"{called}: {argument}", argument, value)
    return optimizer


def _check(name: str, argument: str, value: Any) -> None:
    if argument == "learning_rate" and isinstance(value, dict):  # a Keras schedule, as its configuration
        for of_schedule, number in value["config"].items():
            if isinstance(number, numbers.Real) and not isinstance(number, bool):
                validation.number(f"{value['class_name']}: {of_schedule}", number, 0.0)
    elif argument in _ABOVE_0 and value is not None:
        validation.number(name, _plain(value), 0.0, exclusive_minimum=True)
    elif argument in _SHARES:
        if validation.number(name, _plain(value), 0.0, 1.0) == 1.0:
            raise validation.InvalidInputError(f"{name} must be below 1, got {value}")
    elif argument in _AT_LEAST_0 and value is not None:
        validation.number(name, _plain(value), 0.0)


def _plain(value: Any) -> Any:
    """Return the number in a variable or an array of rank 0, in which Keras stores some hyperparameters."""
    value = value.numpy() if hasattr(value, "numpy") else value
    return value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value
