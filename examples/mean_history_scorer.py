"""A scorer of one's own: the mean embedding of what was consumed, weighted by time; order does not matter."""

from typing import Any

import tensorflow as tf

from recsys_po_rl import gin_config


@gin_config.configurable
@tf.keras.utils.register_keras_serializable(package="examples")  # for policy.keras, see docs/model.md
class MeanHistoryScorer(tf.keras.Model):
    """Scores documents by their dot product with the mean embedding of the history, plus a bias per document.

    Called with ids int [B, H] and times float [B, H]; returns scores float [B, D].
    """

    def __init__(self, num_users: int, num_docs: int, doc_embed_dim: int, history_length: int, **options: Any) -> None:
        """Makes the scorer; the four sizes come by position from the recommender."""
        super().__init__(**options)
        # Any number of rows and any length can be scored; the sizes are kept for `get_config`.
        self._sizes = (num_users, num_docs, doc_embed_dim, history_length)
        self._history = tf.keras.layers.Embedding(num_docs + 1, doc_embed_dim)
        self._score = tf.keras.layers.Dense(num_docs)

    def call(self, doc_ids: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
        """Scores all documents."""
        weights = tf.where(doc_ids > 0, times, 0.0)[..., tf.newaxis]
        mean = tf.reduce_sum(weights * self._history(doc_ids), axis=1) / (1.0 + tf.reduce_sum(weights, axis=1))
        return self._score(mean)

    def get_config(self) -> dict[str, Any]:
        """Plain JSON types from which `from_config` makes an equal model, without weights."""
        names = ("num_users", "num_docs", "doc_embed_dim", "history_length")
        return {**super().get_config(), **dict(zip(names, self._sizes))}
