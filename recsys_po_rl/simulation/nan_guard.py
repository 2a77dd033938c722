"""NaN detection in rollouts: finds the first step at which a variable has a NaN.

`FieldGuard` checks every computed field and every parameter of a random draw; graph and eager mode use it. Under XLA
these checks would be a third of the compiled program. `WitnessGuard` therefore checks one small tensor per draw and the
recorded fields: it detects a NaN without locating it, and `SeededRuntime` then repeats the run in graph mode.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from recsys_po_rl.simulation.step import Fields, StepValue

NO_NAN = -1
NAN_STEP_UNKNOWN = np.iinfo(np.int32).max


class NanGuard(Protocol):
    """Loop state of a rollout that tracks NaNs."""

    def start(self, first_steps: tf.Tensor) -> Any:
        """Return the state after the initial value; `first_steps` is `nan_steps` of that value."""

    def update(self, state: Any, value: StepValue, computed: Fields, step: tf.Tensor) -> Any:
        """Return the state after a step; only the fields `computed` are checked."""


class FieldGuard(NamedTuple):
    """Guard that locates the variable and the step of a NaN; state: int32 [variables], see `nan_steps`."""

    names: Sequence[str]  # names of the network's variables

    def start(self, first_steps: tf.Tensor) -> tf.Tensor:
        """Return the state after the initial value."""
        return first_steps

    def update(self, state: tf.Tensor, value: StepValue, computed: Fields, step: tf.Tensor) -> tf.Tensor:
        """Return the state after a step."""
        return tf.where(state >= 0, state, nan_steps(self.names, value, computed, step))


class WitnessGuard(NamedTuple):
    """Guard that detects a NaN; state: by variable, a bool tensor for each witness of the variable's draws."""

    witnesses: Mapping[str, Sequence[tf.TensorSpec]]  # by variable, see `seeding.Draws.nan_witnesses`

    def start(self, first_steps: tf.Tensor) -> dict[str, list[tf.Tensor]]:
        """Return the state after the initial value."""
        del first_steps
        return {
            name: [tf.zeros(spec.shape if spec.shape.is_fully_defined() else [], tf.bool) for spec in specs]
            for name, specs in self.witnesses.items()
        }

    def update(
        self, state: dict[str, list[tf.Tensor]], value: StepValue, computed: Fields, step: tf.Tensor
    ) -> dict[str, list[tf.Tensor]]:
        """Return the state after a step."""
        del computed, step

        def either(before: tf.Tensor, witness: tf.Tensor) -> tf.Tensor:
            now = tf.math.is_nan(witness)
            return before | (now if before.shape.rank else tf.reduce_any(now))

        return {
            name: [
                either(before, witness) for before, witness in zip(flags, value.draws[name].nan_witnesses, strict=True)
            ]
            for name, flags in state.items()
        }


def nan_steps(names: Sequence[str], value: StepValue, computed: Fields, step: tf.Tensor) -> tf.Tensor:
    """Return int32 [variables]: `step` for each variable that has a NaN, `NO_NAN` for the others.

    Args:
      names: names of the network's variables.
      value: all variables at the step.
      computed: the fields that are checked.
      step: int32 scalar.
    """
    flags = [
        any_nan([*computed[name].values(), *value.draws[name].random_parameters]) if computed.get(name) else False
        for name in names
    ]
    return tf.where(tf.stack(flags), step, tf.fill([len(flags)], NO_NAN))


def any_nan(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Return a bool scalar: whether a floating-point tensor has a NaN."""
    return _any([tf.math.is_nan(tensor) for tensor in tensors if tensor.dtype.is_floating])


def nan_anywhere(state: Any, tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Return a bool scalar: whether a `WitnessGuard` has detected a NaN or a tensor has one."""
    flags = [tf.math.is_nan(tensor) for tensor in tensors if tensor.dtype.is_floating]
    return _any([*tf.nest.flatten(state), *flags])


def _any(flags: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_any(tf.stack([tf.reduce_any(flag) for flag in flags])) if flags else tf.constant(False)
