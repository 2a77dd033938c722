"""Drop-in facade: recsim_ng's names and signatures for running and training an interest-evolution network."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
from recsim_ng.core import network as network_lib
from recsim_ng.core import variable
from recsim_ng.lib.tensorflow import log_probability
from recsim_ng.lib.tensorflow import runtime as runtime_lib

from recsys_po_rl import checks, fields, gin_config

METRICS = (fields.REWARD, fields.CUMULATIVE_REWARD)
LOG_PROB_ACCUMULATOR = f"{fields.SLATE_DOCS}_log_prob_accum"

TrainStep = Callable[[], tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]]


class SimulationHistory(NamedTuple):
    """What `run_simulation` saw, one entry for each training step."""

    objective: list[float]
    metric: list[float]  # mean over users of the metric that was optimised


@gin_config.configurable
def reset_optimizer(learning_rate: float) -> tf.keras.optimizers.Optimizer:
    """A new Keras SGD without momentum.

    Args:
      learning_rate: above 0.
    """
    rate = checks.number("learning_rate", learning_rate, 0.0, exclusive_minimum=True)
    return tf.keras.optimizers.SGD(learning_rate=rate)


def distributed_train_step(
    tf_runtime: Any,
    horizon: int,
    global_batch: int,
    trainable_variables: Sequence[tf.Variable],
    metric_to_optimize: str = fields.REWARD,
    optimizer: Optional[tf.keras.optimizers.Optimizer] = None,
) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
    """One REINFORCE step (Williams 1992) through the unrolled loop of `horizon - 1` network steps.

    The objective is minus the sum over users of metric * log-probability of the user's slates, divided by
    `global_batch`; the metric is that of the last step and is not differentiated.

    Args:
      tf_runtime: what `make_runtime` returns.
      horizon: values of the network, the initial one included; at least 1.
      global_batch: users over all replicas, at least 1.
      trainable_variables: what to differentiate with respect to; at least one.
      metric_to_optimize: "reward" (of the last response alone) or "cumulative_reward".
      optimizer: applies the gradients; None applies nothing.

    Returns:
      The gradients, the objective (scalar), and the mean of the metric over users (scalar).

    Raises:
      checks.InvalidInputError: one line that names an impossible argument.
    """
    _check(horizon, global_batch, trainable_variables, metric_to_optimize)
    with tf.GradientTape() as tape:
        last = tf_runtime.execute(num_steps=horizon - 1)
        metric = last[fields.METRICS_STATE].get(metric_to_optimize)
        log_prob = last[LOG_PROB_ACCUMULATOR].get(fields.DOC_RANKS)
        objective = -tf.reduce_sum(tf.stop_gradient(metric) * log_prob) / tf.cast(global_batch, tf.float32)
    gradients = tape.gradient(objective, list(trainable_variables))
    if optimizer is not None:
        optimizer.apply_gradients(zip(gradients, trainable_variables))
    return gradients, objective, tf.reduce_mean(metric)


def make_runtime(variables: Sequence[variable.Variable]) -> runtime_lib.TFRuntime:
    """A runtime over the network and, added to it, the slates' log-probability and its sum over steps.

    Args:
      variables: the network's variables, one of them named "slate docs".

    Raises:
      checks.InvalidInputError: if none is.
    """
    slate_docs = [var for var in variables if var.name == fields.SLATE_DOCS]
    if not slate_docs:
        names = ", ".join(repr(var.name) for var in variables)
        raise checks.InvalidInputError(f"variables must have one named {fields.SLATE_DOCS!r}, got {names or 'none'}")
    log_prob = log_probability.log_prob_variables_from_direct_output(slate_docs)
    accumulator = log_probability.log_prob_accumulator_variables(log_prob)
    return runtime_lib.TFRuntime(network_lib.Network([*variables, *log_prob, *accumulator]))


def make_train_step(
    tf_runtime: Any,
    horizon: int,
    global_batch: int,
    trainable_variables: Sequence[tf.Variable],
    metric_to_optimize: str,
    optimizer: Optional[tf.keras.optimizers.Optimizer] = None,
) -> TrainStep:
    """`distributed_train_step` as a compiled function without arguments; its gradients are a tuple.

    Args and errors: as there, before anything is compiled.
    """
    _check(horizon, global_batch, trainable_variables, metric_to_optimize)

    @tf.function
    def train_step() -> tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]:
        gradients, objective, metric = distributed_train_step(
            tf_runtime, horizon, global_batch, trainable_variables, metric_to_optimize, optimizer
        )
        return tuple(gradients), objective, metric

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
    """Trains with a new SGD optimizer.

    Args:
      num_training_steps: at least 0.
      horizon: as in `distributed_train_step`.
      global_batch: as in `distributed_train_step`.
      learning_rate: as in `reset_optimizer`.
      simulation_variables: as in `make_runtime`.
      trainable_variables: as in `distributed_train_step`.
      metric_to_optimize: as in `distributed_train_step`.

    Returns:
      The objective and the mean metric of every step.

    Raises:
      checks.InvalidInputError: one line that names an impossible argument.
    """
    checks.integer("num_training_steps", num_training_steps, 0)
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
    checks.integer("horizon", horizon, 1)
    checks.integer("global_batch", global_batch, 1)
    checks.one_of("metric_to_optimize", metric_to_optimize, METRICS)
    if not trainable_variables:
        raise checks.InvalidInputError("trainable_variables must name at least one variable, got none")
