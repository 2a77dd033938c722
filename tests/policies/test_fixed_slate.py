"""The recommender of a fixed slate, from any pool; and what it shares with the uniformly random one."""

import functools
import inspect

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core import network as network_lib
from recsim_ng.core.value import Value
from recsim_ng.lib.tensorflow import runtime as tf_runtime

from recsys_po_rl import corpus, fields, simulation_config
from recsys_po_rl.common import validation
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import runtime

NUM_USERS, NUM_DOCS, NUM_TOPICS, HISTORY, SLATE_SIZE = 4, 6, 2, 5, 3
CONFIG = {
    "num_users": NUM_USERS,
    "num_docs": NUM_DOCS,
    "num_topics": NUM_TOPICS,
    "history_length": HISTORY,
    "slate_size": SLATE_SIZE,
}
POOLS = {"in_order": [1, 2, 3, 4, 5, 6], "reordered": [4, 1, 6, 2, 5, 3], "smaller": [5, 2, 1, 4]}
FIXED = [5, 1, 4]


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


@pytest.fixture(scope="module")
def documents():
    return corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)


def pool_of(documents, ids):
    return documents.map(lambda field: tf.gather(field, np.array(ids) - 1))


def assert_shows_its_ranks(slate, pool):
    ranks = array(slate.get("doc_ranks"))
    assert list(slate.as_dict) == [*fields.DOC_FIELDS, "doc_ranks"]
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(array(slate.get(name)), array(pool.get(name))[ranks])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("ids", POOLS.values(), ids=POOLS)
def test_fixed_slate_shows_exactly_those_documents_in_order(documents, ids, compiled):
    entity = FixedSlateRecommender(CONFIG, FIXED)

    def show(given):
        return entity.slate_docs(entity.initial_state(), Value(), Value(**given)).as_dict

    pool = pool_of(documents, ids)
    slate = Value(**(tf.function(show, autograph=False) if compiled else show)(pool.as_dict))
    np.testing.assert_array_equal(slate.get("doc_id"), np.tile(FIXED, (NUM_USERS, 1)))
    np.testing.assert_array_equal(slate.get("doc_ranks"), np.tile([ids.index(i) for i in FIXED], (NUM_USERS, 1)))
    assert slate.get("doc_ranks").dtype == tf.int32
    assert_shows_its_ranks(slate, pool)


@pytest.mark.parametrize("as_given", [tuple, np.array, list, lambda ids: np.array(ids, np.int64)])
def test_fixed_slate_takes_any_integers(documents, as_given):
    entity = FixedSlateRecommender(CONFIG, as_given(FIXED))
    slate = entity.slate_docs(entity.initial_state(), Value(), documents)
    np.testing.assert_array_equal(slate.get("doc_id"), np.tile(FIXED, (NUM_USERS, 1)))


@pytest.mark.parametrize(
    "doc_ids",
    [(), [5, 1], [5, 1, 4, 2], [5, 1, 5], [5, 0, 1], [5, -2, 1], [5, 1.5, 4], [5, True, 4], [5, "one", 4]],
    ids=str,
)
def test_fixed_slate_refuses_impossible_ids(doc_ids):
    with pytest.raises(validation.InvalidInputError, match="doc_ids"):
        FixedSlateRecommender(CONFIG, doc_ids)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_fixed_document_that_is_missing_from_the_pool_is_an_error(documents, compiled):
    entity = FixedSlateRecommender(CONFIG, FIXED)

    def show(given):
        return entity.slate_docs(entity.initial_state(), Value(), Value(**given)).as_dict

    pool = pool_of(documents, [2, 5, 6, 4, 3])  # 1 is not there
    with pytest.raises(tf.errors.InvalidArgumentError, match="document of the fixed slate is not available"):
        (tf.function(show, autograph=False) if compiled else show)(pool.as_dict)


# Both.

BASELINES = {
    "uniform": UniformRandomRecommender,
    "fixed": functools.partial(FixedSlateRecommender, doc_ids=FIXED),
}


@pytest.mark.parametrize("kind", BASELINES)
def test_names_trainables_and_histories(kind):
    entity = BASELINES[kind](CONFIG)
    assert entity.name == "Recommender"
    assert BASELINES[kind](CONFIG, name="Random").name == "Random"
    assert entity.trainable_variables == ()
    response = Value(choice=tf.constant([2, 3, 0, 1]), consumed_time=tf.constant([1.5, -1.0, 0.5, 2.0]))
    docs = Value(doc_id=tf.constant([[1, 2, 3], [4, 5, 6], [2, 4, 6], [3, 1, 5]]))
    state = entity.next_state(entity.initial_state(), response, docs)
    np.testing.assert_array_equal(array(state.get(fields.DOC_HISTORY))[:, -1], [3, 0, 2, 1])
    np.testing.assert_array_equal(array(state.get(fields.CTIME_HISTORY))[:, -1], [1.5, 0, 0.5, 2])


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("key", ["num_users", "num_docs", "slate_size", "history_length"])
def test_baselines_refuse_impossible_configs(kind, key):
    with pytest.raises(validation.InvalidInputError, match=key):
        BASELINES[kind]({**CONFIG, key: 0})


@pytest.mark.parametrize("kind", BASELINES)
def test_slate_longer_than_the_corpus_is_an_error(kind):
    with pytest.raises(validation.InvalidInputError, match="slate_size"):
        BASELINES[kind]({**CONFIG, "slate_size": NUM_DOCS + 1})


def test_constructors_take_config_first():
    assert list(inspect.signature(FixedSlateRecommender).parameters) == ["config", "doc_ids", "name"]
    assert next(iter(inspect.signature(UniformRandomRecommender).parameters)) == "config"


@pytest.mark.slow
@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("graph_compile", [False, True], ids=["eager", "graph"])
def test_baselines_run_in_recsim_ngs_runtime(kind, graph_compile):
    network = simulation_config.create_interest_evolution_simulation_network(
        NUM_USERS,
        NUM_TOPICS + 2,
        NUM_DOCS,
        history_length=HISTORY,
        slate_size=SLATE_SIZE,
        corpus_seed=2,
        recommender_ctor=BASELINES[kind],
    )
    assert network.trainable_variables == ()
    trajectory = tf_runtime.TFRuntime(network_lib.Network(network.variables), graph_compile).trajectory(3)
    shown = array(trajectory[fields.SLATE_DOCS].get("doc_id"))
    assert shown.shape == (3, NUM_USERS, SLATE_SIZE)
    if kind == "fixed":
        np.testing.assert_array_equal(shown, np.tile(FIXED, (3, NUM_USERS, 1)))
    assert all(len(set(slate)) == SLATE_SIZE for slate in shown.reshape(-1, SLATE_SIZE).tolist())


@pytest.mark.slow
def test_baselines_meet_the_same_users_in_the_projects_runtime():
    first = []
    for kind in BASELINES.values():
        network = simulation_config.create_interest_evolution_simulation_network(
            NUM_USERS, 4, NUM_DOCS, history_length=HISTORY, slate_size=SLATE_SIZE, corpus_seed=2, recommender_ctor=kind
        )
        first.append(runtime.SeededRuntime(network.variables, mode="eager").execute(0))
    for name in (fields.USER_STATE, fields.CORPUS_STATE):
        for field, held in first[0][name].as_dict.items():
            np.testing.assert_array_equal(held, first[1][name].get(field))
