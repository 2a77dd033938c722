"""Scaling of measured costs to the size of an experiment."""

from collections.abc import Hashable, Mapping
from typing import Optional

from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import selection
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.dry_run.calibration import Cost, PolicyCost
from recsys_po_rl.policies.base import SearchCost

BYTES_PER_EVALUATED_USER = 200  # for each policy: totals, and measures by quarter of the horizon
POLICIES_OF_THE_LEARNER = 3  # learned, learned_last, learned_greedy
# Measured in the default experiment, in user-steps of a training step.
FIT_USER_STEPS = 6.0  # cost of fitted value iteration per fitted user-step
GRID_USER_STEPS = 1e-3  # cost of a dynamic program per grid point, slate and step


def memory_parts(
    config: ExperimentConfig,
    loaded: float,
    training: Cost,
    learned: Cost,
    policies: Mapping[str, Optional[PolicyCost]],
    searches: Mapping[str, SearchCost],
) -> dict[str, float]:
    """Estimate the bytes at the peak: permanent memory and the largest temporary part.

    Args:
      config: configuration of the experiment.
      loaded: bytes of a process that has only loaded its libraries.
      training: measured cost of a training step.
      learned: measured cost of the evaluation of the learned policy.
      policies: measured costs of the other policies, by name; None: left out, or trained as the learned one is.
      searches: work of each policy's full search, by name.
    """
    others = [cost.evaluation for cost in policies.values() if cost is not None]
    trainings = [training] * (1 + sum(search.num_trainings for search in searches.values()))
    costs = [*trainings, learned, learned, *others]  # twice: learned_greedy is compiled separately
    evaluated = config.evaluation_batch_size * config.horizon * evaluator.BATCHES_AT_ONCE
    building = max(cost.building_bytes for cost in costs)
    num_policies = POLICIES_OF_THE_LEARNER + len(policies)
    return {
        "libraries": loaded,
        "programs": sum(cost.program_bytes for cost in costs),
        "more users at once": max(
            _growth(training, config.users_per_step * config.horizon), _growth(learned, evaluated), building
        ),
        "what users bring": float(config.num_evaluation_users * BYTES_PER_EVALUATED_USER * num_policies),
    }


def _growth(cost: Cost, user_steps: int) -> float:
    """Return the bytes beyond the measured ones."""
    return cost.kept_bytes_per_user_step * max(0, user_steps - cost.measured_user_steps)


def seconds_parts(
    config: ExperimentConfig,
    training: Cost,
    learned: Cost,
    policies: Mapping[str, Optional[PolicyCost]],
    searches: Mapping[str, SearchCost],
) -> dict[str, float]:
    """Estimate the seconds of each part of one seed.

    Args:
      config: configuration of the experiment.
      training: as in `memory_parts`.
      learned: as in `memory_parts`.
      policies: as in `memory_parts`.
      searches: as in `memory_parts`.
    """
    num_validations = sum(selection.is_validated(config, step) for step in range(1, config.num_training_steps + 1))
    evaluated = config.num_evaluation_users * config.horizon
    train = training.first_seconds + learned.first_seconds * bool(num_validations)
    train += training.seconds_per_user_step * config.num_training_steps * config.users_per_step * config.horizon
    train += learned.seconds_per_user_step * num_validations * config.num_validation_users * config.horizon
    parts = {
        "training": train,
        "learned": POLICIES_OF_THE_LEARNER * learned.seconds_per_user_step * evaluated + learned.first_seconds,
    }
    shared: set[Hashable] = set()  # keys of value functions that are already counted
    for name, search in searches.items():
        cost = policies[name]
        if search.num_trainings:
            parts[name] = search.num_trainings * train + learned.seconds_per_user_step * evaluated
        elif cost is not None:
            parts[name] = cost.evaluation.first_seconds + cost.evaluation.seconds_per_user_step * evaluated
            parts[name] += cost.search_seconds
            if search.value_key is None or search.value_key not in shared:
                parts[name] += _search_seconds(search, cost, training)
            shared.add(search.value_key)
    return parts


def _search_seconds(search: SearchCost, cost: PolicyCost, training: Cost) -> float:
    """Estimate the seconds of a full search beyond the short search that was measured."""
    user_steps = max(0, search.user_steps - cost.search_user_steps)
    fitted = FIT_USER_STEPS * min(user_steps, search.fit_user_steps)
    planned = GRID_USER_STEPS * search.grid_slates
    return cost.evaluation.seconds_per_user_step * user_steps + training.seconds_per_user_step * (fitted + planned)
