"""Recommenders: consumption histories as state, a scorer, and a random slate drawn by the scores."""

from collections.abc import Callable, Sequence
from typing import Any, Optional

import edward2 as ed
import tensorflow as tf
import tensorflow_probability as tfp
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.choice_models import selectors
from recsim_ng.entities.recommendation import recommender
from recsim_ng.entities.state_models import dynamic, state

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.distributions import top_k_plackett_luce as top_k_plackett_luce_lib
from recsys_po_rl.scoring import calling
from recsys_po_rl.scoring.base import HistoryScorer
from recsys_po_rl.scoring.collab_filtering import CollabFilteringModel
from recsys_po_rl.scoring.interest import InterestModel

__all__ = ["CollabFilteringModel", "CollabFilteringRecommender", "FullInformationRecommender", "HistoryRecommender"]

tfd = tfp.distributions

DOC_EMBED_DIM = 32  # E; SPEC of the model, after recsim_ng's application

top_k_plackett_luce = ed.make_random_variable(top_k_plackett_luce_lib.TopKPlackettLuce)


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

    Subclasses define the slate given the histories: `slate_ranks`. Reads num_users (U), num_docs (D), slate_size (S),
    history_length (H) and, for specs only, num_topics (K) from the config.

    State fields, initially zero, newest last, unchanged on no click:
      doc_history.state: int32 [U, H], ids of consumed documents, 0 for empty slots.
      ctime_history.state: float32 [U, H], consumed times of these documents.
      doc_history.tbranch.state, ctime_history.tbranch.state: the previous history, kept on no click.
      doc_history.fbranch.state, ctime_history.fbranch.state: the history with the response appended (-1 on no click).
    Slate fields:
      doc_id, doc_topic: int32 [U, S]; doc_quality, doc_length: float32 [U, S]; doc_features: float32 [U, S, K].
      doc_ranks: int32 [U, S], indices of the slate's documents among the available documents, from 0.
    """

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
        )

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Append consumed documents and times to the histories.

        Args:
          previous_state: see the class.
          user_response: choice int32 [U] (S: no click) and consumed_time float32 [U] are read.
          slate_docs: doc_id int32 [U, S] is read.
        """
        choice = tf.convert_to_tensor(user_response.get(fields.CHOICE))
        chosen = selectors.get_chosen(slate_docs.at(fields.DOC_ID).map(tf.convert_to_tensor), choice)
        no_click = tf.equal(choice, self._slate_size)
        doc_history = self._doc_history.next_state(
            previous_state.get("doc_history"), Value(condition=no_click, input=chosen.get(fields.DOC_ID))
        )
        ctime_history = self._ctime_history.next_state(
            previous_state.get("ctime_history"),
            Value(condition=no_click, input=user_response.get(fields.CONSUMED_TIME)),
        )
        return doc_history.prefixed_with("doc_history").union(ctime_history.prefixed_with("ctime_history"))

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
        return histories.prefixed_with("state").union(slate.prefixed_with("slate"))


@gin_config.configurable
class CollabFilteringRecommender(HistoryRecommender):
    """Recommender with slates drawn without replacement from the softmax of a scorer's scores (top-S Plackett-Luce).

    Fields as in `HistoryRecommender`; `doc_ranks` is random. Scores are looked up by document id, so the pool may
    contain any S or more documents with ids in 1..D, in any order. With a stateful scorer (see `scoring.HistoryScorer`)
    the recommender's state also contains the scorer's state, under the prefix `scorer`.
    """

    def __init__(
        self,
        config: Config,
        model_ctor: Callable[..., Any] = CollabFilteringModel,
        name: str = "Recommender",
        doc_embed_dim: int = DOC_EMBED_DIM,
        greedy: bool = False,
    ) -> None:
        """Create the entity and its scorer.

        Args:
          config: as in `HistoryRecommender`.
          model_ctor: called with (U, D, doc_embed_dim, H) by position; returns a scorer that maps the two histories,
            int32 and float32 [U, H], to scores [U, D]. A Keras model whose `call` takes one argument, such as a
            functional model with two inputs, is called with a list of both. The scorer is called once here, to create
            its weights; the result of that call is not validated.
          name: name of the entity.
          doc_embed_dim: E, embedding size, passed to the scorer.
          greedy: whether to show the S best-scored documents, best first, instead of sampling; the attribute can be
            changed until a network with this entity is run.

        Raises:
          InvalidInputError: if an argument is out of bounds, or the scorer is a Keras 3 model.
        """
        super().__init__(config, name=name)
        self.greedy = validation.boolean(f"{type(self).__name__}: greedy", greedy)
        embed_dim = validation.integer(f"{type(self).__name__}: doc_embed_dim", doc_embed_dim, 1)
        validation.constructor(f"{type(self).__name__}: model_ctor", model_ctor)
        model = model_ctor(self._num_users, self._num_docs, embed_dim, self._history_length)
        self._model = calling.scorer(type(self).__name__, model)
        shape = (self._num_users, self._history_length)
        calling.scores(self._model, tf.zeros(shape, tf.int32), tf.zeros(shape, tf.float32))

    @property
    def _carries_state(self) -> bool:
        return bool(getattr(self._model, "carries_state", False))

    def initial_state(self) -> Value:
        """Return empty histories, and the initial state of a stateful scorer."""
        histories = super().initial_state()
        if not self._carries_state:
            return histories
        return histories.union(Value(**self._model.initial_state(self._num_users)).prefixed_with(fields.SCORER_STATE))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Append consumed documents and times to the histories, and update the state of a stateful scorer."""
        histories = super().next_state(previous_state, user_response, slate_docs)
        if not self._carries_state:
            return histories
        choice = tf.convert_to_tensor(user_response.get(fields.CHOICE))
        consumed = selectors.get_chosen(slate_docs.at(fields.DOC_ID).map(tf.convert_to_tensor), choice)
        state = self._model.next_state(
            previous_state.get(fields.SCORER_STATE).as_dict,
            consumed.get(fields.DOC_ID),
            tf.convert_to_tensor(user_response.get(fields.CONSUMED_TIME)),
            tf.not_equal(choice, self._slate_size),
        )
        return histories.union(Value(**state).prefixed_with(fields.SCORER_STATE))

    def specs(self) -> ValueSpec:
        """Return specs of `state` and `slate`, including the scorer's state."""
        if not self._carries_state:
            return super().specs()
        carried = {
            name: fields.tensor_spec(tensor.shape, dtype=tensor.dtype)
            for name, tensor in self._model.initial_state(self._num_users).items()
        }
        state = ValueSpec(**carried).prefixed_with(fields.SCORER_STATE).prefixed_with("state")
        return super().specs().union(state)

    def _scores(self, previous_state: Value) -> tf.Tensor:
        """Return the scores; float32 [U, D].

        Raises:
          validation.WrongScoresError: if the scores have the wrong shape.
        """
        scores = self._unchecked_scores(previous_state)
        expected = (self._num_users, self._num_docs)
        if not scores.shape.is_compatible_with(expected):
            raise validation.WrongScoresError(
                f"the scorer {type(self._model).__name__} must return scores of shape {expected} (users, documents), "
                f"got {tuple(scores.shape)}"
            )
        return scores

    def _unchecked_scores(self, previous_state: Value) -> tf.Tensor:
        if self._carries_state:
            state = previous_state.get(fields.SCORER_STATE).map(tf.convert_to_tensor).as_dict
            return self._model.score_state(state)
        histories = [
            tf.convert_to_tensor(previous_state.get(name)) for name in (fields.DOC_HISTORY, fields.CTIME_HISTORY)
        ]
        if isinstance(self._model, HistoryScorer):
            return self._model(*histories)
        return calling.scores(self._model, *histories)

    @property
    def model(self) -> Any:
        """The scorer."""
        return self._model

    def slate_distribution(
        self, previous_state: Value, available_docs: Value
    ) -> top_k_plackett_luce_lib.TopKPlackettLuce:
        """Return the distribution of the slate given the histories.

        Args:
          previous_state: the histories, see `HistoryRecommender`.
          available_docs: doc_id int32 [P] is read, distinct ids in 1..D.

        Returns:
          A distribution over indices into the available documents, batch [U], event [S].

        Raises:
          tf.errors.InvalidArgumentError: if an id is outside 1..D (under XLA its logits are NaN).
        """
        return top_k_plackett_luce_lib.TopKPlackettLuce(**self._slate_parameters(previous_state, available_docs))

    def _slate_parameters(self, previous_state: Value, available_docs: Value) -> dict[str, Any]:
        ids = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        return {"logits": self._scores(previous_state), "columns": ids - 1, "slate_size": self._slate_size}

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return a sample from `slate_distribution`, or its mode; int32 [U, S]."""
        del user_obs
        if self.greedy:
            return self.slate_distribution(previous_state, available_docs).mode()
        return top_k_plackett_luce(**self._slate_parameters(previous_state, available_docs))


@gin_config.configurable
class FullInformationRecommender(HistoryRecommender):
    """Recommender that observes the user's interest, normally latent, and the number of slates shown.

    Slates have a top-S Plackett-Luce distribution, as in `CollabFilteringRecommender`. With equal training, the
    difference in reward between both recommenders is the gain from observing interest and step. Fields as in
    `HistoryRecommender`; the state also has the field step, int32 [U], slates shown so far.
    """

    def __init__(
        self,
        config: Config,
        model_ctor: Callable[..., Any] = InterestModel,
        name: str = "Recommender",
        doc_embed_dim: int = DOC_EMBED_DIM,
        greedy: bool = False,
    ) -> None:
        """Create the entity and its scorer.

        Args:
          config: as in `HistoryRecommender`, and num_topics.
          model_ctor: called with (K, D, doc_embed_dim) by position; returns a scorer that maps the interest, float32
            [U, K], and the step, int32 [U], to scores [U, D]. The scorer is called once here.
          name: name of the entity.
          doc_embed_dim: E.
          greedy: whether to show the S best-scored documents, best first, instead of sampling.

        Raises:
          InvalidInputError: if an argument is out of bounds, or the scorer is a Keras 3 model.
        """
        super().__init__(config, name=name)
        self.greedy = validation.boolean(f"{type(self).__name__}: greedy", greedy)
        num_topics = validation.config_value(config, "num_topics", 1, type(self).__name__)
        embed_dim = validation.integer(f"{type(self).__name__}: doc_embed_dim", doc_embed_dim, 1)
        validation.constructor(f"{type(self).__name__}: model_ctor", model_ctor)
        model = model_ctor(num_topics, self._num_docs, embed_dim)
        self._model = calling.scorer(type(self).__name__, model)
        calling.scores(self._model, tf.zeros((self._num_users, num_topics)), self._no_steps())

    def _no_steps(self) -> tf.Tensor:
        return tf.zeros((self._num_users,), tf.int32)

    @property
    def model(self) -> Any:
        """The scorer."""
        return self._model

    def initial_state(self) -> Value:
        """Return empty histories at step 0."""
        return super().initial_state().union(Value(**{fields.STEP: self._no_steps()}))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Append consumed documents and times to the histories; increment the step."""
        histories = super().next_state(previous_state, user_response, slate_docs)
        return histories.union(Value(**{fields.STEP: previous_state.get(fields.STEP) + 1}))

    def specs(self) -> ValueSpec:
        """Return specs of `state` and `slate`."""
        step = ValueSpec(**{fields.STEP: fields.tensor_spec((self._num_users,), 0, tf.int32.max, tf.int32)})
        return super().specs().union(step.prefixed_with("state"))

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return a sample from the slate's distribution, or its mode; int32 [U, S].

        Raises:
          InvalidInputError: if the users do not reveal their interest.
        """
        if fields.OBSERVED_INTEREST not in user_obs.as_dict:
            raise validation.InvalidInputError(
                f"{type(self).__name__} needs a network with full_information = True: users hide their interest"
            )
        scores = calling.scores(self._model, user_obs.get(fields.OBSERVED_INTEREST), previous_state.get(fields.STEP))
        columns = tf.convert_to_tensor(available_docs.get(fields.DOC_ID)) - 1
        if self.greedy:
            return top_k_plackett_luce_lib.TopKPlackettLuce(scores, self._slate_size, columns=columns).mode()
        return top_k_plackett_luce(logits=scores, columns=columns, slate_size=self._slate_size)
