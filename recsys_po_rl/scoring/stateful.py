"""Contract of scorers whose state a recommender carries from step to step."""

from collections.abc import Mapping

import tensorflow as tf

from recsys_po_rl.scoring.base import HistoryScorer


class StatefulScorer(HistoryScorer):
    """Base of scorers that remember more than the last H documents.

    The recommender carries the scorer's state, tensors [B, ...] by name, from step to step. A subclass defines
    `initial_state`, `read_click` and `score_state` besides the methods of `HistoryScorer`. For up to H clicks, scores
    from the state must equal scores from the histories.

    A scorer with a `memory` also reads every step, clicked or not, by `read_step`. Called with histories, it treats
    each click as a step whose slate had the clicked document alone.

    Attributes:
      memory: what else the scorer remembers, of `scoring.memory.MEMORIES`; its recommender keeps the same.
    """

    carries_state = True
    memory: tuple[str, ...] = ()

    def initial_state(self, num_rows: int) -> dict[str, tf.Tensor]:
        """Return the state before any click: tensors [num_rows, ...] by name."""
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state")

    def read_click(self, state: Mapping[str, tf.Tensor], doc_ids: tf.Tensor, times: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the state after each row has consumed a document.

        Args:
          state: as `initial_state` returns it.
          doc_ids: integer [B], between 0 and D.
          times: compute dtype [B].
        """
        raise NotImplementedError(f"{type(self).__name__} does not define read_click")

    def read_step(
        self, state: Mapping[str, tf.Tensor], shown_ids: tf.Tensor, clicked: tf.Tensor, times: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return the state after a step; called after `read_click`, for every row, if the scorer has a `memory`.

        Args:
          state: the state after the click, if there was one.
          shown_ids: int [B, S], documents of the slate, 0 for empty slots.
          clicked: int [B], the clicked slot, S for none.
          times: float [B], consumed times, 0 in rows without a click.
        """
        raise NotImplementedError(f"{type(self).__name__} has a memory and does not define read_step")

    def score_state(self, state: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the scores of all documents from the state, compute dtype [B, D]."""
        raise NotImplementedError(f"{type(self).__name__} does not define score_state")

    def next_state(
        self, state: Mapping[str, tf.Tensor], doc_ids: tf.Tensor, times: tf.Tensor, clicked: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return the state after a response.

        Args:
          state: as `initial_state` returns it.
          doc_ids: integer [B], consumed documents, 1 to D; arbitrary in rows without a click.
          times: float [B], consumed times; arbitrary in rows without a click.
          clicked: bool [B], whether a document was consumed; other rows stay unchanged.

        Raises:
          tf.errors.InvalidArgumentError: if an id is outside 1..D (under XLA the row's state becomes NaN).
        """
        known = (doc_ids >= 1) & (doc_ids <= self.num_docs)
        assertion = tf.debugging.Assert(
            tf.reduce_all(known | ~clicked),
            [f"{self.name}: doc_ids must be between 1 and {self.num_docs}, got", doc_ids],
        )
        with tf.control_dependencies([assertion] if assertion is not None else []):
            doc_ids = tf.where(clicked & known, doc_ids, tf.zeros_like(doc_ids))
        nan = tf.cast(float("nan"), self.compute_dtype)
        consumed = tf.where(clicked, tf.cast(times, self.compute_dtype), tf.cast(0.0, self.compute_dtype))
        read = self.read_click(state, doc_ids, tf.where(known | ~clicked, consumed, nan))

        def chosen(after: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.reshape(clicked, [-1] + [1] * (len(after.shape) - 1)), after, before)

        # What a click does not change needs no choice, whose gradient would take time.
        return {key: before if read[key] is before else chosen(read[key], before) for key, before in state.items()}
