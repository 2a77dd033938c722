"""Episodes of a log: each user's slates in order, and what a recommender observed of the user; NumPy only."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recsys_po_rl.common import validation
from recsys_po_rl.logs import interactions
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.logs.sequence_checks import SequenceChecker

HISTORY_LENGTH = 15  # of the default experiment's recommender, configs/network/interest_evolution.gin
MAX_WIDTH = 10_000  # of slates and histories: one row of a log can claim any slot
EMPTY = 0  # document id of an empty slot


class Episode(NamedTuple):
    """Slates and responses of one user."""

    user_id: int
    slates: np.ndarray  # int64 [T, S], document ids, 0 for empty slots
    choices: np.ndarray  # int64 [T], clicked slot, S for none
    consumed_times: np.ndarray  # float32 [T], 0 for none
    propensities: np.ndarray  # float64 [T], joint; NaN: unknown
    prefix_propensities: np.ndarray  # float64 [T, S]; NaN: unknown, or an empty slot
    item_propensities: np.ndarray  # float64 [T, S]; NaN: unknown, or an empty slot
    policies: list[str]  # of each slate, "" for unknown


class Survey(NamedTuple):
    """Numbers of a log whose users all have complete episodes."""

    num_users: int
    num_docs: int  # largest document id
    slate_size: int  # largest slot + 1
    horizon: int  # steps of the longest episode
    policies: tuple[str, ...]  # in the order of their first rows


def validated(log: Interactions) -> Interactions:
    """Return a log's rows, sorted by user, step and slot.

    Args:
      log: rows in any order, for instance made by hand.

    Raises:
      InvalidTypeError: if a column has the wrong dtype or length.
      InvalidInputError: one line, if a row cannot be right.
    """
    interactions.raise_if_wrong_columns(log)
    log = log if interactions.is_in_order(log.user_id, log.step, log.slot) else log.in_order()
    fault = next(interactions.single_row_faults(log), None)
    if fault is None:
        fault = next(SequenceChecker().faults(log, np.ones(log.num_rows, bool)), None)
    if fault is not None:
        row = fault.places[0]
        raise validation.InvalidInputError(
            f"log: user {log.user_id[row]}, step {log.step[row]}, slot {log.slot[row]}: {fault.reason}"
        )
    return log


def by_user(batches: Iterable[Interactions]) -> Iterator[Interactions]:
    """Split a log that comes in batches into its users.

    Memory: a batch, the rows of one user, and the ids of all users.

    Args:
      batches: consecutive rows of a log, all rows of a user together.

    Yields:
      All rows of one user, sorted by step and slot.

    Raises:
      InvalidInputError: one line, if a user returns after another one.
    """
    seen: set[int] = set()
    pending: Optional[Interactions] = None
    for batch in batches:
        rows = batch if pending is None else interactions.concatenate([pending, batch])
        starts = [0, *(np.flatnonzero(rows.user_id[1:] != rows.user_id[:-1]) + 1)]
        for first, end in itertools.pairwise(starts):
            yield _complete(rows.take(slice(first, end)), seen)
        pending = rows.take(slice(starts[-1], None)) if rows.num_rows else None
    if pending is not None:
        yield _complete(pending, seen)


def survey(users: Iterable[Interactions], needs_first_slots: bool = True) -> Survey:
    """Validate that all users have complete episodes, and return the numbers of the log.

    Args:
      users: rows of one user after another, see `by_user`.
      needs_first_slots: whether a slate must have slot 0, without which no action shows it.

    Raises:
      InvalidInputError: one line, if there are no rows, a user lacks a step between 0 and the last one, a slate lacks
        slot 0, or a slot is not below `MAX_WIDTH`.
    """
    num_users = num_docs = slate_size = horizon = 0
    policies: dict[str, None] = {}
    for rows in users:
        user = rows.user_id[0]
        first_rows = np.flatnonzero(np.diff(rows.step, prepend=-1))
        missing = np.flatnonzero(rows.step[first_rows] != np.arange(len(first_rows)))
        if missing.size:
            raise validation.InvalidInputError(
                f"log: an episode needs all steps from 0 on, and user {user} has no step {missing[0]}"
            )
        headless = first_rows[rows.slot[first_rows] != 0]
        if headless.size and needs_first_slots:
            raise validation.InvalidInputError(
                f"log: an episode needs slot 0 of every slate, and user {user} has none at step "
                f"{rows.step[headless[0]]}"
            )
        num_users += 1
        num_docs = max(num_docs, int(rows.item_id.max()))
        slate_size = max(slate_size, int(rows.slot.max()) + 1)
        horizon = max(horizon, len(first_rows))
        if slate_size > MAX_WIDTH:
            raise validation.InvalidInputError(
                f"log: slots must be below {MAX_WIDTH}, and user {user} has {slate_size - 1}"
            )
        if rows.policy is not None:
            policies.update(dict.fromkeys(name for name in rows.policy if name is not None))
    if not num_users:
        raise validation.InvalidInputError("log: it has no rows")
    return Survey(num_users, num_docs, slate_size, horizon, tuple(policies))


def checked_sizes(surveyed: Survey, num_docs: Optional[int], history_length: int) -> tuple[int, int]:
    """Return the number of documents D and the length of histories H.

    Args:
      surveyed: numbers of the log.
      num_docs: D; None: the largest document id.
      history_length: H.

    Raises:
      InvalidInputError: one line, if a number is out of bounds, or D is below a document id.
    """
    num_docs = surveyed.num_docs if num_docs is None else validation.integer("num_docs", num_docs, 1)
    if num_docs < surveyed.num_docs:
        raise validation.InvalidInputError(
            f"num_docs must be at least that of the log, {surveyed.num_docs}, got {num_docs}"
        )
    history_length = validation.integer("history_length", history_length, 1)
    if history_length > MAX_WIDTH:
        raise validation.InvalidInputError(f"history_length must be at most {MAX_WIDTH}, got {history_length}")
    return num_docs, history_length


def episode_of(rows: Interactions, slate_size: int) -> Episode:
    """Return a user's slates as arrays.

    Args:
      rows: all rows of the user, sorted by step and slot, with all steps from 0 on.
      slate_size: S, above all slots.
    """
    shape = (int(rows.step[-1]) + 1, slate_size)
    slates = np.full(shape, EMPTY, np.int64)
    slates[rows.step, rows.slot] = rows.item_id
    choices = np.full(shape[0], slate_size, np.int64)
    choices[rows.step[rows.clicked]] = rows.slot[rows.clicked]
    times = np.zeros(shape[0], np.float32)
    times[rows.step[rows.clicked]] = rows.consumed_time[rows.clicked]
    joint, prefix, item = np.full(shape[0], np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    if rows.propensity is not None:
        joint[rows.step] = rows.propensity
    for values, column in ((prefix, rows.propensity_prefix), (item, rows.propensity_item)):
        if column is not None:
            values[rows.step, rows.slot] = column
    policies = [""] * shape[0]
    if rows.policy is not None:
        for step, name in zip(rows.step.tolist(), rows.policy):
            policies[step] = name or ""
    return Episode(int(rows.user_id[0]), slates, choices, times, joint, prefix, item, policies)


def actions_of(episode: Episode) -> np.ndarray:
    """Return the actions of the environment that show the slates of an episode.

    In an empty slot stands the document of slot 0 once more: the environment leaves the slot of a repeated document
    empty.

    Args:
      episode: slates of T steps.

    Returns:
      int64 [T, S], indices of documents from 0.
    """
    return np.where(episode.slates == EMPTY, episode.slates[:, :1], episode.slates) - 1


def observations_of(episode: Episode, history_length: int) -> dict[str, np.ndarray]:
    """Return what a recommender observed of a user, as the Gymnasium environment does.

    Args:
      episode: slates and responses of T steps.
      history_length: H, at least 1.

    Returns:
      Observations before the first slate and after each one, T + 1 in all; see `policies.external.observation_of`.
      slate: int64 [T + 1, S].
      clicked: int64 [T + 1].
      consumed_time: float32 [T + 1, 1].
      step: int64 [T + 1].
      doc_history: int64 [T + 1, H].
      time_history: float32 [T + 1, H].
    """
    num_steps, slate_size = episode.slates.shape
    clicked = episode.choices < slate_size
    consumed = episode.slates[clicked, episode.choices[clicked]]
    num_clicks = np.concatenate([[0], np.cumsum(clicked)])

    def history(values: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.zeros(history_length, values.dtype), values])
        return sliding_window_view(padded, history_length)[num_clicks]

    return {
        "slate": np.concatenate([np.full((1, slate_size), EMPTY, np.int64), episode.slates]),
        "clicked": np.concatenate([[slate_size], episode.choices]),
        "consumed_time": np.concatenate([[np.float32(0)], episode.consumed_times])[:, np.newaxis],
        "step": np.arange(num_steps + 1),
        "doc_history": history(consumed),
        "time_history": history(episode.consumed_times[clicked]),
    }


def state_names(history_length: int) -> list[str]:
    """Return the names of the columns of `states_of`.

    Args:
      history_length: H.
    """
    places = range(history_length)
    return ["step", *(f"doc_history_{place}" for place in places), *(f"time_history_{place}" for place in places)]


def states_of(episode: Episode, history_length: int) -> np.ndarray:
    """Return what a recommender observed before each slate as numbers: step, document history, time history.

    Args:
      episode: slates and responses of T steps.
      history_length: H.

    Returns:
      float64 [T, 1 + 2 H]; document ids are categories, 0 for empty places.
    """
    observed = observations_of(episode, history_length)
    columns = [observed["step"][:, np.newaxis], observed["doc_history"], observed["time_history"]]
    return np.concatenate(columns, axis=1, dtype=np.float64)[:-1]


def _complete(rows: Interactions, seen: set[int]) -> Interactions:
    user = int(rows.user_id[0])
    if user in seen:
        raise validation.InvalidInputError(
            f"log: all rows of a user must stand together, and user {user} returns after other users: "
            "load_interactions sorts a log in memory"
        )
    seen.add(user)
    return rows if interactions.is_in_order(rows.user_id, rows.step, rows.slot) else rows.in_order()
