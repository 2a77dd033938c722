"""Corpora: their laws against NumPy, their specs, and upstream's faults beside what stands here instead."""

import inspect
import math
import warnings

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import corpus as upstream
from recsim_ng.core import value

from recsys_po_rl import corpus, fields
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding

Value = value.Value

NUM_DOCS, NUM_TOPICS = 7, 5
CONFIG = {"num_docs": NUM_DOCS, "num_topics": NUM_TOPICS}
TOLERANCE = 0.01  # of an empirical distribution function, or of a frequency
SEEDS = (1, 2)


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


def draws_needed(tolerance, failure=1e-7):
    """Draws after which a distribution function is off by `tolerance` with that probability at most (Massart 1990)."""
    return math.ceil(math.log(2 / failure) / (2 * tolerance**2))


def distance_from_normal(sample):
    """Largest gap between the distribution function of `sample` and the standard normal one."""
    ordered = np.sort(np.ravel(sample).astype(np.float64))
    exact = 0.5 * (1 + np.vectorize(math.erf)(ordered / math.sqrt(2)))
    count = len(ordered)
    return max(np.max(np.arange(1, count + 1) / count - exact), np.max(exact - np.arange(count) / count))


def drawn_state(seed, entity):
    with seeding.seeded_draws(seeding.stateless_seed(seed, "test"), fields.CORPUS_STATE):
        return entity.initial_state()


def mean_qualities_oracle(num_topics, minimum=-1.0, maximum=1.0, tenths=7):
    trashy = tenths * num_topics // 10
    return np.append(np.linspace(minimum, 0, trashy), np.linspace(0, maximum, num_topics - trashy))


def assert_in_specs(specs, val):
    assert sorted(specs.as_dict) == sorted(val.as_dict)
    for name, field in val.as_dict.items():
        numbers, box = array(field), specs.as_dict[name].space
        assert numbers.dtype == box.dtype, name
        assert numbers.shape == box.shape, name
        assert np.all(numbers >= box.low), name
        assert np.all(numbers <= box.high), name


def given_documents():
    """Ids out of order, every field different for every document."""
    random_state = np.random.RandomState(4)
    return {
        "doc_id": np.array([3, 7, 1, 6, 2, 5, 4], np.int32),
        "doc_topic": np.array([4, 0, 1, 3, 2, 1, 0], np.int32),
        "doc_quality": random_state.randn(NUM_DOCS).astype(np.float32),
        "doc_features": random_state.randn(NUM_DOCS, NUM_TOPICS).astype(np.float32),
        "doc_length": random_state.uniform(1, 3, NUM_DOCS).astype(np.float32),
    }


@pytest.fixture(scope="module")
def state():
    return drawn_state(SEEDS[0], corpus.CorpusWithTopicAndQuality(CONFIG))


@pytest.fixture(scope="module", params=SEEDS)
def many(request):
    """A corpus large enough for `TOLERANCE`."""
    entity = corpus.CorpusWithTopicAndQuality({"num_docs": draws_needed(TOLERANCE), "num_topics": NUM_TOPICS})
    return drawn_state(request.param, entity).map(tf.convert_to_tensor)


# Laws.


@pytest.mark.parametrize("num_topics", [2, 3, 5, 10, 20, 90, 170, 333, 360])
def test_mean_qualities_are_two_ramps(num_topics):
    means = corpus.topic_mean_qualities(num_topics, -0.8, 1.3)
    np.testing.assert_allclose(means, mean_qualities_oracle(num_topics, -0.8, 1.3), atol=1e-6)
    assert means.dtype == np.float32


def test_mean_qualities_worked_by_hand():
    np.testing.assert_allclose(corpus.topic_mean_qualities(5), [-1, -0.5, 0, 0, 1], atol=1e-7)
    np.testing.assert_allclose(corpus.topic_mean_qualities(4, -3.0, 2.0, 0.5), [-3, 0, 0, 2], atol=1e-7)


def test_topics_are_uniform(many):
    counts = np.bincount(many.get("doc_topic").numpy(), minlength=NUM_TOPICS)
    np.testing.assert_allclose(counts / counts.sum(), np.full(NUM_TOPICS, 1 / NUM_TOPICS), atol=TOLERANCE)


def test_qualities_are_normal_around_the_topic(many):
    means = mean_qualities_oracle(NUM_TOPICS)[many.get("doc_topic").numpy()]
    assert distance_from_normal((many.get("doc_quality").numpy() - means) / 0.1) < TOLERANCE


def test_features_are_normal_around_the_one_hot_topic(many):
    residual = (many.get("doc_features").numpy() - np.eye(NUM_TOPICS)[many.get("doc_topic").numpy()]) / 0.7
    for column in residual.T:
        assert distance_from_normal(column) < TOLERANCE


def test_features_and_qualities_are_independent(many):
    topic = many.get("doc_topic").numpy()
    columns = np.column_stack(
        [
            (many.get("doc_features").numpy() - np.eye(NUM_TOPICS)[topic]) / 0.7,
            (many.get("doc_quality").numpy() - mean_qualities_oracle(NUM_TOPICS)[topic]) / 0.1,
        ]
    )
    correlation = columns.T @ columns / len(columns)
    # An entry has standard deviation 1 / sqrt(n) off the diagonal and sqrt(2 / n) on it: six of the larger one.
    np.testing.assert_allclose(correlation, np.eye(NUM_TOPICS + 1), atol=6 * math.sqrt(2 / len(columns)))


def test_parameters_of_the_laws_are_exact(state):
    topic = array(state.get("doc_topic"))
    quality, features = state.get("doc_quality").distribution, state.get("doc_features").distribution
    np.testing.assert_allclose(quality.loc, mean_qualities_oracle(NUM_TOPICS)[topic], atol=1e-6)
    np.testing.assert_allclose(quality.stddev(), np.full(NUM_DOCS, 0.1), rtol=1e-6)
    np.testing.assert_array_equal(features.loc, np.eye(NUM_TOPICS)[topic])
    np.testing.assert_allclose(features.stddev(), np.full((NUM_DOCS, NUM_TOPICS), 0.7), rtol=1e-6)
    np.testing.assert_allclose(
        state.get("doc_topic").distribution.probs_parameter(), np.full((NUM_DOCS, NUM_TOPICS), 1 / NUM_TOPICS)
    )


def test_laws_equal_upstreams(state):
    theirs = upstream.CorpusWithTopicAndQuality(CONFIG).initial_state()
    for name, field in state.as_dict.items():
        other = theirs.get(name).distribution
        assert field.distribution.batch_shape == other.batch_shape, name
        assert field.distribution.event_shape == other.event_shape, name
    # Scales do not depend on the draws; the location does, through the topic alone.
    np.testing.assert_array_equal(
        state.get("doc_quality").distribution.scale, theirs.get("doc_quality").distribution.scale
    )
    np.testing.assert_array_equal(
        state.get("doc_features").distribution.scale, theirs.get("doc_features").distribution.scale
    )


def test_every_parameter_has_its_effect():
    entity = corpus.CorpusWithTopicAndQuality(
        CONFIG,
        topic_min_utility=-2.0,
        topic_max_utility=3.0,
        video_length=4.5,
        trashy_fraction=0.4,
        quality_stddev=0.25,
        feature_stddev=1.5,
    )
    drawn = entity.initial_state()
    topic = array(drawn.get("doc_topic"))
    means = np.array([-2.0, 0.0, 0.0, 1.5, 3.0])
    np.testing.assert_allclose(drawn.get("doc_quality").distribution.loc, means[topic], atol=1e-6)
    np.testing.assert_allclose(drawn.get("doc_quality").distribution.stddev(), np.full(NUM_DOCS, 0.25))
    np.testing.assert_allclose(drawn.get("doc_features").distribution.stddev(), np.full((NUM_DOCS, NUM_TOPICS), 1.5))
    np.testing.assert_array_equal(array(drawn.get("doc_length")), np.full(NUM_DOCS, 4.5))


def test_ids_count_from_one_and_lengths_are_two(state):
    np.testing.assert_array_equal(array(state.get("doc_id")), np.arange(1, NUM_DOCS + 1))
    np.testing.assert_array_equal(array(state.get("doc_length")), np.full(NUM_DOCS, 2.0))


def test_documents_do_not_change_and_all_are_available(state):
    entity = corpus.CorpusWithTopicAndQuality(CONFIG)
    for val in (entity.next_state(state, Value(), Value()), entity.available_documents(state)):
        assert list(val.as_dict) == list(fields.DOC_FIELDS)
        for name, field in val.as_dict.items():
            assert isinstance(field, ed.RandomVariable)
            np.testing.assert_array_equal(array(field), array(state.get(name)))
            np.testing.assert_array_equal(field.distribution.mean(), array(state.get(name)))


# Interfaces.


@pytest.mark.parametrize("name", ["CorpusWithTopicAndQuality", "StaticCorpus"])
def test_constructors_begin_with_upstreams_arguments(name):
    ours = list(inspect.signature(getattr(corpus, name)).parameters.values())
    theirs = list(inspect.signature(getattr(upstream, name)).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.default is not p.empty for p in ours[len(theirs) :])


def test_arguments_by_position_and_keyword_are_the_same():
    by_position = corpus.CorpusWithTopicAndQuality(CONFIG, -0.5, 0.25, 3.0)
    by_keyword = corpus.CorpusWithTopicAndQuality(
        config=CONFIG, topic_min_utility=-0.5, topic_max_utility=0.25, video_length=3.0
    )
    one, other = drawn_state(5, by_position), drawn_state(5, by_keyword)
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(array(one.get(name)), array(other.get(name)))
    assert np.all(array(one.get("doc_length")) == 3.0)


def test_names_are_corpus():
    assert corpus.CorpusWithTopicAndQuality(CONFIG).name == "Corpus"
    assert corpus.StaticCorpus(CONFIG, Value(**given_documents())).name == "Corpus"


def test_config_keys_that_are_not_read_may_be_there():
    entity = corpus.CorpusWithTopicAndQuality({**CONFIG, "num_users": "not read", "anything": None})
    assert entity.initial_state().get("doc_features").shape == (NUM_DOCS, NUM_TOPICS)


def test_field_names_shapes_and_dtypes(state):
    assert [(name, tuple(field.shape), field.dtype.name) for name, field in state.as_dict.items()] == [
        ("doc_id", (NUM_DOCS,), "int32"),
        ("doc_topic", (NUM_DOCS,), "int32"),
        ("doc_quality", (NUM_DOCS,), "float32"),
        ("doc_features", (NUM_DOCS, NUM_TOPICS), "float32"),
        ("doc_length", (NUM_DOCS,), "float32"),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_specs_contain_what_is_produced(seed):
    entity = corpus.CorpusWithTopicAndQuality(CONFIG)
    val, specs = drawn_state(seed, entity), entity.specs()
    assert_in_specs(specs.get("state"), val)
    assert_in_specs(specs.get("available_docs"), entity.available_documents(val))
    assert_in_specs(specs.get("state"), entity.next_state(val, Value(), Value()))


# Upstream's faults.


def test_fault_features_spec_is_zero_to_one(many):
    produced = many.get("doc_features").numpy()
    theirs = upstream.CorpusWithTopicAndQuality(CONFIG).specs().as_dict["state.doc_features"].space
    outside = np.mean((produced < theirs.low[0, 0]) | (produced > theirs.high[0, 0]))
    assert outside > 0.5  # of the values lie outside upstream's spec
    ours = corpus.CorpusWithTopicAndQuality(CONFIG).specs().as_dict["state.doc_features"].space
    assert np.all(np.isneginf(ours.low))
    assert np.all(np.isposinf(ours.high))


@pytest.mark.parametrize(("field", "low", "high"), [("doc_id", 1, NUM_DOCS), ("doc_topic", 0, NUM_TOPICS - 1)])
@pytest.mark.parametrize("prefix", ["state", "available_docs"])
def test_fault_integer_fields_have_float_specs(prefix, field, low, high):
    theirs = upstream.CorpusWithTopicAndQuality(CONFIG).specs().as_dict[f"{prefix}.{field}"].space
    assert theirs.dtype == np.float32
    ours = corpus.CorpusWithTopicAndQuality(CONFIG).specs().as_dict[f"{prefix}.{field}"].space
    assert ours.dtype == np.int32
    np.testing.assert_array_equal(ours.low, np.full(NUM_DOCS, low))
    np.testing.assert_array_equal(ours.high, np.full(NUM_DOCS, high))


@pytest.mark.parametrize(("num_topics", "means"), [(2, [-1.0, 0.0]), (3, [-1.0, 0.0, 0.0])])
def test_fault_few_topics_have_no_positive_one(num_topics, means):
    np.testing.assert_allclose(corpus.topic_mean_qualities(num_topics), means)  # the numbers are upstream's
    config = {"num_docs": NUM_DOCS, "num_topics": num_topics}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        upstream.CorpusWithTopicAndQuality(config)
    assert not caught
    with pytest.warns(UserWarning, match=f"num_topics={num_topics}.*topic_max_utility"):
        corpus.CorpusWithTopicAndQuality(config)


def test_few_topics_can_have_a_positive_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus.CorpusWithTopicAndQuality({"num_docs": NUM_DOCS, "num_topics": 2}, trashy_fraction=0.4)
        corpus.CorpusWithTopicAndQuality({"num_docs": NUM_DOCS, "num_topics": 2}, topic_max_utility=0.0)
        corpus.CorpusWithTopicAndQuality({"num_docs": NUM_DOCS, "num_topics": 4})
    np.testing.assert_allclose(corpus.topic_mean_qualities(2, trashy_fraction=0.4), [0.0, 1.0])


@pytest.mark.parametrize("num_topics", [90, 170, 180, 330, 340, 350, 360])
def test_fault_number_of_trashy_topics_is_off_by_one(num_topics):
    exact = 7 * num_topics // 10
    theirs = upstream.CorpusWithTopicAndQuality({"num_docs": 40 * num_topics, "num_topics": num_topics}).initial_state()
    topic, loc = array(theirs.get("doc_topic")), array(theirs.get("doc_quality").distribution.loc)
    step = 1 / (exact - 2)  # between two of upstream's trashy means: it has one topic too few
    np.testing.assert_allclose(loc[topic == 1], np.full(np.sum(topic == 1), step - 1), atol=1e-6)
    assert np.any(topic == 1)
    assert corpus.topic_mean_qualities(num_topics)[1] == pytest.approx(1 / (exact - 1) - 1, abs=1e-6)
    assert np.sum(corpus.topic_mean_qualities(num_topics) < 0) == exact - 1  # and the last trashy mean is 0


def test_trashy_fraction_may_be_any_number_type():
    for fraction in (0.5, np.float64(0.5), np.float32(0.5)):
        np.testing.assert_allclose(corpus.topic_mean_qualities(4, trashy_fraction=fraction), [-1, 0, 0, 1])
    np.testing.assert_allclose(corpus.topic_mean_qualities(3, trashy_fraction=1), [-1, -0.5, 0])
    np.testing.assert_allclose(corpus.topic_mean_qualities(3, trashy_fraction=0), [0, 0.5, 1])


def test_fault_one_topic_ignores_both_utilities():
    config = {"num_docs": NUM_DOCS, "num_topics": 1}
    theirs = upstream.CorpusWithTopicAndQuality(config, -5.0, 5.0).initial_state()
    np.testing.assert_array_equal(theirs.get("doc_quality").distribution.loc, np.zeros(NUM_DOCS))
    with pytest.raises(ValueError, match="num_topics"):
        corpus.CorpusWithTopicAndQuality(config, -5.0, 5.0)


def test_fault_static_corpus_takes_no_video_length():
    docs = Value(**given_documents())
    with pytest.raises(TypeError, match="video_length"):
        upstream.StaticCorpus(CONFIG, docs, video_length=3.5)
    shown = corpus.StaticCorpus(CONFIG, docs, video_length=3.5).initial_state()
    np.testing.assert_array_equal(shown.get("doc_length"), np.full(NUM_DOCS, 3.5))
    np.testing.assert_array_equal(shown.get("doc_quality"), given_documents()["doc_quality"])
    kept = corpus.StaticCorpus(CONFIG, docs).initial_state()
    np.testing.assert_array_equal(kept.get("doc_length"), given_documents()["doc_length"])


def test_fault_negative_length_is_accepted():
    assert np.all(
        array(upstream.CorpusWithTopicAndQuality(CONFIG, video_length=-2.0).initial_state().get("doc_length")) < 0
    )
    with pytest.raises(ValueError, match="video_length"):
        corpus.CorpusWithTopicAndQuality(CONFIG, video_length=-2.0)
    with pytest.raises(ValueError, match="video_length"):
        corpus.StaticCorpus(CONFIG, Value(**given_documents()), video_length=-2.0)


def test_fault_integer_utilities_are_a_type_error():
    with pytest.raises(TypeError):
        upstream.CorpusWithTopicAndQuality(CONFIG, topic_min_utility=-2, topic_max_utility=3).initial_state()
    entity = corpus.CorpusWithTopicAndQuality(CONFIG, topic_min_utility=-2, topic_max_utility=3, video_length=4)
    drawn = entity.initial_state()
    topic = array(drawn.get("doc_topic"))
    np.testing.assert_allclose(
        drawn.get("doc_quality").distribution.loc, mean_qualities_oracle(NUM_TOPICS, -2, 3)[topic], atol=1e-6
    )
    assert drawn.get("doc_length").dtype == tf.float32


# Static corpora.


def test_static_corpus_shows_the_given_documents_as_tensors():
    given = given_documents()
    entity = corpus.StaticCorpus(CONFIG, Value(**given))
    first = entity.initial_state()
    for val in (first, entity.next_state(first, Value(), Value())):
        for name, expected in given.items():
            assert isinstance(val.get(name), tf.Tensor)
            np.testing.assert_array_equal(array(val.get(name)), expected)
    for name, field in entity.available_documents(first).as_dict.items():
        assert isinstance(field, ed.RandomVariable)
        np.testing.assert_array_equal(array(field), given[name])
    assert_in_specs(entity.specs().get("state"), first)


def test_static_corpus_keeps_further_fields_also_in_its_specs():
    price = np.linspace(1, 2, NUM_DOCS, dtype=np.float32)
    entity = corpus.StaticCorpus(CONFIG, Value(**given_documents(), price=price))
    np.testing.assert_array_equal(entity.initial_state().get("price"), price)
    for prefix in ("state", "available_docs"):
        assert sorted(entity.specs().get(prefix).as_dict) == sorted([*fields.DOC_FIELDS, "price"])


def test_static_corpus_does_not_warn_about_how_documents_were_drawn():
    docs = corpus.reference_corpus_state(NUM_DOCS, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus.StaticCorpus({"num_docs": NUM_DOCS, "num_topics": 2}, docs)


@pytest.mark.parametrize("field", fields.DOC_FIELDS)
def test_static_corpus_names_a_missing_field(field):
    docs = given_documents()
    del docs[field]
    with pytest.raises(validation.InvalidInputError, match=field):
        corpus.StaticCorpus(CONFIG, Value(**docs))


@pytest.mark.parametrize("field", fields.DOC_FIELDS)
def test_static_corpus_names_a_field_of_wrong_shape(field):
    docs = given_documents()
    docs[field] = docs[field][:-1]
    with pytest.raises(validation.InvalidInputError, match=f"{field}.*shape"):
        corpus.StaticCorpus(CONFIG, Value(**docs))


@pytest.mark.parametrize("length", [-0.5, math.nan, math.inf])
def test_static_corpus_refuses_impossible_lengths_in_the_state(length):
    docs = given_documents()
    docs["doc_length"][2] = length
    with pytest.raises(validation.InvalidInputError, match="doc_length"):
        corpus.StaticCorpus(CONFIG, Value(**docs))


# Reference corpora.


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("num_topics", [10, 20])
def test_reference_corpus_is_the_recipe(seed, num_topics):
    r = np.random.RandomState(seed)
    topic = r.randint(0, num_topics, 100)
    quality = mean_qualities_oracle(num_topics)[topic] + 0.1 * r.randn(100)
    features = np.eye(num_topics)[topic] + 0.7 * r.randn(100, num_topics)
    state = corpus.reference_corpus_state(100, num_topics, seed)
    np.testing.assert_array_equal(array(state.get("doc_id")), np.arange(1, 101))
    np.testing.assert_array_equal(array(state.get("doc_topic")), topic)
    np.testing.assert_allclose(state.get("doc_quality"), quality, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state.get("doc_features"), features, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(array(state.get("doc_length")), np.full(100, 2.0))
    assert [field.dtype.name for field in state.as_dict.values()] == ["int32", "int32", "float32", "float32", "float32"]


def test_reference_corpus_takes_its_seed_from_argument_or_config():
    expected = corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 6, 3.0)
    by_argument = corpus.ReferenceCorpus({**CONFIG, "corpus_seed": 5}, seed=6, video_length=3.0).initial_state()
    by_config = corpus.ReferenceCorpus({**CONFIG, "corpus_seed": 6}, video_length=3.0).initial_state()
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(by_argument.get(name), expected.get(name))
        np.testing.assert_array_equal(by_config.get(name), expected.get(name))
    another = corpus.ReferenceCorpus(CONFIG, seed=5).initial_state()
    assert not np.array_equal(another.get("doc_quality"), expected.get("doc_quality"))


# Errors name the argument.


@pytest.mark.parametrize(
    ("argument", "impossible"),
    [
        ("topic_min_utility", 0.5),
        ("topic_min_utility", math.nan),
        ("topic_min_utility", "low"),
        ("topic_max_utility", -0.5),
        ("topic_max_utility", math.inf),
        ("video_length", -1.0),
        ("video_length", math.inf),
        ("trashy_fraction", -0.1),
        ("trashy_fraction", 1.1),
        ("quality_stddev", 0.0),
        ("quality_stddev", math.nan),
        ("feature_stddev", -0.7),
        ("feature_stddev", True),
    ],
)
def test_corpus_refuses_impossible_numbers(argument, impossible):
    with pytest.raises(validation.InvalidInputError, match=argument):
        corpus.CorpusWithTopicAndQuality(CONFIG, **{argument: impossible})


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"num_topics": 5}, "num_docs"),
        ({"num_docs": 7}, "num_topics"),
        ({"num_docs": 0, "num_topics": 5}, "num_docs"),
        ({"num_docs": 7, "num_topics": 0}, "num_topics"),
        ({"num_docs": 7.0, "num_topics": 5}, "num_docs"),
    ],
)
def test_corpora_refuse_impossible_configs(config, key):
    with pytest.raises(validation.InvalidInputError, match=key):
        corpus.CorpusWithTopicAndQuality(config)
    with pytest.raises(validation.InvalidInputError, match=key):
        corpus.StaticCorpus(config, Value(**given_documents()))
    with pytest.raises(validation.InvalidInputError, match=key):
        corpus.ReferenceCorpus(config, seed=1)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "seed"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 1, "video_length": -1.0}, "video_length"),
    ],
)
def test_reference_corpus_refuses_impossible_arguments(arguments, name):
    with pytest.raises(validation.InvalidInputError, match=name):
        corpus.ReferenceCorpus(CONFIG, **arguments)


@pytest.mark.parametrize(
    ("argument", "given", "moved"),
    [
        ("topic_min_utility", -3.0, "doc_quality"),
        ("topic_max_utility", 3.0, "doc_quality"),
        ("trashy_fraction", 0.3, "doc_quality"),
        ("quality_stddev", 0.4, "doc_quality"),
        ("feature_stddev", 0.1, "doc_features"),
        ("video_length", 5.0, "doc_length"),
    ],
)
def test_every_number_of_the_reference_corpus_is_a_parameter(argument, given, moved):
    config = {"num_docs": 40, "num_topics": 10, "corpus_seed": 3}
    base = corpus.ReferenceCorpus(config).initial_state().as_dict
    other = corpus.ReferenceCorpus(config, **{argument: given}).initial_state().as_dict
    changed = [field for field in base if not np.array_equal(base[field], other[field])]
    assert changed == [moved]


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("topic_min_utility", 0.1),
        ("topic_max_utility", -0.1),
        ("trashy_fraction", 1.1),
        ("quality_stddev", -0.1),
        ("feature_stddev", float("nan")),
        ("video_length", -1.0),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_numbers_of_the_reference_corpus_are_checked(argument, given):
    with pytest.raises(validation.InvalidInputError, match=argument):
        corpus.ReferenceCorpus({"num_docs": 4, "num_topics": 3, "corpus_seed": 3}, **{argument: given})
