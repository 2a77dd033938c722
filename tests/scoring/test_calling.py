"""Scorers of the user's own: the form in which they are called, and those that cannot be."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.recommender import CollabFilteringRecommender
from recsys_po_rl.scoring import calling
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

DOCS, HISTORY = 6, 4
IDS = np.array([[0, 1, 5, 2], [2, 0, 3, 6], [0, 0, 0, 1]], np.int32)
TIMES = np.array([[0.0, 0.5, 2.0, 1.0], [1.0, 0.0, 4.0, 0.5], [0.0, 0.0, 0.0, 3.0]], np.float32)


def functional(*sizes):
    del sizes
    ids, times = tf.keras.Input((HISTORY,), dtype=tf.int32), tf.keras.Input((HISTORY,))
    read = tf.keras.layers.Flatten()(tf.keras.layers.Embedding(DOCS + 1, 2)(ids))
    return tf.keras.Model([ids, times], tf.keras.layers.Dense(DOCS)(tf.keras.layers.Concatenate()([read, times])))


class OfOneArgument(tf.keras.Model):
    def __init__(self, *sizes):
        super().__init__()
        self.dense = tf.keras.layers.Dense(DOCS)

    def call(self, inputs, training=None):
        doc_ids, times = inputs
        return self.dense(tf.cast(doc_ids, tf.float32) * times)


class OfTwoArguments(OfOneArgument):
    def call(self, doc_ids, times, training=None, mask=None):
        return self.dense(tf.cast(doc_ids, tf.float32) * times)


@pytest.mark.parametrize("ctor", [functional, OfOneArgument])
def test_a_model_of_one_argument_is_called_with_the_pair(ctor):
    network = create_interest_evolution_simulation_network(
        num_users=3, num_docs=DOCS, num_topics=2, slate_size=2, history_length=HISTORY,
        recommender_ctor=lambda config: CollabFilteringRecommender(config, model_ctor=ctor),
    )  # fmt: skip
    model = network.recommender.model
    np.testing.assert_array_equal(calling.scores(model, IDS, TIMES), model([IDS, TIMES]))
    assert np.ptp(calling.scores(model, IDS, TIMES)) > 0.0
    runtime_state = network.recommender.initial_state()
    assert network.recommender._scores(runtime_state).shape == (3, DOCS)


def test_a_model_of_two_arguments_and_a_function_are_called_with_both():
    model = OfTwoArguments()
    np.testing.assert_array_equal(calling.scores(model, IDS, TIMES), model(IDS, TIMES))
    assert calling.scores(lambda first, second: (first, second), 1, 2) == (1, 2)


class FromKeras3:
    """Stands for a model of Keras 3, whose classes live in the package `keras`."""

    def __call__(self, *inputs):
        raise AssertionError("it was called")


FromKeras3.__module__ = "keras.src.models.functional"


@pytest.mark.parametrize(
    ("model", "says"), [(FromKeras3(), "made with Keras 3: use tf.keras of this process"), (3, "a scorer, got int")]
)
def test_what_is_no_scorer_is_refused_by_name(model, says):
    config = {"num_users": 2, "num_docs": DOCS, "slate_size": 2, "history_length": HISTORY}
    with pytest.raises(validation.InvalidTypeError, match=f"CollabFilteringRecommender: model_ctor .*{says}\\b"):
        CollabFilteringRecommender(config, model_ctor=lambda *sizes: model)


@pytest.mark.slow
def test_a_real_model_of_keras_3_is_refused(fresh_python):
    code = (
        "import recsys_po_rl.recommender as r, keras\n"
        "model = keras.Sequential([keras.layers.Dense(2)])\n"
        "config = {'num_users': 2, 'num_docs': 3, 'slate_size': 2, 'history_length': 4}\n"
        "try: r.CollabFilteringRecommender(config, model_ctor=lambda *sizes: model)\n"
        "except r.validation.InvalidTypeError as error: print(error)\n"
    )
    answer = fresh_python("-c", code)
    assert "a Sequential made with Keras 3: use tf.keras of this process" in answer.stdout, answer.stderr
