"""Entity parameters: numbers are validated once; tensors and variables are kept and read at each use.

An entity with a tensor or variable as a parameter is differentiable with respect to it, and follows assignments to the
variable.
"""

import math
from collections.abc import Sequence
from typing import Any, Union

import edward2 as ed
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl.common import validation

# A number, or a scalar tensor, variable, `tfp.util.DeferredTensor` or Edward2 random variable.
Scalar = Union[float, tf.Tensor, tf.Variable]
# A `Scalar`, or one `Scalar` for each of U users.
PerUser = Union[Scalar, Sequence[Any], np.ndarray]


def is_tensor_like(given: Any) -> bool:
    """Return whether `given` is a tensor, or converts to a tensor (a variable or random variable)."""
    return bool(tf.is_tensor(given)) or isinstance(given, (tf.Variable, tfp.util.DeferredTensor, ed.RandomVariable))


def is_read_late(given: Any) -> bool:
    """Return whether the value of `given` may change between uses: a variable, or a value computed from a variable."""
    return isinstance(given, (tf.Variable, tfp.util.DeferredTensor))


def scalar(
    name: str, given: Any, minimum: float = -math.inf, maximum: float = math.inf, exclusive_minimum: bool = False
) -> Any:
    """Return a number as a validated float, and a scalar tensor or variable unchanged.

    Args:
      name: name of the argument, for the message.
      given: a real number, or a scalar tensor or variable, whose value is not validated.
      minimum: lower bound of a number.
      maximum: upper bound of a number.
      exclusive_minimum: whether the lower bound itself is invalid.

    Returns:
      A float, or the given tensor or variable, which `read` converts to a float32 tensor.

    Raises:
      InvalidTypeError: if `given` is neither a real number nor a tensor of real numbers.
      InvalidInputError: if a number is out of bounds or not finite, or a tensor is not a scalar.
    """
    if not is_tensor_like(given):
        return validation.number(name, given, minimum, maximum, exclusive_minimum)
    given = _kept(given)
    _check_type(name, "a number", given)
    if not given.shape.is_compatible_with(()):
        raise validation.InvalidInputError(f"{name} must be a number, got a tensor of shape {given.shape}")
    return given


def read(parameter: Any) -> Any:
    """Return a float unchanged, anything else as a float32 tensor of the current value."""
    return parameter if isinstance(parameter, float) else tf.cast(tf.convert_to_tensor(parameter), tf.float32)


class PerUserParameter(tf.Module):
    """Per-user parameter, given as one number for all users or as U numbers.

    Constant tensors are created here, outside any graph, so that graphs capture them as inputs: graph constants would
    be folded into neighbouring products, and the interest would differ from recsim_ng's in the last bit. Tensors and
    variables are read at each use.
    """

    def __init__(
        self, name: str, given: PerUser, num_users: int, minimum: float = -math.inf, allow_minus_inf: bool = False
    ) -> None:
        """Validate the values of numbers, and the dtype and shape of tensors and variables.

        Args:
          name: name of the argument, for messages.
          given: a number or U numbers, a tensor or variable of shape [] or [U], or a list that contains tensors.
          num_users: U.
          minimum: lower bound of numbers.
          allow_minus_inf: whether a number may be -inf.

        Raises:
          InvalidTypeError: if `given` contains anything but numbers.
          InvalidInputError: if `given` has another shape, or a number is out of bounds.
        """
        super().__init__(name="parameter")
        self._num_users = num_users
        self._given: Any = None
        self._each: Any = None
        self._common: Any = None
        if is_tensor_like(given):
            self._given = _kept(given)
            _check_type(name, f"a number or {num_users} numbers", self._given)
            self._check_shape(name, self._given.shape)
        elif isinstance(given, (list, tuple)) and any(is_tensor_like(element) for element in given):
            self._check_shape(name, tf.TensorShape([len(given)]))
            self._given = [scalar(f"{name} of each user", element, minimum) for element in given]
        else:
            numbers = _checked_numbers(name, given, num_users, minimum, allow_minus_inf)
            everyone = np.broadcast_to(numbers, (num_users,))
            self._each = tf.constant(everyone)
            self._common = tf.constant(everyone[0]) if (everyone == everyone[0]).all() else None

    def _check_shape(self, name: str, shape: tf.TensorShape) -> None:
        if not (shape.is_compatible_with(()) or shape.is_compatible_with((self._num_users,))):
            raise validation.InvalidInputError(
                f"{name} must be a number or {self._num_users} numbers, got a tensor of shape {shape}"
            )

    @property
    def is_fixed(self) -> bool:
        """Return whether the parameter was given as numbers."""
        return self._given is None

    def of_users(self) -> tf.Tensor:
        """Return the current numbers; float32 [U]."""
        return self._each if self.is_fixed else tf.broadcast_to(self._read(), (self._num_users,))

    def like(self, batch_shape: tf.TensorShape) -> tf.Tensor:
        """Return the current numbers as a tensor that broadcasts to a shape.

        Args:
          batch_shape: a shape whose first axis is the users if numbers differ between users.

        Returns:
          float32 [U, 1, ...], or a scalar if one number holds for all users.
        """
        if batch_shape == (self._num_users,):
            return self.of_users()
        if self._common is not None:
            return self._common
        if not self.is_fixed:
            present = self._read()
            if present.shape.rank == 0:
                return present
        return tf.reshape(self.of_users(), [-1] + [1] * (len(batch_shape) - 1))

    def _read(self) -> tf.Tensor:
        if isinstance(self._given, (list, tuple)):
            return tf.stack([read(element) for element in self._given])
        return read(self._given)


def _kept(given: Any) -> Any:
    """Return a random variable as a tensor, which draws its value once; return other objects unchanged."""
    return tf.convert_to_tensor(given) if isinstance(given, ed.RandomVariable) else given


def _check_type(name: str, allowed: str, given: Any) -> None:
    if isinstance(given, (tf.RaggedTensor, tf.SparseTensor, tf.IndexedSlices)):
        raise validation.InvalidTypeError(
            f"{name} must be {allowed}, dense where a tensor, got a {type(given).__name__}"
        )
    if not (given.dtype.is_floating or given.dtype.is_integer):
        raise validation.InvalidTypeError(f"{name} must be {allowed}, got a tensor of {given.dtype.name}")


def _checked_numbers(name: str, given: Any, num_users: int, minimum: float, allow_minus_inf: bool) -> np.ndarray:
    try:
        numbers = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise validation.InvalidTypeError(
            f"{name} must be a number or {num_users} numbers, got {_one_line(given)}"
        ) from None
    if numbers.shape not in ((), (num_users,)):
        raise validation.InvalidInputError(
            f"{name} must be a number or {num_users} numbers, got an array of shape {numbers.shape}"
        )
    allowed = np.isfinite(numbers) | (allow_minus_inf & np.isneginf(numbers))
    if not np.all(allowed & (numbers >= minimum)):
        bound = f" of at least {minimum:g}" if minimum > -np.inf else ""
        raise validation.InvalidInputError(
            f"{name} must be finite{' or -inf' if allow_minus_inf else ''}{bound}, got {_one_line(given)}"
        )
    return numbers


def _one_line(given: Any) -> str:
    return " ".join(repr(given).split())
