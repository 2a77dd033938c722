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


class StepResult(NamedTuple):
    """What one training step saw; scalars, float32."""

    mean_reward: tf.Tensor  # mean over users of the rewards summed over all T responses
    gradient_norm: tf.Tensor  # before clipping
    entropy: tf.Tensor  # nats, mean over steps and users; of the first pick where the law of the slate offers that


class SlateReplay:
    """Log-probabilities of recorded slates under the policy's weights as they are now, for any recommender entity.

    The slate's own value function is evaluated again with recorded inputs, its draws replaced by the recorded ones, so
    a recommender of the user's own needs nothing but to draw through Edward2 what it shows.
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
        slate = by_name[fields.SLATE_DOCS]
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
        if any(not dependency.on_current_value for dependency in slate.value.dependencies):
            raise checks.InvalidInputError(f"{fields.SLATE_DOCS!r} must depend on current values only")
        self._slate = slate
        self._dependencies = [dependency.variable_name for dependency in slate.value.dependencies]
        self._specs = {name: runtime.flow(name).field_specs for name in self._dependencies}
        self._reads = {name: list(flow.draw_reads.get(name, ())) for name in self._dependencies}
        self._random_fields = [name for name in flow.random_fields if name is not None]

    @property
    def record(self) -> dict[str, list[str]]:
        """The fields a rollout must record, by variable."""
        needed = {name: names for name, names in self._reads.items() if names}
        return {**needed, fields.SLATE_DOCS: sorted(set(self._random_fields))}

    def recorded(self, trajectory: Mapping[str, Value], length: int) -> tuple[Any, Any]:
        """The inputs and draws of the first `length` steps of a trajectory, as in `Rollout`."""
        inputs = tuple(
            {field: trajectory[name].get(field)[:length] for field in self._reads[name]} for name in self._dependencies
        )
        return inputs, tuple(trajectory[fields.SLATE_DOCS].get(field)[:length] for field in self._random_fields)

    def log_prob_and_entropy(self, inputs: Sequence[Mapping[str, Any]], drawn: Sequence[Any]) -> tuple[Any, Any]:
        """Log-probability and entropy of one step's slates; float32 [U] each.

        Args:
          inputs: for each dependency of the slate the recorded fields of one step.
          drawn: the recorded draws of that step.
        """
        dependencies = []
        for name, recorded in zip(self._dependencies, inputs):
            # Fields that the law does not read are asked for all the same: zeros stand in for them.
            values = {
                field: recorded[field] if field in recorded else tf.zeros(spec.shape, spec.dtype)
                for field, spec in self._specs[name].items()
            }
            dependencies.append(Value(**values))
        with draws.replayed_draws(drawn) as replayed:
            self._slate.value.fn(*dependencies)
        log_probs = [
            _per_user(rv.distribution.log_prob(recorded)) for rv, recorded in zip(replayed.random_variables, drawn)
        ]
        entropies = [_per_user(_entropy(rv.distribution)) for rv in replayed.random_variables]
        return tf.add_n(log_probs), tf.add_n(entropies)


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
        inputs, drawn = self._replay.recorded(trajectory, self._horizon)
        return Rollout(trajectory[fields.METRICS_STATE].get(fields.REWARD)[1:], inputs, drawn)

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
        """Gradient of the loss, step by step so that memory does not grow with the horizon.

        Args:
          rollout: what was shown.
          advantages: float32 [T, U].

        Returns:
          One gradient for each trainable variable, and the mean entropy over steps and users (nats).
        """
        horizon = rollout.rewards.shape[0]

        def body(step: tf.Tensor, sums: list[tf.Tensor], entropy_sum: tf.Tensor) -> Any:
            inputs = [{name: field[step] for name, field in recorded.items()} for recorded in rollout.inputs]
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
