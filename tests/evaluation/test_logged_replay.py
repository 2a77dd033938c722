"""Replay of logged histories: propensities equal those of the rollout, for every kind of recommender."""

import functools

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation.logged_replay import HistoryReplay, LoggedHistories
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.recommender import CollabFilteringRecommender, FullInformationRecommender
from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel
from recsys_po_rl.scoring.gru import GRUModel
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training.replay import SlateReplay

USERS, STEPS, DOCS, SLOTS = 5, 4, 7, 2


@functools.cache
def network_of(recommender_ctor, **options):
    tf.keras.utils.set_random_seed(3)
    network = create_interest_evolution_simulation_network(
        num_users=USERS, num_topics=3, num_docs=DOCS, slate_size=SLOTS, history_length=3, corpus_seed=1,
        recommender_ctor=recommender_ctor, **options,
    )  # fmt: skip
    for weight in network.trainable_variables:
        weight.assign(weight + 0.5 * tf.random.stateless_normal(weight.shape, (1, 2)))
    return network, SeededRuntime(network.variables, mode="eager")


def rolled_out(runtime, more=()):
    record = {
        fields.SLATE_DOCS: [fields.DOC_ID, fields.DOC_RANKS],
        fields.USER_RESPONSE: [fields.CHOICE, fields.CONSUMED_TIME],
    }
    for name, names in dict(more).items():
        record[name] = sorted({*record.get(name, ()), *names})
    return runtime.trajectory(STEPS, keys=seeding.make_keys(0), record=record)


def histories_of(trajectory):
    slate, response = trajectory[fields.SLATE_DOCS], trajectory[fields.USER_RESPONSE]
    choices, times = (response.get(name).numpy().T for name in (fields.CHOICE, fields.CONSUMED_TIME))
    return LoggedHistories(slate.get(fields.DOC_ID).numpy().swapaxes(0, 1), choices, np.maximum(times, 0.0))


LEARNED = {
    "with a memory": functools.partial(
        CollabFilteringRecommender,
        model_ctor=functools.partial(AveragedHistoryModel, memory=("slates", "step")),
    ),
    "recurrent": functools.partial(CollabFilteringRecommender, model_ctor=GRUModel),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_propensities_equal_the_learners_replay(name):
    network, runtime = network_of(LEARNED[name])
    learner = SlateReplay(network.variables, runtime)
    trajectory = rolled_out(runtime, learner.record)
    expected = learner.log_probs(learner.recorded({key: value.as_dict for key, value in trajectory.items()}), STEPS)
    replayed = HistoryReplay(network, runtime).replay(histories_of(trajectory))
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(replayed.log_propensities, expected.numpy().T, atol=1e-4)
    np.testing.assert_allclose(replayed.log_prefix_propensities[..., -1], replayed.log_propensities)


@pytest.mark.slow
def test_users_of_any_number_are_replayed_in_batches():
    network, runtime = network_of(LEARNED["with a memory"])
    replay = HistoryReplay(network, runtime, num_samples=2)
    histories = histories_of(rolled_out(runtime))
    whole = replay.replay(histories, seed=1)
    assert whole.sampled_slates.shape == (2, USERS, STEPS, SLOTS)
    twice = replay.replay(LoggedHistories(*(np.concatenate([field, field[:2]]) for field in histories)), seed=1)
    np.testing.assert_allclose(twice.log_propensities[:USERS], whole.log_propensities)
    np.testing.assert_allclose(twice.log_item_propensities[:USERS], whole.log_item_propensities)
    np.testing.assert_allclose(twice.log_propensities[USERS:], whole.log_propensities[:2])
    np.testing.assert_array_equal(twice.sampled_slates[:, :USERS], whole.sampled_slates)
    assert (replay.replay(histories, seed=2).sampled_slates != whole.sampled_slates).any()
    assert set(np.unique(whole.sampled_slates)) <= set(range(1, DOCS + 1))


def test_a_uniform_policy_has_equal_propensities():
    network, runtime = network_of(UniformRandomRecommender)
    replayed = HistoryReplay(network, runtime).replay(histories_of(rolled_out(runtime)))
    np.testing.assert_allclose(np.exp(replayed.log_propensities), 1.0 / (DOCS * (DOCS - 1)), rtol=1e-5)
    np.testing.assert_allclose(np.exp(replayed.log_item_propensities), 1.0 / DOCS, rtol=1e-5)


def test_a_deterministic_policy_has_propensities_of_0_and_1():
    network, runtime = network_of(functools.partial(FixedSlateRecommender, doc_ids=[4, 2]))
    replay = HistoryReplay(network, runtime, num_samples=1)
    slates = np.array([[[4, 2], [2, 4]], [[4, 1], [4, 2]]], np.int32)
    histories = LoggedHistories(slates, np.full((2, 2), SLOTS, np.int32), np.zeros((2, 2), np.float32))
    replayed = replay.replay(histories)
    np.testing.assert_array_equal(replayed.log_propensities, [[0.0, -np.inf], [-np.inf, 0.0]])
    np.testing.assert_array_equal(replayed.sampled_slates, np.broadcast_to([4, 2], (1, 2, 2, 2)))


def test_what_a_log_does_not_have_is_refused():
    network, runtime = network_of(FullInformationRecommender, full_information=True)
    with pytest.raises(validation.InvalidInputError, match="read 'interest' of 'user observation', which a log does"):
        HistoryReplay(network, runtime)
    network, runtime = network_of(UniformRandomRecommender)
    replay = HistoryReplay(network, runtime)
    histories = histories_of(rolled_out(runtime))
    unknown = histories.slates.copy()
    unknown[1, 2, 0] = 99
    with pytest.raises(validation.InvalidInputError, match="the document 99, which the policy's corpus of 7"):
        replay.replay(histories._replace(slates=unknown))
    with pytest.raises(validation.InvalidInputError, match="slates of 1 documents, and the policy shows 2"):
        replay.replay(histories._replace(slates=unknown[..., :1]))


def test_documents_that_change_are_refused():
    network, runtime = network_of(UniformRandomRecommender, freeze_corpus=False)
    with pytest.raises(validation.InvalidInputError, match="the documents of CorpusWithTopicAndQuality can change"):
        HistoryReplay(network, runtime)


def test_a_state_that_draws_at_random_is_refused():
    class Forgetful(UniformRandomRecommender):
        def next_state(self, previous_state, user_response, slate_docs):
            state = super().next_state(previous_state, user_response, slate_docs).as_dict
            noise = ed.Normal(loc=tf.zeros_like(state[fields.CTIME_HISTORY]), scale=1.0)
            return Value(**{**state, fields.CTIME_HISTORY: state[fields.CTIME_HISTORY] + noise})

    network, runtime = network_of(Forgetful)
    with pytest.raises(validation.InvalidInputError, match="on a log: the recommender's state draws at random"):
        HistoryReplay(network, runtime)
