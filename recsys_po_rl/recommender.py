"""Recommenders: consumption histories as state, a scorer, and a random slate drawn by the scores."""

from collections.abc import Callable
from typing import Any, Optional, cast

import edward2 as ed
import tensorflow as tf
import tensorflow_probability as tfp
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.choice_models import selectors

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.distributions import top_k_plackett_luce as top_k_plackett_luce_lib
from recsys_po_rl.history_recommender import HistoryRecommender, StepCountingRecommender
from recsys_po_rl.scoring import calling
from recsys_po_rl.scoring.base import HistoryScorer
from recsys_po_rl.scoring.collab_filtering import CollabFilteringModel
from recsys_po_rl.scoring.interest import InterestModel
from recsys_po_rl.scoring.stateful import StatefulScorer

__all__ = [
    "CollabFilteringModel",
    "CollabFilteringRecommender",
    "FullInformationRecommender",
    "HistoryRecommender",
    "StepCountingRecommender",
]

tfd = tfp.distributions

DOC_EMBED_DIM = 32  # E; SPEC of the model, after recsim_ng's application

top_k_plackett_luce = ed.make_random_variable(top_k_plackett_luce_lib.TopKPlackettLuce)


@gin_config.configurable
class CollabFilteringRecommender(HistoryRecommender):
    """Recommender with slates drawn without replacement from the softmax of a scorer's scores (top-S Plackett-Luce).

    Fields as in `HistoryRecommender`; `doc_ranks` is random. Scores are looked up by document id, so the pool may
    contain any S or more documents with ids in 1..D, in any order. With a stateful scorer (see `scoring.HistoryScorer`)
    the recommender's state also contains the scorer's state, under the prefix `scorer`. The recommender remembers its
    own slates and the step if the scorer does, for instance `AveragedHistoryModel` with
    `memory = ("slates", "step")`; a scorer without the argument `memory` remembers clicks only.
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
        scorer = self._stateful_scorer
        self.memory = () if scorer is None else scorer.memory

    @property
    def _stateful_scorer(self) -> Optional[StatefulScorer]:
        return cast(StatefulScorer, self._model) if getattr(self._model, "carries_state", False) else None

    def initial_state(self) -> Value:
        """Return empty histories, and the initial state of a stateful scorer."""
        histories = super().initial_state()
        scorer = self._stateful_scorer
        if scorer is None:
            return histories
        return histories.union(Value(**scorer.initial_state(self._num_users)).prefixed_with(fields.SCORER_STATE))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Append consumed documents and times to the histories, and update the state of a stateful scorer."""
        histories = super().next_state(previous_state, user_response, slate_docs)
        scorer = self._stateful_scorer
        if scorer is None:
            return histories
        choice = tf.convert_to_tensor(user_response.get(fields.CHOICE))
        shown = slate_docs.at(fields.DOC_ID).map(tf.convert_to_tensor)
        clicked, times = choice < self._slate_size, tf.convert_to_tensor(user_response.get(fields.CONSUMED_TIME))
        consumed = selectors.get_chosen(shown, choice).get(fields.DOC_ID)
        state = scorer.next_state(previous_state.get(fields.SCORER_STATE).as_dict, consumed, times, clicked)
        if scorer.memory:
            times = tf.where(clicked, times, tf.zeros_like(times))
            state = scorer.read_step(state, shown.get(fields.DOC_ID), choice, times)
        return histories.union(Value(**state).prefixed_with(fields.SCORER_STATE))

    def specs(self) -> ValueSpec:
        """Return specs of `state` and `slate`, including the scorer's state."""
        scorer = self._stateful_scorer
        if scorer is None:
            return super().specs()
        carried = {
            name: fields.tensor_spec(tensor.shape, dtype=tensor.dtype)
            for name, tensor in scorer.initial_state(self._num_users).items()
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
        scorer = self._stateful_scorer
        if scorer is not None:
            return scorer.score_state(previous_state.get(fields.SCORER_STATE).map(tf.convert_to_tensor).as_dict)
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
class FullInformationRecommender(StepCountingRecommender):
    """Recommender that observes the user's interest, normally latent, and the number of slates shown.

    Slates have a top-S Plackett-Luce distribution, as in `CollabFilteringRecommender`. With equal training, the
    difference in reward between both recommenders is the gain from observing interest and step. Fields as in
    `StepCountingRecommender`.
    """

    def __init__(
        self,
        config: Config,
        model_ctor: Callable[..., Any] = InterestModel,
        name: str = "Recommender",
        doc_embed_dim: int = DOC_EMBED_DIM,
        greedy: bool = False,
        observes_step: bool = True,
    ) -> None:
        """Create the entity and its scorer.

        Args:
          config: as in `HistoryRecommender`, and num_topics.
          model_ctor: called with (K, D, doc_embed_dim) by position; returns a scorer that maps the interest, float32
            [U, K], and the step, int32 [U], to scores [U, D]. The scorer is called once here.
          name: name of the entity.
          doc_embed_dim: E.
          greedy: whether to show the S best-scored documents, best first, instead of sampling.
          observes_step: whether the scorer receives the step; otherwise it receives 0 at every step.

        Raises:
          InvalidInputError: if an argument is out of bounds, or the scorer is a Keras 3 model.
        """
        super().__init__(config, name=name)
        self.greedy = validation.boolean(f"{type(self).__name__}: greedy", greedy)
        self._observes_step = validation.boolean(f"{type(self).__name__}: observes_step", observes_step)
        num_topics = validation.config_value(config, "num_topics", 1, type(self).__name__)
        embed_dim = validation.integer(f"{type(self).__name__}: doc_embed_dim", doc_embed_dim, 1)
        validation.constructor(f"{type(self).__name__}: model_ctor", model_ctor)
        model = model_ctor(num_topics, self._num_docs, embed_dim)
        self._model = calling.scorer(type(self).__name__, model)
        calling.scores(self._model, tf.zeros((self._num_users, num_topics)), tf.zeros((self._num_users,), tf.int32))

    @property
    def model(self) -> Any:
        """The scorer."""
        return self._model

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return a sample from the slate's distribution, or its mode; int32 [U, S].

        Raises:
          InvalidInputError: if the users do not reveal their interest.
        """
        if fields.OBSERVED_INTEREST not in user_obs.as_dict:
            raise validation.InvalidInputError(
                f"{type(self).__name__} needs a network with full_information = True: users hide their interest"
            )
        step = tf.convert_to_tensor(previous_state.get(fields.STEP))
        step = step if self._observes_step else tf.zeros_like(step)
        scores = calling.scores(self._model, user_obs.get(fields.OBSERVED_INTEREST), step)
        columns = tf.convert_to_tensor(available_docs.get(fields.DOC_ID)) - 1
        if self.greedy:
            return top_k_plackett_luce_lib.TopKPlackettLuce(scores, self._slate_size, columns=columns).mode()
        return top_k_plackett_luce(logits=scores, columns=columns, slate_size=self._slate_size)
