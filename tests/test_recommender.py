"""Recommenders: histories and slates against NumPy and upstream, any pool of documents, and upstream's faults."""

import inspect
import itertools
import math

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import recommender as upstream
from recsim_ng.core import value

from recsys_po_rl import corpus, fields, recommender
from recsys_po_rl.common import validation
from recsys_po_rl.scoring import collab_filtering
from recsys_po_rl.simulation import seeding

Value = value.Value

NUM_USERS, NUM_DOCS, NUM_TOPICS, HISTORY = 4, 7, 3, 5
CONFIG = {"num_users": NUM_USERS, "num_docs": NUM_DOCS, "num_topics": NUM_TOPICS, "history_length": HISTORY}
CONFIG["slate_size"] = SLATE_SIZE = 2
SCORES = np.random.RandomState(6).randn(NUM_USERS, NUM_DOCS).astype(np.float32) * 2
TOLERANCE = 0.004  # of a frequency
SEEDS = (1, 2)


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


def draws_needed(tolerance, failure=1e-7):
    """Draws after which a frequency is off by `tolerance` with that probability at most (Hoeffding 1963)."""
    return math.ceil(math.log(2 / failure) / (2 * tolerance**2))


def tensors(val):
    return val.map(tf.convert_to_tensor)


def scorer_of(scores):
    """A model constructor whose model gives every user the same scores whatever the history."""

    def construct(num_users, num_docs, doc_embed_dim, history_length):
        del num_users, num_docs, doc_embed_dim, history_length
        return lambda doc_ids, times: tf.convert_to_tensor(scores)

    return construct


def log_prob_oracle(scores, slate):
    """Of a Plackett-Luce ranking stopped after the slate, by the definition."""
    left, total = list(range(len(scores))), 0.0
    for place in slate:
        weights = {doc: math.exp(scores[doc]) for doc in left}
        total += math.log(weights[place] / sum(weights.values()))
        left.remove(place)
    return total


def history_oracle(histories, docs, choices, times):
    """Lists of ids and times per user after a response, oldest first."""
    ids, ctimes = (np.array(history) for history in histories)
    for person, choice in enumerate(choices):
        if choice < SLATE_SIZE:
            ids[person] = np.append(ids[person][1:], docs[person][choice])
            ctimes[person] = np.append(ctimes[person][1:], times[person])
    return ids, ctimes


def responses(count, seed, history_length=HISTORY):
    """Random slates and responses, some of them without a click."""
    random_state = np.random.RandomState(seed)
    for _ in range(count):
        docs = np.stack([random_state.permutation(NUM_DOCS)[:SLATE_SIZE] + 1 for _ in range(NUM_USERS)])
        choices = random_state.randint(0, SLATE_SIZE + 1, NUM_USERS)
        times = np.where(choices < SLATE_SIZE, random_state.uniform(0, 2, NUM_USERS), -1)
        yield docs.astype(np.int32), choices.astype(np.int32), times.astype(np.float32)


def advance(entity, state, docs, choices, times):
    response = Value(choice=tf.constant(choices), consumed_time=tf.constant(times))
    return entity.next_state(tensors(state), response, Value(doc_id=tf.constant(docs)))


def some_history(seed, num_users=NUM_USERS):
    random_state = np.random.RandomState(seed)
    ids = random_state.randint(0, NUM_DOCS + 1, (num_users, HISTORY)).astype(np.int32)
    times = random_state.uniform(0, 2, (num_users, HISTORY)).astype(np.float32)
    return Value(doc_history=Value(state=tf.constant(ids)), ctime_history=Value(state=tf.constant(times)))


def assert_in_specs(specs, val):
    assert list(specs.as_dict) == list(val.as_dict)
    for name, field in val.as_dict.items():
        numbers, box = array(field), specs.as_dict[name].space
        assert numbers.dtype == box.dtype, name
        assert numbers.shape == box.shape, name
        assert np.all(numbers >= box.low), name
        assert np.all(numbers <= box.high), name


@pytest.fixture(scope="module")
def available():
    return corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 3).map(tf.convert_to_tensor)


@pytest.fixture(scope="module")
def entity():
    return recommender.CollabFilteringRecommender(CONFIG)


@pytest.fixture(scope="module")
def theirs():
    return upstream.CollabFilteringRecommender(CONFIG)


# The law of the slate.


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_slates_follow_plackett_luce(seed, available):
    count = draws_needed(TOLERANCE)
    entity = recommender.CollabFilteringRecommender(
        {**CONFIG, "num_users": count}, scorer_of(np.repeat(SCORES[:1], count, axis=0))
    )
    with seeding.seeded_draws(seeding.stateless_seed(seed, "test"), fields.SLATE_DOCS):
        ranks = array(entity.slate_docs(some_history(1, count), Value(), available).get("doc_ranks"))
    frequencies = np.zeros((NUM_DOCS, NUM_DOCS))
    np.add.at(frequencies, (ranks[:, 0], ranks[:, 1]), 1 / count)
    expected = np.zeros((NUM_DOCS, NUM_DOCS))
    for slate in itertools.permutations(range(NUM_DOCS), SLATE_SIZE):
        expected[slate] = math.exp(log_prob_oracle(SCORES[0], slate))
    assert expected.sum() == pytest.approx(1)
    np.testing.assert_allclose(frequencies, expected, atol=TOLERANCE)
    for slot in (0, 1):  # the first document, and the second
        np.testing.assert_allclose(frequencies.sum(1 - slot), expected.sum(1 - slot), atol=TOLERANCE)
    assert np.all(np.diag(frequencies) == 0)


@pytest.mark.slow
@pytest.mark.parametrize("slate_size", [1, 2, 3, NUM_DOCS])
def test_log_probability_of_the_ranks_is_exact(slate_size, available):
    config = {**CONFIG, "slate_size": slate_size}
    entity = recommender.CollabFilteringRecommender(config, scorer_of(SCORES))
    other = upstream.CollabFilteringRecommender(config, scorer_of(SCORES))
    for _ in range(5):
        ranks = entity.slate_docs(some_history(1), Value(), available).get("doc_ranks")
        law = ranks.distribution
        assert (law.batch_shape, law.event_shape) == ((NUM_USERS,), (slate_size,))
        expected = [log_prob_oracle(SCORES[person], slate) for person, slate in enumerate(array(ranks))]
        np.testing.assert_allclose(law.log_prob(array(ranks)), expected, rtol=1e-4, atol=1e-5)
        other_law = other.slate_docs(some_history(1), Value(), available).get("doc_ranks").distribution
        assert (other_law.batch_shape, other_law.event_shape) == (law.batch_shape, law.event_shape)
        np.testing.assert_allclose(other_law.log_prob(array(ranks)), expected, rtol=1e-4, atol=1e-4)


def test_default_scorer_with_upstreams_weights_gives_upstreams_law(available):
    ours, theirs = recommender.CollabFilteringRecommender(CONFIG), upstream.CollabFilteringRecommender(CONFIG)
    random_state = np.random.RandomState(9)
    theirs._model.set_weights([0.3 * random_state.randn(*weight.shape) for weight in theirs._model.get_weights()])
    ours.model.set_weights(theirs._model.get_weights())
    state = some_history(2)
    with seeding.seeded_draws(seeding.stateless_seed(3), fields.SLATE_DOCS):
        ranks = ours.slate_docs(state, Value(), available).get("doc_ranks")
    other = theirs.slate_docs(state, Value(), available).get("doc_ranks").distribution
    np.testing.assert_allclose(
        ranks.distribution.log_prob(array(ranks)), other.log_prob(array(ranks)), rtol=1e-4, atol=1e-4
    )


def test_slate_distribution_is_the_law_of_the_draw(entity, available):
    state = some_history(2)
    ranks = entity.slate_docs(state, Value(), available).get("doc_ranks")
    law = entity.slate_distribution(state, available)
    np.testing.assert_allclose(law.log_prob(array(ranks)), ranks.distribution.log_prob(array(ranks)), rtol=1e-6)
    scores = entity.model(state.get(fields.DOC_HISTORY), state.get(fields.CTIME_HISTORY)).numpy()
    expected = [log_prob_oracle(scores[person], slate) for person, slate in enumerate(array(ranks))]
    np.testing.assert_allclose(law.log_prob(array(ranks)), expected, rtol=1e-4, atol=1e-4)


def test_slate_shows_the_documents_of_the_ranks(entity, available):
    slate = entity.slate_docs(some_history(2), Value(), available)
    ranks = array(slate.get("doc_ranks"))
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(array(slate.get(name)), array(available.get(name))[ranks])
    np.testing.assert_array_equal(array(slate.get("doc_id")), ranks + 1)


def test_greedy_shows_the_best_first_and_can_be_set_later(available):
    entity = recommender.CollabFilteringRecommender(CONFIG, scorer_of(SCORES), greedy=True)
    best = np.argsort(-SCORES, axis=1)[:, :SLATE_SIZE]
    np.testing.assert_array_equal(array(entity.slate_docs(some_history(1), Value(), available).get("doc_ranks")), best)
    entity.greedy = False
    assert isinstance(entity.slate_docs(some_history(1), Value(), available).get("doc_ranks"), ed.RandomVariable)


# Histories.


@pytest.mark.parametrize("seed", SEEDS)
def test_histories_keep_what_was_consumed_newest_last(entity, theirs, seed):
    state, other = entity.initial_state(), theirs.initial_state()
    expected = np.zeros((NUM_USERS, HISTORY), np.int32), np.zeros((NUM_USERS, HISTORY), np.float32)
    for docs, choices, times in responses(9, seed):
        before = tensors(state)
        state, other = advance(entity, state, docs, choices, times), advance(theirs, other, docs, choices, times)
        expected = history_oracle(expected, docs, choices, times)
        np.testing.assert_array_equal(array(state.get(fields.DOC_HISTORY)), expected[0])
        np.testing.assert_array_equal(array(state.get(fields.CTIME_HISTORY)), expected[1])
        for name, field in other.as_dict.items():
            np.testing.assert_array_equal(array(state.get(name)), array(field), err_msg=name)
        for history in ("doc_history", "ctime_history"):
            kept, appended = state.get(f"{history}.tbranch.state"), array(state.get(f"{history}.fbranch.state"))
            np.testing.assert_array_equal(array(kept), array(before.get(f"{history}.state")))
            np.testing.assert_array_equal(appended[:, :-1], array(before.get(f"{history}.state"))[:, 1:])
            assert np.all(appended[choices == SLATE_SIZE, -1] == -1)
    assert np.all(np.count_nonzero(expected[0], axis=1) > 0)


def test_next_state_does_not_need_more_than_it_documents(entity):
    response = Value(choice=np.array([0, 1, 2, 0], np.int32), consumed_time=np.array([1, 2, -1, 3], np.float32))
    ids = np.array([[3, 1], [2, 7], [5, 4], [6, 2]], np.int32)
    state = entity.next_state(entity.initial_state(), response, Value(doc_id=ids))
    np.testing.assert_array_equal(array(state.get(fields.DOC_HISTORY))[:, -1], [3, 7, 0, 6])
    np.testing.assert_array_equal(array(state.get(fields.CTIME_HISTORY))[:, -1], [1, 2, 0, 3])


def test_next_state_does_not_look_at_ids(entity):
    response = Value(choice=tf.zeros((NUM_USERS,), tf.int32), consumed_time=tf.ones((NUM_USERS,)))
    state = entity.next_state(entity.initial_state(), response, Value(doc_id=tf.fill((NUM_USERS, SLATE_SIZE), 900)))
    assert np.all(array(state.get(fields.DOC_HISTORY))[:, -1] == 900)


# Interfaces.


def test_constructor_begins_with_upstreams_arguments():
    ours = list(inspect.signature(recommender.CollabFilteringRecommender).parameters.values())
    theirs = list(inspect.signature(upstream.CollabFilteringRecommender).parameters.values())
    assert [p.name for p in ours[: len(theirs)]] == [p.name for p in theirs] == ["config", "model_ctor", "name"]
    assert ours[1].default is recommender.CollabFilteringModel is collab_filtering.CollabFilteringModel
    assert theirs[1].default is upstream.CollabFilteringModel
    assert ours[2].default == theirs[2].default == "Recommender"
    assert all(p.default is not p.empty for p in ours[len(theirs) :])


def test_model_constructor_begins_with_upstreams_arguments():
    ours = list(inspect.signature(recommender.CollabFilteringModel).parameters.values())
    theirs = list(inspect.signature(upstream.CollabFilteringModel).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert [p.name for p in ours[:4]] == ["num_users", "num_docs", "doc_embed_dim", "history_length"]


def test_names(entity):
    assert entity.name == "Recommender"
    assert recommender.CollabFilteringRecommender(CONFIG, scorer_of(SCORES), "Agent").name == "Agent"
    by_keyword = recommender.CollabFilteringRecommender(config=CONFIG, model_ctor=scorer_of(SCORES), name="Agent")
    assert by_keyword.name == "Agent"


@pytest.mark.parametrize("output", [{}, None, "anything"])
def test_model_constructor_is_called_by_position_and_its_output_not_looked_at(output):
    calls = []

    def model(*inputs, **more):
        calls.append((inputs, more))
        return output

    def construct(*arguments, **more):
        calls.append((arguments, more))
        return model

    recommender.CollabFilteringRecommender(CONFIG, construct)
    recommender.CollabFilteringRecommender(CONFIG, construct, doc_embed_dim=9)
    assert calls[0] == ((NUM_USERS, NUM_DOCS, 32, HISTORY), {})
    assert calls[2] == ((NUM_USERS, NUM_DOCS, 9, HISTORY), {})
    (ids, times), more = calls[1]
    assert more == {}
    assert (ids.shape, ids.dtype) == ((NUM_USERS, HISTORY), tf.int32)
    assert (times.shape, times.dtype) == ((NUM_USERS, HISTORY), tf.float32)


def test_field_names_shapes_and_dtypes(entity, available):
    history = (NUM_USERS, HISTORY)
    expected = [
        (f"{name}_history.{field}", history, dtype, is_random)
        for name, dtype in (("doc", "int32"), ("ctime", "float32"))
        for field, is_random in (("state", False), ("tbranch.state", True), ("fbranch.state", False))
    ]
    first = entity.initial_state()
    for val in (first, advance(entity, first, *next(responses(1, 3)))):
        described = [
            (name, tuple(field.shape), field.dtype.name, isinstance(field, ed.RandomVariable))
            for name, field in val.as_dict.items()
        ]
        assert described == expected
    per_slot = (NUM_USERS, SLATE_SIZE)
    slate = entity.slate_docs(first, Value(), available)
    assert [(name, tuple(field.shape), field.dtype.name) for name, field in slate.as_dict.items()] == [
        ("doc_id", per_slot, "int32"),
        ("doc_topic", per_slot, "int32"),
        ("doc_quality", per_slot, "float32"),
        ("doc_features", (*per_slot, NUM_TOPICS), "float32"),
        ("doc_length", per_slot, "float32"),
        ("doc_ranks", per_slot, "int32"),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_specs_contain_what_is_produced(entity, available, seed):
    specs = entity.specs()
    state = entity.initial_state()
    for docs, choices, times in responses(4, seed):
        assert_in_specs(specs.get("state"), state)
        assert_in_specs(specs.get("slate"), entity.slate_docs(state, Value(), available))
        state = advance(entity, state, docs, choices, times)
    assert sorted(specs.as_dict) == sorted(upstream.CollabFilteringRecommender(CONFIG).specs().as_dict)


# Upstream's faults.


def test_fault_ranks_spec_has_as_many_columns_as_documents(entity, theirs, available):
    produced = array(entity.slate_docs(some_history(1), Value(), available).get("doc_ranks"))
    their_box, our_box = (library.specs().as_dict["slate.doc_ranks"].space for library in (theirs, entity))
    assert their_box.shape == (NUM_USERS, NUM_DOCS) != produced.shape
    assert our_box.shape == produced.shape
    assert our_box.dtype == np.int32
    assert np.all(our_box.low == 0)
    assert np.all(our_box.high == NUM_DOCS - 1)


@pytest.mark.parametrize("field", ["slate.doc_id", "slate.doc_topic", "slate.doc_ranks"])
def test_fault_integer_fields_have_float_specs(entity, theirs, field):
    assert theirs.specs().as_dict[field].space.dtype == np.float32
    assert entity.specs().as_dict[field].space.dtype == np.int32


def test_fault_history_of_one_is_an_error():
    config = {**CONFIG, "history_length": 1}
    with pytest.raises(ValueError, match=r"^\('history_length"):  # the message is a tuple
        upstream.CollabFilteringRecommender(config)
    entity = recommender.CollabFilteringRecommender(config)
    state = entity.initial_state()
    docs = np.array([[3, 1], [2, 7], [5, 4], [6, 2]], np.int32)
    times = np.array([1, 2, -1, 3], np.float32)
    state = advance(entity, state, docs, np.array([0, 1, 2, 0], np.int32), times)
    np.testing.assert_array_equal(array(state.get(fields.DOC_HISTORY)), [[3], [7], [0], [6]])
    np.testing.assert_array_equal(array(state.get(fields.CTIME_HISTORY)), [[1], [2], [0], [3]])
    state = advance(entity, state, docs, np.array([1, 2, 1, 2], np.int32), np.array([4, -1, 5, -1], np.float32))
    np.testing.assert_array_equal(array(state.get(fields.DOC_HISTORY)), [[1], [7], [4], [6]])
    np.testing.assert_array_equal(array(state.get("ctime_history.fbranch.state")), [[4], [-1], [5], [-1]])


@pytest.mark.slow
def test_fault_too_long_a_slate_fails_late():
    config = {**CONFIG, "slate_size": NUM_DOCS + 1}
    theirs = upstream.CollabFilteringRecommender(config, scorer_of(SCORES))
    ranks = tf.function(lambda: tf.convert_to_tensor(theirs._document_sampler.choice(SCORES).get("choice")))()
    assert ranks.shape == (NUM_USERS, NUM_DOCS + 1)  # more different places than there are, silently
    with pytest.raises(ValueError, match=r"slate_size.*at most.*num_docs"):
        recommender.CollabFilteringRecommender(config, scorer_of(SCORES))


def test_slate_of_all_documents_is_allowed(available):
    entity = recommender.CollabFilteringRecommender({**CONFIG, "slate_size": NUM_DOCS}, scorer_of(SCORES))
    ranks = array(entity.slate_docs(some_history(1), Value(), available).get("doc_ranks"))
    np.testing.assert_array_equal(np.sort(ranks, axis=1), np.tile(np.arange(NUM_DOCS), (NUM_USERS, 1)))


def pool_of(available, ids):
    return available.map(lambda field: tf.gather(field, np.array(ids) - 1))


POOLS = {
    "reordered": [4, 7, 1, 6, 2, 5, 3],
    "reversed": [7, 6, 5, 4, 3, 2, 1],
    "smaller": [6, 2, 5],
    "smallest": [7, 3],
}


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("ids", POOLS.values(), ids=POOLS)
def test_fault_pool_must_be_all_documents_in_order(available, ids, compiled):
    entity = recommender.CollabFilteringRecommender(CONFIG, scorer_of(SCORES))
    pool, state = pool_of(available, ids), some_history(1)

    def show(given):
        return tensors(entity.slate_docs(state, Value(), Value(**given))).as_dict

    slate = (tf.function(show, autograph=False) if compiled else show)(pool.as_dict)
    ranks, shown = slate["doc_ranks"].numpy(), slate["doc_id"].numpy()
    np.testing.assert_array_equal(shown, np.array(ids)[ranks])
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(slate[name], array(available.get(name))[shown - 1])
    law = entity.slate_distribution(state, pool)
    np.testing.assert_array_equal(law.logits, SCORES[:, np.array(ids) - 1])
    expected = [log_prob_oracle(SCORES[person, np.array(ids) - 1], slate) for person, slate in enumerate(ranks)]
    np.testing.assert_allclose(law.log_prob(ranks), expected, rtol=1e-4, atol=1e-5)
    # Upstream takes the score of the document whose id is the place.
    theirs = upstream.CollabFilteringRecommender(CONFIG, scorer_of(SCORES))
    if len(ids) == NUM_DOCS:
        other = theirs.slate_docs(state, Value(), pool).get("doc_ranks").distribution
        np.testing.assert_allclose(
            other.log_prob(ranks), [log_prob_oracle(SCORES[i], slate) for i, slate in enumerate(ranks)], rtol=1e-4
        )
        assert not np.allclose(other.log_prob(ranks), expected)
    else:
        # It draws from all documents, also from places that are not there.
        places = [array(theirs._document_sampler.choice(SCORES).get("choice")) for _ in range(20)]
        assert np.max(places) >= len(ids)


def test_greedy_slate_does_not_depend_on_the_order_of_the_pool(available):
    entity = recommender.CollabFilteringRecommender(CONFIG, scorer_of(SCORES), greedy=True)
    best = np.argsort(-SCORES, axis=1)[:, :SLATE_SIZE] + 1
    for ids in (POOLS["reordered"], POOLS["reversed"]):
        slate = entity.slate_docs(some_history(1), Value(), pool_of(available, ids))
        np.testing.assert_array_equal(array(slate.get("doc_id")), best)


@pytest.mark.parametrize("impossible", [0, NUM_DOCS + 1])
def test_pool_with_an_unknown_id_is_an_error(available, impossible):
    entity = recommender.CollabFilteringRecommender(CONFIG, scorer_of(SCORES))
    pool = Value(**{**available.as_dict, "doc_id": tf.constant([1, 2, 3, impossible, 5, 6, 7])})
    with pytest.raises(tf.errors.InvalidArgumentError):
        entity.slate_docs(some_history(1), Value(), pool)


def test_pool_with_an_unknown_id_is_nan_under_xla(available):
    entity = recommender.CollabFilteringRecommender(CONFIG, scorer_of(SCORES))

    @tf.function(jit_compile=True, autograph=False)
    def logits(ids):
        return entity.slate_distribution(some_history(1), Value(doc_id=ids)).logits

    np.testing.assert_array_equal(logits(available.get("doc_id")), SCORES)
    for pool in ([0, 2, 3, 4, 5, 6, NUM_DOCS + 1], [1, 2, 3, 4, 5, 6, 6]):
        assert np.isnan(logits(tf.constant(pool))).all()  # no law at all: nobody can mistake another's score for theirs


def test_fault_embedding_and_slate_sizes_are_hard_coded():
    for embed_dim, slate_size in ((8, 3), (11, 1)):
        entity = recommender.CollabFilteringRecommender({**CONFIG, "slate_size": slate_size}, doc_embed_dim=embed_dim)
        assert entity.model.get_layer("doc_embedding").weights[0].shape == (NUM_DOCS + 1, embed_dim)
        assert entity.specs().as_dict["slate.doc_ranks"].space.shape == (NUM_USERS, slate_size)
    assert "doc_embed_dim" not in inspect.signature(upstream.CollabFilteringRecommender).parameters


# Errors name the argument.


@pytest.mark.parametrize("key", ["num_users", "num_docs", "slate_size", "history_length"])
@pytest.mark.parametrize("impossible", [None, 0, -2, 1.5, True])
def test_recommender_refuses_impossible_configs(key, impossible):
    config = {**CONFIG, key: impossible}
    with pytest.raises(validation.InvalidInputError, match=key):
        recommender.CollabFilteringRecommender(config)
    del config[key]
    with pytest.raises(validation.InvalidInputError, match=key):
        recommender.CollabFilteringRecommender(config)
    with pytest.raises(validation.InvalidInputError, match=key):
        recommender.HistoryRecommender(config)


@pytest.mark.parametrize(
    ("argument", "impossible"), [("doc_embed_dim", 0), ("doc_embed_dim", 3.0), ("greedy", 1), ("greedy", None)]
)
def test_recommender_refuses_impossible_arguments(argument, impossible):
    with pytest.raises(validation.InvalidInputError, match=argument):
        recommender.CollabFilteringRecommender(CONFIG, **{argument: impossible})


def test_pool_smaller_than_the_slate_is_an_error(available):
    entity = recommender.CollabFilteringRecommender(CONFIG, scorer_of(SCORES))
    with pytest.raises(validation.InvalidInputError, match=r"slate of 2 .* available documents, got 1"):
        entity.slate_docs(some_history(1), Value(), pool_of(available, [5]))


def test_base_says_that_it_shows_nothing(available):
    entity = recommender.HistoryRecommender(CONFIG)
    with pytest.raises(NotImplementedError, match=r"HistoryRecommender.*slate_ranks"):
        entity.slate_docs(entity.initial_state(), Value(), available)


def test_base_shows_the_fields_it_is_told_to(available):
    class Latest(recommender.HistoryRecommender):
        def slate_ranks(self, previous_state, user_obs, available_docs):
            del previous_state, user_obs, available_docs
            return tf.tile([[4, 1]], [NUM_USERS, 1])

    price = np.linspace(1, 2, NUM_DOCS).astype(np.float32)
    entity = Latest(CONFIG, doc_fields=("doc_id", "price"))
    slate = entity.slate_docs(entity.initial_state(), Value(), available.union(Value(price=tf.constant(price))))
    assert list(slate.as_dict) == ["doc_id", "price", "doc_ranks"]
    np.testing.assert_array_equal(slate.get("price"), np.tile(price[[4, 1]], (NUM_USERS, 1)))
    assert_in_specs(entity.specs().get("slate"), slate)
