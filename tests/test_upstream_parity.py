"""Same numbers as recsim_ng's own application: scores, joint log-probabilities, gradients, transitions."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import recommender as upstream_recommender
from recsim_ng.applications.recsys_partially_observable_rl import simulation_config as upstream_config
from recsim_ng.core import network as network_lib
from recsim_ng.core.value import Value
from recsim_ng.lib.tensorflow import log_probability
from recsim_ng.lib.tensorflow import runtime as runtime_lib

from recsys_po_rl import fields, recommender, simulation_config
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.training.learner import PolicyGradientLearner, Rollout

SIZES = [  # users, topics, documents, history
    (6, 4, 9, 5),
    (3, 2, 7, 2),
    (11, 5, 23, 15),
]
STEPS = 6


def build_pair(sizes, freeze_corpus):
    """Upstream's network and ours, with upstream's weights."""
    users, topics, docs, history = sizes
    options = dict(
        num_users=users, num_topics=topics, num_docs=docs, history_length=history, freeze_corpus=freeze_corpus
    )
    tf.keras.utils.set_random_seed(docs)
    upstream, weights = upstream_config.create_interest_evolution_simulation_network(**options)
    ours, our_weights = simulation_config.create_interest_evolution_simulation_network(**options)
    for source, target in zip(weights, our_weights, strict=True):
        target.assign(source)
    return upstream, ours, weights, our_weights


@pytest.fixture(scope="module", params=[(size, frozen) for size in SIZES for frozen in (True, False)], ids=str)
def pair(request):
    return build_pair(*request.param)


@pytest.mark.parametrize(("rows", "docs", "embed_dim", "history"), [(4, 7, 8, 5), (3, 50, 32, 15)])
def test_scores_are_equal_with_weights_copied(rows, docs, embed_dim, history):
    theirs = upstream_recommender.CollabFilteringModel(rows, docs, embed_dim, history)
    ours = recommender.CollabFilteringModel(rows, docs, embed_dim, history)
    random = np.random.RandomState(0)
    ids = random.randint(0, docs + 1, (rows, history)).astype(np.int32)
    times = random.uniform(0.0, 2.0, (rows, history)).astype(np.float32)
    expected = theirs(tf.constant(ids), tf.constant(times))
    ours.build([(None, history), (None, history)])
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(ids, times), expected, rtol=1e-5, atol=1e-5)
    assert ours.count_params() == theirs.count_params()
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]


def record(variables, graph_compile):
    return runtime_lib.TFRuntime(network_lib.Network(variables), graph_compile=graph_compile).trajectory(STEPS)


def joint_log_prob(variables, trajectory, graph_compile):
    return float(log_probability.log_probability_from_value_trajectory(variables, trajectory, STEPS - 1, graph_compile))


@pytest.mark.slow
@pytest.mark.parametrize("recorder", ["upstream", "ours"])
def test_a_trajectory_has_the_same_joint_log_probability_in_both_networks(pair, recorder):
    upstream, ours, _, _ = pair
    for graph_compile in (False, True):
        trajectory = record(upstream if recorder == "upstream" else ours, graph_compile)
        theirs = joint_log_prob(upstream, trajectory, graph_compile=False)
        own = joint_log_prob(ours, trajectory, graph_compile=False)
        assert np.isfinite(theirs)
        assert theirs != 0.0
        np.testing.assert_allclose(own, theirs, rtol=1e-4)


@pytest.mark.slow
def test_our_replay_in_graph_mode_is_the_same(pair):
    upstream, ours, _, _ = pair
    trajectory = record(upstream, graph_compile=True)
    np.testing.assert_allclose(
        joint_log_prob(ours, trajectory, True), joint_log_prob(upstream, trajectory, True), rtol=1e-4
    )


def objective_gradient(variables, weights, trajectory):
    """Upstream's objective on a recorded trajectory, differentiated through the replayed network's unrolled loop."""
    observations = log_probability.replay_variables(variables, trajectory)
    log_probs = log_probability.log_prob_variables_from_observation(variables, observations)
    slate = [var for var in log_probs if var.name == f"{fields.SLATE_DOCS}_log_prob"]
    accumulator = log_probability.log_prob_accumulator_variables(slate)
    network = network_lib.Network([*observations, *slate, *accumulator])
    metric = trajectory[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD)[-1]
    with tf.GradientTape() as tape:
        last = runtime_lib.TFRuntime(network, graph_compile=False).execute(STEPS - 1)
        log_prob = last[accumulator[0].name].get(fields.DOC_RANKS)
        objective = -tf.reduce_sum(metric * log_prob) / log_prob.shape[0]
    return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(objective, weights)]


def assert_gradients_close(ours, theirs):
    for own, their in zip(ours, theirs, strict=True):
        scale = np.abs(their).max()
        assert scale > 0.0
        np.testing.assert_allclose(own, their, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.slow
def test_the_objectives_gradient_is_the_same_on_the_same_trajectory(pair):
    upstream, ours, weights, our_weights = pair
    trajectory = record(upstream, graph_compile=True)
    theirs = objective_gradient(upstream, weights, trajectory)
    assert_gradients_close(objective_gradient(ours, our_weights, trajectory), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow), "eager"])
def test_the_learners_gradient_is_that_of_the_unrolled_loop(mode):
    """Decision 4: rolling out without gradient and differentiating recorded slates loses nothing."""
    upstream, ours, weights, our_weights = build_pair(SIZES[0], True)
    network = simulation_config.SimulationNetwork((ours, our_weights))
    network.recommender = None
    runtime = SeededRuntime(ours, mode=mode)
    trajectory = runtime.trajectory(STEPS, keys=seeding.make_keys(1))
    learner = PolicyGradientLearner(
        network, horizon=STEPS, runtime_ctor=functools.partial(SeededRuntime, mode=mode),
        whole_return=True, population_baseline=None, normalize_advantages=False,
    )  # fmt: skip
    recording = learner._replay.recorded({name: value.as_dict for name, value in trajectory.items()})
    rollout = Rollout(trajectory[fields.METRICS_STATE].get(fields.REWARD), recording, tf.constant([-1]))
    found, _ = learner.gradients([rollout], [learner.advantages(rollout.rewards)])
    if mode == "xla":  # upstream's replay may refuse rounding of XLA: the same gradient from our own unrolled loop
        assert_gradients_close(found, objective_gradient(ours, our_weights, trajectory))
    else:
        assert_gradients_close(found, objective_gradient(upstream, weights, trajectory))


@pytest.mark.slow
def test_both_worlds_move_alike_from_the_same_state_with_the_same_choices():
    users = SIZES[0][0]
    upstream, ours, _, _ = build_pair(SIZES[0], True)
    networks = [{var.name: var for var in variables} for variables in (upstream, ours)]
    state = network_lib.Network(upstream).initial_step()
    random = np.random.RandomState(1)
    for step in range(12):
        choice = tf.constant(random.randint(0, 3, users), tf.int32)
        slate = state[fields.SLATE_DOCS]
        times = tf.concat([slate.get("doc_length") * tf.sigmoid(-slate.get("doc_quality")), -tf.ones((users, 1))], 1)
        response = Value(choice=choice, consumed_time=tf.gather(times, choice, batch_dims=1))
        state = {**state, fields.USER_RESPONSE: response}
        moved = []
        for network in networks:
            values = {}
            for name in (fields.USER_STATE, fields.RECOMMENDER_STATE, fields.METRICS_STATE):
                definition = network[name].value
                values[name] = definition.fn(*[state[dep.variable_name] for dep in definition.dependencies])
            moved.append(values)
        for name in moved[0]:
            theirs, own = moved[0][name].as_dict, moved[1][name].as_dict
            assert theirs.keys() == own.keys()
            for field in theirs:
                (
                    np.testing.assert_allclose(
                        tf.convert_to_tensor(own[field]), tf.convert_to_tensor(theirs[field]), rtol=1e-5, atol=1e-6
                    ),
                    (step, name, field),
                )
        state = {**state, **moved[0]}
        state[fields.SLATE_DOCS] = networks[0][fields.SLATE_DOCS].value.fn(
            state[fields.RECOMMENDER_STATE], Value(), state[fields.AVAILABLE_DOCS]
        )
    history = tf.convert_to_tensor(state[fields.RECOMMENDER_STATE].get(fields.DOC_HISTORY))
    assert (history.numpy() > 0).mean() > 0.5  # something was consumed on the way
    for network in networks:  # consumed times of our own response law
        response = network[fields.USER_RESPONSE].value.fn(state[fields.USER_STATE], state[fields.SLATE_DOCS])
        chosen = tf.convert_to_tensor(response.get("choice")).numpy()
        expected = [
            -1.0 if place == 2 else 2.0 / (1.0 + np.exp(float(state[fields.SLATE_DOCS].get("doc_quality")[u, place])))
            for u, place in enumerate(chosen)
        ]
        np.testing.assert_allclose(response.get("consumed_time"), expected, rtol=1e-5)
