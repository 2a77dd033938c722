"""Rollout loop: steps a seeded network and stacks the recorded fields."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recsys_po_rl.simulation import dataflow, hoisting
from recsys_po_rl.simulation.nan_guard import FieldGuard, NanGuard, nan_steps
from recsys_po_rl.simulation.seeding import Keys
from recsys_po_rl.simulation.step import Fields, SeededNetwork, StepContext

Record = Mapping[str, Sequence[str]]  # names of fields by variable


class Run(NamedTuple):
    """Result of a rollout; all tensors, so that compiled functions can return it."""

    last: Fields  # all fields of the last value; empty unless requested
    stacked: Fields  # recorded fields, each [T, ...]
    nan_steps: tf.Tensor  # int32 [variables], first step with a NaN; see `nan_guard`


def compiled_loop(
    network: SeededNetwork,
    flows: Mapping[str, dataflow.VariableFlow],
    length: int,
    record: Record,
    needed: dataflow.Needed,
    guard: NanGuard,
    keys: Keys,
    first: Fields,
    guard_state: Any,
) -> tuple[Fields, Fields, Any]:
    """Roll out `length` values in one `tf.while_loop`.

    Args:
      network: the network.
      flows: data flow of all variables, for shapes of fields that are not needed.
      length: T, number of values to stack, the first of which is `first`.
      record: fields to stack.
      needed: fields to carry from step to step, and fields that are checked for NaN.
      guard: tracks NaNs.
      keys: seeds.
      first: the initial value, with at least the carried and recorded fields.
      guard_state: the guard's state after the initial value.

    Returns:
      The carried fields of the last value, the stacked fields and the guard's last state.
    """
    arrays = {
        name: {
            field: tf.TensorArray(first[name][field].dtype, size=length, element_shape=first[name][field].shape).write(
                0, first[name][field]
            )
            for field in fields
        }
        for name, fields in record.items()
    }

    def body(step: tf.Tensor, previous: Fields, guard_state: Any, arrays: Any) -> Any:
        value = network.next(StepContext(keys, step), completed(previous, flows))
        arrays = {
            name: {field: array.write(step, value.fields[name][field]) for field, array in of_variable.items()}
            for name, of_variable in arrays.items()
        }
        guard_state = guard.update(guard_state, value, only(value.fields, needed.computed), step)
        return step + 1, only(value.fields, needed.carried), guard_state, arrays

    _, last, guard_state, arrays = tf.while_loop(
        lambda step, *_: step < length,
        body,
        (tf.constant(1), only(first, needed.carried), guard_state, arrays),
        maximum_iterations=max(length - 1, 0),
        parallel_iterations=1,
    )
    stacked = {
        name: {field: array.stack() for field, array in of_variable.items()} for name, of_variable in arrays.items()
    }
    return last, stacked, guard_state


def python_loop(network: SeededNetwork, length: int, record: Record, keys: Keys, start: Any = None) -> Run:
    """Roll out `length` values op by op, for debugging; arguments as of `compiled_loop`."""
    guard = FieldGuard(network.names)
    with hoisting.scope():
        fields, guard_state = first_value(network, keys, start)
        rows = [fields]
        for step in range(1, length):
            value = network.next(StepContext(keys, tf.constant(step)), fields)
            fields = value.fields
            guard_state = guard.update(guard_state, value, fields, tf.constant(step))
            rows.append(fields)
    stacked = {
        name: {field: tf.stack([row[name][field] for row in rows]) for field in names} for name, names in record.items()
    }
    return Run(fields, stacked, guard_state)


def first_value(network: SeededNetwork, keys: Keys, start: Any = None) -> tuple[Fields, tf.Tensor]:
    """Return the first value, drawn unless `start` is given, and its `nan_guard.nan_steps`."""
    if start is not None:
        return start, tf.fill([len(network.names)], -1)
    value = network.initial(StepContext(keys, tf.constant(0)))
    return value.fields, nan_steps(network.names, value, value.fields, tf.constant(0))


def only(fields: Fields, wanted: Iterable[dataflow.Field]) -> Fields:
    """Return the wanted fields, without variables that have no wanted field."""
    names = frozenset(wanted)
    kept = {
        name: {field: tensor for field, tensor in of_variable.items() if (name, field) in names}
        for name, of_variable in fields.items()
    }
    return {name: of_variable for name, of_variable in kept.items() if of_variable}


def completed(carried: Fields, flows: Mapping[str, dataflow.VariableFlow]) -> Fields:
    """Return all fields; fields that no needed field reads are zeros."""
    return {
        name: {
            field: carried.get(name, {}).get(field, tf.zeros(spec.shape, spec.dtype))
            for field, spec in flow.field_specs.items()
        }
        for name, flow in flows.items()
    }
