"""Steps counted from timestamps, for logs that have none."""

from typing import NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation

MAX_RUN_ROWS = 1 << 22  # rows of one user that stand together: they are held in memory


class Counted(NamedTuple):
    """Rows whose steps are known, by user in the order of their timestamps."""

    places: np.ndarray  # int64 [M], a permutation of 0..M-1: indices into the rows added and not returned yet
    step: np.ndarray  # int64 [M]
    backwards: np.ndarray  # bool [M], whether a timestamp is before one of an earlier run of the user


class StepCounter:
    """Counter of users' steps in a stream of rows.

    The rows of a user that stand together, a run, are sorted by timestamp; runs of one user must not overlap in time.
    Memory: the latest run, and two numbers for each user.
    """

    def __init__(self, one_slate_for_equal_times: bool) -> None:
        """Create a counter.

        Args:
          one_slate_for_equal_times: whether equal timestamps of a user are one step; otherwise each row is a step.
        """
        self._one_slate = one_slate_for_equal_times
        self._num_steps: dict[int, int] = {}
        self._latest: dict[int, float] = {}
        self._held: tuple[np.ndarray, Optional[np.ndarray]] = (np.empty(0, np.int64), None)
        self._num_rows = 0

    def add(self, user_id: np.ndarray, timestamp: Optional[np.ndarray], is_last: bool = False) -> Counted:
        """Add the next rows; return the rows of completed runs.

        Args:
          user_id: int64 [N].
          timestamp: int64 or float64 [N]; None: time advances from row to row.
          is_last: whether no rows follow, so that all runs are complete.

        Raises:
          InvalidInputError: if a run has more than `MAX_RUN_ROWS` rows.
        """
        if timestamp is None:
            timestamp = np.arange(self._num_rows, self._num_rows + len(user_id))
        held_users, held_times = self._held
        self._num_rows += len(user_id)
        users = np.concatenate([held_users, user_id])
        times = timestamp if held_times is None else np.concatenate([held_times, timestamp])
        starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]])[: len(users)])
        end = len(users) if is_last or not len(users) else int(starts[-1])
        self._held = users[end:], times[end:]
        if len(users) - end > MAX_RUN_ROWS:
            raise validation.InvalidInputError(f"log: user {users[end]} has more than {MAX_RUN_ROWS} rows")
        users, times, starts = users[:end], times[:end], starts[starts < end]
        run = np.zeros(end, np.int64)
        run[starts] = 1
        run = np.cumsum(run)
        order = np.lexsort((times, run))
        times = times[order]
        is_new = np.ones(end, bool)
        if self._one_slate:
            is_new[1:] = (times[1:] != times[:-1]) | (run[1:] != run[:-1])
        total = np.cumsum(is_new)
        step, backwards = np.zeros(end, np.int64), np.zeros(end, bool)
        # A run has many rows in files sorted by user; in files sorted by time this loop is over the rows.
        for begin, stop in zip(starts.tolist(), [*starts[1:].tolist(), end]):
            user = int(users[begin])
            before, latest = self._num_steps.get(user, 0), self._latest.get(user)
            if latest is not None:
                backwards[begin:stop] = times[begin:stop] < latest
                if self._one_slate and times[begin] == latest:
                    before -= 1
            step[begin:stop] = total[begin:stop] - total[begin] + before
            self._num_steps[user] = int(step[stop - 1]) + 1
            self._latest[user] = times[stop - 1].item() if latest is None else max(latest, times[stop - 1].item())
        return Counted(order, step, backwards)
