"""Gradient of recorded slates in parts that XLA and TensorFlow compute in parallel."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from recsys_po_rl.training.replay import Loss, Recording, ReplayGradient, SlateReplay

PROGRAMS_AT_ONCE = 2  # parts of one batch's gradient that run in parallel


class SideBySideGradient:
    """Gradient of recorded slates in parts that run in parallel and are summed in a fixed order.

    Each batch of users is a part; a single batch is split into two halves of its steps.
    """

    def __init__(
        self, replay: SlateReplay, variables: Sequence[tf.Variable], loss: Loss, num_statistics: int, mode: str
    ) -> None:
        """Store the arguments; compilation happens at the first call.

        Args:
          replay: replay of the recommender's slates.
          variables: variables with respect to which the loss is differentiated.
          loss: as in `SlateReplay.gradients`.
          num_statistics: as in `SlateReplay.gradients`.
          mode: mode of the runtime, one of `runtime.MODES`.
        """
        self._replay = replay
        self._variables = list(variables)
        self._loss = loss
        self._num_statistics = num_statistics
        self.trace_count = 0
        jit_compile = True if mode == "xla" else None
        self._part: Callable[..., ReplayGradient] = self._one_part
        if mode != "eager":
            self._part = tf.function(functools.partial(self._one_part), jit_compile=jit_compile, autograph=False)

    def __call__(
        self,
        recordings: Sequence[Recording],
        others: Sequence[Sequence[tf.Tensor]],
        programs: int = PROGRAMS_AT_ONCE,
    ) -> ReplayGradient:
        """Compute the sum of the gradients over batches.

        Args:
          recordings: recording of each batch, with T steps or more.
          others: for each batch tensors [T, U].
          programs: target number of parallel parts: a batch is split into `programs // len(recordings)` parts, at
            least 1, if the state is not carried.
        """
        num_parts = self.num_parts(len(recordings), programs)
        # Computed once for all parts, and outside of the program that XLA compiles.
        with tf.GradientTape() as tape:
            known = self._replay.invariants()
        parts = [
            part
            for recording, of_batch in zip(recordings, others, strict=True)
            for part in self._parts(recording, of_batch, known, num_parts)
        ]
        return self._chained(_sum(parts), known, tape)

    def num_parts(self, num_batches: int, programs: int = PROGRAMS_AT_ONCE) -> int:
        """Return the number of parts into which each of `num_batches` batches is split."""
        return 1 if self._replay.carries_state else max(1, programs // num_batches)

    def of_batch(self, recording: Recording, others: Sequence[tf.Tensor], num_batches: int) -> ReplayGradient:
        """Compute one batch's term of the sum over `num_batches` batches, for `total`.

        Args:
          recording: recording of the batch, with T steps or more.
          others: tensors [T, U].
          num_batches: number of terms of the sum.

        Returns:
          The gradient with respect to the variables, then to the weight-only computations (`SlateReplay.invariants`).
        """
        return _sum(self._parts(recording, others, self._replay.invariants(), self.num_parts(num_batches)))

    def total(self, summed: ReplayGradient) -> ReplayGradient:
        """Compute the sum of the gradients over batches from the sum of their terms, see `of_batch`."""
        with tf.GradientTape() as tape:
            known = self._replay.invariants()
        return self._chained(summed, known, tape)

    def _parts(
        self, recording: Recording, others: Sequence[tf.Tensor], known: dict[Any, tf.Tensor], num_parts: int
    ) -> list[ReplayGradient]:
        horizon = int(others[0].shape[0])
        bounds = [part * horizon // num_parts for part in range(num_parts + 1)]
        return [
            self._part(recording, list(others), known, tf.constant(start), tf.constant(stop))
            for start, stop in itertools.pairwise(bounds)
        ]

    def _chained(self, summed: ReplayGradient, known: dict[Any, tf.Tensor], tape: tf.GradientTape) -> ReplayGradient:
        """Add the gradient that flows through the weight-only computations."""
        gradients, through = summed.gradients[: len(self._variables)], summed.gradients[len(self._variables) :]
        if known:
            chained = tape.gradient(
                list(known.values()),
                self._variables,
                output_gradients=through,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            gradients = [
                gradient + tf.convert_to_tensor(chained_gradient)
                for gradient, chained_gradient in zip(gradients, chained)
            ]
        return ReplayGradient(gradients, summed.statistics)

    def _one_part(
        self,
        recording: Recording,
        others: list[tf.Tensor],
        known: dict[Any, tf.Tensor],
        start: tf.Tensor,
        stop: tf.Tensor,
    ) -> ReplayGradient:
        self.trace_count += 1
        return self._replay.gradients(
            self._variables, self._loss, recording, others, self._num_statistics, known, start=start, stop=stop
        )


def _sum(terms: Sequence[ReplayGradient]) -> ReplayGradient:
    gradients = [tf.add_n(of_source) for of_source in zip(*(term.gradients for term in terms))]
    return ReplayGradient(gradients, tf.add_n([term.statistics for term in terms]))
