"""The uniformly random recommender: its distribution, which depends on nothing."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding

NUM_USERS, NUM_DOCS, NUM_TOPICS, HISTORY, SLATE_SIZE = 4, 6, 2, 5, 3
CONFIG = {
    "num_users": NUM_USERS,
    "num_docs": NUM_DOCS,
    "num_topics": NUM_TOPICS,
    "history_length": HISTORY,
    "slate_size": SLATE_SIZE,
}
POOLS = {"in_order": [1, 2, 3, 4, 5, 6], "reordered": [4, 1, 6, 2, 5, 3], "smaller": [5, 2, 1, 4]}
TOLERANCE = 0.004  # of a frequency
SEEDS = (1, 2)


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


def draws_needed(tolerance, failure=1e-7):
    """Draws after which a frequency is off by `tolerance` with that probability at most (Hoeffding 1963)."""
    return math.ceil(math.log(2 / failure) / (2 * tolerance**2))


@pytest.fixture(scope="module")
def documents():
    return corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)


def assert_shows_its_ranks(slate, pool):
    ranks = array(slate.get("doc_ranks"))
    assert list(slate.as_dict) == [*fields.DOC_FIELDS, "doc_ranks"]
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(array(slate.get(name)), array(pool.get(name))[ranks])


def pool_of(documents, ids):
    return documents.map(lambda field: tf.gather(field, np.array(ids) - 1))


@pytest.mark.slow
@pytest.mark.parametrize("ids", POOLS.values(), ids=POOLS)
def test_uniform_law_is_exact(documents, ids):
    entity = UniformRandomRecommender(CONFIG)
    pool = pool_of(documents, ids)
    slate = entity.slate_docs(entity.initial_state(), Value(), pool)
    assert_shows_its_ranks(slate, pool)
    law = slate.get("doc_ranks").distribution
    assert (law.batch_shape, law.event_shape) == ((NUM_USERS,), (SLATE_SIZE,))
    expected = -math.log(math.perm(len(ids), SLATE_SIZE))
    for ranks in itertools.permutations(range(len(ids)), SLATE_SIZE):
        np.testing.assert_allclose(law.log_prob(ranks), np.full(NUM_USERS, expected), rtol=1e-6)
    assert np.all(np.isneginf(law.log_prob([0, 1, 0])))


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_slates_are_equally_frequent(documents, seed):
    count = draws_needed(TOLERANCE)
    entity = UniformRandomRecommender({**CONFIG, "num_users": count, "slate_size": 2})
    with seeding.seeded_draws(seeding.stateless_seed(seed, "test"), fields.SLATE_DOCS):
        shown = array(entity.slate_docs(Value(), Value(), pool_of(documents, POOLS["reordered"])).get("doc_id"))
    frequencies = np.zeros((NUM_DOCS, NUM_DOCS))
    np.add.at(frequencies, (shown[:, 0] - 1, shown[:, 1] - 1), 1 / count)
    expected = (1 - np.eye(NUM_DOCS)) / math.perm(NUM_DOCS, 2)
    np.testing.assert_allclose(frequencies, expected, atol=TOLERANCE)
    assert np.all(np.diag(frequencies) == 0)


def test_uniform_depends_on_nothing(documents):
    entity = UniformRandomRecommender(CONFIG)
    pool = pool_of(documents, POOLS["reordered"])
    slates = []
    for doc_ids in (0, 5):
        state = Value(doc_history=Value(state=tf.fill((NUM_USERS, HISTORY), doc_ids)))
        with seeding.seeded_draws(seeding.stateless_seed(7), fields.SLATE_DOCS):
            slates.append(array(entity.slate_docs(state, Value(), pool).get("doc_ranks")))
    np.testing.assert_array_equal(*slates)
