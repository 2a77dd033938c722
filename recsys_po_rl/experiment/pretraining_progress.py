"""Console output of a pretraining: a progress bar on a terminal, a line for each epoch elsewhere."""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf
import tqdm

from recsys_po_rl.common import output
from recsys_po_rl.training.pretraining import Epoch


class PretrainingProgress(tf.keras.callbacks.Callback):
    """Progress display over all epochs."""

    def __init__(self, num_epochs: int, num_batches: int, quiet: bool = False) -> None:
        """Open the progress bar, on a terminal.

        Args:
          num_epochs: largest number of epochs.
          num_batches: updates of an epoch.
          quiet: whether to show nothing.
        """
        super().__init__()
        self._num_epochs = num_epochs
        self._quiet = quiet
        self._bar: Optional[Any] = None
        if not quiet and output.is_terminal():
            self._bar = tqdm.tqdm(
                total=num_epochs * num_batches,
                desc="pretraining",
                unit="batch",
                dynamic_ncols=True,
                file=output.ErrorStream(),
            )

    def on_train_batch_end(self, batch: int, logs: Optional[Mapping[str, float]] = None) -> None:
        """Show an update."""
        del batch, logs
        if self._bar is not None:
            self._bar.update()

    def end_epoch(self, epoch: Epoch) -> None:
        """Show a completed epoch."""
        text = f"loss {epoch.loss:.4f}  validation {epoch.validation_loss:.4f}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"epoch {epoch.epoch}  {text}")
        elif not self._quiet:
            output.say(f"epoch {epoch.epoch}/{self._num_epochs}  {text}")

    def close(self) -> None:
        """Close the bar and leave it on the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
