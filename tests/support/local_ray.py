"""A Ray of this machine for tests."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def connected(num_cpus: int) -> Iterator[Any]:
    """Provide the module `ray`, connected to a Ray that ends with the block; its processes import as this one does."""
    import ray

    path = os.pathsep.join(entry for entry in sys.path if entry)
    options = {"include_dashboard": False, "log_to_driver": False}
    ray.init(num_cpus=num_cpus, runtime_env={"env_vars": {"PYTHONPATH": path}}, **options)
    try:
        yield ray
    finally:
        ray.shutdown()
