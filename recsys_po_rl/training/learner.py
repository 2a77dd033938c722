"""Policy-gradient learner: rolls out without gradient, then differentiates the log-probability of the slates shown.

Over 350 lines: the arguments of the learner, a third of the module, are documented where they are validated.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional, Union

import tensorflow as tf

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import protocols, validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import advantages as advantages_lib
from recsys_po_rl.training import algorithms, losses, optimizers, schedules
from recsys_po_rl.training.critic import CriticBatch
from recsys_po_rl.training.replay import Recording, ReplayGradient, SlateReplay
from recsys_po_rl.training.shards import ShardComputer
from recsys_po_rl.training.side_by_side import SideBySideGradient


class Rollout(NamedTuple):
    """Record of T steps of U users, as the learner uses it."""

    rewards: tf.Tensor  # float32 [T, U], of all T responses
    recording: Recording
    nan_steps: tf.Tensor  # see `runtime.Run`
    critic_inputs: Optional[tf.Tensor] = None  # float32 [T, U, F]; None without a critic


class StepResult(NamedTuple):
    """Metrics of one training step; scalars, float32. With several updates, the mean over them."""

    mean_reward: tf.Tensor  # mean over users of the rewards summed over all T responses
    gradient_norm: tf.Tensor  # before clipping
    entropy: tf.Tensor  # nats, mean over steps and users; of the first pick if the slate's distribution defines that
    explained_variance: Any = math.nan  # of the returns by the critic's values, before its update; NaN without a critic
    approximate_kl: Any = 0.0  # nats, see `losses.policy_change`, before each update
    clip_share: Any = 0.0  # share of ratios outside the clip range, before each update
    critic_gradient_norm: Any = math.nan  # before clipping; NaN without a critic


class _Batch(NamedTuple):
    """Rollout of one shard with everything that an update needs."""

    rollout: Rollout
    advantages: tf.Tensor  # float32 [T, U]
    old_log_probs: tf.Tensor  # float32 [T, U]
    returns: tf.Tensor  # float32 [T, U]


class _Estimates(NamedTuple):
    """Advantages and returns of all shards, with metrics of the rewards."""

    advantages: list[tf.Tensor]  # float32 [T, U] of each shard
    returns: list[tf.Tensor]  # float32 [T, U] of each shard
    mean_reward: tf.Tensor
    explained_variance: tf.Tensor


class _Collected(NamedTuple):
    batches: list[_Batch]
    mean_reward: tf.Tensor
    explained_variance: tf.Tensor
    clean: tf.Tensor  # True if no rollout had a NaN


class _Update(NamedTuple):
    gradient_norm: tf.Tensor
    statistics: tf.Tensor  # entropy, approximate KL, clip share
    critic_gradient_norm: tf.Tensor


@gin_config.configurable
class PolicyGradientLearner:
    """Policy gradient with any Keras optimizer: REINFORCE or PPO, with or without a critic.

    The users of a step may be split into shards, batches of the network's size. The shards' rollouts and gradients run
    in parallel on the available cores and are summed in a fixed order, so that results do not depend on the number of
    cores (measured with 1, 2 and 4 threads for shards of up to 250 users). For shards of 500 users, XLA splits sums
    over users among the threads, and the last digits depend on their number.
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
        algorithm: Callable[[], protocols.Algorithm] = algorithms.Reinforce,
        critic: Optional[Callable[..., Any]] = None,
        trace_decay: float = 1.0,
        whole_return: bool = False,
        population_baseline: Optional[Callable[[tf.Tensor], tf.Tensor]] = advantages_lib.minus_population_mean,
        normalize_advantages: bool = True,
        learning_rate_schedule: Optional[Callable[[], Any]] = None,
        entropy_schedule: Optional[Callable[[], Any]] = None,
    ) -> None:
        """Build the optimizer, the critic and the replay; compilation happens at the first step.

        Args:
          network: network whose recommender is trained; its number of users is the size of one shard.
          horizon: T, slates shown to a user, at least 1.
          optimizer: constructor of a `tf.keras` optimizer.
          discount: discount of the reward-to-go, between 0 and 1.
          max_gradient_norm: global norm to which the gradient is clipped, above 0; None does not clip.
          entropy_bonus: weight, at least 0, of the mean entropy (nats, see `StepResult`) that is added to the
            objective at each step.
          runtime_ctor: constructor of the runtime, called with the network's variables.
          algorithm: constructor of a member of `training.algorithms`.
          critic: constructor, called with horizon and runtime, see `training.critic`; None: no critic.
          trace_decay: lambda of `advantages.generalized_advantages`, between 0 and 1; 1 without a critic.
          whole_return: whether an action is weighted with the user's total return, earlier rewards included
            (REINFORCE without causality; recsim_ng's rule), instead of the reward-to-go.
          population_baseline: function that subtracts a baseline, `advantages.minus_population_mean` or
            `minus_leave_one_out_mean`; None subtracts nothing.
          normalize_advantages: whether advantages are scaled to standard deviation 1 over the step's users.
          learning_rate_schedule: constructor of a member of `training.schedules`, whose factor multiplies the learning
            rates of optimizer and critic; None: constant, or the optimizer's own Keras schedule, which counts updates
            (epochs times minibatches per training step).
          entropy_schedule: constructor of the schedule of the entropy bonus; None: constant.

        Raises:
          InvalidInputError: if an argument is out of bounds, the recommender cannot learn, or network or learner are
            created under a distribution strategy.
        """
        owner = type(self).__name__
        if tf.distribute.has_strategy() or any(
            isinstance(variable, tf.distribute.DistributedValues) for variable in network.trainable_variables
        ):
            raise validation.InvalidInputError(
                f"{owner} cannot learn under a tf.distribute strategy: make network and learner outside of its scope"
            )
        self._horizon = validation.integer("horizon", horizon, 1)
        self._discount = validation.number(f"{owner}: discount", discount, 0.0, 1.0)
        self._max_gradient_norm = None
        if max_gradient_norm is not None:
            self._max_gradient_norm = validation.number(
                f"{owner}: max_gradient_norm", max_gradient_norm, 0.0, exclusive_minimum=True
            )
        self._entropy_bonus = validation.number(f"{owner}: entropy_bonus", entropy_bonus, 0.0)
        self._trace_decay = validation.number(f"{owner}: trace_decay", trace_decay, 0.0, 1.0)
        if critic is None and trace_decay != 1.0:
            raise validation.InvalidInputError(f"{owner}: trace_decay must be 1 without a critic, got {trace_decay}")
        self._whole_return = validation.boolean(f"{owner}: whole_return", whole_return)
        if self._whole_return and critic is not None:
            raise validation.InvalidInputError(f"{owner}: whole_return must be False where there is a critic")
        if self._whole_return and discount != 1.0:
            raise validation.InvalidInputError(f"{owner}: discount must be 1 with whole_return, got {discount}")
        self._population_baseline = None
        if population_baseline is not None:
            self._population_baseline = validation.constructor(f"{owner}: population_baseline", population_baseline)
        self._normalize = validation.boolean(f"{owner}: normalize_advantages", normalize_advantages)
        self._algorithm: protocols.Algorithm = validation.constructor(f"{owner}: algorithm", algorithm)()
        if not hasattr(self._algorithm, "loss"):
            raise validation.InvalidTypeError(
                f"{owner}: algorithm must make one of training.algorithms (in gin: @recsys_po_rl.Reinforce), "
                f"got {type(self._algorithm).__name__}"
            )
        self._learning_rate_schedule = self._schedule("learning_rate_schedule", learning_rate_schedule)
        self._entropy_schedule = self._schedule("entropy_schedule", entropy_schedule)
        if not network.trainable_variables:
            raise validation.InvalidInputError(
                f"{type(network.recommender).__name__} has no trainable variables: there is nothing to learn"
            )
        self.trainable_variables = network.trainable_variables
        self.optimizer = optimizers.construct(f"{owner}: optimizer", optimizer)
        self.optimizer.build(self.trainable_variables)
        self._runtime = validation.constructor(f"{owner}: runtime_ctor", runtime_ctor)(network.variables)
        self.critic = None
        if critic is not None:  # before the replay, which traces the network: arguments are validated first
            self.critic = validation.constructor(f"{owner}: critic", critic)(horizon=horizon, runtime=self._runtime)
        self._replay = SlateReplay(network.variables, self._runtime)
        self._record = {**self._replay.record, fields.METRICS_STATE: [fields.REWARD]}
        for name, names in ({} if self.critic is None else self.critic.record).items():
            self._record[name] = sorted({*self._record.get(name, ()), *names})
        self._first_rates = [self._first_rate(optimizer) for optimizer in self._optimizers()]
        self._gradient = SideBySideGradient(
            self._replay, self.trainable_variables, self._loss, num_statistics=3, mode=self._runtime.mode
        )
        self._log_probs: Callable[[Recording], tf.Tensor] = self._recorded_log_probs
        self._shards: Optional[ShardComputer] = None
        self._compiled_collect, self._compiled_update = self._collect, self._update
        self._compiled_collect_shard, self._compiled_shard_gradient = self._collect_shard, self._shard_gradient
        self._compiled_estimates, self._compiled_update_from = self._estimates, self._update_from
        if self._runtime.mode != "eager":
            jit_compile = True if self._runtime.mode == "xla" else None
            # Partials avoid TensorFlow's warnings of many traces, see `SeededRuntime`.
            self._log_probs = tf.function(
                functools.partial(self._recorded_log_probs), jit_compile=jit_compile, autograph=False
            )
            self._compiled_collect = tf.function(functools.partial(self._collect), autograph=False)
            self._compiled_update = tf.function(functools.partial(self._update), autograph=False)
            self._compiled_collect_shard = tf.function(functools.partial(self._collect_shard), autograph=False)
            self._compiled_shard_gradient = tf.function(functools.partial(self._shard_gradient), autograph=False)
            self._compiled_estimates = tf.function(functools.partial(self._estimates), autograph=False)
            self._compiled_update_from = tf.function(functools.partial(self._update_from), autograph=False)

    def _schedule(self, name: str, given: Optional[Callable[[], Any]]) -> Any:
        if given is None:
            return schedules.Constant()
        schedule = validation.constructor(f"{type(self).__name__}: {name}", given)()
        if not callable(schedule):
            raise validation.InvalidTypeError(
                f"{type(self).__name__}: {name} must make one of training.schedules (in gin: @recsys_po_rl.Linear), "
                f"got {type(schedule).__name__}"
            )
        return schedule

    def _optimizers(self) -> list[tf.keras.optimizers.Optimizer]:
        return [self.optimizer] + ([self.critic.optimizer] if self.critic is not None else [])

    def _first_rate(self, optimizer: tf.keras.optimizers.Optimizer) -> Optional[float]:
        """Return the learning rate that the schedule multiplies; None with a constant schedule."""
        if isinstance(self._learning_rate_schedule, schedules.Constant):
            return None
        own = optimizer.get_config()["learning_rate"]
        if isinstance(own, dict):  # a Keras schedule, as a dict
            raise validation.InvalidInputError(
                f"{type(self).__name__}: learning_rate_schedule needs optimizers with a constant learning rate, "
                f"got {own['class_name']}"
            )
        return float(own)

    def step(self, keys: Sequence[seeding.Keys], progress: float = 0.0) -> StepResult:
        """Roll out fresh users and update the weights; an update that is not finite is omitted.

        Args:
          keys: for each shard, the seeds of the users and of the policy's draws; the number of shards is a multiple of
            the algorithm's minibatches.
          progress: share of the training that is done, in [0, 1]; the argument of the schedules.

        Returns:
          The metrics of the step.

        Raises:
          InvalidInputError: if the shards cannot be split into the algorithm's minibatches, or `progress` is not in
            [0, 1].
          FloatingPointError: as `SeededRuntime.trajectory`.
        """
        validation.number("progress", progress, 0.0, 1.0)
        num_minibatches = self.num_minibatches
        if not keys or len(keys) % num_minibatches:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: the number of shards must be a multiple of the {num_minibatches} minibatches, "
                f"got {len(keys)}"
            )
        for optimizer, rate in zip(self._optimizers(), self._first_rates):
            if rate is not None:
                optimizer.learning_rate.assign(rate * self._learning_rate_schedule(progress))
        bonus = tf.constant(self._entropy_bonus * self._entropy_schedule(progress))
        collected, updates = (self._step_here if self._shards is None else self._step_elsewhere)(list(keys), bonus)
        mean = _Update(*(tf.reduce_mean(tf.stack(of_updates), axis=0) for of_updates in zip(*updates)))
        entropy, approximate_kl, clip_share = tf.unstack(mean.statistics)
        return StepResult(
            collected.mean_reward,
            mean.gradient_norm,
            entropy,
            collected.explained_variance,
            approximate_kl,
            clip_share,
            mean.critic_gradient_norm,
        )

    def _step_here(
        self, keys: list[seeding.Keys], bonus: tf.Tensor
    ) -> tuple[Union[_Collected, _Estimates], list[_Update]]:
        with self._runtime.failures_located(self._horizon + 1, keys):
            collected = self._compiled_collect(keys)
        updates = [
            self._compiled_update([collected.batches[shard] for shard in minibatch], bonus, collected.clean)
            for minibatch in self._minibatches(len(keys))
        ]
        for batch, shard_keys in zip(collected.batches, keys):
            self._runtime.raise_on_nan(batch.rollout.nan_steps, self._horizon + 1, shard_keys, self._record)
        return collected, updates

    def _step_elsewhere(
        self, keys: list[seeding.Keys], bonus: tf.Tensor
    ) -> tuple[Union[_Collected, _Estimates], list[_Update]]:
        assert self._shards is not None
        rollouts = self._shards.collect(keys)
        rewards = [rollout.rewards for rollout in rollouts]
        estimates = self._compiled_estimates(rewards, [rollout.critic_inputs for rollout in rollouts])
        updates = []
        for minibatch in self._minibatches(len(keys)):
            summed = self._shards.gradient(minibatch, [estimates.advantages[shard] for shard in minibatch], bonus)
            batches = []
            if self.critic is not None:
                batches = [CriticBatch(rollouts[shard].critic_inputs, estimates.returns[shard]) for shard in minibatch]
            updates.append(self._compiled_update_from(summed, tf.constant(1.0 / len(minibatch)), batches))
        return estimates, updates

    def _minibatches(self, num_shards: int) -> list[range]:
        """Return the numbers of the shards of each update of a step."""
        size = num_shards // self.num_minibatches
        starts = range(0, num_shards, size)
        return [range(start, start + size) for _ in range(self._algorithm.num_epochs) for start in starts]

    def compute_shards_with(self, shards: ShardComputer) -> None:
        """Compute the shards of the following steps elsewhere; weights, optimizers and critic stay here.

        Args:
          shards: computes rollouts and gradients under this learner's weights, for instance by
            `shards.ShardProgram` in other processes.
        """
        self._shards = shards

    def collect_shard(self, keys: seeding.Keys) -> tuple[Rollout, tf.Tensor]:
        """Roll out one shard under the current weights.

        Args:
          keys: seeds of the shard.

        Returns:
          The rollout, and the log-probabilities of its slates, float32 [T, U]; zeros if the algorithm needs no values.

        Raises:
          FloatingPointError: as `SeededRuntime.trajectory`.
        """
        with self._runtime.failures_located(self._horizon + 1, [keys]):
            rollout, log_probs = self._compiled_collect_shard(keys)
        self._runtime.raise_on_nan(rollout.nan_steps, self._horizon + 1, keys, self._record)
        return rollout, log_probs

    def shard_gradient(
        self,
        rollout: Rollout,
        old_log_probs: tf.Tensor,
        advantages: tf.Tensor,
        entropy_bonus: tf.Tensor,
        num_shards: int,
    ) -> ReplayGradient:
        """Compute one shard's term of the gradient of an update under the current weights.

        Args:
          rollout: rollout of the shard.
          old_log_probs: float32 [T, U], as of `collect_shard`.
          advantages: float32 [T, U].
          entropy_bonus: scalar.
          num_shards: number of shards of the update.

        Returns:
          The term, as of `SideBySideGradient.of_batch`.
        """
        return self._compiled_shard_gradient(rollout.recording, old_log_probs, advantages, entropy_bonus, num_shards)

    @property
    def num_minibatches(self) -> int:
        """Number of minibatches of the algorithm; divides the number of shards of a step."""
        return int(self._algorithm.num_minibatches)

    @property
    def discount(self) -> float:
        """Discount of the reward-to-go."""
        return self._discount

    @property
    def trace_decay(self) -> float:
        """Lambda of the generalized advantages."""
        return self._trace_decay

    def rollouts(self, keys: Sequence[seeding.Keys]) -> list[Rollout]:
        """Roll out each shard without an update; see `rollout`."""
        return [batch.rollout for batch in self._compiled_collect(list(keys), observe=False).batches]

    def rollout(self, keys: seeding.Keys) -> Rollout:
        """Roll out T steps of one shard's users under the current weights, without gradient."""
        # The metrics of a step count the response of the previous step: the last response is counted one step later.
        run = self._runtime.run(self._horizon + 1, keys, self._record)
        rewards = run.stacked[fields.METRICS_STATE][fields.REWARD][1:]
        seen = None if self.critic is None else self.critic.inputs(run.stacked)
        return Rollout(rewards, self._replay.recorded(run.stacked), run.nan_steps, seen)

    def advantages(self, rewards: tf.Tensor, values: Optional[tf.Tensor] = None) -> tf.Tensor:
        """Return the advantages of the slates shown.

        Args:
          rewards: float32 [T, U].
          values: values of the critic, float32 [T, U]; None without a critic.

        Returns:
          float32 [T, U].
        """
        if self._whole_return:
            advantages = advantages_lib.total_returns(rewards)
        else:
            values = tf.zeros_like(rewards) if values is None else values
            advantages = advantages_lib.generalized_advantages(rewards, values, self._discount, self._trace_decay)
        if self._population_baseline is not None:
            advantages = self._population_baseline(advantages)
        return advantages_lib.whiten(advantages) if self._normalize else advantages

    def gradients(
        self,
        rollouts: Sequence[Rollout],
        advantages: Sequence[tf.Tensor],
        old_log_probs: Optional[Sequence[tf.Tensor]] = None,
        entropy_bonus: Any = None,
    ) -> ReplayGradient:
        """Compute the gradient of the loss.

        Args:
          rollouts: rollout of each shard.
          advantages: for each shard float32 [T, U].
          old_log_probs: for each shard float32 [T, U]; None: log-probabilities under the current weights.
          entropy_bonus: scalar; None: the learner's entropy bonus.

        Returns:
          The gradient, with statistics: entropy, approximate KL and clip share, each averaged over users and summed
          over steps.
        """
        old = self._old_log_probs(rollouts) if old_log_probs is None else old_log_probs
        bonus = self._entropy_bonus if entropy_bonus is None else entropy_bonus
        others = [
            [advantage, before, tf.zeros_like(advantage) + bonus]
            for advantage, before in zip(advantages, old, strict=True)
        ]
        summed = self._gradient([rollout.recording for rollout in rollouts], others)
        return _scaled(summed, 1.0 / len(rollouts))  # the loss of each shard is a mean over its users

    def _loss(
        self, log_probs: tf.Tensor, entropies: tf.Tensor, advantages: tf.Tensor, old: tf.Tensor, bonus: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        entropy = tf.reduce_sum(tf.reduce_mean(entropies, axis=1))
        loss = self._algorithm.loss(log_probs, old, advantages) + losses.entropy_loss(entropies, bonus[0, 0])
        change = [tf.zeros(()), tf.zeros(())]
        if self._algorithm.needs_old_log_probs:
            num_steps = tf.cast(tf.shape(log_probs)[0], tf.float32)
            change = [num_steps * metric for metric in losses.policy_change(log_probs, old, self._algorithm.clip_range)]
        return loss, tf.stack([entropy, *change])

    def _old_log_probs(self, rollouts: Sequence[Rollout]) -> list[tf.Tensor]:
        """Return log-probabilities of each shard's slates, float32 [T, U]; zeros if the algorithm needs no values."""
        if self._algorithm.needs_old_log_probs:
            return [self._log_probs(rollout.recording) for rollout in rollouts]
        return [tf.zeros_like(rollout.rewards) for rollout in rollouts]

    def _recorded_log_probs(self, recording: Recording) -> tf.Tensor:
        return self._replay.log_probs(recording, self._horizon)

    def _collect(self, keys: list[seeding.Keys], observe: bool = True) -> _Collected:
        """Roll out and compute advantages; `observe` updates the critic's scaling statistics, but no weights."""
        rollouts = [self.rollout(of_shard) for of_shard in keys]
        rewards = [rollout.rewards for rollout in rollouts]
        estimates = self._estimates(rewards, [rollout.critic_inputs for rollout in rollouts], observe)
        batches = [
            _Batch(*of_shard)
            for of_shard in zip(rollouts, estimates.advantages, self._old_log_probs(rollouts), estimates.returns)
        ]
        clean = tf.reduce_all(tf.stack([rollout.nan_steps for rollout in rollouts]) < 0)
        return _Collected(batches, estimates.mean_reward, estimates.explained_variance, clean)

    def _estimates(
        self, rewards_of_shards: list[tf.Tensor], critic_inputs: list[Optional[tf.Tensor]], observe: bool = True
    ) -> _Estimates:
        """Compute returns and advantages over all shards; `observe` updates the critic's scaling statistics."""
        rewards = tf.concat(rewards_of_shards, axis=1)
        returns = advantages_lib.rewards_to_go(rewards, self._discount)
        values, explained = None, tf.constant(math.nan)
        if self.critic is not None:
            if observe:
                self.critic.observe(critic_inputs)
            values = tf.concat([self.critic.values(inputs) for inputs in critic_inputs], axis=1)
            explained = advantages_lib.explained_variance(values, returns)
        advantages = self.advantages(rewards, values)
        return _Estimates(
            tf.split(advantages, len(rewards_of_shards), axis=1),
            tf.split(returns, len(rewards_of_shards), axis=1),
            tf.reduce_mean(tf.reduce_sum(rewards, axis=0)),
            explained,
        )

    def _collect_shard(self, keys: seeding.Keys) -> tuple[Rollout, tf.Tensor]:
        rollout = self.rollout(keys)
        return rollout, self._old_log_probs([rollout])[0]

    def _shard_gradient(
        self, recording: Recording, old: tf.Tensor, advantages: tf.Tensor, bonus: tf.Tensor, num_shards: int
    ) -> ReplayGradient:
        return self._gradient.of_batch(recording, [advantages, old, tf.zeros_like(advantages) + bonus], num_shards)

    def _update(self, batches: list[_Batch], entropy_bonus: tf.Tensor, clean: tf.Tensor) -> _Update:
        """Update policy and critic once, from the shards of a minibatch."""
        gradient = self.gradients(
            [batch.rollout for batch in batches],
            [batch.advantages for batch in batches],
            [batch.old_log_probs for batch in batches],
            entropy_bonus,
        )
        of_critic = [CriticBatch(batch.rollout.critic_inputs, batch.returns) for batch in batches]
        return self._applied(gradient, of_critic, clean)

    def _update_from(self, summed: ReplayGradient, scale: tf.Tensor, critic_batches: list[CriticBatch]) -> _Update:
        """Update policy and critic once, from the sum of the shards' terms of the gradient."""
        return self._applied(_scaled(self._gradient.total(summed), scale), critic_batches, tf.constant(True))

    def _applied(self, gradient: ReplayGradient, critic_batches: list[CriticBatch], clean: tf.Tensor) -> _Update:
        gradients = gradient.gradients
        norm = tf.linalg.global_norm(gradients)
        if self._max_gradient_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._max_gradient_norm, use_norm=norm)
        apply = functools.partial(self._apply, gradients)
        tf.cond(clean & tf.math.is_finite(norm), apply, lambda: False)
        critic_norm = tf.constant(math.nan)
        if self.critic is not None:
            critic_norm = self.critic.update(critic_batches)
        return _Update(norm, gradient.statistics / self._horizon, critic_norm)

    def _apply(self, gradients: Sequence[tf.Tensor]) -> bool:
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return True


def _scaled(summed: ReplayGradient, scale: Any) -> ReplayGradient:
    return ReplayGradient([gradient * scale for gradient in summed.gradients], summed.statistics * scale)


OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "RMSprop", "SGD",
)  # fmt: skip
KERAS_SCHEDULES = (
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "PiecewiseConstantDecay",
    "PolynomialDecay",
)  # fmt: skip
for _name in OPTIMIZERS:
    gin_config.register_external(getattr(tf.keras.optimizers, _name), module="tf.keras.optimizers")
for _name in KERAS_SCHEDULES:
    gin_config.register_external(getattr(tf.keras.optimizers.schedules, _name), module="tf.keras.optimizers.schedules")
