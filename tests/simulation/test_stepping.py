"""A stepped simulation is the runtime's rollout, one step at a time."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields
from recsys_po_rl.common import validation
from recsys_po_rl.policies.external import ExternalRecommender
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation.seeding import make_keys
from recsys_po_rl.simulation.stepping import EMPTY, SteppedSimulation
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.user import InterestEvolutionUser

NUM_USERS, NUM_TOPICS, NUM_DOCS, SLATE_SIZE, HISTORY, HORIZON = 6, 4, 9, 2, 5, 7
SIZES = dict(
    num_users=NUM_USERS,
    num_topics=NUM_TOPICS,
    num_docs=NUM_DOCS,
    slate_size=SLATE_SIZE,
    history_length=HISTORY,
    corpus_seed=2,
)


def noisy_users_who_time_out(config):
    return InterestEvolutionUser(
        config, interest_update_noise_scale=0.1, reset_users_if_timed_out=True, timeout_steps=2
    )


def impatient_users(config):
    from examples.impatient_user import ImpatientUser

    return ImpatientUser(config, patience_steps=2)


WORLDS = {
    "default": {},
    "reference corpus": {"corpus_ctor": corpus.ReferenceCorpus},
    "corpus drawn for each batch": {"freeze_corpus": False},
    "noise and resets": {"user_ctor": noisy_users_who_time_out},
    "users of the examples": {"user_ctor": impatient_users},
}


def simulation(mode, record=None, **options):
    network = create_interest_evolution_simulation_network(**SIZES, recommender_ctor=ExternalRecommender, **options)
    return SteppedSimulation(network.variables, network.recommender.places, mode, record)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "mode"), [*((world, "graph") for world in WORLDS), ("noise and resets", "xla"), ("default", "eager")]
)
def test_a_fixed_policy_brings_the_rewards_of_the_compiled_rollout(root, monkeypatch, world, mode):
    monkeypatch.syspath_prepend(str(root))
    doc_ids = [3, 7]
    fixed = create_interest_evolution_simulation_network(
        **SIZES, recommender_ctor=lambda config: FixedSlateRecommender(config, doc_ids=doc_ids), **WORLDS[world]
    )
    runtime = SeededRuntime(fixed.variables, mode=mode)
    stepped = simulation(mode, **WORLDS[world])
    slates = np.tile(np.array(doc_ids) - 1, (NUM_USERS, 1))
    # XLA compiles a step and a loop of steps differently, to a unit in the last place.
    same = functools.partial(
        np.testing.assert_allclose, rtol=1e-6 if mode == "xla" else 0.0, atol=1e-6 * (mode == "xla")
    )
    seen = set()
    for batch in (1, 0):
        keys = make_keys(3, "evaluation", batch=batch)
        expected = runtime.trajectory(HORIZON + 1, keys=keys)
        state = stepped.reset(keys)
        for step in range(HORIZON):
            interest = expected[fields.USER_STATE].get(fields.INTEREST)[step]
            same(state[fields.USER_STATE][fields.INTEREST], interest)
            result = stepped.step(slates)
            for name, fields_of in (result.response | result.state).items():
                offset = 0 if name in result.response else 1
                for field, value in fields_of.items():
                    if field not in expected[name].as_dict:
                        assert field == fields.EMPTY_SLOT
                        continue
                    wanted = expected[name].get(field)[step + offset]
                    same(value, wanted, err_msg=f"{name} {field} at {step}")
            reward = expected[fields.METRICS_STATE].get(fields.REWARD)[step + 1]
            same(result.reward, reward)
            state = result.state
            seen.update(np.asarray(result.response[fields.USER_RESPONSE][fields.CHOICE]).tolist())
    assert seen == {0, 1, SLATE_SIZE}  # both documents and no click


@pytest.fixture(scope="module")
def stepped():
    return simulation("graph")


def test_only_recorded_fields_are_returned():
    record = {fields.USER_RESPONSE: [fields.CHOICE], fields.RECOMMENDER_STATE: [fields.DOC_HISTORY]}
    recorded = simulation("eager", record)
    first = recorded.reset(make_keys(0))
    result = recorded.step([[0, 1]] * NUM_USERS)
    assert {name: set(of) for name, of in first.items()} == {fields.RECOMMENDER_STATE: {fields.DOC_HISTORY}}
    assert {name: set(of) for name, of in result.response.items()} == {fields.USER_RESPONSE: {fields.CHOICE}}
    assert {name: set(of) for name, of in result.state.items()} == {fields.RECOMMENDER_STATE: {fields.DOC_HISTORY}}


def test_an_empty_slot_is_never_chosen_and_shows_nothing(stepped):
    stepped.reset(make_keys(5))
    chosen = []
    for step in range(30):
        slates = np.array([[step % NUM_DOCS, EMPTY]] * NUM_USERS)
        response = stepped.step(slates).response
        slate = response[fields.SLATE_DOCS]
        for field in fields.DOC_FIELDS:
            assert not np.asarray(slate[field])[:, 1].any()
        np.testing.assert_array_equal(slate[fields.DOC_ID][:, 0], step % NUM_DOCS + 1)
        chosen.extend(np.asarray(response[fields.USER_RESPONSE][fields.CHOICE]).tolist())
    assert set(chosen) == {0, SLATE_SIZE}


def test_the_choice_of_the_other_documents_is_that_of_a_smaller_slate():
    # exp(l) / (exp(l) + exp(no click)) with l the logit of the only document: the empty slot has no mass.
    user = InterestEvolutionUser({**SIZES, "num_users": 1}, no_click_mass=0.5)
    slate = Value(
        doc_id=tf.constant([[4, 0]]), doc_quality=tf.zeros((1, 2)), doc_length=tf.ones((1, 2)),
        empty_slot=tf.constant([[False, True]]),
    )  # fmt: skip
    choice = user.response_from_logits(tf.constant([[1.25, 9.0]]), slate).get(fields.CHOICE)
    probabilities = choice.distribution.probs_parameter().numpy()[0]
    expected = np.exp([1.25, -np.inf, 0.5])
    np.testing.assert_allclose(probabilities, expected / expected.sum(), rtol=1e-6)


def test_equal_keys_give_equal_users_whatever_came_before(stepped):
    def rewards(batch):
        stepped.reset(make_keys(1, batch=batch))
        return np.stack([stepped.step([[0, 1]] * NUM_USERS).reward for _ in range(HORIZON)])

    first = rewards(0)
    assert not np.array_equal(rewards(1), first)
    np.testing.assert_array_equal(rewards(0), first)


def test_a_step_before_reset_and_unknown_arguments_are_refused():
    with pytest.raises(validation.InvalidInputError, match="step needs users: call reset first"):
        simulation("eager").step([[0, 1]] * NUM_USERS)
    with pytest.raises(validation.InvalidInputError, match="mode"):
        simulation("jit")
    with pytest.raises(validation.InvalidInputError, match="record"):
        simulation("eager", {"user": []})


class UserOfNaNTimes(InterestEvolutionUser):
    def consumed_time(self, docs):
        return super().consumed_time(docs) * np.nan


class UserOfNaNInterest(InterestEvolutionUser):
    def next_state(self, previous_state, user_response, slate_docs):
        return super().next_state(previous_state, user_response, slate_docs).map(lambda field: field * np.nan)


@pytest.mark.slow
@pytest.mark.parametrize(("user_ctor", "named"), [(UserOfNaNTimes, "reward"), (UserOfNaNInterest, "user state")])
def test_a_nan_is_named_with_its_variable_and_step(user_ctor, named):
    broken = simulation("xla", user_ctor=user_ctor)
    broken.reset(make_keys(0))
    with pytest.raises(FloatingPointError, match=f"NaN at step 0 in .*{named}"):
        broken.step([[0, 1]] * NUM_USERS)


class UserWithAFailingOperation(InterestEvolutionUser):
    def next_response(self, previous_state, slate_docs):
        check = tf.debugging.assert_less(previous_state.get(fields.INTEREST), -9.0, message="too eager")
        with tf.control_dependencies([] if check is None else [check]):
            return super().next_response(previous_state, slate_docs)


def test_a_failing_operation_is_located_in_the_entity():
    failing = simulation("graph", user_ctor=UserWithAFailingOperation)
    failing.reset(make_keys(0))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        failing.step([[0, 1]] * NUM_USERS)
    assert "next_response" in [entry.name for entry in caught.traceback]
