"""compile, compute_loss, compute_metrics, reset_*, add_* and learning, against steps and losses worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.scoring import CollabFilteringModel

N, U, D, E, H = 40, 9, 7, 3, 5
FIRST = 32  # rows of the first batch by default; 8 remain
RATE = 0.1
RANDOM = np.random.RandomState(0)
IDS = RANDOM.randint(0, D + 1, (N, H)).astype(np.int32)
TIMES = RANDOM.uniform(-1.0, 2.0, (N, H)).astype(np.float32)
CLICKED = RANDOM.randint(0, D, N).astype(np.int32)
IMPORTANCE = RANDOM.uniform(0.5, 3.0, N).astype(np.float32)
X = (IDS, TIMES)
MODEL = CollabFilteringModel(U, D, E, H)
MODEL.build((None, H))
WEIGHTS = [RANDOM.normal(0.0, 0.5, weight.shape) for weight in MODEL.get_weights()]


def crossentropy():
    return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def made(cls=CollabFilteringModel, **compile_arguments):
    model = cls(U, D, E, H)
    model.build((None, H))
    for weight, value in zip(model.trainable_weights, WEIGHTS):
        weight.assign(value)
    model.compile(**{"optimizer": tf.keras.optimizers.SGD(RATE), "loss": crossentropy(), **compile_arguments})
    return model


def losses_by_hand(model, rows=slice(None)):
    scores = model(IDS[rows], TIMES[rows]).numpy().astype(np.float64)
    return np.log(np.exp(scores).sum(-1)) - scores[np.arange(len(scores)), CLICKED[rows]]


def steps_by_hand(*batches, importance=None, rate=RATE):
    """Weights after a step of gradient descent on each batch, and the mean loss met on the way."""
    model = made()
    importance = np.ones(N, np.float32) if importance is None else importance
    met = []
    for rows in batches:
        with tf.GradientTape() as tape:
            scores = model(IDS[rows], TIMES[rows])
            chosen = tf.gather(scores, CLICKED[rows], batch_dims=1)
            losses = importance[rows] * (tf.reduce_logsumexp(scores, axis=-1) - chosen)
            loss = tf.reduce_mean(losses)
        met.extend(losses.numpy())
        for weight, gradient in zip(model.weights, tape.gradient(loss, model.weights)):
            weight.assign_sub(rate * tf.convert_to_tensor(gradient))
    return model.get_weights(), np.mean(met)


BOTH = (slice(0, FIRST), slice(FIRST, N))


def assert_weights(model, expected):
    for weight, wanted in zip(model.trainable_weights, expected):
        np.testing.assert_allclose(weight, wanted, rtol=1e-5, atol=1e-6)


class Counts(tf.keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.train_batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.train_batches += 1


# compile


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        ("sgd", 0.01),
        (tf.keras.optimizers.SGD(0.3), 0.3),
        (tf.keras.optimizers.legacy.SGD(0.2), 0.2),
    ],
)
def test_compile_optimizer_in_any_form(optimizer, rate):
    model = made(optimizer=optimizer)
    model.fit(X, CLICKED, batch_size=N, verbose=0)
    assert_weights(model, steps_by_hand(slice(None), rate=rate)[0])


def test_compile_optimizer_is_rmsprop_by_default():
    model = CollabFilteringModel(U, D, E, H)
    model.compile()
    assert isinstance(model.optimizer, tf.keras.optimizers.RMSprop)


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ("mse", ["mae"]),
        (tf.keras.losses.MeanSquaredError(), [tf.keras.metrics.MeanAbsoluteError(name="mae")]),
        (lambda y, scores: tf.reduce_mean((y - scores) ** 2, axis=-1), [lambda y, scores: abs(y - scores)]),
        (["mean_squared_error"], [["mae"]]),
        ({"output_1": "mse"}, {"output_1": "mae"}),
    ],
)
def test_compile_loss_and_metrics_in_any_form(loss, metrics):
    wanted = RANDOM.normal(size=(N, D)).astype(np.float32)
    model = made(loss=loss, metrics=metrics, run_eagerly=True)
    found = model.evaluate(X, wanted, verbose=0)
    error = model(*X).numpy() - wanted
    np.testing.assert_allclose(found, [np.mean(error**2), np.mean(np.abs(error))], rtol=1e-5)


@pytest.mark.slow
def test_compile_accuracy_is_that_of_the_clicked_document():
    model = made(metrics=["accuracy", "acc"])
    found = model.evaluate(X, CLICKED, verbose=0)
    right = np.mean(np.argmax(model(*X), -1) == CLICKED)
    assert 0.0 < right < 1.0
    np.testing.assert_allclose(found[1:], [right, right], rtol=1e-6)
    assert model.metrics_names == ["loss", "accuracy", "acc"]


@pytest.mark.slow
def test_compile_weighted_metrics_are_weighted_and_metrics_are_not():
    name = "sparse_categorical_accuracy"
    model = made(metrics=[name], weighted_metrics=[tf.keras.metrics.SparseCategoricalAccuracy(name="weighted")])
    found = model.evaluate(X, CLICKED, sample_weight=IMPORTANCE, verbose=0, return_dict=True)
    right = np.argmax(model(*X), -1) == CLICKED
    np.testing.assert_allclose(found[name], right.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["weighted"], np.average(right, weights=IMPORTANCE), rtol=1e-5)
    assert abs(found["weighted"] - found[name]) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("loss_weights", [[3.0], {"output_1": 3.0}])
def test_compile_loss_weights_scale_loss_and_gradient(loss_weights):
    model = made(loss_weights=loss_weights)
    history = model.fit(X, CLICKED, shuffle=False, verbose=0).history
    weights, loss = steps_by_hand(*BOTH, rate=3.0 * RATE)
    assert_weights(model, weights)
    np.testing.assert_allclose(history["loss"], [3.0 * loss], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("run_eagerly", [True, False, None])
def test_compile_run_eagerly_decides_where_python_runs(run_eagerly):
    eager = []

    class Recording(CollabFilteringModel):
        def train_step(self, data):
            eager.append(tf.executing_eagerly())
            return super().train_step(data)

    model = made(Recording, run_eagerly=run_eagerly)
    model.fit(X, CLICKED, shuffle=False, verbose=0)
    assert set(eager) == {bool(run_eagerly)}
    assert model.run_eagerly == bool(run_eagerly)
    assert_weights(model, steps_by_hand(*BOTH)[0])


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "calls"), [(1, 5), (2, 3), (5, 1), (100, 1)])
def test_compile_steps_per_execution_changes_callbacks_only(steps, calls):
    counts, model = Counts(), made(steps_per_execution=steps)
    model.fit(X, CLICKED, batch_size=8, shuffle=False, verbose=0, callbacks=[counts])
    assert counts.train_batches == calls
    assert_weights(model, steps_by_hand(*(slice(row, row + 8) for row in range(0, N, 8)))[0])


@pytest.mark.slow
def test_compile_jit_compile_trains_alike():
    model = made(jit_compile=True)
    history = model.fit(X, CLICKED, shuffle=False, verbose=0).history
    weights, loss = steps_by_hand(*BOTH)
    assert_weights(model, weights)
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    assert model.jit_compile is True
    with pytest.raises(ValueError, match="cannot enable `run_eagerly` and `jit_compile`"):
        made(jit_compile=True, run_eagerly=True)


def test_compile_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="Unknown optimizer: 'nope'"):
        made(optimizer="nope")
    with pytest.raises(TypeError, match=r"Invalid keyword argument\(s\) in `compile\(\)`: \(\{'nope'\},\)"):
        made(nope=1)
    with pytest.raises(ValueError, match="Unknown loss function: 'nope'"):
        made(loss="nope").fit(X, CLICKED, verbose=0)


# compute_loss, compute_metrics, reset_metrics, reset_states


def test_compute_loss_is_the_weighted_mean_plus_added_losses():
    model = made()
    clicked, importance, losses = tf.constant(CLICKED), tf.constant(IMPORTANCE), losses_by_hand(model)
    np.testing.assert_allclose(model.compute_loss(X, clicked, model(*X)), losses.mean(), rtol=1e-5)
    weighted = model.compute_loss(x=X, y=clicked, y_pred=model(*X), sample_weight=importance)
    np.testing.assert_allclose(weighted, np.mean(losses * IMPORTANCE), rtol=1e-5)
    model.add_loss(lambda: 2.0 * tf.reduce_sum(model.weights[0] ** 2))
    total = model.compute_loss(X, clicked, model(*X))
    np.testing.assert_allclose(total, losses.mean() + 2.0 * np.sum(WEIGHTS[0] ** 2), rtol=1e-5)


@pytest.mark.slow
def test_compute_loss_overridden_is_what_fit_minimises():
    class Mine(CollabFilteringModel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.loss_tracker = tf.keras.metrics.Mean(name="loss")

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            loss = 4.0 * tf.reduce_mean(crossentropy()(y, y_pred))
            self.loss_tracker.update_state(loss)
            return loss

        def reset_metrics(self):
            self.loss_tracker.reset_states()

        @property
        def metrics(self):
            return [self.loss_tracker]

    model = made(Mine)
    history = model.fit(X, CLICKED, batch_size=N, verbose=0).history
    weights, loss = steps_by_hand(slice(None), rate=4.0 * RATE)
    assert_weights(model, weights)
    np.testing.assert_allclose(history["loss"], [4.0 * loss], rtol=1e-5)


@pytest.mark.slow
def test_compute_metrics_returns_results_by_name_and_can_be_overridden():
    class Mine(CollabFilteringModel):
        def compute_metrics(self, x, y, y_pred, sample_weight):
            results = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**results, "rows": tf.shape(y_pred)[0]}

    model = made(Mine, metrics=["accuracy"])
    scores = model(*X)
    found = model.compute_metrics(X, tf.constant(CLICKED), scores, None)
    assert list(found) == ["accuracy", "rows"]
    np.testing.assert_allclose(found["accuracy"], np.mean(np.argmax(scores, -1) == CLICKED), rtol=1e-6)
    assert model.fit(X, CLICKED, shuffle=False, verbose=0).history["rows"] == [N - FIRST]  # of the last batch


@pytest.mark.slow
def test_reset_metrics_empties_all_of_them():
    model = made(metrics=["accuracy"], weighted_metrics=["sparse_top_k_categorical_accuracy"])
    model.fit(X, CLICKED, verbose=0)
    assert [metric.name for metric in model.metrics] == model.metrics_names
    assert len(model.metrics) == 3
    assert all(float(metric.result()) > 0.0 for metric in model.metrics)
    model.reset_metrics()
    assert all(float(metric.result()) == 0.0 for metric in model.metrics)


def test_reset_states_reaches_stateful_layers_and_no_weight():
    class Counting(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.stateful = True
            self.calls = self.add_weight(name="calls", initializer="zeros", trainable=False)

        def call(self, inputs):
            self.calls.assign_add(1.0)
            return inputs

        def reset_states(self):
            self.calls.assign(0.0)

    class Stateful(CollabFilteringModel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.counting = Counting()

        def score_histories(self, doc_ids, times, training):
            return self.counting(super().score_histories(doc_ids, times, training))

    made().reset_states()
    model = Stateful(U, D, E, H)
    before = model(*X)
    assert model.counting.calls == 1.0
    weights = [weight.numpy() for weight in model.trainable_weights]
    model.reset_states()
    assert model.counting.calls == 0.0
    assert all((weight.numpy() == old).all() for weight, old in zip(model.trainable_weights, weights))
    np.testing.assert_array_equal(model(*X), before)


# add_loss, add_metric


class Penalised(CollabFilteringModel):
    """Adds a loss and a metric of its scores."""

    def score_histories(self, doc_ids, times, training):
        scores = super().score_histories(doc_ids, times, training)
        self.add_loss(0.5 * tf.reduce_mean(scores**2))
        self.add_metric(scores, name="mean_score", aggregation="mean")
        return scores


@pytest.mark.slow
def test_add_loss_and_add_metric_in_call_count_in_fit_and_evaluate():
    model = made(Penalised)
    scores = model(*X).numpy()
    loss = losses_by_hand(model).mean() + 0.5 * np.mean(scores**2)
    found = model.evaluate(X, CLICKED, batch_size=N, verbose=0, return_dict=True)
    np.testing.assert_allclose([found["loss"], found["mean_score"]], [loss, scores.mean()], rtol=1e-4)
    history = model.fit(X, CLICKED, batch_size=N, epochs=30, verbose=0).history
    np.testing.assert_allclose([history["loss"][0], history["mean_score"][0]], [loss, scores.mean()], rtol=1e-4)
    alone = made()
    alone.fit(X, CLICKED, batch_size=N, epochs=30, verbose=0)
    assert np.mean(model(*X) ** 2) < 0.8 * np.mean(alone(*X) ** 2)  # the added loss has a gradient


def test_add_loss_of_a_weight_counts_in_fit():
    model = made(optimizer=tf.keras.optimizers.SGD(RATE), loss=None)
    model.add_loss(lambda: tf.reduce_sum(model.weights[0] ** 2))
    history = model.fit(X, batch_size=N, epochs=2, verbose=0).history
    squares = np.sum(WEIGHTS[0] ** 2)
    np.testing.assert_allclose(history["loss"], [squares, squares * (1.0 - 2.0 * RATE) ** 2], rtol=1e-4)
    assert len(model.losses) == 1


@pytest.mark.slow
def test_add_loss_and_add_metric_on_a_functional_model_around_it():
    inputs = tf.keras.Input((H,), dtype="int32"), tf.keras.Input((H,))
    model = made()
    scores = model(*inputs)
    around = tf.keras.Model(inputs, scores)
    around.add_loss(tf.reduce_mean(scores**2))
    around.add_metric(tf.reduce_max(scores), name="top")
    around.compile(tf.keras.optimizers.SGD(RATE), crossentropy())
    expected = model(*X).numpy()
    history = around.fit(X, CLICKED, batch_size=N, verbose=0).history
    loss = np.mean(expected**2) + losses_by_hand(made()).mean()
    np.testing.assert_allclose([history["loss"][0], history["top"][0]], [loss, expected.max()], rtol=1e-4)


@pytest.mark.slow
def test_activity_regularizer_counts_in_fit():
    model = made()
    model.activity_regularizer = tf.keras.regularizers.L2(0.25)
    scores = model(*X).numpy()
    loss = losses_by_hand(model).mean() + 0.25 * np.sum(scores**2) / N
    history = model.fit(X, CLICKED, batch_size=N, verbose=0).history
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-4)


# fit: it learns


@pytest.mark.slow
def test_fit_learns_which_document_is_clicked():
    teacher = made()
    clicked = np.argmax(teacher(*X), axis=-1)
    tf.keras.utils.set_random_seed(5)
    model = CollabFilteringModel(U, D, E, H)
    model.compile(tf.keras.optimizers.Adam(0.03), crossentropy(), metrics=["accuracy"])
    history = model.fit(X, clicked, epochs=60, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert history["accuracy"][-1] > 0.95


@pytest.mark.slow
def test_fit_regresses_to_the_scores_of_a_teacher():
    scores = made()(*X).numpy()
    tf.keras.utils.set_random_seed(5)
    model = CollabFilteringModel(U, D, E, H)
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 0.03
    history = model.fit(X, scores, epochs=80, verbose=0).history
    assert history["loss"][-1] < 0.02 * history["loss"][0]
    assert history["loss"][-1] < 0.1 * scores.var()


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_fit_learns_under_every_policy(policy):
    tf.keras.utils.set_random_seed(5)
    model = CollabFilteringModel(U, D, E, H, dtype=policy)
    model.compile(tf.keras.optimizers.Adam(0.03), crossentropy())
    history = model.fit(X, CLICKED, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert {weight.dtype for weight in model.weights} == {tf.float64 if policy == "float64" else tf.float32}
