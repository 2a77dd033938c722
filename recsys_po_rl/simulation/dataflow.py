"""Data flow of a network: the fields from which each field is computed, determined by tracing one step.

The declared dependencies of a variable name whole variables. Tracing the variable's value function shows which fields
of the dependencies it reads, which fields of the variable are random, and whether it depends on weights.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from recsys_po_rl.simulation import hoisting, seeding
from recsys_po_rl.simulation.step import Fields, SeededNetwork, StepContext, values_of


class Read(NamedTuple):
    """Field of a variable that is an input of another field."""

    variable: str
    field: str
    previous: bool  # True if the value of the previous step is read


class VariableFlow(NamedTuple):
    """Data flow of the step's value of one network variable."""

    field_reads: Mapping[str, frozenset[Read]]  # inputs of each field of the variable
    draw_reads: Mapping[str, Sequence[str]]  # by dependency, the fields that the parameters of the draws read
    reads_weights: bool  # True if the variable's fields depend on a tf.Variable
    random_fields: Sequence[Optional[str]]  # for each draw in order, the field that holds it, or None
    field_specs: Mapping[str, tf.TensorSpec]  # shape and dtype of the variable's fields
    invariants: hoisting.Computations  # weight-only computations, see `hoisting`
    nan_witnesses: Sequence[tf.TensorSpec]  # see `seeding.Draws.nan_witnesses`

    @property
    def reads(self) -> dict[str, list[str]]:
        """Fields of each dependency from which the variable's fields are computed."""
        by_variable: dict[str, set[str]] = {}
        for read in frozenset[Read]().union(*self.field_reads.values()):
            by_variable.setdefault(read.variable, set()).add(read.field)
        return {name: sorted(names) for name, names in by_variable.items()}


Field = tuple[str, str]  # name of the variable, name of the field


class Needed(NamedTuple):
    """Fields that a loop must compute and carry to obtain certain fields."""

    computed: frozenset[Field]  # at each step
    carried: frozenset[Field]  # from step to step


def needed(flows: Mapping[str, VariableFlow], wanted: Iterable[Field]) -> Needed:
    """Return the fields from which the wanted fields are computed, over any number of steps.

    Args:
      flows: data flow of all variables, by name.
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
    """Return the sources (by tensor reference) from which the outputs are computed."""
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
        context = StepContext(seeding.make_keys(0), tf.constant(1), seeding.placeholder_draws)
        initial = values_of(first())
        for var in network.variables:
            # The backward search ends at these identities of the initial values.
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

    # TensorFlow counts traces by code object and warns of many; a partial has no code object.
    tf.function(functools.partial(one_step), autograph=False).get_concrete_function()
    return flows
