"""Collaborative-filtering scorer: two embedding tables, a history encoder, a dot product."""

from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.scoring.base import HistoryScorer, proposal_rows
from recsys_po_rl.scoring.keras_surface import Embedding, build_tables
from recsys_po_rl.simulation import hoisting

HIDDEN_UNITS = 32
LEAKY_RELU_SLOPE = 0.3  # slope of the negative half; Keras 2's default
# Largest number of documents per row for which the first layer is folded into a table inside a loop: the table's
# gradient passes over H (D+1) 32 numbers at each step, the unfolded layer is a product of H (E+1) x 32 for each row.
FOLDING_LIMIT = 2


@gin_config.configurable
@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class CollabFilteringModel(HistoryScorer):
    """Collaborative-filtering scorer: scores every document for every user from the last documents and consumed times.

    For history slots t = 0 (oldest) to H-1, with tables Q and P of D+1 rows, null document first,

        x = concat_t [ Q[id_t], time_t ],   e = W2 leaky_relu(W1 x + b1) + b2,   score[d] = <e, P[d]>,  d = 1..D.

    Inputs, output and errors: see `HistoryScorer`. By default the null document's row Q[0] and the times in null slots
    contribute to the scores, as in recsim_ng's model of the same name, whose scores this model reproduces.

    Weights (float32, in this order): P [D+1, E], Q [D+1, E], W1 [H(E+1), 32], b1 [32], W2 [32, E], b2 [E].
    """

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        proposal_stddev: float = 1.0,
        mask_null_documents: bool = False,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Create the model; weights come with `build` or the first call.

        Args:
          num_users: U, users of the simulation; only kept for the configuration, the batch may have any number of rows.
          num_docs: D.
          doc_embed_dim: E.
          history_length: H.
          proposal_stddev: standard deviation of the initial proposal table P (truncated at twice that). recsim_ng's
            model has 1, which makes a fresh policy nearly deterministic (first-pick entropy 1.5 nats, against 4.6 for
            uniform over 100 documents); with 0.1 the initial policy is nearly uniform.
          mask_null_documents: whether null slots count as zeros: scores then depend neither on Q[0] nor on the times in
            null slots, and no gradient flows to them.
          name: name of the model; default: "CollabFilteringModel", with a number from the second instance on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          InvalidInputError: if a size is not an integer of at least 1, or the deviation is not positive.
        """
        proposal_stddev = validation.number(
            "CollabFilteringModel: proposal_stddev", proposal_stddev, 0.0, exclusive_minimum=True
        )
        validation.boolean("CollabFilteringModel: mask_null_documents", mask_null_documents)
        super().__init__(num_users, num_docs, doc_embed_dim, history_length, name=name, **kwargs)
        self.proposal_stddev = proposal_stddev
        self.mask_null_documents = mask_null_documents
        rows = num_docs + 1
        # tf.Module and checkpoints find layers by attribute: the names keep recsim_ng's order (Q before P) and files.
        self._doc_proposal_embeddings = Embedding(
            rows,
            doc_embed_dim,
            embeddings_initializer=tf.keras.initializers.TruncatedNormal(0.0, proposal_stddev),
            mask_zero=True,
            dtype=self.dtype_policy,
            name="doc_prop_embedding",
        )
        self._doc_embeddings = Embedding(
            rows,
            doc_embed_dim,
            embeddings_initializer=tf.keras.initializers.TruncatedNormal(0.0, 1.0),
            mask_zero=True,
            dtype=self.dtype_policy,
            name="doc_embedding",
        )
        self._net = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(HIDDEN_UNITS, dtype=self.dtype_policy),
                tf.keras.layers.LeakyReLU(alpha=LEAKY_RELU_SLOPE, dtype=self.dtype_policy),
                tf.keras.layers.Dense(doc_embed_dim, dtype=self.dtype_policy, name="hist_emb_layer"),
            ],
            name="recs",
        )

    @property
    def nan_times_give_nan(self) -> bool:
        """Return whether NaN times always make all scores of their row NaN (not with masking of null slots)."""
        in_its_own_way = type(self).score_histories is not CollabFilteringModel.score_histories
        return not (in_its_own_way or self.mask_null_documents)

    def build_layers(self) -> None:
        """Create the six weights."""
        build_tables(self._doc_proposal_embeddings, self._doc_embeddings)
        # Not `Sequential.build`: it casts inputs to float32 regardless of the dtype policy.
        self._net(tf.keras.Input((self.history_length * (self.doc_embed_dim + 1),), dtype=self.compute_dtype))

    def score_histories(self, doc_ids: tf.Tensor, times: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Return the scores of all documents; see the class."""
        first, *others = self._net.layers
        if hoisting.in_loop() and self.num_docs < FOLDING_LIMIT * (doc_ids.shape[0] or 0):
            hidden = self._folded_first_layer(doc_ids, times)
        else:
            hidden = first(self._flat_history(doc_ids, times))
        for layer in others:
            hidden = layer(hidden, training=training)
        proposals = proposal_rows(self._doc_proposal_embeddings, self.num_docs)
        return tf.matmul(hidden, proposals, transpose_b=True)

    def _flat_history(self, doc_ids: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
        slots = tf.concat([self._doc_embeddings(doc_ids), times[..., tf.newaxis]], axis=-1)
        if self.mask_null_documents:
            consumed = self._doc_embeddings.compute_mask(doc_ids)
            slots = tf.where(consumed[..., tf.newaxis], slots, tf.zeros_like(slots))
        return tf.reshape(slots, (-1, self.history_length * (self.doc_embed_dim + 1)))

    def _folded_first_layer(self, doc_ids: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
        """Return the first dense layer's output, with products of embeddings and kernel looked up in a table."""
        if self.mask_null_documents:
            times = tf.where(doc_ids > 0, times, tf.zeros_like(times))
        table = hoisting.loop_invariant((id(self), "slot table"), self._slot_table)
        time_weights = hoisting.loop_invariant((id(self), "time weights"), self._time_weights)
        bias = tf.cast(self._net.layers[0].bias, self.compute_dtype)
        return _sum_of_rows(table, doc_ids) + tf.matmul(times, time_weights) + bias

    def _by_slot(self) -> tf.Tensor:
        kernel = tf.cast(self._net.layers[0].kernel, self.compute_dtype)
        return tf.reshape(kernel, (self.history_length, self.doc_embed_dim + 1, HIDDEN_UNITS))

    def _time_weights(self) -> tf.Tensor:
        """Return the first layer's weights of the consumed times; [H, hidden units]."""
        return self._by_slot()[:, -1]

    def _slot_table(self) -> tf.Tensor:
        """Return each document's contribution to the hidden units in each slot; [H, D+1, hidden units]."""
        embeddings = self._doc_embeddings(tf.range(self.num_docs + 1))
        if self.mask_null_documents:
            embeddings *= tf.cast(tf.range(self.num_docs + 1) > 0, embeddings.dtype)[:, tf.newaxis]
        return tf.einsum("de,hek->hdk", embeddings, self._by_slot()[:, :-1])

    def get_config(self) -> dict[str, Any]:
        """Return JSON-serialisable arguments from which `from_config` creates an equal, unbuilt model."""
        return {
            **super().get_config(),
            "proposal_stddev": self.proposal_stddev,
            "mask_null_documents": self.mask_null_documents,
        }


def _sum_of_rows(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """Return sum_h table[h, ids[:, h]] of a table [H, N, K] and ids [B, H]; [B, K]."""
    slots, rows, _ = table.shape
    flat_ids = ids + tf.cast(tf.range(slots) * rows, ids.dtype)
    return tf.reduce_sum(tf.gather(tf.reshape(table, (slots * rows, -1)), flat_ids), axis=1)
