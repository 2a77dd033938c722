"""Base of scorers that score a document by a dot product with its embedding plus a bias."""

from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.scoring.base import HistoryScorer, proposal_rows
from recsys_po_rl.scoring.keras_surface import Embedding

PROPOSAL_STDDEV = 0.1  # the initial policy is nearly uniform


class DotProductScorer(HistoryScorer):
    """Base of scorers with score[d] = <e, P[d]> + bias[d], where e is computed from the histories.

    The constructor creates the tables Q (consumed documents) and P (proposals) before the layers of the subclass; the
    subclass creates `_doc_bias`, a `DocumentBias`, after its layers. This is the order of weights in saved files. The
    subclass builds all layers.
    """

    _doc_bias: "DocumentBias"

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        proposal_stddev: float,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Create the scorer and both tables; weights come with `build` or the first call.

        Args:
          num_users: U; the batch may have any number of rows.
          num_docs: D.
          doc_embed_dim: E.
          history_length: H.
          proposal_stddev: standard deviation of the initial table P (truncated at twice that).
          name: name of the model; default: the class name, with a number from the second instance on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          InvalidInputError: if a size is not an integer of at least 1, or the deviation is not positive.
        """
        stddev = validation.number(
            f"{type(self).__name__}: proposal_stddev", proposal_stddev, 0.0, exclusive_minimum=True
        )
        super().__init__(num_users, num_docs, doc_embed_dim, history_length, name=name, **kwargs)
        self.proposal_stddev = stddev
        self._doc_embedding = self._table("doc_embedding", 1.0)
        self._doc_prop_embedding = self._table("doc_prop_embedding", stddev)

    def _table(self, name: str, stddev: float) -> Embedding:
        return Embedding(
            self.num_docs + 1,
            self.doc_embed_dim,
            embeddings_initializer=tf.keras.initializers.TruncatedNormal(0.0, stddev),
            dtype=self.dtype_policy,  # sublayers would take the global policy
            name=name,
        )

    def read_out(self, embedding: tf.Tensor) -> tf.Tensor:
        """Return the scores of all documents, compute dtype [B, D], from e, compute dtype [B, E]."""
        proposals = proposal_rows(self._doc_prop_embedding, self.num_docs)
        return self._doc_bias(tf.matmul(embedding, proposals, transpose_b=True))

    def get_config(self) -> dict[str, Any]:
        """Return JSON-serialisable arguments from which `from_config` creates an equal, unbuilt model."""
        return {**super().get_config(), "proposal_stddev": self.proposal_stddev}


@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class DocumentBias(tf.keras.layers.Layer):
    """Layer that adds a trained bias to each document's score; initially zero."""

    def __init__(self, num_docs: int, **kwargs: Any) -> None:
        """Create the layer for D = `num_docs` documents."""
        super().__init__(**kwargs)
        self.num_docs = num_docs

    def build(self, input_shape: Any) -> None:
        """Create the weight, [D]."""
        self.bias = self.add_weight(name="bias", shape=(self.num_docs,), initializer="zeros")
        super().build(input_shape)

    def call(self, scores: tf.Tensor) -> tf.Tensor:
        """Return scores [B, D] with the biases added."""
        return scores + self.bias

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_docs": self.num_docs}
