"""Scorer of exponential averages over all clicks of a user, at several rates."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.scoring import memory as memory_lib
from recsys_po_rl.scoring.collab_filtering import HIDDEN_UNITS, LEAKY_RELU_SLOPE
from recsys_po_rl.scoring.dot_product import PROPOSAL_STDDEV, DocumentBias, DotProductScorer
from recsys_po_rl.scoring.keras_surface import build_tables
from recsys_po_rl.scoring.stateful import StatefulScorer

DECAYS = (0.5, 0.8, 0.95)  # weight of an average after one more click; memory of 2, 5 and 20 clicks
TIME_OFFSET = 1.0  # subtracted from consumed times: half the default document length, so that averages are centred


@gin_config.configurable
@tf.keras.utils.register_keras_serializable(package="recsys_po_rl")
class AveragedHistoryModel(StatefulScorer, DotProductScorer):
    """Scorer of exponential averages over all clicks so far.

    With x_k = [Q[id_k], time_k - 1] of click k and the decays r,

        a_r <- r a_r + (1 - r) x_k,   f = [a_r for all r, log(1 + clicks)],
        e = W2 leaky_relu(W1 f + b1) + b2,   score[d] = <e, P[d]> + bias[d].

    Inputs, output and errors: see `HistoryScorer`. The averages are carried from step to step, so a recommender's
    scores depend on the whole episode; called with histories, the model averages over those. Null slots are ignored.

    A memory adds features to f. Of the slates: averages v_r <- r v_r + (1 - r) m over all steps, at the same rates,
    where m is the mean over slots of the embeddings Q of the documents shown without being clicked. Of the step:
    t / 100 and log(1 + steps since the last click).

    State: averages, compute dtype [B, number of decays, E + 1]; clicks, compute dtype [B]; with a memory of the slates
    in_vain, compute dtype [B, number of decays, E]; of the step steps and steps_since_click, compute dtype [B].
    """

    def __init__(
        self,
        num_users: int,
        num_docs: int,
        doc_embed_dim: int,
        history_length: int,
        decays: Sequence[float] = DECAYS,
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
          decays: decay rate of each average, at least 0 and below 1.
          proposal_stddev: standard deviation of the initial table P (truncated at twice that).
          memory: what is remembered beside the clicks, "slates" or "step" or both.
          name: name of the model; default: the class name, with a number from the second instance on.
          **kwargs: passed to `tf.keras.Model`, for instance dtype.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        if isinstance(decays, (str, bytes)) or not isinstance(decays, Sequence) or not decays:
            raise validation.InvalidTypeError(f"AveragedHistoryModel: decays must be a list of numbers, got {decays!r}")
        checked = [validation.number("AveragedHistoryModel: decays: each", decay, 0.0, 1.0) for decay in decays]
        if max(checked) >= 1.0:
            raise validation.InvalidInputError(f"AveragedHistoryModel: decays must be below 1, got {list(decays)}")
        super().__init__(num_users, num_docs, doc_embed_dim, history_length, proposal_stddev, name=name, **kwargs)
        self.decays = tuple(checked)
        self.memory = memory_lib.validated("AveragedHistoryModel: memory", memory)
        policy = self.dtype_policy  # sublayers would take the global policy
        self._hidden = tf.keras.layers.Dense(HIDDEN_UNITS, dtype=policy, name="hidden")
        self._user_embedding = tf.keras.layers.Dense(doc_embed_dim, dtype=policy, name="user_embedding")
        self._doc_bias = DocumentBias(num_docs, dtype=policy, name="doc_bias")

    def build_layers(self) -> None:
        """Create the weights."""
        build_tables(self._doc_embedding, self._doc_prop_embedding)
        features = len(self.decays) * (self.doc_embed_dim + 1) + 1
        if memory_lib.SLATES in self.memory:
            features += len(self.decays) * self.doc_embed_dim
        if memory_lib.STEP in self.memory:
            features += memory_lib.NUM_CLOCK_FEATURES
        self._hidden.build((None, features))
        self._user_embedding.build((None, HIDDEN_UNITS))
        self._doc_bias.build((None, self.num_docs))

    def score_histories(self, doc_ids: tf.Tensor, times: tf.Tensor, training: Optional[bool]) -> tf.Tensor:
        """Return the scores of all documents from the clicks in the histories."""
        del training
        clicked = tf.cast(doc_ids > 0, self.compute_dtype)
        later_clicks = tf.cumsum(clicked, axis=1, exclusive=True, reverse=True)
        decays = tf.constant(self.decays, self.compute_dtype)
        weights = (1.0 - decays) * tf.pow(decays, later_clicks[..., tf.newaxis]) * clicked[..., tf.newaxis]
        averages = tf.einsum("bhr,bhe->bre", weights, self._click_features(doc_ids, times))
        clicks = tf.reduce_sum(clicked, axis=1)
        state = {**self.initial_state(tf.shape(doc_ids)[0]), "averages": averages, "clicks": clicks}
        if memory_lib.STEP in self.memory:
            state["steps"] = clicks
        return self.score_state(state)

    def _click_features(self, doc_ids: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
        return tf.concat([self._doc_embedding(doc_ids), times[..., tf.newaxis] - TIME_OFFSET], axis=-1)

    def initial_state(self, num_rows: int) -> dict[str, tf.Tensor]:
        """Return a zero state; see the class for the fields."""
        state = {
            "averages": tf.zeros((num_rows, len(self.decays), self.doc_embed_dim + 1), self.compute_dtype),
            "clicks": tf.zeros((num_rows,), self.compute_dtype),
        }
        if memory_lib.SLATES in self.memory:
            state["in_vain"] = tf.zeros((num_rows, len(self.decays), self.doc_embed_dim), self.compute_dtype)
        if memory_lib.STEP in self.memory:
            state |= memory_lib.clock(num_rows, self.compute_dtype)
        return state

    def read_click(self, state: Mapping[str, tf.Tensor], doc_ids: tf.Tensor, times: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the averages after a click."""
        decays = tf.constant(self.decays, self.compute_dtype)[:, tf.newaxis]
        features = self._click_features(doc_ids, times)[:, tf.newaxis]
        averages = decays * state["averages"] + (1.0 - decays) * features
        return {**state, "averages": averages, "clicks": state["clicks"] + 1.0}

    def read_step(
        self, state: Mapping[str, tf.Tensor], shown_ids: tf.Tensor, clicked: tf.Tensor, times: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return the state after a step: averages over the documents shown in vain, and the time."""
        del times
        after = dict(state)
        if memory_lib.SLATES in self.memory:
            decays = tf.constant(self.decays, self.compute_dtype)[:, tf.newaxis]
            in_vain = memory_lib.shown_in_vain(self._doc_embedding, shown_ids, clicked)[:, tf.newaxis]
            after["in_vain"] = decays * state["in_vain"] + (1.0 - decays) * in_vain
        if memory_lib.STEP in self.memory:
            after |= memory_lib.clock_after(state, clicked < shown_ids.shape[1])
        return after

    def score_state(self, state: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the scores of all documents from the averages."""
        size = len(self.decays) * (self.doc_embed_dim + 1)
        features = [tf.reshape(state["averages"], (-1, size)), tf.math.log1p(state["clicks"])[:, tf.newaxis]]
        if memory_lib.SLATES in self.memory:
            features.append(tf.reshape(state["in_vain"], (-1, len(self.decays) * self.doc_embed_dim)))
        if memory_lib.STEP in self.memory:
            features.append(memory_lib.clock_features(state))
        hidden = tf.nn.leaky_relu(self._hidden(tf.concat(features, axis=1)), LEAKY_RELU_SLOPE)
        return self.read_out(self._user_embedding(hidden))

    def get_config(self) -> dict[str, Any]:
        """Return JSON-serialisable arguments from which `from_config` creates an equal, unbuilt model."""
        return {**super().get_config(), "decays": list(self.decays), "memory": list(self.memory)}
