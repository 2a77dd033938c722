"""Log-probabilities of recorded slates: against those of a network that is run beside, after weights have moved."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, recommender, scoring
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training.replay import SlateReplay

U, D, K, S, H, E, T = 4, 7, 3, 2, 3, 5, 6

RECOMMENDERS = {
    "flat": (recommender.CollabFilteringRecommender, scoring.CollabFilteringModel, False),
    "gru": (recommender.CollabFilteringRecommender, scoring.GRUModel, False),
    "gru with memory": (
        recommender.CollabFilteringRecommender,
        functools.partial(scoring.GRUModel, memory=["slates", "step"]),
        False,
    ),
    "averaged with memory": (
        recommender.CollabFilteringRecommender,
        functools.partial(scoring.AveragedHistoryModel, memory=["slates", "step"]),
        False,
    ),
    "full_information": (recommender.FullInformationRecommender, None, True),
}


@pytest.fixture(scope="module", params=RECOMMENDERS)
def replayed(request):
    """Network, replay, trajectory and its recording; the weights have moved since."""
    recommender_ctor, model_ctor, full_information = RECOMMENDERS[request.param]
    options = {} if model_ctor is None else {"model_ctor": model_ctor}
    tf.keras.utils.set_random_seed(1)
    network = create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus, full_information=full_information,
        recommender_ctor=functools.partial(recommender_ctor, doc_embed_dim=E, **options),
    )  # fmt: skip
    runtime = SeededRuntime(network.variables, mode="eager")
    trajectory = runtime.trajectory(T + 1, keys=seeding.make_keys(2))
    replay = SlateReplay(network.variables, runtime)
    recording = replay.recorded({name: value.as_dict for name, value in trajectory.items()})
    for variable in network.trainable_variables:
        variable.assign(1.5 * variable + 0.1 * tf.random.stateless_normal(variable.shape, (3, 4)))
    return network, replay, trajectory, recording


def by_hand(network, trajectory):
    """float64 [T, U]: the entity's scores at each step, the state carried on from recorded responses and slates."""
    entity, found = network.recommender, np.zeros((T, U))
    state = entity.initial_state().map(tf.convert_to_tensor)
    for step in range(T):

        def now(name, step=step):
            return trajectory.get(name, Value()).map(lambda field: field[step])

        with seeding.replayed_draws([now(fields.SLATE_DOCS).get(fields.DOC_RANKS)]) as drawn:
            entity.slate_docs(state, now(fields.USER_OBSERVATION), now(fields.AVAILABLE_DOCS))
        scores = drawn.random_variables[0].distribution.logits.numpy().astype(np.float64)
        for user, (first, second) in enumerate(now(fields.SLATE_DOCS).get(fields.DOC_RANKS).numpy()):
            mass = np.exp(scores[user])
            found[step, user] = np.log(mass[first] / mass.sum() * mass[second] / (mass.sum() - mass[first]))
        response = now(fields.USER_RESPONSE)
        state = entity.next_state(
            state,
            Value(choice=response.get(fields.CHOICE), consumed_time=response.get(fields.CONSUMED_TIME)),
            now(fields.SLATE_DOCS),
        ).map(tf.convert_to_tensor)
    return found


@pytest.mark.slow
def test_log_probs_are_those_of_the_entity_under_the_weights_as_they_are(replayed):
    network, replay, trajectory, recording = replayed
    found = replay.log_probs(recording, T)
    assert found.shape == (T, U)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, by_hand(network, trajectory), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [None, pytest.param(True, marks=pytest.mark.slow)])
def test_compiled_log_probs_are_the_same(replayed, jit_compile):
    _, replay, _, recording = replayed
    compiled = tf.function(lambda recording: replay.log_probs(recording, T), jit_compile=jit_compile, autograph=False)
    np.testing.assert_allclose(compiled(recording), replay.log_probs(recording, T), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_fewer_steps_are_the_first_ones(replayed):
    _, replay, _, recording = replayed
    np.testing.assert_array_equal(replay.log_probs(recording, 2), replay.log_probs(recording, T)[:2])
