"""Uniformly random slates."""

from typing import Any

import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext


@gin_config.configurable
class UniformRandomRecommender(recommender.HistoryRecommender):
    """Uniformly random recommender over all slates of S different documents; fields as in `HistoryRecommender`."""

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Draw slates uniformly; int32 [U, S]."""
        del previous_state, user_obs
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID)).shape[0]
        return recommender.top_k_plackett_luce(logits=tf.zeros((self._num_users, pool)), slate_size=self._slate_size)


@gin_config.configurable(name="uniform_random")
class UniformRandom(Policy):
    """Policy that draws every slate uniformly at random."""

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Build the policy; see `Policy.build`."""
        return BuiltPolicy(context.network(recommender_ctor=UniformRandomRecommender))
