"""fit of the model: every form of data and every argument, against steps worked by hand.

Two limits are Keras's, for any model. Datasets of namedtuples are read by position, where the reference page has a
ValueError (a wrong order is still refused, by the model). class_weight together with sample_weight fails unless all
batches have one static size.
"""

import collections

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
OF_CLASS = {doc: 0.5 + doc for doc in range(D)}
X = (IDS, TIMES)
BOTH = (slice(0, FIRST), slice(FIRST, N))
MODEL = CollabFilteringModel(U, D, E, H)
MODEL.build((None, H))
WEIGHTS = [RANDOM.normal(0.0, 0.5, weight.shape) for weight in MODEL.get_weights()]


def made(**compile_arguments):
    model = CollabFilteringModel(U, D, E, H)
    model.build((None, H))
    model.set_weights(WEIGHTS)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    eager = {"run_eagerly": True}  # a few times faster for so few batches; the forms of x are trained in graphs
    model.compile(**{"optimizer": tf.keras.optimizers.SGD(RATE), "loss": loss, **eager, **compile_arguments})
    return model


def steps_by_hand(*batches, importance=1.0):
    """The model after a step of gradient descent on each batch of rows, and the mean loss met on the way."""
    model, met = made(), []
    importance = np.broadcast_to(np.float32(importance), N)
    for rows in batches:
        with tf.GradientTape() as tape:
            losses = importance[rows] * losses_by_hand(model, rows)
            loss = tf.reduce_mean(losses)
        met.extend(losses.numpy())
        for weight, gradient in zip(model.weights, tape.gradient(loss, model.weights)):
            weight.assign_sub(RATE * tf.convert_to_tensor(gradient))
    return model, np.mean(met)


def losses_by_hand(model, rows=slice(None)):
    scores = model(IDS[rows], TIMES[rows])
    return tf.reduce_logsumexp(scores, axis=-1) - tf.gather(scores, CLICKED[rows], batch_dims=1)


def assert_equal_weights(model, other):
    for weight, wanted in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_allclose(weight, wanted, rtol=1e-5, atol=1e-6)


def dataset(*more, batch=FIRST):
    return tf.data.Dataset.from_tensor_slices((X, CLICKED, *more)).batch(batch)


class Batches(tf.keras.utils.Sequence):
    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = BOTH[index]
        return (IDS[rows], TIMES[rows]), *(array[rows] for array in self.arrays)


def generator(*arrays):
    yield from (Batches(*arrays)[index] for index in range(2))


class Batch(tf.keras.callbacks.Callback):
    """Counts batches; stops training after a number of them."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.trained, self.tested, self.stop_after = 0, 0, stop_after

    def on_train_batch_end(self, batch, logs=None):
        self.trained += 1
        if self.trained == self.stop_after:
            self.model.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        self.tested += 1


AS_MADE = made()

FORMS = {
    "tuple": lambda: (X, CLICKED),
    "list": lambda: (list(X), CLICKED),
    "dict": lambda: ({"c_time_history": TIMES, "doc_id_history": IDS}, CLICKED),
    "tensors": lambda: ((tf.constant(IDS), tf.constant(TIMES)), tf.constant(CLICKED)),
    "other dtypes": lambda: ((IDS.astype(np.int64), TIMES.astype(np.float64)), CLICKED.astype(np.int64)[:, np.newaxis]),
    "dataset": lambda: (dataset(),),
    "dataset of dicts": lambda: (dataset().map(lambda x, y: ({"doc_id_history": x[0], "c_time_history": x[1]}, y)),),
    "generator": lambda: (generator(CLICKED),),
    "sequence": lambda: (Batches(CLICKED),),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_fit_x_in_any_form_with_batches_of_32_and_the_rest(form):
    model, (expected, loss) = made(run_eagerly=False), steps_by_hand(*BOTH)
    history = model.fit(*FORMS[form](), shuffle=False, verbose=0)
    assert isinstance(history, tf.keras.callbacks.History)
    np.testing.assert_allclose(history.history["loss"], [loss], rtol=1e-5)
    assert_equal_weights(model, expected)


@pytest.mark.slow
def test_fit_x_from_a_dataset_creator():
    model = made(run_eagerly=False)
    creator = tf.keras.utils.experimental.DatasetCreator(lambda context: dataset().repeat())
    model.fit(creator, steps_per_epoch=3, verbose=0)
    assert_equal_weights(model, steps_by_hand(*BOTH, BOTH[0])[0])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["array", "dataset", "generator", "sequence"])
def test_fit_sample_weight_scales_the_loss_of_rows(form):
    model, (expected, loss) = made(run_eagerly=False), steps_by_hand(*BOTH, importance=IMPORTANCE)
    data = {
        "array": (X, CLICKED),
        "dataset": (dataset(IMPORTANCE),),
        "generator": (generator(CLICKED, IMPORTANCE),),
        "sequence": (Batches(CLICKED, IMPORTANCE),),
    }[form]
    extra = {"sample_weight": IMPORTANCE} if form == "array" else {}
    history = model.fit(*data, shuffle=False, verbose=0, **extra).history
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    assert_equal_weights(model, expected)


@pytest.mark.parametrize("form", ["array", "dataset"])
def test_fit_class_weight_scales_the_loss_of_documents(form):
    model = made()
    importance = np.array([OF_CLASS[doc] for doc in CLICKED])
    data = (X, CLICKED) if form == "array" else (dataset(),)
    history = model.fit(*data, shuffle=False, verbose=0, class_weight=OF_CLASS).history
    expected, loss = steps_by_hand(*BOTH, importance=importance)
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    assert_equal_weights(model, expected)


def test_fit_class_weight_and_sample_weight_multiply():
    model = made()
    both = IMPORTANCE * np.array([OF_CLASS[doc] for doc in CLICKED], np.float32)
    data = tf.data.Dataset.from_tensor_slices((X, CLICKED, IMPORTANCE)).batch(20, drop_remainder=True)
    model.fit(data, class_weight=OF_CLASS, verbose=0)
    assert_equal_weights(model, steps_by_hand(slice(0, 20), slice(20, N), importance=both)[0])


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_fit_batch_size_any(batch_size):
    model = made(run_eagerly=False)
    model.fit(X, CLICKED, batch_size=batch_size, shuffle=False, verbose=0)
    batches = [slice(row, min(row + batch_size, N)) for row in range(0, N, batch_size)]
    assert_equal_weights(model, steps_by_hand(*batches)[0])


@pytest.mark.slow
@pytest.mark.parametrize("validation_data", ["arrays", "weighted", "dataset", "generator", "sequence"])
def test_fit_validation_data_in_any_form_is_not_trained_on(validation_data):
    given = {
        "arrays": (X, CLICKED),
        "weighted": (X, CLICKED, IMPORTANCE),
        "dataset": dataset(),
        "generator": generator(CLICKED),
        "sequence": Batches(CLICKED),
    }[validation_data]
    model, train = made(metrics=["accuracy"]), slice(0, 10)
    history = model.fit(
        (IDS[train], TIMES[train]), CLICKED[train], validation_data=given, validation_split=0.5, verbose=0
    ).history
    assert_equal_weights(model, steps_by_hand(train)[0])
    losses = losses_by_hand(model).numpy() * (IMPORTANCE if validation_data == "weighted" else 1.0)
    right = np.mean(np.argmax(model(*X), -1) == CLICKED)
    np.testing.assert_allclose(history["val_loss"], [losses.mean()], rtol=1e-5)
    np.testing.assert_allclose(history["val_accuracy"], [right], rtol=1e-5)


def test_fit_validation_split_takes_the_last_rows_before_shuffling():
    model = made()
    history = model.fit(X, CLICKED, validation_split=0.25, verbose=0).history
    assert_equal_weights(model, steps_by_hand(slice(0, 30))[0])
    np.testing.assert_allclose(history["val_loss"], [np.mean(losses_by_hand(model, slice(30, N)))], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("validation_freq", "validated"), [(2, [2, 4]), ([1, 4, 5], [1, 4, 5])])
def test_fit_validation_freq_chooses_epochs(validation_freq, validated):
    epochs = []
    note = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: epochs.append(epoch + 1) if "val_loss" in logs else None
    )
    made().fit(X, CLICKED, epochs=5, validation_split=0.5, validation_freq=validation_freq, verbose=0, callbacks=[note])
    assert epochs == validated


def test_fit_validation_steps_start_from_the_same_rows_every_epoch():
    model = made(optimizer=tf.keras.optimizers.SGD(0.0))
    held = dataset(batch=8).repeat()
    history = model.fit(X, CLICKED, epochs=2, validation_data=held, validation_steps=2, verbose=0).history
    np.testing.assert_allclose(history["val_loss"], [np.mean(losses_by_hand(model, slice(0, 16)))] * 2, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "batches"), [({}, 4), ({"validation_batch_size": 20}, 2)])
def test_fit_validation_batch_size_is_batch_size_by_default(arguments, batches):
    counts = Batch()
    made().fit(X, CLICKED, batch_size=10, validation_data=(X, CLICKED), verbose=0, callbacks=[counts], **arguments)
    assert counts.tested == batches


@pytest.mark.slow
def test_fit_epochs_are_final_and_initial_epoch_is_where_it_starts():
    model, whole = made(), made()
    whole.fit(X, CLICKED, epochs=3, shuffle=False, verbose=0)
    first = model.fit(X, CLICKED, epochs=2, shuffle=False, verbose=0)
    second = model.fit(X, CLICKED, epochs=3, initial_epoch=2, shuffle=False, verbose=0)
    assert (first.epoch, second.epoch) == ([0, 1], [2])
    assert_equal_weights(model, whole)
    assert_equal_weights(model, steps_by_hand(*BOTH * 3)[0])


@pytest.mark.slow
def test_fit_steps_per_epoch_of_an_endless_dataset():
    model = made()
    model.fit(dataset().repeat(), steps_per_epoch=3, epochs=2, verbose=0)
    assert_equal_weights(model, steps_by_hand(*BOTH * 3)[0])
    stop = Batch(stop_after=5)
    made().fit(dataset().repeat(), steps_per_epoch=-1, verbose=0, callbacks=[stop])
    assert stop.trained == 5


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_fit_shuffle_reorders_whole_rows_before_each_epoch(shuffle):
    """Keras's own "batch" shuffles ids, times and targets apart, so that each row is made of several users."""
    seen = []

    class Seeing(CollabFilteringModel):
        def train_step(self, data):
            (ids, times), clicked = data
            seen.extend(np.concatenate([ids, times, clicked[:, tf.newaxis]], axis=-1))
            return super().train_step(data)

    tf.keras.utils.set_random_seed(1)
    model = Seeing(U, D, E, H)
    model.compile("sgd", made().loss, run_eagerly=True)
    model.fit(X, CLICKED, 8, 2, 0, None, 0.0, None, shuffle)  # by position, as the reference page has it
    epochs, rows = np.reshape(seen, (2, N, -1)), np.concatenate([IDS, TIMES, CLICKED[:, np.newaxis]], axis=-1)
    for epoch in epochs:
        np.testing.assert_allclose(sorted(map(tuple, epoch)), sorted(map(tuple, rows)), rtol=1e-6)
        assert np.allclose(epoch, rows) == (shuffle is False)
    assert (epochs[0] == epochs[1]).all() == (shuffle is False)


@pytest.mark.parametrize(("verbose", "printed"), [(0, False), (1, True), (2, True), ("auto", True)])
def test_fit_verbose_prints_or_not(verbose, printed, capsys):
    made().fit(X, CLICKED, verbose=verbose)
    assert ("loss:" in capsys.readouterr().out) == printed


@pytest.mark.slow  # Keras waits for its processes to close
def test_fit_workers_queue_size_and_use_multiprocessing_change_nothing():
    model = made()
    model.fit(Batches(CLICKED), workers=2, max_queue_size=2, use_multiprocessing=True, shuffle=False, verbose=0)
    assert_equal_weights(model, steps_by_hand(*BOTH)[0])


# fit: what it refuses


def test_fit_raises_runtime_error_if_never_compiled():
    with pytest.raises(RuntimeError, match="must compile your model"):
        CollabFilteringModel(U, D, E, H).fit(X, CLICKED)


def test_fit_raises_runtime_error_in_a_tf_function():
    model = made()
    with pytest.raises(RuntimeError, match=r"Model\.fit"):
        tf.function(lambda: model.fit(X, CLICKED))()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: {"x": X, "y": CLICKED[:-1]}, "cardinality is ambiguous"),
        (lambda: {"x": (IDS, TIMES[:-1]), "y": CLICKED}, "cardinality is ambiguous"),
        (lambda: {"x": X, "y": CLICKED, "sample_weight": IMPORTANCE[1:]}, "cardinality is ambiguous"),
        (lambda: {"x": (IDS[:0], TIMES[:0]), "y": CLICKED[:0]}, "input data to be non-empty"),
        (lambda: {"x": X, "y": CLICKED, "batch_size": 0}, "batch_size to be positive"),
        (lambda: {"x": X, "y": CLICKED, "validation_split": 1.0}, "not sufficient to split"),
        (lambda: {"x": X}, "Target data is missing"),
        (lambda: {"x": dataset(), "y": CLICKED}, "`y` argument is not supported when using dataset"),
        (lambda: {"x": generator(CLICKED), "y": CLICKED}, "`y` argument is not supported when using python generator"),
        (lambda: {"x": Batches(CLICKED), "y": CLICKED}, r"`y` argument is not supported when using `keras\.utils\.Seq"),
        (lambda: {"x": dataset(), "sample_weight": IMPORTANCE}, "`sample_weight` argument is not supported"),
        (lambda: {"x": generator(CLICKED), "sample_weight": IMPORTANCE}, "`sample_weight` argument is not supported"),
        (lambda: {"x": Batches(CLICKED), "sample_weight": IMPORTANCE}, "`sample_weight` argument is not supported"),
        (
            lambda: {"x": dataset(), "validation_split": 0.5},
            "`validation_split` is only supported for Tensors or NumPy",
        ),
        (lambda: {"x": generator(CLICKED), "validation_split": 0.5}, "`validation_split` is only supported for"),
        (lambda: {"x": Batches(CLICKED), "validation_split": 0.5}, "`validation_split` is only supported for"),
    ],
)
def test_fit_raises_value_error_for_data_that_does_not_match(given, message):
    model = made()
    with pytest.raises(ValueError, match=message):
        model.fit(**given(), verbose=0)
    assert_equal_weights(model, AS_MADE)


@pytest.mark.slow
def test_fit_raises_value_error_for_targets_of_another_shape_or_no_loss():
    with pytest.raises(ValueError, match="Dimensions must be equal, but are 7 and 8"):
        made(loss="mse", run_eagerly=False).fit(X, np.zeros((N, D + 1)), verbose=0)
    with pytest.raises(ValueError, match="No loss found"):
        made(loss=None).fit(X, CLICKED, verbose=0)


@pytest.mark.slow
def test_fit_refuses_a_clicked_document_that_does_not_exist():
    model = made(run_eagerly=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"label value of {D} which is outside"):
        model.fit(X, np.where(np.arange(N) == 3, D, CLICKED), verbose=0)
    assert_equal_weights(model, AS_MADE)


def test_fit_reads_namedtuples_by_position_and_refuses_another_order():
    model = made()
    right = collections.namedtuple("Right", ["x", "y"])
    model.fit(tf.data.Dataset.from_tensors(right(X, CLICKED)), verbose=0)
    assert_equal_weights(model, steps_by_hand(slice(None))[0])
    wrong = collections.namedtuple("Wrong", ["y", "x"])
    with pytest.raises(ValueError, match="c_time_history is missing"):
        model.fit(tf.data.Dataset.from_tensors(wrong(CLICKED, X)), verbose=0)
