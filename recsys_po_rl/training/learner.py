"""One training step: roll out without gradient, then differentiate the log-probability of what was shown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Value

from recsys_po_rl import checks, draws, fields, gin_config
from recsys_po_rl.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import estimators


class Rollout(NamedTuple):
    """What the learner keeps of T steps of U users."""

    rewards: tf.Tensor  # float32 [T, U], of all T responses
    inputs: tuple[dict[str, tf.Tensor], ...]  # for each dependency of the slate, the fields its law reads, [T, ...]
    draws: tuple[tf.Tensor, ...]  # the slate's random fields, in the order in which they are drawn, [T, ...]
    # For a recommender's state that depends on weights: what each of its dependencies held, [T, ...].
    transitions: tuple[dict[str, tf.Tensor], ...] = ()


class StepResult(NamedTuple):
    """What one training step saw; scalars, float32."""

    mean_reward: tf.Tensor  # mean over users of the rewards summed over all T responses
    gradient_norm: tf.Tensor  # before clipping
    entropy: tf.Tensor  # nats, mean over steps and users; of the first pick where the law of the slate offers that


class SlateReplay:
    """Log-probabilities of recorded slates under the policy's weights as they are now, for any recommender entity.

    The slate's own value function is evaluated again with recorded inputs, its draws replaced by the recorded ones, so
    a recommender of the user's own needs nothing but to draw through Edward2 what it shows.

    A recommender's state that depends on weights (a recurrent scorer's) is not trusted as recorded: it is computed
    again from the first step on, from recorded responses and slates, and gradients flow through it.
    """

    def __init__(self, variables: Sequence[variable.Variable], runtime: SeededRuntime) -> None:
        """Finds out what the slate's law reads.

        Args:
          variables: the network's variables.
          runtime: a runtime over them.

        Raises:
          checks.InvalidInputError: if slates are not random, draw something that is not a field of theirs, or depend
            on a previous value.
        """
        by_name = {var.name: var for var in variables}
        self._slate = by_name[fields.SLATE_DOCS]
        self._state: Any = by_name.get(fields.RECOMMENDER_STATE)
        flow = runtime.flow(fields.SLATE_DOCS)
        if not flow.random_fields:
            raise checks.InvalidInputError(
                f"{fields.SLATE_DOCS!r} draws no Edward2 random variable: such a recommender cannot learn by policy "
                "gradient"
            )
        if None in flow.random_fields:
            raise checks.InvalidInputError(
                f"{fields.SLATE_DOCS!r} draws a random variable that is not one of its fields, so its log-probability "
                "cannot be computed again"
            )
        if any(not dependency.on_current_value for dependency in self._slate.value.dependencies):
            raise checks.InvalidInputError(f"{fields.SLATE_DOCS!r} must depend on current values only")
        self._random_fields = [name for name in flow.random_fields if name is not None]
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
        self._specs = {
            name: runtime.flow(name).field_specs for name in {*self._dependencies, *self._transition_dependencies}
        }

    def _previous_dependencies(self) -> list[str]:
        if any(dependency.on_current_value for dependency in self._state.value.dependencies):
            raise checks.InvalidInputError(
                f"{fields.RECOMMENDER_STATE!r} depends on weights: it must depend on previous values only"
            )
        return [dependency.variable_name for dependency in self._state.value.dependencies]

    @property
    def record(self) -> dict[str, list[str]]:
        """The fields a rollout must record, by variable."""
        needed: dict[str, set[str]] = {fields.SLATE_DOCS: set(self._random_fields)}
        for reads in (self._reads, self._transition_reads):
            for name, names in reads.items():
                needed.setdefault(name, set()).update(names)
        return {name: sorted(names) for name, names in needed.items() if names}

    def recorded(self, trajectory: Mapping[str, Value], length: int) -> tuple[Any, Any, Any]:
        """The inputs, draws and transitions of the first `length` steps of a trajectory, as in `Rollout`."""

        def fields_of(reads: Mapping[str, list[str]], names: Sequence[str]) -> tuple[dict[str, tf.Tensor], ...]:
            return tuple(
                {field: trajectory[name].get(field)[:length] for field in reads.get(name, ())} for name in names
            )

        drawn = tuple(trajectory[fields.SLATE_DOCS].get(field)[:length] for field in self._random_fields)
        return (
            fields_of(self._reads, self._dependencies),
            drawn,
            fields_of(self._transition_reads, self._transition_dependencies),
        )

    def log_prob_and_entropy(
        self, inputs: Sequence[Mapping[str, Any]], drawn: Sequence[Any], state: Optional[Value] = None
    ) -> tuple[Any, Any]:
        """Log-probability and entropy of one step's slates; float32 [U] each.

        Args:
          inputs: for each dependency of the slate the recorded fields of one step.
          drawn: the recorded draws of that step.
          state: the recommender's state, where it is computed again.
        """
        dependencies = [
            state if state is not None and name == fields.RECOMMENDER_STATE else self._completed(name, recorded)
            for name, recorded in zip(self._dependencies, inputs)
        ]
        with draws.replayed_draws(drawn) as replayed:
            self._slate.value.fn(*dependencies)
        log_probs = [
            _per_user(rv.distribution.log_prob(recorded)) for rv, recorded in zip(replayed.random_variables, drawn)
        ]
        entropies = [_per_user(_entropy(rv.distribution)) for rv in replayed.random_variables]
        return tf.add_n(log_probs), tf.add_n(entropies)

    def unrolled(self, rollout: Rollout) -> tuple[tf.Tensor, tf.Tensor]:
        """Log-probabilities and entropies of all steps, the recommender's state computed again; float32 [T, U] each."""
        horizon = rollout.rewards.shape[0]
        with draws.certain_draws(fields.RECOMMENDER_STATE):
            first = self._state.initial_value.fn().map(tf.convert_to_tensor).as_dict
        arrays = [tf.TensorArray(tf.float32, size=horizon, element_shape=rollout.rewards.shape[1:]) for _ in range(2)]

        def body(step: tf.Tensor, packed: Any, log_probs: Any, entropies: Any) -> Any:
            state = Value(**packed)
            log_prob, entropy = self.log_prob_and_entropy(
                _at_step(rollout.inputs, step), [drawn[step] for drawn in rollout.draws], state
            )
            dependencies = [
                state if name == fields.RECOMMENDER_STATE else self._completed(name, recorded)
                for name, recorded in zip(self._transition_dependencies, _at_step(rollout.transitions, step))
            ]
            with draws.certain_draws(fields.RECOMMENDER_STATE):
                following = self._state.value.fn(*dependencies).map(tf.convert_to_tensor).as_dict
            return step + 1, following, log_probs.write(step, log_prob), entropies.write(step, entropy)

        _, _, log_probs, entropies = tf.while_loop(
            lambda step, *_: step < horizon, body, (tf.constant(0), first, *arrays), maximum_iterations=horizon
        )
        return log_probs.stack(), entropies.stack()

    def _completed(self, name: str, recorded: Mapping[str, Any]) -> Value:
        """A value with all fields: zeros stand in for those that are asked for but not read."""
        return Value(
            **{
                field: recorded[field] if field in recorded else tf.zeros(spec.shape, spec.dtype)
                for field, spec in self._specs[name].items()
            }
        )


def _at_step(recorded: Sequence[Mapping[str, tf.Tensor]], step: tf.Tensor) -> list[dict[str, tf.Tensor]]:
    return [{name: field[step] for name, field in of_variable.items()} for of_variable in recorded]


@gin_config.configurable
class PolicyGradientLearner:
    """REINFORCE with reward-to-go and the population's mean as baseline, any Keras optimizer."""

    def __init__(
        self,
        network: SimulationNetwork,
        horizon: int,
        optimizer: Callable[[], tf.keras.optimizers.Optimizer] = tf.keras.optimizers.Adam,
        discount: float = 1.0,
        max_gradient_norm: Optional[float] = 1.0,
        entropy_bonus: float = 0.0,
        runtime_ctor: Callable[..., SeededRuntime] = SeededRuntime,
    ) -> None:
        """Makes the learner; nothing is compiled yet.

        Args:
          network: whose recommender learns.
          horizon: T, slates shown to a user, at least 1.
          optimizer: constructor of a `tf.keras` optimizer.
          discount: of the reward-to-go, between 0 and 1.
          max_gradient_norm: global norm to which the gradient is clipped, above 0; None does not clip.
          entropy_bonus: weight, at least 0, of the mean entropy (nats, see `StepResult`) that is added to the
            objective at each step.
          runtime_ctor: called with the network's variables.

        Raises:
          checks.InvalidInputError: if an argument is out of bounds, or the recommender cannot learn.
        """
        self._horizon = checks.integer("horizon", horizon, 1)
        self._discount = checks.number("PolicyGradientLearner: discount", discount, 0.0, 1.0)
        self._max_gradient_norm = None
        if max_gradient_norm is not None:
            self._max_gradient_norm = checks.number(
                "PolicyGradientLearner: max_gradient_norm", max_gradient_norm, 0.0, exclusive_minimum=True
            )
        self._entropy_bonus = checks.number("PolicyGradientLearner: entropy_bonus", entropy_bonus, 0.0)
        checks.constructor("PolicyGradientLearner: optimizer", optimizer)
        if not network.trainable_variables:
            raise checks.InvalidInputError(
                f"{type(network.recommender).__name__} has no trainable variables: there is nothing to learn"
            )
        self.trainable_variables = network.trainable_variables
        self.optimizer = optimizer()
        self.optimizer.build(self.trainable_variables)
        self._runtime = checks.constructor("PolicyGradientLearner: runtime_ctor", runtime_ctor)(network.variables)
        self._replay = SlateReplay(network.variables, self._runtime)

    def step(self, keys: draws.Keys) -> StepResult:
        """Rolls out fresh users and updates the weights once.

        Args:
          keys: seeds of the users and of the policy's draws.
        """
        rollout = self.rollout(keys)
        gradient_norm, entropy = self._update(rollout)
        mean_reward = tf.reduce_mean(tf.reduce_sum(rollout.rewards, axis=0))
        return StepResult(mean_reward, gradient_norm, entropy)

    def rollout(self, keys: draws.Keys) -> Rollout:
        """T steps of U users under the present weights, without gradient."""
        record = {**self._replay.record, fields.METRICS_STATE: [fields.REWARD]}
        # The metrics of a step see the response of the step before: the last response is counted one step later.
        trajectory = self._runtime.trajectory(self._horizon + 1, keys=keys, record=record)
        rewards = trajectory[fields.METRICS_STATE].get(fields.REWARD)[1:]
        return Rollout(rewards, *self._replay.recorded(trajectory, self._horizon))

    def advantages(self, rewards: tf.Tensor) -> tf.Tensor:
        """float32 [T, U]: reward-to-go minus the population's mean, scaled to standard deviation 1."""
        return estimators.whiten(estimators.minus_population_mean(estimators.rewards_to_go(rewards, self._discount)))

    @tf.function(autograph=False)
    def _update(self, rollout: Rollout) -> tuple[tf.Tensor, tf.Tensor]:
        gradients, entropy = self.gradients(rollout, self.advantages(rollout.rewards))
        gradient_norm = tf.linalg.global_norm(gradients)
        if self._max_gradient_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._max_gradient_norm, use_norm=gradient_norm)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return gradient_norm, entropy

    def gradients(self, rollout: Rollout, advantages: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradient of the loss.

        It is taken step by step, so that memory does not grow with the horizon, but for a recommender whose state
        depends on weights: there it flows back through all steps.

        Args:
          rollout: what was shown.
          advantages: float32 [T, U].

        Returns:
          One gradient for each trainable variable, and the mean entropy over steps and users (nats).
        """
        if self._replay.carries_state:
            return self._gradients_through_time(rollout, advantages)
        horizon = rollout.rewards.shape[0]

        def body(step: tf.Tensor, sums: list[tf.Tensor], entropy_sum: tf.Tensor) -> Any:
            inputs = _at_step(rollout.inputs, step)
            with tf.GradientTape() as tape:
                log_prob, entropy = self._replay.log_prob_and_entropy(inputs, [drawn[step] for drawn in rollout.draws])
                entropy = tf.reduce_mean(entropy)
                loss = estimators.reinforce_loss(log_prob[tf.newaxis], advantages[step][tf.newaxis])
                loss -= self._entropy_bonus * entropy
            found = tape.gradient(loss, self.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return (
                step + 1,
                [total + tf.convert_to_tensor(one) for total, one in zip(sums, found)],
                entropy_sum + entropy,
            )

        zeros = [tf.zeros(var.shape, var.dtype) for var in self.trainable_variables]
        _, sums, entropy_sum = tf.while_loop(
            lambda step, *_: step < horizon,
            body,
            (tf.constant(0), zeros, tf.constant(0.0)),
            parallel_iterations=1,
        )
        return sums, entropy_sum / tf.cast(horizon, tf.float32)

    def _gradients_through_time(self, rollout: Rollout, advantages: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            log_probs, entropies = self._replay.unrolled(rollout)
            loss = estimators.reinforce_loss(log_probs, advantages)
            loss -= self._entropy_bonus * tf.reduce_sum(tf.reduce_mean(entropies, axis=1))
        found = tape.gradient(loss, self.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in found], tf.reduce_mean(entropies)


def _per_user(tensor: tf.Tensor) -> tf.Tensor:
    """Sums all axes but the first."""
    return tf.reduce_sum(tf.cast(tensor, tf.float32), axis=list(range(1, len(tensor.shape))))


def _entropy(distribution: Any) -> tf.Tensor:
    """Entropy of the first pick for laws of slates, of the whole where a distribution has one, else 0."""
    if hasattr(distribution, "first_pick_entropy"):
        return distribution.first_pick_entropy()
    try:
        return distribution.entropy()
    except NotImplementedError:
        return tf.zeros(distribution.batch_shape)


for _optimizer in (tf.keras.optimizers.Adam, tf.keras.optimizers.SGD):
    gin_config.register_external(_optimizer, module="tf.keras.optimizers")
