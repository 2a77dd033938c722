"""Checkpoints of a training run: everything that the run depends on besides its configuration.

A checkpoint consists of TensorFlow's files `ckpt-STEP.*` and a sidecar `ckpt-STEP.json`, written last: the run's
identity, the SHA-256 of each file, the state that is not in variables, and as `seal` the SHA-256 of all of these. A
checkpoint without a sidecar was interrupted while it was written. Version 0.1.0 wrote no seal: a sidecar with exactly
the other keys is accepted if each value is valid.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import checkpoint_sidecar, layout

CHECKPOINTS_KEPT = 3
_LIST = "checkpoint"  # TensorFlow's list of the checkpoints in a folder
_HALF_A_LIST = re.compile(r"checkpoint\.tmp\w+")


class Found(NamedTuple):
    """Whole checkpoint."""

    step: int  # number of training steps done
    path: str  # prefix of its files, as in TensorFlow
    state: dict[str, Any]  # state given to `Checkpoints.save`


class Search(NamedTuple):
    """Checkpoints in a folder."""

    whole: list[Found]  # whole checkpoints, latest first
    broken: list[str]  # a line for each damaged checkpoint, latest first


def find(folder: str, run: str) -> Search:
    """Find the checkpoints of a run, and read each completely to validate it.

    Args:
      folder: path of the run folder.
      run: identity of the run, see `layout.environment`.

    Raises:
      InvalidInputError: if the folder contains a checkpoint of another run.
    """
    path = os.path.join(folder, layout.CHECKPOINTS)
    names = os.listdir(path) if os.path.isdir(path) else []
    sidecars = [match for match in map(checkpoint_sidecar.NAME.fullmatch, names) if match and match.group(2) == ".json"]
    search = Search([], [])
    for match in sorted(sidecars, key=lambda match: -int(match.group(1))):
        prefix = os.path.join(path, match.group(0).removesuffix(".json"))
        try:
            content = checkpoint_sidecar.read(prefix)
            _raise_if_foreign(prefix, content, run)
            _raise_if_changed(prefix, content["sha256"])
        except checkpoint_sidecar.BrokenError as error:
            search.broken.append(f"the checkpoint of step {match.group(1)} is broken ({error})")
        else:
            search.whole.append(Found(content["step"], prefix, content["state"]))
    return search


class Checkpoints:
    """Writer of checkpoints into a run folder; keeps the last few, and the best policy."""

    def __init__(self, folder: str, recommender: Any, learner: Any, run: str) -> None:
        """Define the content of checkpoints; nothing is written yet.

        Args:
          folder: path of the run folder.
          recommender: the entity whose weights are saved.
          learner: its `optimizer` is saved, its `critic` if it has one, and the learner itself if it is a `tf.Module`.
          run: identity of the run, see `layout.environment`.
        """
        self._run = run
        self._recommender = recommender
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._best_weights = [tf.Variable(weight, trainable=False) for weight in recommender.variables]
        self._saved_step: Optional[int] = None
        self._last_save = time.monotonic()
        self._path = os.path.join(folder, layout.CHECKPOINTS)
        critic = getattr(learner, "critic", None)
        parts = {} if critic is None else {"critic": critic}
        if isinstance(learner, tf.Module):
            parts["learner"] = learner
        self._checkpoint = tf.train.Checkpoint(
            recommender=recommender,
            optimizer=learner.optimizer,
            step=self._step,
            best_weights=self._best_weights,
            **parts,
        )
        self._best = tf.train.Checkpoint(recommender=recommender, step=self._step)
        self._folders: list[int] = []  # descriptors of `self._path` and of the best policy's folder, in this order
        self._kept: list[int] = []  # steps, latest last

    def restore(self, checkpoint: Found) -> list[np.ndarray]:
        """Restore all variables from a checkpoint; files are only read.

        Args:
          checkpoint: the checkpoint to restore.

        Returns:
          The best policy's weights, in the order of the recommender's variables.

        Raises:
          InvalidInputError: if the checkpoint belongs to another network or learner.
        """
        try:
            with readable(checkpoint.path) as path:
                self._checkpoint.restore(path).assert_existing_objects_matched().assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            why = " ".join(str(error).split())[:200]
            raise validation.InvalidInputError(
                f"the checkpoint {checkpoint.path!r} does not fit this network: {why}"
            ) from error
        self._saved_step = checkpoint.step
        return [copy.numpy() for copy in self._best_weights]

    def begin(self, keep: Sequence[Found] = (), best_step: Optional[int] = None) -> None:
        """Prepare the folder: remove all checkpoints except those to keep, and all incomplete files.

        Args:
          keep: checkpoints to keep; only the last `CHECKPOINTS_KEPT` stay. The restored checkpoint is the last.
          best_step: step of the best policy so far, which is written again; None: no best policy yet.
        """
        self.close()
        # A run that was killed before removing its oldest checkpoint has one more.
        self._kept = sorted(checkpoint.step for checkpoint in keep)[-CHECKPOINTS_KEPT:]
        layout.make_subfolder(*os.path.split(self._path))
        best_path = layout.make_subfolder(self._path, layout.BEST)
        for path, steps in ((self._path, self._kept), (best_path, [])):
            _remove_leftovers(path)
            self._folders.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
            _remove_all_but(self._folders[-1], steps)
            _list_in(self._folders[-1], steps)
        if best_step is not None:
            last = [weight.numpy() for weight in self._recommender.variables]
            _assign(self._recommender.variables, self._best_weights)
            self.save_best(best_step)
            _assign(self._recommender.variables, last)

    def save_best(self, step: int) -> None:
        """Save the weights after `step` training steps as the best policy, replacing the previous one."""
        _assign(self._best_weights, self._recommender.variables)
        self._step.assign(step)
        _write(self._best, self._folders[1], step)
        _list_in(self._folders[1], [step])
        _remove_all_but(self._folders[1], [step])

    def save(self, step: int, state: Optional[Mapping[str, Any]] = None) -> None:
        """Save everything after `step` training steps and flush to disk, unless this checkpoint exists.

        Files are written to the folder opened by `begin`, even if it was renamed since.

        Args:
          step: number of training steps done.
          state: further state of the run, JSON-serialisable.

        Raises:
          OSError: if a file cannot be written; FileNotFoundError if the folder was removed.
        """
        self._last_save = time.monotonic()
        if self._saved_step == step:
            return
        self._step.assign(step)
        digests = _write(self._checkpoint, self._folders[0], step)
        content = {"run": self._run, "step": step, "sha256": digests, "state": dict(state or {})}
        layout.write_json(
            self._folders[0],
            f"ckpt-{step}.json",
            {**content, checkpoint_sidecar.SEAL: checkpoint_sidecar.seal(content)},
        )
        self._kept = [*(kept for kept in self._kept if kept != step), step][-CHECKPOINTS_KEPT:]
        _list_in(self._folders[0], self._kept)
        _remove_all_but(self._folders[0], self._kept)
        self._saved_step = step

    def close(self) -> None:
        """Close the folders; `begin` opens them again."""
        while self._folders:
            os.close(self._folders.pop())

    @property
    def minutes_since_save(self) -> float:
        """Minutes since the last checkpoint, or since construction."""
        return (time.monotonic() - self._last_save) / 60.0


@contextlib.contextmanager
def readable(prefix: str) -> Iterator[str]:
    """Provide a path from which TensorFlow can read a checkpoint.

    TensorFlow interprets paths as glob patterns: a checkpoint in the folder `run[1]` would be read from the folder
    `run1`. So TensorFlow reads a copy in its in-memory file system, under a plain name.

    Args:
      prefix: prefix of the checkpoint's files, as in `Found.path`.
    """
    with _in_memory() as folder:
        for path in _files(prefix):
            with open(path, "rb") as file, tf.io.gfile.GFile(f"{folder}/{os.path.basename(path)}", "wb") as copy:
                shutil.copyfileobj(file, copy)
        yield f"{folder}/{os.path.basename(prefix)}"


@contextlib.contextmanager
def _in_memory() -> Iterator[str]:
    """Create a folder in TensorFlow's in-memory file system for the duration of the block."""
    folder = f"ram://{uuid.uuid4().hex}"
    tf.io.gfile.makedirs(folder)
    try:
        yield folder
    finally:
        tf.io.gfile.rmtree(folder)


def _write(checkpoint: tf.train.Checkpoint, folder: int, step: int) -> dict[str, str]:
    """Write a checkpoint's files atomically into an open folder; return the SHA-256 of each by its name.

    TensorFlow itself would write by path, and create the folder again if it was renamed.
    """
    checkpoint.save_counter.assign_add(1)  # as tf.train.CheckpointManager does
    digests = {}
    with _in_memory() as memory:
        checkpoint.write(f"{memory}/ckpt-{step}")
        for name in sorted(tf.io.gfile.listdir(memory)):
            with tf.io.gfile.GFile(f"{memory}/{name}", "rb") as file:
                content = file.read()
            layout.write_bytes(folder, name, content)
            digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def _raise_if_foreign(prefix: str, content: Mapping[str, Any], run: str) -> None:
    if content["run"] != run:
        raise validation.InvalidInputError(f"the checkpoint {prefix!r} is another run's: take it out of this folder")


def _raise_if_changed(prefix: str, expected: Mapping[str, str]) -> None:
    actual = _digests(prefix)
    changed = sorted(name for name in {*actual, *expected} if actual.get(name) != expected.get(name))
    if not changed:
        return
    if set(actual) == set(expected) and _can_be_read(prefix):
        raise validation.InvalidInputError(
            f"the checkpoint {prefix!r} is not the one that this run wrote ({changed[0]} is another file): "
            "take it out of this folder"
        )
    missing = "is missing" if changed[0] not in actual else "is not as it was written"
    raise checkpoint_sidecar.BrokenError(f"{changed[0]} {missing}")


def _can_be_read(prefix: str) -> bool:
    try:
        with readable(prefix) as path:
            reader = tf.compat.v1.train.NewCheckpointReader(path)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except Exception:  # TensorFlow raises various exceptions for damaged files
        return False
    return True


def _files(prefix: str) -> list[str]:
    folder, name = os.path.split(prefix)
    return sorted(
        os.path.join(folder, file)
        for file in os.listdir(folder)
        if file.startswith((f"{name}.index", f"{name}.data-")) and os.path.isfile(os.path.join(folder, file))
    )


def _digests(prefix: str) -> dict[str, str]:
    digests = {}
    for path in _files(prefix):
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
        digests[os.path.basename(path)] = digest.hexdigest()
    return digests


def _assign(targets: Sequence[tf.Variable], sources: Sequence[Any]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.assign(source)


def _remove_leftovers(path: str) -> None:
    """Remove leftovers of a killed writer from a folder."""
    for name in os.listdir(path):
        whole = os.path.join(path, name)
        if _HALF_A_LIST.fullmatch(name):
            os.unlink(whole)
        elif checkpoint_sidecar.NAME.fullmatch(name) and os.path.isdir(whole):
            shutil.rmtree(whole)
    layout.remove_leftovers(path)


def _remove_all_but(folder: int, steps: Sequence[int]) -> None:
    """Remove checkpoints of other steps from an open folder."""
    for name in os.listdir(folder):
        if checkpoint_sidecar.NAME.fullmatch(name) and checkpoint_sidecar.step_of(name) not in steps:
            os.unlink(name, dir_fd=folder)


def _list_in(folder: int, steps: Sequence[int]) -> None:
    """Write TensorFlow's list of checkpoints in an open folder with these steps only."""
    if steps:
        kept = [f"ckpt-{step}" for step in steps]
        now = time.time()
        # With timestamps after the last preserved one, a tf.train.CheckpointManager deletes checkpoints when they
        # expire.
        proto = tf.compat.v1.train.generate_checkpoint_state_proto(
            ".", kept[-1], kept, all_model_checkpoint_timestamps=[now] * len(kept), last_preserved_timestamp=now - 1.0
        )
        layout.write_text(folder, _LIST, str(proto))
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_LIST, dir_fd=folder)
