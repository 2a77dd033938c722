"""What each evaluated user brought, by policy: the file that paired comparisons between runs need."""

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
    layout.write_bytes(folder, FILE, buffer.getvalue())


def load(folder: str) -> dict[str, np.ndarray]:
    """Reads the file; nothing in it is unpickled.

    Args:
      folder: the run folder.

    Returns:
      By policy float32 [N].

    Raises:
      InvalidInputError: one line, if the file is not there, or is not one that `save` wrote; if it has no
        users, or a total that is not finite.
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
    except ValueError as error:  # numbers that are no letters
        raise validation.InvalidInputError(f"{refused}: a policy's name is no text") from error
    if not totals.size or not names or len(set(names)) < len(names):
        raise validation.InvalidInputError(f"{refused}: it holds no policies with different names, or no users")
    if not np.isfinite(totals).all():
        raise validation.InvalidInputError(f"{refused}: a total is no finite number")
    return dict(zip(names, totals))
