"""Drop-in replacement of recsim_ng's TFRuntime, returned by `interest_evolution_simulation.make_runtime`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Value
from recsim_ng.lib.tensorflow import log_probability

from recsys_po_rl import _compat, fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation.step import to_tensors
from recsys_po_rl.training import losses
from recsys_po_rl.training.replay import SlateReplay
from recsys_po_rl.training.side_by_side import SideBySideGradient

LOG_PROB_ACCUMULATOR = f"{fields.SLATE_DOCS}_log_prob_accum"
_INT32 = tf.int32.limits


class ObjectiveGradient(NamedTuple):
    """Result of one REINFORCE step of `SimulationRuntime`."""

    gradients: list[tf.Tensor]  # one for each variable
    objective: tf.Tensor  # scalar
    mean_metric: tf.Tensor  # scalar, over users
    keys: seeding.Keys  # keys of the users
    nan_steps: tf.Tensor  # see `runtime.Run`


@gin_config.configurable
class SimulationRuntime:
    """Runtime of a network extended by the slates' log-probability and its sum over steps.

    Each call draws fresh users from TensorFlow's global random state, as recsim_ng's runtime does; gradients flow
    through `execute` and `trajectory`.
    """

    def __init__(self, variables: Sequence[variable.Variable], mode: str = "xla") -> None:
        """Store the network without tracing it.

        Args:
          variables: the network's variables, one of them named "slate docs".
          mode: mode of `SeededRuntime`.

        Raises:
          InvalidInputError: if no variable is named "slate docs", or the mode is unknown.
        """
        slate_docs = [var for var in variables if var.name == fields.SLATE_DOCS]
        if not slate_docs:
            names = ", ".join(repr(var.name) for var in variables)
            raise validation.InvalidInputError(
                f"variables must have one named {fields.SLATE_DOCS!r}, got {names or 'none'}"
            )
        log_prob = log_probability.log_prob_variables_from_direct_output(slate_docs)
        accumulator = log_probability.log_prob_accumulator_variables(log_prob)
        self._variables = list(variables)
        with_log_prob = [*variables, *log_prob, *accumulator]
        self._with_log_prob = SeededRuntime(with_log_prob, mode=mode)
        # TensorFlow cannot differentiate a loop that XLA has compiled, so gradients need a runtime in graph mode.
        self._differentiable = SeededRuntime(with_log_prob, mode="graph") if mode == "xla" else self._with_log_prob
        self._runtime = SeededRuntime(variables, mode=mode)
        self._replay: Optional[SlateReplay] = None
        self._gradients: dict[Any, SideBySideGradient] = {}

    def execute(self, num_steps: int, starting_value: Optional[Mapping[str, Value]] = None) -> dict[str, Value]:
        """Return the network's value `num_steps` steps after the starting value, or after a fresh initial value."""
        return self._differentiated("execute", num_steps, starting_value)

    def trajectory(self, length: int, starting_value: Optional[Mapping[str, Value]] = None) -> dict[str, Value]:
        """Return `length` values of the network, stacked on a new first axis."""
        return self._differentiated("trajectory", length, starting_value)

    def _differentiated(
        self, method: str, steps: int, starting_value: Optional[Mapping[str, Value]]
    ) -> dict[str, Value]:
        """Run a method of the runtime; its gradient repeats the run in graph mode, which draws the same numbers."""
        keys = fresh_keys()
        start = {name: value.as_dict for name, value in to_tensors(starting_value or {}).items()}

        def run(runtime: SeededRuntime, starts: Sequence[tf.Tensor]) -> dict[str, dict[str, tf.Tensor]]:
            given = tf.nest.pack_sequence_as(start, starts)
            first = None if starting_value is None else {name: Value(**given[name]) for name in given}
            values = getattr(runtime, method)(steps, first, keys)
            return {name: value.as_dict for name, value in values.items()}

        if self._differentiable is self._with_log_prob:
            values = run(self._with_log_prob, tf.nest.flatten(start))
        else:
            structure: list[Any] = []

            @tf.custom_gradient
            def flat(*starts: tf.Tensor) -> Any:
                with _compat.no_gradients_recorded():
                    forward = run(self._with_log_prob, starts)
                structure.append(forward)

                def gradient(*upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
                    floating = [place for place, tensor in enumerate(starts) if tensor.dtype.is_floating]
                    with tf.GradientTape() as tape:
                        tape.watch([starts[place] for place in floating])
                        again = tf.nest.flatten(run(self._differentiable, starts))
                    pairs = [(y, dy) for y, dy in zip(again, upstream) if y.dtype.is_floating]
                    sources = [*(starts[place] for place in floating), *variables]
                    gradients = tape.gradient([y for y, _ in pairs], sources, output_gradients=[dy for _, dy in pairs])
                    of_starts: list[Optional[tf.Tensor]] = [None] * len(starts)
                    for place, of_start in zip(floating, gradients):
                        of_starts[place] = of_start
                    return of_starts, gradients[len(floating) :]

                return tf.nest.flatten(forward), gradient

            outputs = flat(*tf.nest.flatten(start))
            values = tf.nest.pack_sequence_as(structure[0], outputs)
        return {name: Value(**values[name]) for name in values}

    def can_replay(self, trainable_variables: Sequence[tf.Variable]) -> bool:
        """Return whether recorded slates suffice for the objective's gradient, without a tape around the whole loop.

        They do not if the slates cannot be replayed, or if variables other than the recommender's depend on weights.
        """
        del trainable_variables
        if self._replay is None:
            try:
                self._replay = SlateReplay(self._variables, self._runtime)
            except validation.InvalidInputError:
                return False
        recommender = (fields.SLATE_DOCS, fields.RECOMMENDER_STATE)
        names = [var.name for var in self._variables if var.name not in recommender]
        return not any(self._runtime.flow(name).reads_weights for name in names)

    def objective_gradient(
        self, horizon: int, global_batch: int, trainable_variables: Sequence[tf.Variable], metric: str
    ) -> ObjectiveGradient:
        """Roll out fresh users without gradient, then differentiate the log-probability of the slates shown.

        Requires `can_replay`.

        Args:
          horizon: number of values of the network, the initial value included.
          global_batch: number of users by which the sum over users is divided.
          trainable_variables: variables with respect to which the objective is differentiated.
          metric: field of the metrics.
        """
        assert self._replay is not None
        keys = fresh_keys()
        run = self._runtime.run(horizon, keys, {**self._replay.record, fields.METRICS_STATE: [metric]})
        values = run.stacked[fields.METRICS_STATE][metric][-1]
        num_users = tf.cast(tf.size(values), tf.float32)
        weights = tf.broadcast_to(values * (num_users / global_batch), (horizon, *values.shape))
        signature = tuple(var.ref() for var in trainable_variables)
        if signature not in self._gradients:
            self._gradients[signature] = SideBySideGradient(
                self._replay, trainable_variables, _objective, num_statistics=1, mode=self._runtime.mode
            )
        gradient = self._gradients[signature]([self._replay.recorded(run.stacked)], [[weights]])
        return ObjectiveGradient(
            gradient.gradients, gradient.statistics[0], tf.reduce_mean(values), keys, run.nan_steps
        )

    def raise_on_nan(self, step: ObjectiveGradient, horizon: int, metric: str) -> None:
        """Raise as `SeededRuntime.raise_on_nan` does, for a step of `objective_gradient`."""
        assert self._replay is not None
        record = {**self._replay.record, fields.METRICS_STATE: [metric]}
        self._runtime.raise_on_nan(step.nan_steps, horizon, step.keys, record)


def fresh_keys() -> seeding.Keys:
    """Draw keys from TensorFlow's global random state; a graph draws new keys at each execution."""
    seeds = tf.random.uniform((3, 2), minval=_INT32[0], maxval=_INT32[1], dtype=tf.int32)
    return seeding.Keys(*tf.unstack(seeds))


def _objective(log_probs: tf.Tensor, entropies: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    del entropies
    loss = losses.reinforce_loss(log_probs, weights)
    return loss, loss[tf.newaxis]
