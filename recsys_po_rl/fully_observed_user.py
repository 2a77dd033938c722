"""Users who reveal their interest to the recommender: full information."""

from typing import Any

import tensorflow as tf
from recsim_ng.core.value import Value, ValueSpec

from recsys_po_rl import fields


class FullyObservedUser:
    """User entity that reveals the interest of another user entity to the recommender (full information).

    The observation has the additional field interest, float32 [U, K]; every other attribute, the methods of the story
    included, is that of the wrapped entity, whose variables and random draws therefore stay as they are.

    Attributes:
      unwrapped: the wrapped entity.
    """

    def __init__(self, entity: Any) -> None:
        """Store the entity.

        Args:
          entity: a user entity whose state has the field interest.state, float32 [U, K].
        """
        self.unwrapped = entity

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the wrapped entity; called for attributes that the wrapper does not define."""
        if name == "unwrapped":  # while a copy of this object is created
            raise AttributeError(name)
        return getattr(self.unwrapped, name)

    def observation(self, user_state: Value) -> Value:
        """Return the wrapped entity's observation and the interest."""
        interest = tf.convert_to_tensor(user_state.get(fields.INTEREST))
        return self.unwrapped.observation(user_state).union(Value(**{fields.OBSERVED_INTEREST: interest}))

    def specs(self) -> ValueSpec:
        """Return the wrapped entity's specs and that of the observed interest."""
        specs = self.unwrapped.specs()
        shown = ValueSpec(**{fields.OBSERVED_INTEREST: specs.get("state").get(fields.INTEREST)})
        return specs.union(shown.prefixed_with("observation"))
