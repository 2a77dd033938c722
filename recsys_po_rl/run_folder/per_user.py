"""Total reward of each evaluated user, by policy: the file for paired comparisons between runs."""

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import layout, readers

FILE = "per_user.npz"
_POLICIES, _TOTALS = "policies", "totals"


def save(folder: str, totals: Mapping[str, np.ndarray]) -> None:
    """Write the file atomically; equal totals give equal bytes.

    Args:
      folder: path of the run folder.
      totals: float [N] by policy, cumulative reward of each user, the same users in the same order for all policies;
        stored as float32.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        _POLICIES: np.array(list(totals), dtype=np.str_),
        _TOTALS: np.stack([np.asarray(of_policy, np.float32) for of_policy in totals.values()]),
    }
    np.savez_compressed(buffer, **arrays)  # no object arrays, so nothing is pickled
    layout.write_bytes(folder, FILE, buffer.getvalue())


def load(folder: str) -> dict[str, np.ndarray]:
    """Read the file without unpickling.

    Args:
      folder: path of the run folder.

    Returns:
      float32 [N] by policy.

    Raises:
      InvalidInputError: one line, if the file is missing, was not written by `save`, has zero users, or has a total
        that is not finite.
    """
    path = os.path.join(folder, FILE)
    try:
        policies, totals = readers.arrays(path, (_POLICIES, _TOTALS))
    except FileNotFoundError:
        raise validation.InvalidInputError(
            f"{folder!r} has no {FILE}: it does not say what each user brought"
        ) from None
    refused = f"{validation.shown(path, validation.MAX_PATH_SHOWN)} cannot be read"
    if policies.ndim != 1 or totals.ndim != 2 or len(policies) != len(totals) or totals.dtype != np.float32:
        raise validation.InvalidInputError(f"{refused}: it does not hold totals by policy and user")
    try:
        names = [str(name) for name in policies.tolist()] if policies.dtype.kind == "U" else []
    except ValueError as error:  # invalid code points
        raise validation.InvalidInputError(f"{refused}: a policy's name is no text") from error
    if not totals.size or not names or len(set(names)) < len(names):
        raise validation.InvalidInputError(f"{refused}: it holds no policies with different names, or no users")
    if not np.isfinite(totals).all():
        raise validation.InvalidInputError(f"{refused}: a total is no finite number")
    return dict(zip(names, totals))
