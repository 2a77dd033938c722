"""Shared fixtures. The package comes before TensorFlow: it settles Keras 2."""

import gc
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import gin
import pytest

import recsys_po_rl  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_collection_finish() -> None:
    """Exclude what the imports made from garbage collection, which is then quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _no_program_outlives_its_file():
    # TensorFlow's functions are parts of cycles. Without a collection thousands of them stay, and slow down later ones.
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _no_binding_outlives_its_test():
    yield
    with gin.unlock_config():
        gin.clear_config()


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess]:
    """Runs a fresh Python, without settings of this one, in a temporary folder that sees the checkout."""
    folder = tmp_path_factory.mktemp("fresh")

    def run(*arguments: str, cwd: pathlib.Path = folder, **environment: str) -> subprocess.CompletedProcess:
        clean = {key: val for key, val in os.environ.items() if not key.startswith(("TF_", "PYTEST", "KERAS"))}
        clean["PYTHONPATH"] = str(ROOT)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
