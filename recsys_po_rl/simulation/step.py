"""Step of a RecSim NG network, drawn from explicit seeds.

RecSim NG's `Network.step` calls value functions that draw from hidden state. `SeededNetwork` calls the same functions
in the same order inside `seeding.seeded_draws`, with the seeds of a `StepContext`.
"""

import contextlib
import graphlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Optional

import tensorflow as tf
from recsim_ng.core import network as network_lib
from recsim_ng.core import variable
from recsim_ng.core.value import Value

from recsys_po_rl.common import validation
from recsys_po_rl.simulation import random_ops, seeding
from recsys_po_rl.simulation.seeding import Keys

NetworkValue = Mapping[str, Value]
Fields = dict[str, dict[str, tf.Tensor]]  # tensors by variable name and field name


EVALUATION_PLACE = "evaluation_place"  # attribute of an exception that a value function raised


class EvaluationPlace(NamedTuple):
    """Network variable, entity and step at which a value function raised; attached to the exception."""

    variable: str
    entity: str  # name of the entity's class; "" if the function is not an entity's method
    step: Optional[int]  # None while a graph is traced

    def __str__(self) -> str:
        """Describe the place in a few words."""
        entity = f" (entity {self.entity})" if self.entity else ""
        return f"{self.variable!r}{entity}" + ("" if self.step is None else f" at step {self.step}")


class StepContext(NamedTuple):
    """Source of all random numbers of one step."""

    keys: Keys
    step: tf.Tensor  # int32 scalar; 0 for the initial step
    draws: Callable[[tf.Tensor, str], contextlib.AbstractContextManager[seeding.Draws]] = seeding.seeded_draws


class StepValue(NamedTuple):
    """Values of all network variables at one step."""

    fields: Fields
    draws: dict[str, seeding.Draws]  # random variables drawn by the value function of each network variable


class SeededNetwork:
    """RecSim NG network whose value functions draw from the keys of a `StepContext`.

    Attributes:
      variables: the network's variables, dependencies before dependants.
      names: names of the variables, in the same order.
    """

    def __init__(
        self, variables: Sequence[variable.Variable], policy_variables: Iterable[str], world_variables: Iterable[str]
    ) -> None:
        """Resolve the order of evaluation, without evaluating the variables.

        Args:
          variables: the network's variables.
          policy_variables: names of variables that draw from the policy's key.
          world_variables: names of variables that draw from the key shared by all batches of users.

        Raises:
          ValueError: if a name is used twice, a dependency is not in the network, or dependencies form a cycle.
        """
        self.variables = list(network_lib.Network(variables).variables)  # validates names and dependencies
        self.names = [var.name for var in self.variables]
        self._policy_variables = frozenset(policy_variables)
        self._world_variables = frozenset(world_variables)
        by_name = {var.name: var for var in self.variables}
        initial_dependencies = {
            var.name: [dependency.variable_name for dependency in var.initial_value.dependencies]
            for var in self.variables
        }
        order = graphlib.TopologicalSorter(initial_dependencies).static_order()
        self._initial_order = [by_name[name] for name in order]

    def initial(self, context: StepContext) -> StepValue:
        """Return the initial values of all variables."""
        return self.values(context, self.names)

    def next(self, context: StepContext, previous: Fields) -> StepValue:
        """Return the values of all variables one step after `previous`, which holds all fields."""
        return self.values(context, self.names, previous)

    def values(
        self,
        context: StepContext,
        names: Collection[str],
        previous: Optional[Fields] = None,
        current: Optional[Fields] = None,
    ) -> StepValue:
        """Return the values of some variables.

        Args:
          context: the step.
          names: names of the variables.
          previous: all fields of the step before; None: the initial values.
          current: fields of the other variables that these depend on within the step.
        """
        before = values_of(previous or {})  # empty if no variable reads the step before
        values = values_of(current or {})
        draws: dict[str, seeding.Draws] = {}
        for var in self._initial_order if previous is None else self.variables:
            if var.name not in names:
                continue
            definition = var.initial_value if previous is None else var.value
            dependencies = [
                (values if previous is None or dependency.on_current_value else before)[dependency.variable_name]
                for dependency in definition.dependencies
            ]
            value, draws[var.name] = self.evaluate(var.name, definition, context, dependencies)
            values[var.name] = var.typecheck(value)
        return StepValue(fields_of({name: value for name, value in values.items() if name in draws}), draws)

    def dependants(self, name: str) -> list[str]:
        """Return the variable called `name` and all variables that depend on it within a step, in order.

        Raises:
          InvalidInputError: if these differ between the initial step and later steps.
        """
        names_by_step: dict[bool, list[str]] = {}
        for is_initial, order in ((True, self._initial_order), (False, self.variables)):
            names = [name]
            for var in order:
                definition = var.initial_value if is_initial else var.value
                reads = [
                    dependency.variable_name
                    for dependency in definition.dependencies
                    if is_initial or dependency.on_current_value
                ]
                if var.name not in names and any(read in names for read in reads):
                    names.append(var.name)
            names_by_step[is_initial] = names
        if set(names_by_step[True]) != set(names_by_step[False]):
            raise validation.InvalidInputError(
                f"the variables that depend on {name!r} within a step must be the same at the initial step, "
                f"got {names_by_step[True]} and {names_by_step[False]}"
            )
        return names_by_step[False]

    def evaluate(
        self, name: str, definition: variable.ValueDef, context: StepContext, dependencies: Sequence[Value]
    ) -> tuple[Value, seeding.Draws]:
        """Call a value function of the variable called `name`.

        Args:
          name: name of the variable.
          definition: the variable's `initial_value` or `value`.
          context: the step.
          dependencies: values of the definition's dependencies, in order.

        Returns:
          The value and the random variables that the function drew.

        Raises:
          RuntimeError: in a graph, if the function draws through a stateful random op.
          Exception: the function's error, with the attribute `EVALUATION_PLACE`.
        """
        key = random_ops.fold_in(self._key_of(name, context.keys), context.step)
        with context.draws(key, name) as drawn:
            try:
                value = definition.fn(*dependencies)
            except (Exception, SystemExit) as error:  # an entity may raise any error, which is raised again unchanged
                step = int(context.step) if hasattr(context.step, "numpy") else None  # unknown while tracing
                place = EvaluationPlace(name, entity_name(definition), step)
                vars(error).setdefault(EVALUATION_PLACE, place)
                raise
        if not tf.executing_eagerly():
            seeding.refuse_stateful_draws(name, value, dependencies)
        return value, drawn

    def _key_of(self, name: str, keys: Keys) -> tf.Tensor:
        if name in self._policy_variables:
            return keys.policy
        return keys.shared if name in self._world_variables else keys.world


def entity_name(definition: variable.ValueDef) -> str:
    """Return the name of the class whose method a value function is; "" if the function is not a method."""
    owner = getattr(definition.fn, "__self__", None)
    return "" if owner is None else type(owner).__name__


def to_tensors(network_value: NetworkValue) -> dict[str, Value]:
    """Return the network value with random variables replaced by the tensors they hold."""
    return {name: val.map(tf.convert_to_tensor) for name, val in network_value.items()}


def fields_of(network_value: NetworkValue) -> Fields:
    """Return the tensors of a network value, by variable name and field name."""
    return {name: val.as_dict for name, val in to_tensors(network_value).items()}


def values_of(fields: Mapping[str, Mapping[str, tf.Tensor]]) -> dict[str, Value]:
    """Return the network value that holds these tensors."""
    return {name: Value(**of_variable) for name, of_variable in fields.items()}
