"""A recurrent scorer, after GRU4Rec."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.scoring import memory as memory_lib
from recsys_po_rl.scoring.dot_product import PROPOSAL_STDDEV, DocumentBias, DotProductScorer
from recsys_po_rl.scoring.keras_surface import build_tables
from recsys_po_rl.scoring.stateful import StatefulScorer

UNITS = 32  # size of the recurrent state


@gin_config.configurable
@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class GRUModel(StatefulScorer, DotProductScorer):
    """Scorer with a gated recurrent unit that reads one click after another.

    Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based recommendations with recurrent neural networks" (ICLR
    2016). Deviations: the consumed time is a further input, and the score of a document is the dot product of a linear
    map of the state with the document's proposal embedding, plus a bias per document.

    Inputs, output and errors: see `HistoryScorer`. The hidden state is carried from step to step, so a recommender's
    scores depend on the whole episode; called with histories, the model reads them from a zero state. Null slots leave
    the state unchanged.

    With a memory, a second unit of the same size reads every step: whether there was a click and, of the slates, the
    mean over slots of the embeddings of the documents shown without being clicked; of the step, t / 100 and
    log(1 + steps since the last click). The score is computed from both states.

    State: hidden, compute dtype [B, units]; with a memory steps_hidden, compute dtype [B, units]; of the step also
    steps and steps_since_click, compute dtype [B].
    """

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        units: int = UNITS,
        proposal_stddev: float = PROPOSAL_STDDEV,
        memory: Sequence[str] = (),
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        """Create the model; weights come with `build` or the first call.

        Args:
          num_users: U; the batch may have any number of rows.
          num_docs: D.
          doc_embed_dim: E.
          history_length: H.
          units: size of the recurrent state, at least 1.
          proposal_stddev: standard deviation of the initial proposal table (truncated at twice that).
          memory: what is remembered beside the clicks, "slates" or "step" or both.
          name: name of the model; default: the class name, with a number from the second instance on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        units = validation.integer("GRUModel: units", units, 1)
        super().__init__(num_users, num_docs, doc_embed_dim, history_length, proposal_stddev, name=name, **kwargs)
        self.units = units
        self.memory = memory_lib.validated("GRUModel: memory", memory)
        policy = self.dtype_policy  # sublayers would take the global policy
        self._cell = tf.keras.layers.GRUCell(units, dtype=policy, name="gru_cell")
        if self.memory:
            self._step_cell = tf.keras.layers.GRUCell(units, dtype=policy, name="step_gru_cell")
        self._user_embedding = tf.keras.layers.Dense(doc_embed_dim, dtype=policy, name="user_embedding")
        self._doc_bias = DocumentBias(num_docs, dtype=policy, name="doc_bias")

    def build_layers(self) -> None:
        """Create the weights."""
        build_tables(self._doc_embedding, self._doc_prop_embedding)
        with tf.name_scope(self._cell.name):
            self._cell.build((None, self.doc_embed_dim + 1))
        if self.memory:
            features = 1 + self.doc_embed_dim * (memory_lib.SLATES in self.memory)
            features += memory_lib.NUM_CLOCK_FEATURES * (memory_lib.STEP in self.memory)
            with tf.name_scope(self._step_cell.name):
                self._step_cell.build((None, features))
        self._user_embedding.build((None, 2 * self.units if self.memory else self.units))
        self._doc_bias.build((None, self.num_docs))

    def score_histories(self, doc_ids: tf.Tensor, times: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Return the scores of all documents after reading the histories from a zero state."""
        del training
        state = self.initial_state(tf.shape(doc_ids)[0])
        for slot in range(self.history_length):  # H is small and static: unrolled, so that XLA can fuse the steps
            read = self.read_click(state, doc_ids[:, slot], times[:, slot])
            if self.memory:  # a slate of the clicked document alone
                read = self.read_step(
                    read, doc_ids[:, slot : slot + 1], tf.zeros_like(doc_ids[:, slot]), times[:, slot]
                )
            clicked = doc_ids[:, slot] > 0
            state = {
                key: tf.where(clicked if len(after.shape) == 1 else clicked[:, tf.newaxis], after, state[key])
                for key, after in read.items()
            }
        return self.score_state(state)

    def initial_state(self, num_rows: int) -> dict[str, tf.Tensor]:
        """Return a zero state; see the class for the fields."""
        state = {"hidden": tf.zeros((num_rows, self.units), self.compute_dtype)}
        if self.memory:
            state["steps_hidden"] = tf.zeros((num_rows, self.units), self.compute_dtype)
        if memory_lib.STEP in self.memory:
            state |= memory_lib.clock(num_rows, self.compute_dtype)
        return state

    def read_click(self, state: Mapping[str, tf.Tensor], doc_ids: tf.Tensor, times: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the hidden state after reading a click."""
        read = tf.concat([self._doc_embedding(doc_ids), times[:, tf.newaxis]], axis=-1)
        hidden, _ = self._cell(read, [state["hidden"]])
        return {**state, "hidden": hidden}

    def read_step(
        self, state: Mapping[str, tf.Tensor], shown_ids: tf.Tensor, clicked: tf.Tensor, times: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return the state after the second unit has read a step."""
        del times
        was_clicked = clicked < shown_ids.shape[1]
        features = [tf.cast(was_clicked, self.compute_dtype)[:, tf.newaxis]]
        after = dict(state)
        if memory_lib.SLATES in self.memory:
            features.append(memory_lib.shown_in_vain(self._doc_embedding, shown_ids, clicked))
        if memory_lib.STEP in self.memory:
            after |= memory_lib.clock_after(state, was_clicked)
            features.append(memory_lib.clock_features(after))
        after["steps_hidden"], _ = self._step_cell(tf.concat(features, axis=1), [state["steps_hidden"]])
        return after

    def score_state(self, state: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the scores of all documents from the hidden states."""
        hidden = state["hidden"]
        if self.memory:
            hidden = tf.concat([hidden, state["steps_hidden"]], axis=1)
        return self.read_out(self._user_embedding(hidden))

    def get_config(self) -> dict[str, Any]:
        """Return JSON-serialisable arguments from which `from_config` creates an equal, unbuilt model."""
        return {**super().get_config(), "units": self.units, "memory": list(self.memory)}
