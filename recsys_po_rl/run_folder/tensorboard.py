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
    """Writer of events into `tensorboard/` of a run folder; each call flushes."""

    def __init__(self, folder: str, after_step: int = 0) -> None:
        """Open a new events file; files of earlier parts of the run are kept.

        Args:
          folder: path of the run folder.
          after_step: the step from which the run continues. Events of later steps are removed, so that no step occurs
            twice; with 0 all events are removed.
        """
        path = layout.make_subfolder(folder, FOLDER)
        cut(path, after_step)
        self._writer = tf.summary.create_file_writer(path)

    def hyperparameters(self, of_run: Mapping[str, HyperParameter]) -> None:
        """Write the hyperparameters of the run, for TensorBoard's HParams table; once per run."""
        with self._writer.as_default():
            hparams_api.hparams(dict(of_run))
        self._writer.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars of a step by name, such as train/reward; numbers that are not finite are omitted."""
        with self._writer.as_default(step):
            for name, value in values.items():
                if math.isfinite(value):
                    tf.summary.scalar(name, value)
        self._writer.flush()

    def text(self, step: int, name: str, content: str) -> None:
        """Write a text of a step, which TensorBoard renders as Markdown."""
        with self._writer.as_default(step):
            tf.summary.text(name, content)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def cut(path: str, last_step: int) -> None:
    """Remove events after `last_step` from the events files of a folder; with 0 remove all files.

    Each file is replaced atomically. A partial record at the end of a file, left by a killed run, is removed too.

    Args:
      path: path of the folder of the files.
      last_step: last step to keep.
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
    """Yield the whole records of a file, up to the first damaged record."""
    with contextlib.suppress(tf.errors.DataLossError):
        yield from tf.data.TFRecordDataset(file).as_numpy_iterator()
