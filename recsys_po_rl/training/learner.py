"""One training step: roll out without gradient, then differentiate the log-probability of what was shown."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import tensorflow as tf

from recsys_po_rl import checks, draws, fields, gin_config
from recsys_po_rl.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import estimators
from recsys_po_rl.training.replay import Recording, ReplayGradient, SideBySideGradient, SlateReplay


class Rollout(NamedTuple):
    """What the learner keeps of T steps of U users."""

    rewards: tf.Tensor  # float32 [T, U], of all T responses
    recording: Recording
    nan_steps: tf.Tensor  # see `runtime.Run`


class StepResult(NamedTuple):
    """What one training step saw; scalars, float32."""

    mean_reward: tf.Tensor  # mean over users of the rewards summed over all T responses
    gradient_norm: tf.Tensor  # before clipping
    entropy: tf.Tensor  # nats, mean over steps and users; of the first pick where the law of the slate offers that


@gin_config.configurable
class PolicyGradientLearner:
    """REINFORCE with reward-to-go and the population's mean as baseline, any Keras optimizer.

    The users of a step may be several batches of the network's users, its shards: their rollouts and gradients run side
    by side on the cores there are, and are summed in a fixed order, so that numbers do not depend on the cores.
    """

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
          network: whose recommender learns; its users are those of one shard.
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
        self._record = {**self._replay.record, fields.METRICS_STATE: [fields.REWARD]}
        self._gradient = SideBySideGradient(
            self._replay, self.trainable_variables, self._loss, num_statistics=1, mode=self._runtime.mode
        )
        self._compiled_step = self._step
        if self._runtime.mode != "eager":
            self._compiled_step = tf.function(self._step, autograph=False)

    def step(self, keys: Sequence[draws.Keys]) -> StepResult:
        """Rolls out fresh users and updates the weights once; an update that is not finite is left out.

        Args:
          keys: for each shard, seeds of the users and of the policy's draws.

        Raises:
          FloatingPointError: as `SeededRuntime.trajectory`.
        """
        result, nan_steps = self._compiled_step(list(keys))
        for of_shard, shard_keys in zip(nan_steps, keys):
            self._runtime.raise_on_nan(of_shard, self._horizon + 1, shard_keys, self._record)
        return result

    def rollout(self, keys: draws.Keys) -> Rollout:
        """T steps of one shard's users under the present weights, without gradient."""
        # The metrics of a step see the response of the step before: the last response is counted one step later.
        run = self._runtime.run(self._horizon + 1, keys, self._record)
        rewards = run.stacked[fields.METRICS_STATE][fields.REWARD][1:]
        return Rollout(rewards, self._replay.recorded(run.stacked), run.nan_steps)

    def advantages(self, rewards: tf.Tensor) -> tf.Tensor:
        """float32 [T, U]: reward-to-go minus the population's mean, scaled to standard deviation 1."""
        return estimators.whiten(estimators.minus_population_mean(estimators.rewards_to_go(rewards, self._discount)))

    def gradients(self, rollouts: Sequence[Rollout], advantages: Sequence[tf.Tensor]) -> ReplayGradient:
        """Gradient of the loss.

        Args:
          rollouts: of each shard.
          advantages: for each shard float32 [T, U].

        Returns:
          Its statistics are one number, the sum over steps of the mean entropy over users.
        """
        summed = self._gradient([rollout.recording for rollout in rollouts], [[one] for one in advantages])
        scale = 1.0 / len(rollouts)  # the loss of each shard is a mean over its users
        return ReplayGradient([gradient * scale for gradient in summed.gradients], summed.statistics * scale)

    def _loss(self, log_probs: tf.Tensor, entropies: tf.Tensor, advantages: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        entropy = tf.reduce_sum(tf.reduce_mean(entropies, axis=1))
        return estimators.reinforce_loss(log_probs, advantages) - self._entropy_bonus * entropy, entropy[tf.newaxis]

    def _step(self, keys: list[draws.Keys]) -> tuple[StepResult, list[tf.Tensor]]:
        rollouts = [self.rollout(of_shard) for of_shard in keys]
        rewards = tf.concat([rollout.rewards for rollout in rollouts], axis=1)
        advantages = tf.split(self.advantages(rewards), len(keys), axis=1)
        gradients, statistics = self.gradients(rollouts, advantages)
        gradient_norm = tf.linalg.global_norm(gradients)
        if self._max_gradient_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._max_gradient_norm, use_norm=gradient_norm)
        update = functools.partial(self._update, gradients)
        clean = tf.reduce_all(tf.stack([rollout.nan_steps for rollout in rollouts]) < 0)
        tf.cond(clean & tf.math.is_finite(gradient_norm), update, lambda: False)
        mean_reward = tf.reduce_mean(tf.reduce_sum(rewards, axis=0))
        result = StepResult(mean_reward, gradient_norm, statistics[0] / self._horizon)
        return result, [rollout.nan_steps for rollout in rollouts]

    def _update(self, gradients: Sequence[tf.Tensor]) -> bool:
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return True


for _optimizer in (tf.keras.optimizers.Adam, tf.keras.optimizers.SGD):
    gin_config.register_external(_optimizer, module="tf.keras.optimizers")
