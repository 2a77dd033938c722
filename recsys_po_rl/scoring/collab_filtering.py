"""The collaborative-filtering scorer: two embedding tables, a history encoder, a dot product."""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl import checks, gin_config

HIDDEN_UNITS = 32
LEAKY_RELU_SLOPE = 0.3  # of the negative half; Keras 2's default
DOC_ID_HISTORY = "doc_id_history"
C_TIME_HISTORY = "c_time_history"


@gin_config.configurable
@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class CollabFilteringModel(tf.keras.Model):
    """Scores every document for every user from what the user consumed last, and for how long.

    For history slots t = 0 (oldest) to H-1, with tables Q and P of D+1 rows, null document first,

        x = concat_t [ Q[id_t], time_t ],   e = W2 leaky_relu(W1 x + b1) + b2,   score[d] = <e, P[d]>,  d = 1..D.

    Inputs (two tensors, a pair, or a dict with the argument names as keys), rows independent, any number of rows B:
      doc_id_history: integer [B, H], consumed ids 1..D, oldest first, 0 where nothing was consumed yet.
      c_time_history: float [B, H], consumed times, in the unit of the documents' length.
    Output: scores, compute dtype [B, D], unbounded; column d-1 belongs to document d.

    A row with an id outside 0..D raises an error; under XLA, where no operation can raise, its scores are NaN. The null
    document's row Q[0] takes part in the scores, as in recsim_ng's model of the same name, whose numbers these are.

    Weights (float32, in this order): P [D+1, E], Q [D+1, E], W1 [H(E+1), 32], b1 [32], W2 [32, E], b2 [E].
    """

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        proposal_stddev: float = 1.0,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Makes the model; weights come with `build` or the first call.

        Args:
          num_users: U, users of the simulation; kept for the configuration, any number of rows can be scored.
          num_docs: D.
          doc_embed_dim: E.
          history_length: H.
          proposal_stddev: standard deviation of the initial proposal table P (truncated at twice that). 1, as
            recsim_ng's model has it, makes a fresh policy nearly deterministic (first-pick entropy 1.5 nats where
            uniform over 100 documents has 4.6); 0.1 starts nearly uniform.
          name: name of the model; by default "CollabFilteringModel", with a number from the second one on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          checks.InvalidInputError: if a size is no integer of at least 1, or the deviation not positive.
        """
        num_users = checks.integer("CollabFilteringModel: num_users", num_users, 1)
        num_docs = checks.integer("CollabFilteringModel: num_docs", num_docs, 1)
        doc_embed_dim = checks.integer("CollabFilteringModel: doc_embed_dim", doc_embed_dim, 1)
        history_length = checks.integer("CollabFilteringModel: history_length", history_length, 1)
        proposal_stddev = checks.number(
            "CollabFilteringModel: proposal_stddev", proposal_stddev, 0.0, exclusive_minimum=True
        )
        super().__init__(name=name or _unique_name(), **kwargs)
        self.num_users = num_users
        self.num_docs = num_docs
        self.doc_embed_dim = doc_embed_dim
        self.history_length = history_length
        self.proposal_stddev = proposal_stddev
        rows = num_docs + 1
        # The attribute names fix the order in which tf.Module finds the tables: Q, then P.
        self._doc_prop_embedding = tf.keras.layers.Embedding(
            rows,
            doc_embed_dim,
            embeddings_initializer=tf.keras.initializers.TruncatedNormal(0.0, proposal_stddev),
            mask_zero=True,
            name="doc_prop_embedding",
        )
        self._doc_embedding = tf.keras.layers.Embedding(
            rows,
            doc_embed_dim,
            embeddings_initializer=tf.keras.initializers.TruncatedNormal(0.0, 1.0),
            mask_zero=True,
            name="doc_embedding",
        )
        self._recs = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(HIDDEN_UNITS),
                tf.keras.layers.LeakyReLU(alpha=LEAKY_RELU_SLOPE),
                tf.keras.layers.Dense(doc_embed_dim, name="hist_emb_layer"),
            ],
            name="recs",
        )

    def build(self, input_shape: Any) -> None:
        """Makes the six weights; they depend on the constructor's sizes alone.

        Args:
          input_shape: shape or shapes of the inputs; only their last axis is checked.

        Raises:
          ValueError: if there is no shape, or a last axis is known and not H.
        """
        for argument, shape in zip((DOC_ID_HISTORY, C_TIME_HISTORY), _shapes(input_shape)):
            if len(shape) != 2 or shape[-1] not in (None, self.history_length):
                raise ValueError(f"{self.name}: {argument} must have shape (batch, {self.history_length}), got {shape}")
        if self.built:  # type: ignore[has-type]
            return
        for table in (self._doc_prop_embedding, self._doc_embedding):
            with tf.name_scope(table.name):
                table.build((None,))
        self._recs.build((None, self.history_length * (self.doc_embed_dim + 1)))
        self.built = True

    def call(
        self,
        doc_id_history: Any,
        c_time_history: Any = None,
        training: Optional[bool] = None,
        mask: Any = None,
    ) -> tf.Tensor:
        """Scores all documents; see the class for inputs and output.

        Args:
          doc_id_history: integer [B, H], or both inputs as a pair or dict.
          c_time_history: float [B, H], unless given with the ids.
          training: accepted and without effect: the model has no layer that behaves differently in training.
          mask: accepted and without effect.

        Raises:
          ValueError, TypeError: if an input is missing, or its rank, last axis or dtype is wrong.
          tf.errors.InvalidArgumentError: if an id is outside 0..D (not under XLA).
        """
        del training, mask
        doc_ids, times = self._inputs(doc_id_history, c_time_history)
        valid = tf.reduce_all((doc_ids >= 0) & (doc_ids <= self.num_docs), axis=-1)
        assertion = tf.debugging.Assert(
            tf.reduce_all(valid),
            [f"{self.name}: {DOC_ID_HISTORY} must be between 0 and {self.num_docs}, got", doc_ids],
        )
        with tf.control_dependencies([assertion] if assertion is not None else []):
            inside = tf.clip_by_value(doc_ids, 0, self.num_docs)
        embedded = self._doc_embedding(inside)
        slots = tf.concat([embedded, tf.cast(times, embedded.dtype)[..., tf.newaxis]], axis=-1)
        flat = tf.reshape(slots, (-1, self.history_length * (self.doc_embed_dim + 1)))
        user_embedding = self._recs(flat)
        proposals = self._doc_prop_embedding(tf.range(1, self.num_docs + 1))
        scores = tf.matmul(user_embedding, proposals, transpose_b=True)
        return tf.where(valid[:, tf.newaxis], scores, tf.cast(float("nan"), scores.dtype))

    def _inputs(self, doc_id_history: Any, c_time_history: Any) -> tuple[tf.Tensor, tf.Tensor]:
        if isinstance(doc_id_history, Mapping):
            missing = {DOC_ID_HISTORY, C_TIME_HISTORY} - set(doc_id_history)
            if missing:
                raise ValueError(f"{self.name}: the dict of inputs lacks {', '.join(sorted(missing))}")
            doc_id_history, c_time_history = doc_id_history[DOC_ID_HISTORY], doc_id_history[C_TIME_HISTORY]
        elif isinstance(doc_id_history, (tuple, list)) and c_time_history is None:
            if len(doc_id_history) != 2:
                raise ValueError(
                    f"{self.name}: inputs must be the pair ({DOC_ID_HISTORY}, {C_TIME_HISTORY}), "
                    f"got {len(doc_id_history)} of them"
                )
            doc_id_history, c_time_history = doc_id_history
        if c_time_history is None:
            raise ValueError(f"{self.name}: {C_TIME_HISTORY} is missing, a float tensor of shape (batch, H)")
        doc_ids, times = tf.convert_to_tensor(doc_id_history), tf.convert_to_tensor(c_time_history)
        if not doc_ids.dtype.is_integer:
            raise TypeError(f"{self.name}: {DOC_ID_HISTORY} must be an integer tensor, got {doc_ids.dtype.name}")
        for argument, tensor in ((DOC_ID_HISTORY, doc_ids), (C_TIME_HISTORY, times)):
            if tensor.shape.rank != 2 or tensor.shape[-1] not in (None, self.history_length):
                raise ValueError(
                    f"{self.name}: {argument} must have shape (batch, {self.history_length}), got {tensor.shape}"
                )
        return doc_ids, times

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """(B, D), where B is the first axis of the first input shape."""
        return tf.TensorShape([_shapes(input_shape)[0][0], self.num_docs])

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: scores carry no mask."""
        del inputs, mask
        return

    def get_config(self) -> dict[str, Any]:
        """Plain JSON types from which `from_config` makes an equal, unbuilt model."""
        return {
            "num_users": self.num_users,
            "num_docs": self.num_docs,
            "doc_embed_dim": self.doc_embed_dim,
            "history_length": self.history_length,
            "proposal_stddev": self.proposal_stddev,
            "name": self.name,
            "dtype": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "CollabFilteringModel":
        """Makes the model that `get_config` described."""
        del custom_objects
        return cls(**config)


def _unique_name() -> str:
    count = tf.keras.backend.get_uid("CollabFilteringModel")
    return "CollabFilteringModel" if count == 1 else f"CollabFilteringModel_{count - 1}"


def _shapes(input_shape: Any) -> list[tuple[Optional[int], ...]]:
    """The shapes in a shape, a pair of shapes or a dict of shapes, as tuples."""
    if isinstance(input_shape, Mapping):
        missing = {DOC_ID_HISTORY, C_TIME_HISTORY} - set(input_shape)
        if missing:
            raise ValueError(f"CollabFilteringModel: the dict of inputs lacks {', '.join(sorted(missing))}")
        return _shapes([input_shape[DOC_ID_HISTORY], input_shape[C_TIME_HISTORY]])
    if isinstance(input_shape, tf.TensorShape):
        return [tuple(input_shape.as_list())]
    if isinstance(input_shape, (tuple, list)) and input_shape:
        if all(size is None or isinstance(size, int) for size in input_shape):
            return [tuple(input_shape)]
        return [shape for value in input_shape for shape in _shapes(value)]
    raise ValueError(f"CollabFilteringModel: cannot build from the shape {input_shape!r}, expected (batch, H) or two")
