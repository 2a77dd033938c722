"""Bases of recommenders: entities whose state is the consumption histories, their own slates, and the step."""

from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.choice_models import selectors
from recsim_ng.entities.recommendation import recommender
from recsim_ng.entities.state_models import dynamic, state

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.scoring.memory import SLATES, STEP


class _HistoryModel(state.StateModel):
    """State model of the last H inputs, oldest first, zero-padded; H = 1 is supported."""

    def __init__(self, num_users: int, history_length: int, dtype: tf.DType) -> None:
        super().__init__(batch_ndims=1, name="HistoryModel")
        self._shape = (num_users, history_length)
        self._dtype = dtype

    def initial_state(self, parameters: Optional[Value] = None) -> Value:
        del parameters
        return Value(state=tf.zeros(self._shape, self._dtype))

    def next_state(self, old_state: Value, inputs: Value, parameters: Optional[Value] = None) -> Value:
        del parameters
        newest = tf.cast(inputs.get("input"), self._dtype)
        return Value(state=tf.concat([old_state.get("state")[:, 1:], newest[:, tf.newaxis]], axis=1))

    def specs(self) -> ValueSpec:
        # The branch that is not taken contains -1, for users without a click.
        if self._dtype.is_integer:
            return ValueSpec(state=fields.tensor_spec(self._shape, -1, self._dtype.max, self._dtype))
        return ValueSpec(state=fields.tensor_spec(self._shape, -1.0, dtype=self._dtype))


class HistoryRecommender(recommender.BaseRecommender):
    """Base of recommenders whose state is the documents each user consumed last, with consumed times.

    Subclasses define the slate given the histories: `slate_ranks`. A `memory`, set by the subclass, adds fields to the
    state. Reads num_users (U), num_docs (D), slate_size (S), history_length (H) and, for specs only, num_topics (K)
    from the config.

    State fields, initially zero, newest last, unchanged on no click:
      doc_history.state: int32 [U, H], ids of consumed documents, 0 for empty slots.
      ctime_history.state: float32 [U, H], consumed times of these documents.
      doc_history.tbranch.state, ctime_history.tbranch.state: the previous history, kept on no click.
      doc_history.fbranch.state, ctime_history.fbranch.state: the history with the response appended (-1 on no click).
    With "slates" in the memory, also:
      slate_history: int32 [U, H, S], ids of the last H slates, newest last, 0 before the first.
      clicked_history: int32 [U, H], their clicked slots; S for no click, and before the first.
    With "step" in the memory, also:
      step: int32 [U], slates shown before this one.
    Slate fields:
      doc_id, doc_topic: int32 [U, S]; doc_quality, doc_length: float32 [U, S]; doc_features: float32 [U, S, K].
      doc_ranks: int32 [U, S], indices of the slate's documents among the available documents, from 0.

    Attributes:
      memory: what is remembered beside the clicks, of `scoring.memory.MEMORIES`.
    """

    memory: tuple[str, ...] = ()

    def __init__(
        self, config: Config, name: str = "Recommender", doc_fields: Sequence[str] = fields.DOC_FIELDS
    ) -> None:
        """Create the entity.

        Args:
          config: num_users, num_docs, slate_size and history_length at least 1, slate_size at most num_docs.
          name: name of the entity.
          doc_fields: fields of the available documents to include in a slate.

        Raises:
          InvalidInputError: if a number is missing or out of bounds.
        """
        owner = type(self).__name__
        num_users = validation.config_value(config, "num_users", 1, owner)
        num_docs = validation.config_value(config, "num_docs", 1, owner)
        slate_size = validation.config_value(config, "slate_size", 1, owner)
        self._history_length = validation.config_value(config, "history_length", 1, owner)
        self._num_topics = config.get("num_topics", 1)
        if slate_size > num_docs:
            raise validation.InvalidInputError(
                f"{owner}: config['slate_size'] must be at most config['num_docs'], got {slate_size} > {num_docs}"
            )
        super().__init__(config, name=name)
        self._doc_fields = tuple(doc_fields)
        self._doc_history = dynamic.NoOPOrContinueStateModel(
            _HistoryModel(num_users, self._history_length, tf.int32), batch_ndims=1
        )
        self._ctime_history = dynamic.NoOPOrContinueStateModel(
            _HistoryModel(num_users, self._history_length, tf.float32), batch_ndims=1
        )

    def initial_state(self) -> Value:
        """Return empty histories; see the class for the fields."""
        return (
            self._doc_history.initial_state()
            .prefixed_with("doc_history")
            .union(self._ctime_history.initial_state().prefixed_with("ctime_history"))
            .union(Value(**self._empty_memory()))
        )

    def _empty_memory(self) -> dict[str, tf.Tensor]:
        slates = (self._num_users, self._history_length)
        memory = {}
        if SLATES in self.memory:
            memory[fields.SLATE_HISTORY] = tf.zeros((*slates, self._slate_size), tf.int32)
            memory[fields.CLICKED_HISTORY] = tf.fill(slates, self._slate_size)
        if STEP in self.memory:
            memory[fields.STEP] = tf.zeros((self._num_users,), tf.int32)
        return memory

    def _next_memory(self, previous_state: Value, shown_ids: tf.Tensor, choice: tf.Tensor) -> dict[str, tf.Tensor]:
        memory = {}
        for name, newest in ((fields.SLATE_HISTORY, shown_ids), (fields.CLICKED_HISTORY, choice)):
            if SLATES in self.memory:
                memory[name] = tf.concat([previous_state.get(name)[:, 1:], newest[:, tf.newaxis]], axis=1)
        if STEP in self.memory:
            memory[fields.STEP] = previous_state.get(fields.STEP) + 1
        return memory

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Append consumed documents and times to the histories, and the step to the memory.

        Args:
          previous_state: see the class.
          user_response: choice int32 [U] (S: no click) and consumed_time float32 [U] are read.
          slate_docs: doc_id int32 [U, S] is read.
        """
        choice = tf.convert_to_tensor(user_response.get(fields.CHOICE))
        shown = slate_docs.at(fields.DOC_ID).map(tf.convert_to_tensor)
        chosen = selectors.get_chosen(shown, choice)
        no_click = tf.equal(choice, self._slate_size)
        doc_history = self._doc_history.next_state(
            previous_state.get("doc_history"), Value(condition=no_click, input=chosen.get(fields.DOC_ID))
        )
        ctime_history = self._ctime_history.next_state(
            previous_state.get("ctime_history"),
            Value(condition=no_click, input=user_response.get(fields.CONSUMED_TIME)),
        )
        return (
            doc_history.prefixed_with("doc_history")
            .union(ctime_history.prefixed_with("ctime_history"))
            .union(Value(**self._next_memory(previous_state, shown.get(fields.DOC_ID), choice)))
        )

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the slate as indices into the P available documents.

        Args:
          previous_state: the histories, see the class.
          user_obs: observation of the users; empty by default.
          available_docs: the documents to choose from.

        Returns:
          int32 [U, S], distinct numbers from 0 to P-1 in each row: an Edward2 random variable, or a tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define slate_ranks")

    def slate_docs(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Value:
        """Choose a slate and gather the documents' fields; see the class for the fields.

        Raises:
          InvalidInputError: if fewer than S documents are available.
        """
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        if pool.shape[0] is not None and pool.shape[0] < self._slate_size:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: a slate of {self._slate_size} needs at least as many available documents, "
                f"got {pool.shape[0]}"
            )
        ranks = self.slate_ranks(previous_state, user_obs, available_docs)
        indices = tf.convert_to_tensor(ranks)
        # A slate that could not be drawn is -1, for which a gather would raise before the runtime names the error.
        places = tf.where(tf.equal(indices, -1), 0, indices)
        shown = available_docs.at(*self._doc_fields).map(lambda field: tf.gather(tf.convert_to_tensor(field), places))
        return shown.union(Value(doc_ranks=ranks))

    def specs(self) -> ValueSpec:
        """Return specs of `state` and `slate`."""
        per_slot = (self._num_users, self._slate_size)
        known = {
            fields.DOC_ID: fields.tensor_spec(per_slot, 1, self._num_docs, tf.int32),
            fields.DOC_TOPIC: fields.tensor_spec(per_slot, 0, max(self._num_topics - 1, 0), tf.int32),
            fields.DOC_QUALITY: fields.tensor_spec(per_slot),
            fields.DOC_FEATURES: fields.tensor_spec((*per_slot, self._num_topics)),
            fields.DOC_LENGTH: fields.tensor_spec(per_slot, 0.0),
        }
        slate = ValueSpec(
            **{field: known.get(field, fields.tensor_spec(per_slot)) for field in self._doc_fields},
            doc_ranks=fields.tensor_spec(per_slot, 0, self._num_docs - 1, tf.int32),
        )
        histories = (
            self._doc_history.specs()
            .prefixed_with("doc_history")
            .union(self._ctime_history.specs().prefixed_with("ctime_history"))
        )
        highest = {
            fields.SLATE_HISTORY: self._num_docs, fields.CLICKED_HISTORY: self._slate_size, fields.STEP: tf.int32.max
        }  # fmt: skip
        memory = ValueSpec(
            **{
                name: fields.tensor_spec(empty.shape, 0, highest[name], tf.int32)
                for name, empty in self._empty_memory().items()
            }
        )
        return histories.union(memory).prefixed_with("state").union(slate.prefixed_with("slate"))


class StepCountingRecommender(HistoryRecommender):
    """Base of recommenders whose state also holds the number of slates shown, the field step; int32 [U]."""

    memory = (STEP,)
