"""Logged datasets of SCOPE-RL of interaction logs; NumPy only. See docs/datasets.md.

H. Kiyohara, R. Kishimoto, K. Kawakami, K. Kobayashi, K. Nakata, Y. Saito, "SCOPE-RL: A Python Library for Offline
Reinforcement Learning and Off-Policy Evaluation" (arXiv 2311.18206). Keys as in scope-rl 0.2.1.
"""

from typing import Any, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.logs import episodes
from recsys_po_rl.logs.interactions import Interactions

MAX_ACTIONS = 2**63 - 1  # the largest int64


def to_scope_rl(
    log: Interactions,
    num_docs: Optional[int] = None,
    history_length: int = episodes.HISTORY_LENGTH,
    dataset_id: int = 0,
) -> dict[str, Any]:
    """Return a log as a logged dataset: the dictionary of `scope_rl.dataset.SyntheticDataset`.

    An action is an ordered slate; its number is that of `np.ravel_multi_index(indices of documents, (D,) * S)`, from
    which `np.unravel_index(action, (D,) * S)` returns the indices.

    Args:
      log: rows of one policy in any order; all users have the same number of steps T, all from 0 on, with slot 0 each.
      num_docs: D; None: the largest document id.
      history_length: H, clicks that the states hold.
      dataset_id: number of the dataset.

    Returns:
      size: number of steps N = U T, by user and step; n_trajectories: U; step_per_trajectory: T.
      action_type: "discrete"; n_actions: D^S; action_dim, action_meaning and action_keys: None.
      state_dim: 1 + 2 H; state_keys: names of the state's columns.
      state: float64 [N, 1 + 2 H], what was observed before the slate, see `logs.episodes.states_of`.
      action: int64 [N], numbers of ordered slates.
      reward: float64 [N], consumed times.
      done, terminal: float64 [N], 1 at the last step of a user.
      info: user_id int64 [N]; slate int64 [N, S], document ids, 0 for empty slots; clicked int64 [N], slot, S for none.
      pscore: float64 [N], probabilities of the ordered slates (`propensity`).
      behavior_policy: name of the policy, "logged" if it is unknown.
      dataset_id: as given.

    Raises:
      InvalidInputError: one line, if rows cannot be right, an episode is incomplete or of another length, num_docs is
        below a document id, D^S is 2^63 or above, a propensity is unknown, or the log has several policies.
    """
    dataset_id = validation.integer("dataset_id", dataset_id, 0)
    log = episodes.validated(log)
    surveyed = episodes.survey(episodes.by_user([log]))
    num_docs, history_length = episodes.checked_sizes(surveyed, num_docs, history_length)
    if len(surveyed.policies) > 1:
        raise validation.InvalidInputError(
            f"log: a logged dataset is of one policy, got {', '.join(surveyed.policies)}: take the rows of one of them"
        )
    num_actions = num_docs**surveyed.slate_size
    if num_actions > MAX_ACTIONS:
        raise validation.InvalidInputError(
            f"log: ordered slates of {surveyed.slate_size} of {num_docs} documents must be fewer than 2^63"
        )
    users = [episodes.episode_of(rows, surveyed.slate_size) for rows in episodes.by_user([log])]
    shorter = next((user for user in users if len(user.choices) < surveyed.horizon), None)
    if shorter is not None:
        raise validation.InvalidInputError(
            f"log: all users must have the same number of steps, {surveyed.horizon}, and user {shorter.user_id} has "
            f"{len(shorter.choices)}"
        )
    pscore = np.concatenate([user.propensities for user in users])
    if np.isnan(pscore).any():
        raise validation.InvalidInputError(
            f"log: propensity is unknown at {np.count_nonzero(np.isnan(pscore))} of {len(pscore)} steps"
        )
    shape = (num_docs,) * surveyed.slate_size
    actions = [np.ravel_multi_index(tuple(episodes.actions_of(user).T), shape) for user in users]
    last = np.tile(np.arange(surveyed.horizon) == surveyed.horizon - 1, len(users)).astype(np.float64)
    return {
        "size": len(pscore),
        "n_trajectories": len(users),
        "step_per_trajectory": surveyed.horizon,
        "action_type": "discrete",
        "n_actions": num_actions,
        "action_dim": None,
        "action_meaning": None,
        "action_keys": None,
        "state_dim": 1 + 2 * history_length,
        "state_keys": episodes.state_names(history_length),
        "state": np.concatenate([episodes.states_of(user, history_length) for user in users]),
        "action": np.concatenate(actions).astype(np.int64),
        "reward": np.concatenate([user.consumed_times for user in users]).astype(np.float64),
        "done": last,
        "terminal": last.copy(),
        "info": {
            "user_id": np.repeat([user.user_id for user in users], surveyed.horizon),
            "slate": np.concatenate([user.slates for user in users]),
            "clicked": np.concatenate([user.choices for user in users]),
        },
        "pscore": pscore,
        "behavior_policy": surveyed.policies[0] if surveyed.policies else "logged",
        "dataset_id": dataset_id,
    }
