"""Checkpoints of a training run: weights, optimizer, step."""

import os
from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl.artifacts import run_dir

CHECKPOINTS_KEPT = 3


class Checkpoints:
    """Writes checkpoints into a run folder, keeping the last few."""

    def __init__(self, folder: str, recommender: Any, learner: Any) -> None:
        """Makes the writer; nothing is written yet.

        Args:
          folder: the run folder.
          recommender: the entity whose weights are saved.
          learner: its `optimizer` is saved, and its `critic` if it has one.
        """
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._saved_step: Optional[int] = None
        critic = getattr(learner, "critic", None)
        parts = {} if critic is None else {"critic": critic}
        checkpoint = tf.train.Checkpoint(recommender=recommender, optimizer=learner.optimizer, step=self._step, **parts)
        path = os.path.join(folder, run_dir.CHECKPOINTS)
        self._manager = tf.train.CheckpointManager(checkpoint, path, max_to_keep=CHECKPOINTS_KEPT)
        best = tf.train.Checkpoint(recommender=recommender, step=self._step)
        self._best = tf.train.CheckpointManager(best, os.path.join(path, run_dir.BEST), max_to_keep=1)

    def save_best(self, step: int) -> str:
        """Saves the weights after `step` training steps as the best so far, in place of those before."""
        self._step.assign(step)
        return str(self._best.save(checkpoint_number=step))

    def save(self, step: int) -> str:
        """Saves the state after `step` training steps, unless it is there already; returns its path."""
        if self._saved_step != step:
            self._step.assign(step)
            self._manager.save(checkpoint_number=step)
            self._saved_step = step
        return str(self._manager.latest_checkpoint)
