"""The facade: recsim_ng's signatures and results, and clear errors where recsim_ng goes on with nonsense."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import interest_evolution_simulation as upstream

from recsys_po_rl import fields, interest_evolution_simulation, simulation_config
from recsys_po_rl.common import validation
from recsys_po_rl.training.dropin_runtime import SimulationRuntime

U, D, K, H, T = 4, 6, 5, 3, 5


def make_network():
    tf.keras.utils.set_random_seed(0)
    return simulation_config.create_interest_evolution_simulation_network(
        num_users=U, num_topics=K, num_docs=D, history_length=H
    )


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def runtime(network):
    return interest_evolution_simulation.make_runtime(network.variables)


@pytest.mark.parametrize(
    "name", ["reset_optimizer", "distributed_train_step", "make_runtime", "make_train_step", "run_simulation"]
)
def test_signatures_are_recsim_ngs(name):
    def described(module):
        parameters = inspect.signature(getattr(module, name)).parameters.values()
        return [(parameter.name, parameter.default) for parameter in parameters]

    assert described(interest_evolution_simulation) == described(upstream)


def test_reset_optimizer_is_a_new_sgd_without_momentum():
    first, second = (interest_evolution_simulation.reset_optimizer(0.25) for _ in range(2))
    assert first is not second
    assert isinstance(first, tf.keras.optimizers.SGD)
    config = first.get_config()
    assert (config["learning_rate"], config["momentum"]) == (0.25, 0.0)


@pytest.mark.slow
def test_make_runtime_adds_the_slates_log_probability_and_its_sum(runtime):
    last, trajectory = runtime.execute(T - 1), runtime.trajectory(T)
    assert {"slate docs_log_prob", "slate docs_log_prob_accum"} < set(last)
    log_prob, accumulated = (
        trajectory[name].get(fields.DOC_RANKS).numpy() for name in ("slate docs_log_prob", "slate docs_log_prob_accum")
    )
    assert log_prob.shape == (T, U)
    assert (log_prob <= 0.0).all()
    np.testing.assert_allclose(accumulated, log_prob.cumsum(axis=0), rtol=1e-5)


@pytest.mark.slow
def test_gradients_flow_through_the_starting_value_in_every_mode(network):
    def gradients(mode):
        runtime = SimulationRuntime(network.variables, mode)
        tf.keras.utils.set_random_seed(7)
        with tf.GradientTape(persistent=True) as tape:
            first = runtime.execute(2)
            second = runtime.execute(2, first)
            of_first, of_both = (
                tf.reduce_sum(value["slate docs_log_prob_accum"].get(fields.DOC_RANKS)) for value in (first, second)
            )
        return [
            np.concatenate(
                [np.ravel(tf.convert_to_tensor(one)) for one in tape.gradient(of, network.trainable_variables)]
            )
            for of in (of_first, of_both)
        ]

    (of_first, of_both), (_, expected) = gradients("xla"), gradients("graph")
    np.testing.assert_allclose(of_both, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(of_first).max() > 0.1  # what would be lost


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["reward", "cumulative_reward"])
def test_a_train_step_returns_gradients_objective_and_mean_metric(network, metric):
    class Remembering:
        """Hands out one execution, so that the test can compute the objective from what the step saw."""

        def __init__(self, runtime):
            self._runtime = runtime

        def execute(self, num_steps):
            assert num_steps == T - 1
            self.last = self._runtime.execute(num_steps)
            return self.last

    runtime = Remembering(interest_evolution_simulation.make_runtime(network.variables))
    weights = [weight.numpy() for weight in network.trainable_variables]
    gradients, objective, mean = interest_evolution_simulation.distributed_train_step(
        runtime, T, 2 * U, network.trainable_variables, metric
    )
    values = runtime.last["metrics state"].get(metric).numpy()
    log_prob = runtime.last["slate docs_log_prob_accum"].get(fields.DOC_RANKS).numpy()
    np.testing.assert_allclose(objective, -(values * log_prob).sum() / (2 * U), rtol=1e-5)
    np.testing.assert_allclose(mean, values.mean(), rtol=1e-6)
    assert isinstance(gradients, list)
    assert len(gradients) == 6
    for before, weight in zip(weights, network.trainable_variables):  # no optimizer: nothing is applied
        np.testing.assert_array_equal(before, weight)


@pytest.mark.slow
def test_a_compiled_step_applies_its_update_and_returns_a_tuple():
    network = make_network()
    before = [weight.numpy() for weight in network.trainable_variables]
    step = interest_evolution_simulation.make_train_step(
        interest_evolution_simulation.make_runtime(network.variables), T, U, network.trainable_variables,
        "cumulative_reward", interest_evolution_simulation.reset_optimizer(0.5),
    )  # fmt: skip
    gradients, _, _ = step()
    assert isinstance(gradients, tuple)
    for weight, old, gradient in zip(network.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(weight, old - 0.5 * tf.convert_to_tensor(gradient).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_run_simulation_returns_its_history():
    network = make_network()
    arguments = dict(
        num_training_steps=3, horizon=T, global_batch=U, learning_rate=1e-3, simulation_variables=network.variables,
        trainable_variables=network.trainable_variables, metric_to_optimize="cumulative_reward",
    )  # fmt: skip
    history = interest_evolution_simulation.run_simulation(**arguments)
    assert len(history.objective) == len(history.metric) == 3
    assert all(metric > 0.0 for metric in history.metric)
    assert interest_evolution_simulation.run_simulation(**{**arguments, "num_training_steps": 0}) == ([], [])


@pytest.mark.parametrize(
    ("argument", "given", "message"),
    [
        ("num_training_steps", -1, "num_training_steps must be an integer of at least 0, got -1"),
        ("horizon", 0, "horizon must be an integer of at least 1, got 0"),
        ("horizon", -3, "horizon must be an integer of at least 1, got -3"),
        ("global_batch", 0, "global_batch must be an integer of at least 1, got 0"),
        ("learning_rate", 0.0, "learning_rate must be a finite number above 0, got 0"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number above 0, got nan"),
        ("metric_to_optimize", "rewards", r"metric_to_optimize must be one of .*did you mean reward\?"),
        ("trainable_variables", (), "trainable_variables must name at least one variable"),
        ("simulation_variables", [], "variables must have one named 'slate docs', got none"),
    ],
)
def test_fault_impossible_arguments_are_accepted(network, argument, given, message):
    arguments = dict(
        num_training_steps=1, horizon=T, global_batch=U, learning_rate=1e-3, simulation_variables=network.variables,
        trainable_variables=network.trainable_variables,
    )  # fmt: skip
    with pytest.raises(validation.InvalidInputError, match=message):
        interest_evolution_simulation.run_simulation(**{**arguments, argument: given})


def test_fault_horizon_zero_upstream_is_an_objective_of_minus_nothing(network, runtime):
    """Upstream accepts what ours refuses: the step has no action to learn from."""
    theirs = upstream.make_runtime(network.variables)
    objective = upstream.distributed_train_step(theirs, 0, U, network.trainable_variables)[1]
    assert float(objective) == 0.0
    with pytest.raises(validation.InvalidInputError, match="horizon"):
        interest_evolution_simulation.distributed_train_step(runtime, 0, U, network.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["reward", "cumulative_reward"])
def test_the_fast_step_has_the_gradient_of_the_unrolled_loop(metric):
    """Same global seed, same users: slates replayed against a tape around the whole loop."""
    network = make_network()
    results = []
    for replays in (True, False):
        runtime = interest_evolution_simulation.make_runtime(network.variables)
        assert runtime.can_replay(network.trainable_variables)
        if not replays:
            runtime.can_replay = lambda variables: False
        tf.random.set_seed(7)
        results.append(
            interest_evolution_simulation.distributed_train_step(runtime, T, U, network.trainable_variables, metric)
        )
    (fast, fast_objective, fast_mean), (slow, slow_objective, slow_mean) = results
    np.testing.assert_allclose(fast_objective, slow_objective, rtol=1e-4)
    np.testing.assert_allclose(fast_mean, slow_mean, rtol=1e-5)
    for own, expected in zip(fast, slow, strict=True):
        expected = tf.convert_to_tensor(expected).numpy()
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_steps_draw_fresh_users_from_the_global_seed_and_compile_once():
    network = make_network()
    runtime = interest_evolution_simulation.make_runtime(network.variables)
    step = interest_evolution_simulation.make_train_step(
        runtime, T, U, network.trainable_variables, "cumulative_reward"
    )
    objectives = [float(step()[1]) for _ in range(3)]
    assert len(set(objectives)) == 3
    assert runtime._runtime.trace_count == 1
    assert [gradient.trace_count for gradient in runtime._gradients.values()] == [1]
