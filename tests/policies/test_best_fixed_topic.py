"""The recommender of one topic, and the search for the best topic."""

import functools

import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, simulation_config
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.policies import best_fixed_topic
from recsys_po_rl.simulation import runtime, seeding

NUM_USERS, NUM_DOCS, NUM_TOPICS = 60, 6, 2


def make_network(recommender_ctor, num_docs):
    return simulation_config.create_interest_evolution_simulation_network(
        NUM_USERS, NUM_TOPICS, num_docs, slate_size=2, corpus_seed=3, corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=recommender_ctor,
    )  # fmt: skip


def test_topic_recommender_shows_its_topic_and_fills_up_with_others():
    config = {"num_users": 4, "num_docs": NUM_DOCS, "num_topics": NUM_TOPICS, "history_length": 5, "slate_size": 3}
    docs = corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)
    docs = Value(**{**docs.as_dict, fields.DOC_TOPIC: tf.constant([0, 0, 0, 0, 1, 0])})
    for topic, sure in ((0, set()), (1, {5})):
        entity = best_fixed_topic.TopicRecommender(config, topic=topic)
        with seeding.seeded_draws(seeding.stateless_seed(1), fields.SLATE_DOCS):
            shown = tf.convert_to_tensor(entity.slate_docs(Value(), Value(), docs).get("doc_id")).numpy()
        for slate in shown.tolist():
            assert len(set(slate)) == 3
            assert sure <= set(slate)
            assert topic == 1 or 5 not in slate
    with pytest.raises(validation.InvalidInputError, match="topic"):
        best_fixed_topic.TopicRecommender(config, topic=-1)


@pytest.mark.slow
def test_topics_differ_and_are_compared_on_the_same_users():
    network = make_network(best_fixed_topic.TopicRecommender, 20)
    seeded = runtime.SeededRuntime(network.variables)
    call = functools.partial(best_fixed_topic.topic_means, seeded, network.recommender, NUM_TOPICS, 20, 0)
    means = call(num_users=120, batch_size=NUM_USERS)
    for topic, mean in enumerate(means):
        fixed = make_network(functools.partial(best_fixed_topic.TopicRecommender, topic=topic), 20)
        alone = runtime.SeededRuntime(fixed.variables)
        rewards = evaluator.evaluate(alone, 20, 120, NUM_USERS, 0, ("references", "topic"))
        assert rewards.total.mean() == pytest.approx(mean)
    assert abs(means[1] - means[0]) > 1.0
