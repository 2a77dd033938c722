"""The arguments of an experiment, checked in one place for all modes that read them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import resume
from recsys_po_rl.experiment.dry_run import rehearsal
from recsys_po_rl.experiment.single_seed import Plan
from recsys_po_rl.policies import catalogue as policies_lib
from recsys_po_rl.training.alarms import Alarms

MAX_SEED = 2**32 - 1  # of NumPy's legacy generator, which draws the reference corpora


class Checked(NamedTuple):
    """What an experiment does."""

    plan: Plan
    seeds: list[int]
    world_seeds: list[int]  # of the corpus, for each seed
    num_processes: Optional[int]


@gin_config.wrong_calls_in_one_line
def checked(given: Mapping[str, Any]) -> Checked:
    """Checks arguments, as far as that is possible without a network.

    Args:
      given: all arguments of `run.experiment`, by name.

    Raises:
      InvalidInputError: one line that names an impossible one.
    """
    if tf.distribute.has_strategy():
        raise validation.InvalidInputError("experiment cannot run under a tf.distribute strategy: call it outside")
    seeds = _checked_seeds(given["seeds"])
    if given["corpus_seed"] is not None:
        validation.integer("experiment.corpus_seed", given["corpus_seed"], 0)
    plan = Plan(
        num_training_steps=validation.integer("experiment.num_training_steps", given["num_training_steps"], 0),
        horizon=validation.integer("experiment.horizon", given["horizon"], 1),
        users_per_step=validation.integer("experiment.users_per_step", given["users_per_step"], 1),
        num_shards=_checked_num_shards(given["num_shards"], given["users_per_step"]),
        num_evaluation_users=validation.integer("experiment.num_evaluation_users", given["num_evaluation_users"], 2),
        evaluation_batch_size=min(
            validation.integer("experiment.evaluation_batch_size", given["evaluation_batch_size"], 1),
            given["num_evaluation_users"],
        ),
        checkpoint_every_steps=validation.integer(
            "experiment.checkpoint_every_steps", given["checkpoint_every_steps"], 1
        ),
        num_validation_users=validation.integer("experiment.num_validation_users", given["num_validation_users"], 2),
        validate_every_steps=validation.integer("experiment.validate_every_steps", given["validate_every_steps"], 0),
        gradient_variance_every_steps=validation.integer(
            "experiment.gradient_variance_every_steps", given["gradient_variance_every_steps"], 0
        ),
        policies=_checked_policies(given["policies"]),
        network_ctor=validation.constructor("experiment.network_ctor", given["network_ctor"]),
        learner_ctor=validation.constructor("experiment.learner_ctor", given["learner_ctor"]),
        runtime_ctor=validation.constructor("experiment.runtime_ctor", given["runtime_ctor"]),
        alarms=_checked_alarms(given["alarms_ctor"]),
        quiet=validation.boolean("experiment.quiet", given["quiet"]),
        resume=validation.boolean("experiment.resume", given["resume"]),
        checkpoint_every_minutes=None
        if given["checkpoint_every_minutes"] is None
        else validation.number(
            "experiment.checkpoint_every_minutes", given["checkpoint_every_minutes"], 0.0, exclusive_minimum=True
        ),
    )
    asked_for = {name: value for name, value in plan._asdict().items() if name not in ("resume", "quiet", "arguments")}
    asked_for["corpus_seed"] = given["corpus_seed"]
    if gin_state.scope():
        asked_for["gin_scope"] = "/".join(gin_state.scope())
    plan = plan._replace(arguments=resume.described({f"experiment.{name}": value for name, value in asked_for.items()}))
    if plan.gradient_variance_every_steps and plan.num_shards < 2:
        raise validation.InvalidInputError(
            "experiment.gradient_variance_every_steps needs num_shards of at least 2, got 1"
        )
    if given["num_processes"] is not None:
        validation.integer("experiment.num_processes", given["num_processes"], 1)
    rehearsal.rehearse(plan.policies, plan.network_ctor)
    world_seeds = [seed if given["corpus_seed"] is None else given["corpus_seed"] for seed in seeds]
    return Checked(plan, seeds, world_seeds, given["num_processes"])


def bound(experiment: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that a call without any would have: defaults, and what gin binds.

    Args:
      experiment: the gin configurable, or a reference to it in a scope.
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(experiment).parameters.items()}
    return gin_state.plain({**defaults, **gin_config.bindings_of(experiment)})


def _checked_seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Sequence) or not seeds:
        raise validation.InvalidTypeError(f"experiment.seeds must be a list of at least one integer, got {seeds!r}")
    checked = [validation.integer("experiment.seeds: each", seed, 0) for seed in seeds]
    if max(checked) > MAX_SEED or len(set(checked)) != len(checked):
        raise validation.InvalidInputError(f"experiment.seeds must be different and at most {MAX_SEED}, got {seeds!r}")
    return checked


def _checked_num_shards(given: Optional[int], users_per_step: int) -> int:
    if given is None:
        return 1 if users_per_step % 2 else 2
    if users_per_step % validation.integer("experiment.num_shards", given, 1):
        raise validation.InvalidInputError(
            f"experiment.num_shards must divide users_per_step, got {given} and {users_per_step}"
        )
    return given


def _checked_alarms(ctor: Any) -> Alarms:
    made = validation.constructor("experiment.alarms_ctor", ctor)()
    if not hasattr(made, "raised") or not hasattr(made, "stop"):
        raise validation.InvalidTypeError(
            f"experiment.alarms_ctor must make alarms (in gin: @recsys_po_rl.Alarms), got {type(made).__name__}"
        )
    return made


def _checked_policies(given: Any) -> list[Callable[..., Any]]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise validation.InvalidTypeError(f"experiment.policies must be a list of constructors, got {given!r}")
    checked = [validation.constructor("experiment.policies: each", policy) for policy in given]
    nameless = [policy for policy in checked if not hasattr(policy, "__name__")]
    if nameless:
        raise validation.InvalidTypeError(
            f"experiment.policies: each must have a name, a __name__, got {nameless[0]!r}; a function around it has one"
        )
    checked = policies_lib.named_apart(checked)
    names = [policy.__name__ for policy in checked]
    if len(set(names)) != len(names):
        raise validation.InvalidInputError(
            "experiment.policies must have different names, or gin scopes as in "
            f"@few/{names[0].rpartition('/')[2]}, got "
            f"{', '.join(names)}"
        )
    return checked
