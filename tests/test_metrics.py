"""Metrics: the reward by hand and against upstream, and a NaN that must not pass."""

import functools
import inspect
import math

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import metrics as upstream
from recsim_ng.core import network as network_lib
from recsim_ng.core import value
from recsim_ng.lib.tensorflow import runtime as tf_runtime

from recsys_po_rl import fields, metrics, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import runtime

Value = value.Value

NUM_USERS = 5
CONFIG = {"num_users": NUM_USERS}
TIMES = np.array([[0.7, -1.0, 0.0, 2.5, 1.25], [-1.0, 3.5, 0.5, -1.0, 0.75], [1.5, 0.25, -1.0, -1.0, 2.0]], np.float32)
NETWORK_SIZES = {"num_users": NUM_USERS, "num_topics": 4, "num_docs": 7, "history_length": 3, "corpus_seed": 3}


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


def after(entity, previous, times):
    return entity.next_metrics(previous, Value(), Value(), Value(consumed_time=tf.convert_to_tensor(times)), Value())


@pytest.fixture(scope="module")
def entity():
    return metrics.ConsumedTimeAsRewardMetrics(CONFIG)


def test_reward_is_the_time_and_nothing_on_no_click(entity):
    val = entity.initial_metrics()
    np.testing.assert_array_equal(array(val.get("reward")), np.zeros(NUM_USERS))
    np.testing.assert_array_equal(array(val.get("cumulative_reward")), np.zeros(NUM_USERS))
    rewards = [[0.7, 0, 0, 2.5, 1.25], [0, 3.5, 0.5, 0, 0.75], [1.5, 0.25, 0, 0, 2.0]]
    sums = [[0.7, 0, 0, 2.5, 1.25], [0.7, 3.5, 0.5, 2.5, 2.0], [2.2, 3.75, 0.5, 2.5, 4.0]]
    for times, reward, cumulative in zip(TIMES, rewards, sums):
        val = after(entity, val, times)
        np.testing.assert_array_equal(array(val.get("reward")), np.array(reward, np.float32))
        np.testing.assert_allclose(array(val.get("cumulative_reward")), cumulative, rtol=1e-6)


def test_values_equal_upstreams_to_the_last_bit(entity):
    theirs = upstream.ConsumedTimeAsRewardMetrics(CONFIG)
    val, other = entity.initial_metrics(), theirs.initial_metrics()
    for times in TIMES:
        val, other = after(entity, val, times), after(theirs, other, times)
        for name in ("reward", "cumulative_reward"):
            np.testing.assert_array_equal(array(val.get(name)), array(other.get(name)))


def test_field_names_shapes_dtypes_and_specs(entity):
    specs = entity.specs().get("state")
    first = entity.initial_metrics()
    for val in (first, after(entity, first, TIMES[0])):
        assert list(val.as_dict) == list(specs.as_dict) == ["reward", "cumulative_reward"]
        for name, field in val.as_dict.items():
            box, numbers = specs.as_dict[name].space, array(field)
            assert isinstance(field, ed.RandomVariable)
            assert (numbers.shape, numbers.dtype) == (box.shape, box.dtype) == ((NUM_USERS,), np.float32)
            assert np.all(numbers >= box.low)
            assert np.all(box.low == 0)
            assert np.all(np.isposinf(box.high))


def test_recorded_values_replay_within_the_tolerance_and_no_further(entity):
    val = after(entity, entity.initial_metrics(), TIMES[0])
    for field in val.as_dict.values():
        numbers = array(field)
        np.testing.assert_array_equal(field.distribution.log_prob(numbers * np.float32(1 + 5e-6)), np.zeros(NUM_USERS))
        off = numbers + 0.01
        assert np.all(np.isneginf(field.distribution.log_prob(off)))


def test_constructor_begins_with_upstreams_arguments():
    ours = list(inspect.signature(metrics.ConsumedTimeAsRewardMetrics).parameters.values())
    theirs = list(inspect.signature(upstream.ConsumedTimeAsRewardMetrics).parameters.values())
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert [(p.name, p.default) for p in ours] == [("config", inspect.Parameter.empty), ("name", "Metrics")]


def test_names():
    assert metrics.ConsumedTimeAsRewardMetrics(CONFIG).name == "Metrics"
    assert metrics.ConsumedTimeAsRewardMetrics(CONFIG, "Revenue").name == "Revenue"
    assert metrics.ConsumedTimeAsRewardMetrics(config={**CONFIG, "more": 1}, name="Revenue").name == "Revenue"


@pytest.mark.parametrize("config", [{}, {"num_users": 0}, {"num_users": -1}, {"num_users": 2.0}])
def test_metrics_refuse_impossible_configs(config):
    with pytest.raises(validation.InvalidInputError, match="num_users"):
        metrics.ConsumedTimeAsRewardMetrics(config)


@pytest.mark.slow
def test_metrics_of_a_step_see_the_response_of_the_step_before():
    network = simulation_config.create_interest_evolution_simulation_network(**NETWORK_SIZES)
    trajectory = runtime.SeededRuntime(network.variables, mode="eager").trajectory(6)
    times = array(trajectory[fields.USER_RESPONSE].get("consumed_time"))
    reward = array(trajectory[fields.METRICS_STATE].get("reward"))
    np.testing.assert_array_equal(reward[0], np.zeros(NUM_USERS))
    np.testing.assert_array_equal(reward[1:], np.maximum(times[:-1], 0))
    assert np.any(reward[1:] > 0)
    cumulative = array(trajectory[fields.METRICS_STATE].get("cumulative_reward"))
    np.testing.assert_allclose(cumulative, np.cumsum(reward, axis=0), rtol=1e-6)


# Upstream's fault: one NaN poisons the sum for ever.


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_fault_nan_time_is_an_error(entity, poison, compiled):
    times = TIMES[0].copy()
    times[3] = poison

    def cumulative(numbers):
        return tf.convert_to_tensor(after(entity, entity.initial_metrics(), numbers).get("cumulative_reward"))

    function = tf.function(cumulative, autograph=False) if compiled else cumulative
    with pytest.raises(tf.errors.InvalidArgumentError, match="consumed_time of a user response is not finite"):
        function(times)
    np.testing.assert_array_equal(function(TIMES[0]), np.maximum(TIMES[0], 0))


def test_fault_nan_time_poisons_upstreams_sum():
    theirs = upstream.ConsumedTimeAsRewardMetrics(CONFIG)
    times = TIMES[0].copy()
    times[3] = math.nan
    val = after(theirs, after(theirs, theirs.initial_metrics(), times), TIMES[1])
    assert np.isfinite(array(val.get("reward"))[3])
    assert np.isnan(array(val.get("cumulative_reward"))[3])


class _ForgetfulUser(user.InterestEvolutionUser):
    """Whose clock breaks: every time is NaN."""

    def consumed_time(self, docs):
        return super().consumed_time(docs) * tf.constant(math.nan)


@pytest.fixture(scope="module")
def forgetful_variables():
    # A recommender that does not read the times: a scorer would complain of them too, and recsim_ng orders the
    # variables of a step by the hash of their names, so that either may be first.
    return simulation_config.create_interest_evolution_simulation_network(
        **NETWORK_SIZES,
        user_ctor=functools.partial(_ForgetfulUser, no_click_mass=-math.inf),
        recommender_ctor=UniformRandomRecommender,
    ).variables


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "error", "message"),
    [
        ("eager", tf.errors.InvalidArgumentError, "consumed_time of a user response is not finite"),
        ("graph", tf.errors.InvalidArgumentError, "consumed_time of a user response is not finite"),
        pytest.param("xla", FloatingPointError, r"NaN at step 0 .*'user response'", marks=pytest.mark.slow),
    ],
)
def test_nan_time_is_an_error_in_the_projects_runtime(forgetful_variables, mode, error, message):
    with pytest.raises(error, match=message):
        runtime.SeededRuntime(forgetful_variables, mode=mode).execute(2)


@pytest.mark.slow
@pytest.mark.parametrize("graph_compile", [False, True], ids=["eager", "graph"])
def test_nan_time_is_an_error_in_recsim_ngs_runtime(forgetful_variables, graph_compile):
    with pytest.raises(tf.errors.InvalidArgumentError, match="consumed_time of a user response is not finite"):
        tf_runtime.TFRuntime(network_lib.Network(forgetful_variables), graph_compile).execute(2)
