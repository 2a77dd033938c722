"""A recommender of one's own: it learns how much it likes each topic, and how loyal to be to the last one."""

from typing import Any

import edward2 as ed
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields, gin_config
from recsys_po_rl.recommender import HistoryRecommender, top_k_plackett_luce


@gin_config.configurable
class TopicBanditRecommender(HistoryRecommender):
    """Prefers documents of topics with large weights, and of the topic consumed last; learns K + 1 numbers.

    It needs nothing else to learn: the trainer computes the probability of what was shown from what is drawn here.
    """

    def __init__(self, config: Any, **options: Any) -> None:
        """Makes the entity and its weights."""
        super().__init__(config, **options)
        self._topic_weights = tf.Variable(tf.zeros((config["num_topics"],)), name="topic_weights")
        self._loyalty = tf.Variable(0.0, name="loyalty")

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> ed.RandomVariable:
        """Draws S documents without replacement; int32 [U, S]."""
        del user_obs
        topics = tf.convert_to_tensor(available_docs.get(fields.DOC_TOPIC))
        ids = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        last_id = previous_state.get(fields.DOC_HISTORY)[:, -1:]
        is_last = tf.cast(tf.equal(ids, last_id), tf.float32)  # [U, D]; all zeros before the first click
        same_topic = tf.cast(tf.equal(topics[:, tf.newaxis], topics), tf.float32)  # [D, D]
        logits = tf.gather(self._topic_weights, topics) + self._loyalty * tf.matmul(is_last, same_topic)
        return top_k_plackett_luce(logits=logits, slate_size=self._slate_size)
