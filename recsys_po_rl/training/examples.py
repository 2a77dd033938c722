"""Batches of "history, then the document consumed next" from sequences, as NumPy arrays and through `tf.data`."""

import abc
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl.training.sequences import Sequences

MAX_PIECE_STEPS = 200  # of a sequence that a stateful scorer reads at once: twice the default horizon


class Batch(NamedTuple):
    """Examples, padding included C of them."""

    inputs: tuple[np.ndarray, ...]  # see the class that makes them
    doc_ids: np.ndarray  # int32 [C], documents consumed next, 1 to D; 0 pads a batch
    weights: np.ndarray  # float32 [C], 0 in the padding
    users: np.ndarray  # int64 [C], numbers of their users in the sequences


class Examples(abc.ABC):
    """Examples of a set of users.

    Attributes:
      num_batches: batches in which each example occurs once.
      num_examples: number of examples.
    """

    num_batches: int
    num_examples: int

    @abc.abstractmethod
    def batches(self, generator: Optional[np.random.Generator] = None) -> Iterator[Batch]:
        """Yield batches in which each example occurs once.

        Args:
          generator: shuffles the examples; None: they come by user and step.
        """

    @abc.abstractmethod
    def input_specs(self) -> tuple[tf.TensorSpec, ...]:
        """Return the specs of a batch's inputs."""

    def dataset(self, seed: Optional[int] = None) -> tf.data.Dataset:
        """Return a dataset of (inputs, doc_ids, weights); each pass over it is one epoch.

        One batch is made while another is used: memory does not grow with the number of examples.

        Args:
          seed: of the order, a new one in each epoch; None: examples come by user and step.
        """
        epochs = iter(range(2**31))

        def generate() -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]]:
            generator = None if seed is None else np.random.default_rng([seed, next(epochs)])
            for batch in self.batches(generator):
                yield batch.inputs, batch.doc_ids, batch.weights

        of_examples = (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32))
        dataset = tf.data.Dataset.from_generator(generate, output_signature=(self.input_specs(), *of_examples))
        return dataset.apply(tf.data.experimental.assert_cardinality(self.num_batches)).prefetch(1)


class HistoryExamples(Examples):
    """Examples for scorers of histories: the last H documents and times, as a `HistoryRecommender` holds them.

    Inputs: int32 [C, H] ids and float32 [C, H] times, newest last, zero where nothing was consumed yet.
    """

    def __init__(
        self, sequences: Sequences, users: np.ndarray, weights: np.ndarray, history_length: int, batch_size: int
    ) -> None:
        """Prepare the examples.

        Args:
          sequences: the sequences; steps without a click must be left out.
          users: int [n], numbers of the users.
          weights: float32 [M], weight of each click.
          history_length: H.
          batch_size: examples of a batch.
        """
        self._docs, self._times, self._weights = sequences.docs, sequences.times, weights
        self._first = sequences.first
        self._history_length = history_length
        self._batch_size = batch_size
        is_chosen = np.zeros(len(sequences.user_ids), np.bool_)
        is_chosen[users] = True
        self._steps = np.flatnonzero(np.repeat(is_chosen, np.diff(sequences.first)))
        self.num_examples = len(self._steps)
        self.num_batches = -(-self.num_examples // batch_size)

    def input_specs(self) -> tuple[tf.TensorSpec, ...]:
        """Return the specs of ids and times."""
        shape = (None, self._history_length)
        return tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape, tf.float32)

    def batches(self, generator: Optional[np.random.Generator] = None) -> Iterator[Batch]:
        """Yield batches; see `Examples.batches`."""
        steps = self._steps if generator is None else generator.permutation(self._steps)
        for begin in range(0, len(steps), self._batch_size):
            yield self._batch(steps[begin : begin + self._batch_size])

    def _batch(self, steps: np.ndarray) -> Batch:
        users = np.searchsorted(self._first, steps, side="right") - 1
        history = steps[:, np.newaxis] + np.arange(-self._history_length, 0)
        is_own = history >= self._first[users][:, np.newaxis]
        history = np.where(is_own, history, 0)
        inputs = (np.where(is_own, self._docs[history], 0), np.where(is_own, self._times[history], np.float32(0.0)))
        return Batch(inputs, self._docs[steps], self._weights[steps], users)


class SequenceExamples(Examples):
    """Examples for scorers that carry a state: whole sequences, read from the first step on.

    A sequence of more than `MAX_PIECE_STEPS` steps is cut into pieces, each of which begins with the initial state.
    Every step of every piece is an example, by step, then piece; those without a click are padding.

    Inputs, of B pieces of L steps; L is a power of two, so that batches have few different shapes:
      shown: int32 [L, B, S], 0 for empty slots.
      clicked: int32 [L, B], the clicked slot, S for none.
      times: float32 [L, B].
    """

    def __init__(self, sequences: Sequences, users: np.ndarray, weights: np.ndarray, batch_size: int) -> None:
        """Prepare the examples.

        Args:
          sequences: the sequences.
          users: int [n], numbers of the users.
          weights: float32 [M], weight of each click.
          batch_size: examples of a batch, approximately: a batch consists of whole pieces.
        """
        self._sequences, self._weights = sequences, weights
        self._docs, is_click = sequences.docs, sequences.is_click
        begins, ends = sequences.first[users], sequences.first[users + 1]
        num_pieces = -(-(ends - begins) // MAX_PIECE_STEPS)
        owners = np.repeat(np.arange(len(users)), num_pieces)
        offsets = np.arange(len(owners)) - np.repeat(np.cumsum(num_pieces) - num_pieces, num_pieces)
        begins = begins[owners] + MAX_PIECE_STEPS * offsets
        ends = np.minimum(begins + MAX_PIECE_STEPS, ends[owners])
        clicks_before = np.concatenate([[0], np.cumsum(is_click)])
        clicks = clicks_before[ends] - clicks_before[begins]
        self._pieces = np.stack([begins, ends, users[owners]], axis=1)[clicks > 0]
        self.num_examples = int(clicks.sum())
        share = min(1.0, batch_size / max(1, self.num_examples))
        self._pieces_of_batch = max(1, round(share * len(self._pieces)))
        self.num_batches = -(-len(self._pieces) // self._pieces_of_batch)

    def input_specs(self) -> tuple[tf.TensorSpec, ...]:
        """Return the specs of shown, clicked and times."""
        return (
            tf.TensorSpec((None, None, self._sequences.shown.shape[1]), tf.int32),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None, None), tf.float32),
        )

    def batches(self, generator: Optional[np.random.Generator] = None) -> Iterator[Batch]:
        """Yield batches; see `Examples.batches`."""
        pieces = self._pieces if generator is None else generator.permutation(self._pieces)
        for begin in range(0, len(pieces), self._pieces_of_batch):
            yield self._batch(pieces[begin : begin + self._pieces_of_batch])

    def _batch(self, pieces: np.ndarray) -> Batch:
        padding = np.zeros((self._pieces_of_batch - len(pieces), 3), pieces.dtype)
        begins, ends, users = np.concatenate([pieces, padding]).T
        length = 1 << int((ends - begins).max() - 1).bit_length()
        steps = begins + np.arange(length)[:, np.newaxis]  # [L, B]
        is_step = steps < ends
        steps = np.where(is_step, steps, 0)
        sequences, size = self._sequences, self._sequences.shown.shape[1]
        shown = np.where(is_step[..., np.newaxis], sequences.shown[steps], 0)
        clicked = np.where(is_step, sequences.clicked[steps], size).astype(np.int32)
        times = np.where(is_step, sequences.times[steps], np.float32(0.0))
        doc_ids = np.where(clicked < size, self._docs[steps], 0)
        weights = np.where(clicked < size, self._weights[steps], np.float32(0.0))
        owners = np.broadcast_to(users, doc_ids.shape)
        return Batch((shown, clicked, times), doc_ids.ravel(), weights.ravel(), owners.ravel())
