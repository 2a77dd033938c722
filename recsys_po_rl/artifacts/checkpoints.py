"""Checkpoints of a training run: weights, optimizer, step."""

import os
from typing import Any

import tensorflow as tf

from recsys_po_rl.artifacts import run_dir

CHECKPOINTS_KEPT = 3


class Checkpoints:
    """Writes checkpoints into a run folder, keeping the last few."""

    def __init__(self, folder: str, recommender: Any, optimizer: tf.keras.optimizers.Optimizer) -> None:
        """Makes the writer; nothing is written yet.

        Args:
          folder: the run folder.
          recommender: the entity whose weights are saved.
          optimizer: whose state is saved.
        """
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        checkpoint = tf.train.Checkpoint(recommender=recommender, optimizer=optimizer, step=self._step)
        self._manager = tf.train.CheckpointManager(
            checkpoint, os.path.join(folder, run_dir.CHECKPOINTS), max_to_keep=CHECKPOINTS_KEPT
        )

    def save(self, step: int) -> str:
        """Saves the state after `step` training steps, unless it is there already; returns its path."""
        if self._manager.latest_checkpoint is None or int(self._step) != step:
            self._step.assign(step)
            self._manager.save(checkpoint_number=step)
        return str(self._manager.latest_checkpoint)
