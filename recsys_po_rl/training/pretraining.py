"""Pretraining of a scorer on logs: cross-entropy of the document that a user consumes next, by Keras's `fit`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import ranking, statistics
from recsys_po_rl.scoring import calling
from recsys_po_rl.scoring.stateful import StatefulScorer
from recsys_po_rl.training.examples import Examples, HistoryExamples, SequenceExamples
from recsys_po_rl.training.sequences import Sequences

SCORER, POPULARITY, RANDOM = "scorer", "popularity", "random"  # rankings that are compared


class Epoch(NamedTuple):
    """Losses of an epoch, in nats per consumed document."""

    epoch: int  # from 1
    loss: float  # of the training users, mean over the epoch
    validation_loss: float


class Fitted(NamedTuple):
    """Result of a pretraining; the scorer has the weights of the best epoch."""

    epochs: list[Epoch]
    best_epoch: int


class NextDocumentModel(tf.keras.Model):
    """Keras model around a scorer: scores of all documents before each click.

    Inputs are those of `HistoryExamples` or `SequenceExamples`, the output is [C, D].

    Attributes:
      jit_compiled: whether XLA compiles a training step.
    """

    jit_compiled = False

    def __init__(self, scorer: tf.keras.Model) -> None:
        """Create the model; its weights are those of the scorer."""
        super().__init__(name="next_document")
        self.scorer = scorer
        self._mean_loss = tf.keras.metrics.Mean("loss")

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The mean loss, which Keras resets at each epoch."""
        return [self._mean_loss]

    def call(self, inputs: Sequence[tf.Tensor], training: Optional[bool] = None) -> tf.Tensor:
        """Return the scores; compute dtype [C, D]."""
        del training  # Keras passes it to the scorer
        return calling.scores(self.scorer, *inputs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Update the weights once and return the mean loss of the epoch so far."""
        inputs, doc_ids, weights = data
        with tf.GradientTape() as tape:
            loss = _cross_entropy(self(inputs, training=True), doc_ids, weights)
        gradients = tape.gradient(loss.mean, self.trainable_variables)
        self.optimizer.apply_gradients(
            (gradient, variable)
            for gradient, variable in zip(gradients, self.trainable_variables, strict=True)
            if gradient is not None  # parts that the scores do not depend on
        )
        self._mean_loss.update_state(loss.mean, sample_weight=loss.num_examples)
        return {"loss": self._mean_loss.result()}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Return the mean loss so far."""
        inputs, doc_ids, weights = data
        loss = _cross_entropy(self(inputs, training=False), doc_ids, weights)
        self._mean_loss.update_state(loss.mean, sample_weight=loss.num_examples)
        return {"loss": self._mean_loss.result()}


class NextDocumentOfSequenceModel(NextDocumentModel):
    """`NextDocumentModel` of a scorer that carries a state, updated at each step as its recommender does."""

    scorer: StatefulScorer
    jit_compiled = True  # hundreds of small operations at each step of a sequence

    def call(self, inputs: Sequence[tf.Tensor], training: Optional[bool] = None) -> tf.Tensor:
        """Return the scores before each step, by step, then row; compute dtype [C, D]."""
        del training
        shown, clicked, times = inputs
        initial = self.scorer.initial_state(tf.shape(clicked)[1])
        after = tf.scan(self._next_state, (shown[:-1], clicked[:-1], times[:-1]), initial)
        before = {name: tf.concat([initial[name][tf.newaxis], after[name]], axis=0) for name in initial}
        flat = {name: tf.reshape(state, (-1, *initial[name].shape[1:])) for name, state in before.items()}
        return self.scorer.score_state(flat)

    def _next_state(self, state: Mapping[str, tf.Tensor], step: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        shown, clicked, times = step
        slate_size = shown.shape[1]
        consumed = tf.gather(shown, tf.minimum(clicked, slate_size - 1), batch_dims=1)
        following = self.scorer.next_state(state, consumed, times, clicked < slate_size)
        if self.scorer.memory:
            following = self.scorer.read_step(following, shown, clicked, times)
        return following


class _Loss(NamedTuple):
    mean: tf.Tensor  # float32, scalar
    num_examples: tf.Tensor  # float32, scalar, without padding


def _cross_entropy(scores: tf.Tensor, doc_ids: tf.Tensor, weights: tf.Tensor) -> _Loss:
    """Return the weighted mean of minus the log-probabilities of documents; padding has id 0 and weight 0."""
    columns = tf.maximum(doc_ids - 1, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(columns, tf.cast(scores, tf.float32))
    num_examples = tf.reduce_sum(tf.cast(doc_ids > 0, tf.float32))
    return _Loss(tf.reduce_sum(weights * losses) / num_examples, num_examples)


def carries_state(scorer: Any) -> bool:
    """Return whether a scorer reads whole sequences instead of the last H documents."""
    return bool(getattr(scorer, "carries_state", False))


def keeps_slates(scorer: Any) -> bool:
    """Return whether a scorer also reads the slates shown, clicked or not."""
    return carries_state(scorer) and bool(scorer.memory)


def examples_for(
    scorer: Any, sequences: Sequences, users: np.ndarray, weights: np.ndarray, history_length: int, batch_size: int
) -> Examples:
    """Return examples of the form that a scorer needs.

    Args:
      scorer: the scorer.
      sequences: with slates if `keeps_slates(scorer)`, else without.
      users: int [n], numbers of the users.
      weights: float32 [M], weight of each click.
      history_length: H.
      batch_size: examples of a batch.
    """
    if carries_state(scorer):
        return SequenceExamples(sequences, users, weights, batch_size)
    return HistoryExamples(sequences, users, weights, history_length, batch_size)


def model_of(scorer: Any) -> NextDocumentModel:
    """Return the Keras model that trains a scorer.

    Raises:
      InvalidTypeError: if the scorer is not a Keras model.
    """
    if not isinstance(scorer, tf.keras.Model):
        raise validation.InvalidTypeError(
            f"pretraining needs a scorer that is a tf.keras.Model, got {type(scorer).__name__}"
        )
    return NextDocumentOfSequenceModel(scorer) if carries_state(scorer) else NextDocumentModel(scorer)


def fit(
    model: NextDocumentModel,
    training: Examples,
    held_out: Examples,
    optimizer: tf.keras.optimizers.Optimizer,
    num_epochs: int,
    patience: int,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> Fitted:
    """Train a scorer until the loss of held-out users has not improved for several epochs.

    Args:
      model: result of `model_of`; its scorer receives the weights of the best epoch.
      training: examples of the training users.
      held_out: examples of the validation users.
      optimizer: a fresh optimizer.
      num_epochs: largest number of epochs.
      patience: epochs without a lower validation loss after which the training stops, at least 1.
      seed: of the order of the examples.
      on_epoch: called after each epoch.
      callbacks: further callbacks, such as a progress bar.

    Raises:
      InvalidInputError: if a loss is not finite.
    """
    epochs: list[Epoch] = []

    def end_epoch(number: int, logs: Mapping[str, float]) -> None:
        epochs.append(Epoch(number + 1, float(logs["loss"]), float(logs["val_loss"])))
        if not np.isfinite(epochs[-1][1:]).all():
            raise validation.InvalidInputError(
                f"the loss of epoch {number + 1} is not finite: a smaller learning rate of the optimizer may help"
            )
        on_epoch(epochs[-1])

    stopping = tf.keras.callbacks.EarlyStopping(monitor="val_loss", patience=patience, restore_best_weights=True)
    model.compile(optimizer=optimizer, jit_compile=model.jit_compiled)
    model.fit(
        training.dataset(seed),
        validation_data=held_out.dataset(),
        epochs=num_epochs,
        callbacks=[tf.keras.callbacks.LambdaCallback(on_epoch_end=end_epoch), stopping, *callbacks],
        verbose=0,
    )
    model.set_weights(stopping.best_weights)  # Keras restores them only where the training stops early
    return Fitted(epochs, min(epochs, key=lambda epoch: epoch.validation_loss).epoch)


def popularity(sequences: Sequences, users: np.ndarray, num_docs: int) -> np.ndarray:
    """Return how often users consumed each document; int64 [D].

    Args:
      sequences: the sequences.
      users: int [n], numbers of the users.
      num_docs: D.
    """
    is_chosen = np.zeros(len(sequences.user_ids), np.bool_)
    is_chosen[users] = True
    docs = sequences.docs[is_chosen[sequences.user_of_step]]
    return np.bincount(docs, minlength=num_docs + 1)[1:]


UserMeans = Mapping[str, Mapping[str, np.ndarray]]  # float64 [n] by ranking and measure, in the order of the users


def user_means(model: NextDocumentModel, examples: Examples, popularities: np.ndarray) -> UserMeans:
    """Return the mean of each measure over each user's clicks, under the scorer, popularity and random rankings.

    Args:
      model: result of `model_of`.
      examples: examples of held-out users.
      popularities: float [D], number of clicks of each document.
    """
    values: dict[str, dict[str, list[np.ndarray]]] = {
        name: {measure: [] for measure in ranking.MEASURES} for name in (SCORER, POPULARITY, RANDOM)
    }
    users = []
    for batch in examples.batches():
        is_example = batch.doc_ids > 0
        scores = {
            SCORER: np.asarray(model.predict_on_batch(batch.inputs), np.float32)[is_example],
            POPULARITY: popularities,
            RANDOM: np.zeros(len(popularities)),
        }
        users.append(batch.users[is_example])
        for name, of_ranking in scores.items():
            for measure, of_examples in ranking.measures(ranking.ranks(of_ranking, batch.doc_ids[is_example])).items():
                values[name][measure].append(of_examples)
    of_example = np.concatenate(users)
    return {
        name: {measure: ranking.by_user(np.concatenate(parts), of_example) for measure, parts in by_measure.items()}
        for name, by_measure in values.items()
    }


Estimates = Mapping[str, Mapping[str, statistics.Estimate]]  # by ranking and measure


def estimates(means: UserMeans) -> Estimates:
    """Return means over users with their 95% intervals."""
    return {
        name: {measure: statistics.mean_interval(values) for measure, values in by_measure.items()}
        for name, by_measure in means.items()
    }


def differences(means: UserMeans) -> Estimates:
    """Return the scorer's measures minus those of each other ranking, paired by user."""
    return {
        name: {
            measure: statistics.paired_difference(means[SCORER][measure], values)
            for measure, values in by_measure.items()
        }
        for name, by_measure in means.items()
        if name != SCORER
    }
