"""Pretraining: examples equal the recommender's state, losses and popularity by hand, a log that can be learned."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, fields, recommender, scoring
from recsys_po_rl.common import validation
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import examples, pretraining, sequences

U, D, K, S, H, E, T = 5, 7, 3, 2, 3, 4, 9


def network_of(model_ctor):
    return create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=functools.partial(
            recommender.CollabFilteringRecommender, model_ctor=model_ctor, doc_embed_dim=E
        ),
    )  # fmt: skip


def rolled_out(network):
    """Return a rollout's states before each slate, and its rows as a log."""
    states = next(field for field in network.variables if field.name == fields.RECOMMENDER_STATE).spec.as_dict
    record = {
        fields.RECOMMENDER_STATE: [name for name in states if ".tbranch" not in name and ".fbranch" not in name],
        fields.SLATE_DOCS: [fields.DOC_ID],
        fields.USER_RESPONSE: [fields.CHOICE, fields.CONSUMED_TIME],
    }
    runtime = SeededRuntime(network.variables, mode="graph")
    # A response stands beside the slate it answers: both are of the same step.
    trajectory = runtime.trajectory(T + 1, keys=seeding.make_keys(0, "test"), record=record)
    shown = np.asarray(trajectory[fields.SLATE_DOCS].get(fields.DOC_ID))
    choice = np.asarray(trajectory[fields.USER_RESPONSE].get(fields.CHOICE))
    time = np.asarray(trajectory[fields.USER_RESPONSE].get(fields.CONSUMED_TIME))
    step, user, slot = np.indices(shown.shape)
    clicked = choice[..., np.newaxis] == slot
    columns = [column.ravel() for column in (user, step, slot, shown, clicked)]
    rows = Interactions(*columns, np.where(clicked, time[..., np.newaxis], 0.0).astype(np.float32).ravel())
    return trajectory[fields.RECOMMENDER_STATE].as_dict, rows, choice < S


def sequences_of(rows, slate_size=None):
    builder = sequences.SequenceBuilder(slate_size)
    builder.add(rows)
    return builder.finish()


def ones(of_users):
    return np.ones(len(of_users.times), np.float32)


@pytest.mark.slow
def test_histories_are_those_of_the_recommender_in_the_simulator():
    states, rows, is_click = rolled_out(network_of(scoring.CollabFilteringModel))
    of_users = sequences_of(rows)
    made = examples.HistoryExamples(of_users, np.arange(len(of_users.user_ids)), ones(of_users), H, batch_size=4)
    batches = list(made.batches())
    ids, times = (np.concatenate(parts) for parts in zip(*(batch.inputs for batch in batches)))
    assert is_click.sum(axis=0).max() > H  # some histories are full
    order = np.argwhere(is_click.T)  # by user, then step
    users, steps = order.T
    np.testing.assert_array_equal(ids, np.asarray(states[fields.DOC_HISTORY])[steps, users])
    np.testing.assert_array_equal(times, np.asarray(states[fields.CTIME_HISTORY])[steps, users])
    assert (made.num_examples, made.num_batches) == (len(order), len(batches))
    np.testing.assert_array_equal(of_users.user_ids[np.concatenate([batch.users for batch in batches])], users)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ctor", "memory"), [(scoring.AveragedHistoryModel, ("slates", "step")), (scoring.GRUModel, ())]
)
def test_scores_of_sequences_are_those_of_the_recommender_in_the_simulator(ctor, memory):
    network = network_of(functools.partial(ctor, memory=memory))
    scorer = network.recommender.model
    states, rows, is_click = rolled_out(network)
    of_users = sequences_of(rows, S if pretraining.keeps_slates(scorer) else None)
    chosen = np.arange(len(of_users.user_ids))
    made = pretraining.examples_for(scorer, of_users, chosen, ones(of_users), H, batch_size=10)
    model = pretraining.model_of(scorer)
    model.compile(run_eagerly=True)
    batches = list(made.batches())
    is_example = np.concatenate([batch.doc_ids for batch in batches]) > 0
    scores = np.concatenate([model.predict_on_batch(batch.inputs) for batch in batches])[is_example]
    users = of_users.user_ids[np.concatenate([batch.users for batch in batches])[is_example]]
    nth = [np.count_nonzero(users[:place] == user) for place, user in enumerate(users)]  # click of its user
    steps = np.array([np.flatnonzero(is_click[:, user])[number] for user, number in zip(users, nth)])
    carried = {name.removeprefix("scorer."): value for name, value in states.items() if "scorer." in name}
    expected = scorer.score_state({name: np.asarray(value)[steps, users] for name, value in carried.items()})
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert len(scores) == made.num_examples == is_click.sum()


def test_long_sequences_are_cut_and_pieces_without_clicks_left_out(monkeypatch):
    monkeypatch.setattr(examples, "MAX_PIECE_STEPS", 3)
    steps = np.arange(8)
    clicked = np.isin(steps, [0, 1, 7])  # the piece of steps 3 to 5 has no click
    rows = Interactions(
        np.full(8, 5), steps, np.zeros(8, int), steps % D + 1, clicked, np.where(clicked, 1.0, 0.0).astype(np.float32)
    )
    of_users = sequences_of(rows, slate_size=1)
    made = examples.SequenceExamples(of_users, np.array([0]), ones(of_users), batch_size=100)
    (batch,) = made.batches()
    shown, clicks, _ = batch.inputs
    np.testing.assert_array_equal(shown[..., 0], [[1, 7], [2, 1], [3, 0], [0, 0]])  # 3 steps, padded to 4
    np.testing.assert_array_equal(clicks, [[0, 1], [0, 0], [1, 1], [1, 1]])
    np.testing.assert_array_equal(batch.doc_ids.reshape(4, 2), [[1, 0], [2, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(batch.weights, batch.doc_ids > 0)


def test_every_example_occurs_once_in_an_epoch_in_a_new_order_each():
    rng = np.random.default_rng(0)
    num = 40
    clicked = np.ones(num, bool)
    rows = Interactions(
        rng.integers(0, 4, num), np.arange(num), np.zeros(num, int), np.arange(num) % D + 1, clicked,
        np.arange(num).astype(np.float32),
    )  # fmt: skip
    of_users = sequences_of(rows)
    users = np.array([0, 2, 3])
    chosen = np.isin(of_users.user_of_step, users)
    for made in (
        examples.HistoryExamples(of_users, users, of_users.times, H, batch_size=7),
        examples.SequenceExamples(of_users, users, of_users.times, batch_size=7),
    ):
        dataset = made.dataset(seed=5)
        epochs = [np.concatenate([weights for _, _, weights in dataset.as_numpy_iterator()]) for _ in range(2)]
        for epoch in epochs:  # the times tell the clicks apart
            np.testing.assert_array_equal(
                np.sort(epoch[epoch > 0]), np.sort(of_users.times[chosen & (of_users.times > 0)])
            )
        again = next(made.dataset(seed=5).as_numpy_iterator())[2]
        np.testing.assert_array_equal(again, next(made.dataset(seed=5).as_numpy_iterator())[2])
        assert len(dataset) == made.num_batches
    assert not np.array_equal(*epochs) or made.num_batches == 1


class FixedScores(tf.keras.Model):
    """Scorer whose scores are a weight, whatever the histories."""

    def build(self, shape):
        self.values = self.add_weight(
            name="values", shape=(3,), initializer=tf.keras.initializers.Constant([0.0, 1.0, 2.0])
        )
        self.built = True

    def call(self, doc_ids, times):
        return tf.zeros_like(times[:, :1]) + self.values


def test_loss_and_update_worked_by_hand():
    scorer = FixedScores()
    model = pretraining.model_of(scorer)
    model.compile(optimizer=tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    inputs = (np.zeros((2, H), np.int32), np.zeros((2, H), np.float32))
    data = (inputs, np.array([3, 1]), np.array([0.5, 1.5], np.float32))
    model(inputs)
    probabilities = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    loss = -(0.5 * np.log(probabilities[2]) + 1.5 * np.log(probabilities[0])) / 2
    np.testing.assert_allclose(model.test_step(data)["loss"], loss, rtol=1e-6)
    model.reset_metrics()
    np.testing.assert_allclose(model.train_step(data)["loss"], loss, rtol=1e-6)
    gradient = (2.0 * probabilities - [1.5, 0.0, 0.5]) / 2
    np.testing.assert_allclose(scorer.values, [0.0, 1.0, 2.0] - 0.1 * gradient, rtol=1e-6)


def test_popularity_counts_the_clicks_of_the_chosen_users():
    rows = Interactions(
        np.array([1, 1, 2, 2, 3]), np.array([0, 1, 0, 1, 0]), np.zeros(5, int), np.array([4, 4, 1, 2, 7]),
        np.array([True, True, True, False, True]), np.ones(5, np.float32),
    )  # fmt: skip
    for slate_size in (None, 2):
        of_users = sequences_of(rows, slate_size)
        np.testing.assert_array_equal(pretraining.popularity(of_users, np.array([0, 1]), D), [1, 0, 0, 2, 0, 0, 0])


def deterministic_log(num_users=60, num_steps=12):
    """A log in which the next document is a function of the last one: 3 further, around a circle of D documents."""
    start = np.random.default_rng(0).integers(0, D, num_users)
    user, step = (column.ravel() for column in np.indices((num_users, num_steps)))
    docs = (start[user] + 3 * step) % D + 1
    times = np.ones(len(user), np.float32)
    return Interactions(user, step, np.zeros_like(user), docs, np.ones(len(user), bool), times)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ctor", "options"),
    [
        (scoring.CollabFilteringModel, {"proposal_stddev": 0.1}),
        (scoring.AveragedHistoryModel, {"memory": ("slates", "step")}),
    ],
)
def test_a_function_of_the_last_document_is_learned(ctor, options):
    tf.keras.utils.set_random_seed(0)
    scorer = ctor(1, D, E, H, **options)
    scorer.build((None, H))
    of_users = sequences_of(deterministic_log(), S if pretraining.keeps_slates(scorer) else None)
    users = sequences.split(of_users.user_ids, 0, 0.2, 0.2)
    parts = [pretraining.examples_for(scorer, of_users, part, ones(of_users), H, 64) for part in users]
    model = pretraining.model_of(scorer)
    epochs = []
    optimizer = tf.keras.optimizers.Adam(0.03)
    fitted = pretraining.fit(model, parts[0], parts[1], optimizer, 15, 8, seed=0, on_epoch=epochs.append)
    assert fitted.epochs == epochs
    assert fitted.best_epoch == min(epochs, key=lambda epoch: epoch.validation_loss).epoch
    best = epochs[fitted.best_epoch - 1]
    again = model.evaluate(parts[1].dataset(), verbose=0)
    np.testing.assert_allclose(again, best.validation_loss, rtol=1e-4)  # the weights of the best epoch are back
    means = pretraining.user_means(model, parts[2], pretraining.popularity(of_users, users.training, D))
    # The first document of a user is a guess: 11 of 12 can be known.
    assert pretraining.estimates(means)["scorer"]["ndcg_at_5"].mean > 0.9
    np.testing.assert_allclose(means["random"]["hit_rate_at_5"], 5 / D)
    assert pretraining.differences(means)["popularity"]["ndcg_at_5"].low > 0.2
    assert pretraining.differences(means)["random"]["hit_rate_at_5"].low > 0.2


def test_a_loss_that_is_not_finite_is_one_line():
    scorer = FixedScores()
    of_users = sequences_of(
        Interactions(
            np.arange(6), np.zeros(6, int), np.zeros(6, int), np.arange(6) % 3 + 1, np.ones(6, bool), np.ones(6)
        )
    )
    made = examples.HistoryExamples(of_users, np.arange(6), np.full(6, np.inf, np.float32), H, 4)
    with pytest.raises(
        validation.InvalidInputError, match="the loss of epoch 1 is not finite: a smaller learning rate"
    ):
        pretraining.fit(pretraining.model_of(scorer), made, made, tf.keras.optimizers.SGD(0.1), 2, 1, seed=0)


def test_a_scorer_that_is_no_keras_model_is_refused():
    with pytest.raises(validation.InvalidTypeError, match=r"a scorer that is a tf\.keras\.Model, got function"):
        pretraining.model_of(lambda ids, times: times)
