"""A recommender that observes the interest, trained as the learned policy is."""

from collections.abc import Callable
from typing import Any

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.policies.base import BuiltPolicy, LeftOutError, Policy, PolicyContext, SearchCost
from recsys_po_rl.recommender import FullInformationRecommender
from recsys_po_rl.simulation_config import SimulationNetwork


@gin_config.configurable(name="learned_full_information")
class LearnedFullInformation(Policy):
    """Policy that observes interest and time, trained with the learned policy's learner and number of steps."""

    def __init__(self, recommender_ctor: Callable[..., Any] = FullInformationRecommender) -> None:
        """Validate the arguments.

        Args:
          recommender_ctor: constructor of the recommender that is trained, called with the config.

        Raises:
          InvalidInputError: if the argument is not callable.
        """
        self.recommender_ctor = validation.constructor(f"{self.name}: recommender_ctor", recommender_ctor)

    def validate(self, network_ctor: Callable[..., SimulationNetwork]) -> None:
        """Build a small network, which validates the recommender's arguments; see `Policy.validate`."""
        network_ctor(num_users=1, corpus_seed=0, recommender_ctor=self.recommender_ctor, full_information=True)

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Train the recommender; left out if the context trains no policies. See `Policy.build`."""
        if context.trainer is None:
            raise LeftOutError("no further policy can be trained here")
        return context.trainer.train(self.recommender_ctor, full_information=True)

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of one training; see `Policy.search_cost`."""
        del context
        return SearchCost(num_trainings=1)
