"""Run folders: created once, never shared by runs, every file written atomically.

Over 350 lines: the names of the files and the one way to write them are read together.
"""

import contextlib
import dataclasses
import datetime
import errno
import importlib.metadata
import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import readers, schema
from recsys_po_rl.version import __version__

METRICS = "metrics.csv"
VALIDATION = "validation.csv"
ALARMS = "alarms.csv"
WARM_START = "warm_start.json"
PRETRAINING = "pretraining.json"
PRETRAINING_EPOCHS = "pretraining.csv"
GRADIENT_VARIANCE = "gradient_variance.csv"
TIMINGS = "timings.json"
PRICE_FIGURE = "price_of_partial_observability.png"
EVALUATION = "evaluation.json"
PORTRAIT = "portrait.json"
REPORT = "report.html"
CONFIG = "config.gin"
OPERATIVE_CONFIG = "operative_config.gin"
ENVIRONMENT = "environment.json"
_IDENTITY = ("run", "versions", "seeds", "corpus_seed", "table", "arguments")  # its fields that identify a run
POLICY = "policy.keras"
CHECKPOINTS = "checkpoints"
BEST = "best"  # under checkpoints: the policy with the best validation reward
OF_A_RUN = (METRICS, CONFIG, EVALUATION)  # files that identify a run folder
_ALSO_OF_A_RUN = re.compile(
    r"environment\.json|pretraining\.(json|csv)|report\.html|checkpoints|tensorboard|seed_\d+|sweep\.json|trial_\d+"
)  # would be overwritten

PROJECT, PROJECT_VERSION = "recsys-po-rl", __version__  # as in environment.json

_PACKAGES = (
    "tensorflow", "tf_keras", "tensorflow-probability", "edward2", "recsim-ng", "gin-config", "gym", "numpy",
)  # fmt: skip

# Temporary names used by `write_bytes`, figures and TensorBoard events before renaming.
_TEMPORARY = re.compile(
    r"\.(checkpoint|.+\.(gin|json|csv|html|npz|keras|parquet|png|index|data-[-\w]+))\.\w{8}(\.\w+)?|\.cut-\w{8}"
)
_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

Folder = Union[str, int]  # a path, or the descriptor of an open folder, which stays valid when the folder is renamed


class FolderMovedError(RuntimeError):
    """Renaming, removal or replacement of a run folder during a run; the message is one line."""


class Place:
    """Snapshot of a folder's identity, to detect later that its path leads elsewhere."""

    def __init__(self, folder: str) -> None:
        """Record the identity of the folder.

        Args:
          folder: path of the folder.

        Raises:
          FileNotFoundError: if the folder does not exist.
        """
        self._folder = folder
        self._status = os.stat(folder)

    @property
    def moved(self) -> bool:
        """Return whether the folder was renamed, removed or replaced since the snapshot."""
        try:
            return not os.path.samestat(self._status, os.stat(self._folder))
        except OSError:
            return True

    def raise_if_moved(self, state: str = "what was written is whole, and can be resumed under its new path") -> None:
        """Validate that the path still leads to the folder.

        Args:
          state: the end of the message.

        Raises:
          FolderMovedError: if the folder was renamed, removed or replaced.
        """
        if self.moved:
            raise FolderMovedError(
                f"the run folder {self._folder!r} was renamed, removed or replaced while the run was at work: {state}"
            )


def create(output_dir: Optional[str], under: str = "runs", may_hold_a_run: bool = False) -> str:
    """Create the folder of a run; see `free_path` for arguments and errors.

    Two runs that start in the same second get two folders. With `may_hold_a_run` an existing run is not an error.
    """
    if may_hold_a_run and output_dir is not None:
        os.makedirs(output_dir, exist_ok=True)
        return os.fspath(output_dir)
    while True:
        folder = free_path(output_dir, under)
        try:
            os.makedirs(folder, exist_ok=output_dir is not None)
        except FileExistsError:
            if output_dir is not None:
                raise
        else:
            return folder


def free_path(output_dir: Optional[str], under: str = "runs") -> str:
    """Return the path of a folder that a run may use, without creating it.

    Args:
      output_dir: the requested folder; None: a new, time-stamped folder.
      under: parent of time-stamped folders.

    Raises:
      InvalidInputError: if the folder contains a run or parts of a run, is a file, or cannot be written.
    """
    if output_dir is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        output_dir = os.path.join(under, stamp)
        again = 1
        while os.path.exists(output_dir):
            again += 1
            output_dir = os.path.join(under, f"{stamp}-{again}")
    output_dir = raise_if_no_folder(output_dir)
    held = [name for name in OF_A_RUN if os.path.exists(os.path.join(output_dir, name))]
    held += [name for name in _listed(output_dir) if _ALSO_OF_A_RUN.fullmatch(name)]
    if held:
        raise validation.InvalidInputError(f"output_dir {output_dir!r} already holds a run ({held[0]}): choose another")
    return output_dir


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise validation.InvalidInputError(f"output_dir {folder!r} cannot be read: {error.strerror}") from None


def raise_if_no_folder(output_dir: Any) -> str:
    """Validate that a folder can be written or created, and return its path.

    Raises:
      InvalidInputError: if the folder can be neither written nor created.
    """
    if not isinstance(output_dir, (str, os.PathLike)) or not os.fspath(output_dir):
        raise validation.InvalidTypeError(f"output_dir must be a path, got {output_dir!r}")
    output_dir = str(os.fspath(output_dir))
    if os.path.exists(output_dir) and not os.path.isdir(output_dir):
        raise validation.InvalidInputError(f"output_dir {output_dir!r} is a file, a folder is needed")
    try:
        output_dir.encode()
        os.stat(output_dir)
    except UnicodeEncodeError:
        raise validation.InvalidInputError(f"output_dir must be text in UTF-8, got {output_dir!r}") from None
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # a name that is too long or contains NUL
        why = getattr(error, "strerror", None) or error
        raise validation.InvalidInputError(f"output_dir {output_dir!r} cannot be made: {why}") from None
    existing = os.path.abspath(output_dir)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK):
        raise validation.InvalidInputError(f"output_dir {output_dir!r} cannot be made: {existing!r} is not writable")
    return output_dir


def make_subfolder(folder: str, name: str) -> str:
    """Create a folder in an existing folder, unless it exists, and return its path.

    Args:
      folder: path of the outer folder, which is never created: after a rename, that would be a second one.
      name: name of the inner folder.

    Raises:
      FileNotFoundError: if the outer folder does not exist.
    """
    path = os.path.join(folder, name)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    return path


@contextlib.contextmanager
def opened(folder: Folder) -> Iterator[int]:
    """Open a folder and yield its descriptor.

    Args:
      folder: path of the folder, or a descriptor of it, which stays open.
    """
    if isinstance(folder, int):
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_text(folder: Folder, name: str, text: str) -> None:
    """Write a file atomically, by renaming a temporary file: readers see the whole new or the whole old file.

    Args:
      folder: an existing folder.
      name: name of the file.
      text: content of the file.

    Raises:
      OSError: if the file cannot be written, or the folder does not exist; an existing file is unchanged.
    """
    write_bytes(folder, name, text.encode())


def write_bytes(folder: Folder, name: str, content: bytes) -> None:
    """Write a binary file atomically; see `write_text`."""
    temporary = f".{name}.{uuid.uuid4().hex[:8]}"
    try:
        with opened(folder) as directory:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):  # already renamed
                    os.unlink(temporary, dir_fd=directory)
                raise
            with contextlib.suppress(OSError):  # not supported by every file system
                os.fsync(directory)
    except OSError as error:
        if error.errno is not None:  # an error of the operating system: name the file instead of its temporary name
            error.filename = None if isinstance(folder, int) else os.path.join(folder, name)
        raise


def write_json(folder: Folder, name: str, content: Any) -> None:
    """Write JSON atomically; see `write_text`. Infinite numbers and NaN, which JSON lacks, become null."""
    write_text(folder, name, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def write_compact_json(folder: Folder, name: str, content: Any) -> None:
    """Write JSON for programs: as `write_json`, on one line."""
    write_text(folder, name, compact_json(content) + "\n")


def compact_json(content: Any) -> str:
    """Return JSON on one line; see `write_json` for infinite numbers and NaN."""
    return json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))


def read_json(folder: str, name: str) -> Optional[dict[str, Any]]:
    """Return the content of a file written by `write_json`; None if the file is missing or damaged."""
    try:
        return readers.json_object(os.path.join(folder, name))
    except (FileNotFoundError, validation.InvalidInputError):
        return None


def read_environment(folder: str) -> Optional[schema.Environment]:
    """Return the content of environment.json, without descriptive fields of another form.

    Args:
      folder: the run folder.

    Returns:
      The content; None if the file is missing or damaged, or a field that identifies the run is of another form.
    """
    content = read_json(folder, ENVIRONMENT)
    if content is None:
        return None
    readable = {name: value for name, value in content.items() if name in _IDENTITY or _is_environment({name: value})}
    return schema.Environment.from_json(readable, f"{ENVIRONMENT}: ") if _is_environment(readable) else None


def _is_environment(content: Any) -> bool:
    try:
        schema.Environment.from_json(content, f"{ENVIRONMENT}: ")
    except validation.InvalidInputError:
        return False
    return True


def remove_leftovers(folder: str) -> None:
    """Remove temporary files left in a folder, or directly below it, by a killed process."""
    below = [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    for path in (folder, *below):
        for name in os.listdir(path):
            if _TEMPORARY.fullmatch(name):
                os.unlink(os.path.join(path, name))


def mark_finished(folder: str) -> None:
    """Record in environment.json that the run is done, and its files except for TensorBoard's."""
    files = sorted(
        os.path.relpath(os.path.join(path, name), folder)
        for path, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and ".tfevents." not in name
    )
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    before = read_environment(folder) or schema.Environment()
    write_json(folder, ENVIRONMENT, dataclasses.replace(before, finished=now, files=files).to_json())


def is_finished(folder: str) -> bool:
    """Return whether a run is done with all of its files, including a valid evaluation.json."""
    content = read_environment(folder)
    if content is None or not content.finished or content.files is None:
        return False
    try:
        schema.read(os.path.join(folder, EVALUATION))
    except (FileNotFoundError, validation.InvalidInputError):
        return False
    return all(os.path.isfile(os.path.join(folder, name)) for name in content.files)


@contextlib.contextmanager
def errors_of(
    folder: str, advice: str = "what is there is whole, and can be resumed when that is mended"
) -> Iterator[None]:
    """Convert failed disk writes to one-line errors.

    Args:
      folder: the run folder, for the message.
      advice: end of the message.

    Raises:
      InvalidInputError: in place of an OSError, or TensorFlow's equivalent, for a full, read-only or forbidden disk.
      FolderMovedError: in place of any error, if the folder is no longer at its path.
    """
    place = Place(folder)
    try:
        yield
    except (validation.InvalidInputError, FolderMovedError):
        raise
    except Exception as error:  # a path that leads nowhere can raise any exception
        place.raise_if_moved()
        reason = _refusal(error, folder)
        if reason is None:
            raise
        raise validation.InvalidInputError(
            f"the run folder {folder!r} cannot be written: {reason}; {advice}"
        ) from error


def _refusal(error: Exception, folder: str) -> Optional[str]:
    if isinstance(error, OSError):
        name = error.filename
        elsewhere = isinstance(name, str) and not os.path.abspath(name).startswith(os.path.abspath(folder))
        return os.strerror(error.errno) if error.errno in _REFUSALS and not elsewhere else None
    if type(error).__module__.startswith("tensorflow."):
        for number in _REFUSALS:
            if os.strerror(number) in str(error):
                return os.strerror(number)
    return None


def versions() -> dict[str, str]:
    """Return the versions of this project, of Python and of the packages that affect results."""
    by_package = {PROJECT: PROJECT_VERSION, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            by_package[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            by_package[package] = "unknown"
    return by_package


def environment(seeds: Sequence[int]) -> schema.Environment:
    """Return the environment of a run: versions, seeds, machine, and a unique name of the run."""
    return schema.Environment(
        run=uuid.uuid4().hex,
        versions=versions(),
        seeds=list(seeds),
        machine=schema.Machine(platform=platform.platform(), processor=platform.machine(), cpu_count=os.cpu_count()),
        command=sys.argv,
        started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    )


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(item) for key, item in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(item) for item in content]
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content
