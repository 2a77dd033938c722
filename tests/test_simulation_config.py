"""The whole network: its variables against the table of fields and against upstream's own, run in both runtimes."""

import functools
import inspect
import itertools
import warnings

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import simulation_config as upstream
from recsim_ng.core import network as network_lib
from recsim_ng.core import value
from recsim_ng.lib.tensorflow import runtime as tf_runtime
from recsim_ng.stories import recommendation_simulation

from recsys_po_rl import corpus, fields, metrics, recommender, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import runtime, seeding

Value = value.Value
create = simulation_config.create_interest_evolution_simulation_network

NUM_USERS, NUM_TOPICS, NUM_DOCS, HISTORY, SLATE_SIZE = 3, 4, 7, 5, 2
SIZES = {"num_users": NUM_USERS, "num_topics": NUM_TOPICS, "num_docs": NUM_DOCS, "history_length": HISTORY}

INTEREST = ((NUM_USERS, NUM_TOPICS), "float32")
IDS, TIMES = ((NUM_USERS, HISTORY), "int32"), ((NUM_USERS, HISTORY), "float32")
DOCUMENTS = {
    "doc_id": ((NUM_DOCS,), "int32"),
    "doc_topic": ((NUM_DOCS,), "int32"),
    "doc_quality": ((NUM_DOCS,), "float32"),
    "doc_features": ((NUM_DOCS, NUM_TOPICS), "float32"),
    "doc_length": ((NUM_DOCS,), "float32"),
}
# Shape, dtype, and whether the field is a random variable, in the order of variables and fields.
TABLE = {
    "user state": {
        "interest.state": (*INTEREST, False),
        "interest.linear_update.state": (*INTEREST, False),
        "interest.linear_update.tbranch.state": (*INTEREST, True),
        "interest.linear_update.fbranch.state": (*INTEREST, True),
    },
    "user response": {"consumed_time": ((NUM_USERS,), "float32", False), "choice": ((NUM_USERS,), "int32", True)},
    "corpus state": {name: (*described, False) for name, described in DOCUMENTS.items()},
    "available docs": {name: (*described, True) for name, described in DOCUMENTS.items()},
    "slate docs": {
        **{name: ((NUM_USERS, SLATE_SIZE, *shape[1:]), dtype, False) for name, (shape, dtype) in DOCUMENTS.items()},
        "doc_ranks": ((NUM_USERS, SLATE_SIZE), "int32", True),
    },
    "recommender state": {
        "doc_history.state": (*IDS, False),
        "doc_history.tbranch.state": (*IDS, True),
        "doc_history.fbranch.state": (*IDS, False),
        "ctime_history.state": (*TIMES, False),
        "ctime_history.tbranch.state": (*TIMES, True),
        "ctime_history.fbranch.state": (*TIMES, False),
    },
    "metrics state": {
        "reward": ((NUM_USERS,), "float32", True),
        "cumulative_reward": ((NUM_USERS,), "float32", True),
    },
    "user observation": {},
}


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


def values_of(variables, num_steps=3):
    """The network's values from the initial one on."""
    network = network_lib.Network(variables)
    values = [network.initial_step()]
    for _ in range(num_steps):
        values.append(network.step(values[-1]))
    return values


def described(network_value):
    return {
        name: {
            field: (tuple(held.shape), held.dtype.name, isinstance(held, ed.RandomVariable))
            for field, held in val.as_dict.items()
        }
        for name, val in network_value.items()
    }


def ordered(table):
    return [(name, list(of_name.items())) for name, of_name in table.items()]


def table_for(freeze_corpus):
    if freeze_corpus:
        return TABLE
    return {**TABLE, "corpus state": {name: (*described, True) for name, described in DOCUMENTS.items()}}


def documents_of(network):
    return {name: array(held) for name, held in values_of(network.variables, 0)[0]["corpus state"].as_dict.items()}


@pytest.fixture(scope="module", params=[True, False], ids=["frozen", "drawn"])
def freeze_corpus(request):
    return request.param


@pytest.fixture(scope="module")
def network(freeze_corpus):
    return create(**SIZES, freeze_corpus=freeze_corpus, corpus_seed=3 if freeze_corpus else None)


@pytest.fixture(scope="module")
def values(network):
    return values_of(network.variables)


# Variables and fields.


def test_the_result_is_a_pair_of_variables_and_trainable_variables(network):
    assert isinstance(network, tuple)
    variables, trainable = network
    assert variables is network.variables
    assert trainable is network.trainable_variables
    assert isinstance(variables, list)
    assert isinstance(trainable, tuple)
    assert [var.name for var in variables] == list(TABLE)
    assert list(TABLE) == [
        fields.USER_STATE,
        fields.USER_RESPONSE,
        fields.CORPUS_STATE,
        fields.AVAILABLE_DOCS,
        fields.SLATE_DOCS,
        fields.RECOMMENDER_STATE,
        fields.METRICS_STATE,
        fields.USER_OBSERVATION,
    ]


def test_fields_of_every_step_are_those_of_the_table(network, values, freeze_corpus):
    expected = table_for(freeze_corpus)
    for step in values:
        found = described(step)
        assert ordered({var.name: found[var.name] for var in network.variables}) == ordered(expected)


@pytest.mark.slow
def test_fields_of_every_step_are_upstreams(values, freeze_corpus):
    variables, _ = upstream.create_interest_evolution_simulation_network(**SIZES, freeze_corpus=freeze_corpus)
    assert [var.name for var in variables] == list(TABLE)
    for ours, theirs in zip(values, values_of(variables)):
        assert {name: list(val.as_dict) for name, val in ours.items()} == {
            name: list(val.as_dict) for name, val in theirs.items()
        }
        assert described(ours) == described(theirs)
        for name, val in ours.items():
            for field, held in val.as_dict.items():
                if isinstance(held, ed.RandomVariable):
                    law, other = held.distribution, theirs[name].get(field).distribution
                    assert (law.batch_shape, law.event_shape) == (other.batch_shape, other.event_shape), field


def test_names_in_the_specs_are_those_of_the_values(network, values):
    for var in network.variables:
        for step in values:
            assert list(var.spec.as_dict) == list(step[var.name].as_dict)


def test_specs_contain_every_value(network, values):
    for var in network.variables:
        for step in values:
            for field, held in step[var.name].as_dict.items():
                numbers, box = array(held), var.spec.as_dict[field].space
                if field != fields.CHOICE:  # the choice model's spec is recsim_ng's: float for an integer
                    assert numbers.dtype == box.dtype, field
                assert numbers.shape == box.shape, field
                assert np.all(numbers >= box.low), field
                assert np.all(numbers <= box.high), field


def test_two_fields_of_a_step_are_truly_random_where_the_corpus_is_frozen():
    step = values_of(create(**SIZES, corpus_seed=3).variables, 1)[1]
    variables = {
        f"{name}: {field}": held.distribution
        for name, val in step.items()
        for field, held in val.as_dict.items()
        if isinstance(held, ed.RandomVariable)
    }
    assert len(variables) == 13
    random = {name for name, law in variables.items() if "Deterministic" not in _innermost(law)}
    assert random == {"user response: choice", "slate docs: doc_ranks"}


def _innermost(distribution):
    while hasattr(distribution, "distribution"):
        distribution = distribution.distribution
    return type(distribution).__name__


# Interfaces.


def test_function_begins_with_upstreams_arguments():
    ours = list(inspect.signature(create).parameters.values())
    theirs = list(inspect.signature(upstream.create_interest_evolution_simulation_network).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert [p.name for p in theirs] == ["num_users", "num_topics", "num_docs", "freeze_corpus", "history_length"]
    assert all(p.default is not p.empty for p in ours)


def test_arguments_by_position_and_keyword_are_the_same():
    by_position = create(NUM_USERS, NUM_TOPICS, NUM_DOCS, False, HISTORY, SLATE_SIZE + 1)
    by_keyword = create(**SIZES, freeze_corpus=False, slate_size=SLATE_SIZE + 1)
    for made in (by_position, by_keyword):
        assert made.config == {**SIZES, "slate_size": SLATE_SIZE + 1, "corpus_seed": None}
        first = values_of(made.variables, 0)[0]
        assert first["slate docs"].get("doc_ranks").shape == (NUM_USERS, SLATE_SIZE + 1)
        assert isinstance(first["corpus state"].get("doc_quality"), ed.RandomVariable)


def test_defaults_are_upstreams_sizes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two topics
        default = create()
    assert default.config == {
        "num_users": 1000,
        "num_topics": 2,
        "num_docs": 100,
        "slate_size": 2,
        "history_length": 15,
        "corpus_seed": None,
    }
    assert default.trainable_variables[0].shape == (101, 32)
    assert default.variables[2].spec.as_dict["doc_features"].space.shape == (100, 2)


def test_entities_stand_on_the_result(network):
    assert isinstance(network.user, user.InterestEvolutionUser)
    assert isinstance(network.corpus, corpus.CorpusWithTopicAndQuality)
    assert isinstance(network.recommender, recommender.CollabFilteringRecommender)
    assert isinstance(network.metrics, metrics.ConsumedTimeAsRewardMetrics)
    names = [network.user.name, network.corpus.name, network.recommender.name, network.metrics.name]
    assert names == ["User", "Corpus", "Recommender", "Metrics"]


@pytest.mark.slow
def test_trainable_variables_are_in_module_order(network):
    q, p, w2, b2, w1, b1 = network.trainable_variables
    model = network.recommender.model
    assert [weight.shape for weight in network.trainable_variables] == [
        (NUM_DOCS + 1, 32),
        (NUM_DOCS + 1, 32),
        (32, 32),
        (32,),
        (HISTORY * 33, 32),
        (32,),
    ]
    assert q is model.get_layer("doc_embedding").weights[0]
    assert p is model.get_layer("doc_prop_embedding").weights[0]
    encoder = model.get_layer("recs")
    assert (w2, b2) == tuple(encoder.get_layer("hist_emb_layer").weights)
    assert (w1, b1) == tuple(encoder.layers[0].weights)
    _, theirs = upstream.create_interest_evolution_simulation_network(**SIZES)
    assert [weight.shape for weight in theirs] == [weight.shape for weight in network.trainable_variables]
    assert "/doc_embedding/" in theirs[0].name
    assert "/doc_prop_embedding/" in theirs[1].name
    assert "hist_emb_layer" in theirs[2].name


def test_constructors_are_called_with_the_config_alone():
    calls = {}

    def remembering(role, ctor):
        def construct(*arguments, **more):
            calls.setdefault(role, []).append((arguments, more))
            return ctor(*arguments, **more)

        return construct

    def story(*arguments):
        calls["story"] = arguments
        return recommendation_simulation.recs_story(*arguments)

    made = create(
        **SIZES,
        corpus_seed=3,
        user_ctor=remembering("user", user.InterestEvolutionUser),
        corpus_ctor=remembering("corpus", corpus.CorpusWithTopicAndQuality),
        recommender_ctor=remembering("recommender", recommender.CollabFilteringRecommender),
        metrics_ctor=remembering("metrics", metrics.ConsumedTimeAsRewardMetrics),
        story=story,
    )
    for role in ("user", "corpus", "recommender", "metrics"):
        assert calls[role] == [((made.config,), {})], role
    assert calls["story"][0] == made.config
    assert len(calls["story"]) == 5


# The corpus.


@pytest.mark.slow
def test_corpus_seed_fixes_the_frozen_corpus():
    first, again, other = (documents_of(create(**SIZES, corpus_seed=seed)) for seed in (3, 3, 4))
    with seeding.seeded_draws(seeding.stateless_seed(3, "corpus"), fields.CORPUS_STATE):
        expected = corpus.CorpusWithTopicAndQuality(SIZES).initial_state()
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_array_equal(first[name], array(expected.get(name)))
    assert not np.any(first["doc_quality"] == other["doc_quality"])
    assert not np.any(first["doc_features"] == other["doc_features"])


@pytest.mark.slow
def test_frozen_corpus_without_a_seed_comes_from_tensorflows_global_one():
    found = []
    for seed in (5, 5, 6):
        tf.random.set_seed(seed)
        found.append(documents_of(create(**SIZES)))
    np.testing.assert_array_equal(found[0]["doc_features"], found[1]["doc_features"])
    assert not np.any(found[0]["doc_features"] == found[2]["doc_features"])


def test_frozen_corpus_is_the_same_at_every_initial_step():
    frozen = create(**SIZES, corpus_seed=3)
    first, second = documents_of(frozen), documents_of(frozen)
    for name in fields.DOC_FIELDS:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.slow
def test_corpus_that_is_not_frozen_is_new_at_every_initial_step_and_stays():
    drawn = create(**SIZES, freeze_corpus=False)
    first, second = documents_of(drawn), documents_of(drawn)
    assert not np.array_equal(first["doc_quality"], second["doc_quality"])
    assert not np.array_equal(first["doc_features"], second["doc_features"])
    start, *later = values_of(drawn.variables, 2)
    for step in later:
        for name in ("corpus state", "available docs"):
            for field in fields.DOC_FIELDS:
                np.testing.assert_array_equal(array(step[name].get(field)), array(start["corpus state"].get(field)))


def test_static_corpora_stay_what_they_are(freeze_corpus):
    made = create(**SIZES, freeze_corpus=freeze_corpus, corpus_seed=8, corpus_ctor=corpus.ReferenceCorpus)
    expected = corpus.reference_corpus_state(NUM_DOCS, NUM_TOPICS, 8)
    for name, held in documents_of(made).items():
        np.testing.assert_array_equal(held, expected.get(name))


# The data flow.


def test_steps_follow_from_each_other(values):
    for before, after in itertools.pairwise(values):
        time = array(before["user response"].get("consumed_time"))
        clicked = time >= 0
        np.testing.assert_array_equal(array(after["metrics state"].get("reward")), np.maximum(time, 0))
        choice = array(before["user response"].get("choice"))
        np.testing.assert_array_equal(clicked, choice < SLATE_SIZE)
        kept = array(before["recommender state"].get("ctime_history.state"))
        history = array(after["recommender state"].get("ctime_history.state"))
        np.testing.assert_array_equal(history[~clicked], kept[~clicked])
        np.testing.assert_array_equal(history[clicked, -1], time[clicked])
        shown = array(before["slate docs"].get("doc_id"))
        newest = array(after["recommender state"].get("doc_history.state"))[:, -1]
        np.testing.assert_array_equal(newest[clicked], shown[clicked, choice[clicked]])
        np.testing.assert_array_equal(
            array(after["user state"].get("interest.linear_update.tbranch.state")),
            array(before["user state"].get("interest.state")),
        )


# recsim_ng's own runtime.


class _TalkativeUser(user.InterestEvolutionUser):
    """Consumes everything for a constant time, and shows its mean interest."""

    def consumed_time(self, docs):
        return 0.25 * docs.get(fields.DOC_LENGTH)

    def observation(self, user_state):
        return Value(mean_interest=tf.reduce_mean(user_state.get(fields.INTEREST), axis=-1))

    def specs(self):
        shown = value.ValueSpec(mean_interest=fields.tensor_spec((self._num_users,)))
        return super().specs().union(shown.prefixed_with("observation"))


@pytest.mark.slow
@pytest.mark.parametrize("graph_compile", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("user_ctor", [user.InterestEvolutionUser, _TalkativeUser])
def test_network_runs_in_recsim_ngs_runtime(freeze_corpus, graph_compile, user_ctor):
    made = create(**SIZES, freeze_corpus=freeze_corpus, user_ctor=functools.partial(user_ctor, no_click_mass=-1.0))
    trajectory = tf_runtime.TFRuntime(network_lib.Network(made.variables), graph_compile).trajectory(4)
    for name, of_name in table_for(freeze_corpus).items():
        for field, (shape, dtype, _) in of_name.items():
            held = trajectory[name].get(field)
            assert (tuple(held.shape), held.dtype.name) == ((4, *shape), dtype), field
    time = array(trajectory["user response"].get("consumed_time"))
    reward = array(trajectory["metrics state"].get("reward"))
    np.testing.assert_array_equal(reward[1:], np.maximum(time[:-1], 0))
    ranks, shown = (array(trajectory["slate docs"].get(name)) for name in ("doc_ranks", "doc_id"))
    np.testing.assert_array_equal(shown, ranks + 1)
    if user_ctor is _TalkativeUser:
        assert set(np.unique(time)) <= {np.float32(-1.0), np.float32(0.5)}
        mean = np.mean(array(trajectory["user state"].get(fields.INTEREST)), axis=-1)
        np.testing.assert_allclose(
            array(trajectory["user observation"].get("mean_interest")), mean, rtol=1e-4, atol=1e-6
        )


@pytest.mark.slow
@pytest.mark.parametrize("graph_compile", [False, True], ids=["eager", "graph"])
def test_execute_continues_in_recsim_ngs_runtime(network, graph_compile):
    last = tf_runtime.TFRuntime(network_lib.Network(network.variables), graph_compile).execute(3)
    for name, of_name in TABLE.items():
        for field, (shape, dtype, _) in of_name.items():
            held = last[name].get(field)
            assert (tuple(held.shape), held.dtype.name) == (shape, dtype), field
    assert np.all(array(last["metrics state"].get("cumulative_reward")) >= array(last["metrics state"].get("reward")))


@pytest.mark.slow
def test_drawn_corpora_follow_the_shared_key_in_the_projects_runtime():
    runner = runtime.SeededRuntime(create(**SIZES, freeze_corpus=False).variables, mode="eager")
    one, batch, other = (
        array(runner.execute(0, keys=keys)["corpus state"].get("doc_features"))
        for keys in (seeding.make_keys(1), seeding.make_keys(1, batch=1), seeding.make_keys(2))
    )
    np.testing.assert_array_equal(one, batch)
    assert not np.any(one == other)


# Upstream's faults.


@pytest.mark.parametrize("argument", ["num_users", "num_topics", "num_docs", "history_length", "slate_size"])
@pytest.mark.parametrize("impossible", [0, -1, 2.0, True, None, "three"])
def test_fault_impossible_sizes_are_accepted(argument, impossible):
    with pytest.raises(validation.InvalidInputError, match=argument):
        create(**{**SIZES, argument: impossible})


@pytest.mark.parametrize("argument", ["num_users", "num_docs"])
def test_upstream_accepts_nothing_at_all(argument):
    variables, trainable = upstream.create_interest_evolution_simulation_network(**{**SIZES, argument: 0})
    assert len(variables) == 8
    assert len(trainable) == 6


@pytest.mark.slow
def test_fault_slate_longer_than_the_corpus_fails_late():
    variables, _ = upstream.create_interest_evolution_simulation_network(**{**SIZES, "num_docs": 1})
    with pytest.raises(tf.errors.InvalidArgumentError):
        values_of(variables, 0)
    with pytest.raises(ValueError, match="slate_size must be at most num_docs"):
        create(**{**SIZES, "num_docs": 1})
    with pytest.raises(ValueError, match="slate_size must be at most num_docs"):
        create(**SIZES, slate_size=NUM_DOCS + 1)
    longest = create(**SIZES, slate_size=NUM_DOCS)
    assert values_of(longest.variables, 1)[1]["slate docs"].get("doc_id").shape == (NUM_USERS, NUM_DOCS)


def test_fault_slate_size_is_hard_coded():
    assert "slate_size" not in inspect.signature(upstream.create_interest_evolution_simulation_network).parameters
    made = create(**SIZES, slate_size=3)
    assert values_of(made.variables, 1)[1]["slate docs"].get("doc_features").shape == (NUM_USERS, 3, NUM_TOPICS)


@pytest.mark.slow
def test_fault_history_of_one_is_an_error():
    with pytest.raises(ValueError, match="history_length"):
        upstream.create_interest_evolution_simulation_network(**{**SIZES, "history_length": 1})
    made = create(**{**SIZES, "history_length": 1})
    assert values_of(made.variables, 2)[2]["recommender state"].get("doc_history.state").shape == (NUM_USERS, 1)


def test_one_topic_is_refused():
    with pytest.raises(ValueError, match="num_topics"):
        create(**{**SIZES, "num_topics": 1})


@pytest.mark.parametrize("num_topics", [2, 3])
def test_few_topics_are_warned_about_once(num_topics):
    with pytest.warns(UserWarning, match=f"num_topics={num_topics}") as caught:
        create(**{**SIZES, "num_topics": num_topics})
    assert len([warning for warning in caught if "num_topics" in str(warning.message)]) == 1


# Errors name the argument.


@pytest.mark.parametrize(
    ("argument", "impossible"),
    [
        ("corpus_seed", -1),
        ("corpus_seed", 1.5),
        ("freeze_corpus", 1),
        ("freeze_corpus", None),
        ("user_ctor", "InterestEvolutionUser"),
        ("corpus_ctor", None),
        ("recommender_ctor", 3),
        ("metrics_ctor", {}),
    ],
)
def test_impossible_arguments_are_named(argument, impossible):
    with pytest.raises(validation.InvalidInputError, match=argument):
        create(**SIZES, **{argument: impossible})


@pytest.mark.slow
def test_full_information_shows_the_interest_and_changes_nothing_else():
    hidden = create(**SIZES, corpus_seed=1)
    shown = create(**SIZES, corpus_seed=1, full_information=True)
    for target, source in zip(shown.recommender.variables, hidden.recommender.variables, strict=True):
        target.assign(source)
    seen = runtime.SeededRuntime(shown.variables).trajectory(4)
    unseen = runtime.SeededRuntime(hidden.variables).trajectory(4)
    interest = seen[fields.USER_STATE].get(fields.INTEREST)
    np.testing.assert_array_equal(seen[fields.USER_OBSERVATION].get(fields.OBSERVED_INTEREST), interest)
    np.testing.assert_array_equal(unseen[fields.USER_STATE].get(fields.INTEREST), interest)
    assert shown.user.specs().get("observation").get(fields.OBSERVED_INTEREST).space.shape == (NUM_USERS, NUM_TOPICS)


@pytest.mark.parametrize("full_information", [1, "yes", None])
def test_full_information_is_a_boolean(full_information):
    with pytest.raises(validation.InvalidInputError, match="full_information"):
        create(**SIZES, full_information=full_information)
