"""Dictionaries of the Open Bandit Pipeline of interaction logs; NumPy only. See docs/datasets.md.

Y. Saito, S. Aihara, M. Matsutani, Y. Narita, "Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible
Off-Policy Evaluation" (NeurIPS 2021, datasets and benchmarks). Keys as in obp 0.5.7.
"""

from typing import Any, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.logs import episodes
from recsys_po_rl.logs.interactions import Interactions


def to_open_bandit_feedback(
    log: Interactions,
    slot: Optional[int] = None,
    num_docs: Optional[int] = None,
    history_length: int = episodes.HISTORY_LENGTH,
) -> dict[str, Any]:
    """Return a log as bandit feedback, in which each row is a round: the dictionary of `obp.dataset.OpenBanditDataset`.

    Args:
      log: rows in any order; every user has all steps from 0 on.
      slot: slot whose rows are the rounds; None: the rows of all slots, with the slots as positions.
      num_docs: D; None: the largest document id.
      history_length: H, clicks that the contexts hold.

    Returns:
      n_rounds: N, number of rounds, by user, step and slot.
      n_actions: D.
      context: float64 [N, 1 + 2 H], what was observed before the slate, see `logs.episodes.states_of`.
      action_context: None; obp then takes one-hot vectors.
      action: int64 [N], indices of documents from 0.
      position: int64 [N], slots; 0 if `slot` is given.
      reward: float64 [N], consumed times of the slots.
      pscore: float64 [N], `propensity_item` of the log; missing if all are unknown.

    Raises:
      InvalidInputError: one line, if rows cannot be right, an episode is incomplete, the slot is that of no row,
        num_docs is below a document id, or the propensities of some rows are unknown.
    """
    log, surveyed, num_docs, history_length = _checked(log, num_docs, history_length)
    if slot is not None:
        slot = validation.integer("slot", slot, 0)
        if slot >= surveyed.slate_size:
            raise validation.InvalidInputError(f"slot must be below {surveyed.slate_size}, got {slot}")
    contexts = _contexts(log, surveyed.slate_size, history_length)
    selected = np.ones(log.num_rows, bool) if slot is None else log.slot == slot
    rows = log.take(selected)
    feedback = {
        "n_rounds": rows.num_rows,
        "n_actions": num_docs,
        "context": contexts[_slates(log)[selected]],
        "action_context": None,
        "action": rows.item_id.astype(np.int64) - 1,
        "position": rows.slot.astype(np.int64) if slot is None else np.zeros(rows.num_rows, np.int64),
        "reward": rows.consumed_time.astype(np.float64),
    }
    return feedback | _known(rows, {"pscore": "propensity_item"})


def to_open_bandit_slates(
    log: Interactions, num_docs: Optional[int] = None, history_length: int = episodes.HISTORY_LENGTH
) -> dict[str, Any]:
    """Return a log as slate feedback: the dictionary of `obp.dataset.SyntheticSlateBanditDataset`.

    Args:
      log: rows in any order; every user has all steps from 0 on, and all slots of each.
      num_docs: D; None: the largest document id.
      history_length: H, clicks that the contexts hold.

    Returns:
      n_rounds: M, number of slates of S documents, by user and step; N = M S.
      n_unique_action: D.
      slate_id: int64 [N], from 0.
      context: float64 [M, 1 + 2 H], what was observed before the slate, see `logs.episodes.states_of`.
      action_context: None.
      action: int64 [N], indices of documents from 0.
      position: int64 [N], slots.
      reward: float64 [N], consumed times of the slots.
      pscore, pscore_cascade, pscore_item_position: float64 [N], the log's `propensity`, `propensity_prefix` and
        `propensity_item`; missing if all are unknown.

    Raises:
      InvalidInputError: one line, as `to_open_bandit_feedback`, or if a slate lacks a slot.
    """
    log, surveyed, num_docs, history_length = _checked(log, num_docs, history_length)
    slates = _slates(log)
    incomplete = np.flatnonzero(np.bincount(slates) < surveyed.slate_size)  # no slot stands twice
    if incomplete.size:
        row = int(np.argmax(slates == incomplete[0]))
        raise validation.InvalidInputError(
            f"log: every slate must have all slots from 0 to {surveyed.slate_size - 1}, and user {log.user_id[row]} "
            f"lacks one at step {log.step[row]}"
        )
    feedback = {
        "n_rounds": int(slates[-1]) + 1,
        "n_unique_action": num_docs,
        "slate_id": slates,
        "context": _contexts(log, surveyed.slate_size, history_length),
        "action_context": None,
        "action": log.item_id.astype(np.int64) - 1,
        "position": log.slot.astype(np.int64),
        "reward": log.consumed_time.astype(np.float64),
    }
    columns = {
        "pscore_cascade": "propensity_prefix",
        "pscore": "propensity",
        "pscore_item_position": "propensity_item",
    }
    return feedback | _known(log, columns)


def _checked(
    log: Interactions, num_docs: Optional[int], history_length: int
) -> tuple[Interactions, episodes.Survey, int, int]:
    """Return the rows in order, the numbers of the log, D and H."""
    log = episodes.validated(log)
    surveyed = episodes.survey(episodes.by_user([log]), needs_first_slots=False)
    return log, surveyed, *episodes.checked_sizes(surveyed, num_docs, history_length)


def _slates(log: Interactions) -> np.ndarray:
    """Return the number of each row's slate, from 0; int64 [N]."""
    is_next = (np.diff(log.step) != 0) | (np.diff(log.user_id) != 0)
    return np.concatenate([[0], np.cumsum(is_next)])


def _contexts(log: Interactions, slate_size: int, history_length: int) -> np.ndarray:
    """Return the context of each slate; float64 [M, 1 + 2 H]."""
    users = episodes.by_user([log])
    return np.concatenate([episodes.states_of(episodes.episode_of(rows, slate_size), history_length) for rows in users])


def _known(rows: Interactions, columns: dict[str, str]) -> dict[str, np.ndarray]:
    """Return propensities by the name in the dictionary, without columns that are unknown in all rows."""
    known = {}
    for name, column in columns.items():
        values = getattr(rows, column)
        unknown = rows.num_rows if values is None else int(np.count_nonzero(np.isnan(values)))
        if 0 < unknown < rows.num_rows:
            raise validation.InvalidInputError(
                f"log: {column} is unknown in {unknown} of {rows.num_rows} rows: leave these users out, or set the "
                "column to None"
            )
        if not unknown:
            known[name] = values
    return known
