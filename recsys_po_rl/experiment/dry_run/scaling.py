"""Scaling of measured costs to the size of an experiment."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Optional

from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import selection, single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.dry_run import calibration
from recsys_po_rl.experiment.dry_run.calibration import Cost, PolicyCost
from recsys_po_rl.policies import catalogue as policies_lib
from recsys_po_rl.policies.values import grid

BYTES_PER_EVALUATED_USER = 200  # for each policy: totals, and measures by quarter of the horizon
POLICIES_OF_THE_LEARNER = 3  # learned, learned_last, learned_greedy
# Measured in the default experiment, in user-steps of a training step.
FIT_USER_STEPS = 6.0  # cost of fitted value iteration per fitted user-step
GRID_USER_STEPS = 1e-3  # cost of a dynamic program per grid point, slate and step


def memory_parts(
    config: ExperimentConfig, loaded: float, training: Cost, learned: Cost, policies: Mapping[str, Optional[PolicyCost]]
) -> dict[str, float]:
    """Estimate the bytes at the peak: permanent memory and the largest temporary part.

    Args:
      config: configuration of the experiment.
      loaded: bytes of a process that has only loaded its libraries.
      training: measured cost of a training step.
      learned: measured cost of the evaluation of the learned policy.
      policies: measured costs of the other policies, by name; None: left out, or trained as the learned one is.
    """
    others = [cost.evaluation for cost in policies.values() if cost is not None]
    trainings = [training] * (1 + sum(map(learns, policies)))
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


def learns(policy: str) -> bool:
    """Return whether the policy of this name, with or without gin scopes, is trained as the learned one is."""
    return policies_lib.function_name(policy) == single_seed.learned_full_information.__name__


def _growth(cost: Cost, user_steps: int) -> float:
    """Return the bytes beyond the measured ones."""
    return cost.kept_bytes_per_user_step * max(0, user_steps - cost.measured_user_steps)


def seconds_parts(
    config: ExperimentConfig,
    training: Cost,
    learned: Cost,
    policies: Mapping[str, Optional[PolicyCost]],
    network_config: Mapping[str, Any],
) -> dict[str, float]:
    """Estimate the seconds of each part of one seed.

    Args:
      config: configuration of the experiment.
      training: as in `memory_parts`.
      learned: as in `memory_parts`.
      policies: as in `memory_parts`.
      network_config: configuration of the network.
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
    values: set[Optional[tuple[Any, ...]]] = set()  # value functions that are already counted
    for policy in config.policies:
        name, cost = policy.__name__, policies[policy.__name__]
        if learns(name):
            parts[name] = train + learned.seconds_per_user_step * evaluated
        elif cost is not None:
            value = _value_of(policy)
            parts[name] = cost.evaluation.first_seconds + cost.evaluation.seconds_per_user_step * evaluated
            parts[name] += cost.search_seconds
            if value is None or value not in values:
                parts[name] += _search_seconds(policy, cost, training, network_config, config)
            values.add(value)
    return parts


def _value_of(policy: Callable[..., Any]) -> Optional[tuple[Any, ...]]:
    """Return the arguments that determine a policy's value function, which policies with equal arguments share."""
    given = config_lib.bound(policy)
    names = ("use_grid", "grid_points", "num_iterations", "users_per_iteration", "hidden")
    return tuple(given.get(name) for name in names) if "users_per_iteration" in given else None


def _search_seconds(
    policy: Callable[..., Any],
    cost: PolicyCost,
    training: Cost,
    network_config: Mapping[str, Any],
    config: ExperimentConfig,
) -> float:
    """Estimate the seconds of a full search beyond the short search that was measured."""
    given = config_lib.bound(policy)
    if given.get("use_grid") and network_config["num_topics"] <= grid.MAX_TOPICS:
        slates = math.comb(network_config["num_docs"], network_config["slate_size"])
        user_steps = GRID_USER_STEPS * given["grid_points"] ** network_config["num_topics"] * slates * config.horizon
        return training.seconds_per_user_step * user_steps
    user_steps = max(0, calibration.search_users(given, network_config) * config.horizon - cost.search_user_steps)
    fitted = FIT_USER_STEPS * user_steps if "users_per_iteration" in given else 0.0
    return cost.evaluation.seconds_per_user_step * user_steps + training.seconds_per_user_step * fitted
