"""One training step: what it records, what it differentiates, what it refuses."""

import functools
import itertools

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, fields, recommender
from recsys_po_rl.common import validation
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import loop, losses
from recsys_po_rl.training.callbacks import Callback
from recsys_po_rl.training.learner import PolicyGradientLearner, Rollout, StepResult
from recsys_po_rl.training.replay import Recording, SlateReplay

U, D, K, S, H, T = 7, 10, 4, 2, 3, 5


def make_network(**options):
    tf.keras.utils.set_random_seed(1)
    defaults = dict(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
    )  # fmt: skip
    return create_interest_evolution_simulation_network(**{**defaults, **options})


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def learner(network):
    return PolicyGradientLearner(network, T, tf.keras.optimizers.SGD)


@pytest.fixture(scope="module")
def rollout(learner):
    return learner.rollout(seeding.make_keys(3, "training", 1))


@pytest.mark.slow
def test_a_rollout_counts_all_responses_and_carries_no_more_than_needed(network, learner, rollout):
    assert rollout.rewards.shape == (T, U)
    assert [list(recorded) for recorded in rollout.recording.inputs] == [
        [fields.CTIME_HISTORY, fields.DOC_HISTORY], [], [fields.DOC_ID],
    ]  # fmt: skip
    assert [drawn.shape for drawn in rollout.recording.draws] == [(T + 1, U, S)]
    whole = SeededRuntime(network.variables).trajectory(T, keys=seeding.make_keys(3, "training", 1))
    times = whole[fields.USER_RESPONSE].get(fields.CONSUMED_TIME)
    np.testing.assert_allclose(rollout.rewards, np.maximum(times, 0.0), rtol=1e-6)


@pytest.mark.slow
def test_replayed_log_probabilities_are_those_of_the_recommender(network, learner, rollout):
    log_prob, entropy = learner._replay.log_prob_and_entropy(
        [{name: field[2] for name, field in recorded.items()} for recorded in rollout.recording.inputs],
        [rollout.recording.draws[0][2]],
    )
    histories, _, available = rollout.recording.inputs
    scores = network.recommender.model(histories[fields.DOC_HISTORY][2], histories[fields.CTIME_HISTORY][2]).numpy()
    assert available[fields.DOC_ID][2].numpy().tolist() == list(range(1, D + 1))
    for user, ranks in enumerate(rollout.recording.draws[0][2].numpy()):
        mass = np.exp(scores[user].astype(np.float64))
        first = mass[ranks[0]] / mass.sum()
        second = mass[ranks[1]] / np.delete(mass, ranks[0]).sum()
        np.testing.assert_allclose(log_prob[user], np.log(first * second), rtol=1e-4, atol=1e-4)
        probs = mass / mass.sum()
        np.testing.assert_allclose(entropy[user], -(probs * np.log(probs)).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_gradient_is_that_of_the_loss_written_in_one_piece(network, learner, rollout):
    advantages = learner.advantages(rollout.rewards)
    found, statistics = learner.gradients([rollout], [advantages])
    entropy = statistics[0] / T
    with tf.GradientTape() as tape:
        log_probs, entropies = [], []
        for step in range(T):
            inputs = [{name: field[step] for name, field in recorded.items()} for recorded in rollout.recording.inputs]
            log_prob, at_step = learner._replay.log_prob_and_entropy(inputs, [rollout.recording.draws[0][step]])
            log_probs.append(log_prob)
            entropies.append(at_step)
        loss = losses.reinforce_loss(tf.stack(log_probs), advantages)
    expected = tape.gradient(loss, network.trainable_variables)
    np.testing.assert_allclose(entropy, tf.reduce_mean(tf.stack(entropies)), rtol=1e-5)
    for own, theirs in zip(found, expected, strict=True):
        theirs = tf.convert_to_tensor(theirs).numpy()
        assert np.abs(theirs).max() > 0.0
        np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.slow
def test_advantages_are_whitened_rewards_to_go_against_the_population(learner, rollout):
    rewards = rollout.rewards.numpy().astype(np.float64)
    to_go = rewards[::-1].cumsum(axis=0)[::-1]
    expected = to_go - to_go.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(learner.advantages(rollout.rewards), expected / expected.std(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_entropy_bonus_raises_entropy():
    network = make_network()
    learner = PolicyGradientLearner(network, T, lambda: tf.keras.optimizers.Adam(0.01), entropy_bonus=100.0)
    entropies = [float(learner.step([seeding.make_keys(0, "training", step)]).entropy) for step in range(15)]
    assert entropies[-1] > entropies[0] + 0.2


@pytest.mark.slow
def test_the_gradient_norm_is_clipped():
    steps = {}
    for limit in (None, 1e-3):
        network = make_network()
        before = [var.numpy() for var in network.trainable_variables]
        learner = PolicyGradientLearner(network, T, lambda: tf.keras.optimizers.SGD(1.0), max_gradient_norm=limit)
        norm = float(learner.step([seeding.make_keys(0)]).gradient_norm)
        moved = [var.numpy() - old for var, old in zip(network.trainable_variables, before)]
        steps[limit] = np.sqrt(sum((move**2).sum() for move in moved)), norm
    np.testing.assert_allclose(steps[None][0], steps[None][1], rtol=1e-3)
    np.testing.assert_allclose(steps[1e-3][0], 1e-3, rtol=1e-2)
    np.testing.assert_allclose(steps[1e-3][1], steps[None][1], rtol=1e-5)  # reported before clipping


@pytest.mark.slow
def test_equal_seeds_train_to_equal_weights():
    weights = []
    for _ in range(2):
        network = make_network()
        learner = PolicyGradientLearner(network, T)
        rows = loop.train(learner, seed=4, num_steps=3, users_per_step=U, horizon=T, callback=Callback())
        weights.append([var.numpy() for var in network.trainable_variables])
        assert [row.step for row in rows] == [1, 2, 3]
        assert rows[-1].user_steps == 3 * U * T
    for one, two in zip(*weights):
        np.testing.assert_array_equal(one, two)


def test_a_gradient_that_is_not_finite_is_in_its_row_and_stops_nothing():
    class Broken:
        def step(self, keys, progress):
            del keys, progress
            return StepResult(tf.constant(1.0), tf.constant(float("nan")), tf.constant(1.0))

    rows = loop.train(Broken(), seed=0, num_steps=2, users_per_step=U, horizon=T, callback=Callback())
    assert [row.step for row in rows] == [1, 2]
    assert all(np.isnan(row.gradient_norm) for row in rows)


class HiddenDraw(recommender.HistoryRecommender):
    """Draws a coin that no field shows."""

    def __init__(self, config):
        super().__init__(config)
        self._weight = tf.Variable(0.0)

    def slate_ranks(self, previous_state, user_obs, available_docs):
        coin = ed.Bernoulli(probs=0.5)
        logits = tf.zeros((U, D)) + self._weight * tf.cast(coin, tf.float32)
        return recommender.top_k_plackett_luce(logits=logits, slate_size=S)


class Certain(HiddenDraw):
    def slate_ranks(self, previous_state, user_obs, available_docs):
        return tf.zeros((U, S), tf.int32) + tf.range(S)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recommender_ctor", "message"),
    [
        (UniformRandomRecommender, "UniformRandomRecommender has no trainable variables"),
        (HiddenDraw, "'slate docs' draws a random variable that is not one of its fields"),
        (Certain, "'slate docs' draws no Edward2 random variable"),
    ],
)
def test_a_recommender_that_cannot_learn_is_refused(recommender_ctor, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        PolicyGradientLearner(make_network(recommender_ctor=recommender_ctor), T)


@pytest.mark.slow
def test_a_slate_that_depends_on_a_previous_value_is_refused(network):
    import dataclasses

    variables = {var.name: var for var in make_network().variables}
    slate = variables[fields.SLATE_DOCS]
    slate.value = dataclasses.replace(
        slate.value,
        dependencies=(
            variables[fields.RECOMMENDER_STATE].previous, *slate.value.dependencies[1:]
        ),
    )  # fmt: skip
    with pytest.raises(validation.InvalidInputError, match="'slate docs' must depend on current values only"):
        SlateReplay(list(variables.values()), SeededRuntime(list(variables.values())))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be an integer of at least 1"),
        ({"discount": -0.1}, "discount must be a finite number of at least 0"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm must be a finite number above 0"),
        ({"entropy_bonus": float("nan")}, "entropy_bonus must be a finite number"),
        ({"optimizer": "adam"}, "optimizer must be a constructor"),
        ({"runtime_ctor": 1}, "runtime_ctor must be a constructor"),
    ],
)
def test_errors_name_the_argument(network, options, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        PolicyGradientLearner(network, **{"horizon": T, **options})


@pytest.mark.slow
def test_values_of_fields_that_the_law_does_not_read_are_not_recorded(learner):
    assert learner._replay.record == {
        fields.RECOMMENDER_STATE: [fields.CTIME_HISTORY, fields.DOC_HISTORY],
        fields.AVAILABLE_DOCS: [fields.DOC_ID],
        fields.SLATE_DOCS: [fields.DOC_RANKS],
    }


def others(advantages):
    """Arguments of the loss: advantages, old log-probabilities, entropy bonus."""
    return [advantages, tf.zeros_like(advantages), tf.zeros_like(advantages)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_shards_side_by_side_give_the_gradient_of_shards_one_after_another(mode):
    network = make_network()
    learner = PolicyGradientLearner(
        network, T, tf.keras.optimizers.SGD, runtime_ctor=functools.partial(SeededRuntime, mode=mode)
    )
    rollouts = [learner.rollout(seeding.make_keys(3, batch=shard)) for shard in range(2)]
    advantages = [tf.random.stateless_normal((T, U), (1, shard)) for shard in range(2)]
    together = tf.function(lambda: learner.gradients(rollouts, advantages), autograph=False)()
    alone = [
        learner._gradient([rollout.recording], [others(of_shard)], programs=1)
        for rollout, of_shard in zip(rollouts, advantages)
    ]
    for found, one, two in zip(together.gradients, alone[0].gradients, alone[1].gradients, strict=True):
        # Not to the last digit: what depends on weights alone is differentiated once, for the sum of both.
        np.testing.assert_allclose(found, (one + two) * 0.5, rtol=1e-5, atol=1e-6 * np.abs(found).max())


@pytest.mark.slow
def test_halves_of_the_steps_add_up_to_the_whole(learner, rollout):
    assert T % 2 == 1  # halves of unequal length
    advantages = learner.advantages(rollout.rewards)
    whole = learner._gradient([rollout.recording], [others(advantages)], programs=1)
    for found, expected in zip(learner.gradients([rollout], [advantages]).gradients, whole.gradients, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.slow
def test_an_update_with_a_nan_is_left_out_and_the_variable_is_named():
    network = make_network()
    learner = PolicyGradientLearner(network, T)
    poisoned = network.trainable_variables[1]
    poisoned.assign(tf.where(tf.range(D + 1)[:, tf.newaxis] == 3, np.nan, poisoned))
    before = [variable.numpy() for variable in network.trainable_variables]
    with pytest.raises(FloatingPointError, match="'slate docs'"):
        learner.step([seeding.make_keys(0)])
    for variable, old in zip(network.trainable_variables, before):
        np.testing.assert_array_equal(variable, old)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_gradient_is_that_of_the_exact_expectation_over_all_slates(mode, scale):
    """Two steps, every slate of two out of four enumerated as a user; at scale 40 it is nearly deterministic."""
    all_slates = np.array(list(itertools.permutations(range(4), 2)), np.int32)
    users = len(all_slates)
    network = make_network(num_users=users, num_docs=4)
    network.trainable_variables[1].assign(scale * network.trainable_variables[1])
    random = np.random.RandomState(0)
    histories = random.randint(0, 5, (2, H)).astype(np.int32)
    times = random.uniform(0.0, 2.0, (2, H)).astype(np.float32)
    values = random.normal(size=(2, users))
    with tf.GradientTape() as tape:  # the definition, in float64, with probabilities and no log-derivative trick
        expected = 0.0
        for step in range(2):
            scores = tf.cast(
                network.recommender.model(histories[step : step + 1], times[step : step + 1])[0], tf.float64
            )
            for user, (first, second) in enumerate(all_slates):
                left = tf.constant([doc for doc in range(4) if doc != first])
                one = tf.nn.softmax(scores)[first]
                two = tf.exp(scores[second] - tf.reduce_logsumexp(tf.gather(scores, left)))
                expected += values[step, user] * one * two
    exact = [tf.convert_to_tensor(one).numpy() for one in tape.gradient(expected, network.trainable_variables)]

    learner = PolicyGradientLearner(network, 2, runtime_ctor=functools.partial(SeededRuntime, mode=mode))

    def repeated(of_steps):
        return tf.constant(np.repeat(of_steps[:, np.newaxis], users, axis=1))

    recording = Recording(
        inputs=(
            {fields.CTIME_HISTORY: repeated(times), fields.DOC_HISTORY: repeated(histories)},
            {},
            {fields.DOC_ID: tf.constant([[1, 2, 3, 4]] * 2)},
        ),
        draws=(tf.constant(np.stack([all_slates] * 2)),),
        transitions=(),
    )
    log_probs = [
        learner._replay.log_prob_and_entropy(
            [{name: field[step] for name, field in part.items()} for part in recording.inputs], [all_slates]
        )[0].numpy().astype(np.float64)
        for step in range(2)
    ]  # fmt: skip
    weights = tf.constant(np.exp(log_probs) * values * users, tf.float32)
    rollout = Rollout(weights, recording, tf.constant([-1]))
    found = learner.gradients([rollout], [weights]).gradients
    for own, theirs, variable in zip(found, exact, network.trainable_variables, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(-own, theirs, rtol=1e-4, atol=1e-4 * scale + 1e-7, err_msg=variable.name)
    assert max(np.abs(theirs).max() for theirs in exact) > 1e-3
