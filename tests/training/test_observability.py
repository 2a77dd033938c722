"""Acting depends on the recommender's histories alone, also where a critic sees the users' interest in training."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import corpus, fields, recommender, scoring
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import algorithms
from recsys_po_rl.training.critic import LearnedValue
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, K, S, H, T = 6, 8, 4, 2, 5, 3


class Trained:
    """A network whose recommender has made a few updates of PPO with a critic that sees the interest."""

    def __init__(self, recommender_ctor, full_information):
        tf.keras.utils.set_random_seed(1)
        self.network = create_interest_evolution_simulation_network(
            num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
            corpus_ctor=corpus.ReferenceCorpus, recommender_ctor=recommender_ctor, full_information=full_information,
        )  # fmt: skip
        self.runtime = SeededRuntime(self.network.variables, mode="eager")
        self.learner = PolicyGradientLearner(
            self.network, T,
            optimizer=functools.partial(tf.keras.optimizers.Adam, 0.1),
            runtime_ctor=lambda variables: self.runtime,
            algorithm=functools.partial(algorithms.ProximalPolicyOptimization, num_minibatches=2),
            critic=LearnedValue,
            trace_decay=0.95,
        )  # fmt: skip
        before = [variable.numpy() for variable in self.network.trainable_variables]
        self.learner.step([seeding.make_keys(0, "training", 1, batch=shard) for shard in range(2)])
        assert any((variable != old).numpy().any() for variable, old in zip(self.network.trainable_variables, before))
        self.state = self.runtime.execute(4, keys=seeding.make_keys(5))

    def with_other_interests(self):
        """The same state of the world, but for what users want and, if they show it, what they show."""
        of_users = self.state[fields.USER_STATE].as_dict
        others = Value(**{**of_users, fields.INTEREST: -2.0 * of_users[fields.INTEREST][::-1]})
        observation = {var.name: var for var in self.network.variables}[fields.USER_OBSERVATION].value.fn(others)
        shown = observation.map(tf.convert_to_tensor)
        return {**self.state, fields.USER_STATE: others, fields.USER_OBSERVATION: shown}

    def slates(self, state):
        """Slates shown now, and the logarithm of its probability: ranks [U, S] and float32 [U]."""
        slate = {var.name: var for var in self.network.variables}[fields.SLATE_DOCS]
        inputs = [state[dependency.variable_name] for dependency in slate.value.dependencies]
        with seeding.seeded_draws(seeding.stateless_seed(7), fields.SLATE_DOCS) as drawn:
            ranks = tf.convert_to_tensor(slate.value.fn(*inputs).get(fields.DOC_RANKS))
        (of_slate,) = drawn.random_variables
        return ranks.numpy(), of_slate.distribution.log_prob(ranks).numpy()

    def following(self, state):
        """Slates [U, S] of the next step, in a run of the whole network."""
        run = self.runtime.trajectory(2, state, seeding.make_keys(8), record={fields.SLATE_DOCS: [fields.DOC_RANKS]})
        return run[fields.SLATE_DOCS].get(fields.DOC_RANKS)[1].numpy()

    def variables_behind_the_slate(self):
        """All that slates are computed from, by data flow, at any step; what users answer is where the search ends."""
        found, waiting = set(), [fields.SLATE_DOCS]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                flow = self.runtime.flow(name)
                if name != fields.USER_RESPONSE:
                    waiting += [*flow.reads, *flow.draw_reads]
        return found


SCORERS = {
    "flat": scoring.CollabFilteringModel,
    "averaged": scoring.AveragedHistoryModel,
    "gru": scoring.GRUModel,
}


@pytest.fixture(scope="module", params=["flat", "averaged", pytest.param("gru", marks=pytest.mark.slow)])
def from_histories(request):
    ctor = functools.partial(recommender.CollabFilteringRecommender, model_ctor=SCORERS[request.param], doc_embed_dim=4)
    return Trained(ctor, full_information=False)


@pytest.fixture(scope="module")
def shown_the_interest():
    """For each test below, a recommender with which it must fail."""
    ctor = functools.partial(recommender.FullInformationRecommender, doc_embed_dim=4)
    return Trained(ctor, full_information=True)


def same_slates(trained):
    """Return whether distributions and draws of slates are bit for bit the same for users who want something else."""
    now = [trained.slates(state) for state in (trained.state, trained.with_other_interests())]
    then = [trained.following(state) for state in (trained.state, trained.with_other_interests())]
    return np.array_equal(now[0][0], now[1][0]) and np.array_equal(now[0][1], now[1][1]) and np.array_equal(*then)


@pytest.mark.slow
def test_users_who_want_something_else_are_shown_the_same(from_histories):
    assert same_slates(from_histories)


@pytest.mark.slow
def test_the_check_can_fail_for_slates(shown_the_interest):
    now = [shown_the_interest.slates(state) for state in (shown_the_interest.state,) * 2]
    np.testing.assert_array_equal(now[0][1], now[1][1])  # what differs is not the draw of the comparison
    assert not same_slates(shown_the_interest)


@pytest.mark.slow
def test_users_do_answer_otherwise(from_histories):
    """The changed fields matter in this world."""
    record = {fields.USER_RESPONSE: [fields.CHOICE]}
    answers = [
        from_histories.runtime.trajectory(6, state, seeding.make_keys(8), record=record)[fields.USER_RESPONSE]
        .get(fields.CHOICE).numpy()
        for state in (from_histories.state, from_histories.with_other_interests())
    ]  # fmt: skip
    assert not np.array_equal(*answers)


@pytest.mark.slow
def test_by_data_flow_slates_come_from_histories(from_histories):
    behind = from_histories.variables_behind_the_slate()
    assert behind == {
        fields.SLATE_DOCS, fields.RECOMMENDER_STATE, fields.USER_RESPONSE, fields.AVAILABLE_DOCS, fields.CORPUS_STATE,
    }  # fmt: skip
    of_response = from_histories.runtime.flow(fields.RECOMMENDER_STATE).reads[fields.USER_RESPONSE]
    assert of_response == [fields.CHOICE, fields.CONSUMED_TIME]
    assert fields.USER_STATE not in from_histories.learner._replay.record
    assert fields.USER_STATE in from_histories.learner._record  # for the critic


@pytest.mark.slow
def test_the_check_can_fail_for_data_flow(shown_the_interest):
    behind = shown_the_interest.variables_behind_the_slate()
    assert {fields.USER_OBSERVATION, fields.USER_STATE} <= behind


@pytest.mark.slow
def test_the_policy_has_no_variable_of_the_critics(from_histories):
    learner, network = from_histories.learner, from_histories.network
    of_critic = {variable.ref() for variable in (*learner.critic.variables, *learner.critic.optimizer.variables)}
    assert len(of_critic) > 7  # two layers, the statistics, and what the optimizer remembers
    of_policy = {variable.ref() for variable in network.recommender.variables}
    assert {variable.ref() for variable in learner.trainable_variables} <= of_policy
    assert not of_policy & of_critic
    assert not {variable.ref() for variable in learner.optimizer.variables} & of_critic


@pytest.mark.slow
def test_other_critics_leave_the_slates_as_they_are(from_histories):
    before = from_histories.slates(from_histories.state)
    kept = [variable.numpy() for variable in from_histories.learner.critic.variables]
    for variable in from_histories.learner.critic.variables:
        variable.assign(variable + 3.0)
    for own, old in zip(from_histories.slates(from_histories.state), before):
        np.testing.assert_array_equal(own, old)
    for variable, old in zip(from_histories.learner.critic.variables, kept):
        variable.assign(old)
