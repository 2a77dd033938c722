"""A user of another kind: every step without a click costs patience, and who has none left clicks nothing any more."""

from typing import Any

import tensorflow as tf
from recsim_ng.core.value import Value, ValueSpec

from recsys_po_rl import fields, gin_config
from recsys_po_rl.user import InterestEvolutionUser

LEFT = -1e9  # added to the logit of every document for users who are gone


@gin_config.configurable
class ImpatientUser(InterestEvolutionUser):
    """Adds the state field `patience`, int32 [U]: steps without a click that the user will still bear.

    The choice depends on the patience, so that the inherited `choice_logits` of an interest do not describe it. The
    class therefore does not override `dynamics`: policies that plan with known dynamics are left out of the table.
    """

    def __init__(self, config: Any, patience_steps: int = 5, **options: Any) -> None:
        """Makes users who bear `patience_steps` steps in a row without a click; options as of the parent."""
        super().__init__(config, **options)
        self._patience_steps = patience_steps

    def initial_state(self) -> Value:
        """Starts with full patience."""
        patience = tf.fill((self._num_users,), self._patience_steps)
        return super().initial_state().union(Value(patience=patience))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """A click restores patience, unless there was none left."""
        before = previous_state.get("patience")
        clicked = user_response.get(fields.CONSUMED_TIME) >= 0.0
        after = tf.where(clicked, self._patience_steps, tf.maximum(before - 1, 0))
        moved = super().next_state(previous_state, user_response, slate_docs)
        return moved.union(Value(patience=tf.where(before > 0, after, 0)))

    def next_response(self, previous_state: Value, slate_docs: Value) -> Value:
        """Chooses like the parent while there is patience."""
        interest = previous_state.get(fields.INTEREST)
        gone = previous_state.get("patience") <= 0
        logits = self.document_logits(interest, slate_docs) + tf.where(gone, LEFT, 0.0)[:, tf.newaxis]
        return self.response_from_logits(logits, slate_docs)

    def specs(self) -> ValueSpec:
        """Adds the spec of `patience`."""
        patience = fields.tensor_spec((self._num_users,), 0, self._patience_steps, tf.int32)
        return super().specs().union(ValueSpec(patience=patience).prefixed_with("state"))
