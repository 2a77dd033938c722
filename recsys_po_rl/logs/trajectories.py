"""Interaction logs as arrays of users, steps and slots, for users who were all shown the same number of slates."""

from typing import NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.logs.interactions import Interactions


class Trajectories(NamedTuple):
    """Logged users, each with T slates of S documents; propensities are NaN where the log has none."""

    user_ids: np.ndarray  # int64 [U], ascending
    slates: np.ndarray  # int32 [U, T, S], document ids
    choices: np.ndarray  # int32 [U, T], clicked slot, S for none
    consumed_times: np.ndarray  # float64 [U, T], 0 for none; the reward
    propensities: np.ndarray  # float64 [U, T], joint
    prefix_propensities: np.ndarray  # float64 [U, T, S]
    item_propensities: np.ndarray  # float64 [U, T, S]


def from_interactions(log: Interactions, horizon: Optional[int] = None) -> Trajectories:
    """Return a log as arrays.

    Args:
      log: rows in any order.
      horizon: T, first steps of each user that are kept, at least 1; None: all steps.

    Raises:
      InvalidInputError: one line, if the log has no rows, a user lacks a step or a slot, slates have different sizes,
        or users have different numbers of steps (with a horizon: fewer than that).
    """
    if horizon is not None:
        log = log.take(log.step < validation.integer("horizon", horizon, 1))
    if not log.num_rows:
        raise validation.InvalidInputError("the log has no rows")
    log = log.in_order()
    slate_size = int(log.slot.max()) + 1
    if log.num_rows % slate_size or (log.slot != np.arange(log.num_rows) % slate_size).any():
        raise validation.InvalidInputError(
            f"every slate of the log must have all slots from 0 to {slate_size - 1}, each once"
        )
    first_slots = log.take(slice(None, None, slate_size))
    user_ids, starts, counts = np.unique(first_slots.user_id, return_index=True, return_counts=True)
    expected_steps = np.arange(len(first_slots.user_id)) - np.repeat(starts, counts)
    wrong = np.flatnonzero(first_slots.step != expected_steps)
    same_slate = log.user_id.reshape(-1, slate_size) == first_slots.user_id[:, np.newaxis]
    if wrong.size or not same_slate.all() or (log.step.reshape(-1, slate_size) != expected_steps[:, np.newaxis]).any():
        user = first_slots.user_id[wrong[0]] if wrong.size else user_ids[0]
        raise validation.InvalidInputError(
            f"every user of the log must have all steps from 0 on, each once; user {user} has not"
        )
    wanted = int(counts.max()) if horizon is None else horizon
    if (counts < wanted).any():
        raise validation.InvalidInputError(
            f"every user of the log must have {wanted} steps, and {int((counts < wanted).sum())} of {len(user_ids)} "
            f"users have fewer, the least {int(counts.min())}: a horizon of that keeps the first steps of all"
        )
    shape = (len(user_ids), wanted, slate_size)
    clicked = log.clicked.reshape(shape)
    propensities, prefix, item = (
        np.full(log.num_rows, np.nan) if values is None else values
        for values in (log.propensity, log.propensity_prefix, log.propensity_item)
    )
    return Trajectories(
        user_ids,
        log.item_id.reshape(shape).astype(np.int32),
        np.where(clicked.any(axis=2), clicked.argmax(axis=2), slate_size).astype(np.int32),
        log.consumed_time.reshape(shape).sum(axis=2, dtype=np.float64),
        propensities.reshape(shape)[..., 0].astype(np.float64),
        prefix.reshape(shape).astype(np.float64),
        item.reshape(shape).astype(np.float64),
    )
