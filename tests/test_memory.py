"""Recommenders that remember their own slates and the step, and policies of every position of the dial."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, scoring
from recsys_po_rl.common import validation
from recsys_po_rl.policies import learned_variants
from recsys_po_rl.recommender import CollabFilteringRecommender, FullInformationRecommender
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation.seeding import make_keys
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

U, D, K, S, H, E, T = 5, 8, 3, 2, 3, 4, 6
CONFIG = {"num_users": U, "num_docs": D, "num_topics": K, "slate_size": S, "history_length": H}
BOTH = ("slates", "step")


def network(recommender_ctor, **options):
    tf.keras.utils.set_random_seed(0)
    made = {**CONFIG, "corpus_seed": 1, "corpus_ctor": corpus.ReferenceCorpus, **options}
    return create_interest_evolution_simulation_network(recommender_ctor=recommender_ctor, **made)


def with_memory(memory, scorer=scoring.AveragedHistoryModel):
    return functools.partial(
        CollabFilteringRecommender, doc_embed_dim=E, model_ctor=functools.partial(scorer, memory=memory)
    )


@pytest.mark.parametrize("memory", [(), ("slates",), ("step",), BOTH])
def test_the_state_has_what_is_remembered(memory):
    entity = with_memory(memory)(CONFIG)
    assert entity.memory == memory
    state = entity.initial_state().as_dict
    wanted = {"slates": (fields.SLATE_HISTORY, fields.CLICKED_HISTORY), "step": (fields.STEP,)}
    for part, names in wanted.items():
        assert all((name in state) == (part in memory) for name in names)
    specs = entity.specs().get("state").as_dict
    assert set(specs) == set(state)
    for name, tensor in state.items():
        assert specs[name].space.contains(tf.convert_to_tensor(tensor).numpy()), name


@pytest.mark.slow
@pytest.mark.parametrize("scorer", [scoring.AveragedHistoryModel, scoring.GRUModel])
def test_slates_clicks_and_steps_are_those_of_the_trajectory(scorer):
    runtime = SeededRuntime(network(with_memory(BOTH, scorer)).variables, mode="graph")
    trajectory = runtime.trajectory(T, keys=make_keys(3))
    state, shown = trajectory[fields.RECOMMENDER_STATE], trajectory[fields.SLATE_DOCS].get(fields.DOC_ID).numpy()
    choice = trajectory[fields.USER_RESPONSE].get(fields.CHOICE).numpy()
    assert (choice == S).any()
    assert (choice < S).any()
    since = np.zeros(U)
    for step in range(T):
        known = min(step, H)
        slates, clicks = state.get(fields.SLATE_HISTORY)[step], state.get(fields.CLICKED_HISTORY)[step]
        np.testing.assert_array_equal(slates[:, H - known :], shown[step - known : step].swapaxes(0, 1))
        np.testing.assert_array_equal(clicks[:, H - known :], choice[step - known : step].T)
        assert not slates[:, : H - known].numpy().any()
        assert (clicks[:, : H - known].numpy() == S).all()
        assert (state.get(fields.STEP)[step].numpy() == step).all()
        np.testing.assert_array_equal(state.get("scorer.steps")[step], np.full(U, step))
        np.testing.assert_array_equal(state.get("scorer.steps_since_click")[step], since)
        since = np.where(choice[step] < S, 0, since + 1)


def test_a_full_information_recommender_may_be_kept_from_the_step():
    config = {**CONFIG}
    docs = Value(doc_id=tf.range(1, D + 1))
    interest = Value(interest=tf.random.stateless_normal((U, K), (1, 2)))

    def scores(step, **options):
        tf.keras.utils.set_random_seed(0)
        entity = FullInformationRecommender(config, greedy=True, doc_embed_dim=E, **options)
        entity.model.set_weights(
            [10.0 * np.random.RandomState(3).normal(size=weight.shape) for weight in entity.model.get_weights()]
        )
        state = entity.initial_state().as_dict
        return entity.slate_ranks(Value(**{**state, fields.STEP: tf.fill((U,), step)}), interest, docs).numpy()

    assert (scores(0) != scores(5000)).any()
    np.testing.assert_array_equal(scores(0, observes_step=False), scores(5000, observes_step=False))


POSITIONS = {
    learned_variants.LearnedClicks: ("learned_clicks", (), False),
    learned_variants.LearnedSlates: ("learned_slates", ("slates",), False),
    learned_variants.LearnedStep: ("learned_step", ("step",), False),
    learned_variants.LearnedSlatesAndStep: ("learned_slates_and_step", BOTH, False),
    learned_variants.LearnedInterest: ("learned_interest", ("step",), True),
    learned_variants.LearnedFullInformation: ("learned_full_information", ("step",), True),
}


@pytest.mark.parametrize("policy", POSITIONS)
def test_a_position_of_the_dial_remembers_what_it_says(policy):
    name, memory, full_information = POSITIONS[policy]
    made = policy()
    assert (made.name, made.full_information) == (name, full_information)
    assert made.recommender_ctor(CONFIG).memory == memory
    made.validate(network)
    assert made.search_cost(None).num_trainings == 1


def test_a_scorer_that_remembers_clicks_only_is_refused():
    policy = learned_variants.LearnedSlates(model_ctor=scoring.CollabFilteringModel)
    with pytest.raises(
        validation.InvalidInputError, match="memory must be empty, as this scorer remembers clicks only"
    ):
        policy.validate(network)
