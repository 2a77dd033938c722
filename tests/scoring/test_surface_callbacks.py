"""fit with Keras's callbacks and on two replicas, and bad input, which must not train or score anything.

Keras averages the loss over replicas whatever rows each holds, so a mean loss weighs the rows of an unevenly split
batch unevenly; the sum is exact for every batch. BackupAndRestore is exact between epochs; in the middle of one, Keras
starts arrays from their first row again.
"""

import csv
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.scoring import CollabFilteringModel

N, U, D, E, H = 40, 9, 7, 3, 5
RANDOM = np.random.RandomState(0)
IDS = RANDOM.randint(0, D + 1, (N, H)).astype(np.int32)
TIMES = RANDOM.uniform(-1.0, 2.0, (N, H)).astype(np.float32)
CLICKED = RANDOM.randint(0, D, N).astype(np.int32)
X = (IDS, TIMES)
MODEL = CollabFilteringModel(U, D, E, H)
MODEL.build((None, H))
WEIGHTS = [RANDOM.normal(0.0, 0.5, weight.shape) for weight in MODEL.get_weights()]
callbacks = tf.keras.callbacks


def made(optimizer="adam", **compile_arguments):
    model = CollabFilteringModel(U, D, E, H)
    model.build((None, H))
    model.set_weights(WEIGHTS)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, **compile_arguments)
    return model


def assert_same_weights(weights, others):
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-6, atol=1e-7)


class Kept(callbacks.Callback):
    """The weights after each epoch."""

    def on_train_begin(self, logs=None):
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


# ModelCheckpoint


@pytest.mark.slow
@pytest.mark.parametrize("file", ["best.keras", "best"])
def test_fit_model_checkpoint_save_best_only_keeps_the_best_model(file, tmp_path):
    path = str(tmp_path / file)
    held = callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
    kept, rate = Kept(), callbacks.LearningRateScheduler(lambda epoch: 0.02 if epoch < 3 else 50.0)
    model = made()
    history = model.fit(
        X, CLICKED, epochs=4, validation_data=(X, CLICKED), verbose=0, callbacks=[rate, kept, held]
    ).history
    assert np.argmin(history["val_loss"]) == 2
    loaded = tf.keras.models.load_model(path)
    assert_same_weights(loaded.get_weights(), kept.weights[2])
    np.testing.assert_allclose(loaded.evaluate(X, CLICKED, verbose=0), history["val_loss"][2], rtol=1e-5)
    assert loaded.optimizer.iterations == 6
    assert loaded.predict((IDS[:7], TIMES[:7]), verbose=0).shape == (7, D)


@pytest.mark.slow
def test_fit_model_checkpoint_of_every_epoch_and_of_weights_only(tmp_path):
    kept, model = Kept(), made()
    saved = [
        callbacks.ModelCheckpoint(str(tmp_path / "model-{epoch}.keras")),
        callbacks.ModelCheckpoint(str(tmp_path / "weights-{epoch}.h5"), save_weights_only=True),
        callbacks.ModelCheckpoint(str(tmp_path / "checkpoint-{epoch}"), save_weights_only=True, save_freq=2),
    ]
    model.fit(X, CLICKED, epochs=3, verbose=0, callbacks=[kept, *saved])
    fresh = made()
    for epoch, weights in enumerate(kept.weights, start=1):
        loaded = tf.keras.models.load_model(str(tmp_path / f"model-{epoch}.keras"))
        assert_same_weights(loaded.get_weights(), weights)
        fresh.load_weights(str(tmp_path / f"weights-{epoch}.h5"))
        assert_same_weights(fresh.get_weights(), weights)
        fresh.load_weights(str(tmp_path / f"checkpoint-{epoch}"))
        assert_same_weights(fresh.get_weights(), weights)


# the other callbacks


@pytest.mark.slow
def test_fit_early_stopping_restores_the_best_weights():
    model = made()
    stop = callbacks.EarlyStopping(monitor="loss", patience=0, restore_best_weights=True)
    kept, rate = Kept(), callbacks.LearningRateScheduler(lambda epoch: 0.05 if epoch < 3 else 50.0)
    history = model.fit(X, CLICKED, epochs=9, verbose=0, callbacks=[rate, kept, stop]).history
    best = int(np.argmin(history["loss"]))
    assert len(history["loss"]) == best + 2 < 9
    assert_same_weights(model.get_weights(), kept.weights[best])


@pytest.mark.slow
def test_fit_reduce_lr_on_plateau_lowers_the_rate():
    plateau = callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=2, min_delta=1e9)
    model = made(tf.keras.optimizers.SGD(0.08))
    rates = model.fit(X, CLICKED, epochs=6, verbose=0, callbacks=[plateau]).history["lr"]
    np.testing.assert_allclose(rates, [0.08, 0.08, 0.08, 0.04, 0.04, 0.02], rtol=1e-6)


@pytest.mark.slow
def test_fit_csv_logger_writes_the_history(tmp_path):
    path = tmp_path / "log.csv"
    history = made(metrics=["accuracy"]).fit(
        X, CLICKED, epochs=3, validation_split=0.25, verbose=0, callbacks=[callbacks.CSVLogger(str(path))]
    )
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose([float(row[key]) for row in rows], history.history[key], rtol=1e-6)


@pytest.mark.slow
def test_fit_tensor_board_writes_losses_and_histograms(tmp_path):
    board = callbacks.TensorBoard(str(tmp_path), histogram_freq=1, write_graph=True)
    history = made().fit(X, CLICKED, epochs=3, validation_split=0.25, verbose=0, callbacks=[board]).history
    for folder, key in (("train", "loss"), ("validation", "val_loss")):
        written, tags = [], set()
        for file in (tmp_path / folder).glob("events*"):
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                for value in event.summary.value:
                    tags.add(value.tag)
                    if value.tag == "epoch_loss":
                        written.append(float(tf.make_ndarray(value.tensor)))
        np.testing.assert_allclose(written, history[key], rtol=1e-6)
        if folder == "train":
            assert sum("embeddings" in tag for tag in tags) == 2
            assert any("hist_emb_layer" in tag for tag in tags)


@pytest.mark.slow
def test_fit_backup_and_restore_continues_an_interrupted_fit(tmp_path):
    class InterruptedFitError(Exception):
        pass

    class Interrupting(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise InterruptedFitError

    data = {"x": X, "y": CLICKED, "batch_size": 16, "epochs": 5, "shuffle": False, "verbose": 0}
    whole = made()
    history = whole.fit(**data).history
    with pytest.raises(InterruptedFitError):
        made().fit(**data, callbacks=[callbacks.BackupAndRestore(str(tmp_path)), Interrupting()])
    resumed = made()
    again = resumed.fit(**data, callbacks=[callbacks.BackupAndRestore(str(tmp_path))])
    assert again.epoch == [3, 4]
    np.testing.assert_allclose(again.history["loss"], history["loss"][3:], rtol=1e-6)
    assert_same_weights(resumed.get_weights(), whole.get_weights())
    assert resumed.optimizer.iterations == whole.optimizer.iterations == 15


# two replicas

TWO_REPLICAS = """
    import recsys_po_rl
    import numpy as np
    import tensorflow as tf
    from recsys_po_rl.scoring import CollabFilteringModel

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    N, U, D, E, H = 11, 9, 7, 3, 5
    random = np.random.RandomState(0)
    ids = random.randint(0, D + 1, (N, H)).astype(np.int32)
    times = random.uniform(-1.0, 2.0, (N, H)).astype(np.float32)
    clicked = random.randint(0, D, N)
    x = (ids, times)

    # Adam divides a gradient by its size: without a large epsilon the rounding of two replicas' sums moves weights
    # whose gradient is next to nothing.
    OPTIMIZERS = {"SGD": {}, "Adam": {"epsilon": 1e-3}}

    def made(reduction="sum", optimizer="SGD"):
        model = CollabFilteringModel(U, D, E, H)
        model.build((None, H))
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        compiled = getattr(tf.keras.optimizers, optimizer)(0.05, **OPTIMIZERS[optimizer])
        model.compile(compiled, loss, metrics=["accuracy"])
        return model

    one = made()
    start = one.get_weights()

    def assert_alike(batch, optimizer="SGD", reduction="sum"):
        one = made(reduction, optimizer)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert strategy.num_replicas_in_sync == 2
        with strategy.scope():
            two = made(reduction, optimizer)
        one.set_weights(start)
        two.set_weights(start)
        for model in (one, two):
            model.fit(x, clicked, batch_size=batch, epochs=2, shuffle=False, verbose=0)
        moved = max(np.abs(weight - old).max() for weight, old in zip(one.get_weights(), start))
        assert moved > 1e-3, moved
        for weight, other in zip(one.get_weights(), two.get_weights()):
            np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-5)
        scores = two.predict(x, batch_size=batch, verbose=0)
        assert scores.shape == (N, D)
        np.testing.assert_allclose(scores, one(*x), rtol=1e-3, atol=1e-4)
        found = two.evaluate(x, clicked, batch_size=batch, verbose=0, return_dict=True)
        np.testing.assert_allclose(found["accuracy"], np.mean(np.argmax(scores, -1) == clicked), rtol=1e-5)
        return two

    assert_alike(1)
    assert_alike(3, optimizer="Adam")
    N = 8  # a batch that divides: the mean is exact too
    x, clicked = (ids[:N], times[:N]), clicked[:N]
    two = assert_alike(4, reduction="sum_over_batch_size")
    before, bad = two.get_weights(), ids[:N].copy()
    bad[3, 1] = D + 1
    try:
        two.fit((bad, times[:N]), clicked, verbose=0)
    except tf.errors.InvalidArgumentError as error:
        assert "doc_id_history must be between 0 and 7" in str(error), error
    else:
        raise AssertionError("a document that does not exist was trained on")
    for weight, old in zip(two.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
    print("done")
"""


@pytest.mark.slow
def test_fit_evaluate_and_predict_on_two_replicas_equal_those_on_one(fresh_python):
    ran = fresh_python("-c", textwrap.dedent(TWO_REPLICAS))
    assert ran.stdout.endswith("done\n"), ran.stderr[-3000:]


# bad input


def changed(array, value, row=3):
    array = array.copy()
    array[row, 1] = value
    return array


SHAPES_AND_TYPES = {
    "rank 1": ((IDS[:, 0], TIMES[:, 0]), ValueError, r"doc_id_history must have shape \(batch, 5\), got \(None,\)"),
    "rank 3": ((IDS[..., None], TIMES), ValueError, r"doc_id_history must have shape \(batch, 5\), got \(None, 5, 1\)"),
    "short ids": ((IDS[:, 1:], TIMES), ValueError, r"doc_id_history must have shape \(batch, 5\), got \(None, 4\)"),
    "short times": ((IDS, TIMES[:, 1:]), ValueError, r"c_time_history must have shape \(batch, 5\), got \(None, 4\)"),
    "float ids": ((IDS.astype(np.float32), TIMES), TypeError, "doc_id_history must be an integer tensor, got float32"),
    "bool ids": ((IDS > 3, TIMES), TypeError, "doc_id_history must be an integer tensor, got bool"),
    "text times": ((IDS, TIMES.astype(str)), TypeError, "c_time_history must be a float tensor, got string"),
    "swapped": ((TIMES, IDS), TypeError, "doc_id_history must be an integer tensor, got float32"),
    "no times": (IDS, ValueError, "c_time_history is missing"),
    "three": ((IDS, TIMES, TIMES), ValueError, r"must be the pair \(doc_id_history, c_time_history\), got 3"),
    "dict without times": ({"doc_id_history": IDS}, ValueError, "the dict of inputs lacks c_time_history"),
    "dict of other names": ({"a": IDS, "b": TIMES}, ValueError, "lacks c_time_history, doc_id_history"),
}
VALUES = {
    "id below": ((changed(IDS, -1), TIMES), f"doc_id_history must be between 0 and {D}"),
    "id above": ((changed(IDS, D + 1), TIMES), f"doc_id_history must be between 0 and {D}"),
    "NaN": ((IDS, changed(TIMES, np.nan)), "c_time_history must be finite"),
    "infinite": ((IDS, changed(TIMES, np.inf)), "c_time_history must be finite"),
    "minus infinite": ((IDS, changed(TIMES, -np.inf)), "c_time_history must be finite"),
}


@pytest.mark.parametrize("method", ["fit", "predict"])
@pytest.mark.parametrize("case", SHAPES_AND_TYPES)
def test_fit_and_predict_refuse_input_of_another_shape_or_type(case, method):
    x, error, message = SHAPES_AND_TYPES[case]
    model = CollabFilteringModel(U, D, E, H)
    model.compile("sgd", made().loss)
    with pytest.raises(error, match=message):
        model.fit(x, CLICKED, verbose=0) if method == "fit" else model.predict(x, verbose=0)
    assert not model.built


@pytest.mark.slow
@pytest.mark.parametrize(("case", "run_eagerly"), [*((case, False) for case in VALUES), ("id above", True)])
def test_fit_predict_and_evaluate_refuse_ids_and_times_that_cannot_be(case, run_eagerly):
    x, message = VALUES[case]
    model = made(run_eagerly=run_eagerly)
    calls = [
        lambda: model.fit(x, CLICKED, batch_size=N, verbose=0),
        lambda: model.train_on_batch(x, CLICKED),
        lambda: model.evaluate(x, CLICKED, verbose=0),
        lambda: model.predict(x, verbose=0),
    ]
    for call in calls:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call()
    assert_same_weights(model.get_weights(), [np.float32(weight) for weight in WEIGHTS])


@pytest.mark.slow
def test_fit_trains_on_batches_before_the_bad_one_only():
    good, model = made(), made()
    good.fit((IDS[:32], TIMES[:32]), CLICKED[:32], shuffle=False, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="doc_id_history must be between"):
        model.fit((changed(IDS, D + 1, row=35), TIMES), CLICKED, shuffle=False, verbose=0)
    assert_same_weights(model.get_weights(), good.get_weights())


@pytest.mark.slow
@pytest.mark.parametrize("case", ["id above", "NaN"])
def test_fit_with_jit_compile_turns_bad_rows_into_nan(case):
    """Under XLA no operation can raise: the loss becomes NaN, and TerminateOnNaN ends the training."""
    x, _ = VALUES[case]
    model = made(jit_compile=True)
    scores = model.predict(x, verbose=0)
    assert np.isnan(scores[3]).all()
    others = np.arange(N) != 3
    np.testing.assert_allclose(scores[others], made()(*X).numpy()[others], rtol=1e-4, atol=1e-5)
    assert np.isnan(model.evaluate(x, CLICKED, verbose=0))
    history = model.fit(
        x, CLICKED, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[callbacks.TerminateOnNaN()]
    ).history
    assert np.isnan(history["loss"]).tolist() == [True]
    assert model.optimizer.iterations == 1
