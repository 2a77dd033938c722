"""Compiled, seeded execution of any RecSim NG network; records only the requested fields.

Over 350 lines: the runtime names the step and entity of a failure by repeating the run, which needs its programs.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Value
from recsim_ng.lib import runtime

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import dataflow, hoisting, rollout, seeding
from recsys_po_rl.simulation.dataflow import VariableFlow
from recsys_po_rl.simulation.nan_guard import NAN_STEP_UNKNOWN, FieldGuard, WitnessGuard, nan_anywhere
from recsys_po_rl.simulation.rollout import Record, Run
from recsys_po_rl.simulation.seeding import Keys, make_keys
from recsys_po_rl.simulation.step import (
    Fields,
    NetworkValue,
    SeededNetwork,
    StepContext,
    entity_name,
    fields_of,
    values_of,
)

MODES = ("graph", "xla", "eager")
POLICY_VARIABLES = (fields.SLATE_DOCS, fields.RECOMMENDER_STATE)
WORLD_VARIABLES = (fields.CORPUS_STATE, fields.AVAILABLE_DOCS)

# Errors of an operation of a compiled program, which repeating the run op by op can locate.
ERRORS_OF_OPERATIONS = (
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.InvalidArgumentError,
    tf.errors.UnknownError,
)


@gin_config.configurable
class SeededRuntime(runtime.Runtime):
    """Runtime that executes a network for a batch of users from explicit seeds.

    `execute(n)` returns the value n steps after the initial value; `trajectory(T)` returns T values, the initial value
    first, stacked on a new first axis. Fields that no recorded field depends on are not computed.
    """

    def __init__(
        self,
        variables: Iterable[variable.Variable],
        mode: str = "graph",
        policy_variables: Sequence[str] = POLICY_VARIABLES,
        world_variables: Sequence[str] = WORLD_VARIABLES,
    ) -> None:
        """Store the network without tracing it.

        Args:
          variables: the network's variables.
          mode: "graph" (one TensorFlow program), "xla" (the same program, compiled by XLA) or "eager" (op by op, for
            debugging). All modes draw the same integers and, up to rounding, the same normal numbers; see `random_ops`.
          policy_variables: names of variables that draw from the policy's key.
          world_variables: names of variables that all batches share, as long as no user influences them.

        Raises:
          InvalidInputError: if the mode is unknown, or a name is neither in the network nor among the defaults.
        """
        self._mode = validation.one_of("SeededRuntime: mode", mode, MODES)
        self._variables = tuple(variables)
        self._policy_variables = self._known_names("policy_variables", policy_variables, POLICY_VARIABLES)
        self._world_variables = self._known_names("world_variables", world_variables, WORLD_VARIABLES)
        self._network = SeededNetwork(self._variables, self._policy_variables, self._world_variables)
        self._flows: Optional[dict[str, VariableFlow]] = None
        self._compiled: dict[Any, Callable[..., Any]] = {}
        # Never under XLA: the first value is computed once, and would double the size of the compiled program.
        self._first_value = tf.function(functools.partial(rollout.first_value, self._network), autograph=False)
        self.trace_count = 0

    def _known_names(self, argument: str, given: Any, usual: Sequence[str]) -> frozenset[str]:
        name = f"SeededRuntime: {argument}"
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise validation.InvalidTypeError(f"{name} must be a list of names of variables, got {given!r}")
        known = {*(var.name for var in self._variables), *usual}
        return frozenset(validation.one_of(f"{name}: each", element, known) for element in given)

    @property
    def variables(self) -> Sequence[variable.Variable]:
        """Variables of the network, dependencies before dependants."""
        return self._network.variables

    @property
    def mode(self) -> str:
        """Mode of execution, one of `MODES`."""
        return self._mode

    def execute(
        self,
        num_steps: int,
        starting_value: Optional[NetworkValue] = None,
        keys: Optional[Keys] = None,
    ) -> dict[str, Value]:
        """Return the network's value `num_steps` steps after the starting value.

        Args:
          num_steps: at least 0.
          starting_value: value to start from; None: the initial value, drawn from the keys.
          keys: seeds; None: the keys of seed 0.

        Returns:
          A `Value` of tensors for each variable.

        Raises:
          InvalidInputError: if `starting_value` lacks a variable.
          FloatingPointError: if a field or a distribution's parameter became NaN; names the variable.
          RuntimeError: if an entity draws through a stateful random op; names the op.
        """
        steps = validation.integer("num_steps", num_steps, 0)
        last = self._checked_run(steps + 1, {}, True, self._start(starting_value), keys).last
        return values_of({name: last.get(name, {}) for name in self._network.names})  # some variables have no fields

    def trajectory(
        self,
        length: int,
        starting_value: Optional[NetworkValue] = None,
        keys: Optional[Keys] = None,
        record: Optional[Record] = None,
    ) -> dict[str, Value]:
        """Return the values of every step, stacked.

        Args:
          length: T, number of values to stack, at least 1.
          starting_value: value to start from; None: the initial value, drawn from the keys.
          keys: seeds; None: the keys of seed 0.
          record: fields to stack, by variable name; None: all fields of all variables.

        Returns:
          For each recorded variable a `Value` of tensors [T, ...].

        Raises:
          InvalidInputError: if `record` names an unknown variable or field.
          FloatingPointError, RuntimeError: as `execute`.
        """
        length = validation.integer("length", length, 1)
        return values_of(
            self._checked_run(length, self.known_record(record), False, self._start(starting_value), keys).stacked
        )

    def trajectories(
        self, length: int, keys: Sequence[Keys], record: Optional[Record] = None
    ) -> list[dict[str, Value]]:
        """Return trajectories of several batches of users, computed in parallel.

        Each trajectory is bit for bit equal to the result of `trajectory` for its keys.

        Args:
          length: T, at least 1.
          keys: keys of each batch; at least one.
          record: as in `trajectory`.

        Returns:
          A trajectory for each batch.

        Raises:
          As `trajectory`.
        """
        length = validation.integer("length", length, 1)
        record = self.known_record(record)
        batches = list(keys)
        if not batches:
            raise validation.InvalidInputError("keys must hold at least one batch's, got none")
        signature = ("side by side", length, _hashable(record))
        if signature not in self._compiled:

            def side_by_side(keys: list[Keys]) -> list[Run]:
                return [self.run(length, batch_keys, record) for batch_keys in keys]

            # TensorFlow counts traces by code object, over all runtimes, and warns of many; a partial has no code
            # object.
            compiled = tf.function(functools.partial(side_by_side), autograph=False)
            self._compiled[signature] = side_by_side if self._mode == "eager" else compiled
        with self.failures_located(length, batches):
            runs = self._compiled[signature](batches)
        for batch_keys, run in zip(batches, runs):
            self.raise_on_nan(run.nan_steps, length, batch_keys, record)
        return [values_of(run.stacked) for run in runs]

    def run(self, length: int, keys: Keys, record: Record, with_last: bool = False, start: Any = None) -> Run:
        """Run once, within functions that are compiled; several runs in one compiled function execute in parallel.

        Args:
          length: T, at least 1.
          keys: seeds.
          record: fields to stack, by variable name.
          with_last: whether to return the last value too.
          start: fields to start from, by variable and name; None: the initial value.

        Returns:
          The run; the caller passes `nan_steps` to `raise_on_nan`.
        """
        starts = () if start is None else (start,)
        if self._mode == "eager":
            self._all_flows()  # raises for stateful draws
            return rollout.python_loop(self._network, length, record, self.resolved(keys), *starts)
        return self._program(length, record, with_last)(keys, *starts)

    def _program(self, length: int, record: Record, with_last: bool) -> Callable[..., Run]:
        """Return the compiled rollout of this length that records these fields."""
        signature = (length, _hashable(record), with_last)
        if signature not in self._compiled:
            needed = self._needed(record, with_last)
            kept = needed.carried | frozenset(_pairs(record))
            in_xla = self._mode == "xla"
            names = sorted({name for name, _ in needed.computed})
            flows = self._all_flows()
            invariants = {key: compute for name in names for key, compute in flows[name].invariants.items()}
            witnesses = {name: flows[name].nan_witnesses for name in names}
            guard = WitnessGuard(witnesses) if in_xla else FieldGuard(self._network.names)

            def loop(keys: Keys, first: Fields, guard_state: Any, known: list[tf.Tensor]) -> tuple[Fields, Fields, Any]:
                self.trace_count += 1
                with hoisting.scope(dict(zip(invariants, known, strict=True))):
                    return rollout.compiled_loop(
                        network=self._network,
                        flows=flows,
                        length=length,
                        record=record,
                        needed=needed,
                        guard=guard,
                        keys=keys,
                        first=first,
                        guard_state=guard_state,
                    )

            # Partials avoid TensorFlow's warnings of many traces, see `trajectories`.
            compiled_loop = tf.function(functools.partial(loop), jit_compile=True if in_xla else None, autograph=False)

            def run(keys: Keys, start: Optional[Fields] = None) -> Run:
                keys = self.resolved(keys)
                first, nan_steps = self._first_value(keys, start)
                # Computed outside of XLA, so that XLA compiles a smaller program.
                known = [compute() for compute in invariants.values()]
                last, stacked, guard_state = compiled_loop(
                    keys, rollout.only(first, kept), guard.start(nan_steps), known
                )
                if in_xla:
                    anywhere = nan_anywhere(guard_state, tf.nest.flatten((stacked, last)))
                    nan_steps = tf.where(anywhere & (nan_steps < 0), NAN_STEP_UNKNOWN, nan_steps)
                return Run(last if with_last else {}, stacked, nan_steps if in_xla else guard_state)

            self._compiled[signature] = tf.function(functools.partial(run), autograph=False)
        return self._compiled[signature]

    def raise_on_nan(
        self, nan_steps: tf.Tensor, length: int, keys: Keys, record: Record, start: Optional[Fields] = None
    ) -> None:
        """Raise an error that names the first variables with a NaN in a run.

        Under XLA a run only detects a NaN in a recorded field or in a parameter of a draw. The run is then repeated in
        graph mode, which draws the same numbers, to locate the NaN.

        Args:
          nan_steps: `nan_steps` of a `Run`; not checked while a graph is traced.
          length: length of the run.
          keys: keys of the run.
          record: recorded fields of the run.
          start: start of the run.

        Raises:
          FloatingPointError: if the run has a NaN.
        """
        steps = nan_steps.numpy() if hasattr(nan_steps, "numpy") else None
        if steps is None or (steps < 0).all():
            return
        first = int(np.where(steps >= 0, steps, NAN_STEP_UNKNOWN).min())
        if first == NAN_STEP_UNKNOWN:
            groups = sorted(self._policy_variables), sorted(self._world_variables)
            repeated = SeededRuntime(self._variables, "graph", *groups)
            repeated._checked_run(length, record, True, start, keys)
            raise FloatingPointError("NaN in a run under XLA that graph mode does not reproduce")
        names = [name for name, step in zip(self._network.names, steps) if step == first]
        raise FloatingPointError(
            f"NaN at step {first} in a field, or in a parameter of a draw, of: "
            + ", ".join(self._nan_place(name, first, keys, start) for name in names)
        )

    def _nan_place(self, name: str, step: int, keys: Keys, start: Optional[Fields]) -> str:
        """Repeat a run, and describe a variable, its entity and its fields that have a NaN at a step."""
        var = {var.name: var for var in self._variables}[name]
        entity = entity_name(var.value)
        place = f"{name!r} (entity {entity})" if entity else repr(name)
        known = self.known_record(None)
        if name not in known:
            return place
        stacked = self.run(step + 1, keys, {name: known[name]}, start=start).stacked[name]
        fields_with_nan = [
            f"{field!r} ({tensor.dtype.name} {tensor.shape[1:].as_list()})"
            for field, tensor in stacked.items()
            if tensor.dtype.is_floating and np.isnan(tensor[step].numpy()).any()
        ]
        if fields_with_nan:
            return f"{place}, field {', '.join(fields_with_nan)}"
        if fields.DOC_RANKS in stacked and (stacked[fields.DOC_RANKS][step].numpy() < 0).any():
            return f"{place}, a slate that needs as many documents with a finite logit as it has places"
        return f"{place}, a parameter of a draw"

    @contextlib.contextmanager
    def failures_located(self, length: int, batches: Sequence[Keys], start: Optional[Fields] = None) -> Iterator[None]:
        """Repeat the runs of the block op by op if an operation of a compiled program fails.

        The error of a compiled program names only the operation. The repeated run draws the same numbers, and its
        operation fails in Python, where entity, step and line are known.

        Args:
          length: T of the runs within the block.
          batches: keys of the runs.
          start: start of the runs, as of `run`.

        Raises:
          Exception: the error of the repeated run; the error of the block if the repeated run succeeds.
        """
        try:
            yield
            return
        except ERRORS_OF_OPERATIONS as error:
            failed = error
        if self._mode != "eager" and tf.executing_eagerly():
            for keys in batches:
                rollout.python_loop(self._network, length, {}, self.resolved(keys), start)
        raise failed

    def resolved(self, keys: Keys) -> Keys:
        """Return the keys, with the batch's own key for a corpus that reacts to its users."""
        return keys._replace(shared=keys.world) if self.worlds_differ_by_batch else keys

    def _start(self, starting_value: Optional[NetworkValue]) -> Optional[Fields]:
        if starting_value is None:
            return None
        missing = [name for name in self._network.names if name not in starting_value]
        if missing:
            raise validation.InvalidInputError(f"starting_value lacks {', '.join(map(repr, sorted(missing)))}")
        return fields_of({name: starting_value[name] for name in self._network.names})

    def _checked_run(
        self, length: int, record: Record, with_last: bool, start: Optional[Fields], keys: Optional[Keys]
    ) -> Run:
        keys = make_keys(0) if keys is None else keys
        with self.failures_located(length, [keys], start):
            run = self.run(length, keys, record, with_last, start)
        self.raise_on_nan(run.nan_steps, length, keys, record, start)
        return run

    def _needed(self, record: Record, with_last: bool) -> dataflow.Needed:
        flows = self._all_flows()
        if not with_last:
            return dataflow.needed(flows, _pairs(record))
        everything = _pairs({name: list(flow.field_reads) for name, flow in flows.items()})
        return dataflow.Needed(frozenset(everything), frozenset(everything))

    def known_record(self, record: Optional[Record]) -> Record:
        """Return the validated fields to record; None: all fields of all variables."""
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

    @property
    def worlds_differ_by_batch(self) -> bool:
        """True if the corpus reacts to its users, so that each batch of users has a separate world."""
        flows = self._all_flows()
        world = self._world_variables & flows.keys()
        return any(source not in world for name in world for source in flows[name].reads)

    def flow(self, name: str) -> VariableFlow:
        """Return the data flow of a step's value of the variable called `name`.

        Raises:
          InvalidInputError: if no variable has this name.
        """
        validation.one_of("variable", name, [var.name for var in self._variables])
        return self._all_flows()[name]

    def _all_flows(self) -> dict[str, VariableFlow]:
        if self._flows is None:
            self._flows = dataflow.trace(self._network, self._traced_first)
        return self._flows

    def _traced_first(self) -> Fields:
        if self._mode != "eager":  # compiled modes need the function anyway
            return self._first_value(make_keys(0))[0]
        return self._network.initial(StepContext(make_keys(0), tf.constant(0), seeding.placeholder_draws)).fields


def _pairs(record: Record) -> list[dataflow.Field]:
    return [(name, field) for name, names in record.items() for field in names]


def _hashable(record: Record) -> tuple[Any, ...]:
    return tuple((name, tuple(record[name])) for name in sorted(record))
