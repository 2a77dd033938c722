"""Configuration of an experiment, validated once for all modes that read it."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import tensorflow as tf

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import resume
from recsys_po_rl.experiment.pretrained import Pretrained
from recsys_po_rl.experiment.training_workers import TrainingWorkers
from recsys_po_rl.policies import adapters, warm_start
from recsys_po_rl.policies.base import Policy, WarmStart
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training.alarms import Alarms
from recsys_po_rl.training.callbacks import Callback

MAX_SEED = 2**32 - 1  # of NumPy's legacy generator, which draws the reference corpora


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Validated arguments of an experiment, documented in `run.experiment`; constructed by `validated`."""

    seeds: Sequence[int]
    num_training_steps: int
    horizon: int  # T
    users_per_step: int  # U
    num_shards: int
    num_evaluation_users: int
    evaluation_batch_size: int
    num_validation_users: int
    validate_every_steps: int
    gradient_variance_every_steps: int
    checkpoint_every_steps: int
    checkpoint_every_minutes: Optional[float]
    corpus_seed: Optional[int]
    num_processes: Optional[int]
    policies: Sequence[Policy]
    network_ctor: Callable[..., SimulationNetwork]
    learner_ctor: Callable[..., Any]
    runtime_ctor: Callable[..., SeededRuntime]
    alarms: Alarms
    warm_start: Optional[WarmStart]
    output_dir: Optional[str]
    quiet: bool
    resume: bool
    callbacks: Sequence[Callback]  # of the training of the learned policy
    fingerprint: Mapping[str, str]  # arguments that decide the results, as text, see `resume.fingerprint`
    training_workers: Optional[TrainingWorkers] = None  # compute the shards of training steps; None: this process

    def world_seed(self, seed: int) -> int:
        """Return the seed of the corpus for a run's seed."""
        return seed if self.corpus_seed is None else self.corpus_seed

    def sizes(self) -> dict[str, bool | int | float | str]:
        """Return the numbers and flags that all seeds share, by name."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in _OF_ONE_CALL]
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if type(value) in (bool, int, float, str)}


_OF_ONE_CALL = ("seeds", "corpus_seed", "num_processes", "output_dir")


@gin_config.wrong_calls_in_one_line
def validated(**given: Any) -> ExperimentConfig:
    """Validate arguments, as far as possible without a network.

    Args:
      **given: all arguments of `run.experiment`.

    Raises:
      InvalidInputError: one line that names an invalid argument.
    """
    given = gin_state.plain(given)
    if tf.distribute.has_strategy():
        raise validation.InvalidInputError("experiment cannot run under a tf.distribute strategy: call it outside")
    seeds = _checked_seeds(given["seeds"])
    if given["corpus_seed"] is not None:
        validation.integer("experiment.corpus_seed", given["corpus_seed"], 0)
    minutes = given["checkpoint_every_minutes"]
    values = dict(
        num_training_steps=_integer(given, "num_training_steps", 0),
        horizon=_integer(given, "horizon", 1),
        users_per_step=_integer(given, "users_per_step", 1),
        num_shards=_checked_num_shards(given["num_shards"], given["users_per_step"]),
        num_evaluation_users=_integer(given, "num_evaluation_users", 2),
        evaluation_batch_size=min(_integer(given, "evaluation_batch_size", 1), given["num_evaluation_users"]),
        checkpoint_every_steps=_integer(given, "checkpoint_every_steps", 1),
        num_validation_users=_integer(given, "num_validation_users", 2),
        validate_every_steps=_integer(given, "validate_every_steps", 0),
        gradient_variance_every_steps=_integer(given, "gradient_variance_every_steps", 0),
        policies=adapters.policies_from(given["policies"], "experiment.policies"),
        network_ctor=validation.constructor("experiment.network_ctor", given["network_ctor"]),
        learner_ctor=validation.constructor("experiment.learner_ctor", given["learner_ctor"]),
        runtime_ctor=validation.constructor("experiment.runtime_ctor", given["runtime_ctor"]),
        alarms=_checked_alarms(given["alarms_ctor"]),
        warm_start=_checked_warm_start(given),
        quiet=validation.boolean("experiment.quiet", given["quiet"]),
        resume=validation.boolean("experiment.resume", given["resume"]),
        checkpoint_every_minutes=None
        if minutes is None
        else validation.number("experiment.checkpoint_every_minutes", minutes, 0.0, exclusive_minimum=True),
        corpus_seed=given["corpus_seed"],
    )
    if values["gradient_variance_every_steps"] and values["num_shards"] < 2:
        raise validation.InvalidInputError(
            "experiment.gradient_variance_every_steps needs num_shards of at least 2, got 1"
        )
    if given["num_processes"] is not None:
        validation.integer("experiment.num_processes", given["num_processes"], 1)
    _check_training_workers(given, values["num_shards"])
    for policy in values["policies"]:
        policy.validate(values["network_ctor"])
    if values["warm_start"] is not None:
        with _named("experiment.pretrained", given["pretrained"] is not None):
            values["warm_start"].validate(values["network_ctor"])
    deciding = {name: value for name, value in values.items() if name not in ("resume", "quiet")}
    if values["warm_start"] is None:  # as fingerprints of 0.1.0
        del deciding["warm_start"]
    if gin_state.scope():
        deciding["gin_scope"] = "/".join(gin_state.scope())
    return ExperimentConfig(
        **values,
        seeds=seeds,
        num_processes=given["num_processes"],
        output_dir=given["output_dir"],
        callbacks=_checked_callbacks(given["callbacks"]),
        fingerprint=resume.fingerprint({f"experiment.{name}": value for name, value in deciding.items()}),
    )


def bound(experiment: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of a call without arguments: defaults and gin's bindings.

    Args:
      experiment: the gin configurable, or a reference to it in a scope.
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(experiment).parameters.items()}
    return gin_state.plain({**defaults, **gin_config.bindings_of(experiment)})


def bound_for_evaluation(experiment: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of `bound` for the evaluation of trained policies, which need no pretraining any more."""
    return {**bound(experiment), "pretrained": None}


def _integer(given: Mapping[str, Any], name: str, minimum: int) -> int:
    return validation.integer(f"experiment.{name}", given[name], minimum)


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


def _check_training_workers(given: Mapping[str, Any], num_shards: int) -> None:
    number = given["training_workers"]
    if number is None:
        return
    if validation.integer("experiment.training_workers", number, 1) > num_shards:
        raise validation.InvalidInputError(
            f"experiment.training_workers must be at most num_shards, got {number} and {num_shards}"
        )
    if not hasattr(given["executor"], "training_workers"):
        raise validation.InvalidInputError(
            f"experiment.training_workers needs a RayExecutor as executor, got {validation.shown(given['executor'])}"
        )


def _checked_warm_start(given: Mapping[str, Any]) -> Optional[WarmStart]:
    if given["pretrained"] is None:
        return warm_start.validated("experiment.warm_start_ctor", given["warm_start_ctor"])
    if given["warm_start_ctor"] is not None:
        raise validation.InvalidInputError("experiment.pretrained must be None where warm_start_ctor is given")
    with _named("experiment.pretrained"):
        return Pretrained(given["pretrained"])


@contextlib.contextmanager
def _named(name: str, is_named: bool = True) -> Iterator[None]:
    """Begin the messages of errors in the block with the name of an argument."""
    try:
        yield
    except validation.InvalidInputError as error:
        if not is_named:
            raise
        raise validation.InvalidInputError(f"{name}: {gin_config.first_line(error)}") from error


def _checked_callbacks(callbacks: Any) -> Sequence[Callback]:
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(callback, Callback) for callback in callbacks):
        raise validation.InvalidTypeError(
            "experiment.callbacks must be a list of instances of training.callbacks.Callback, "
            f"got {validation.shown(callbacks)}"
        )
    return list(callbacks)


def _checked_alarms(ctor: Any) -> Alarms:
    alarms = validation.constructor("experiment.alarms_ctor", ctor)()
    if not hasattr(alarms, "raised") or not hasattr(alarms, "stop"):
        raise validation.InvalidTypeError(
            f"experiment.alarms_ctor must make alarms (in gin: @recsys_po_rl.Alarms), got {type(alarms).__name__}"
        )
    return alarms
