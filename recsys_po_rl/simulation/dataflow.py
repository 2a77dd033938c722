"""Data flow of a network: which fields each field is computed from, found by tracing one step.

A variable's declared dependencies name whole variables. Tracing its value function shows which of their fields it
reads, which of its own fields are random, and whether it depends on weights.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from recsys_po_rl.simulation import hoisting, seeding
from recsys_po_rl.simulation.step import Fields, SeededNetwork, StepContext, values_of


class Read(NamedTuple):
    """One field of one variable, as another is computed from it."""

    variable: str
    field: str
    previous: bool  # whether the value of the step before is read


class VariableFlow(NamedTuple):
    """How the step's value of one network variable is computed."""

    field_reads: Mapping[str, frozenset[Read]]  # for each of its fields, what that field is computed from
    draw_reads: Mapping[str, Sequence[str]]  # for each variable, its fields that the parameters of the draws read
    reads_weights: bool  # whether its fields depend on a tf.Variable
    random_fields: Sequence[Optional[str]]  # its draws in order: the field that holds each, or None
    field_specs: Mapping[str, tf.TensorSpec]  # shape and dtype of its own fields
    invariants: hoisting.Computations  # weight-only computations, see `hoisting`
    nan_witnesses: Sequence[tf.TensorSpec]  # see `seeding.Draws.nan_witnesses`

    @property
    def reads(self) -> dict[str, list[str]]:
        """For each variable it depends on, the fields that reach its own fields."""
        found: dict[str, set[str]] = {}
        for read in frozenset[Read]().union(*self.field_reads.values()):
            found.setdefault(read.variable, set()).add(read.field)
        return {name: sorted(names) for name, names in found.items()}


Field = tuple[str, str]  # of the variable called first, the field called second


class Needed(NamedTuple):
    """What a loop has to compute so that certain fields come out right."""

    computed: frozenset[Field]  # at each step
    carried: frozenset[Field]  # from step to step


def needed(flows: Mapping[str, VariableFlow], wanted: Iterable[Field]) -> Needed:
    """The fields from which the wanted ones are computed, over any number of steps.

    Args:
      flows: of all variables, by name.
      wanted: the fields that are read after a step.
    """
    computed: set[Field] = set()
    carried: set[Field] = set()
    waiting = list(wanted)
    while waiting:
        name, field = waiting.pop()
        if (name, field) in computed:
            continue
        computed.add((name, field))
        for read in flows[name].field_reads[field]:
            waiting.append((read.variable, read.field))
            if read.previous:
                carried.add((read.variable, read.field))
    return Needed(frozenset(computed), frozenset(carried))


def reads_of(outputs: Iterable[tf.Tensor], sources: Mapping[Any, Read]) -> frozenset[Read]:
    """Which of the sources (by tensor reference) the outputs are computed from."""
    return frozenset(sources[tensor.ref()] for tensor in seeding.reached(outputs, sources) if tensor.ref() in sources)


def trace(network: SeededNetwork, first: Callable[[], Fields]) -> dict[str, VariableFlow]:
    """Trace one step of every variable.

    Args:
      network: the network.
      first: returns the fields of an initial value.

    Returns:
      Data flow by variable name.

    Raises:
      RuntimeError: if an entity draws through a stateful random op.
    """
    flows: dict[str, VariableFlow] = {}

    def one_step() -> None:
        context = StepContext(seeding.make_keys(0), tf.constant(1))
        initial = values_of(first())
        for var in network.variables:
            # Identities of the initial values are where the search backwards ends.
            inputs = [initial[dependency.variable_name].map(tf.identity) for dependency in var.value.dependencies]
            sources = {
                tensor.ref(): Read(dependency.variable_name, field, not dependency.on_current_value)
                for dependency, value in zip(var.value.dependencies, inputs)
                for field, tensor in value.as_dict.items()
            }
            with hoisting.scope() as scope:
                result, drawn = network.evaluate(var.name, var.value, context, inputs)
            draw_reads: dict[str, set[str]] = {}
            for read in reads_of(drawn.parameters, sources):
                draw_reads.setdefault(read.variable, set()).add(read.field)
            outputs = {field: tf.convert_to_tensor(value) for field, value in result.as_dict.items()}
            flows[var.name] = VariableFlow(
                field_reads={field: reads_of([tensor], sources) for field, tensor in outputs.items()},
                draw_reads={name: sorted(fields) for name, fields in draw_reads.items()},
                reads_weights=seeding.reads_variables(outputs.values(), stop=sources),
                random_fields=drawn.field_names(result),
                field_specs={
                    field: tf.TensorSpec(tensor.shape, tensor.dtype)
                    for field, tensor in initial[var.name].as_dict.items()
                },
                invariants=scope.computations,
                nan_witnesses=[tf.TensorSpec(witness.shape, witness.dtype) for witness in drawn.nan_witnesses],
            )

    # TensorFlow counts traces by code object and warns of many; a partial has none.
    tf.function(functools.partial(one_step), autograph=False).get_concrete_function()
    return flows
