"""Compiled, seeded execution of any RecSim NG network; records only the fields asked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core import network as network_lib
from recsim_ng.core import variable
from recsim_ng.core.value import Value
from recsim_ng.lib import runtime

from recsys_po_rl import checks, draws, fields, gin_config
from recsys_po_rl.draws import Keys, make_keys

NetworkValue = Mapping[str, Value]
Record = Mapping[str, Sequence[str]]

MODES = ("graph", "xla", "eager")
POLICY_VARIABLES = (fields.SLATE_DOCS, fields.RECOMMENDER_STATE)
WORLD_VARIABLES = (fields.CORPUS_STATE, fields.AVAILABLE_DOCS)


class VariableFlow(NamedTuple):
    """What the value of one network variable is computed from, by data flow and not by declaration."""

    reads: Mapping[str, Sequence[str]]  # for each variable it depends on, the fields that reach its own fields
    draw_reads: Mapping[str, Sequence[str]]  # the same for the parameters of its draws alone
    reads_weights: bool  # whether its fields depend on a tf.Variable
    random_fields: Sequence[Optional[str]]  # its draws in order: the field that holds each, or None
    field_specs: Mapping[str, tf.TensorSpec]  # shape and dtype of its own fields


def to_tensors(network_value: NetworkValue) -> dict[str, Value]:
    """The network value with random variables replaced by the tensors they hold."""
    return {name: val.map(tf.convert_to_tensor) for name, val in network_value.items()}


@gin_config.configurable
class SeededRuntime(runtime.Runtime):
    """Runs a network for a batch of users, from explicit seeds.

    `execute(n)` gives the value n steps after the initial one; `trajectory(T)` gives T values stacked on a new first
    axis, the first of them the initial one.
    """

    def __init__(
        self,
        variables: Iterable[variable.Variable],
        mode: str = "graph",
        policy_variables: Sequence[str] = POLICY_VARIABLES,
        world_variables: Sequence[str] = WORLD_VARIABLES,
    ) -> None:
        """Makes the runtime; nothing is traced yet.

        Args:
          variables: the network's variables.
          mode: "graph" (one TensorFlow program), "xla" (the same, compiled by XLA) or "eager" (op by op, to debug).
            Graph and eager draw the same numbers; XLA draws others from the same law.
          policy_variables: names of variables that draw from the policy's key.
          world_variables: names of variables that all batches share, as long as no user influences them.

        Raises:
          checks.InvalidInputError: if the mode is unknown.
        """
        self._mode = checks.one_of("SeededRuntime: mode", mode, MODES)
        self._variables = tuple(variables)
        self._policy_variables = frozenset(policy_variables)
        self._world_variables = frozenset(world_variables)
        self._shared: Optional[frozenset[str]] = None
        self._step_inputs: Optional[tuple[Keys, tf.Tensor]] = None
        self._has_nan: dict[str, tf.Tensor] = {}
        self._drawn: dict[str, draws.Draws] = {}
        self._flows: Optional[dict[str, VariableFlow]] = None
        self._network = network_lib.Network([self._seeded(var) for var in self._variables])
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._checked = False
        self.trace_count = 0

    @property
    def network(self) -> network_lib.Network:
        """The network, its value functions wrapped for seeded draws."""
        return self._network

    def execute(
        self,
        num_steps: int,
        starting_value: Optional[NetworkValue] = None,
        keys: Optional[Keys] = None,
    ) -> dict[str, Value]:
        """The network's value `num_steps` steps after the starting one.

        Args:
          num_steps: at least 0.
          starting_value: where to start; the initial value, drawn from the keys, if None.
          keys: seeds; those of seed 0 if None.

        Returns:
          A `Value` of tensors for each variable.

        Raises:
          FloatingPointError: if a field or a distribution's parameter became NaN; names the variable.
          RuntimeError: if an entity draws through a stateful random op; names it.
        """
        steps = checks.integer("num_steps", num_steps, 0)
        last, _ = self._run(steps + 1, starting_value, keys, record={})
        return last

    def trajectory(
        self,
        length: int,
        starting_value: Optional[NetworkValue] = None,
        keys: Optional[Keys] = None,
        record: Optional[Record] = None,
    ) -> dict[str, Value]:
        """Like `execute`, but stacks the values of every step.

        Args:
          length: T, at least 1, values to stack.
          starting_value: where to start; the initial value, drawn from the keys, if None.
          keys: seeds; those of seed 0 if None.
          record: for each variable's name the fields to stack; all of all variables if None.

        Returns:
          For each recorded variable a `Value` of tensors [T, ...].

        Raises:
          checks.InvalidInputError: if `record` names an unknown variable or field.
          FloatingPointError, RuntimeError: as `execute`.
        """
        length = checks.integer("length", length, 1)
        _, stacked = self._run(length, starting_value, keys, self._known_record(record))
        return stacked

    # Value functions, wrapped.

    def _seeded(self, var: variable.Variable) -> variable.Variable:
        wrapped = variable.Variable(name=var.name, spec=var.spec)
        wrapped.initial_value = self._seeded_value(var.name, var.initial_value)
        wrapped.value = self._seeded_value(var.name, var.value)
        return wrapped

    def _seeded_value(self, name: str, definition: variable.ValueDef) -> variable.ValueDef:
        def evaluate(*dependencies: Value) -> Value:
            if self._step_inputs is None:
                raise RuntimeError(f"the value of {name!r} is asked for outside a step of its runtime")
            keys, step = self._step_inputs
            key = tf.random.experimental.stateless_fold_in(self._key_of(name, keys), step)
            with draws.seeded_draws(key, name) as drawn:
                result = definition.fn(*dependencies)
            if not tf.executing_eagerly():
                draws.refuse_stateful_draws(name, result, dependencies)
            self._drawn[name] = drawn
            self._has_nan[name] = _has_nan(draws.tensors_of(result) + drawn.parameters)
            return result

        return variable.ValueDef(fn=evaluate, dependencies=definition.dependencies)

    def _key_of(self, name: str, keys: Keys) -> tf.Tensor:
        if name in self._policy_variables:
            return keys.policy
        if self._shared is not None and name in self._shared:
            return keys.shared
        return keys.world

    # Running.

    def _run(
        self,
        length: int,
        starting_value: Optional[NetworkValue],
        keys: Optional[Keys],
        record: Record,
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        keys = make_keys(0) if keys is None else keys
        if self._shared is None:
            self._shared = self._uninfluenced()
        start = None if starting_value is None else self._pack(to_tensors(starting_value))
        if self._mode == "eager":
            self._check_draws()
            last, stacked, nan_step = self._loop_in_python(length, record, keys, start)
        else:
            last, stacked, nan_step = self._program(length, record, keys, start)
        self._raise_on_nan(nan_step)
        return self._unpack(last), {name: Value(**packed) for name, packed in stacked.items()}

    def _program(self, length: int, record: Record, keys: Keys, start: Any) -> Any:
        """Runs the compiled loop; one trace for each length, record and form of start."""
        inputs = (keys,) if start is None else (keys, start)
        specs = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), inputs)
        recorded = tuple((name, tuple(record[name])) for name in sorted(record))
        signature = (length, recorded, tuple(tf.nest.flatten(specs)))
        if signature not in self._compiled:

            @tf.function(jit_compile=self._mode == "xla", autograph=False)
            def program(keys: Keys, *starts: Any) -> Any:
                self.trace_count += 1
                return self._loop(length, record, keys, *(starts or (None,)))

            self._compiled[signature] = program.get_concrete_function(*specs)
        return self._compiled[signature](*inputs)

    def _first(self, keys: Keys, start: Any) -> tuple[Any, tf.Tensor]:
        if start is not None:
            return start, tf.fill([len(self._variables)], -1)
        self._step_inputs = (keys, tf.constant(0))
        packed = self._pack(to_tensors(self._network.initial_step()))
        return packed, self._nan_steps(tf.constant(0), None)

    def _next(self, keys: Keys, step: tf.Tensor, packed: Any, nan_step: tf.Tensor) -> tuple[Any, tf.Tensor]:
        self._step_inputs = (keys, step)
        packed = self._pack(to_tensors(self._network.step(self._unpack(packed))))
        return packed, self._nan_steps(step, nan_step)

    def _nan_steps(self, step: tf.Tensor, before: Optional[tf.Tensor]) -> tf.Tensor:
        """int32 [variables]: the first step at which each variable had a NaN, -1 for none."""
        flags = tf.stack([self._has_nan[var.name] for var in self._network.variables])
        none = tf.fill([len(self._variables)], -1)
        now = tf.where(flags, step, none)
        return now if before is None else tf.where(before >= 0, before, now)

    def _loop(self, length: int, record: Record, keys: Keys, start: Any) -> Any:
        packed, nan_step = self._first(keys, start)
        index = {var.name: position for position, var in enumerate(self._network.variables)}
        arrays = {
            name: {
                field: tf.TensorArray(
                    packed[index[name]][field].dtype, size=length, element_shape=packed[index[name]][field].shape
                ).write(0, packed[index[name]][field])
                for field in names
            }
            for name, names in record.items()
        }

        def body(step: tf.Tensor, packed: Any, nan_step: tf.Tensor, arrays: Any) -> Any:
            packed, nan_step = self._next(keys, step, packed, nan_step)
            arrays = {
                name: {field: array.write(step, packed[index[name]][field]) for field, array in of_name.items()}
                for name, of_name in arrays.items()
            }
            return step + 1, packed, nan_step, arrays

        _, packed, nan_step, arrays = tf.while_loop(
            lambda step, *_: step < length,
            body,
            (tf.constant(1), packed, nan_step, arrays),
            maximum_iterations=max(length - 1, 0),
        )
        stacked = {name: {field: array.stack() for field, array in of.items()} for name, of in arrays.items()}
        return packed, stacked, nan_step

    def _loop_in_python(self, length: int, record: Record, keys: Keys, start: Any) -> Any:
        packed, nan_step = self._first(keys, start)
        index = {var.name: position for position, var in enumerate(self._network.variables)}
        rows: list[Any] = [packed]
        for step in range(1, length):
            packed, nan_step = self._next(keys, tf.constant(step), packed, nan_step)
            rows.append(packed)
        stacked = {
            name: {field: tf.stack([row[index[name]][field] for row in rows]) for field in names}
            for name, names in record.items()
        }
        return packed, stacked, nan_step

    def _pack(self, network_value: NetworkValue) -> list[dict[str, tf.Tensor]]:
        return [network_value[var.name].as_dict for var in self._network.variables]

    def _unpack(self, packed: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
        return {var.name: Value(**values) for var, values in zip(self._network.variables, packed)}

    # Checks.

    def _known_record(self, record: Optional[Record]) -> Record:
        known = {var.name: list(var.spec.as_dict) for var in self._variables}
        if record is None:
            return {name: names for name, names in known.items() if names}
        for name, names in record.items():
            checks.one_of("record", name, known)
            for field in names:
                checks.one_of(f"record of {name!r}", field, known[name])
        return record

    def _raise_on_nan(self, nan_step: tf.Tensor) -> None:
        steps = nan_step.numpy() if hasattr(nan_step, "numpy") else None
        if steps is None or (steps < 0).all():
            return
        first = int(np.where(steps >= 0, steps, np.iinfo(np.int32).max).min())
        names = [var.name for var, step in zip(self._network.variables, steps) if step == first]
        raise FloatingPointError(
            f"NaN at step {first} in a field, or in a parameter of a draw, of: {', '.join(map(repr, names))}"
        )

    def _check_draws(self) -> None:
        """Traces the first two values once, so that eager mode refuses stateful draws too."""
        if self._checked:
            return

        @tf.function(autograph=False)
        def two_values() -> Any:
            keys = make_keys(0)
            packed, nan_step = self._first(keys, None)
            return self._next(keys, tf.constant(1), packed, nan_step)

        two_values.get_concrete_function()
        self._checked = True

    def _uninfluenced(self) -> frozenset[str]:
        """The world variables, if nothing of the users flows into any of them; otherwise none.

        A corpus that reacts to its users makes each batch of them a world of its own.
        """
        shared = self._world_variables & {var.name for var in self._variables}
        sources = {source for name in shared for source, names in self.flow(name).reads.items() if names}
        return shared if sources <= shared else frozenset()

    @property
    def worlds_differ_by_batch(self) -> bool:
        """Whether the corpus reacts to its users, so that each batch of users lives in a world of its own."""
        return not self._uninfluenced() and bool(self._world_variables & {var.name for var in self._variables})

    def flow(self, name: str) -> VariableFlow:
        """What the step's value of the variable called `name` is computed from.

        Raises:
          checks.InvalidInputError: if there is no such variable.
        """
        checks.one_of("variable", name, [var.name for var in self._variables])
        if self._flows is None:
            self._flows = self._trace_flows()
        return self._flows[name]

    def _trace_flows(self) -> dict[str, VariableFlow]:
        flows: dict[str, VariableFlow] = {}

        @tf.function(autograph=False)
        def one_step() -> None:
            self._step_inputs = (make_keys(0), tf.constant(1))
            initial = to_tensors(self._network.initial_step())
            for var in self._network.variables:
                # Identities of the initial values are where the search backwards ends.
                inputs = [initial[dependency.variable_name].map(tf.identity) for dependency in var.value.dependencies]
                sources = {
                    field.ref(): (dependency.variable_name, field_name)
                    for dependency, val in zip(var.value.dependencies, inputs)
                    for field_name, field in val.as_dict.items()
                }
                result = var.value.fn(*inputs)
                drawn = self._drawn.get(var.name, draws.Draws())
                flows[var.name] = VariableFlow(
                    reads=_sources_of(draws.tensors_of(result), sources),
                    reads_weights=draws.reads_variables(draws.tensors_of(result), stop=sources),
                    draw_reads=_sources_of(drawn.parameters, sources),
                    random_fields=drawn.field_names(result),
                    field_specs={
                        field: tf.TensorSpec(tensor.shape, tensor.dtype)
                        for field, tensor in initial[var.name].as_dict.items()
                    },
                )

        one_step.get_concrete_function()
        return flows


def _sources_of(outputs: Iterable[tf.Tensor], sources: Mapping[Any, tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for tensor in draws.reached(outputs, stop=sources):
        if tensor.ref() in sources:
            variable_name, field = sources[tensor.ref()]
            found.setdefault(variable_name, set()).add(field)
    return {name: sorted(names) for name, names in found.items()}


def _has_nan(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    flags = [tf.reduce_any(tf.math.is_nan(tensor)) for tensor in tensors if tensor.dtype.is_floating]
    return tf.reduce_any(tf.stack(flags)) if flags else tf.constant(False)
