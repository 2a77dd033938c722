"""evaluate, predict, the methods of one batch, the steps and the functions made of them."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.scoring import CollabFilteringModel

N, U, D, E, H = 40, 9, 7, 3, 5
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


def made(cls=CollabFilteringModel, **compile_arguments):
    model = cls(U, D, E, H)
    model.build((None, H))
    model.set_weights(WEIGHTS)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(**{"optimizer": tf.keras.optimizers.SGD(RATE), "loss": loss, **compile_arguments})
    return model


def losses_by_hand(model):
    scores = model(*X).numpy().astype(np.float64)
    return np.log(np.exp(scores).sum(-1)) - scores[np.arange(N), CLICKED]


AS_MADE = made()
SCORES = AS_MADE(*X).numpy()
LOSSES = losses_by_hand(AS_MADE)
RIGHT = (np.argmax(SCORES, -1) == CLICKED).astype(np.float64)


def dataset(*more, batch=32):
    return tf.data.Dataset.from_tensor_slices((X, CLICKED, *more)).batch(batch)


class Batches(tf.keras.utils.Sequence):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(0, 32) if index == 0 else slice(32, N)
        return (IDS[rows], TIMES[rows]), *(array[rows] for array in self.arrays)


def generator(*arrays):
    yield from (Batches(*arrays)[index] for index in range(2))


class Batch(tf.keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.tested = self.predicted = 0

    def on_test_batch_end(self, batch, logs=None):
        self.tested += 1

    def on_predict_batch_end(self, batch, logs=None):
        self.predicted += 1


def assert_close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# evaluate

FORMS = {
    "tuple": lambda: (X, CLICKED),
    "list": lambda: (list(X), CLICKED),
    "dict": lambda: ({"c_time_history": TIMES, "doc_id_history": IDS}, CLICKED),
    "tensors": lambda: ((tf.constant(IDS), tf.constant(TIMES)), tf.constant(CLICKED)),
    "dataset": lambda: (dataset(),),
    "generator": lambda: (generator(CLICKED),),
    "sequence": lambda: (Batches(CLICKED),),
}


@pytest.mark.parametrize("form", FORMS)
def test_evaluate_x_in_any_form(form):
    model = made()
    assert_close(model.evaluate(*FORMS[form](), verbose=0), LOSSES.mean())
    assert all((weight == wanted).all() for weight, wanted in zip(model.get_weights(), AS_MADE.get_weights()))


@pytest.mark.slow
def test_evaluate_returns_a_list_in_the_order_of_metrics_names_or_a_dict():
    model = made(metrics=["accuracy"])
    found = model.evaluate(X, CLICKED, verbose=0)
    named = model.evaluate(X, CLICKED, verbose=0, return_dict=True)
    assert model.metrics_names == ["loss", "accuracy"]
    assert_close(found, [LOSSES.mean(), RIGHT.mean()])
    assert named == dict(zip(model.metrics_names, found))


@pytest.mark.parametrize("form", ["array", "dataset", "generator", "sequence"])
def test_evaluate_sample_weight(form):
    data = {
        "array": {"x": X, "y": CLICKED, "sample_weight": IMPORTANCE},
        "dataset": {"x": dataset(IMPORTANCE)},
        "generator": {"x": generator(CLICKED, IMPORTANCE)},
        "sequence": {"x": Batches(CLICKED, IMPORTANCE)},
    }[form]
    assert_close(made().evaluate(**data, verbose=0), np.mean(LOSSES * IMPORTANCE))


@pytest.mark.parametrize(("arguments", "batches"), [({}, 2), ({"batch_size": 7}, 6), ({"batch_size": N}, 1)])
def test_evaluate_batch_size_is_32_by_default_and_callbacks_see_batches(arguments, batches):
    counts = Batch()
    assert_close(made().evaluate(X, CLICKED, verbose=0, callbacks=[counts], **arguments), LOSSES.mean())
    assert counts.tested == batches


def test_evaluate_steps_of_an_endless_dataset():
    assert_close(made().evaluate(dataset(batch=8).repeat(), steps=2, verbose=0), LOSSES[:16].mean())


@pytest.mark.parametrize(("verbose", "printed"), [(0, False), (1, True), (2, True), ("auto", True)])
def test_evaluate_and_predict_verbose(verbose, printed, capsys):
    MODEL.compile(loss=AS_MADE.loss)
    MODEL.evaluate(X, CLICKED, verbose=verbose)
    assert ("loss:" in capsys.readouterr().out) == printed
    MODEL.predict(X, verbose=verbose)
    assert ("2/2" in capsys.readouterr().out) == printed


@pytest.mark.slow  # Keras waits for its processes, and below for its threads, to close
def test_evaluate_workers_queue_size_and_use_multiprocessing_change_nothing():
    found = made().evaluate(Batches(CLICKED), workers=2, max_queue_size=2, use_multiprocessing=True, verbose=0)
    assert_close(found, LOSSES.mean())


def test_evaluate_refuses():
    with pytest.raises(RuntimeError, match="must compile your model"):
        CollabFilteringModel(U, D, E, H).evaluate(X, CLICKED)
    model = made()
    with pytest.raises(TypeError, match=r"Invalid keyword arguments: \['nope'\]"):
        model.evaluate(X, CLICKED, nope=1)
    with pytest.raises(ValueError, match="`y` argument is not supported when using dataset"):
        model.evaluate(dataset(), CLICKED)
    with pytest.raises(ValueError, match="`sample_weight` argument is not supported when using dataset"):
        model.evaluate(dataset(), sample_weight=IMPORTANCE)
    with pytest.raises(ValueError, match="cardinality is ambiguous"):
        model.evaluate(X, CLICKED[1:])


# predict


@pytest.mark.parametrize("arguments", [{}, {"batch_size": 3}, {"batch_size": 100}])
@pytest.mark.parametrize("users", [1, 7, N])
def test_predict_has_a_row_for_each_user_equal_to_a_direct_call(users, arguments):
    found = AS_MADE.predict((IDS[:users], TIMES[:users]), verbose=0, **arguments)
    assert isinstance(found, np.ndarray)
    assert found.shape == (users, D)
    assert found.dtype == np.float32
    assert_close(found, SCORES[:users])


PREDICTED = {
    "list": lambda: list(X),
    "dict": lambda: {"c_time_history": TIMES, "doc_id_history": IDS},
    "tensors": lambda: (tf.constant(IDS), tf.constant(TIMES)),
    "other dtypes": lambda: (IDS.astype(np.uint8), TIMES.astype(np.float64)),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X,)).batch(11),
    "dataset with targets": dataset,
    "dataset of dicts": lambda: tf.data.Dataset.from_tensor_slices(PREDICTED["dict"]()).batch(11),
    "generator": lambda: generator(),
    "sequence": lambda: Batches(),
}


@pytest.mark.parametrize("form", PREDICTED)
def test_predict_x_in_any_form(form):
    assert_close(AS_MADE.predict(PREDICTED[form](), verbose=0), SCORES)


def test_predict_needs_no_compile_and_no_build():
    model = CollabFilteringModel(U, D, E, H)
    found = model.predict(X, verbose=0)
    assert_close(found, model(*X))


@pytest.mark.slow
def test_predict_steps_callbacks_and_workers():
    counts = Batch()
    found = AS_MADE.predict(dataset(batch=8).repeat(), steps=3, verbose=0, callbacks=[counts])
    assert_close(found, SCORES[:24])
    assert counts.predicted == 3
    assert_close(AS_MADE.predict(Batches(), workers=3, max_queue_size=2, verbose=0), SCORES)


@pytest.mark.slow
def test_predict_under_jit_compile_equals_a_direct_call():
    np.testing.assert_allclose(made(jit_compile=True).predict(X, verbose=0), SCORES, rtol=1e-4, atol=1e-5)


def test_predict_refuses_data_that_do_not_match():
    with pytest.raises(ValueError, match="input data to be non-empty"):
        AS_MADE.predict((IDS[:0], TIMES[:0]), verbose=0)
    with pytest.raises(ValueError, match="cardinality is ambiguous"):
        AS_MADE.predict((IDS, TIMES[1:]), verbose=0)


# one batch


@pytest.mark.parametrize("method", ["evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"])
def test_high_level_methods_raise_runtime_error_in_a_tf_function(method):
    model = made()
    with pytest.raises(RuntimeError, match=rf"Model\.{method}"):
        tf.function(lambda: getattr(model, method)(X))()


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_on_batch_raises_runtime_error_if_never_compiled(method):
    with pytest.raises(RuntimeError, match="must compile your model"):
        getattr(CollabFilteringModel(U, D, E, H), method)(X, CLICKED)


def gradient_step_by_hand(importance):
    model = made()
    with tf.GradientTape() as tape:
        scores = model(*X)
        losses = tf.reduce_logsumexp(scores, axis=-1) - tf.gather(scores, CLICKED, batch_dims=1)
        loss = tf.reduce_mean(importance * losses)
    gradients = tape.gradient(loss, model.weights)
    return [weight - RATE * tf.convert_to_tensor(grad) for weight, grad in zip(model.weights, gradients)], loss


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tuple", "list", "dict", "tensors"])
def test_train_on_batch_is_one_gradient_step(form):
    model = made()
    weights, loss = gradient_step_by_hand(np.float32(1.0))
    assert_close(model.train_on_batch(*FORMS[form]()), loss)
    for weight, wanted in zip(model.get_weights(), weights):
        assert_close(weight, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sample_weight", "class_weight"])
def test_train_on_batch_weights(kind):
    of_class = {doc: 0.5 + doc for doc in range(D)}
    importance = IMPORTANCE if kind == "sample_weight" else np.float32([of_class[doc] for doc in CLICKED])
    model = made()
    weights, loss = gradient_step_by_hand(importance)
    found = model.train_on_batch(X, CLICKED, **{kind: IMPORTANCE if kind == "sample_weight" else of_class})
    assert_close(found, loss)
    for weight, wanted in zip(model.get_weights(), weights):
        assert_close(weight, wanted)


@pytest.mark.slow
def test_train_on_batch_returns_and_reset_metrics():
    model = made(optimizer=tf.keras.optimizers.SGD(0.0), metrics=["accuracy"])
    one, two = slice(0, 10), slice(10, N)
    assert_close(model.train_on_batch((IDS[one], TIMES[one]), CLICKED[one]), [LOSSES[one].mean(), RIGHT[one].mean()])
    assert model.metrics_names == ["loss", "accuracy"]
    x, y = (IDS[two], TIMES[two]), CLICKED[two]
    assert_close(model.train_on_batch(x, y, reset_metrics=False), [LOSSES.mean(), RIGHT.mean()])
    named = model.train_on_batch(x, y, return_dict=True)
    assert list(named) == ["loss", "accuracy"]
    assert_close(list(named.values()), [LOSSES[two].mean(), RIGHT[two].mean()])


@pytest.mark.slow
def test_train_on_batch_learns():
    model = made()
    met = [model.train_on_batch(X, CLICKED) for _ in range(50)]
    assert met[-1] < 0.8 * met[0]


@pytest.mark.slow
def test_test_on_batch_returns_weights_and_reset_metrics():
    model = made(metrics=["accuracy"])
    one, two = slice(0, 10), slice(10, N)
    first = model.test_on_batch((IDS[one], TIMES[one]), CLICKED[one])
    assert_close(first, [LOSSES[one].mean(), RIGHT[one].mean()])
    both = model.test_on_batch((IDS[two], TIMES[two]), CLICKED[two], reset_metrics=False)
    assert_close(both, [LOSSES.mean(), RIGHT.mean()])
    named = model.test_on_batch(X, CLICKED, sample_weight=IMPORTANCE, return_dict=True)
    assert_close([named["loss"], named["accuracy"]], [np.mean(LOSSES * IMPORTANCE), RIGHT.mean()])
    assert_close(made().test_on_batch(dict(zip(("doc_id_history", "c_time_history"), X)), CLICKED), LOSSES.mean())
    assert all((weight == wanted).all() for weight, wanted in zip(model.get_weights(), AS_MADE.get_weights()))


@pytest.mark.parametrize("form", ["list", "dict", "tensors"])
def test_predict_on_batch_equals_a_direct_call(form):
    found = AS_MADE.predict_on_batch(PREDICTED[form]())
    assert isinstance(found, np.ndarray)
    assert_close(found, SCORES)


# steps and their functions


@pytest.mark.parametrize("data", [(X, CLICKED), (X, CLICKED, IMPORTANCE)])
def test_train_step_takes_one_step_and_returns_metrics(data):
    model, tensors = made(metrics=["accuracy"]), tf.nest.map_structure(tf.constant, data)
    weights, loss = gradient_step_by_hand(data[2] if len(data) == 3 else np.float32(1.0))
    logs = model.train_step(tensors)
    assert_close([logs["loss"], logs["accuracy"]], [loss, RIGHT.mean()])
    for weight, wanted in zip(model.get_weights(), weights):
        assert_close(weight, wanted)


def test_test_step_returns_metrics_and_predict_step_scores():
    model, tensors = made(metrics=["accuracy"]), tf.nest.map_structure(tf.constant, (X, CLICKED))
    logs = model.test_step(tensors)
    assert_close([logs["loss"], logs["accuracy"]], [LOSSES.mean(), RIGHT.mean()])
    assert_close(model.predict_step(tensors), SCORES)
    assert_close(model.predict_step(tensors[:1]), SCORES)


class Reinforced(CollabFilteringModel):
    """Steps of its own: the score-function gradient of a reward in place of labels."""

    def train_step(self, data):
        x, (chosen, rewards) = data
        with tf.GradientTape() as tape:
            log_probs = tf.nn.log_softmax(self(x, training=True))
            loss = -tf.reduce_mean(rewards * tf.gather(log_probs, chosen, batch_dims=1))
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"surrogate": loss}

    def test_step(self, data):
        x, (chosen, _) = data
        return {"probability": tf.reduce_mean(tf.gather(tf.nn.softmax(self(x)), chosen, batch_dims=1))}

    def predict_step(self, data):
        return tf.nn.top_k(super().predict_step(data), 2).indices


@pytest.mark.slow
def test_train_step_test_step_and_predict_step_overridden():
    model = made(Reinforced, loss=None, optimizer=tf.keras.optimizers.Adam(0.03))
    y = (CLICKED, np.ones(N, np.float32))
    before = model.evaluate(X, y, batch_size=N, verbose=0, return_dict=True)["probability"]
    np.testing.assert_allclose(before, np.mean(np.exp(-LOSSES)), rtol=1e-5)
    history = model.fit(X, y, batch_size=N, epochs=40, verbose=0).history
    assert list(history) == ["surrogate"]
    np.testing.assert_allclose(history["surrogate"][0], LOSSES.mean(), rtol=1e-5)
    assert model.evaluate(X, y, batch_size=N, verbose=0, return_dict=True)["probability"] > 1.5 * before
    np.testing.assert_array_equal(model.predict(X, verbose=0), np.argsort(-model(*X).numpy(), -1)[:, :2])


MAKERS = ["make_train_function", "make_test_function", "make_predict_function"]


@pytest.mark.parametrize("maker", MAKERS)
def test_make_function_is_cached_until_forced_or_compiled(maker):
    model = made()
    make = getattr(model, maker)
    first = make()
    assert make() is first
    forced = make(force=True)
    assert forced is not first
    if maker == "make_predict_function":
        assert model.predict_function is make()
    model.compile("sgd", "mse")
    assert make() is not forced


@pytest.mark.slow
def test_make_train_function_and_make_test_function_return_logs_of_one_batch():
    model, batches = made(metrics=["accuracy"]), dataset(batch=10)
    tested = model.make_test_function()(iter(batches))
    assert_close([tested["loss"], tested["accuracy"]], [LOSSES[:10].mean(), RIGHT[:10].mean()])
    model.reset_metrics()
    trained = model.make_train_function()(iter(batches))
    assert_close([trained["loss"], trained["accuracy"]], [LOSSES[:10].mean(), RIGHT[:10].mean()])
    assert losses_by_hand(model)[:10].mean() < LOSSES[:10].mean()


def test_make_predict_function_returns_scores_of_one_batch():
    iterator, predict = iter(dataset(batch=30)), made().make_predict_function()
    assert_close(predict(iterator), SCORES[:30])
    assert_close(predict(iterator), SCORES[30:])


@pytest.mark.slow
def test_make_functions_overridden_are_those_that_run():
    called = []

    class Mine(CollabFilteringModel):
        def make_train_function(self, force=False):
            called.append("train")
            return super().make_train_function(force)

        def make_test_function(self, force=False):
            called.append("test")
            return super().make_test_function(force)

        def make_predict_function(self, force=False):
            called.append("predict")
            return super().make_predict_function(force)

    model = made(Mine)
    model.fit(X, CLICKED, verbose=0)
    model.evaluate(X, CLICKED, verbose=0)
    model.predict(X, verbose=0)
    model.train_on_batch(X, CLICKED)
    model.test_on_batch(X, CLICKED)
    model.predict_on_batch(X)
    assert called == ["train", "test", "predict"] * 2
