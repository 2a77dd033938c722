"""Arguments of the learner: effects and refusals, and which optimizers and schedules gin can bind."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import advantages as advantages_lib
from recsys_po_rl.training import algorithms, schedules
from recsys_po_rl.training.critic import LearnedValue
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, K, S, H, T = 5, 8, 4, 2, 3, 4


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(1)
    return create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip


@pytest.fixture(scope="module")
def make_learner(network):
    runtime = SeededRuntime(network.variables, mode="eager")
    return functools.partial(PolicyGradientLearner, network, T, runtime_ctor=lambda variables: runtime)


# What is made of rewards.

REWARDS = tf.constant(np.random.default_rng(0).gamma(2.0, size=(T, U)), tf.float32)
VALUES = tf.constant(np.random.default_rng(1).normal(3.0, size=(T, U)), tf.float32)
UPSTREAMS = dict(whole_return=True, population_baseline=None, normalize_advantages=False)


@pytest.mark.slow
def test_whole_returns_without_a_baseline_are_what_recsim_ng_weighs_slates_with(make_learner):
    found = make_learner(**UPSTREAMS).advantages(REWARDS)
    np.testing.assert_allclose(found, np.tile(REWARDS.numpy().sum(axis=0), (T, 1)), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (None, lambda to_go: to_go),
        (advantages_lib.minus_population_mean, lambda to_go: to_go - to_go.mean(axis=1, keepdims=True)),
        (
            advantages_lib.minus_leave_one_out_mean,
            lambda to_go: to_go - (to_go.sum(axis=1, keepdims=True) - to_go) / (U - 1),
        ),
    ],
    ids=["none", "population_mean", "leave_one_out_mean"],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_baseline_and_normalization_are_those_asked_for(make_learner, baseline, expected, normalize):
    learner = make_learner(discount=0.9, population_baseline=baseline, normalize_advantages=normalize)
    to_go = np.zeros((T, U))
    for step in reversed(range(T)):
        to_go[step] = REWARDS[step] + (0.9 * to_go[step + 1] if step + 1 < T else 0.0)
    advantages = expected(to_go)
    scale = advantages.std() if normalize else 1.0
    np.testing.assert_allclose(learner.advantages(REWARDS), advantages / scale, rtol=1e-4, atol=1e-5)


def test_a_critics_values_make_generalized_advantages(make_learner):
    learner = make_learner(
        critic=LearnedValue, discount=0.9, trace_decay=0.7, population_baseline=None, normalize_advantages=False
    )
    assert (learner.discount, learner.trace_decay) == (0.9, 0.7)
    expected = advantages_lib.generalized_advantages(REWARDS, VALUES, 0.9, 0.7)
    np.testing.assert_allclose(learner.advantages(REWARDS, VALUES), expected, rtol=1e-6)


@pytest.mark.slow
def test_a_step_of_plain_sgd_is_the_rate_times_the_gradient_of_all_shards(network, make_learner):
    """With the options of recsim_ng's rule; that the gradient is its own is shown in test_upstream_parity.py."""
    options = dict(optimizer=functools.partial(tf.keras.optimizers.SGD, 0.25), max_gradient_norm=None, **UPSTREAMS)
    learner = make_learner(**options)
    keys = [seeding.make_keys(3, "training", 1, batch=shard) for shard in range(3)]
    rollouts = [learner.rollout(of_shard) for of_shard in keys]
    expected = learner.gradients(rollouts, [learner.advantages(rollout.rewards) for rollout in rollouts]).gradients
    before = [variable.numpy() for variable in network.trainable_variables]
    result = learner.step(keys)
    for variable, old, gradient in zip(network.trainable_variables, before, expected, strict=True):
        assert np.abs(gradient).max() > 0.0
        np.testing.assert_allclose(variable, old - 0.25 * gradient, rtol=1e-4, atol=1e-6)
        variable.assign(old)
    np.testing.assert_allclose(result.gradient_norm, tf.linalg.global_norm(expected), rtol=1e-4)
    assert math.isnan(float(result.explained_variance))
    assert math.isnan(float(result.critic_gradient_norm))


# Errors.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "ppo"}, "PolicyGradientLearner: algorithm must be a constructor"),
        ({"critic": 1}, "PolicyGradientLearner: critic must be a constructor"),
        ({"trace_decay": 1.1}, "PolicyGradientLearner: trace_decay must be a finite number of at least 0 and of at mo"),
        ({"trace_decay": 0.9}, "PolicyGradientLearner: trace_decay must be 1 without a critic, got 0.9"),
        ({"discount": 1.1}, "PolicyGradientLearner: discount must be a finite number of at least 0 and of at most 1,"),
        ({"whole_return": 1}, "PolicyGradientLearner: whole_return must be True or False, got 1"),
        (
            {"whole_return": True, "critic": LearnedValue},
            "PolicyGradientLearner: whole_return must be False where there is a critic",
        ),
        (
            {"whole_return": True, "discount": 0.9},
            "PolicyGradientLearner: discount must be 1 with whole_return, got 0.9",
        ),
        ({"population_baseline": "mean"}, "PolicyGradientLearner: population_baseline must be a constructor"),
        ({"normalize_advantages": None}, "PolicyGradientLearner: normalize_advantages must be True or False, got None"),
        ({"learning_rate_schedule": 0.5}, "PolicyGradientLearner: learning_rate_schedule must be a constructor"),
        ({"entropy_schedule": 0.5}, "PolicyGradientLearner: entropy_schedule must be a constructor"),
        ({"entropy_bonus": -0.1}, "PolicyGradientLearner: entropy_bonus must be a finite number of at least 0, got"),
    ],
)
def test_errors_name_the_argument(make_learner, options, message):
    with pytest.raises(validation.InvalidInputError) as error:
        make_learner(**options)
    assert gin_config.first_line(error.value).startswith(message)


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["policy", "critic"])
def test_two_schedules_of_one_learning_rate_are_refused(make_learner, whose):
    def scheduled():
        return tf.keras.optimizers.SGD(tf.keras.optimizers.schedules.CosineDecay(0.1, 4))

    options = {"optimizer": scheduled}
    if whose == "critic":
        options = {"critic": functools.partial(LearnedValue, optimizer=scheduled)}
    with pytest.raises(validation.InvalidInputError) as error:
        make_learner(learning_rate_schedule=schedules.Linear, **options)
    assert gin_config.first_line(error.value) == (
        "PolicyGradientLearner: learning_rate_schedule needs optimizers with a constant learning rate, got CosineDecay"
    )


# gin.


def moved_by_ones(learner, updates):
    """Distance by which each of some updates with a gradient of ones moves the first weight."""
    weight = learner.trainable_variables[0]
    old, moves = weight.numpy(), []
    for _ in range(updates):
        before = weight.numpy().ravel()[0]
        learner._apply([tf.ones_like(variable) for variable in learner.trainable_variables])
        moves.append(before - weight.numpy().ravel()[0])
    weight.assign(old)
    return moves


@pytest.mark.parametrize(
    "name",
    ["SGD", "Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Adafactor", "Ftrl", "Lion"],
)
def test_every_keras_optimizer_can_be_bound(make_learner, name):
    gin_config.parse(
        [],
        [
            f"recsys_po_rl.PolicyGradientLearner.optimizer = @tf.keras.optimizers.{name}",
            f"tf.keras.optimizers.{name}.learning_rate = 0.125",
        ],
    )
    learner = make_learner()
    assert isinstance(learner.optimizer, getattr(tf.keras.optimizers, name))
    assert float(learner.optimizer.learning_rate) == 0.125
    old = [variable.numpy() for variable in learner.trainable_variables]
    assert moved_by_ones(learner, 1)[0] > 0.0
    for variable, before in zip(learner.trainable_variables, old):
        variable.assign(before)


COSINE = [0.05 * (1.0 + math.cos(math.pi * update / 4.0)) for update in range(3)]


@pytest.mark.parametrize(
    ("name", "bindings", "expected"),
    [
        ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 4}, COSINE),
        ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4}, COSINE),
        (
            "ExponentialDecay",
            {"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.5},
            [0.1, 0.05, 0.025],
        ),
        ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 1.0}, [0.1, 0.05, 0.1 / 3]),
        ("PiecewiseConstantDecay", {"boundaries": [1], "values": [0.1, 0.02]}, [0.1, 0.1, 0.02]),
        (
            "PolynomialDecay",
            {"initial_learning_rate": 0.1, "decay_steps": 4, "end_learning_rate": 0.0},
            [0.1, 0.075, 0.05],
        ),
    ],
)
def test_every_keras_schedule_can_be_bound_and_acts(make_learner, name, bindings, expected):
    gin_config.parse(
        [],
        [
            "recsys_po_rl.PolicyGradientLearner.optimizer = @tf.keras.optimizers.SGD",
            f"tf.keras.optimizers.SGD.learning_rate = @tf.keras.optimizers.schedules.{name}()",
            *(f"tf.keras.optimizers.schedules.{name}.{key} = {given!r}" for key, given in bindings.items()),
        ],
    )
    learner = make_learner()
    np.testing.assert_allclose(moved_by_ones(learner, 3), expected, rtol=1e-3)


def test_algorithm_critic_and_schedules_can_be_bound(make_learner):
    import recsys_po_rl.experiment  # noqa: F401  (the file binds it too)

    gin_config.parse(["training/ppo.gin"], [])
    learner = make_learner()
    assert isinstance(learner._algorithm, algorithms.ProximalPolicyOptimization)
    assert learner.num_minibatches == 4
    assert isinstance(learner.critic, LearnedValue)
    assert isinstance(learner._learning_rate_schedule, schedules.Linear)
    assert isinstance(learner._entropy_schedule, schedules.Linear)
    assert learner._population_baseline is not None
    np.testing.assert_allclose(
        learner._population_baseline(REWARDS), advantages_lib.minus_population_mean(REWARDS), rtol=1e-6
    )


# Cores.

TRAINING = """
import functools, hashlib, sys
import recsys_po_rl.experiment
import tensorflow as tf
tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
from recsys_po_rl import gin_config
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import loop
from recsys_po_rl.training.learner import PolicyGradientLearner
gin_config.parse(["training/ppo.gin", "scorer/averaged_history.gin"], [])
tf.keras.utils.set_random_seed(1)
network = create_interest_evolution_simulation_network(num_users=125, num_topics=10, corpus_seed=1)
learner = PolicyGradientLearner(network, 20, runtime_ctor=functools.partial(SeededRuntime, mode="xla"))
for step in (1, 2):
    result = learner.step(loop.keys_of_step(0, step, 8), step / 4)
variables = (*network.trainable_variables, *learner.critic.variables)
print(hashlib.sha256(b"".join(variable.numpy().tobytes() for variable in variables)).hexdigest())
"""


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_cores(fresh_python):
    # On some processors Eigen splits the sums of a product from four threads on, and their last digits differ.
    runs = [fresh_python("-c", TRAINING, threads) for threads in ("1", "2")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    assert len(runs[0].stdout.strip()) == 64
    assert runs[0].stdout == runs[1].stdout
