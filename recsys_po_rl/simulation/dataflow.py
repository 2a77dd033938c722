"""What the variables of a network are computed from, by data flow and not by declaration."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.hoisting import Computations
from recsys_po_rl.simulation.random_ops import NumbersNeeded


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
    invariants: Computations  # what it computes from weights alone, see `hoisting`
    numbers: Mapping[int, NumbersNeeded]  # what its draws are made of, by their place in order
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
