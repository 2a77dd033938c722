"""Policies of a run that act on fresh users, by name: for logs, and for populations."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation.evaluator import Rollouts
from recsys_po_rl.experiment import selection, single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.policies.base import LeftOutError, PolicyContext
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork

_LEARNED = (single_seed.LEARNED, single_seed.LEARNED_LAST, single_seed.LEARNED_GREEDY)


class Actor(NamedTuple):
    """Policy that acts."""

    name: str
    rollouts: Rollouts
    network: Optional[SimulationNetwork]  # None: the policy acts outside of a network


def checked_names(given: Sequence[str], config: ExperimentConfig) -> list[str]:
    """Validate names of policies.

    Args:
      given: learned, learned_last, learned_greedy, and names of `experiment.policies`, all different.
      config: configuration of the run.

    Raises:
      InvalidInputError: one line, if a name is unknown or repeated, or no name is given.
    """
    known = [*_LEARNED, *(policy.name for policy in config.policies)]
    for name in given:
        validation.one_of("policies: each", name, known)
    if not given or len(set(given)) < len(given):
        raise validation.InvalidInputError(f"policies must be different names, got {', '.join(given) or 'none'}")
    return list(given)


def build(name: str, context: PolicyContext, config: ExperimentConfig, trained: single_seed.Trained) -> Actor:
    """Build a policy.

    Args:
      name: a name that `checked_names` accepts.
      context: world in which it acts.
      config: configuration of the run.
      trained: weights of the run.

    Raises:
      InvalidInputError: one line, if the policy cannot be built in this world.
    """
    if name in _LEARNED:
        weights = trained.last if name == single_seed.LEARNED_LAST else trained.best
        network = selection.with_weights(context.network(), weights)
        if name == single_seed.LEARNED_GREEDY:
            if not hasattr(network.recommender, "greedy"):
                raise validation.InvalidInputError(f"{type(network.recommender).__name__} has no attribute greedy")
            network.recommender.greedy = True
        return Actor(name, context.runtime(network), network)
    policy = next(policy for policy in config.policies if policy.name == name)
    try:
        built = policy.build(context)
    except LeftOutError as error:
        raise validation.InvalidInputError(f"{name} cannot be built: {gin_config.first_line(error)}") from error
    if built.runtime is not None and not isinstance(built.runtime, SeededRuntime):
        return Actor(name, built.runtime, None)
    return Actor(name, context.runtime(built.network), built.network)
