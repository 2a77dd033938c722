"""Learned state-value baseline of an actor-critic."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Optional

import tensorflow as tf

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.training import optimizers

HIDDEN_UNITS = 64
REWARD_PER_STEP = 0.5  # the initial value is this number times the remaining steps
STATISTICS_MEMORY = 0.95  # decay per training step of the inputs' running mean and variance
LEARNING_RATE = 8e-3


class CriticBatch(NamedTuple):
    """Critic's inputs and regression targets of T steps of U users."""

    inputs: tf.Tensor  # float32 [T, U, F]
    returns: tf.Tensor  # float32 [T, U], reward-to-go


@gin_config.configurable
class LearnedValue(tf.Module):
    """Small network that predicts a user's future reward per remaining step.

    Inputs are the time, the fields that the slate's distribution reads from the recommender's state and from the users'
    observation, and the user's latent interest. The interest is available in training only: an asymmetric actor-critic
    (Pinto et al., "Asymmetric actor critic for image-based robot learning", 2018). The policy does not use the critic.

        value_t = (T - t) * (0.5 + w2 tanh(W1 x_t + b1) + b2),   w2 = b2 = 0 initially,

    with inputs x scaled to mean 0 and variance 1 by running statistics. The loss is the squared error of the return
    per remaining step, weighted by the number of remaining steps.
    """

    def __init__(
        self,
        horizon: int,
        runtime: SeededRuntime,
        hidden_units: int = HIDDEN_UNITS,
        sees_interest: bool = True,
        optimizer: Optional[Callable[[], tf.keras.optimizers.Optimizer]] = None,
        max_gradient_norm: float = 1.0,
    ) -> None:
        """Build the layers and the optimizer.

        Args:
          horizon: T, at least 1.
          runtime: runtime of the network whose users' returns are predicted.
          hidden_units: width of the hidden layer, at least 1.
          sees_interest: whether the user's interest is an input.
          optimizer: constructor of a `tf.keras` optimizer; Adam at 8e-3 if None.
          max_gradient_norm: global norm to which the critic's gradient is clipped, above 0.

        Raises:
          InvalidInputError: if an argument is out of bounds, or `sees_interest` is True and the users lack the
            field interest.state.
        """
        super().__init__(name="learned_value")
        owner = type(self).__name__
        self._horizon = validation.integer("horizon", horizon, 1)
        units = validation.integer(f"{owner}: hidden_units", hidden_units, 1)
        self._max_gradient_norm = validation.number(
            f"{owner}: max_gradient_norm", max_gradient_norm, 0.0, exclusive_minimum=True
        )
        validation.boolean(f"{owner}: sees_interest", sees_interest)
        make_optimizer = optimizer or (lambda: tf.keras.optimizers.Adam(LEARNING_RATE))
        self.optimizer = optimizers.construct(f"{owner}: optimizer", make_optimizer)
        self._num_users = next(iter(runtime.flow(fields.SLATE_DOCS).field_specs.values())).shape[0]
        self.record = _actors_inputs(runtime)
        if sees_interest:
            if fields.INTEREST not in runtime.flow(fields.USER_STATE).field_specs:
                raise validation.InvalidInputError(
                    f"{owner}: users have no field {fields.INTEREST}: set sees_interest = False"
                )
            if self.record.get(fields.USER_OBSERVATION) == [fields.OBSERVED_INTEREST]:
                del self.record[fields.USER_OBSERVATION]  # equal to the interest
            self.record[fields.USER_STATE] = [fields.INTEREST]
        shapes = [
            runtime.flow(name).field_specs[field].shape[1:] for name, names in self.record.items() for field in names
        ]
        size = sum(shape.num_elements() for shape in shapes) + 1
        # float32 under any global precision policy, as the rewards are.
        self._hidden = tf.keras.layers.Dense(units, activation="tanh", dtype="float32", name="hidden")
        self._output = tf.keras.layers.Dense(1, kernel_initializer="zeros", dtype="float32", name="output")
        self._hidden.build((None, size))
        self._output.build((None, units))
        self._mean = tf.Variable(tf.zeros((size,)), trainable=False, name="mean")
        self._variance = tf.Variable(tf.ones((size,)), trainable=False, name="variance")
        self._seen = tf.Variable(0.0, trainable=False, name="seen")  # total weight of the inputs in the statistics
        self.weights = [*self._hidden.trainable_variables, *self._output.trainable_variables]
        self.optimizer.build(self.weights)

    def inputs(self, stacked: Mapping[str, Mapping[str, tf.Tensor]]) -> tf.Tensor:
        """Return the critic's inputs; float32 [T, U, F].

        Args:
          stacked: the fields of `record`, each [T or more, U, ...].
        """
        axes = (self._horizon, self._num_users, -1)
        parts = [stacked[name][field][: self._horizon] for name, names in self.record.items() for field in names]
        time = tf.broadcast_to(self._remaining()[..., tf.newaxis] / self._horizon, (*axes[:2], 1))
        return tf.concat([*(tf.cast(tf.reshape(part, axes), tf.float32) for part in parts), time], axis=-1)

    def observe(self, inputs: Sequence[tf.Tensor]) -> None:
        """Update the scaling statistics with the inputs [T, U, F] of all shards, if all inputs are finite."""
        mean, variance = tf.nn.moments(tf.concat(list(inputs), axis=1), axes=[0, 1])
        seen = self._seen * STATISTICS_MEMORY + (1.0 - STATISTICS_MEMORY)
        share = (1.0 - STATISTICS_MEMORY) / seen

        def count() -> bool:
            self._seen.assign(seen)
            self._mean.assign_add(share * (mean - self._mean))
            self._variance.assign_add(share * (variance - self._variance))
            return True

        tf.cond(tf.math.is_finite(tf.reduce_sum(mean + variance)), count, lambda: False)

    def values(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the predicted reward-to-go at each step; float32 [T, U] for inputs [T, U, F]."""
        return self._remaining() * self._per_step(inputs)

    def update(self, batches: Sequence[CriticBatch]) -> tf.Tensor:
        """Apply one optimizer step, unless its gradient is not finite; return the gradient's norm, a scalar."""
        inputs = tf.concat([batch.inputs for batch in batches], axis=1)
        returns = tf.concat([batch.returns for batch in batches], axis=1)
        remaining = self._remaining()
        with tf.GradientTape() as tape:
            errors = self._per_step(inputs) - returns / remaining
            loss = tf.reduce_mean(remaining * tf.square(errors)) / tf.reduce_mean(remaining)
        gradients = tape.gradient(loss, self.weights)
        norm = tf.linalg.global_norm(gradients)
        clipped, _ = tf.clip_by_global_norm(gradients, self._max_gradient_norm, use_norm=norm)

        def apply() -> bool:
            self.optimizer.apply_gradients(zip(clipped, self.weights))
            return True

        tf.cond(tf.math.is_finite(norm), apply, lambda: False)
        return norm

    def _per_step(self, inputs: tf.Tensor) -> tf.Tensor:
        scaled = (inputs - self._mean) * tf.math.rsqrt(self._variance + 1e-6)
        return REWARD_PER_STEP + _step_by_step(self._output, _step_by_step(self._hidden, scaled))[..., 0]

    def _remaining(self) -> tf.Tensor:
        """Return the number of remaining steps at each step, the step included; float32 [T, 1]."""
        return tf.range(self._horizon, 0, -1, dtype=tf.float32)[:, tf.newaxis]


def _step_by_step(layer: tf.keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
    """Apply a dense layer to inputs [T, U, F] as T matrix products.

    As one product, the kernel's gradient is a sum over all T * U rows, which Eigen splits among the available threads:
    the last digits would depend on the number of cores. Sums over U alone, added in the order of T, do not.
    """
    kernel = tf.broadcast_to(layer.kernel, (tf.shape(inputs)[0], *layer.kernel.shape))
    return layer.activation(tf.matmul(inputs, kernel) + layer.bias)


def _actors_inputs(runtime: SeededRuntime) -> dict[str, list[str]]:
    """Return, by variable, the floating-point fields of the policy's inputs that the slate's distribution reads."""
    features = {}
    for name in (fields.RECOMMENDER_STATE, fields.USER_OBSERVATION):
        reads = runtime.flow(fields.SLATE_DOCS).draw_reads.get(name, ())
        features[name] = [field for field in reads if runtime.flow(name).field_specs[field].dtype.is_floating]
    return {name: names for name, names in features.items() if names}
