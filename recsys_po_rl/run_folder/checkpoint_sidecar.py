"""Sidecar of a checkpoint: a JSON file, written last, with the identity and SHA-256 of what it belongs to."""

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any, Optional

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import layout, readers

NAME = re.compile(r"ckpt-(\d+)(\.json|\.index|\.data-[-\w]+|_temp.*)?")  # also leftovers of interrupted ones
SEAL = "seal"  # last key of ckpt-STEP.json
_COMPLETE = ("run", "step", "sha256", "state")  # keys of ckpt-STEP.json
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BrokenError(Exception):
    """Incomplete or damaged checkpoint; the message names the defect."""


def read(prefix: str) -> dict[str, Any]:
    """Return the validated content of a checkpoint's sidecar, without the seal.

    Args:
      prefix: prefix of the checkpoint's files.

    Raises:
      BrokenError: if the sidecar is missing or damaged.
    """
    name = f"{os.path.basename(prefix)}.json"
    try:
        content = readers.json_object(f"{prefix}.json")
    except (FileNotFoundError, validation.InvalidInputError) as error:
        raise BrokenError(f"{name} cannot be read") from error
    if any(key not in content for key in _COMPLETE):
        raise BrokenError(f"{name} lacks {' or '.join(_COMPLETE)}")
    recorded = content.pop(SEAL, None)
    if len(content) > len(_COMPLETE) if recorded is None else recorded != seal(content):
        raise BrokenError(f"{name} is not as it was written")
    step, digests = content["step"], content["sha256"]
    if not isinstance(content["run"], str) or isinstance(step, bool) or step != step_of(prefix):
        raise BrokenError(f"{name} is not about it")
    if not isinstance(digests, dict) or not all(
        isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in digests.values()
    ):
        raise BrokenError(f"{name} does not hold the SHA-256 of each file")
    if not _is_state(content["state"], step):
        raise BrokenError(f"{name} does not hold the state of a run")
    return content


def seal(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the other content of a sidecar; floats are written so that they read back equal."""
    return hashlib.sha256(layout.compact_json(content).encode()).hexdigest()


def _is_state(state: Any, step: int) -> bool:
    """Return whether a state is valid: empty, or of a best policy no later than the checkpoint with a finite reward."""
    if not isinstance(state, dict):
        return False
    best_step, best_mean = state.get("best_step"), state.get("best_mean_reward")
    if best_step is None and best_mean is None:
        return True
    return (
        isinstance(best_step, int)
        and not isinstance(best_step, bool)
        and 0 <= best_step <= step
        and isinstance(best_mean, (int, float))
        and not isinstance(best_mean, bool)
    )


def step_of(prefix: str) -> Optional[int]:
    """Return the step in the name of a checkpoint's file; None for other names."""
    match = NAME.fullmatch(os.path.basename(prefix))
    return int(match.group(1)) if match else None
