"""Constructors of the policies that are evaluated beside the learned one; the function's name is the policy's.

Each takes a `Study` and returns a recommender constructor, called with the network's config alone.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from recsys_po_rl import checks, gin_config
from recsys_po_rl.baselines import FixedSlateRecommender, UniformRandomRecommender
from recsys_po_rl.references import popularity
from recsys_po_rl.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork

RecommenderCtor = Callable[..., Any]


class Study:
    """One world at one seed, as the policies' constructors see it.

    Attributes:
      config: the network's configuration, see `create_interest_evolution_simulation_network`.
      seed: seed of the run.
      horizon: T.
      batch_size: users of the networks that it makes.
    """

    def __init__(
        self,
        network_ctor: Callable[..., SimulationNetwork],
        runtime_ctor: Callable[..., SeededRuntime],
        config: Mapping[str, Any],
        seed: int,
        horizon: int,
        batch_size: int,
    ) -> None:
        """Keeps its arguments.

        Args:
          network_ctor: called with num_users and, to replace the recommender, recommender_ctor.
          runtime_ctor: called with a network's variables.
          config: the network's configuration.
          seed: seed of the run.
          horizon: T.
          batch_size: users of the networks that it makes.
        """
        self._network_ctor = network_ctor
        self._runtime_ctor = runtime_ctor
        self.config = config
        self.seed = seed
        self.horizon = horizon
        self.batch_size = batch_size

    def network(self, **options: Any) -> SimulationNetwork:
        """A network of `batch_size` users in this world; options as of the network's constructor."""
        return self._network_ctor(num_users=self.batch_size, **options)

    def runtime(self, network: SimulationNetwork) -> SeededRuntime:
        """A runtime over a network."""
        return self._runtime_ctor(network.variables)

    @functools.cache  # noqa: B019  (a study lives as long as its run)
    def popularity(self, num_log_users: int) -> popularity.Popularity:
        """Consumption of each document by at least `num_log_users` users of the uniformly random policy."""
        network = self.network(recommender_ctor=UniformRandomRecommender)
        return popularity.popularity_from_logs(
            self.runtime(network),
            self.config["num_docs"],
            self.horizon,
            num_batches=-(-num_log_users // self.batch_size),
            seed=self.seed,
        )

    def most_popular(self, num_log_users: int, measure: str) -> RecommenderCtor:
        """A recommender that always shows the S documents of largest `measure`, a field of `Popularity`."""
        checks.integer("num_log_users", num_log_users, 1)
        weights = getattr(self.popularity(num_log_users), measure)
        doc_ids = popularity.top_documents(weights, self.config["slate_size"])
        return functools.partial(FixedSlateRecommender, doc_ids=doc_ids)


@gin_config.configurable
def uniform_random(study: Study) -> RecommenderCtor:
    """Every slate is equally likely."""
    del study
    return UniformRandomRecommender


@gin_config.configurable
def popular_by_clicks(study: Study, num_log_users: int = 1000) -> RecommenderCtor:
    """Always the S documents that users of the random policy clicked most.

    Args:
      study: the world.
      num_log_users: users in the log, rounded up to whole batches.
    """
    return study.most_popular(num_log_users, "clicks")


@gin_config.configurable
def popular_by_time(study: Study, num_log_users: int = 1000) -> RecommenderCtor:
    """Always the S documents that users of the random policy consumed longest in sum.

    Args:
      study: the world.
      num_log_users: users in the log, rounded up to whole batches.
    """
    return study.most_popular(num_log_users, "consumed_time")
