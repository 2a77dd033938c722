"""Metrics: rewards of the users' responses."""

import edward2 as ed
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.recommendation import metrics

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation

# Tolerance: a replayed trajectory may have been recorded with another order of additions.
_RELATIVE_TOLERANCE = 1e-5


@gin_config.configurable
class ConsumedTimeAsRewardMetrics(metrics.RecsMetricsBase):
    """Metrics with the consumed time as reward; no click (consumed time -1) counts as 0.

    In RecSim NG's story the metrics of step t contain the response of step t - 1. Reads num_users (U) from the config.

    State fields:
      reward: float32 [U], at least 0, time consumed in the last response; initially 0.
      cumulative_reward: float32 [U], at least 0, sum of the rewards so far.
    """

    def __init__(self, config: Config, name: str = "Metrics") -> None:
        """Create the entity.

        Raises:
          InvalidInputError: if config['num_users'] is missing or below 1.
        """
        validation.config_value(config, "num_users", 1, type(self).__name__)
        super().__init__(config, name=name)

    def initial_metrics(self) -> Value:
        """Return zero rewards."""
        return Value(
            reward=_recorded(tf.zeros((self._num_users,))), cumulative_reward=_recorded(tf.zeros((self._num_users,)))
        )

    def next_metrics(
        self,
        previous_metrics: Value,
        corpus_state: Value,
        user_state: Value,
        user_response: Value,
        slate_doc: Value,
    ) -> Value:
        """Return the metrics after the last response.

        Raises:
          tf.errors.InvalidArgumentError: if a consumed time is NaN or infinite (not under XLA, where the project's
            runtime raises after the call).
        """
        del corpus_state, user_state, slate_doc
        consumed_time = tf.debugging.assert_all_finite(
            user_response.get(fields.CONSUMED_TIME), "consumed_time of a user response is not finite"
        )
        reward = tf.maximum(consumed_time, 0.0)
        return Value(
            reward=_recorded(reward),
            cumulative_reward=_recorded(previous_metrics.get(fields.CUMULATIVE_REWARD) + reward),
        )

    def specs(self) -> ValueSpec:
        """Return the spec of `state`."""
        return ValueSpec(
            reward=fields.tensor_spec((self._num_users,), low=0.0),
            cumulative_reward=fields.tensor_spec((self._num_users,), low=0.0),
        ).prefixed_with("state")


def _recorded(tensor: tf.Tensor) -> ed.RandomVariable:
    return ed.Deterministic(loc=tensor, rtol=_RELATIVE_TOLERANCE)
