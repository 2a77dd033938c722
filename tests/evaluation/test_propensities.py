"""Propensities of slates that networks showed."""

import functools

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from recsys_po_rl import fields, recommender, simulation_config
from recsys_po_rl.evaluation.propensities import SlatePropensities
from recsys_po_rl.history_recommender import HistoryRecommender
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.lin_ucb import LinUCBRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.scoring import AveragedHistoryModel, GRUModel
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

pytestmark = pytest.mark.slow  # each traces a network
NUM_USERS, NUM_DOCS, SLATE_SIZE, HORIZON = 40, 6, 2, 3


def rolled_out(recommender_ctor, num_users=NUM_USERS, slate_size=SLATE_SIZE, **options):
    network = simulation_config.create_interest_evolution_simulation_network(
        num_users=num_users,
        num_topics=3,
        num_docs=NUM_DOCS,
        slate_size=slate_size,
        history_length=4,
        corpus_seed=0,
        recommender_ctor=recommender_ctor,
        **options,
    )
    runtime = SeededRuntime(network.variables)
    propensities = SlatePropensities(network.variables, runtime)
    trajectory = runtime.trajectory(HORIZON, keys=seeding.make_keys(0), record=propensities.record)
    return network, propensities, trajectory


def ranks(trajectory):
    return trajectory[fields.SLATE_DOCS].get(fields.DOC_RANKS).numpy()


def test_uniform_random_is_exact():
    _, propensities, trajectory = rolled_out(UniformRandomRecommender, slate_size=3)
    computed = propensities.of_slates(trajectory)
    assert propensities.unknown_because is None
    np.testing.assert_allclose(computed.joint, 1 / (6 * 5 * 4), rtol=1e-14)
    np.testing.assert_allclose(computed.prefix, np.broadcast_to([1 / 6, 1 / 30, 1 / 120], (3, 40, 3)), rtol=1e-14)
    np.testing.assert_allclose(computed.item, 1 / 6, rtol=1e-14)
    assert computed.joint.dtype == computed.prefix.dtype == computed.item.dtype == np.float64


@pytest.mark.parametrize(("model", "scale"), [(AveragedHistoryModel, 0.5), (GRUModel, 3.0)])
def test_a_scorer_s_propensities_follow_from_its_scores(model, scale):
    ctor = functools.partial(recommender.CollabFilteringRecommender, model_ctor=model)
    network, propensities, _ = rolled_out(ctor)
    for weight in network.recommender.variables:  # scores far from uniform
        weight.assign(scale * tf.random.stateless_normal(weight.shape, (5, len(weight.shape))))
    runtime = SeededRuntime(network.variables)
    state = {name for name in runtime.flow(fields.RECOMMENDER_STATE).field_specs}
    record = {**propensities.record, fields.RECOMMENDER_STATE: sorted(state)}
    trajectory = runtime.trajectory(HORIZON, keys=seeding.make_keys(0), record=record)
    computed = propensities.of_slates(trajectory)
    docs = network.corpus.available_documents(network.corpus.initial_state())
    for step in range(HORIZON):
        state = trajectory[fields.RECOMMENDER_STATE].map(lambda field, step=step: field[step])
        logits = network.recommender.slate_distribution(state, docs).logits.numpy().astype(np.float64)
        mass = np.exp(logits - logits.max(axis=1, keepdims=True))
        for user, (first, second) in enumerate(ranks(trajectory)[step]):
            share = mass[user] / mass[user].sum()
            rest = [sum(share[k] for k in range(NUM_DOCS) if k != i) for i in range(NUM_DOCS)]
            expected = [share[first], share[first] * share[second] / rest[first]]
            np.testing.assert_allclose(computed.prefix[step, user], expected, rtol=1e-9)
            item = sum(share[i] * share[second] / rest[i] for i in range(NUM_DOCS) if i != second)
            np.testing.assert_allclose(computed.item[step, user], [share[first], item], rtol=1e-9)
    np.testing.assert_array_equal(computed.joint, computed.prefix[..., -1])
    assert computed.joint.min() < 1e-2


class SkewedRecommender(HistoryRecommender):
    """Recommender that prefers some documents."""

    def slate_ranks(self, previous_state, user_obs, available_docs):
        del previous_state, user_obs, available_docs
        logits = tf.tile(tf.constant([[0.0, 0.5, -0.5, 1.0, 0.2, -1.0]]), (self._num_users, 1))
        return recommender.top_k_plackett_luce(logits=logits, slate_size=self._slate_size)


def test_slates_come_as_often_as_their_propensities_say():
    num_users = 4000
    _, propensities, trajectory = rolled_out(SkewedRecommender, num_users=num_users)
    computed = propensities.of_slates(trajectory)
    shown = ranks(trajectory)[0]
    slates, counts = np.unique(shown, axis=0, return_counts=True)
    assert len(slates) == NUM_DOCS * (NUM_DOCS - 1)
    for slate, count in zip(slates, counts):
        (user, *_) = np.flatnonzero((shown == slate).all(axis=1))
        for share, probability in (
            (count / num_users, computed.joint[0, user]),
            ((shown[:, 0] == slate[0]).mean(), computed.prefix[0, user, 0]),
            ((shown[:, 1] == slate[1]).mean(), computed.item[0, user, 1]),
        ):
            assert abs(share - probability) < 4.5 * np.sqrt(probability / num_users)
    assert abs((1 / computed.joint).mean() - NUM_DOCS * (NUM_DOCS - 1)) < 1.5  # the mean of 1 / p: number of slates


@pytest.mark.parametrize(
    "ctor",
    [
        functools.partial(FixedSlateRecommender, doc_ids=[2, 5]),
        functools.partial(recommender.CollabFilteringRecommender, greedy=True),
    ],
)
def test_a_slate_that_is_determined_has_propensity_1(ctor):
    _, propensities, trajectory = rolled_out(ctor)
    computed = propensities.of_slates(trajectory)
    assert propensities.unknown_because is None
    assert (computed.joint == 1).all()
    assert (computed.prefix == 1).all()
    assert (computed.item == 1).all()
    assert computed.item.shape == (HORIZON, NUM_USERS, SLATE_SIZE)


class NoisyStateRecommender(recommender.CollabFilteringRecommender):
    """Recommender whose state draws at random."""

    def next_state(self, previous_state, user_response, slate_docs):
        state = super().next_state(previous_state, user_response, slate_docs).as_dict
        noise = tf.convert_to_tensor(ed.Normal(loc=tf.zeros((self._num_users, 1)), scale=1.0))
        return type(previous_state)(**{**state, fields.CTIME_HISTORY: state[fields.CTIME_HISTORY] + noise})


class RandomStartRecommender(recommender.CollabFilteringRecommender):
    """Recommender whose first state draws at random."""

    def initial_state(self):
        state = super().initial_state()
        noise = tf.convert_to_tensor(ed.Normal(loc=tf.zeros((self._num_users, 4)), scale=1.0))
        return type(state)(**{**state.as_dict, fields.CTIME_HISTORY: noise})


@pytest.mark.parametrize(
    ("ctor", "reason"),
    [
        (LinUCBRecommender, "other draws"),
        (NoisyStateRecommender, "state draws at random"),
        (RandomStartRecommender, "state draws at random"),
    ],
)
def test_propensities_of_hidden_draws_are_unknown(ctor, reason):
    _, propensities, trajectory = rolled_out(ctor)
    assert reason in propensities.unknown_because
    computed = propensities.of_slates(trajectory)
    for values in computed:
        assert np.isnan(values).all()
    assert computed.prefix.shape == (HORIZON, NUM_USERS, SLATE_SIZE)


class IndependentSlotsRecommender(HistoryRecommender):
    """Recommender that draws each slot by itself, so that its slates are no Plackett-Luce ranking."""

    def slate_ranks(self, previous_state, user_obs, available_docs):
        del previous_state, user_obs, available_docs
        logits = np.log(np.array([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0.1, 0.2, 0.3, 0.4]]) + 1e-30)
        return ed.Independent(
            tfp.distributions.Categorical(
                logits=tf.tile(tf.constant(logits, tf.float32)[None], (self._num_users, 1, 1))
            ),
            reinterpreted_batch_ndims=1,
        )


def test_another_distribution_has_a_joint_propensity_alone():
    _, propensities, trajectory = rolled_out(IndependentSlotsRecommender)
    computed = propensities.of_slates(trajectory)
    expected = 0.5 * np.array([0.1, 0.2, 0.3, 0.4])[ranks(trajectory)[..., 1] - 2]
    np.testing.assert_allclose(computed.joint, expected, rtol=1e-5)
    np.testing.assert_array_equal(computed.prefix[..., -1], computed.joint)
    assert np.isnan(computed.prefix[..., 0]).all()
    assert np.isnan(computed.item).all()
