"""The learned value: where it starts, what it is fitted to, what it sees."""

import functools
import types

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, fields, gin_config, recommender, scoring
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import advantages as advantages_lib
from recsys_po_rl.training import critic as critic_lib
from recsys_po_rl.training.critic import CriticBatch, LearnedValue
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, K, S, H, E, T = 6, 10, 4, 2, 3, 5, 7


def make_network(model_ctor=scoring.CollabFilteringModel, **options):
    tf.keras.utils.set_random_seed(1)
    defaults = dict(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=functools.partial(
            recommender.CollabFilteringRecommender, model_ctor=model_ctor, doc_embed_dim=E
        ),
    )  # fmt: skip
    return create_interest_evolution_simulation_network(**{**defaults, **options})


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def runtime(network):
    return SeededRuntime(network.variables, mode="eager")


@pytest.fixture(scope="module")
def trajectory(runtime):
    return {name: of.as_dict for name, of in runtime.trajectory(T + 1, keys=seeding.make_keys(2)).items()}


def sgd():
    return tf.keras.optimizers.SGD(1.0)


def some_batch(critic, seed=0, users=U):
    size = critic._mean.shape[0]
    random = np.random.default_rng(seed)
    inputs = random.normal(0.5, 2.0, (T, users, size)).astype(np.float32)
    returns = random.normal(3.0, 2.0, (T, users)).astype(np.float32)
    return CriticBatch(tf.constant(inputs), tf.constant(returns))


def randomise(critic, seed=0):
    random = np.random.default_rng(seed)
    for weight in critic.weights:
        weight.assign(random.normal(0.0, 0.5, weight.shape))


def value_oracle(critic, inputs):
    """float64 [T, U], as the class's docstring says it."""
    first, bias, second, shift = (weight.numpy().astype(np.float64) for weight in critic.weights)
    scaled = (inputs - critic._mean.numpy()) / np.sqrt(critic._variance.numpy() + 1e-6)
    per_step = 0.5 + np.tanh(scaled @ first + bias) @ second[:, 0] + shift[0]
    return np.arange(T, 0, -1)[:, np.newaxis] * per_step


def loss_oracle(critic, batch):
    remaining = np.arange(T, 0, -1)[:, np.newaxis]
    errors = value_oracle(critic, batch.inputs.numpy().astype(np.float64)) / remaining - batch.returns / remaining
    return (remaining * np.square(errors)).mean() / remaining.mean()


@pytest.mark.slow
def test_it_starts_at_half_a_unit_for_each_step_that_is_left(runtime):
    critic = LearnedValue(T, runtime)
    values = critic.values(some_batch(critic).inputs)
    np.testing.assert_array_equal(values, np.repeat([[3.5], [3.0], [2.5], [2.0], [1.5], [1.0], [0.5]], U, axis=1))


@pytest.mark.slow
def test_a_value_is_what_the_docstring_says(runtime):
    critic = LearnedValue(T, runtime, hidden_units=9)
    randomise(critic)
    batch = some_batch(critic)
    critic.observe([batch.inputs])
    np.testing.assert_allclose(critic.values(batch.inputs), value_oracle(critic, batch.inputs.numpy()), rtol=1e-4)


def test_the_first_update_worked_by_hand(runtime):
    critic = LearnedValue(2, runtime, hidden_units=1, optimizer=sgd, max_gradient_norm=1e9)
    size = critic._mean.shape[0]
    inputs = np.zeros((2, 1, size), np.float32)
    inputs[:, 0, 0] = [1.0, -2.0]
    critic.weights[0].assign(np.eye(size, 1))  # the hidden unit is tanh of the first input
    critic.update([CriticBatch(tf.constant(inputs), tf.constant([[3.0], [0.0]]))])
    # Targets 3 / 2 and 0 / 1 per step, errors 0.5 - 1.5 = -1 and 0.5; weights 2 and 1, over their sum 3. Gradient of
    # the output's bias 2 (2 * -1 + 1 * 0.5) / 3 = -1; of its kernel 2 (2 * -1 * tanh(1) + 0.5 * tanh(-2)) / 3.
    tanh = np.tanh([1.0, -2.0])
    np.testing.assert_allclose(critic.weights[3], [1.0], rtol=1e-5)
    np.testing.assert_allclose(critic.weights[2], [[-2 * (-2 * tanh[0] + 0.5 * tanh[1]) / 3]], rtol=1e-4)
    np.testing.assert_array_equal(critic.weights[0], np.eye(size, 1))  # nothing flows through a kernel of zeros


def test_an_update_follows_the_losss_gradient(runtime):
    """Against finite differences of the loss written in NumPy, on shards of unequal content."""
    critic = LearnedValue(T, runtime, hidden_units=3, optimizer=sgd, max_gradient_norm=1e9)
    randomise(critic)
    batches = [some_batch(critic, seed) for seed in (1, 2)]
    critic.observe([batch.inputs for batch in batches])
    whole = CriticBatch(*(tf.concat(parts, axis=1) for parts in zip(*batches)))
    before = [weight.numpy() for weight in critic.weights]
    slopes = []
    for weight, old in zip(critic.weights, before):
        slope = np.zeros(old.shape)
        for place in np.ndindex(*old.shape):
            ends = []
            for move in (1e-3, -1e-3):
                moved = old.copy()
                moved[place] += move
                weight.assign(moved)
                ends.append((loss_oracle(critic, whole), weight.numpy()[place]))
            slope[place] = (ends[0][0] - ends[1][0]) / float(ends[0][1] - ends[1][1])
        weight.assign(old)
        slopes.append(slope)
    norm = critic.update(batches)
    for weight, old, slope in zip(critic.weights, before, slopes):
        np.testing.assert_allclose(old - weight.numpy(), slope, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm, np.sqrt(sum((slope**2).sum() for slope in slopes)), rtol=1e-3)


def test_its_gradient_is_clipped_and_the_norm_reported_as_it_was(runtime):
    moves, norms = [], []
    for limit in (1e9, 1e-2):
        critic = LearnedValue(T, runtime, optimizer=sgd, max_gradient_norm=limit)
        before = [weight.numpy() for weight in critic.weights]
        norms.append(float(critic.update([some_batch(critic)])))
        moves.append(np.sqrt(sum(((weight - old) ** 2).numpy().sum() for weight, old in zip(critic.weights, before))))
    assert moves[0] == pytest.approx(norms[0], rel=1e-4)
    assert norms[0] > 0.1
    assert moves[1] == pytest.approx(1e-2, rel=1e-3)


def test_what_is_not_finite_changes_nothing(runtime):
    critic = LearnedValue(T, runtime)
    randomise(critic)
    critic.observe([some_batch(critic).inputs])
    before = [variable.numpy() for variable in critic.variables]
    batch = some_batch(critic, seed=1)
    poisoned = tf.where(batch.inputs == batch.inputs[0, 0, 0], np.nan, batch.inputs)
    critic.observe([poisoned])
    assert np.isnan(critic.update([CriticBatch(poisoned, batch.returns)]))
    for variable, old in zip(critic.variables, before):
        np.testing.assert_array_equal(variable, old, err_msg=variable.name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_a_known_value(runtime, seed):
    """Users who bring, each step, the sigmoid of one input, with noise."""
    tf.keras.utils.set_random_seed(seed)
    critic = LearnedValue(T, runtime, optimizer=lambda: tf.keras.optimizers.Adam(0.02))
    random = np.random.default_rng(seed)
    size, users = critic._mean.shape[0], 64
    update = tf.function(lambda inputs, returns: critic.update([CriticBatch(inputs, returns)]))

    def population():
        inputs = random.normal(3.0, 5.0, (T, users, size)).astype(np.float32)
        rate = 1.0 / (1.0 + np.exp(-(inputs[..., 0] - 3.0) / 5.0))
        return tf.constant(inputs), np.arange(T, 0, -1)[:, np.newaxis] * rate

    for _ in range(200):
        inputs, true = population()
        critic.observe([inputs])
        update(inputs, tf.constant(true + random.normal(0.0, 0.3, true.shape), tf.float32))
    inputs, true = population()
    values = critic.values(inputs)
    assert float(advantages_lib.explained_variance(values, tf.constant(true, tf.float32))) > 0.97
    assert abs(float(tf.reduce_mean(values)) - true.mean()) < 0.1


def test_running_statistics_forget_slowly(runtime):
    critic = LearnedValue(T, runtime)
    one, two = some_batch(critic, 1).inputs, 3.0 * some_batch(critic, 2, users=4).inputs
    first = np.concatenate([one, two], axis=1).reshape(-1, one.shape[-1])
    critic.observe([one, two])
    np.testing.assert_allclose(critic._mean, first.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(critic._variance, first.var(axis=0), rtol=1e-4)
    critic.observe([two])
    # Weights 0.95 * 0.05 and 0.05 of the two looks, over their sum.
    second = two.numpy().reshape(-1, one.shape[-1])
    for found, old, new in (
        (critic._mean, first.mean(axis=0), second.mean(axis=0)),
        (critic._variance, first.var(axis=0), second.var(axis=0)),
    ):
        np.testing.assert_allclose(found, (0.95 * old + new) / 1.95, rtol=1e-4, atol=1e-5)


# What it sees.


@pytest.mark.slow
def test_it_sees_the_histories_that_the_law_reads_the_interest_and_the_time(runtime, trajectory):
    critic = LearnedValue(T, runtime)
    assert critic.record == {
        fields.RECOMMENDER_STATE: [fields.CTIME_HISTORY], fields.USER_STATE: [fields.INTEREST],
    }  # fmt: skip
    inputs = critic.inputs(trajectory).numpy()
    assert inputs.shape == (T, U, H + K + 1)
    np.testing.assert_array_equal(inputs[..., :H], trajectory[fields.RECOMMENDER_STATE][fields.CTIME_HISTORY][:T])
    np.testing.assert_array_equal(inputs[..., H : H + K], trajectory[fields.USER_STATE][fields.INTEREST][:T])
    np.testing.assert_allclose(inputs[..., -1], np.repeat(np.arange(T, 0, -1)[:, np.newaxis] / T, U, axis=1))


@pytest.mark.slow
def test_with_sees_interest_false_no_interest_is_recorded(runtime, trajectory):
    critic = LearnedValue(T, runtime, sees_interest=False)
    assert critic.record == {fields.RECOMMENDER_STATE: [fields.CTIME_HISTORY]}
    only = {name: {field: trajectory[name][field] for field in names} for name, names in critic.record.items()}
    assert critic.inputs(only).shape == (T, U, H + 1)


def test_a_learner_records_what_its_critic_sees(network, runtime):
    for sees_interest in (True, False):
        critic = functools.partial(LearnedValue, sees_interest=sees_interest)
        learner = PolicyGradientLearner(network, T, critic=critic, runtime_ctor=lambda variables: runtime)
        assert (fields.USER_STATE in learner._record) == sees_interest


@pytest.mark.slow
def test_of_a_carried_state_it_sees_the_scorers_numbers():
    runtime = SeededRuntime(make_network(scoring.AveragedHistoryModel).variables, mode="eager")
    critic = LearnedValue(T, runtime)
    names = critic.record[fields.RECOMMENDER_STATE]
    assert names
    assert all(name.startswith(fields.SCORER_STATE) for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("sees_interest", [True, False])
def test_what_users_show_to_the_recommender_is_seen_once(sees_interest):
    network = make_network(recommender_ctor=recommender.FullInformationRecommender, full_information=True)
    runtime = SeededRuntime(network.variables, mode="eager")
    critic = LearnedValue(T, runtime, sees_interest=sees_interest)
    trajectory = {name: of.as_dict for name, of in runtime.trajectory(T, keys=seeding.make_keys(2)).items()}
    inputs = critic.inputs(trajectory)
    assert inputs.shape == (T, U, K + 1)
    np.testing.assert_array_equal(inputs[..., :K], trajectory[fields.USER_STATE][fields.INTEREST])


def flows_of(user_fields):
    """A runtime whose law of the slate reads nothing but whole numbers."""
    flows = {
        fields.SLATE_DOCS: types.SimpleNamespace(
            field_specs={fields.DOC_RANKS: tf.TensorSpec((U, S), tf.int32)},
            draw_reads={fields.RECOMMENDER_STATE: [fields.STEP]},
        ),
        fields.RECOMMENDER_STATE: types.SimpleNamespace(field_specs={fields.STEP: tf.TensorSpec((U,), tf.int32)}),
        fields.USER_STATE: types.SimpleNamespace(field_specs=user_fields),
    }
    return types.SimpleNamespace(flow=flows.__getitem__)


def test_users_without_an_interest_are_refused_unless_it_is_not_asked_for():
    runtime = flows_of({"mood": tf.TensorSpec((U, 2), tf.float32)})
    with pytest.raises(validation.InvalidInputError) as error:
        LearnedValue(T, runtime)
    assert (
        gin_config.first_line(error.value)
        == "LearnedValue: users have no field interest.state: set sees_interest = False"
    )
    critic = LearnedValue(T, runtime, sees_interest=False)  # the time is all there is
    assert critic.inputs({}).shape == (T, U, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be an integer of at least 1, got 0"),
        ({"hidden_units": 0}, "LearnedValue: hidden_units must be an integer of at least 1, got 0"),
        ({"sees_interest": 1}, "LearnedValue: sees_interest must be True or False, got 1"),
        ({"max_gradient_norm": 0.0}, "LearnedValue: max_gradient_norm must be a finite number above 0, got 0.0"),
        ({"optimizer": "adam"}, "LearnedValue: optimizer must be a constructor"),
    ],
)
def test_errors_name_the_argument(runtime, options, message):
    with pytest.raises(validation.InvalidInputError) as error:
        LearnedValue(**{"horizon": T, "runtime": runtime, **options})
    assert str(error.value).startswith(message)


def test_its_default_optimizer_is_adam_at_the_stated_rate(runtime):
    optimizer = LearnedValue(T, runtime).optimizer
    assert isinstance(optimizer, tf.keras.optimizers.Adam)
    assert float(optimizer.learning_rate) == pytest.approx(critic_lib.LEARNING_RATE)
