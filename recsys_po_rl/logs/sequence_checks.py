"""Checks of a log's rows against one another, for logs that come in batches; NumPy only."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from recsys_po_rl.logs import interactions
from recsys_po_rl.logs.interactions import Fault, Interactions

# Reasons for which a row cannot be right beside other rows.
REPEATED = "repeated user, step and slot"
BACKWARDS = "the user's time goes backwards"
SECOND_CLICK = "second click in a slate"
REPEATED_DOCUMENT = "document repeated in a slate"
UNEQUAL_PROPENSITY = "propensity differs within a slate"
GROWING_PREFIX = "propensity_prefix grows with the slot"

_TOLERANCE = 1e-9  # relative, of propensities that were summed in another order
_NOWHERE = np.iinfo(np.int64).max


class _Rows(NamedTuple):
    """Rows in the order of the log; arrays [M]."""

    user_id: np.ndarray
    step: np.ndarray
    slot: np.ndarray
    item_id: np.ndarray
    clicked: np.ndarray
    propensity: np.ndarray
    propensity_prefix: np.ndarray

    def take(self, rows: np.ndarray) -> "_Rows":
        return _Rows(*(values[rows] for values in self))

    def followed_by(self, other: "_Rows") -> "_Rows":
        return _Rows(*(np.concatenate(pair) for pair in zip(self, other)))


class SequenceChecker:
    """Checks of rows against rows before them, and against other rows of their slates.

    A user's steps must not descend in the order of the rows; users may alternate, and the rows of a slate may come in
    any order. Unknown propensities agree with all others. Memory: the slates of each user's last step.
    """

    def __init__(self) -> None:
        """Create a checker that has seen no rows."""
        self._last = _Rows(*(np.empty(0, interactions.COLUMNS[name]) for name in _Rows._fields))  # by user, ascending

    @property
    def users(self) -> np.ndarray:
        """Users with a valid row, ascending; int64."""
        users = self._last.user_id
        return users[np.concatenate([[True], users[1:] != users[:-1]])[: len(users)]]

    def faults(self, log: Interactions, valid: np.ndarray) -> Iterator[Fault]:
        """Find rows that cannot be right after the rows before them, and remember the others.

        Args:
          log: next rows of the log.
          valid: bool [N], false for rows to be ignored, which have a fault of their own.

        Yields:
          Faults; a row is in one at most.
        """
        places = np.flatnonzero(valid)
        columns = (getattr(log, name) for name in _Rows._fields)
        batch = _Rows(*(np.full(len(places), np.nan) if column is None else column[places] for column in columns))
        returning = np.zeros(len(self._last.user_id), bool)
        if len(returning) and len(places) and batch.user_id.min() <= self._last.user_id[-1]:
            returning = np.isin(self._last.user_id, batch.user_id)
        before = self._last.take(returning)
        rows = before.followed_by(batch)
        places = np.concatenate([np.full(len(before.user_id), -1), places])
        wrong = _backwards(rows)
        if wrong.any():
            yield Fault(BACKWARDS, places[wrong])
            rows, places = rows.take(~wrong), places[~wrong]
        order = _order(rows)
        ordered = rows.take(order)
        wrong = _is_equal_to_last(ordered.user_id, ordered.step, ordered.slot)
        if wrong.any():
            yield Fault(REPEATED, np.sort(places[order[wrong]]))
            order, ordered = order[~wrong], ordered.take(~wrong)
        is_known = places < 0  # rows with a fault, and those before
        for reason, found in _slate_faults(ordered, order):
            found = found[~is_known[found]]
            is_known[found] = True
            if len(found):
                yield Fault(reason, np.sort(places[found]))
        self._remember(ordered, returning)

    def _remember(self, ordered: _Rows, returning: np.ndarray) -> None:
        """Keep the last steps of users; `returning` are the rows kept before that are among the new ones."""
        is_last = np.ones(len(ordered.user_id), bool)
        is_last[:-1] = ordered.user_id[1:] != ordered.user_id[:-1]
        ends = np.flatnonzero(is_last)
        num_rows = np.diff(ends, prepend=-1)
        rows = ordered.take(ordered.step == np.repeat(ordered.step[ends], num_rows))
        kept = self._last.take(~returning) if returning.any() else self._last
        merged = kept.followed_by(rows)
        if len(kept.user_id) and len(rows.user_id) and kept.user_id[-1] > rows.user_id[0]:
            merged = merged.take(np.argsort(merged.user_id, kind="stable"))
        self._last = merged


def _backwards(rows: _Rows) -> np.ndarray:
    """Return whether a row of the same user before a row has a larger step; bool [M]."""
    by_user = np.argsort(rows.user_id, kind="stable")
    user_id, step = rows.user_id[by_user], rows.step[by_user]
    starts = np.concatenate([[True], user_id[1:] != user_id[:-1]])[: len(user_id)]
    offset = np.cumsum(starts) << 32  # above all steps, so that a maximum does not pass from one user to the next
    wrong = np.zeros(len(user_id), bool)
    wrong[by_user] = step < np.maximum.accumulate(offset + step) - offset
    return wrong


def _order(rows: _Rows) -> np.ndarray:
    """Return the order by user, step and slot, in which equal rows keep their order; int64 [M]."""
    if interactions.is_in_order(rows.user_id, rows.step, rows.slot):
        return np.arange(len(rows.user_id))
    return np.lexsort((rows.slot, rows.step, rows.user_id))


def _is_equal_to_last(*keys: np.ndarray) -> np.ndarray:
    equal = np.zeros(len(keys[0]), bool)
    equal[1:] = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    return equal


def _slate_faults(ordered: _Rows, order: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Find rows that contradict others of their slates.

    Args:
      ordered: rows by user, step and slot, all different.
      order: int64 [M], their places in the log; of two rows that contradict each other the later is at fault.

    Yields:
      Reasons with places, int64.
    """
    if not len(order):
        return
    is_first = ~_is_equal_to_last(ordered.user_id, ordered.step)
    slate = np.cumsum(is_first) - 1
    starts = np.flatnonzero(is_first)

    def first_places(mask: np.ndarray) -> np.ndarray:
        """Return for each row the first place in its slate where a mask holds."""
        return np.minimum.reduceat(np.where(mask, order, _NOWHERE), starts)[slate]

    yield SECOND_CLICK, order[ordered.clicked & (order > first_places(ordered.clicked))]
    yield REPEATED_DOCUMENT, order[_is_repeated((slate << 32) + ordered.item_id, order)]
    known = ~np.isnan(ordered.propensity)
    if known.any():
        of_place = np.empty(int(order.max()) + 1)
        of_place[order] = ordered.propensity
        first = of_place[np.where(known, first_places(known), order[0])]
        yield UNEQUAL_PROPENSITY, order[known & (np.abs(ordered.propensity - first) > _TOLERANCE * first)]
    known_places = np.flatnonzero(~np.isnan(ordered.propensity_prefix))
    low, high = known_places[:-1], known_places[1:]
    grows = ordered.propensity_prefix[high] > ordered.propensity_prefix[low] * (1 + _TOLERANCE)
    grows &= slate[low] == slate[high]
    yield GROWING_PREFIX, np.unique(np.maximum(order[low], order[high])[grows])


def _is_repeated(keys: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return whether an equal key has an earlier place in the log; bool [M]."""
    wrong = np.zeros(len(keys), bool)
    in_order = np.sort(keys)
    if (in_order[1:] == in_order[:-1]).any():
        by_key = np.lexsort((order, keys))
        wrong[by_key] = _is_equal_to_last(keys[by_key])
    return wrong
