"""With every scorer the learner's gradient is that of the unrolled loop, gradients through carried states included."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value
from recsim_ng.lib.tensorflow import log_probability

from recsys_po_rl import corpus, fields, recommender, scoring
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, K, S, H, T = 5, 8, 4, 2, 3, 7
SCORERS = [
    scoring.CollabFilteringModel,
    scoring.AveragedHistoryModel,
    scoring.GRUModel,
    scoring.SelfAttentionModel,
]


def make_network(scorer, **options):
    tf.keras.utils.set_random_seed(2)
    return create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=functools.partial(
            recommender.CollabFilteringRecommender, model_ctor=functools.partial(scorer, proposal_stddev=1.0)
            if scorer is not scoring.CollabFilteringModel else scorer, doc_embed_dim=4,
        ),
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module", params=SCORERS, ids=lambda scorer: scorer.__name__)
def network(request):
    return make_network(request.param)


def unrolled_gradient(network, advantages, keys):
    """Runs the network step by step under a tape and differentiates the log-probability of what it draws."""
    slate = [var for var in network.variables if var.name == fields.SLATE_DOCS]
    log_prob = log_probability.log_prob_variables_from_direct_output(slate)
    runtime = SeededRuntime([*network.variables, *log_prob], mode="eager")
    with tf.GradientTape() as tape:
        trajectory = runtime.trajectory(T, keys=keys, record={log_prob[0].name: [fields.DOC_RANKS]})
        log_probs = trajectory[log_prob[0].name].get(fields.DOC_RANKS)
        loss = -tf.reduce_mean(tf.reduce_sum(log_probs * advantages, axis=0))
    return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, network.trainable_variables)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_the_learners_gradient_is_that_of_the_unrolled_loop(network, mode):
    keys = seeding.make_keys(3, "training", 1)
    learner = PolicyGradientLearner(network, T, runtime_ctor=functools.partial(SeededRuntime, mode=mode))
    rollout = learner.rollout(keys)
    assert float(tf.reduce_sum(tf.cast(rollout.rewards > 0, tf.float32))) > U  # enough clicks for states to matter
    advantages = learner.advantages(rollout.rewards)
    found, statistics = learner.gradients([rollout], [advantages])
    entropy = statistics[0] / T
    expected = unrolled_gradient(network, advantages, keys)
    assert 0.0 < float(entropy) < np.log(D)
    for own, theirs, weight in zip(found, expected, network.trainable_variables, strict=True):
        scale = np.abs(theirs).max()
        assert scale > 0.0, weight.name
        np.testing.assert_allclose(own, theirs, rtol=1e-3, atol=1e-4 * scale, err_msg=weight.name)


@pytest.mark.slow
def test_states_that_depend_on_weights_are_not_trusted_as_recorded(network):
    learner = PolicyGradientLearner(network, T)
    carries = network.recommender.model.carries_state
    assert learner._replay.carries_state == carries
    record = learner._replay.record
    assert (fields.RECOMMENDER_STATE in record) == (not carries)
    if carries:
        assert record[fields.USER_RESPONSE] == [fields.CHOICE, fields.CONSUMED_TIME]
        assert record[fields.SLATE_DOCS] == [fields.DOC_ID, fields.DOC_RANKS]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph", pytest.param("xla", marks=pytest.mark.slow)])
@pytest.mark.parametrize("scorer", [scoring.AveragedHistoryModel, scoring.GRUModel], ids=lambda scorer: scorer.__name__)
def test_a_recommender_carries_the_state_over_the_whole_episode(scorer, mode):
    """Stepwise scores equal those recomputed from the full click history, which is longer than H."""
    network = make_network(scorer)
    model = network.recommender.model
    trajectory = SeededRuntime(network.variables, mode=mode).trajectory(12, keys=seeding.make_keys(0))
    carried = trajectory[fields.RECOMMENDER_STATE].get(fields.SCORER_STATE)
    last = model.score_state({name: tensor[-1] for name, tensor in carried.as_dict.items()}).numpy()
    choice = trajectory[fields.USER_RESPONSE].get(fields.CHOICE).numpy()[:-1]
    times = trajectory[fields.USER_RESPONSE].get(fields.CONSUMED_TIME).numpy()[:-1]
    ids = trajectory[fields.SLATE_DOCS].get(fields.DOC_ID).numpy()[:-1]
    longest = 0
    for user in range(U):
        clicks = [(ids[t, user, choice[t, user]], times[t, user]) for t in range(11) if choice[t, user] < S]
        longest = max(longest, len(clicks))
        state = model.initial_state(1)
        for doc, time in clicks:
            state = model.next_state(state, tf.constant([doc]), tf.constant([time]), tf.constant([True]))
        np.testing.assert_allclose(last[user], model.score_state(state)[0], rtol=1e-4, atol=1e-5)
    assert longest > H


class NoisyMemory(recommender.CollabFilteringRecommender):
    """Its state depends on weights and is random: it cannot be computed again."""

    def next_state(self, previous_state, user_response, slate_docs):
        import edward2 as ed

        moved = super().next_state(previous_state, user_response, slate_docs).as_dict
        return Value(**{**moved, "scorer.hidden": ed.Normal(loc=moved["scorer.hidden"], scale=0.1)})


@pytest.mark.slow
def test_a_random_state_that_depends_on_weights_is_refused_by_name():
    network = create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        recommender_ctor=functools.partial(NoisyMemory, model_ctor=scoring.GRUModel),
    )  # fmt: skip
    learner = PolicyGradientLearner(network, T)
    with pytest.raises(
        NotImplementedError, match=r"'recommender state' depends on weights and draws at random \(Normal\)"
    ):
        learner.step([seeding.make_keys(0)])
