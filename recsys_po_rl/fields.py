"""Names of network variables and of fields read across entities, and a helper for specs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from gym import spaces
from recsim_ng.lib.tensorflow import field_spec

# The eight network variables of RecSim NG's recommendation story, in the order returned by the story.
USER_STATE = "user state"
USER_RESPONSE = "user response"
CORPUS_STATE = "corpus state"
AVAILABLE_DOCS = "available docs"
SLATE_DOCS = "slate docs"
RECOMMENDER_STATE = "recommender state"
METRICS_STATE = "metrics state"
USER_OBSERVATION = "user observation"

# Document fields: D documents in the corpus, S in a slate.
DOC_ID = "doc_id"
DOC_TOPIC = "doc_topic"
DOC_QUALITY = "doc_quality"
DOC_FEATURES = "doc_features"
DOC_LENGTH = "doc_length"
DOC_FIELDS = (DOC_ID, DOC_TOPIC, DOC_QUALITY, DOC_FEATURES, DOC_LENGTH)
DOC_RANKS = "doc_ranks"
EMPTY_SLOT = "empty_slot"  # in slates that may show fewer than S documents
NULL_DOC_ID = 0  # id in an empty slot, or in an empty place of a history

# User fields.
INTEREST = "interest.state"
OBSERVED_INTEREST = "interest"  # in the observation of users that reveal their interest
CHOICE = "choice"
CONSUMED_TIME = "consumed_time"

# Recommender fields.
DOC_HISTORY = "doc_history.state"
CTIME_HISTORY = "ctime_history.state"
SCORER_STATE = "scorer"  # prefix of the state of stateful scorers
SLATE_HISTORY = "slate_history"  # ids of the last slates, in the state of recommenders that remember them
CLICKED_HISTORY = "clicked_history"  # their clicked slots
STEP = "step"  # slates shown so far, in the state of recommenders that use the time
PLANNED_VALUE = "planned_value"  # value of a planner's slate
PARTICLES = "particles"  # in the state of a particle filter
LOG_WEIGHTS = "log_weights"
INVERSE_DESIGN = "inverse_design"  # of the linear models of a bandit
REWARD_FEATURES = "reward_features"

# Metrics fields.
REWARD = "reward"
CUMULATIVE_REWARD = "cumulative_reward"


def tensor_spec(
    shape: Sequence[int], low: float = -np.inf, high: float = np.inf, dtype: tf.DType = tf.float32
) -> field_spec.Space:
    """Return the spec of a field that holds a tensor.

    Args:
      shape: shape of the field.
      low: lower bound of every component.
      high: upper bound of every component.
      dtype: dtype of the field, floating or integer.

    Returns:
      A RecSim NG field spec over a gym `Box`. Bounds of integer fields must be finite.
    """
    # gym lacks bfloat16; every bfloat16 value is also a float32 value.
    numpy_dtype: Any = np.float32 if dtype == tf.bfloat16 else dtype.as_numpy_dtype
    shape = tuple(int(size) for size in shape)
    return field_spec.Space(
        spaces.Box(
            low=np.full(shape, low, dtype=numpy_dtype), high=np.full(shape, high, dtype=numpy_dtype), dtype=numpy_dtype
        )
    )
