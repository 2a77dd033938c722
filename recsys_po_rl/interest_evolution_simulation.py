"""Drop-in facade: recsim_ng's names and signatures for running and training an interest-evolution network."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
from recsim_ng.core import variable

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.training.dropin_runtime import LOG_PROB_ACCUMULATOR, ObjectiveGradient, SimulationRuntime

METRICS = (fields.REWARD, fields.CUMULATIVE_REWARD)

TrainStep = Callable[[], tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]]


class SimulationHistory(NamedTuple):
    """Training history of `run_simulation`, with one entry for each training step."""

    objective: list[float]
    metric: list[float]  # mean over users of the optimised metric


@gin_config.configurable
def reset_optimizer(learning_rate: float) -> tf.keras.optimizers.Optimizer:
    """Return a new Keras SGD without momentum.

    Args:
      learning_rate: learning rate, above 0.
    """
    rate = validation.number("learning_rate", learning_rate, 0.0, exclusive_minimum=True)
    return tf.keras.optimizers.SGD(learning_rate=rate)


def distributed_train_step(
    tf_runtime: Any,
    horizon: int,
    global_batch: int,
    trainable_variables: Sequence[tf.Variable],
    metric_to_optimize: str = fields.REWARD,
    optimizer: Optional[tf.keras.optimizers.Optimizer] = None,
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """Run one REINFORCE step (Williams 1992) over `horizon` values of the network.

    The objective is minus the sum over users of metric * log-probability of the user's slates, divided by
    `global_batch`. The metric is taken at the last step and is not differentiated. The gradient equals the gradient of
    the unrolled loop. With a runtime of `make_runtime`, slates are rolled out first and then differentiated; any other
    runtime with recsim_ng's `execute` is differentiated during its execution.

    Args:
      tf_runtime: result of `make_runtime`.
      horizon: number of values of the network, including the initial one; at least 1.
      global_batch: number of users over all replicas, at least 1.
      trainable_variables: variables to differentiate with respect to; at least one.
      metric_to_optimize: "reward" (of the last response only) or "cumulative_reward".
      optimizer: applies the gradients; None: gradients are not applied.

    Returns:
      The gradients, the objective (scalar), and the mean of the metric over users (scalar).

    Raises:
      InvalidInputError: one line that names an invalid argument.
      FloatingPointError: if a field or a distribution's parameter is NaN; names the variable.
    """
    _check(horizon, global_batch, trainable_variables, metric_to_optimize)
    arguments = (tf_runtime, horizon, global_batch, trainable_variables, metric_to_optimize)
    if not _replays(tf_runtime, trainable_variables):
        gradients, objective, mean_metric = _unrolled_gradient(*arguments)
    else:
        step = tf_runtime.objective_gradient(*arguments[1:])
        tf_runtime.raise_on_nan(step, horizon, metric_to_optimize)
        gradients, objective, mean_metric = step.gradients, step.objective, step.mean_metric
    if optimizer is not None:
        optimizer.apply_gradients(zip(gradients, trainable_variables))
    return gradients, objective, mean_metric


def _replays(tf_runtime: Any, trainable_variables: Sequence[tf.Variable]) -> bool:
    return isinstance(tf_runtime, SimulationRuntime) and tf_runtime.can_replay(trainable_variables)


def _unrolled_gradient(
    tf_runtime: Any, horizon: int, global_batch: int, trainable_variables: Sequence[tf.Variable], metric_name: str
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    with tf.GradientTape() as tape:
        last = tf_runtime.execute(num_steps=horizon - 1)
        metric = last[fields.METRICS_STATE].get(metric_name)
        log_prob = last[LOG_PROB_ACCUMULATOR].get(fields.DOC_RANKS)
        objective = -tf.reduce_sum(tf.stop_gradient(metric) * log_prob) / tf.cast(global_batch, tf.float32)
    return tape.gradient(objective, list(trainable_variables)), objective, tf.reduce_mean(metric)


def make_runtime(variables: Sequence[variable.Variable]) -> SimulationRuntime:
    """Return a runtime over the network, extended by the slates' log-probability and its sum over steps.

    The runtime uses XLA; bind `recsys_po_rl.SimulationRuntime.mode` for another mode.

    Args:
      variables: the network's variables, including a variable named "slate docs".

    Raises:
      InvalidInputError: if no variable has that name.
    """
    return SimulationRuntime(variables)


def make_train_step(
    tf_runtime: Any,
    horizon: int,
    global_batch: int,
    trainable_variables: Sequence[tf.Variable],
    metric_to_optimize: str,
    optimizer: Optional[tf.keras.optimizers.Optimizer] = None,
) -> TrainStep:
    """Return `distributed_train_step` as a compiled function without arguments that returns gradients as a tuple.

    Args and errors: see `distributed_train_step`; invalid arguments raise before compilation. When a step returns, its
    update is done; a step that encounters NaN raises without an update.
    """
    _check(horizon, global_batch, trainable_variables, metric_to_optimize)
    arguments = (tf_runtime, horizon, global_batch, trainable_variables, metric_to_optimize)
    if not _replays(tf_runtime, trainable_variables):

        @tf.function
        def unrolled_step() -> tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]:
            gradients, objective, metric = distributed_train_step(*arguments, optimizer)
            return tuple(gradients), objective, metric

        return unrolled_step
    if optimizer is not None:
        optimizer.build(trainable_variables)

    @tf.function(autograph=False)
    def compiled_step() -> ObjectiveGradient:
        step = tf_runtime.objective_gradient(*arguments[1:])
        if optimizer is not None:

            def update() -> bool:
                optimizer.apply_gradients(zip(step.gradients, trainable_variables))
                return True

            tf.cond(tf.reduce_all(step.nan_steps < 0), update, lambda: False)
        return step

    def train_step() -> tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]:
        step = compiled_step()
        tf_runtime.raise_on_nan(step, horizon, metric_to_optimize)
        return tuple(step.gradients), step.objective, step.mean_metric

    return train_step


@gin_config.configurable
def run_simulation(
    num_training_steps: int,
    horizon: int,
    global_batch: int,
    learning_rate: float,
    simulation_variables: Sequence[variable.Variable],
    trainable_variables: Sequence[tf.Variable],
    metric_to_optimize: str = fields.REWARD,
) -> SimulationHistory:
    """Train with a new SGD optimizer.

    Args:
      num_training_steps: number of training steps, at least 0.
      horizon: as in `distributed_train_step`.
      global_batch: as in `distributed_train_step`.
      learning_rate: as in `reset_optimizer`.
      simulation_variables: as in `make_runtime`.
      trainable_variables: as in `distributed_train_step`.
      metric_to_optimize: as in `distributed_train_step`.

    Returns:
      The objective and the mean metric of every step.

    Raises:
      InvalidInputError: one line that names an invalid argument.
    """
    validation.integer("num_training_steps", num_training_steps, 0)
    train_step = make_train_step(
        make_runtime(simulation_variables),
        horizon,
        global_batch,
        trainable_variables,
        metric_to_optimize,
        reset_optimizer(learning_rate),
    )
    history = SimulationHistory([], [])
    for _ in range(num_training_steps):
        _, objective, metric = train_step()
        history.objective.append(float(objective))
        history.metric.append(float(metric))
    return history


def _check(horizon: Any, global_batch: Any, trainable_variables: Any, metric_to_optimize: Any) -> None:
    validation.integer("horizon", horizon, 1)
    validation.integer("global_batch", global_batch, 1)
    validation.one_of("metric_to_optimize", metric_to_optimize, METRICS)
    if not trainable_variables:
        raise validation.InvalidInputError("trainable_variables must name at least one variable, got none")
