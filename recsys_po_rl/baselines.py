"""Recommenders that do not learn: what a learned policy is compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value

from recsys_po_rl import checks, fields, gin_config, recommender


@gin_config.configurable
class UniformRandomRecommender(recommender.HistoryRecommender):
    """Every slate of S different documents is equally likely. Fields as in `HistoryRecommender`."""

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """A uniform draw; int32 [U, S]."""
        del previous_state, user_obs
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID)).shape[0]
        return recommender.top_k_plackett_luce(logits=tf.zeros((self._num_users, pool)), slate_size=self._slate_size)


@gin_config.configurable
class FixedSlateRecommender(recommender.HistoryRecommender):
    """Shows every user the same slate, always. Fields as in `HistoryRecommender`."""

    def __init__(self, config: Config, doc_ids: Sequence[int] = (), name: str = "Recommender") -> None:
        """Makes the entity.

        Args:
          config: as in `HistoryRecommender`.
          doc_ids: S different ids of documents that are always available, in slate order.
          name: name of the entity.

        Raises:
          checks.InvalidInputError: if these are not S different integers of at least 1.
        """
        super().__init__(config, name=name)
        ids = [checks.integer(f"{type(self).__name__}: doc_ids", doc_id, 1) for doc_id in doc_ids]
        if len(set(ids)) != self._slate_size or len(ids) != self._slate_size:
            raise checks.InvalidInputError(
                f"{type(self).__name__}: doc_ids must be {self._slate_size} different ids, got {list(doc_ids)}"
            )
        self._doc_ids = np.array(ids, np.int32)

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """The places of the fixed documents; int32 [U, S].

        Raises:
          tf.errors.InvalidArgumentError: if one of them is not available (not under XLA).
        """
        del previous_state, user_obs
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        here = tf.equal(pool[tf.newaxis, :], self._doc_ids[:, np.newaxis])
        tf.debugging.Assert(
            tf.reduce_all(tf.reduce_any(here, axis=1)), ["a document of the fixed slate is not available:", pool]
        )
        places = tf.argmax(tf.cast(here, tf.int32), axis=1, output_type=tf.int32)
        return tf.broadcast_to(places, (self._num_users, self._slate_size))
