"""One-step rollouts: their value against the enumeration of all futures, and the choice among candidates."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, recommender, scoring, user
from recsys_po_rl.common import validation
from recsys_po_rl.policies import belief_reference, rollout_reference
from recsys_po_rl.policies.base import LeftOutError, PolicyContext
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

U, D, K, S, H, E, F, T = 2, 5, 2, 2, 3, 4, 3000, 3
SIZES = {"num_docs": D, "num_topics": K, "slate_size": S, "history_length": H}


def base_of(num_users):
    tf.keras.utils.set_random_seed(2)
    model_ctor = functools.partial(scoring.AveragedHistoryModel, memory=("slates", "step"))
    return recommender.CollabFilteringRecommender(
        {**SIZES, "num_users": num_users}, model_ctor=model_ctor, doc_embed_dim=E
    )


def enumerated(people, base, docs, slate, interest, state, steps):
    """Expected consumed time of one user, float64: the sum over all clicks, weighted by their probabilities."""
    shown = docs.map(lambda field: tf.gather(field, slate)[tf.newaxis])
    logits = people.choice_logits(interest, shown).numpy()[0].astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum()
    value = 0.0
    for choice, chance in enumerate(chances):
        time, moved = 0.0, people.next_interest(interest, None)
        if choice < S:
            consumed = shown.map(lambda field, choice=choice: field[:, choice])
            time, moved = float(people.consumed_time(consumed)[0]), people.next_interest(interest, consumed)
        later = 0.0
        if steps > 1:
            response = Value(choice=tf.constant([choice]), consumed_time=tf.constant([time]))
            following = base.next_state(Value(**state), response, shown).map(tf.convert_to_tensor)
            then = base.slate_distribution(following, docs).mode()[0]
            later = enumerated(people, base, docs, then, moved, following.as_dict, steps - 1)
        value += chance * (time + later)
    return value


def test_future_rewards_are_those_of_all_futures_enumerated():
    people = user.InterestEvolutionUser({**SIZES, "num_users": U})
    docs = corpus.reference_corpus_state(D, K, 3).map(tf.convert_to_tensor)
    small, large = base_of(1), base_of(U * F)
    for variable, source in zip(large.variables, small.variables, strict=True):
        source.assign(3.0 * source)
        variable.assign(source)
    interests = np.random.RandomState(0).randn(U, K).astype(np.float32)
    slates = np.array([[3, 1], [0, 4]], np.int32)
    state = {name: tf.repeat(field[:1], U * F, axis=0) for name, field in large.initial_state().as_dict.items()}
    found = rollout_reference.future_rewards(
        people, large, docs, tf.constant(slates), tf.repeat(interests[:, tf.newaxis], F, axis=1), state,
        tf.random.stateless_uniform((U, F, T + 2), (1, 2)), tf.constant(T),
    ).numpy()  # fmt: skip
    assert found.shape == (U, F)
    for one in range(U):
        exact = enumerated(
            people, small, docs, slates[one], tf.constant(interests[one : one + 1]),
            small.initial_state().map(tf.convert_to_tensor).as_dict, T,
        )  # fmt: skip
        assert abs(found[one].mean() - exact) < 4.0 * found[one].std() / np.sqrt(F)
        # Enough power to tell apart what must not be mixed up: one step less would be far outside.
        assert exact / T > 8.0 * found[one].std() / np.sqrt(F)


def test_a_candidate_replaces_the_base_only_where_it_is_clearly_better():
    rewards = np.zeros((3, 4, 5), np.float32)
    noise = np.random.RandomState(0).randn(4, 5)
    rewards += noise  # common to the candidates
    rewards[1, 0] += [1.0, 1.1, 0.9, 1.0, 1.0]  # clearly better
    rewards[1, 1] += [9.0, -5.0, 9.0, -5.0, 0.0]  # better on average only
    rewards[1, 2] += 1.0
    rewards[2, 2] += 2.0  # both better, this one more
    rewards[2, 3] -= 1.0
    np.testing.assert_array_equal(rollout_reference.improved(tf.constant(rewards), 2.0), [1, 0, 2, 0])
    np.testing.assert_array_equal(rollout_reference.improved(tf.constant(rewards), 0.0), [1, 1, 2, 0])
    for one in range(4):  # by the formula, with NumPy's unbiased variance
        difference = (rewards[1] - rewards[0])[one].astype(np.float64)
        if difference.any() and difference.std() > 0:
            error = difference.std(ddof=1) / np.sqrt(5)
            just_below, just_above = (difference.mean() / error * share for share in (0.99, 1.01))
            only = tf.constant(rewards[:2, one : one + 1])
            if difference.mean() > 0:
                assert rollout_reference.improved(only, just_below).numpy() == [1]
                assert rollout_reference.improved(only, just_above).numpy() == [0]


def network(**options):
    return create_interest_evolution_simulation_network(
        **{
            **SIZES, "num_users": 4, "corpus_seed": 1, "corpus_ctor": corpus.ReferenceCorpus,
            "recommender_ctor": functools.partial(
                recommender.CollabFilteringRecommender, model_ctor=scoring.AveragedHistoryModel, doc_embed_dim=E
            ),
            **options,
        }
    )  # fmt: skip


def context_of(**options):
    return PolicyContext(
        functools.partial(network, **options), SeededRuntime, network().config, seed=0, horizon=T, batch_size=4
    )


@pytest.mark.slow
def test_the_policy_runs_and_shows_candidates():
    context = context_of()
    context.learned_weights = [variable.numpy() for variable in network().recommender.variables]
    built = rollout_reference.RolloutReference(num_candidates=4, num_futures=3, min_standard_errors=0.0).build(context)
    assert built.details == {"num_candidates": 4, "num_futures": 3}
    trajectory = context.runtime(built.network).trajectory(T, keys=seeding.make_keys(1))
    shown = trajectory[fields.SLATE_DOCS].get(fields.DOC_RANKS).numpy()
    docs = built.network.corpus.initial_state().map(tf.convert_to_tensor)
    entity = built.network.recommender
    for step in range(T):
        state = trajectory[fields.RECOMMENDER_STATE].map(lambda field, step=step: field[step])
        base = state.get(rollout_reference.BASE_STATE)
        of_belief = super(rollout_reference.RolloutRecommender, entity).slate_ranks(state, Value(), docs)
        candidates = entity._candidates(base, docs, of_belief).numpy()  # the candidates of a state have no other door
        np.testing.assert_array_equal(candidates[0], entity._base.slate_distribution(base, docs).mode())
        assert all(len(set(slate)) == S for slate in candidates.reshape(-1, S))
        for one in range(4):
            assert any((shown[step, one] == candidate[one]).all() for candidate in candidates)


def test_what_it_cannot_improve_is_left_out():
    context = context_of()
    with pytest.raises(LeftOutError, match="no policy was learned here"):
        rollout_reference.RolloutReference().build(context)
    options = {"recommender_ctor": recommender.FullInformationRecommender, "full_information": True}
    context = context_of(**options)
    context.learned_weights = [variable.numpy() for variable in network(**options).recommender.variables]
    with pytest.raises(LeftOutError, match="FullInformationRecommender has no slate_distribution"):
        rollout_reference.RolloutReference().build(context)
    with pytest.raises(validation.InvalidInputError, match="num_futures must be an integer of at least 2, got 1"):
        rollout_reference.RolloutReference(num_futures=1)


def test_users_with_parameters_of_their_own_and_moving_corpora_are_left_out():
    own = functools.partial(user.InterestEvolutionUser, no_click_mass=[1.0, 2.0, 3.0, 4.0])
    for options, message in (
        ({"user_ctor": own}, "no_click_mass"),
        ({"corpus_ctor": corpus.CorpusWithTopicAndQuality, "freeze_corpus": False}, "is not static"),
    ):
        context = context_of(**options)
        context.learned_weights = [variable.numpy() for variable in network().recommender.variables]
        with pytest.raises(LeftOutError, match=message):
            rollout_reference.RolloutReference().build(context)


def test_its_cost_is_that_of_all_futures():
    cost = rollout_reference.RolloutReference(num_candidates=8, num_futures=4).search_cost(context_of())
    of_belief = belief_reference.BeliefReference().search_cost(context_of())
    assert cost.relative_cost == 8 * 4 * T / 2
    assert cost == of_belief._replace(relative_cost=cost.relative_cost)  # the search is that of the belief reference
    assert cost.grid_slates > 0
    assert cost.value_key is not None  # shared with the belief reference
