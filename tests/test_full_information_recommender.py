"""A recommender that sees the interest and the time: its law, its state, its specs, what it refuses."""

import functools

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.recommender import FullInformationRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

U, D, K, S, H, E = 5, 7, 3, 2, 4, 6
CONFIG = {"num_users": U, "num_docs": D, "num_topics": K, "slate_size": S, "history_length": H}
INTEREST = np.random.RandomState(0).normal(size=(U, K)).astype(np.float32)


@pytest.fixture(scope="module")
def available():
    return corpus.reference_corpus_state(D, K, 3).map(tf.convert_to_tensor)


@pytest.fixture(scope="module")
def entity():
    tf.keras.utils.set_random_seed(1)
    made = FullInformationRecommender(CONFIG, doc_embed_dim=E)
    for weight in made.model.weights:
        weight.assign(weight + 0.3 * tf.random.stateless_normal(weight.shape, (1, 2)))
    return made


def observed(interest=INTEREST):
    return Value(**{fields.OBSERVED_INTEREST: tf.constant(interest)})


def at_step(entity, step):
    state = entity.initial_state().map(tf.convert_to_tensor).as_dict
    return Value(**{**state, fields.STEP: tf.fill((U,), step)})


def law(entity, state, interest, available):
    return entity.slate_ranks(state, observed(interest), available).distribution


def test_the_slates_law_is_plackett_luce_over_the_models_scores(entity, available):
    scores = entity.model(tf.constant(INTEREST), tf.fill((U,), 9)).numpy().astype(np.float64)
    slates = np.array([[0, 1], [6, 2], [3, 5], [4, 0], [1, 6]])
    found = law(entity, at_step(entity, 9), INTEREST, available).log_prob(slates)
    for user, (first, second) in enumerate(slates):
        mass = np.exp(scores[user])
        expected = np.log(mass[first] / mass.sum() * mass[second] / (mass.sum() - mass[first]))
        np.testing.assert_allclose(found[user], expected, rtol=1e-4, atol=1e-4)


def test_scores_belong_to_ids_whatever_the_order_of_the_pool(entity, available):
    order = np.array([4, 2, 6, 0, 5])  # five of the seven
    pool = available.map(lambda field: tf.gather(field, order))
    scores = entity.model(tf.constant(INTEREST), tf.zeros((U,), tf.int32)).numpy()[:, order]
    found = law(entity, entity.initial_state(), INTEREST, pool)
    np.testing.assert_allclose(
        tf.nn.log_softmax(found.logits), tf.nn.log_softmax(tf.constant(scores)), rtol=1e-4, atol=1e-5
    )


def test_interest_and_step_change_the_law_and_histories_do_not(entity, available):
    state = at_step(entity, 5)
    base = law(entity, state, INTEREST, available).logits.numpy()
    other = INTEREST.copy()
    other[2] += 1.0
    moved = np.abs(law(entity, state, other, available).logits - base).max(axis=1)
    assert moved[2] > 1e-2
    np.testing.assert_allclose(np.delete(moved, 2), 0.0, atol=1e-6)
    assert np.abs(law(entity, at_step(entity, 60), INTEREST, available).logits - base).max() > 1e-3
    clicked = Value(**{**state.as_dict, fields.DOC_HISTORY: tf.ones((U, H), tf.int32)})
    np.testing.assert_array_equal(law(entity, clicked, INTEREST, available).logits, base)


def test_greedy_shows_the_best_first(entity, available):
    scores = entity.model(tf.constant(INTEREST), tf.zeros((U,), tf.int32)).numpy()
    greedy = FullInformationRecommender(CONFIG, doc_embed_dim=E, greedy=True)
    greedy.model.set_weights(entity.model.get_weights())
    ranks = greedy.slate_ranks(greedy.initial_state(), observed(), available)
    assert not isinstance(ranks, ed.RandomVariable)
    np.testing.assert_array_equal(ranks, np.argsort(-scores, axis=1)[:, :S])
    greedy.greedy = False
    assert isinstance(greedy.slate_ranks(greedy.initial_state(), observed(), available), ed.RandomVariable)


def test_the_state_counts_steps_and_keeps_histories(entity):
    state = entity.initial_state().map(tf.convert_to_tensor)
    for step in range(3):
        np.testing.assert_array_equal(state.get(fields.STEP), np.full(U, step))
        docs = Value(doc_id=tf.constant([[1 + step, 2 + step]] * U))
        response = Value(choice=tf.constant([0, 1, 2, 0, 1]), consumed_time=tf.fill((U,), 0.5 + step))
        state = entity.next_state(state, response, docs).map(tf.convert_to_tensor)
    np.testing.assert_array_equal(state.get(fields.DOC_HISTORY)[:3], [[0, 1, 2, 3], [0, 2, 3, 4], [0, 0, 0, 0]])
    np.testing.assert_array_equal(state.get(fields.CTIME_HISTORY)[0], [0.0, 0.5, 1.5, 2.5])


def test_specs_contain_what_is_produced(entity, available):
    specs, state = entity.specs(), entity.initial_state()
    produced = [(specs.get("state"), state)]
    produced.append((specs.get("slate"), entity.slate_docs(state, observed(), available)))
    for spec, value in produced:
        assert set(spec.as_dict) == set(value.as_dict)
        for name, field in value.as_dict.items():
            numbers, box = tf.convert_to_tensor(field).numpy(), spec.as_dict[name].space
            assert numbers.dtype == box.dtype, name
            assert numbers.shape == box.shape, name
            assert (numbers >= box.low).all(), name
            assert (numbers <= box.high).all(), name


def test_the_model_is_made_from_topics_documents_and_embedding_size():
    calls = []

    def model_ctor(*sizes):
        calls.append(sizes)
        return lambda interest, step: calls.append((interest.shape, interest.dtype, step.shape, step.dtype))

    FullInformationRecommender(CONFIG, model_ctor=model_ctor, doc_embed_dim=9)
    assert calls == [(K, D, 9), ((U, K), tf.float32, (U,), tf.int32)]


@pytest.mark.slow
def test_in_a_network_it_is_shown_the_interest_and_the_step():
    network = create_interest_evolution_simulation_network(
        **CONFIG, corpus_seed=1, corpus_ctor=corpus.ReferenceCorpus, full_information=True,
        recommender_ctor=functools.partial(FullInformationRecommender, doc_embed_dim=E),
    )  # fmt: skip
    assert {variable.ref() for variable in network.trainable_variables} == {
        weight.ref() for weight in network.recommender.model.trainable_weights
    }
    runtime = SeededRuntime(network.variables, mode="eager")
    assert runtime.flow(fields.SLATE_DOCS).draw_reads == {
        fields.AVAILABLE_DOCS: [fields.DOC_ID],
        fields.RECOMMENDER_STATE: [fields.STEP],
        fields.USER_OBSERVATION: [fields.OBSERVED_INTEREST],
    }
    run = runtime.trajectory(3, keys=seeding.make_keys(1))
    np.testing.assert_array_equal(run[fields.RECOMMENDER_STATE].get(fields.STEP)[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(
        run[fields.USER_OBSERVATION].get(fields.OBSERVED_INTEREST), run[fields.USER_STATE].get(fields.INTEREST)
    )


def test_users_who_hide_their_interest_are_refused(entity, available):
    with pytest.raises(validation.InvalidInputError) as error:
        entity.slate_ranks(entity.initial_state(), Value(), available)
    assert str(error.value) == (
        "FullInformationRecommender needs a network with full_information = True: users hide their interest"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": {**CONFIG, "num_topics": 0}}, "config['num_topics'] must be an integer of at least 1, got 0"),
        (
            {"config": {key: size for key, size in CONFIG.items() if key != "num_topics"}},
            "config lacks 'num_topics', it has 'num_users', 'num_docs', 'slate_size', 'history_length'",
        ),
        ({"config": {**CONFIG, "slate_size": 8}}, "config['slate_size'] must be at most config['num_docs'], got 8 > 7"),
        ({"doc_embed_dim": 0}, "doc_embed_dim must be an integer of at least 1, got 0"),
        ({"greedy": "yes"}, "greedy must be True or False, got 'yes'"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(validation.InvalidInputError) as error:
        FullInformationRecommender(**{"config": CONFIG, **options})
    assert gin_config.first_line(error.value) == f"FullInformationRecommender: {message}"
