"""Contract of scorers: sizes, forms of input, validation, configuration."""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.scoring import keras_surface
from recsys_po_rl.simulation import hoisting

DOC_ID_HISTORY = "doc_id_history"
C_TIME_HISTORY = "c_time_history"


class HistoryScorer(keras_surface.KerasModel):
    """Base of Keras models that score every document for every user from the user's consumption history.

    Inputs (two tensors, a pair, or a dict with the argument names as keys), rows independent, any number of rows B:
      doc_id_history: integer [B, H], consumed ids 1..D, oldest first, 0 for null documents (nothing consumed).
      c_time_history: float [B, H], consumed times, finite, in the unit of the documents' length.
    Output: scores, compute dtype [B, D], unbounded; column d-1 belongs to document d.

    An id outside 0..D or a time that is not finite raises an error. Under XLA, where no operation can raise, the scores
    of that row are NaN, and other rows are unaffected.

    A subclass creates its layers in the constructor, builds them in `build_layers` and computes scores in
    `score_histories`. A scorer that remembers more than the last H documents is a `StatefulScorer`.
    """

    carries_state = False  # see `StatefulScorer`

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Create the scorer; weights come with `build` or the first call.

        Args:
          num_users: U, users of the simulation; only kept for the configuration, the batch may have any number of rows.
          num_docs: D.
          doc_embed_dim: E.
          history_length: H.
          name: name of the model; default: the class name, with a number from the second instance on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype; an empty `memory` is allowed.

        Raises:
          InvalidInputError: if a size is not an integer of at least 1, or a memory is given to a scorer that remembers
            clicks only.
        """
        owner = type(self).__name__
        sizes = {
            "num_users": num_users,
            "num_docs": num_docs,
            "doc_embed_dim": doc_embed_dim,
            "history_length": history_length,
        }
        memory = kwargs.pop("memory", ())
        if memory:
            raise validation.InvalidInputError(
                f"{owner}: memory must be empty, as this scorer remembers clicks only; got {validation.shown(memory)}"
            )
        checked = {key: validation.integer(f"{owner}: {key}", size, 1) for key, size in sizes.items()}
        super().__init__(name=name or keras_surface.unique_name(owner), **kwargs)
        for key, size in checked.items():
            setattr(self, key, size)
        # For either input: Keras checks the first argument of a call against `input_spec`, `_inputs` checks both.
        self.input_spec = tf.keras.layers.InputSpec(ndim=2, axes={-1: self.history_length})

    @property
    def nan_times_give_nan(self) -> bool:
        """Return whether NaN times always make all scores of their row NaN, whatever the ids of the row."""
        return False

    # Methods for subclasses.

    def build_layers(self) -> None:
        """Create the weights of all layers; weights depend only on the constructor's arguments."""
        raise NotImplementedError(f"{type(self).__name__} does not define build_layers")

    def score_histories(self, doc_ids: tf.Tensor, times: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Return the scores of all documents.

        Args:
          doc_ids: integer [B, H], between 0 and D.
          times: compute dtype [B, H].
          training: as in Keras.

        Returns:
          compute dtype [B, D].
        """
        raise NotImplementedError(f"{type(self).__name__} does not define score_histories")

    # Keras interface.

    def build(self, input_shape: Any) -> None:
        """Create the weights.

        Args:
          input_shape: shape or shapes of the inputs; only rank and last axis are validated.

        Raises:
          ValueError: if no shape is given, or a shape is not (batch, H).
        """
        shapes = _shapes(input_shape)
        if len(shapes) > 2:
            raise ValueError(f"{self.name}: expected one shape or two, got {len(shapes)}")
        for argument, shape in zip((DOC_ID_HISTORY, C_TIME_HISTORY), shapes):
            if len(shape) != 2 or shape[-1] not in (None, self.history_length):
                raise ValueError(f"{self.name}: {argument} must have shape (batch, {self.history_length}), got {shape}")
        if self.built:
            return
        self.build_layers()
        # Not `Model.build`, which would call the model: `Layer.build` marks it as built and keeps the shape for saved
        # files.
        tf.keras.layers.Layer.build(self, (None, self.history_length))

    def __call__(self, doc_id_history: Any, c_time_history: Any = None, *args: Any, **kwargs: Any) -> tf.Tensor:
        """Score all documents; see `call` for arguments and errors.

        For any form of the inputs, Keras receives two tensors, and invalid inputs raise before Keras creates a weight.
        """
        doc_ids, times = self._inputs(doc_id_history, c_time_history)
        return super().__call__(doc_ids, times, *args, **kwargs)

    def call(
        self,
        doc_id_history: Any,
        c_time_history: Any = None,
        training: Optional[bool] = None,
        mask: Any = None,
    ) -> tf.Tensor:
        """Score all documents; see the class for inputs and output.

        Args:
          doc_id_history: integer [B, H], or both inputs as a pair or dict.
          c_time_history: float [B, H], unless `doc_id_history` holds both.
          training: whether layers that behave differently in training (dropout) do so.
          mask: ignored.

        Raises:
          ValueError, TypeError: if an input is missing, ragged or sparse, or its rank, last axis or dtype is wrong.
          tf.errors.InvalidArgumentError: if an id is outside 0..D or a time is not finite (not under XLA).
        """
        del mask
        doc_ids, times = self._inputs(doc_id_history, c_time_history)
        if doc_ids.dtype not in (tf.int32, tf.int64):  # D need not fit into smaller dtypes
            doc_ids = tf.cast(doc_ids, tf.int64)
        times = tf.cast(times, self.compute_dtype)
        is_id = (doc_ids >= 0) & (doc_ids <= self.num_docs)
        is_time = tf.math.is_finite(times)
        known = tf.reduce_all(is_id & is_time, axis=-1, keepdims=True)
        # The details of the error are computed only if an input is invalid.
        checked = tf.cond(tf.reduce_all(known), lambda: True, lambda: self._refuse(doc_ids, times, is_id, is_time))
        with tf.control_dependencies([checked]):
            # XLA clamps look-ups itself; clamping here as well would cost a fourteenth of a rollout.
            doc_ids = tf.identity(doc_ids) if self.nan_times_give_nan else tf.clip_by_value(doc_ids, 0, self.num_docs)
        nan = tf.cast(float("nan"), self.compute_dtype)
        if self.nan_times_give_nan:
            # Masks H numbers per row instead of D scores.
            return self.score_histories(doc_ids, tf.where(known, times, nan), training)
        return tf.where(known, self.score_histories(doc_ids, times, training), nan)

    def _refuse(self, doc_ids: tf.Tensor, times: tf.Tensor, is_id: tf.Tensor, is_time: tf.Tensor) -> tf.Tensor:
        """Raise for ids out of range, else for times that are not finite; do nothing under XLA."""
        allowed = f"{self.name}: {DOC_ID_HISTORY} must be between 0 and {self.num_docs}, got ids from"
        ids = [allowed, tf.reduce_min(doc_ids), "to", tf.reduce_max(doc_ids)]
        finite = f"{self.name}: {C_TIME_HISTORY} must be finite in {self.compute_dtype}, got times that sum to"
        refused = [
            tf.debugging.Assert(tf.reduce_all(is_id), ids),
            tf.debugging.Assert(tf.reduce_all(is_time), [finite, tf.reduce_sum(times)]),
        ]
        with tf.control_dependencies([check for check in refused if check is not None]):
            return tf.constant(False)

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
        for argument, given in ((DOC_ID_HISTORY, doc_id_history), (C_TIME_HISTORY, c_time_history)):
            if isinstance(given, (tf.RaggedTensor, tf.SparseTensor)):
                raise TypeError(
                    f"{self.name}: {argument} must be a dense tensor of shape (batch, {self.history_length}), "
                    f"got a {type(given).__name__}"
                )
        doc_ids, times = _tensor(doc_id_history), _tensor(c_time_history)
        if not doc_ids.dtype.is_integer:
            raise TypeError(f"{self.name}: {DOC_ID_HISTORY} must be an integer tensor, got {doc_ids.dtype.name}")
        if not (times.dtype.is_floating or times.dtype.is_integer):
            raise TypeError(f"{self.name}: {C_TIME_HISTORY} must be a float tensor, got {times.dtype.name}")
        return self._shaped(DOC_ID_HISTORY, doc_ids), self._shaped(C_TIME_HISTORY, times)

    def _shaped(self, argument: str, tensor: tf.Tensor) -> tf.Tensor:
        shape = tensor.shape
        if shape.rank not in (None, 2) or (shape.rank == 2 and shape[-1] not in (None, self.history_length)):
            raise ValueError(f"{self.name}: {argument} must have shape (batch, {self.history_length}), got {shape}")
        if (shape.rank is None or shape[-1] is None) and not keras_surface.is_keras_tensor(tensor):
            return tf.ensure_shape(tensor, (None, self.history_length), name=argument)  # otherwise rows could be merged
        return tensor

    def export(self, filepath: Any) -> None:
        """Export the scorer as a SavedModel with the endpoint `serve(doc_id_history, c_time_history)`.

        Keras's own method requires an earlier call, and its endpoint takes only one input.

        Args:
          filepath: the folder to write.
        """
        self.build((None, self.history_length))
        shape = (None, self.history_length)
        archive = tf.keras.export.ExportArchive()
        archive.track(self)
        archive.add_endpoint(
            "serve",
            lambda doc_id_history, c_time_history: self(doc_id_history, c_time_history),
            input_signature=[
                tf.TensorSpec(shape, tf.int32, name=DOC_ID_HISTORY),
                tf.TensorSpec(shape, tf.float32, name=C_TIME_HISTORY),
            ],
        )
        archive.write_out(filepath)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Return (B, D), where B is the first axis of the first input shape; builds, as every Keras layer does here."""
        with tf.init_scope():
            self.build(input_shape)
        return tf.TensorShape([_shapes(input_shape)[0][0], self.num_docs])

    def get_config(self) -> dict[str, Any]:
        """Return JSON-serialisable arguments from which `from_config` creates an equal, unbuilt model."""
        return {
            "num_users": self.num_users,
            "num_docs": self.num_docs,
            "doc_embed_dim": self.doc_embed_dim,
            "history_length": self.history_length,
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "HistoryScorer":
        """Create the model from a configuration of `get_config`."""
        del custom_objects
        return cls(**config)


def proposal_rows(table: tf.keras.layers.Embedding, num_docs: int) -> tf.Tensor:
    """Return the rows of documents 1 to `num_docs` of a built table [D+1, E]; constant within a loop."""
    return hoisting.loop_invariant((id(table), "proposals"), lambda: table(tf.range(1, num_docs + 1)))


def _tensor(value: Any) -> tf.Tensor:
    return value if keras_surface.is_keras_tensor(value) else tf.convert_to_tensor(value)


def _shapes(input_shape: Any) -> list[tuple[Optional[int], ...]]:
    """Return the shapes in a shape, a pair of shapes or a dict of shapes, as tuples."""
    if isinstance(input_shape, Mapping):
        missing = {DOC_ID_HISTORY, C_TIME_HISTORY} - set(input_shape)
        if missing:
            raise ValueError(f"the dict of inputs lacks {', '.join(sorted(missing))}")
        return _shapes([input_shape[DOC_ID_HISTORY], input_shape[C_TIME_HISTORY]])
    if isinstance(input_shape, tf.TensorShape) and input_shape.rank is not None:
        return [tuple(input_shape.as_list())]
    if isinstance(input_shape, (tuple, list)) and input_shape:
        if all(size is None or isinstance(size, int) for size in input_shape):
            return [tuple(input_shape)]
        return [shape for value in input_shape for shape in _shapes(value)]
    raise ValueError(f"cannot build from the shape {input_shape!r}, expected (batch, H) or two of them")
