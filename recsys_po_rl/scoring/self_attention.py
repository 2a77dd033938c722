"""A causal self-attention scorer, after SASRec."""

from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.scoring.dot_product import PROPOSAL_STDDEV, DocumentBias, DotProductScorer
from recsys_po_rl.scoring.keras_surface import Embedding, build_tables

NUM_BLOCKS = 2  # the paper's default
NUM_HEADS = 1  # the paper's default


@gin_config.configurable
@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class SelfAttentionModel(DotProductScorer):
    """Scorer with causal self-attention over the history.

    Kang and McAuley, "Self-attentive sequential recommendation" (ICDM 2018): embeddings of documents and positions,
    blocks of causal attention and a point-wise feed-forward net, each with a residual connection, layer normalisation
    before and dropout after; the output at the newest slot is used. Deviations: the consumed time is added to the
    embedding, and the score is the dot product with the document's proposal embedding plus a bias per document.

    Inputs, output and errors: see `HistoryScorer`. Null slots are masked from attention; a history without a click
    yields a zero output.
    """

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        num_blocks: int = NUM_BLOCKS,
        num_heads: int = NUM_HEADS,
        dropout: float = 0.0,
        proposal_stddev: float = PROPOSAL_STDDEV,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Create the model; weights come with `build` or the first call.

        Args:
          num_users: U; the batch may have any number of rows.
          num_docs: D.
          doc_embed_dim: E, a multiple of the number of heads.
          history_length: H.
          num_blocks: attention blocks, at least 1.
          num_heads: heads of each attention, at least 1.
          dropout: share of units dropped when called with training=True, at least 0 and below 1.
          proposal_stddev: standard deviation of the initial proposal table (truncated at twice that).
          name: name of the model; default: the class name, with a number from the second instance on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        owner = type(self).__name__
        num_blocks = validation.integer(f"{owner}: num_blocks", num_blocks, 1)
        num_heads = validation.integer(f"{owner}: num_heads", num_heads, 1)
        if validation.integer(f"{owner}: doc_embed_dim", doc_embed_dim, 1) % num_heads:
            raise validation.InvalidInputError(
                f"{owner}: doc_embed_dim must be a multiple of num_heads, got {doc_embed_dim} and {num_heads}"
            )
        dropout = validation.number(f"{owner}: dropout", dropout, 0.0)
        if dropout >= 1.0:
            raise validation.InvalidInputError(f"{owner}: dropout must be below 1, got {dropout}")
        super().__init__(num_users, num_docs, doc_embed_dim, history_length, proposal_stddev, name=name, **kwargs)
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.dropout = dropout
        layers, policy = tf.keras.layers, self.dtype_policy  # sublayers would take the global policy
        self._position_embedding = Embedding(history_length, doc_embed_dim, dtype=policy, name="position_embedding")
        self._time_projection = layers.Dense(doc_embed_dim, dtype=policy, name="time_projection")
        self._blocks = [
            {
                "attention_norm": layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"attention_norm_{block}"),
                "attention": layers.MultiHeadAttention(
                    num_heads,
                    doc_embed_dim // num_heads,
                    use_bias=False,  # a bias of the keys shifts all logits of a softmax equally: zero gradient
                    dropout=dropout,
                    dtype=policy,
                    name=f"attention_{block}",
                ),
                "forward_norm": layers.LayerNormalization(epsilon=1e-6, dtype=policy, name=f"forward_norm_{block}"),
                "forward_in": layers.Dense(doc_embed_dim, activation="relu", dtype=policy, name=f"forward_in_{block}"),
                "forward_out": layers.Dense(doc_embed_dim, dtype=policy, name=f"forward_out_{block}"),
                "dropout": layers.Dropout(dropout, dtype=policy, name=f"dropout_{block}"),
            }
            for block in range(num_blocks)
        ]
        self._last_norm = layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="last_norm")
        self._doc_bias = DocumentBias(num_docs, dtype=policy, name="doc_bias")

    def build_layers(self) -> None:
        """Create the weights."""
        build_tables(self._doc_embedding, self._doc_prop_embedding, self._position_embedding)
        slots = (None, self.history_length, self.doc_embed_dim)
        self._time_projection.build((None, self.history_length, 1))
        for block in self._blocks:
            for name in ("attention_norm", "forward_norm", "forward_in", "forward_out"):
                block[name].build(slots)
            symbolic = tf.keras.Input(slots[1:])
            block["attention"](symbolic, symbolic)  # the projections are created by the first call
        self._last_norm.build(slots)
        self._doc_bias.build((None, self.num_docs))

    def score_histories(self, doc_ids: tf.Tensor, times: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Return the scores of all documents from the attention output at the newest slot."""
        clicked = doc_ids > 0
        present = tf.cast(clicked, self.compute_dtype)[..., tf.newaxis]
        # Clicks are counted backwards from the newest, so that a position means the same for any number of clicks.
        age = tf.cast(tf.math.cumsum(tf.cast(clicked, tf.int32), axis=1, exclusive=True, reverse=True), tf.int32)
        slots = self._doc_embedding(doc_ids) + self._position_embedding(age)
        slots = (slots + self._time_projection(times[..., tf.newaxis])) * present
        causal = tf.linalg.band_part(tf.ones((self.history_length, self.history_length), tf.bool), -1, 0)
        allowed = causal[tf.newaxis] & clicked[:, tf.newaxis, :]
        for block in self._blocks:
            normed = block["attention_norm"](slots)
            attended = block["attention"](normed, slots, attention_mask=allowed, training=training)
            slots = (slots + block["dropout"](attended, training=training)) * present
            forward = block["forward_out"](block["forward_in"](block["forward_norm"](slots)))
            slots = (slots + block["dropout"](forward, training=training)) * present
        # The newest click is in the last slot that is not null.
        newest = tf.cast((age == 0) & clicked, self.compute_dtype)[..., tf.newaxis]
        newest_output = tf.reduce_sum(self._last_norm(slots) * newest, axis=1)
        return self.read_out(newest_output)

    def get_config(self) -> dict[str, Any]:
        """Return JSON-serialisable arguments from which `from_config` creates an equal, unbuilt model."""
        return {
            **super().get_config(),
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
        }
