"""What every scorer shares: sizes, forms of input, checks, configuration."""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl import checks

DOC_ID_HISTORY = "doc_id_history"
C_TIME_HISTORY = "c_time_history"


class HistoryScorer(tf.keras.Model):
    """Base of Keras models that score every document for every user from what the user consumed last.

    Inputs (two tensors, a pair, or a dict with the argument names as keys), rows independent, any number of rows B:
      doc_id_history: integer [B, H], consumed ids 1..D, oldest first, 0 where nothing was consumed (yet).
      c_time_history: float [B, H], consumed times, finite, in the unit of the documents' length.
    Output: scores, compute dtype [B, D], unbounded; column d-1 belongs to document d.

    A row with an id outside 0..D or a time that is not finite raises an error; under XLA, where no operation can raise,
    its scores are NaN, and other rows stay as they are.

    A subclass makes its layers in the constructor, builds them in `build_layers` and scores in `score_histories`. One
    that remembers more than the last H documents has `carries_state = True` and defines `initial_state`, `next_state`
    and `score_state`; its recommender then carries that state from step to step. For up to H clicks, scores from the
    state must equal scores from the histories.
    """

    carries_state = False

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Makes the scorer; weights come with `build` or the first call.

        Args:
          num_users: U, users of the simulation; kept for the configuration, any number of rows can be scored.
          num_docs: D.
          doc_embed_dim: E.
          history_length: H.
          name: name of the model; by default the class's, with a number from the second one on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          checks.InvalidInputError: if a size is no integer of at least 1.
        """
        owner = type(self).__name__
        sizes = {
            "num_users": num_users,
            "num_docs": num_docs,
            "doc_embed_dim": doc_embed_dim,
            "history_length": history_length,
        }
        checked = {key: checks.integer(f"{owner}: {key}", size, 1) for key, size in sizes.items()}
        super().__init__(name=name or _unique_name(owner), **kwargs)
        for key, size in checked.items():
            setattr(self, key, size)

    # For subclasses.

    def build_layers(self) -> None:
        """Makes the weights of all layers; they depend on the constructor's arguments alone."""
        raise NotImplementedError(f"{type(self).__name__} does not define build_layers")

    def score_histories(self, doc_ids: tf.Tensor, times: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Scores of all documents.

        Args:
          doc_ids: integer [B, H], between 0 and D.
          times: compute dtype [B, H].
          training: as in Keras.

        Returns:
          compute dtype [B, D].
        """
        raise NotImplementedError(f"{type(self).__name__} does not define score_histories")

    def initial_state(self, num_rows: int) -> dict[str, tf.Tensor]:
        """The state of users who consumed nothing yet: tensors [num_rows, ...] by name, for scorers that carry one."""
        raise NotImplementedError(f"{type(self).__name__} carries no state")

    def next_state(
        self, state: Mapping[str, tf.Tensor], doc_ids: tf.Tensor, times: tf.Tensor, clicked: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The state after a response.

        Args:
          state: as `initial_state` returns it.
          doc_ids: integer [B], documents consumed; anything where nothing was.
          times: float [B], their consumed times; anything where nothing was consumed.
          clicked: bool [B], whether something was consumed; other rows stay as they are.
        """
        raise NotImplementedError(f"{type(self).__name__} carries no state")

    def score_state(self, state: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Scores of all documents from the state, compute dtype [B, D]."""
        raise NotImplementedError(f"{type(self).__name__} carries no state")

    # Keras.

    def build(self, input_shape: Any) -> None:
        """Makes the weights.

        Args:
          input_shape: shape or shapes of the inputs; only rank and last axis are checked.

        Raises:
          ValueError: if there is no shape, or one is not (batch, H).
        """
        for argument, shape in zip((DOC_ID_HISTORY, C_TIME_HISTORY), _shapes(input_shape)):
            if len(shape) != 2 or shape[-1] not in (None, self.history_length):
                raise ValueError(f"{self.name}: {argument} must have shape (batch, {self.history_length}), got {shape}")
        if self.built:  # type: ignore[has-type]
            return
        self.build_layers()
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
          training: whether layers that behave differently in training (dropout) do so.
          mask: accepted and without effect.

        Raises:
          ValueError, TypeError: if an input is missing, or its rank, last axis or dtype is wrong.
          tf.errors.InvalidArgumentError: if an id is outside 0..D or a time not finite (not under XLA).
        """
        del mask
        doc_ids, times = self._inputs(doc_id_history, c_time_history)
        known = tf.reduce_all((doc_ids >= 0) & (doc_ids <= self.num_docs), axis=-1)
        finite = tf.reduce_all(tf.math.is_finite(times), axis=-1)
        assertions = [
            tf.debugging.Assert(
                tf.reduce_all(known),
                [f"{self.name}: {DOC_ID_HISTORY} must be between 0 and {self.num_docs}, got", doc_ids],
            ),
            tf.debugging.Assert(tf.reduce_all(finite), [f"{self.name}: {C_TIME_HISTORY} must be finite, got", times]),
        ]
        with tf.control_dependencies([assertion for assertion in assertions if assertion is not None]):
            doc_ids = tf.clip_by_value(doc_ids, 0, self.num_docs)
        scores = self.score_histories(doc_ids, tf.cast(times, self.compute_dtype), training)
        return tf.where((known & finite)[:, tf.newaxis], scores, tf.cast(float("nan"), scores.dtype))

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
        if not times.dtype.is_floating:
            if not times.dtype.is_integer:
                raise TypeError(f"{self.name}: {C_TIME_HISTORY} must be a float tensor, got {times.dtype.name}")
            times = tf.cast(times, self.compute_dtype)
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
        """None: scores belong to documents, not to history slots, and carry no mask."""
        del inputs, mask
        return

    def get_config(self) -> dict[str, Any]:
        """Plain JSON types from which `from_config` makes an equal, unbuilt model."""
        return {
            "num_users": self.num_users,
            "num_docs": self.num_docs,
            "doc_embed_dim": self.doc_embed_dim,
            "history_length": self.history_length,
            "name": self.name,
            "dtype": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "HistoryScorer":
        """Makes the model that `get_config` described."""
        del custom_objects
        return cls(**config)


def build_tables(*tables: tf.keras.layers.Embedding) -> None:
    """Makes the weights of embedding layers, named under their layers."""
    for table in tables:
        with tf.name_scope(table.name):
            table.build((None,))


def _unique_name(class_name: str) -> str:
    count = tf.keras.backend.get_uid(class_name)
    return class_name if count == 1 else f"{class_name}_{count - 1}"


def _shapes(input_shape: Any) -> list[tuple[Optional[int], ...]]:
    """The shapes in a shape, a pair of shapes or a dict of shapes, as tuples."""
    if isinstance(input_shape, Mapping):
        missing = {DOC_ID_HISTORY, C_TIME_HISTORY} - set(input_shape)
        if missing:
            raise ValueError(f"the dict of inputs lacks {', '.join(sorted(missing))}")
        return _shapes([input_shape[DOC_ID_HISTORY], input_shape[C_TIME_HISTORY]])
    if isinstance(input_shape, tf.TensorShape):
        return [tuple(input_shape.as_list())]
    if isinstance(input_shape, (tuple, list)) and input_shape:
        if all(size is None or isinstance(size, int) for size in input_shape):
            return [tuple(input_shape)]
        return [shape for value in input_shape for shape in _shapes(value)]
    raise ValueError(f"cannot build from the shape {input_shape!r}, expected (batch, H) or two of them")
