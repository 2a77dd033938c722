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
        horizon = int(others[0][0].shape[0])
        num_parts = 1 if self._replay.carries_state else max(1, programs // len(recordings))
        bounds = [part * horizon // num_parts for part in range(num_parts + 1)]
        # Computed once for all parts, and outside of the program that XLA compiles.
        with tf.GradientTape() as tape:
            known = self._replay.invariants()
        parts = [
            self._part(recording, list(of_batch), known, tf.constant(start), tf.constant(stop))
            for recording, of_batch in zip(recordings, others, strict=True)
            for start, stop in itertools.pairwise(bounds)
        ]
        sums = [tf.add_n(of_source) for of_source in zip(*(part.gradients for part in parts))]
        gradients, through = sums[: len(self._variables)], sums[len(self._variables) :]
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
        return ReplayGradient(gradients, tf.add_n([part.statistics for part in parts]))

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
