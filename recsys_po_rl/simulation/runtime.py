"""Compiled, seeded execution of any RecSim NG network; records only the fields asked for."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core import network as network_lib
from recsim_ng.core import variable
from recsim_ng.core.value import Value
from recsim_ng.lib import runtime

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import dataflow as flow_lib
from recsys_po_rl.simulation import halves, hoisting, memory, random_ops, seeding
from recsys_po_rl.simulation.dataflow import Read, VariableFlow
from recsys_po_rl.simulation.seeding import Keys, make_keys

NetworkValue = Mapping[str, Value]
Record = Mapping[str, Sequence[str]]

MODES = ("graph", "xla", "eager")
POLICY_VARIABLES = (fields.SLATE_DOCS, fields.RECOMMENDER_STATE)
WORLD_VARIABLES = (fields.CORPUS_STATE, fields.AVAILABLE_DOCS)

_SOMEWHERE = np.iinfo(np.int32).max
# Under XLA a run's uniform numbers are drawn before its loop, outside of XLA, which is 20 kernels less to compile: if a
# step has enough of them (an operation for each step and draw takes longer than XLA otherwise), and a run not more than
# 64 MB of float32.
MIN_NUMBERS_AHEAD_OF_STEP = 1 << 11
MAX_NUMBERS_AHEAD_OF_RUN = 1 << 24

# Errors of an operation of a compiled program that the same run, op by op, can locate.
_ERRORS_OF_OPERATIONS = (
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.InvalidArgumentError,
    tf.errors.UnknownError,
)

_Fields = dict[str, dict[str, tf.Tensor]]  # by variable, by field
_Numbers = dict[str, dict[int, tf.Tensor]]  # by variable, by place of the draw


EVALUATION_PLACE = "evaluation_place"  # attribute of an exception that a value function raised


class EvaluationPlace(NamedTuple):
    """Network variable, entity and step at which a value function raised; attached to the exception."""

    variable: str
    entity: str  # name of the entity's class; "" if the function belongs to none
    step: Optional[int]  # None while a graph is traced

    def __str__(self) -> str:
        """Name the place in a few words."""
        entity = f" (entity {self.entity})" if self.entity else ""
        return f"{self.variable!r}{entity}" + ("" if self.step is None else f" at step {self.step}")


class Run(NamedTuple):
    """What one run of a network gave; tensors, so that compiled functions can return it."""

    last: _Fields  # all fields of the last value, or none
    stacked: _Fields  # the recorded fields, each [T, ...]
    # int32 [variables]: the first step at which each had a NaN, -1 for none; `_SOMEWHERE` for all where XLA found one.
    nan_steps: tf.Tensor


def to_tensors(network_value: NetworkValue) -> dict[str, Value]:
    """The network value with random variables replaced by the tensors they hold."""
    return {name: val.map(tf.convert_to_tensor) for name, val in network_value.items()}


@gin_config.configurable
class SeededRuntime(runtime.Runtime):
    """Runs a network for a batch of users, from explicit seeds.

    `execute(n)` gives the value n steps after the initial one; `trajectory(T)` gives T values stacked on a new first
    axis, the first of them the initial one. Fields that neither are recorded nor reach a recorded one are not computed.
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
            All draw the same integers and, but for rounding, the same normal numbers; see `random_ops`.
          policy_variables: names of variables that draw from the policy's key.
          world_variables: names of variables that all batches share, as long as no user influences them.

        Raises:
          InvalidInputError: if the mode is unknown, or a variable is neither in the network nor usual.
        """
        self._mode = validation.one_of("SeededRuntime: mode", mode, MODES)
        self._variables = tuple(variables)
        self._policy_variables = self._known_names("policy_variables", policy_variables, POLICY_VARIABLES)
        self._world_variables = self._known_names("world_variables", world_variables, WORLD_VARIABLES)
        self._step_inputs: Optional[tuple[Keys, tf.Tensor, _Numbers]] = None
        self._drawn: dict[str, seeding.Draws] = {}
        self._flows: Optional[dict[str, VariableFlow]] = None
        self._network = network_lib.Network([self._seeded(var) for var in self._variables])
        self._names = [var.name for var in self._network.variables]
        self._compiled: dict[Any, Callable[..., Any]] = {}
        # TensorFlow counts traces by code object, over all runtimes, and warns of many; a partial has none.
        # Never under XLA: the first value is computed once, and would double what there is to compile.
        self._first_value = tf.function(functools.partial(self._first), autograph=False)
        self.trace_count = 0

    def _known_names(self, argument: str, given: Any, usual: Sequence[str]) -> frozenset[str]:
        name = f"SeededRuntime: {argument}"
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise validation.InvalidTypeError(f"{name} must be a list of names of variables, got {given!r}")
        known = {*(var.name for var in self._variables), *usual}
        return frozenset(validation.one_of(f"{name}: each", one, known) for one in given)

    @property
    def network(self) -> network_lib.Network:
        """The network, its value functions wrapped for seeded draws."""
        return self._network

    @property
    def mode(self) -> str:
        """One of `MODES`."""
        return self._mode

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
          InvalidInputError: if `starting_value` lacks a variable.
          FloatingPointError: if a field or a distribution's parameter became NaN; names the variable.
          RuntimeError: if an entity draws through a stateful random op; names it.
        """
        steps = validation.integer("num_steps", num_steps, 0)
        last = self._checked_run(steps + 1, {}, True, self._start(starting_value), keys).last
        return self._values({name: last.get(name, {}) for name in self._names})  # some variables have no fields

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
          InvalidInputError: if `record` names an unknown variable or field.
          FloatingPointError, RuntimeError: as `execute`.
        """
        length = validation.integer("length", length, 1)
        return self._values(
            self._checked_run(length, self._known_record(record), False, self._start(starting_value), keys).stacked
        )

    def trajectories(
        self, length: int, keys: Sequence[Keys], record: Optional[Record] = None
    ) -> list[dict[str, Value]]:
        """Trajectories of several batches of users, computed side by side on the cores there are.

        Each is bit for bit what `trajectory` gives for its keys.

        Args:
          length: T, at least 1.
          keys: of each batch; at least one.
          record: as in `trajectory`.

        Returns:
          A trajectory for each batch.

        Raises:
          As `trajectory`.
        """
        length = validation.integer("length", length, 1)
        record = self._known_record(record)
        batches = list(keys)
        if not batches:
            raise validation.InvalidInputError("keys must hold at least one batch's, got none")
        signature = ("side by side", length, _hashable(record))
        if signature not in self._compiled:

            def side_by_side(keys: list[Keys]) -> list[Run]:
                return [self.run(length, of_batch, record) for of_batch in keys]

            compiled = memory.LeanFirstCall(tf.function(functools.partial(side_by_side), autograph=False))
            self._compiled[signature] = side_by_side if self._mode == "eager" else compiled
        with self.failures_located(length, batches):
            runs = self._compiled[signature](batches)
        for of_batch, run in zip(batches, runs):
            self.raise_on_nan(run.nan_steps, length, of_batch, record)
        return [self._values(run.stacked) for run in runs]

    def run(self, length: int, keys: Keys, record: Record, with_last: bool = False, start: Any = None) -> Run:
        """One run, for functions that are compiled around it; a compiled runtime computes several side by side.

        Args:
          length: T, at least 1.
          keys: seeds.
          record: for each variable's name the fields to stack.
          with_last: whether the last value is wanted too.
          start: where to start, fields by variable and name; None: the initial value.

        Returns:
          Tensors; the caller looks after `nan_steps`, see `raise_on_nan`.
        """
        starts = () if start is None else (start,)
        if self._mode == "eager":
            self._all_flows()  # refuses stateful draws
            return self._loop_in_python(length, record, self._resolved(keys), *starts)
        return self._program(length, record, with_last)(keys, *starts)

    def _program(self, length: int, record: Record, with_last: bool) -> Callable[..., Run]:
        signature = (length, _hashable(record), with_last)
        if signature not in self._compiled:
            needed = self._needed(record, with_last)
            kept = needed.carried | frozenset(_wanted(record))
            in_xla = self._mode == "xla"
            names = sorted({name for name, _ in needed.computed})
            invariant = {key: compute for name in names for key, compute in self.flow(name).invariants.items()}

            def loop(
                keys: Keys, now: _Fields, nan_found: Any, numbers: _Numbers, known: list[tf.Tensor]
            ) -> tuple[_Fields, _Fields, Any]:
                self.trace_count += 1
                with hoisting.scope(dict(zip(invariant, known, strict=True))), halves.wanted(in_xla):
                    return self._loop(length, record, needed, keys, now, nan_found, numbers)

            compiled_loop = tf.function(functools.partial(loop), jit_compile=True if in_xla else None, autograph=False)

            def run(keys: Keys, start: Optional[_Fields] = None) -> Run:
                keys = self._resolved(keys)
                now, nan_steps = self._first_value(keys, start)
                # Outside of XLA, which has less to compile then.
                known = [compute() for compute in invariant.values()]
                numbers = self._numbers_ahead(length, keys, names) if in_xla else {}
                nan_found = self._no_nan(names) if in_xla else nan_steps
                last, stacked, nan_found = compiled_loop(keys, _only(now, kept), nan_found, numbers, known)
                if in_xla:
                    anywhere = _any([*tf.nest.flatten(nan_found), *_nan_flags(tf.nest.flatten((stacked, last)))])
                    nan_steps = tf.where(anywhere & (nan_steps < 0), _SOMEWHERE, nan_steps)
                return Run(last if with_last else {}, stacked, nan_steps if in_xla else nan_found)

            self._compiled[signature] = memory.LeanFirstCall(tf.function(functools.partial(run), autograph=False))
        return self._compiled[signature]

    def raise_on_nan(
        self, nan_steps: tf.Tensor, length: int, keys: Keys, record: Record, start: Optional[_Fields] = None
    ) -> None:
        """Names the variables that were the first to have a NaN in a run.

        Under XLA a run only finds out that there was one, in a recorded field or a parameter of a draw: it is then
        repeated in graph mode, which draws the same numbers.

        Args:
          nan_steps: of a `Run`; while a graph is traced, nothing is checked.
          length: as of the run.
          keys: as of the run.
          record: as of the run.
          start: as of the run.

        Raises:
          FloatingPointError: if there was one.
        """
        steps = nan_steps.numpy() if hasattr(nan_steps, "numpy") else None
        if steps is None or (steps < 0).all():
            return
        first = int(np.where(steps >= 0, steps, _SOMEWHERE).min())
        if first == _SOMEWHERE:
            groups = sorted(self._policy_variables), sorted(self._world_variables)
            repeated = SeededRuntime(self._variables, "graph", *groups)
            repeated._checked_run(length, record, True, start, keys)
            raise FloatingPointError("NaN in a run under XLA that graph mode does not reproduce")
        names = [name for name, step in zip(self._names, steps) if step == first]
        raise FloatingPointError(
            f"NaN at step {first} in a field, or in a parameter of a draw, of: "
            + ", ".join(self._nan_described(name, first, keys, start) for name in names)
        )

    def _nan_described(self, name: str, step: int, keys: Keys, start: Optional[_Fields]) -> str:
        """The variable with its entity, and those of its fields that have a NaN at a step: the run is repeated."""
        var = {var.name: var for var in self._variables}[name]
        entity = _entity_of(var.value)
        described = f"{name!r} (entity {entity})" if entity else repr(name)
        known = self._known_record(None)
        if name not in known:
            return described
        stacked = self.run(step + 1, keys, {name: known[name]}, start=start).stacked[name]
        fields_with_nan = [
            f"{field!r} ({tensor.dtype.name} {tensor.shape[1:].as_list()})"
            for field, tensor in stacked.items()
            if tensor.dtype.is_floating and np.isnan(tensor[step].numpy()).any()
        ]
        if fields_with_nan:
            return f"{described}, field {', '.join(fields_with_nan)}"
        if fields.DOC_RANKS in stacked and (stacked[fields.DOC_RANKS][step].numpy() < 0).any():
            return f"{described}, a slate that needs as many documents with a finite logit as it has places"
        return f"{described}, a parameter of a draw"

    @contextlib.contextmanager
    def failures_located(self, length: int, batches: Sequence[Keys], start: Optional[_Fields] = None) -> Iterator[None]:
        """Repeat the runs of the block op by op if an operation of a compiled program fails.

        A compiled program knows the operation alone. Op by op, which draws the same numbers, the operation fails in
        Python, where entity, step and line are known.

        Args:
          length: T of the runs within the block.
          batches: their keys.
          start: where they start, as of `run`.

        Raises:
          Exception: the error of the repeated run; the block's own if the repeated run succeeds.
        """
        try:
            yield
            return
        except _ERRORS_OF_OPERATIONS as error:
            failed = error
        if self._mode != "eager" and tf.executing_eagerly():
            groups = sorted(self._policy_variables), sorted(self._world_variables)
            repeated = SeededRuntime(self._variables, "eager", *groups)
            for keys in batches:
                repeated._loop_in_python(length, {}, self._resolved(keys), start)
        raise failed

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
            keys, step, numbers = self._step_inputs
            key = random_ops.fold_in(self._key_of(name, keys), step)
            with seeding.seeded_draws(key, name, numbers.get(name)) as drawn:
                try:
                    result = definition.fn(*dependencies)
                except (Exception, SystemExit) as error:  # of whatever kind an entity raises; it goes on as it is
                    place = EvaluationPlace(name, _entity_of(definition), int(step) if _is_known(step) else None)
                    vars(error).setdefault(EVALUATION_PLACE, place)
                    raise
            if not tf.executing_eagerly():
                seeding.refuse_stateful_draws(name, result, dependencies)
            self._drawn[name] = drawn
            return result

        return variable.ValueDef(fn=evaluate, dependencies=definition.dependencies)

    def _key_of(self, name: str, keys: Keys) -> tf.Tensor:
        if name in self._policy_variables:
            return keys.policy
        return keys.shared if name in self._world_variables else keys.world

    def _resolved(self, keys: Keys) -> Keys:
        """Keys under which a corpus that reacts to its users belongs to its batch."""
        return keys._replace(shared=keys.world) if self.worlds_differ_by_batch else keys

    # Running.

    def _start(self, starting_value: Optional[NetworkValue]) -> Optional[_Fields]:
        if starting_value is None:
            return None
        missing = [name for name in self._names if name not in starting_value]
        if missing:
            raise validation.InvalidInputError(f"starting_value lacks {', '.join(map(repr, sorted(missing)))}")
        return _fields_of({name: starting_value[name] for name in self._names})

    def _checked_run(
        self, length: int, record: Record, with_last: bool, start: Optional[_Fields], keys: Optional[Keys]
    ) -> Run:
        keys = make_keys(0) if keys is None else keys
        with self.failures_located(length, [keys], start):
            run = self.run(length, keys, record, with_last, start)
        self.raise_on_nan(run.nan_steps, length, keys, record, start)
        return run

    def _first(self, keys: Keys, start: Optional[_Fields] = None) -> tuple[_Fields, tf.Tensor]:
        if start is not None:
            return start, tf.fill([len(self._names)], -1)
        self._step_inputs = (keys, tf.constant(0), {})
        first = _fields_of(self._network.initial_step())
        return first, self._nan_steps(first, tf.constant(0), None)

    def _next(self, keys: Keys, step: tf.Tensor, previous: _Fields, numbers: Optional[_Numbers] = None) -> _Fields:
        self._step_inputs = (keys, step, numbers or {})
        return _fields_of(self._network.step(self._values(previous)))

    def _nan_steps(self, computed: _Fields, step: tf.Tensor, before: Optional[tf.Tensor]) -> tf.Tensor:
        """int32 [variables]: the first step at which each variable had a NaN, -1 for none."""
        flags = [
            _has_nan([*computed[name].values(), *self._drawn[name].random_parameters]) if computed.get(name) else False
            for name in self._names
        ]
        now = tf.where(tf.stack(flags), step, tf.fill([len(flags)], -1))
        return now if before is None else tf.where(before >= 0, before, now)

    # Under XLA a check of every field would be a third of all there is to compile: witnesses alone are looked at.

    def _no_nan(self, names: Sequence[str]) -> dict[str, list[tf.Tensor]]:
        """By variable, for each witness of its draws, bool: where there was a NaN; nowhere yet."""
        return {
            name: [
                tf.zeros(spec.shape if spec.shape.is_fully_defined() else [], tf.bool)
                for spec in self.flow(name).nan_witnesses
            ]
            for name in names
        }

    def _nan_so_far(self, before: dict[str, list[tf.Tensor]]) -> dict[str, list[tf.Tensor]]:
        def either(was: tf.Tensor, witness: tf.Tensor) -> tf.Tensor:
            now = tf.math.is_nan(witness)
            return was | (now if was.shape.rank else tf.reduce_any(now))

        return {
            name: [either(was, witness) for was, witness in zip(flags, self._drawn[name].nan_witnesses, strict=True)]
            for name, flags in before.items()
        }

    def _numbers_ahead(self, length: int, keys: Keys, names: Sequence[str]) -> _Numbers:
        """The uniform numbers of all steps' draws, [T, ...] each; none where they are to be drawn step by step."""
        needed = {(name, place): numbers for name in names for place, numbers in self.flow(name).numbers.items()}
        total = sum(math.prod(numbers.shape) for numbers in needed.values())
        if total < MIN_NUMBERS_AHEAD_OF_STEP or length * total > MAX_NUMBERS_AHEAD_OF_RUN:
            return {}

        step_keys = {name: random_ops.fold_in_each(self._key_of(name, keys), length) for name, _ in needed}

        def of_step(keys: dict[str, tf.Tensor]) -> list[tf.Tensor]:
            return [
                random_ops.random_bits(
                    numbers.shape,
                    random_ops.salted(seeding.seed_of_draw(keys[name], name, place), numbers.salt),
                    numbers.dtype,
                )
                for (name, place), numbers in needed.items()
            ]

        specs = [tf.TensorSpec(numbers.shape, random_ops.bits_type(numbers.dtype)) for numbers in needed.values()]
        found = tf.map_fn(of_step, step_keys, fn_output_signature=specs)
        ahead: _Numbers = {}
        for ((name, place), numbers), bits in zip(needed.items(), found):
            ahead.setdefault(name, {})[place] = random_ops.uniform_of(bits, numbers.dtype)
        return ahead

    def _needed(self, record: Record, with_last: bool) -> flow_lib.Needed:
        flows = self._all_flows()
        if not with_last:
            return flow_lib.needed(flows, _wanted(record))
        everything = _wanted({name: list(of_variable.field_reads) for name, of_variable in flows.items()})
        return flow_lib.Needed(frozenset(everything), frozenset(everything))

    def _loop(
        self,
        length: int,
        record: Record,
        needed: flow_lib.Needed,
        keys: Keys,
        first: _Fields,
        nan_found: Any,
        numbers: _Numbers,
    ) -> tuple[_Fields, _Fields, Any]:
        """The last value's carried fields, the stacked fields, and what was found of NaNs."""
        arrays = {
            name: {
                field: tf.TensorArray(
                    first[name][field].dtype, size=length, element_shape=first[name][field].shape
                ).write(0, first[name][field])
                for field in names
            }
            for name, names in record.items()
        }

        def body(step: tf.Tensor, previous: _Fields, nan_found: Any, arrays: Any) -> Any:
            of_step = {name: {place: every[step] for place, every in of.items()} for name, of in numbers.items()}
            now = self._next(keys, step, self._completed(previous), of_step)
            arrays = {
                name: {field: array.write(step, now[name][field]) for field, array in of_name.items()}
                for name, of_name in arrays.items()
            }
            computed = _only(now, needed.computed)
            if self._mode == "xla":
                nan_found = self._nan_so_far(nan_found)
            else:
                nan_found = self._nan_steps(computed, step, nan_found)
            return step + 1, _only(now, needed.carried), nan_found, arrays

        _, last, nan_found, arrays = tf.while_loop(
            lambda step, *_: step < length,
            body,
            (tf.constant(1), _only(first, needed.carried), nan_found, arrays),
            maximum_iterations=max(length - 1, 0),
            parallel_iterations=1,
        )
        stacked = {name: {field: array.stack() for field, array in of.items()} for name, of in arrays.items()}
        return last, stacked, nan_found

    def _loop_in_python(self, length: int, record: Record, keys: Keys, start: Optional[_Fields] = None) -> Run:
        with hoisting.scope():
            now, nan_steps = self._first(keys, start)
            rows: list[_Fields] = [now]
            for step in range(1, length):
                now = self._next(keys, tf.constant(step), now)
                nan_steps = self._nan_steps(now, tf.constant(step), nan_steps)
                rows.append(now)
        stacked = {
            name: {field: tf.stack([row[name][field] for row in rows]) for field in names}
            for name, names in record.items()
        }
        return Run(now, stacked, nan_steps)

    def _values(self, of_variables: Mapping[str, Mapping[str, tf.Tensor]]) -> dict[str, Value]:
        return {name: Value(**of_variable) for name, of_variable in of_variables.items()}

    def _completed(self, carried: _Fields) -> _Fields:
        """All fields; zeros stand in for those that nobody needed."""
        return {
            name: {
                field: carried.get(name, {}).get(field, tf.zeros(spec.shape, spec.dtype))
                for field, spec in of_variable.field_specs.items()
            }
            for name, of_variable in self._all_flows().items()
        }

    # Checks.

    def _known_record(self, record: Optional[Record]) -> Record:
        known = {var.name: list(var.spec.as_dict) for var in self._variables}
        if record is None:
            return {name: names for name, names in known.items() if names}
        if not isinstance(record, Mapping):
            raise validation.InvalidTypeError(f"record must be a dict of lists of fields by variable, got {record!r}")
        for name, names in record.items():
            validation.one_of("record", name, known)
            if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
                raise validation.InvalidTypeError(f"record of {name!r} must be a list of fields, got {names!r}")
            for field in names:
                validation.one_of(f"record of {name!r}", field, known[name])
        return record

    # Data flow.

    @property
    def worlds_differ_by_batch(self) -> bool:
        """Whether the corpus reacts to its users, so that each batch of users lives in a world of its own."""
        flows = self._all_flows()
        world = self._world_variables & flows.keys()
        return any(source not in world for name in world for source in flows[name].reads)

    def flow(self, name: str) -> VariableFlow:
        """What the step's value of the variable called `name` is computed from.

        Raises:
          InvalidInputError: if there is no such variable.
        """
        validation.one_of("variable", name, [var.name for var in self._variables])
        return self._all_flows()[name]

    def _all_flows(self) -> dict[str, VariableFlow]:
        if self._flows is None:
            self._flows = self._trace_flows()
        return self._flows

    def _trace_flows(self) -> dict[str, VariableFlow]:
        flows: dict[str, VariableFlow] = {}

        def one_step() -> None:
            initial = self._values(self._first_value(make_keys(0))[0])
            self._step_inputs = (make_keys(0), tf.constant(1), {})
            for var in self._network.variables:
                # Identities of the initial values are where the search backwards ends.
                inputs = [initial[dependency.variable_name].map(tf.identity) for dependency in var.value.dependencies]
                sources = {
                    field.ref(): Read(dependency.variable_name, field_name, not dependency.on_current_value)
                    for dependency, val in zip(var.value.dependencies, inputs)
                    for field_name, field in val.as_dict.items()
                }
                with hoisting.scope() as found:
                    result = var.value.fn(*inputs)
                drawn = self._drawn.get(var.name, seeding.Draws())
                draw_reads: dict[str, set[str]] = {}
                for read in flow_lib.reads_of(drawn.parameters, sources):
                    draw_reads.setdefault(read.variable, set()).add(read.field)
                outputs = {field: tf.convert_to_tensor(value) for field, value in result.as_dict.items()}
                flows[var.name] = VariableFlow(
                    field_reads={field: flow_lib.reads_of([tensor], sources) for field, tensor in outputs.items()},
                    draw_reads={name: sorted(names) for name, names in draw_reads.items()},
                    reads_weights=seeding.reads_variables(outputs.values(), stop=sources),
                    random_fields=drawn.field_names(result),
                    field_specs={
                        field: tf.TensorSpec(tensor.shape, tensor.dtype)
                        for field, tensor in initial[var.name].as_dict.items()
                    },
                    invariants=found.computations,
                    numbers=drawn.numbers,
                    nan_witnesses=[tf.TensorSpec(one.shape, one.dtype) for one in drawn.nan_witnesses],
                )

        tf.function(functools.partial(one_step), autograph=False).get_concrete_function()
        return flows


def _entity_of(definition: variable.ValueDef) -> str:
    """Name of the class whose method a value function is; "" if it is no method."""
    owner = getattr(definition.fn, "__self__", None)
    return "" if owner is None else type(owner).__name__


def _is_known(step: tf.Tensor) -> bool:
    return hasattr(step, "numpy")


def _fields_of(network_value: NetworkValue) -> _Fields:
    return {name: val.as_dict for name, val in to_tensors(network_value).items()}


def _only(of_variables: _Fields, wanted: Iterable[flow_lib.Field]) -> _Fields:
    """The wanted fields; variables without any are left out."""
    names = frozenset(wanted)
    kept = {
        name: {field: tensor for field, tensor in of_variable.items() if (name, field) in names}
        for name, of_variable in of_variables.items()
    }
    return {name: of_variable for name, of_variable in kept.items() if of_variable}


def _wanted(record: Record) -> list[flow_lib.Field]:
    return [(name, field) for name, names in record.items() for field in names]


def _hashable(record: Record) -> tuple[Any, ...]:
    return tuple((name, tuple(record[name])) for name in sorted(record))


def _has_nan(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    return _any(_nan_flags(tensors))


def _nan_flags(tensors: Iterable[tf.Tensor]) -> list[tf.Tensor]:
    return [tf.math.is_nan(tensor) for tensor in tensors if tensor.dtype.is_floating]


def _any(flags: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_any(tf.stack([tf.reduce_any(flag) for flag in flags])) if flags else tf.constant(False)
