"""What scorers share that score a document by a dot product with its embedding, plus a number of its own."""

from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.scoring.base import Embedding, HistoryScorer, proposal_rows

PROPOSAL_STDDEV = 0.1  # starts nearly uniform


class DotProductScorer(HistoryScorer):
    """Base of scorers with score[d] = <e, P[d]> + bias[d], e made from the histories.

    It makes the tables Q, of what was consumed, and P, of what can be shown, before the layers of a subclass, which
    makes `_doc_bias`, a `DocumentBias`, after them: the order of weights in saved files. A subclass builds all of them.
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
        """Makes the scorer and both tables; weights come with `build` or the first call.

        Args:
          num_users: U; any number of rows can be scored.
          num_docs: D.
          doc_embed_dim: E.
          history_length: H.
          proposal_stddev: standard deviation of the initial table P (truncated at twice that).
          name: name of the model; by default the class's, with a number from the second one on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          InvalidInputError: if a size is no integer of at least 1, or the deviation not positive.
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
            dtype=self.dtype_policy,  # sublayers would take the global one
            name=name,
        )

    def read_out(self, embedding: tf.Tensor) -> tf.Tensor:
        """Scores of all documents, compute dtype [B, D], from e, compute dtype [B, E]."""
        proposals = proposal_rows(self._doc_prop_embedding, self.num_docs)
        return self._doc_bias(tf.matmul(embedding, proposals, transpose_b=True))

    def get_config(self) -> dict[str, Any]:
        """Plain JSON types from which `from_config` makes an equal, unbuilt model."""
        return {**super().get_config(), "proposal_stddev": self.proposal_stddev}


@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class DocumentBias(tf.keras.layers.Layer):
    """Adds a trained number to each document's score; zeros at first."""

    def __init__(self, num_docs: int, **kwargs: Any) -> None:
        """Makes the layer for D = `num_docs` documents."""
        super().__init__(**kwargs)
        self.num_docs = num_docs

    def build(self, input_shape: Any) -> None:
        """Makes the weight, [D]."""
        self.bias = self.add_weight(name="bias", shape=(self.num_docs,), initializer="zeros")
        super().build(input_shape)

    def call(self, scores: tf.Tensor) -> tf.Tensor:
        """Scores [B, D] with the biases added."""
        return scores + self.bias

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_docs": self.num_docs}
