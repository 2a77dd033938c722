"""Sequences of what users were shown and consumed, from the rows of a log.

One array entry for each click (or each step, where slates are kept), whatever the length of the histories: examples are
made of these arrays batch by batch.
"""

from typing import NamedTuple, Optional, Protocol

import numpy as np

from recsys_po_rl.common import validation

_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # multipliers of splitmix64
_GOLDEN = 0x9E3779B97F4A7C15


class LogRows(Protocol):
    """Rows of a log, see `logs.interactions.Interactions`; arrays [N]."""

    @property
    def user_id(self) -> np.ndarray:
        """Users, int64."""

    @property
    def step(self) -> np.ndarray:
        """Steps of the users, int32."""

    @property
    def slot(self) -> np.ndarray:
        """Slots of the slates, int32."""

    @property
    def item_id(self) -> np.ndarray:
        """Documents, int32, 1 to D."""

    @property
    def clicked(self) -> np.ndarray:
        """Clicks, bool."""

    @property
    def consumed_time(self) -> np.ndarray:
        """Consumed times, float32."""

    @property
    def propensity_item(self) -> Optional[np.ndarray]:
        """Probabilities of the documents in their slots, float64; None: unknown."""


class Sequences(NamedTuple):
    """Steps of users in order; those of user n are `first[n]` to `first[n + 1] - 1`."""

    user_ids: np.ndarray  # int64 [N], ascending
    first: np.ndarray  # int64 [N + 1]
    shown: np.ndarray  # int32 [M, S], 0 for empty slots; S = 1 where only clicks are kept
    clicked: np.ndarray  # int32 [M], the clicked slot, S for none
    times: np.ndarray  # float32 [M], 0 for none
    propensities: np.ndarray  # float64 [M], of the clicked document in its slot; NaN: unknown, or no click

    @property
    def is_click(self) -> np.ndarray:
        """Mask of steps with a consumed document; bool [M]."""
        return self.clicked < self.shown.shape[1]

    @property
    def docs(self) -> np.ndarray:
        """Consumed documents, 0 for none; int32 [M]."""
        slots = np.minimum(self.clicked, self.shown.shape[1] - 1)
        return np.where(self.is_click, self.shown[np.arange(len(slots)), slots], 0).astype(np.int32)

    @property
    def user_of_step(self) -> np.ndarray:
        """Number of the user of each step; int64 [M]."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.first))


class SequenceBuilder:
    """Collects the rows of a log, in pieces and in any order, and sorts them by user, step and slot.

    Memory: 36 bytes for each row that is kept, and about as much again while they are sorted. Without slates only rows
    with a click are kept.
    """

    def __init__(self, slate_size: Optional[int] = None) -> None:
        """Start without rows.

        Args:
          slate_size: smallest S of the sequences; None: slates are not kept, and steps without a click are left out.
        """
        self._slate_size = slate_size
        self._parts: list[tuple[np.ndarray, ...]] = []
        self.num_rows = 0

    def add(self, rows: LogRows) -> None:
        """Add rows of a log.

        Args:
          rows: any number of rows; the rows of a user may be spread over several calls.
        """
        clicked = np.asarray(rows.clicked, np.bool_)
        kept = clicked if self._slate_size is None else np.ones_like(clicked)
        self.num_rows += len(clicked)
        propensities = rows.propensity_item
        if propensities is None:
            propensities = np.full(len(clicked), np.nan)
        columns = (rows.user_id, rows.step, rows.slot, rows.item_id, clicked, rows.consumed_time, propensities)
        types = (np.int64, np.int32, np.int32, np.int32, np.bool_, np.float32, np.float64)
        self._parts.append(tuple(np.asarray(column, type_)[kept] for column, type_ in zip(columns, types, strict=True)))

    def finish(self) -> Sequences:
        """Return the sequences; the collected rows are released.

        Raises:
          InvalidInputError: if there is no click, or a user clicked two documents in one step.
        """
        columns = [np.concatenate(column) for column in zip(*self._parts)] if self._parts else [np.zeros(0)] * 7
        self._parts = []
        if not columns[4].any():
            raise validation.InvalidInputError("the log has no click: at least one is needed to learn from")
        order = np.lexsort((columns[2], columns[1], columns[0]))
        user, step, slot, item, clicked, times, propensities = (column[order] for column in columns)
        starts = np.concatenate([[True], (user[1:] != user[:-1]) | (step[1:] != step[:-1])])
        number = np.cumsum(starts) - 1  # of the step of each row
        of_click = number[clicked]
        twice = np.flatnonzero(of_click[1:] == of_click[:-1])
        if len(twice):
            row = np.flatnonzero(clicked)[twice[0]]
            raise validation.InvalidInputError(
                f"the log has two clicks of user {user[row]} in step {step[row]}: at most one is allowed"
            )
        size = 1 if self._slate_size is None else max(self._slate_size, int(slot.max()) + 1)
        place = np.zeros_like(slot) if self._slate_size is None else slot
        shown = np.zeros((number[-1] + 1, size), np.int32)
        shown[number, place] = item
        by_step = Sequences(
            user_ids=user[starts],
            first=np.zeros(0, np.int64),
            shown=shown,
            clicked=np.full(len(shown), size, np.int32),
            times=np.zeros(len(shown), np.float32),
            propensities=np.full(len(shown), np.nan),
        )
        by_step.clicked[of_click] = place[clicked]
        by_step.times[of_click] = times[clicked]
        by_step.propensities[of_click] = propensities[clicked]
        users, first = np.unique(by_step.user_ids, return_index=True)
        return by_step._replace(user_ids=users, first=np.append(first, len(shown)).astype(np.int64))


class Split(NamedTuple):
    """Numbers of the users of each part, int64, ascending."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(user_ids: np.ndarray, seed: int, validation_share: float, test_share: float) -> Split:
    """Divide users by a hash of their id, so that a user is in the same part of every log.

    Args:
      user_ids: int64 [N].
      seed: of the hash.
      validation_share: expected share of the users for stopping.
      test_share: expected share of the users for the final measures.
    """
    uniform = _hashed(user_ids, seed)
    is_validation = uniform < validation_share
    is_test = ~is_validation & (uniform < validation_share + test_share)
    return Split(*(np.flatnonzero(part) for part in (~is_validation & ~is_test, is_validation, is_test)))


def _hashed(ids: np.ndarray, seed: int) -> np.ndarray:
    """Return uniform numbers in [0, 1) of ids and a seed; float64 [N].

    The finalizer of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
    """
    state = np.asarray(ids, np.int64).view(np.uint64)
    with np.errstate(over="ignore"):
        state = _mixed(state + np.uint64((seed + 1) * _GOLDEN % 2**64))
        state = _mixed(state + np.uint64(_GOLDEN))
    return (state >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX[0])
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX[1])
    return state ^ (state >> np.uint64(31))


class Weighting(NamedTuple):
    """Weights of examples by inverse propensities, and what became of them."""

    weights: np.ndarray  # float32 [M], mean 1 over the clicks of the training users
    share_clipped: float  # of the clicks of the training users
    effective_sample_size: float  # of the weights of the training users


def inverse_propensity_weights(
    sequences: Sequences, training_users: np.ndarray, num_docs: int, max_weight: float
) -> Weighting:
    """Return clipped, self-normalised inverse-propensity weights of clicks.

    The weight of a click is proportional to min(1 / (D p), max_weight), p the probability with which the logging policy
    showed this document in this slot: a click under uniformly random slates has weight 1 before normalisation. Schnabel
    et al. 2016, "Recommendations as treatments", equation 10 with clipping; self-normalised as in Swaminathan and
    Joachims 2015, "The self-normalized estimator for counterfactual learning".

    Args:
      sequences: the sequences.
      training_users: numbers of the users over whose clicks the weights have mean 1.
      num_docs: D.
      max_weight: largest weight before normalisation, above 0.

    Raises:
      InvalidInputError: if the propensity of a click is unknown.
    """
    is_click = sequences.is_click
    unknown = is_click & ~np.isfinite(sequences.propensities)
    if unknown.any():
        raise validation.InvalidInputError(
            f"inverse propensity weights need propensity_item of every click, {unknown.sum()} of {is_click.sum()} "
            "clicks lack it"
        )
    raw = np.where(is_click, 1.0 / (num_docs * np.where(is_click, sequences.propensities, 1.0)), 0.0)
    clipped = np.minimum(raw, max_weight)
    in_training = np.zeros(len(sequences.user_ids), np.bool_)
    in_training[training_users] = True
    of_training = is_click & in_training[sequences.user_of_step]
    own = clipped[of_training]
    return Weighting(
        (clipped / own.mean()).astype(np.float32),
        float((raw[of_training] > max_weight).mean()),
        float(own.sum() ** 2 / (own**2).sum()),
    )
