"""What each evaluated user brought, by policy: the file that paired comparisons between runs need."""

import io
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_po_rl import checks
from recsys_po_rl.artifacts import run_dir

FILE = "per_user.npz"
_POLICIES, _TOTALS = "policies", "totals"


def save(folder: str, totals: Mapping[str, np.ndarray]) -> None:
    """Writes the file, whole; the same totals give the same bytes.

    Args:
      folder: the run folder.
      totals: by policy float [N], cumulative reward of each user, the same users in the same order for all; kept as
        float32.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        _POLICIES: np.array(list(totals), dtype=np.str_),
        _TOTALS: np.stack([np.asarray(of_policy, np.float32) for of_policy in totals.values()]),
    }
    np.savez_compressed(buffer, **arrays)  # no objects, so nothing is pickled
    run_dir.write_bytes(folder, FILE, buffer.getvalue())


def load(folder: str) -> dict[str, np.ndarray]:
    """Reads the file; nothing in it is unpickled.

    Args:
      folder: the run folder.

    Returns:
      By policy float32 [N].

    Raises:
      checks.InvalidInputError: one line, if the file is not there, or is not one that `save` wrote.
    """
    path = os.path.join(folder, FILE)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            policies, totals = arrays[_POLICIES], arrays[_TOTALS]
    except FileNotFoundError:
        raise checks.InvalidInputError(f"{folder!r} has no {FILE}: it does not say what each user brought") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise checks.InvalidInputError(f"{path!r} cannot be read: {' '.join(str(error).split())}") from error
    if policies.ndim != 1 or totals.ndim != 2 or len(policies) != len(totals) or totals.dtype != np.float32:
        raise checks.InvalidInputError(f"{path!r} cannot be read: it does not hold totals by policy and user")
    return dict(zip(policies.tolist(), totals))
