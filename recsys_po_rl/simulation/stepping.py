"""Simulation that is stepped from Python: an agent outside of the network chooses each slate.

The network is the one that training and evaluation run, and draws from the same keys: a policy that is stepped through
a `SteppedSimulation` meets the users, and the random numbers, that it would meet in a `SeededRuntime`.
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, Optional

import tensorflow as tf
from recsim_ng.core import variable

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import rollout
from recsys_po_rl.simulation.dataflow import VariableFlow
from recsys_po_rl.simulation.rollout import Record
from recsys_po_rl.simulation.runtime import ERRORS_OF_OPERATIONS, POLICY_VARIABLES, WORLD_VARIABLES, SeededRuntime
from recsys_po_rl.simulation.seeding import Keys
from recsys_po_rl.simulation.step import Fields, SeededNetwork, StepContext

EMPTY = -1  # place of an empty slot


class StepResult(NamedTuple):
    """Recorded fields of one step, by variable and field name."""

    response: Fields  # slate docs, user response, and all else that depends on the slate within the step
    state: Fields  # all other variables, one step later
    reward: tf.Tensor  # float32 [U], reward of the response


class _Memory(NamedTuple):
    """Variables that a simulation keeps between calls; fields by variable and field name."""

    keys: Keys
    step: tf.Variable  # int32, slates shown so far
    state: Mapping[str, Mapping[str, tf.Variable]]  # fields that the following step reads
    previous: Mapping[str, Mapping[str, tf.Variable]]  # fields of the step before; empty if nothing reads them there


class SteppedSimulation:
    """Simulation of a batch of users, one step at a time.

    Example:
        network = create_interest_evolution_simulation_network(num_users=4, num_docs=6, corpus_seed=0,
                                                               recommender_ctor=ExternalRecommender)
        simulation = SteppedSimulation(network.variables, network.recommender.places)
        simulation.reset(make_keys(0, "evaluation"))
        result = simulation.step([[0, 1]] * 4)

    Attributes:
      runtime: a runtime of the same network.
      num_steps: number of slates shown since `reset`; None before the first.
    """

    def __init__(
        self,
        variables: Sequence[variable.Variable],
        places: tf.Variable,
        mode: str = "xla",
        record: Optional[Record] = None,
    ) -> None:
        """Store the network; compilation happens at the first reset and steps.

        Args:
          variables: the network's variables; its recommender shows the slates in `places`, as
            `policies.external.ExternalRecommender` does.
          places: int32 variable [U, S] of the recommender.
          mode: "graph", "xla" or "eager", see `SeededRuntime`.
          record: fields that `reset` and `step` return, by variable name; None: all fields of all variables.

        Raises:
          InvalidInputError: if mode, variables or fields are unknown.
        """
        self._places = places
        self._mode = mode
        self.runtime = SeededRuntime(variables, mode=mode)
        self.num_steps: Optional[int] = None
        self._record = self.runtime.known_record(record)
        self._seeded = SeededNetwork(variables, POLICY_VARIABLES, WORLD_VARIABLES)
        self._after_slate = self._seeded.dependants(fields.SLATE_DOCS)
        self._before_slate = [name for name in self._seeded.names if name not in self._after_slate]
        self._reads_previous = any(
            not dependency.on_current_value
            for var in variables
            if var.name in self._after_slate
            for dependency in var.value.dependencies
        )
        key, slates = tf.TensorSpec((2,), tf.int32), tf.TensorSpec(places.shape, tf.int32)
        self._compiled_first = _Program(self._first, mode, Keys(*(key for _ in Keys._fields)))
        later = _Program(functools.partial(self._step, False), mode, slates)
        # In RecSim NG's story the first slate and response are computed as all others are.
        by_themselves = any(
            _definition(var.initial_value) != _definition(var.value)
            for var in variables
            if var.name in self._after_slate
        )
        first = _Program(functools.partial(self._step, True), mode, slates) if by_themselves else later
        self._compiled_step = {True: first, False: later}

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (U, S) of the slates of a step."""
        num_users, slate_size = self._places.shape
        return int(num_users), int(slate_size)

    def trace(self) -> None:
        """Trace the programs now instead of at their first calls.

        Whatever entities read while they are traced, gin parameters among it, is read here and not again. In eager mode
        there are no programs: entities read it at every step.
        """
        if self._mode != "eager":
            assert self._memory is not None  # as in `reset`
            for program in (self._compiled_first, *self._compiled_step.values()):
                assert program.traced is not None

    def reset(self, keys: Keys) -> Fields:
        """Draw a batch of users.

        Args:
          keys: seeds of the batch, see `seeding.make_keys`. Equal keys give equal users, who answer equal slates
            equally.

        Returns:
          The recorded fields of the variables that do not depend on a slate.
        """
        assert self._memory is not None  # variables cannot be created while a function is traced
        recorded: Fields = self._compiled_first(self.runtime.resolved(keys))
        self.num_steps = 0
        return recorded

    def step(self, slates: Any) -> StepResult:
        """Show a slate to every user.

        Args:
          slates: int [U, S], places among the available documents from 0, or `EMPTY`; different within a slate. The
            places are not validated here.

        Raises:
          InvalidInputError: before `reset`.
          FloatingPointError: if the reward, or a field that the following step reads, has a NaN; names the variable.
          Exception: the error of an operation of the network, raised by the line of the entity that called it.
        """
        if self.num_steps is None:
            raise validation.InvalidInputError("step needs users: call reset first")
        program, shown = self._compiled_step[self.num_steps == 0], tf.constant(slates, tf.int32, self.shape)
        try:
            result, has_nan = program(shown)
        except ERRORS_OF_OPERATIONS:
            program.function(shown)  # op by op the error comes from the line in Python
            raise
        if has_nan.numpy():
            self._raise_nan(result)
        self.num_steps += 1
        return result

    def _raise_nan(self, result: StepResult) -> NoReturn:
        read = {**_read(self._memory.state), "reward": {"": result.reward}}
        names = [name for name, values in read.items() if any(map(_any_nan, values.values()))]
        raise FloatingPointError(f"NaN at step {self.num_steps} in {', '.join(names)}")

    @functools.cached_property
    def _flows(self) -> dict[str, VariableFlow]:
        return {name: self.runtime.flow(name) for name in self._seeded.names}

    @functools.cached_property
    def _memory(self) -> _Memory:
        """Variables of the compiled program. A call that passes the state instead costs more than the step itself."""
        reads = [flow.reads for flow in self._flows.values()]
        names = {name: sorted({field for read in reads for field in read.get(name, ())}) for name in self._flows}

        def zeros(wanted: Collection[str]) -> dict[str, dict[str, tf.Variable]]:
            specs = {name: self._flows[name].field_specs for name in wanted}
            return {
                name: {field: _variable(spec[field].shape, spec[field].dtype) for field in names[name]}
                for name, spec in specs.items()
            }

        return _Memory(
            keys=Keys(*(_variable((2,), tf.int32) for _ in Keys._fields)),
            step=_variable((), tf.int32),
            state=zeros(self._before_slate),
            previous=zeros(self._flows if self._reads_previous else ()),
        )

    def _recorded(self, values: Fields) -> Fields:
        return rollout.only(values, [(name, field) for name, names in self._record.items() for field in names])

    def _first(self, keys: Keys) -> Fields:
        memory = self._memory
        state = self._seeded.values(StepContext(keys, tf.constant(0)), self._before_slate).fields
        for variable_, key in zip(memory.keys, keys):
            variable_.assign(key)
        memory.step.assign(0)
        _assign(memory.state, state)
        return self._recorded(state)

    def _step(self, is_first: bool, slates: tf.Tensor) -> tuple[StepResult, tf.Tensor]:
        memory = self._memory
        self._places.assign(slates)
        keys, step = Keys(*map(tf.convert_to_tensor, memory.keys)), tf.convert_to_tensor(memory.step)
        state = rollout.completed(_read(memory.state), self._flows)
        previous = rollout.completed(_read(memory.previous), self._flows)
        context = StepContext(keys, step)
        response = self._seeded.values(context, self._after_slate, None if is_first else previous, state).fields
        everything = {**state, **response}
        following = self._seeded.values(StepContext(keys, step + 1), self._before_slate, everything).fields
        _assign(memory.previous, everything)
        _assign(memory.state, following)
        memory.step.assign(step + 1)
        reward = following[fields.METRICS_STATE][fields.REWARD]
        carried = [following[name][field] for name, own in memory.state.items() for field in own]
        has_nan = tf.reduce_any([_any_nan(value) for value in (*carried, reward)])
        return StepResult(self._recorded(response), self._recorded(following), reward), has_nan


def _variable(shape: Any, dtype: tf.DType) -> tf.Variable:
    return tf.Variable(tf.zeros(shape, dtype), trainable=False)


def _read(variables: Mapping[str, Mapping[str, tf.Variable]]) -> Fields:
    return {
        name: {field: tf.convert_to_tensor(variable) for field, variable in own.items()}
        for name, own in variables.items()
    }


def _assign(variables: Mapping[str, Mapping[str, tf.Variable]], values: Fields) -> None:
    for name, own in variables.items():
        for field, target in own.items():
            target.assign(values[name][field])


def _definition(definition: variable.ValueDef) -> tuple[Any, list[tuple[str, bool]]]:
    """Return what a value is computed by and from, in a form that can be compared."""
    reads = [(dependency.variable_name, dependency.on_current_value) for dependency in definition.dependencies]
    return definition.fn, reads


def _any_nan(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(tf.math.is_nan(tensor)) if tensor.dtype.is_floating else tf.constant(False)


class _Program:
    """Function compiled for a mode, with one signature.

    Its only trace is called directly: TensorFlow's search for a trace takes as long as a third of a step of 1000 users.

    Attributes:
      function: the function, not compiled.
    """

    def __init__(self, function: Callable[..., Any], mode: str, *signature: Any) -> None:
        """Store the function, which is traced at the first call.

        Args:
          function: function of tensors.
          mode: "graph", "xla" or "eager".
          *signature: structure of `tf.TensorSpec` of each argument.
        """
        self.function = function
        self._mode = mode
        self._signature = signature

    @functools.cached_property
    def traced(self) -> Callable[..., Any]:
        """The compiled function; in eager mode, the function itself."""
        if self._mode == "eager":
            return self.function
        # A partial avoids TensorFlow's warnings of many traces, see `SeededRuntime`.
        compiled: Any = tf.function(
            functools.partial(self.function), autograph=False, jit_compile=True if self._mode == "xla" else None
        )
        concrete: Callable[..., Any] = compiled.get_concrete_function(*self._signature)
        return concrete

    def __call__(self, *arguments: Any) -> Any:
        """Return the function's result."""
        return self.traced(*arguments)
