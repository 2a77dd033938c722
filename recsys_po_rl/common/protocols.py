"""Protocols of the objects that modules pass to one another; any object with these methods will do."""

from typing import Optional, Protocol, runtime_checkable

import tensorflow as tf
from recsim_ng.core.value import Value


@runtime_checkable
class UserDynamics(Protocol):
    """Known dynamics of users, by which planners compute; `user.InterestEvolutionUser` documents the formulas.

    All methods are differentiable functions without random draws.
    """

    def choice_logits(self, interest: tf.Tensor, slate_docs: Value) -> tf.Tensor:
        """Return the logits of choosing each document of a slate, then of no click.

        Args:
          interest: float32 [..., K].
          slate_docs: documents, fields [..., S, ...].

        Returns:
          float32 [..., S + 1].
        """

    def consumed_time(self, docs: Value) -> tf.Tensor:
        """Return the time for which a chosen document is consumed; float32 [...] for fields [..., ...]."""

    def next_interest(self, interest: tf.Tensor, doc: Optional[Value]) -> tf.Tensor:
        """Return the interest after a step.

        Args:
          interest: float32 [..., K].
          doc: the consumed document, fields [..., ...]; None on no click.

        Returns:
          float32 [..., K].
        """
