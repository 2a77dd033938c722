"""The most popular documents, counted from the consumption of users under a random policy."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value
from recsim_ng.entities.choice_models import selectors

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl.common import validation
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext, SearchCost
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime


class Popularity(NamedTuple):
    """Consumption of each document in a log; index i is document i + 1."""

    clicks: np.ndarray  # int64 [D]
    consumed_time: np.ndarray  # float64 [D], summed over clicks, in the unit of the documents' length


def popularity_from_logs(
    runtime: SeededRuntime, num_docs: int, horizon: int, num_batches: int, seed: int
) -> Popularity:
    """Roll out a network on a separate stream of users and count the consumption of each document.

    Args:
      runtime: a `SeededRuntime` of a network whose recommender explores, for instance at random.
      num_docs: D; document ids are 1..D.
      horizon: T, slates shown to each user.
      num_batches: batches of users in the log.
      seed: seed of the run.
    """
    record = {
        fields.USER_RESPONSE: [fields.CHOICE, fields.CONSUMED_TIME],
        fields.SLATE_DOCS: [fields.DOC_ID],
    }
    clicks, times = np.zeros(num_docs, np.int64), np.zeros(num_docs)
    for batch in range(num_batches):
        trajectory = runtime.trajectory(horizon, keys=seeding.make_keys(seed, "popularity", batch=batch), record=record)
        response = trajectory[fields.USER_RESPONSE]
        consumed = selectors.get_chosen(
            trajectory[fields.SLATE_DOCS], tf.convert_to_tensor(response.get(fields.CHOICE)), batch_dims=2
        )
        ids = consumed.get(fields.DOC_ID).numpy().ravel()
        clicked = ids > 0
        index = ids[clicked] - 1
        clicks += np.bincount(index, minlength=num_docs)
        times += np.bincount(index, response.get(fields.CONSUMED_TIME).numpy().ravel()[clicked], minlength=num_docs)
    return Popularity(clicks, times)


def top_documents(weights: Iterable[float], slate_size: int) -> list[int]:
    """Return the ids of the S documents of largest weight, largest first; ties go to the lower id."""
    order = np.argsort(-np.asarray(list(weights)), kind="stable")
    return [int(place) + 1 for place in order[:slate_size]]


@gin_config.configurable
class SampledDocumentsRecommender(recommender.HistoryRecommender):
    """Recommender that draws slates from fixed weights of the documents, the same for all users at every step.

    The first document is drawn in proportion to its weight, each further one likewise from those that are left
    (Plackett-Luce). Fields as in `HistoryRecommender`.
    """

    def __init__(self, config: Config, log_weights: Sequence[float] = (), name: str = "Recommender") -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          log_weights: D finite numbers, logarithms of the weights up to a constant; document i has index i - 1.
          name: name of the entity.

        Raises:
          InvalidInputError: if `log_weights` are not D finite numbers.
        """
        super().__init__(config, name=name)
        numbers = [validation.number(f"{type(self).__name__}: log_weights", weight) for weight in log_weights]
        if len(numbers) != self._num_docs:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: log_weights must be {self._num_docs} numbers, got {len(numbers)}"
            )
        self._log_weights = np.array(numbers, np.float32)

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Draw slates from the weights of the available documents; int32 [U, S]."""
        del previous_state, user_obs
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        logits = tf.gather(self._log_weights, pool - 1) + tf.zeros((self._num_users, 1))
        return recommender.top_k_plackett_luce(logits=logits, slate_size=self._slate_size)


class _Popularity(Policy):
    """Policy that shows documents by their consumption in a log of random slates; all such policies share one log."""

    def __init__(self, num_log_users: int = 1000) -> None:
        """Validate the arguments.

        Args:
          num_log_users: users in the log, at least 1, rounded up to whole batches.

        Raises:
          InvalidInputError: if the number is out of bounds.
        """
        self.num_log_users = validation.integer(f"{self.name}: num_log_users", num_log_users, 1)

    @property
    def _key(self) -> tuple[str, int]:
        return "popularity", self.num_log_users

    def num_counted_users(self, context: PolicyContext) -> int:
        """Return the number of users in the log, whole batches."""
        return -(-self.num_log_users // context.batch_size) * context.batch_size

    def counts(self, context: PolicyContext) -> Popularity:
        """Return the consumption in the log."""
        num_batches = self.num_counted_users(context) // context.batch_size

        def count() -> Popularity:
            network = context.network(recommender_ctor=UniformRandomRecommender)
            return popularity_from_logs(
                context.runtime(network), context.config["num_docs"], context.horizon, num_batches, context.seed
            )

        popularity: Popularity = context.memoised(self._key, count)
        return popularity

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of simulating the log; see `Policy.search_cost`."""
        return SearchCost(self.num_log_users * context.horizon, self._key)


class _MostPopular(_Popularity):
    """Policy that always shows the S documents of largest `measure`."""

    measure: str  # field of `Popularity`

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Count the consumption in the log; see `Policy.build`."""
        doc_ids = top_documents(getattr(self.counts(context), self.measure), context.config["slate_size"])
        return BuiltPolicy(
            context.network(recommender_ctor=functools.partial(FixedSlateRecommender, doc_ids=doc_ids)),
            {"doc_ids": doc_ids, "num_log_users": self.num_counted_users(context)},
        )


@gin_config.configurable(name="popular_by_clicks")
class PopularByClicks(_MostPopular):
    """Policy that always shows the S documents that users of the random policy clicked most."""

    measure = "clicks"


@gin_config.configurable(name="popular_by_time")
class PopularByTime(_MostPopular):
    """Policy that always shows the S documents with the most total consumed time under the random policy."""

    measure = "consumed_time"


@gin_config.configurable(name="sampled_by_popularity")
class SampledByPopularity(_Popularity):
    """Policy that draws documents in proportion to a power of their clicks: popularity with exploration.

    Each click count is increased by 1, so that every document can be shown.
    """

    def __init__(self, num_log_users: int = 1000, power: float = 1.0) -> None:
        """Validate the arguments.

        Args:
          num_log_users: users in the log, at least 1, rounded up to whole batches.
          power: 0 draws all documents alike, large values show the most clicked ones almost always; 0 to 100.

        Raises:
          InvalidInputError: if a number is out of bounds.
        """
        super().__init__(num_log_users)
        self.power = validation.number(f"{self.name}: power", power, 0.0, 100.0)

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Count the clicks in the log; see `Policy.build`."""
        log_weights = (self.power * np.log1p(self.counts(context).clicks)).tolist()
        return BuiltPolicy(
            context.network(recommender_ctor=functools.partial(SampledDocumentsRecommender, log_weights=log_weights)),
            {"power": self.power, "num_log_users": self.num_counted_users(context)},
        )
