"""Positions of the dial of observability: recommenders that observe less or more, trained as the learned policy is."""

import functools
from collections.abc import Callable
from typing import Any, Optional

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.policies import warm_start
from recsys_po_rl.policies.base import BuiltPolicy, LeftOutError, Policy, PolicyContext, SearchCost, WarmStart
from recsys_po_rl.recommender import CollabFilteringRecommender, FullInformationRecommender
from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel
from recsys_po_rl.scoring.memory import SLATES, STEP
from recsys_po_rl.simulation_config import SimulationNetwork


class _LearnedVariant(Policy):
    """Base of policies of another recommender, trained with the learned policy's learner, steps and users.

    Attributes:
      full_information: whether users reveal their interest to the recommender.
    """

    needs_training = True
    full_information = False
    recommender_ctor: Callable[..., Any]

    def __init__(self, warm_start_ctor: Optional[Callable[[], WarmStart]] = None) -> None:
        """Validate the arguments.

        Args:
          warm_start_ctor: as in `experiment`, of this policy's training.

        Raises:
          InvalidInputError: if the warm start or an argument of it is invalid.
        """
        self.warm_start_ctor = warm_start_ctor
        self._warm_start = warm_start.validated(f"{self.name}: warm_start_ctor", warm_start_ctor)

    def validate(self, network_ctor: Callable[..., SimulationNetwork]) -> None:
        """Build a small network, which validates the recommender's arguments; see `Policy.validate`."""
        network_ctor(
            num_users=1,
            corpus_seed=0,
            recommender_ctor=self.recommender_ctor,
            full_information=self.full_information,
        )
        if self._warm_start is not None:
            self._warm_start.validate(network_ctor)

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Train the recommender; left out if the context trains no policies. See `Policy.build`."""
        if context.trainer is None:
            raise LeftOutError("no further policy can be trained here")
        return context.trainer.train(self.recommender_ctor, self.full_information, self._warm_start)

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of one training; see `Policy.search_cost`."""
        of_warm_start = SearchCost() if self._warm_start is None else self._warm_start.search_cost(context)
        return of_warm_start._replace(num_trainings=1)


@gin_config.configurable(name="learned_full_information")
class LearnedFullInformation(_LearnedVariant):
    """Policy that observes interest and step."""

    full_information = True

    def __init__(
        self,
        recommender_ctor: Callable[..., Any] = FullInformationRecommender,
        warm_start_ctor: Optional[Callable[[], WarmStart]] = None,
    ) -> None:
        """Validate the arguments.

        Args:
          recommender_ctor: constructor of the recommender that is trained, called with the config.
          warm_start_ctor: as in `experiment`, of this policy's training.

        Raises:
          InvalidInputError: if `recommender_ctor` is not callable, or the warm start is invalid.
        """
        super().__init__(warm_start_ctor)
        self.recommender_ctor = validation.constructor(f"{self.name}: recommender_ctor", recommender_ctor)


@gin_config.configurable(name="learned_interest")
class LearnedInterest(_LearnedVariant):
    """Policy that observes the interest and not the step."""

    full_information = True

    def __init__(self, warm_start_ctor: Optional[Callable[[], WarmStart]] = None) -> None:
        """Create the policy of a `FullInformationRecommender`; arguments as in `LearnedFullInformation`."""
        super().__init__(warm_start_ctor)
        self.recommender_ctor = functools.partial(FullInformationRecommender, observes_step=False)


class _LearnedWithMemory(_LearnedVariant):
    """Base of policies of a `CollabFilteringRecommender` with a certain memory."""

    memory: tuple[str, ...] = ()

    def __init__(
        self,
        model_ctor: Callable[..., Any] = AveragedHistoryModel,
        warm_start_ctor: Optional[Callable[[], WarmStart]] = None,
    ) -> None:
        """Validate the arguments.

        Args:
          model_ctor: constructor of the scorer, called with the sizes and `memory`.
          warm_start_ctor: as in `experiment`, of this policy's training.

        Raises:
          InvalidInputError: if `model_ctor` is not callable, or the warm start is invalid.
        """
        super().__init__(warm_start_ctor)
        self.model_ctor = model_ctor
        validation.constructor(f"{self.name}: model_ctor", model_ctor)
        self.recommender_ctor = functools.partial(
            CollabFilteringRecommender, model_ctor=functools.partial(model_ctor, memory=self.memory)
        )


@gin_config.configurable(name="learned_clicks")
class LearnedClicks(_LearnedWithMemory):
    """Policy that remembers clicks only."""


@gin_config.configurable(name="learned_slates")
class LearnedSlates(_LearnedWithMemory):
    """Policy that remembers clicks and its own slates."""

    memory = (SLATES,)


@gin_config.configurable(name="learned_step")
class LearnedStep(_LearnedWithMemory):
    """Policy that remembers clicks and the step."""

    memory = (STEP,)


@gin_config.configurable(name="learned_slates_and_step")
class LearnedSlatesAndStep(_LearnedWithMemory):
    """Policy that remembers clicks, its own slates and the step, as a real recommender can."""

    memory = (SLATES, STEP)
