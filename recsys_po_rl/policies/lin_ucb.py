"""LinUCB, a linear contextual bandit of each user over the documents' features."""

import functools
from typing import Any

import edward2 as ed
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl.common import validation
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext

_TIE = 1e-4  # largest random number, in units of time, that is added to a score to break ties


@gin_config.configurable
class LinUCBRecommender(recommender.HistoryRecommender):
    """Recommender that shows the S documents with the largest upper confidence bounds of the consumed time.

    LinUCB with one linear model for each user (Li, Chu, Langford, Schapire 2010, "A Contextual-Bandit Approach to
    Personalized News Article Recommendation", algorithm 1, with the model attached to the user instead of the arm).
    The features of a document are its `doc_features`, x in R^K. After each slate the model of the user gets one
    observation for each document shown: the consumed time of the document that was chosen, 0 of the others. With
    A = ridge I + sum x x' and b = sum x times the reward, a document scores

        x' A^-1 b + alpha sqrt(x' A^-1 x).

    Ties, as of documents with equal features, are broken at random.

    State fields, in addition to those of `HistoryRecommender`:
      inverse_design: float32 [U, K, K], A^-1, updated by the Sherman-Morrison formula.
      reward_features: float32 [U, K], b, in units of time.
    """

    def __init__(self, config: Config, alpha: float = 1.0, ridge: float = 1.0, name: str = "Recommender") -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          alpha: width of the confidence bound in standard deviations, at least 0; 0 never explores.
          ridge: regularisation of the linear models, above 0.
          name: name of the entity.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        super().__init__(config, name=name)
        owner = type(self).__name__
        self._alpha = validation.number(f"{owner}: alpha", alpha, 0.0)
        self._ridge = validation.number(f"{owner}: ridge", ridge, 0.0, exclusive_minimum=True)

    def initial_state(self) -> Value:
        """Return empty histories and models without observations."""
        identity = tf.eye(self._num_topics, batch_shape=(self._num_users,))
        models = {
            fields.INVERSE_DESIGN: identity / self._ridge,
            fields.REWARD_FEATURES: tf.zeros((self._num_users, self._num_topics)),
        }
        return super().initial_state().union(Value(**models))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Append consumed documents to the histories, and update the models by the documents shown."""
        histories = super().next_state(previous_state, user_response, slate_docs)
        features = tf.convert_to_tensor(slate_docs.get(fields.DOC_FEATURES))
        time = tf.convert_to_tensor(user_response.get(fields.CONSUMED_TIME))
        choice = tf.convert_to_tensor(user_response.get(fields.CHOICE))
        inverse = tf.convert_to_tensor(previous_state.get(fields.INVERSE_DESIGN))
        rewards = tf.one_hot(choice, self._slate_size) * time[:, tf.newaxis]  # all 0 where nothing was chosen
        for slot in range(self._slate_size):
            shown = features[:, slot]
            product = tf.linalg.matvec(inverse, shown)
            scale = 1.0 + tf.reduce_sum(shown * product, axis=-1)
            inverse -= product[:, :, tf.newaxis] * product[:, tf.newaxis, :] / scale[:, tf.newaxis, tf.newaxis]
        gained = tf.reduce_sum(rewards[..., tf.newaxis] * features, axis=1)
        models = {
            fields.INVERSE_DESIGN: inverse,
            fields.REWARD_FEATURES: tf.convert_to_tensor(previous_state.get(fields.REWARD_FEATURES)) + gained,
        }
        return histories.union(Value(**models))

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the S documents with the largest upper confidence bounds, best first; int32 [U, S]."""
        del user_obs
        features = tf.convert_to_tensor(available_docs.get(fields.DOC_FEATURES))
        inverse = tf.convert_to_tensor(previous_state.get(fields.INVERSE_DESIGN))
        coefficients = tf.linalg.matvec(inverse, tf.convert_to_tensor(previous_state.get(fields.REWARD_FEATURES)))
        expected = tf.linalg.matmul(coefficients, features, transpose_b=True)
        variance = tf.reduce_sum(tf.linalg.matmul(features, inverse) * features, axis=-1)
        bounds = expected + self._alpha * tf.sqrt(tf.maximum(variance, 0.0))
        ties = tf.convert_to_tensor(ed.Uniform(low=tf.zeros_like(bounds), high=_TIE))
        return tf.math.top_k(bounds + ties, self._slate_size).indices

    def specs(self) -> ValueSpec:
        """Return the specs of `state` and `slate`."""
        users, topics = self._num_users, self._num_topics
        models = ValueSpec(
            **{
                fields.INVERSE_DESIGN: fields.tensor_spec((users, topics, topics)),
                fields.REWARD_FEATURES: fields.tensor_spec((users, topics)),
            }
        )
        return super().specs().union(models.prefixed_with("state"))


@gin_config.configurable(name="lin_ucb")
class LinUCB(Policy):
    """Policy of a linear bandit for each user, see `LinUCBRecommender`; it begins without knowledge of any user."""

    def __init__(self, alpha: float = 1.0, ridge: float = 1.0) -> None:
        """Validate the arguments.

        Args:
          alpha: as of `LinUCBRecommender`.
          ridge: as of `LinUCBRecommender`.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        self.alpha = validation.number(f"{self.name}: alpha", alpha, 0.0)
        self.ridge = validation.number(f"{self.name}: ridge", ridge, 0.0, exclusive_minimum=True)

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Build the policy; see `Policy.build`."""
        ctor = functools.partial(LinUCBRecommender, alpha=self.alpha, ridge=self.ridge)
        return BuiltPolicy(context.network(recommender_ctor=ctor), {"alpha": self.alpha, "ridge": self.ridge})
