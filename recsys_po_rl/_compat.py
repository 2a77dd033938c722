"""Compatibility of RecSim NG and its dependencies with current Pythons; the only module that knows versions.

Importing this module, before anything else imports TensorFlow, has five effects:

* `tf.keras` is tf_keras (Keras 2), on which RecSim NG, TFP and the model's documented surface are built.
* `numpy.Inf`, which recsim-ng 0.1.2 reads and NumPy 2 removed, exists again.
* edward2 0.0.2 loads without its SciPy part, which SciPy 1.11 broke and nothing here uses.
* gym (below 0.25, the last that accepts RecSim NG's specs) loads without its banner, with log level ERROR.
* TensorFlow's start-up lines, which it writes to file descriptor 2 at any TF_CPP_MIN_LOG_LEVEL, are dropped; all other
  lines are passed on.

No tensor is created, no device is initialised and no device configuration is set.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

_KERAS_3_MESSAGE = (
    "recsys_po_rl needs Keras 2, but tf.keras is already Keras 3 in this process: set the environment variable "
    "TF_USE_LEGACY_KERAS=1, or import recsys_po_rl before tensorflow is used (and have the package tf_keras installed)"
)

# Lines of TensorFlow 2.16 to 2.21 about its build or the absence of a GPU, not about the program.
_STARTUP_LINE = re.compile(
    r"All log messages before absl::InitializeLog|oneDNN custom operations are on|cudart_stub\.cc|cuda_platform\.cc"
    r"|This TensorFlow binary is optimized to use available CPU|To enable the following instructions:"
    r"|TF-TRT Warning|Unable to register cu\w+ factory|computation_placer\.cc"
)


@contextlib.contextmanager
def _startup_lines_dropped() -> Iterator[None]:
    """Capture file descriptor 2 while the block runs, then write to it every line that is not a start-up line."""
    try:
        sys.stderr.flush()
        real_stderr = os.dup(2)
    except (AttributeError, OSError, ValueError):  # no descriptor 2 (a GUI, some notebooks): nothing to buffer
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            with contextlib.suppress(AttributeError, OSError, ValueError):
                sys.stderr.flush()
            os.dup2(real_stderr, 2)
            os.close(real_stderr)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines(keepends=True):
                if not _STARTUP_LINE.search(line):
                    with contextlib.suppress(OSError):  # no space, or a closed pipe
                        os.write(2, line.encode())


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make the import of a module fail while the block runs, as if not installed; no effect on a loaded module."""
    hide = module not in sys.modules
    if hide:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide:
            del sys.modules[module]


def _import_tensorflow() -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = importlib.import_module("tensorflow")
    # The first access to tf.keras resolves it, so this also settles it for everybody who comes after.
    if not tf.keras.Model.__module__.startswith("tf_keras"):
        raise ImportError(_KERAS_3_MESSAGE)


def _scipy_breaks_edward2() -> bool:
    try:
        major, minor = importlib.metadata.version("scipy").split(".")[:2]
    except importlib.metadata.PackageNotFoundError:
        return True
    return (int(major), int(minor)) >= (1, 11)


def _import_edward2() -> None:
    if "edward2" in sys.modules:
        return
    # A later import of edward2.numpy raises SciPy's own error.
    without_numpy = _hidden("edward2.numpy") if _scipy_breaks_edward2() else contextlib.nullcontext()
    with without_numpy, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NumPy backend for Edward2 is not available")
        importlib.import_module("edward2")


def _import_gym() -> None:
    if "gym" in sys.modules:
        return
    notice = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(notice):  # gym also edits the warning filters
        gym = importlib.import_module("gym")
    known = sys.modules.get("gym_notices.notices")
    texts = [str(text).strip() for text in getattr(known, "notices", {}).values()]
    if notice.getvalue().strip() not in ("", *texts):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, full, or a closed pipe
            sys.stderr.write(notice.getvalue())
    gym.logger.set_level(gym.logger.ERROR)  # RecSim NG's own specs lower the precision of float64 bounds


def no_gradients_recorded() -> Any:
    """Return a context in which no gradient tape records; TensorFlow's public API pauses only a given tape."""
    return importlib.import_module("tensorflow.python.eager.record").stop_recording()


def _restore_numpy_inf() -> None:
    numpy = importlib.import_module("numpy")
    if not hasattr(numpy, "Inf"):
        setattr(numpy, "Inf", numpy.inf)  # noqa: B010  (the type stubs know that it is gone)


_restore_numpy_inf()
with _startup_lines_dropped():
    _import_tensorflow()
    _import_edward2()
    _import_gym()
