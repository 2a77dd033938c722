"""Recommender of one fixed slate, which several policies choose."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl.common import validation


@gin_config.configurable
class FixedSlateRecommender(recommender.HistoryRecommender):
    """Recommender that shows all users the same slate at every step; fields as in `HistoryRecommender`."""

    def __init__(self, config: Config, doc_ids: Sequence[int] = (), name: str = "Recommender") -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          doc_ids: S different ids of documents that are available at every step, in slate order.
          name: name of the entity.

        Raises:
          InvalidInputError: if `doc_ids` are not S different integers from 1 to D.
        """
        super().__init__(config, name=name)
        ids = [validation.integer(f"{type(self).__name__}: doc_ids", doc_id, 1) for doc_id in doc_ids]
        if ids and max(ids) > self._num_docs:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: doc_ids must be at most {self._num_docs}, got {max(ids)}"
            )
        if len(set(ids)) != self._slate_size or len(ids) != self._slate_size:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: doc_ids must be {self._slate_size} different ids, got {list(doc_ids)}"
            )
        self._doc_ids = np.array(ids, np.int32)

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the places of the fixed documents; int32 [U, S].

        Raises:
          tf.errors.InvalidArgumentError: if a document is not available (not checked under XLA).
        """
        del previous_state, user_obs
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        is_shown = tf.equal(pool[tf.newaxis, :], self._doc_ids[:, np.newaxis])
        tf.debugging.Assert(
            tf.reduce_all(tf.reduce_any(is_shown, axis=1)), ["a document of the fixed slate is not available:", pool]
        )
        places = tf.argmax(tf.cast(is_shown, tf.int32), axis=1, output_type=tf.int32)
        return tf.broadcast_to(places, (self._num_users, self._slate_size))
