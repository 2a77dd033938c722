"""Checks of the shapes [T steps, U users] of the tensors of a training step."""

import tensorflow as tf


def require_rank_2(name: str, tensor: tf.Tensor) -> None:
    """Raise unless a tensor has the axes [T steps, U users].

    Raises:
      ValueError: if its rank is not 2.
    """
    rank = tf.convert_to_tensor(tensor).shape.rank
    if rank != 2:
        raise ValueError(f"{name} must have the axes [T steps, U users], got rank {rank}")


def require_equal_shapes(**tensors: tf.Tensor) -> None:
    """Raise unless two named tensors have rank 2 and equal static shapes.

    Raises:
      ValueError: if they do not.
    """
    (first_name, first), (second_name, second) = tensors.items()
    require_rank_2(first_name, first)
    require_rank_2(second_name, second)
    static_shapes = tf.convert_to_tensor(first).shape, tf.convert_to_tensor(second).shape
    if not static_shapes[0].is_compatible_with(static_shapes[1]):
        raise ValueError(
            f"{first_name} and {second_name} must have the same shape, got {static_shapes[0]} and {static_shapes[1]}"
        )
