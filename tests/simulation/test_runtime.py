"""Seeded, compiled execution: repeatable, mode by mode; records what is asked for; NaN never passes silently."""

import functools
import gc
import weakref

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Value, ValueSpec
from recsim_ng.lib.tensorflow import field_spec
from tensorflow.python.framework import func_graph

from recsys_po_rl import corpus, fields, recommender, scoring, user
from recsys_po_rl.common import validation
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import MODES, SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

U, D, K, S, H = 5, 11, 4, 3, 6
COMPILED = ("graph", "xla")
# For tests that compile programs of their own.
COMPILED_XLA_SLOW = ("graph", pytest.param("xla", marks=pytest.mark.slow))
MODES_XLA_SLOW = ("eager", *COMPILED_XLA_SLOW)


def make_network(**options):
    defaults = dict(num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=2)
    return create_interest_evolution_simulation_network(**{**defaults, **options})


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(0)
    return make_network()


@pytest.fixture(scope="module")
def runtimes(network):
    return {mode: SeededRuntime(network.variables, mode=mode) for mode in MODES}


def flat(trajectory):
    return {f"{name}.{field}": np.asarray(x) for name, val in trajectory.items() for field, x in val.as_dict.items()}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES_XLA_SLOW)
def test_equal_keys_give_equal_bits_and_other_keys_do_not(runtimes, network, mode):
    first = flat(runtimes[mode].trajectory(4, keys=seeding.make_keys(1, "x")))
    again = flat(SeededRuntime(network.variables, mode=mode).trajectory(4, keys=seeding.make_keys(1, "x")))
    other = flat(runtimes[mode].trajectory(4, keys=seeding.make_keys(2, "x")))
    assert first.keys() == again.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name], err_msg=name)
    for name in ("user state.interest.state", "slate docs.doc_ranks", "user response.choice"):
        assert not np.array_equal(first[name], other[name]), name


@pytest.mark.slow
def test_eager_and_graph_draw_the_same_numbers(runtimes):
    eager, graph = (flat(runtimes[mode].trajectory(5, keys=seeding.make_keys(4))) for mode in ("eager", "graph"))
    for name in graph:
        if graph[name].dtype.kind == "i":
            np.testing.assert_array_equal(eager[name], graph[name], err_msg=name)
        else:  # Grappler regroups products of constants: a unit in the last place of the squash
            np.testing.assert_allclose(eager[name], graph[name], rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_xla_draws_the_same_numbers_too(runtimes):
    graph, xla = (flat(runtimes[mode].trajectory(5, keys=seeding.make_keys(4))) for mode in ("graph", "xla"))
    for name in graph:
        if graph[name].dtype.kind == "i":
            np.testing.assert_array_equal(xla[name], graph[name], err_msg=name)
        else:
            np.testing.assert_allclose(xla[name], graph[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_batches_side_by_side_are_those_one_after_another(runtimes, mode):
    keys = [seeding.make_keys(1, batch=batch) for batch in range(3)]
    record = {fields.USER_STATE: [fields.INTEREST], fields.SLATE_DOCS: [fields.DOC_ID]}
    together = runtimes[mode].trajectories(4, keys, record)
    for of_batch, trajectory in zip(keys, together, strict=True):
        alone = flat(runtimes[mode].trajectory(4, keys=of_batch, record=record))
        for name, field in flat(trajectory).items():
            np.testing.assert_array_equal(field, alone[name], err_msg=name)


@pytest.mark.slow
def test_a_field_is_the_same_whatever_else_is_recorded(runtimes):
    everything = flat(runtimes["graph"].trajectory(6, keys=seeding.make_keys(1)))
    for record in ({fields.METRICS_STATE: [fields.REWARD]}, {fields.RECOMMENDER_STATE: [fields.DOC_HISTORY]}):
        for name, field in flat(runtimes["graph"].trajectory(6, keys=seeding.make_keys(1), record=record)).items():
            np.testing.assert_array_equal(field, everything[name], err_msg=name)


@pytest.mark.slow
def test_execute_is_the_last_value_of_the_trajectory_in_every_mode(runtimes):
    for mode, runtime in runtimes.items():
        trajectory, last = (
            flat(runtime.trajectory(4, keys=seeding.make_keys(1))),
            flat(runtime.execute(3, keys=seeding.make_keys(1))),
        )
        for name in last:
            np.testing.assert_allclose(trajectory[name][-1], last[name], rtol=1e-6, err_msg=f"{mode} {name}")


@pytest.mark.slow
def test_zero_steps_are_the_initial_value(runtimes):
    last = runtimes["graph"].execute(0, keys=seeding.make_keys(1))
    assert np.all(last[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD) == 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", COMPILED)
def test_only_the_fields_asked_for_are_recorded(runtimes, mode):
    record = {fields.USER_RESPONSE: [fields.CHOICE], fields.METRICS_STATE: [fields.REWARD]}
    trajectory = runtimes[mode].trajectory(3, keys=seeding.make_keys(0), record=record)
    assert {name: list(val.as_dict) for name, val in trajectory.items()} == record
    assert trajectory[fields.USER_RESPONSE].get(fields.CHOICE).shape == (3, U)


@pytest.mark.slow
@pytest.mark.parametrize("mode", COMPILED)
def test_one_trace_for_a_length_whatever_the_seed_and_the_weights(network, mode):
    runtime = SeededRuntime(network.variables, mode=mode)
    for seed in range(3):
        runtime.trajectory(3, keys=seeding.make_keys(seed), record={fields.METRICS_STATE: [fields.REWARD]})
        network.trainable_variables[0].assign_add(0.1 * tf.ones_like(network.trainable_variables[0]))
    assert runtime.trace_count == 1


@pytest.mark.slow
def test_continuing_from_a_value_keeps_its_state(runtimes):
    runtime = runtimes["graph"]
    start = runtime.execute(2, keys=seeding.make_keys(1))
    went_on = runtime.trajectory(2, starting_value=start, keys=seeding.make_keys(8))
    np.testing.assert_array_equal(
        went_on[fields.USER_STATE].get(fields.INTEREST)[0], start[fields.USER_STATE].get(fields.INTEREST)
    )
    assert np.all(
        went_on[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD)[1]
        >= start[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD)
    )


def world_of(trajectory):
    """Values that no policy may change: the documents, who the users are, and the random draws of the first choice."""
    values = flat(trajectory)
    return values["user state.interest.state"][0], values["available docs.doc_features"]


@pytest.mark.slow
def test_another_policy_leaves_the_draws_of_the_world_alone(network):
    other = make_network(recommender_ctor=UniformRandomRecommender)
    fixed = make_network(recommender_ctor=functools.partial(FixedSlateRecommender, doc_ids=[1, 2, 3]))
    keys = seeding.make_keys(5)
    worlds = [world_of(SeededRuntime(n.variables).trajectory(3, keys=keys)) for n in (network, other, fixed)]
    for world in worlds[1:]:
        np.testing.assert_array_equal(world[0], worlds[0][0])
        np.testing.assert_array_equal(world[1], worlds[0][1])


@pytest.mark.slow
def test_the_same_policy_with_another_policy_seed_meets_the_same_world(runtimes):
    one = flat(runtimes["graph"].trajectory(3, keys=seeding.make_keys(5)))
    two = flat(runtimes["graph"].trajectory(3, keys=seeding.make_keys(5, policy_seed=6)))
    np.testing.assert_array_equal(one["user state.interest.state"][0], two["user state.interest.state"][0])
    assert not np.array_equal(one["slate docs.doc_ranks"], two["slate docs.doc_ranks"])


class UserWithMood(user.InterestEvolutionUser):
    """A user entity of one's own: draws a mood at every step, through Edward2."""

    def initial_state(self):
        return super().initial_state().union(Value(mood=ed.Normal(loc=tf.zeros(self._num_users), scale=1.0)))

    def next_state(self, previous_state, user_response, slate_docs):
        mood = ed.Normal(loc=0.5 * previous_state.get("mood"), scale=1.0)
        return super().next_state(previous_state, user_response, slate_docs).union(Value(mood=mood))

    def specs(self):
        return super().specs().union(ValueSpec(mood=field_spec.FieldSpec()).prefixed_with("state"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES_XLA_SLOW)
def test_an_entity_of_ones_own_is_repeatable_and_untouched_by_the_policy(mode):
    moods = [
        flat(
            SeededRuntime(make_network(user_ctor=UserWithMood, **options).variables, mode=mode).trajectory(
                4, keys=seeding.make_keys(5)
            )
        )["user state.mood"]
        for options in ({}, {}, {"recommender_ctor": UniformRandomRecommender})
    ]
    np.testing.assert_array_equal(moods[0], moods[1])
    np.testing.assert_array_equal(moods[0], moods[2])
    assert len(np.unique(moods[0])) == 4 * U


class RestlessUser(user.InterestEvolutionUser):
    def next_state(self, previous_state, user_response, slate_docs):
        moved = super().next_state(previous_state, user_response, slate_docs)
        shaken = moved.get("interest.state") + tf.random.normal((U, K))
        return Value(interest=Value(state=shaken, linear_update=moved.get("interest.linear_update")))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_stateful_draw_in_an_entity_is_refused_by_name(mode):
    runtime = SeededRuntime(make_network(user_ctor=RestlessUser).variables, mode=mode)
    with pytest.raises(RuntimeError, match="'user state' draws through the stateful random op RandomStandardNormal"):
        runtime.trajectory(3)


class ReactiveCorpus(corpus.CorpusWithTopicAndQuality):
    """Documents gain quality where users are many who click."""

    def next_state(self, previous_state, user_response, slate_docs):
        state = previous_state.as_dict
        clicks = tf.reduce_mean(tf.cast(user_response.get(fields.CHOICE) < S, tf.float32))
        return Value(**{**state, fields.DOC_QUALITY: state[fields.DOC_QUALITY] + 0.1 * clicks})


@pytest.mark.slow
def test_batches_share_a_world_unless_it_reacts_to_its_users():
    quiet = make_network(freeze_corpus=False)
    reactive = make_network(freeze_corpus=False, corpus_ctor=ReactiveCorpus)
    features = {}
    for name, network in (("quiet", quiet), ("reactive", reactive)):
        runtime = SeededRuntime(network.variables)
        features[name] = [
            flat(runtime.trajectory(2, keys=seeding.make_keys(3, batch=batch)))["corpus state.doc_features"]
            for batch in (0, 1)
        ]
        assert runtime.worlds_differ_by_batch == (name == "reactive")
    np.testing.assert_array_equal(*features["quiet"])
    assert not np.array_equal(*features["reactive"])


@pytest.mark.slow
def test_data_flow_names_the_fields_that_are_read_not_those_declared(runtimes):
    flow = runtimes["graph"].flow(fields.SLATE_DOCS)
    assert flow.random_fields == [fields.DOC_RANKS]
    assert flow.draw_reads == {
        fields.RECOMMENDER_STATE: [fields.CTIME_HISTORY, fields.DOC_HISTORY],
        fields.AVAILABLE_DOCS: [fields.DOC_ID],
    }
    assert runtimes["graph"].flow(fields.CORPUS_STATE).reads == {fields.CORPUS_STATE: sorted(fields.DOC_FIELDS)}
    assert flow.field_specs[fields.DOC_FEATURES] == tf.TensorSpec((U, S, K), tf.float32)


def nan_after_two_steps():
    counter = variable.Variable(name="counter", spec=ValueSpec(n=field_spec.FieldSpec()))
    counter.initial_value = variable.value(lambda: Value(n=tf.constant(2.0)))
    counter.value = variable.value(lambda previous: Value(n=previous.get("n") - 1.0), (counter.previous,))
    root = variable.Variable(name="root", spec=ValueSpec(x=field_spec.FieldSpec()))
    root.value = variable.value(lambda counted: Value(x=tf.sqrt(counted.get("n"))), (counter,))
    return [counter, root]


@pytest.mark.parametrize("mode", MODES)
def test_nan_is_an_error_that_names_variable_and_step(mode):
    runtime = SeededRuntime(nan_after_two_steps(), mode=mode)
    assert float(runtime.execute(2)["root"].get("x")) == 0.0
    with pytest.raises(FloatingPointError, match=r"NaN at step 3 .* of: 'root'"):
        runtime.execute(5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", COMPILED_XLA_SLOW)
def test_ids_the_scorer_does_not_know_never_show_another_documents_score(mode):
    """Under XLA no op can raise: scores become NaN and the runtime raises after the call."""

    class ForeignIds(corpus.ReferenceCorpus):
        def available_documents(self, corpus_state):
            shown = super().available_documents(corpus_state).as_dict
            return Value(**shown)

    class Misremembering(make_network().recommender.__class__):
        def next_state(self, previous_state, user_response, slate_docs):
            wrong = Value(**{**slate_docs.as_dict, fields.DOC_ID: slate_docs.get(fields.DOC_ID) + 500})
            return super().next_state(previous_state, user_response, wrong)

    network = make_network(corpus_ctor=ForeignIds, recommender_ctor=Misremembering)
    runtime = SeededRuntime(network.variables, mode=mode)
    with pytest.raises((FloatingPointError, tf.errors.InvalidArgumentError), match=r"slate docs|doc_id_history"):
        runtime.trajectory(8)


def test_errors_name_the_argument(network):
    runtime = SeededRuntime(network.variables)
    with pytest.raises(validation.InvalidInputError, match="mode must be one of eager, graph, xla, got 'xml'"):
        SeededRuntime(network.variables, mode="xml")
    with pytest.raises(validation.InvalidInputError, match="length must be an integer of at least 1, got 0"):
        runtime.trajectory(0)
    with pytest.raises(validation.InvalidInputError, match="num_steps must be an integer of at least 0, got -1"):
        runtime.execute(-1)
    with pytest.raises(validation.InvalidInputError, match=r"record must be one of .* \(did you mean slate docs\?\)"):
        runtime.trajectory(2, record={"slate doc": [fields.DOC_ID]})
    with pytest.raises(validation.InvalidInputError, match=r"record of 'slate docs' .* \(did you mean doc_id\?\)"):
        runtime.trajectory(2, record={fields.SLATE_DOCS: ["doc_ids"]})
    with pytest.raises(validation.InvalidInputError, match="variable must be one of"):
        runtime.flow("nothing like it")


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["CollabFilteringModel", "AveragedHistoryModel", "GRUModel", "SelfAttentionModel"])
def test_a_network_that_is_gone_leaves_no_graph_behind(scorer, monkeypatch):
    """TensorFlow keeps custom gradients, and with them the graphs of their tensors, as long as the process lives."""
    made = []
    make_graph = func_graph.FuncGraph.__init__

    def remember(graph, name, *args, **kwargs):
        made.append((name, weakref.ref(graph)))
        make_graph(graph, name, *args, **kwargs)

    monkeypatch.setattr(func_graph.FuncGraph, "__init__", remember)
    model_ctor = getattr(scoring, scorer)
    recommender_ctor = functools.partial(recommender.CollabFilteringRecommender, model_ctor=model_ctor)
    SeededRuntime(make_network(recommender_ctor=recommender_ctor).variables).trajectory(3)
    gc.collect()
    # The first value, the trace of the data flow, the loop and the run around it: partials have no other name.
    assert sum(name == "function" for name, _ in made) >= 4
    left = {name for name, graph in made if graph() is not None}
    assert left <= {"keras_graph"}  # Keras's own, one for the process
