"""Log-probabilities of recorded slates under the current weights, and their gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import hoisting, seeding
from recsys_po_rl.simulation.runtime import SeededRuntime


class Recording(NamedTuple):
    """Record of a rollout of T steps of U users from which its slates can be replayed."""

    inputs: tuple[dict[str, tf.Tensor], ...]  # by dependency of the slate, fields its distribution reads, [T, ...]
    draws: tuple[tf.Tensor, ...]  # the slate's random fields, in the order in which they are drawn, [T, ...]
    # For a recommender's state that depends on weights: the fields that each of its dependencies held, [T, ...].
    transitions: tuple[dict[str, tf.Tensor], ...]


# Called with log-probabilities and entropies, float32 [N, U], and further tensors [N, U] of N steps. Returns a scalar
# loss and a vector of statistics, both to be summed over steps.
Loss = Callable[..., tuple[tf.Tensor, tf.Tensor]]


class ReplayGradient(NamedTuple):
    """Gradient of a loss that is summed over steps."""

    gradients: list[tf.Tensor]  # one for each variable
    statistics: tf.Tensor  # float32, summed over steps


class SlateReplay:
    """Replay of recorded slates under the current weights, for any recommender entity.

    The slate's own value function is evaluated again with recorded inputs, its draws replaced by the recorded draws. A
    custom recommender therefore only has to draw its slates through Edward2.

    A recommender's state that depends on weights (as of a recurrent scorer) is not taken from the recording: it is
    computed again from the first step on, from recorded responses and slates, and gradients flow through it.

    Attributes:
      random_fields: names of the slate's random fields, in the order in which they are drawn.
      carries_state: whether the recommender's state depends on weights.
    """

    def __init__(self, variables: Sequence[variable.Variable], runtime: SeededRuntime) -> None:
        """Determine the fields that the slate's distribution reads.

        Args:
          variables: the network's variables.
          runtime: runtime of the network.

        Raises:
          InvalidInputError: if the slate is not random, draws a random variable that is not one of its fields, or
            depends on a previous value.
        """
        by_name = {var.name: var for var in variables}
        self._slate = by_name[fields.SLATE_DOCS]
        self._state: Any = by_name.get(fields.RECOMMENDER_STATE)
        flow = runtime.flow(fields.SLATE_DOCS)
        if not flow.random_fields:
            raise validation.InvalidInputError(
                f"{fields.SLATE_DOCS!r} draws no Edward2 random variable: such a recommender cannot learn by policy "
                "gradient"
            )
        if None in flow.random_fields:
            raise validation.InvalidInputError(
                f"{fields.SLATE_DOCS!r} draws a random variable that is not one of its fields, so its log-probability "
                "cannot be computed again"
            )
        if any(not dependency.on_current_value for dependency in self._slate.value.dependencies):
            raise validation.InvalidInputError(f"{fields.SLATE_DOCS!r} must depend on current values only")
        self.random_fields = [name for name in flow.random_fields if name is not None]
        self._dependencies = [dependency.variable_name for dependency in self._slate.value.dependencies]
        self._reads = {name: list(flow.draw_reads.get(name, ())) for name in self._dependencies}
        self._transition_dependencies: list[str] = []
        self._transition_reads: dict[str, list[str]] = {}
        self.carries_state = self._state is not None and runtime.flow(fields.RECOMMENDER_STATE).reads_weights
        if self.carries_state:
            self._reads[fields.RECOMMENDER_STATE] = []
            self._transition_dependencies = self._previous_dependencies()
            state_flow = runtime.flow(fields.RECOMMENDER_STATE)
            self._transition_reads = {
                name: list(state_flow.reads.get(name, ()))
                for name in self._transition_dependencies
                if name != fields.RECOMMENDER_STATE
            }
        self._invariants = flow.invariants
        self._specs = {
            name: runtime.flow(name).field_specs for name in {*self._dependencies, *self._transition_dependencies}
        }

    def _previous_dependencies(self) -> list[str]:
        if any(dependency.on_current_value for dependency in self._state.value.dependencies):
            raise validation.InvalidInputError(
                f"{fields.RECOMMENDER_STATE!r} depends on weights: it must depend on previous values only"
            )
        return [dependency.variable_name for dependency in self._state.value.dependencies]

    @property
    def record(self) -> dict[str, list[str]]:
        """Fields that a rollout must record, by variable."""
        needed: dict[str, set[str]] = {fields.SLATE_DOCS: set(self.random_fields)}
        for reads in (self._reads, self._transition_reads):
            for name, names in reads.items():
                needed.setdefault(name, set()).update(names)
        return {name: sorted(names) for name, names in needed.items() if names}

    def recorded(self, stacked: Mapping[str, Mapping[str, tf.Tensor]]) -> Recording:
        """Return the recording of a trajectory that has the fields of `record`."""

        def fields_of(reads: Mapping[str, list[str]], names: Sequence[str]) -> tuple[dict[str, tf.Tensor], ...]:
            return tuple({field: stacked[name][field] for field in reads.get(name, ())} for name in names)

        drawn = tuple(stacked[fields.SLATE_DOCS][field] for field in self.random_fields)
        return Recording(
            fields_of(self._reads, self._dependencies),
            drawn,
            fields_of(self._transition_reads, self._transition_dependencies),
        )

    def log_prob_and_entropy(
        self, inputs: Sequence[Mapping[str, Any]], drawn: Sequence[Any], state: Optional[Value] = None
    ) -> tuple[Any, Any]:
        """Compute log-probability and entropy of one step's slates; float32 [U] each.

        Args:
          inputs: for each dependency of the slate the recorded fields of one step.
          drawn: the recorded draws of that step.
          state: the recommender's recomputed state; None: the recorded state.
        """
        dependencies = [
            state if state is not None and name == fields.RECOMMENDER_STATE else self._completed(name, recorded)
            for name, recorded in zip(self._dependencies, inputs)
        ]
        with seeding.replayed_draws(drawn) as replayed:
            self._slate.value.fn(*dependencies)
        log_probs = [
            _per_user(rv.distribution.log_prob(recorded)) for rv, recorded in zip(replayed.random_variables, drawn)
        ]
        entropies = [_per_user(_entropy(rv.distribution)) for rv in replayed.random_variables]
        return tf.add_n(log_probs), tf.add_n(entropies)

    def invariants(self) -> dict[Any, tf.Tensor]:
        """Return the slate distribution's weight-only computations by key; empty if the state is carried."""
        return {} if self.carries_state else {key: compute() for key, compute in self._invariants.items()}

    def gradients(
        self,
        variables: Sequence[tf.Variable],
        loss: Loss,
        recording: Recording,
        others: Sequence[tf.Tensor],
        num_statistics: int,
        known: Mapping[Any, tf.Tensor],
        start: Any = 0,
        stop: Any = None,
    ) -> ReplayGradient:
        """Compute the gradient of a loss of the recorded slates.

        The gradient is accumulated step by step, so that the data of a step stay in the cache and memory does not grow
        with the horizon. For a recommender whose state depends on weights, it flows back through all steps.

        Args:
          variables: variables with respect to which the loss is differentiated.
          loss: see `Loss`; called with `others` cut to the same steps.
          recording: recording of T steps or more.
          others: tensors [T, U], at least one.
          num_statistics: length of the vector that `loss` returns.
          known: result of `invariants`; treated as independent inputs.
          start: first step, scalar; 0 if the state is carried.
          stop: step after the last one, scalar; T if None or if the state is carried.

        Returns:
          The gradient with respect to `variables`, then to `known`; zeros for sources that the slates do not depend on.
        """
        if self.carries_state:
            return self._gradients_through_time(variables, loss, recording, others)
        stop = others[0].shape[0] if stop is None else stop
        sources = [*variables, *known.values()]

        def body(step: tf.Tensor, sums: list[tf.Tensor], statistics: tf.Tensor) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(list(known.values()))
                log_prob, entropy = self.log_prob_and_entropy(
                    _at_step(recording.inputs, step), [drawn[step] for drawn in recording.draws]
                )
                value, step_statistics = loss(
                    log_prob[tf.newaxis], entropy[tf.newaxis], *(other[step][tf.newaxis] for other in others)
                )
            gradients = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            sums = [total + tf.convert_to_tensor(gradient) for total, gradient in zip(sums, gradients)]
            return step + 1, sums, statistics + step_statistics

        zeros = [tf.zeros(source.shape, source.dtype) for source in sources]
        with hoisting.scope(known):
            _, sums, statistics = tf.while_loop(
                lambda step, *_: step < stop,
                body,
                (tf.convert_to_tensor(start), zeros, tf.zeros((num_statistics,))),
                parallel_iterations=1,
            )
        return ReplayGradient(sums, statistics)

    def _gradients_through_time(
        self, variables: Sequence[tf.Variable], loss: Loss, recording: Recording, others: Sequence[tf.Tensor]
    ) -> ReplayGradient:
        with tf.GradientTape() as tape, hoisting.scope():
            value, statistics = loss(*self._unrolled(recording, others[0].shape[0]), *others)
        gradients = tape.gradient(value, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return ReplayGradient([tf.convert_to_tensor(gradient) for gradient in gradients], statistics)

    def log_probs(self, recording: Recording, horizon: int) -> tf.Tensor:
        """Compute the log-probabilities of the slates of the first steps; float32 [horizon, U]."""
        with hoisting.scope():
            if self.carries_state:
                return self._unrolled(recording, horizon)[0]
            log_probs = tf.TensorArray(tf.float32, size=horizon, element_shape=(recording.draws[0].shape[1],))

            def body(step: tf.Tensor, log_probs: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
                log_prob, _ = self.log_prob_and_entropy(
                    _at_step(recording.inputs, step), [drawn[step] for drawn in recording.draws]
                )
                return step + 1, log_probs.write(step, log_prob)

            _, log_probs = tf.while_loop(
                lambda step, *_: step < horizon,
                body,
                (tf.constant(0), log_probs),
                maximum_iterations=horizon,
                parallel_iterations=1,
            )
            return log_probs.stack()

    def _unrolled(self, recording: Recording, horizon: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute log-probabilities and entropies with a recomputed state; float32 [horizon, U] each."""
        num_users = recording.draws[0].shape[1]
        with seeding.deterministic_draws_only(fields.RECOMMENDER_STATE):
            first = self._state.initial_value.fn().map(tf.convert_to_tensor).as_dict
        arrays = [tf.TensorArray(tf.float32, size=horizon, element_shape=(num_users,)) for _ in range(2)]

        def body(step: tf.Tensor, packed: Any, log_probs: Any, entropies: Any) -> Any:
            state = Value(**packed)
            log_prob, entropy = self.log_prob_and_entropy(
                _at_step(recording.inputs, step), [drawn[step] for drawn in recording.draws], state
            )
            dependencies = [
                state if name == fields.RECOMMENDER_STATE else self._completed(name, recorded)
                for name, recorded in zip(self._transition_dependencies, _at_step(recording.transitions, step))
            ]
            with seeding.deterministic_draws_only(fields.RECOMMENDER_STATE):
                following = self._state.value.fn(*dependencies).map(tf.convert_to_tensor).as_dict
            return step + 1, following, log_probs.write(step, log_prob), entropies.write(step, entropy)

        _, _, log_probs, entropies = tf.while_loop(
            lambda step, *_: step < horizon, body, (tf.constant(0), first, *arrays), maximum_iterations=horizon
        )
        return log_probs.stack(), entropies.stack()

    def _completed(self, name: str, recorded: Mapping[str, Any]) -> Value:
        """Return a value with all fields; fields that the distribution does not read are zeros."""
        return Value(
            **{
                field: recorded[field] if field in recorded else tf.zeros(spec.shape, spec.dtype)
                for field, spec in self._specs[name].items()
            }
        )


def _at_step(recorded: Sequence[Mapping[str, tf.Tensor]], step: tf.Tensor) -> list[dict[str, tf.Tensor]]:
    return [{name: field[step] for name, field in of_variable.items()} for of_variable in recorded]


def _per_user(tensor: tf.Tensor) -> tf.Tensor:
    """Sum over all axes but the first."""
    return tf.reduce_sum(tf.cast(tensor, tf.float32), axis=list(range(1, len(tensor.shape))))


def _entropy(distribution: Any) -> tf.Tensor:
    """Return the entropy of the first pick for slate distributions, else the distribution's entropy, else zeros."""
    if hasattr(distribution, "first_pick_entropy"):
        return distribution.first_pick_entropy()
    try:
        return distribution.entropy()
    except NotImplementedError:
        return tf.zeros(distribution.batch_shape)
