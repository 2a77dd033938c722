"""Scorer for recommenders that observe the interest: an upper reference for learning under full information."""

from typing import Any

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.scoring.base import proposal_rows
from recsys_po_rl.scoring.collab_filtering import LEAKY_RELU_SLOPE
from recsys_po_rl.scoring.dot_product import PROPOSAL_STDDEV, DocumentBias
from recsys_po_rl.scoring.keras_surface import Embedding, build_tables
from recsys_po_rl.scoring.memory import TIME_SCALE

HIDDEN_UNITS = 64


@gin_config.configurable
@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class InterestModel(tf.keras.Model):
    """Scorer of a user's interest z and the number of steps t so far.

        e = W2 leaky_relu(W1 [z, t / 100] + b1) + b2,   score[d] = <e, P[d]> + bias[d].

    Called with interest float32 [B, K] and step int32 [B]; returns scores float32 [B, D].
    """

    def __init__(
        self,
        num_topics: int,
        num_docs: int,
        doc_embed_dim: int,
        hidden_units: int = HIDDEN_UNITS,
        proposal_stddev: float = PROPOSAL_STDDEV,
        **kwargs: Any,
    ) -> None:
        """Create the model and its weights.

        Args:
          num_topics: K.
          num_docs: D.
          doc_embed_dim: E.
          hidden_units: width of the hidden layer, at least 1.
          proposal_stddev: standard deviation of the initial table P (truncated at twice that).
          **kwargs: passed to `tf.keras.Model`.

        Raises:
          InvalidInputError: if a number is out of bounds.
        """
        super().__init__(**kwargs)
        self.num_topics = validation.integer("InterestModel: num_topics", num_topics, 1)
        self.num_docs = validation.integer("InterestModel: num_docs", num_docs, 1)
        self.doc_embed_dim = validation.integer("InterestModel: doc_embed_dim", doc_embed_dim, 1)
        self.hidden_units = validation.integer("InterestModel: hidden_units", hidden_units, 1)
        self.proposal_stddev = validation.number(
            "InterestModel: proposal_stddev", proposal_stddev, 0.0, exclusive_minimum=True
        )
        policy = self.dtype_policy  # sublayers would take the global one
        self._proposals = Embedding(
            num_docs + 1,
            doc_embed_dim,
            embeddings_initializer=tf.keras.initializers.TruncatedNormal(0.0, proposal_stddev),
            dtype=policy,
            name="doc_prop_embedding",
        )
        self._hidden = tf.keras.layers.Dense(hidden_units, dtype=policy, name="hidden")
        self._user_embedding = tf.keras.layers.Dense(doc_embed_dim, dtype=policy, name="user_embedding")
        self._doc_bias = DocumentBias(num_docs, dtype=policy, name="doc_bias")
        self.build((None, num_topics))

    def build(self, input_shape: Any) -> None:
        """Create the weights, which depend only on the constructor's arguments; called by the constructor."""
        if self.built:  # `load_model` calls it again
            return
        build_tables(self._proposals)
        self._hidden.build((None, self.num_topics + 1))
        self._user_embedding.build((None, self.hidden_units))
        self._doc_bias.build((None, self.num_docs))
        # Not `Model.build`, which would call the model.
        tf.keras.layers.Layer.build(self, input_shape)

    def call(self, interest: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return the scores of all documents; see the class."""
        time = tf.cast(step, tf.float32)[:, tf.newaxis] / TIME_SCALE
        seen = tf.concat([tf.cast(part, self.compute_dtype) for part in (interest, time)], axis=1)
        hidden = tf.nn.leaky_relu(self._hidden(seen), LEAKY_RELU_SLOPE)
        proposals = proposal_rows(self._proposals, self.num_docs)
        return self._doc_bias(tf.matmul(self._user_embedding(hidden), proposals, transpose_b=True))

    def get_config(self) -> dict[str, Any]:
        """Return JSON-serialisable arguments from which `from_config` creates an equal model."""
        return {
            **super().get_config(),
            "num_topics": self.num_topics,
            "num_docs": self.num_docs,
            "doc_embed_dim": self.doc_embed_dim,
            "hidden_units": self.hidden_units,
            "proposal_stddev": self.proposal_stddev,
        }
