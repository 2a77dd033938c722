"""Evaluation of a callable, beside other policies on the same users and random draws."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator, statistics
from recsys_po_rl.evaluation.statistics import Estimate
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import run as run_lib
from recsys_po_rl.interop.stepping import parse_world
from recsys_po_rl.policies import adapters
from recsys_po_rl.policies.base import LeftOutError, PolicyContext
from recsys_po_rl.policies.external import ExternalPolicy
from recsys_po_rl.policies.popularity import PopularByClicks
from recsys_po_rl.policies.uniform_random import UniformRandom

EXTERNAL = "external_policy"


class PolicyEvaluation(NamedTuple):
    """Cumulative reward of a policy over the users, in units of time."""

    reward: Estimate  # mean over users, with a 95% t interval
    minus_external: Estimate  # paired by user: this policy's reward minus that of the callable


def evaluate_policy(
    act: Any,
    *,
    gin_files: Sequence[str] = (),
    gin_bindings: Sequence[str] = (),
    policies: Sequence[Any] = (UniformRandom, PopularByClicks),
    num_users: Optional[int] = None,
    seed: int = 0,
    full_information: bool = False,
) -> dict[str, PolicyEvaluation]:
    """Evaluate a callable, and policies to compare it with, on the users of an experiment's evaluation.

    The users and their random draws are those of an experiment with the same seed: the numbers of `learned` in a run's
    evaluation.json, for the same configuration, are of the same users. The caller's gin configuration is not read.
    Users are simulated in batches of `experiment.evaluation_batch_size`, so the callable may be asked for more slates
    than `num_users`; surplus users do not count.

    Example:
        def always_the_first_two(observation):
            return np.tile([0, 1], (len(observation["step"]), 1))

        recsys_po_rl.evaluate_policy(always_the_first_two, num_users=1000)

    Args:
      act: a function from observations to slates, or an agent, see `policies.ExternalPolicy`.
      gin_files: gin files of an experiment, as of the command line; none: the default experiment.
      gin_bindings: gin bindings, as of the command line.
      policies: policies to compare with, as of `experiment.policies`.
      num_users: users evaluated, at least 2; None: `experiment.num_evaluation_users`.
      seed: seed of users and corpus (unless `experiment.corpus_seed` is bound).
      full_information: whether observations have the latent interest.

    Returns:
      An evaluation by policy name, `external_policy` first. Policies that cannot be built in this world are left out.

    Raises:
      InvalidInputError: one line that names an invalid argument, or the step and the fault of invalid slates.
    """
    validation.integer("seed", seed, 0)
    external = _external_policy(act, full_information)
    outcomes: dict[str, evaluator.Outcome] = {}
    with gin_state.isolated():
        parse_world(gin_files, gin_bindings)
        config = config_lib.validated(**{**config_lib.bound_for_evaluation(run_lib.experiment), "policies": []})
        if num_users is None:
            num_users = config.num_evaluation_users
        validation.integer("num_users", num_users, 2)
        batch_size = config.evaluation_batch_size
        network_ctor = functools.partial(config.network_ctor, corpus_seed=config.world_seed(seed))
        context = PolicyContext(
            network_ctor, config.runtime_ctor, _sizes(network_ctor, batch_size), seed, config.horizon, batch_size
        )
        for policy in [external, *adapters.policies_from(list(policies), "policies")]:
            try:
                built = policy.build(context)
            except LeftOutError:
                continue
            runtime = built.runtime or context.runtime(built.network)
            outcomes[policy.name] = evaluator.evaluate(
                runtime, config.horizon, num_users, batch_size, seed, behaviour=False
            )
    reference = outcomes[EXTERNAL].total
    return {
        name: PolicyEvaluation(
            statistics.mean_interval(outcome.total), statistics.paired_difference(outcome.total, reference)
        )
        for name, outcome in outcomes.items()
    }


def _external_policy(act: Any, full_information: bool) -> ExternalPolicy:
    try:
        return ExternalPolicy(act, full_information=full_information)
    except validation.InvalidInputError as error:  # gin adds lines
        raise validation.InvalidInputError(gin_config.first_line(error)) from None


@gin_config.wrong_calls_in_one_line
def _sizes(network_ctor: Callable[..., Any], num_users: int) -> dict[str, Any]:
    sizes: dict[str, Any] = network_ctor(num_users=num_users).config
    return sizes
