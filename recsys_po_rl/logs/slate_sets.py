"""Set of slates, for the slates of a log that are dropped."""

import numpy as np

from recsys_po_rl.common import validation

MAX_SLATES = 1 << 24  # about 30 bytes each
_MIN_MERGED = 1 << 16


class SlateSet:
    """Set of slates, each a user and a step, in sorted arrays.

    Attributes:
      users: users of the slates, ascending, all different; int64.
    """

    def __init__(self) -> None:
        """Create an empty set."""
        self.users = np.empty(0, np.int64)
        self._keys = np.empty(0, np.int64)  # ascending, see `_keys_of`
        self._slates = (np.empty(0, np.int64), np.empty(0, np.int32))  # users and steps, in the order of the keys
        self._added: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_added = 0

    def add(self, user_id: np.ndarray, step: np.ndarray) -> None:
        """Add slates; `merge` makes them members.

        Args:
          user_id: int64 [M].
          step: int32 [M].

        Raises:
          InvalidInputError: if the set has more than `MAX_SLATES` slates.
        """
        self._added.append((user_id, step))
        self._num_added += len(user_id)
        if self._num_added > max(_MIN_MERGED, len(self._keys)):
            self.merge()

    def merge(self) -> None:
        """Make all added slates members; see `add` for errors."""
        user_id, step = (np.concatenate(parts) for parts in zip(self._slates, *self._added))
        self.users = np.unique(user_id)
        self._keys, places = np.unique(self._keys_of(np.searchsorted(self.users, user_id), step), return_index=True)
        self._slates = user_id[places], step[places]
        self._added, self._num_added = [], 0
        if len(self._keys) > MAX_SLATES:
            raise validation.InvalidInputError(f"log: more than {MAX_SLATES} slates have rows that cannot be right")

    def contains(self, user_id: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return whether slates are members; bool [N].

        Args:
          user_id: int64 [N].
          step: int32 [N].
        """
        if not len(self._keys):
            return np.zeros(len(user_id), bool)
        places = np.minimum(np.searchsorted(self.users, user_id), len(self.users) - 1)
        keys = self._keys_of(places, step)
        near = self._keys[np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)]
        return (self.users[places] == user_id) & (near == keys)

    @staticmethod
    def _keys_of(places: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return keys that ascend with the users' places and the steps; int64 [N]."""
        return (places.astype(np.int64) << 32) + step.astype(np.int64)  # steps differ by less than 2**32
