"""Run folders: made once, never mixed, every file whole."""

import datetime
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Optional

from recsys_po_rl import checks
from recsys_po_rl.version import __version__

METRICS = "metrics.csv"
VALIDATION = "validation.csv"
ALARMS = "alarms.csv"
GRADIENT_VARIANCE = "gradient_variance.csv"
TIMINGS = "timings.json"
PRICE_FIGURE = "price_of_partial_observability.png"
EVALUATION = "evaluation.json"
PORTRAIT = "portrait.json"
REPORT = "report.html"
CONFIG = "config.gin"
OPERATIVE_CONFIG = "operative_config.gin"
ENVIRONMENT = "environment.json"
CHECKPOINTS = "checkpoints"
BEST = "best"  # under checkpoints: the policy that validation users like best

_PACKAGES = (
    "tensorflow", "tf_keras", "tensorflow-probability", "edward2", "recsim-ng", "gin-config", "gym", "numpy",
)  # fmt: skip


def create(output_dir: Optional[str], under: str = "runs") -> str:
    """Makes the folder of a run; see `free_path` for arguments and errors.

    Two runs that start in the same second get two folders.
    """
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
    """The folder that a run may use; nothing is made yet.

    Args:
      output_dir: the folder asked for; None: a new, time-stamped one.
      under: where time-stamped folders go.

    Raises:
      checks.InvalidInputError: if the folder holds a run already, or is a file, or cannot be written.
    """
    if output_dir is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        output_dir = os.path.join(under, stamp)
        again = 1
        while os.path.exists(output_dir):
            again += 1
            output_dir = os.path.join(under, f"{stamp}-{again}")
    if not isinstance(output_dir, (str, os.PathLike)) or not os.fspath(output_dir):
        raise checks.InvalidTypeError(f"output_dir must be a path, got {output_dir!r}")
    output_dir = os.fspath(output_dir)
    if os.path.exists(output_dir) and not os.path.isdir(output_dir):
        raise checks.InvalidInputError(f"output_dir {output_dir!r} is a file, a folder is needed")
    held = [name for name in (METRICS, CONFIG, EVALUATION) if os.path.exists(os.path.join(output_dir, name))]
    if held:
        raise checks.InvalidInputError(f"output_dir {output_dir!r} already holds a run ({held[0]}): choose another")
    existing = os.path.abspath(output_dir)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing) or not os.access(existing, os.W_OK):
        raise checks.InvalidInputError(f"output_dir {output_dir!r} cannot be made: {existing!r} is not writable")
    return output_dir


def write_text(folder: str, name: str, text: str) -> None:
    """Writes a file under a temporary name, then renames it: readers see all of it or the one before."""
    write_bytes(folder, name, text.encode())


def write_bytes(folder: str, name: str, content: bytes) -> None:
    """Writes a file that is no text, whole; see `write_text`."""
    os.makedirs(folder, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's files are private
        os.replace(temporary, os.path.join(folder, name))
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(folder: str, name: str, content: Any) -> None:
    """Writes JSON, whole; see `write_text`. Infinite and undefined numbers become null, as JSON has none."""
    write_text(folder, name, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def write_compact_json(folder: str, name: str, content: Any) -> None:
    """Writes JSON that only programs read: as `write_json`, on one line."""
    write_text(folder, name, json.dumps(_finite(content), allow_nan=False, separators=(",", ":")) + "\n")


def environment(seeds: Sequence[int]) -> dict[str, Any]:
    """What a run was made with: versions, seeds, machine."""
    versions = {"recsys-po-rl": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "versions": versions,
        "seeds": list(seeds),
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "cpu_count": os.cpu_count(),
        },
        "command": sys.argv,
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(item) for key, item in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(item) for item in content]
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content
