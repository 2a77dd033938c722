"""Value function with one tuned coefficient: the attraction of the documents to the next interest."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator

COEFFICIENTS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)  # time units per unit of log-attraction
MAX_DOCS = 200  # documents in the sum; the work is users times documents times this number


class Attraction(tf.Module):
    """Value of an interest z with n of T steps left: c * n / T * log sum_d exp(logit of document d at z).

    The log-sum measures the attraction of the corpus to z (the inclusive value of a logit, Train 2009, "Discrete Choice
    Methods with Simulation", section 3.5). With more than `MAX_DOCS` documents, the sum uses evenly spaced documents.

    Attributes:
      coefficient: float32 variable, c, in units of time.
    """

    def __init__(self, user: Any, docs: Value, horizon: int, name: str = "Attraction") -> None:
        """Create the score with a coefficient of zero.

        Args:
          user: an entity that defines its dynamics, see `planning.plan`.
          docs: the D documents, fields as in `fields.DOC_FIELDS`.
          horizon: T, at least 1.
          name: name of the module.
        """
        super().__init__(name=name)
        self._user = user
        stride = -(-int(docs.get(fields.DOC_ID).shape[0]) // MAX_DOCS)
        self._docs = docs.map(lambda field: field[::stride])
        self._horizon = validation.integer("horizon", horizon, 1)
        self.coefficient = tf.Variable(0.0, trainable=False, name="coefficient")

    def __call__(self, interest: tf.Tensor, steps_left: tf.Tensor) -> tf.Tensor:
        """Return the values, float32 [...] in units of time, of interests [..., K] with [...] steps left, float32."""
        attraction = tf.reduce_logsumexp(self._user.choice_logits(interest, self._docs)[..., :-1], axis=-1)
        return self.coefficient * steps_left / self._horizon * attraction


def checked_coefficients(coefficients: Any) -> list[float]:
    """Validate and return the coefficients of `tune`.

    Raises:
      InvalidInputError: if `coefficients` is not a list of at least one finite number.
    """
    if isinstance(coefficients, (str, bytes)) or not isinstance(coefficients, Iterable):
        raise validation.InvalidTypeError(f"coefficients must be a list of numbers, got {coefficients!r}")
    numbers = [validation.number("coefficients: each", coefficient) for coefficient in coefficients]
    if not numbers:
        raise validation.InvalidInputError("coefficients must hold at least one number, got none")
    return numbers


def tune(
    runtime: Any,
    score: Any,
    coefficients: Sequence[float],
    horizon: int,
    seed: int,
    num_users: int,
    batch_size: int,
) -> np.ndarray:
    """Evaluate all coefficients on the same users and set the score's coefficient to the best.

    Args:
      runtime: a `SeededRuntime` of a network that plans with `score`.
      score: score whose variable `coefficient` is set.
      coefficients: at least one finite number.
      horizon: T, at least 1.
      seed: seed of the run; the search uses other users than an evaluation.
      num_users: number of users on whom each coefficient is evaluated, at least 1.
      batch_size: number of users of the network.

    Returns:
      float64 [coefficients], mean reward of each, in units of time, all T responses.

    Raises:
      InvalidInputError: if a number is out of bounds, or `coefficients` is empty.
    """
    numbers = checked_coefficients(coefficients)
    means = []
    for number in numbers:
        score.coefficient.assign(number)
        rewards = evaluator.evaluate(runtime, horizon, num_users, batch_size, seed, ("references", "tuned_score"))
        means.append(rewards.total.mean())
    score.coefficient.assign(numbers[int(np.argmax(means))])
    return np.array(means)
