"""TensorBoard events: scalars, texts and hyperparameters of one run."""

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Union

import tensorflow as tf
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import api as hparams_api

from recsys_po_rl.run_folder import layout

FOLDER = "tensorboard"  # under the run folder

HyperParameter = Union[bool, int, float, str]


class EventWriter:
    """Writes events into `tensorboard/` of a run folder; each call's are visible at once."""

    def __init__(self, folder: str, after_step: int = 0) -> None:
        """Opens a new events file; those of an earlier part of the run stay.

        Args:
          folder: the run folder.
          after_step: the step that the run goes on from. What was written of later steps is cut off, so that no step is
            there twice; at 0 everything is.
        """
        path = layout.make_subfolder(folder, FOLDER)
        cut(path, after_step)
        self._writer = tf.summary.create_file_writer(path)

    def hyperparameters(self, of_run: Mapping[str, HyperParameter]) -> None:
        """Writes what a run was made with, for TensorBoard's table of runs; once per run."""
        with self._writer.as_default():
            hparams_api.hparams(dict(of_run))
        self._writer.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers of a step by their names, such as train/reward; those that are not finite are left out."""
        with self._writer.as_default(step):
            for name, value in values.items():
                if math.isfinite(value):
                    tf.summary.scalar(name, value)
        self._writer.flush()

    def text(self, step: int, name: str, content: str) -> None:
        """Writes a text of a step; TensorBoard reads it as Markdown."""
        with self._writer.as_default(step):
            tf.summary.text(name, content)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def cut(path: str, last_step: int) -> None:
    """Takes what was written of steps after `last_step` out of the events files of a folder; at 0 all files go.

    Each file is replaced whole. Half a record at the end of one, left by a run that was killed, goes too.

    Args:
      path: the folder of the files.
      last_step: the last step that stays.
    """
    for name in sorted(os.listdir(path)):
        if ".tfevents." not in name or not os.path.isfile(os.path.join(path, name)):
            continue
        if last_step == 0:
            os.unlink(os.path.join(path, name))
        else:
            _keep(os.path.join(path, name), last_step)


def _keep(file: str, last_step: int) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(file), prefix=".cut-")
    os.close(descriptor)
    try:
        with tf.io.TFRecordWriter(temporary) as kept:
            for record in _records(file):
                if event_pb2.Event.FromString(record).step <= last_step:
                    kept.write(record)
        os.chmod(temporary, os.stat(file).st_mode & 0o777)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def _records(file: str) -> Iterator[bytes]:
    """The whole records of a file, up to the first that is broken."""
    with contextlib.suppress(tf.errors.DataLossError):
        yield from tf.data.TFRecordDataset(file).as_numpy_iterator()
