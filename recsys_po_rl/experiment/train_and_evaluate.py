"""Mode train_and_evaluate: trains a recommender, then compares it with others on fresh users."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

from recsys_po_rl import checks, gin_config
from recsys_po_rl.artifacts import run_dir
from recsys_po_rl.evaluation import evaluator, price
from recsys_po_rl.experiment import console, processes, seed_run
from recsys_po_rl.experiment import policies as policies_lib
from recsys_po_rl.experiment.seed_run import Plan, SeedResult
from recsys_po_rl.reporting import figures
from recsys_po_rl.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork, create_interest_evolution_simulation_network
from recsys_po_rl.training import trainer
from recsys_po_rl.training.alarms import Alarms
from recsys_po_rl.training.learner import PolicyGradientLearner

MAX_SEED = 2**32 - 1  # of NumPy's legacy generator, which draws the reference corpora


class ExperimentResult(NamedTuple):
    """What an experiment gave; for several seeds `history` is theirs in turn and `evaluation` pools them."""

    history: list[trainer.TrainingRow]
    evaluation: dict[str, Any]  # as in evaluation.json
    run_dir: str
    per_seed: list[SeedResult]


@gin_config.configurable
def experiment(
    seeds: Sequence[int] = (0,),
    num_training_steps: int = 250,
    horizon: int = 100,
    users_per_step: int = 250,
    num_shards: Optional[int] = None,
    num_evaluation_users: int = 2000,
    evaluation_batch_size: int = 500,
    corpus_seed: Optional[int] = None,
    checkpoint_every_steps: int = 50,
    num_validation_users: int = 2000,
    validate_every_steps: int = 25,
    gradient_variance_every_steps: int = 0,
    num_processes: Optional[int] = None,
    policies: Sequence[Callable[..., Any]] = (
        policies_lib.uniform_random,
        policies_lib.popular_by_clicks,
        policies_lib.popular_by_time,
    ),
    network_ctor: Callable[..., SimulationNetwork] = create_interest_evolution_simulation_network,
    learner_ctor: Callable[..., Any] = PolicyGradientLearner,
    runtime_ctor: Callable[..., SeededRuntime] = SeededRuntime,
    alarms_ctor: Callable[[], Alarms] = Alarms,
    output_dir: Optional[str] = None,
    quiet: bool = False,
) -> ExperimentResult:
    """Trains, evaluates on fresh users beside other policies, and writes a run folder.

    Weights are initialised through `tf.keras.utils.set_random_seed`: TensorFlow's global seed is changed; Python's and
    NumPy's generators are left as they were.

    Args:
      seeds: seeds of the runs, each 0 to 2**32 - 1.
      num_training_steps: updates of the weights, at least 0.
      horizon: T, slates shown to each user, at least 1.
      users_per_step: U, fresh users of each training step, at least 1.
      num_shards: batches that the users of a step are split into; they run side by side, on two cores almost twice as
        fast as one. Must divide users_per_step, and be a multiple of the algorithm's minibatches; None: two, or one if
        the users are an odd number. Whatever has a number for each user has it for those of one batch.
      num_evaluation_users: fresh users on whom policies are compared, at least 2.
      evaluation_batch_size: users simulated at once in evaluation, at least 1.
      corpus_seed: seed of the world's corpus; each run's own seed if None.
      checkpoint_every_steps: training steps between checkpoints, at least 1; there is always one at the end.
      num_validation_users: users on whom the policy to keep is chosen, at least 2; neither training nor evaluation
        meets them.
      validate_every_steps: training steps between looks at them, at least 0; there is always one at the end. With 0
        there is none, and the last policy is kept.
      gradient_variance_every_steps: training steps between measurements of the gradient's variance under several
        baselines, at least 0, see `training.diagnostics`; 0: never.
      num_processes: seeds that run at once, each in a process of its own, at least 1; None: as many as there are cores.
        What a seed gives does not depend on it.
      policies: constructors of policies evaluated beside the learned one, see `experiment.policies`.
      network_ctor: called with num_users, corpus_seed and, to replace the recommender, recommender_ctor.
      learner_ctor: called with the network, horizon and runtime_ctor; has `step`, `trainable_variables`, `optimizer`.
      runtime_ctor: called with a network's variables.
      alarms_ctor: makes what says that a training goes wrong, see `training.alarms`.
      output_dir: the run folder; a new, time-stamped one under runs/ if None.
      quiet: whether to print nothing.

    Returns:
      Rows of metrics.csv, content of evaluation.json, and the run folder's path.

    Raises:
      checks.InvalidInputError: one line that names an impossible argument, before anything is written or compiled.
    """
    seeds = _checked_seeds(seeds)
    if corpus_seed is not None:
        checks.integer("experiment.corpus_seed", corpus_seed, 0)
    plan = Plan(
        num_training_steps=checks.integer("experiment.num_training_steps", num_training_steps, 0),
        horizon=checks.integer("experiment.horizon", horizon, 1),
        users_per_step=checks.integer("experiment.users_per_step", users_per_step, 1),
        num_shards=_checked_num_shards(num_shards, users_per_step),
        num_evaluation_users=checks.integer("experiment.num_evaluation_users", num_evaluation_users, 2),
        evaluation_batch_size=min(
            checks.integer("experiment.evaluation_batch_size", evaluation_batch_size, 1), num_evaluation_users
        ),
        checkpoint_every_steps=checks.integer("experiment.checkpoint_every_steps", checkpoint_every_steps, 1),
        num_validation_users=checks.integer("experiment.num_validation_users", num_validation_users, 2),
        validate_every_steps=checks.integer("experiment.validate_every_steps", validate_every_steps, 0),
        gradient_variance_every_steps=checks.integer(
            "experiment.gradient_variance_every_steps", gradient_variance_every_steps, 0
        ),
        policies=_checked_policies(policies),
        network_ctor=checks.constructor("experiment.network_ctor", network_ctor),
        learner_ctor=checks.constructor("experiment.learner_ctor", learner_ctor),
        runtime_ctor=checks.constructor("experiment.runtime_ctor", runtime_ctor),
        alarms=checks.constructor("experiment.alarms_ctor", alarms_ctor)(),
        quiet=checks.boolean("experiment.quiet", quiet),
    )
    if plan.gradient_variance_every_steps and plan.num_shards < 2:
        raise checks.InvalidInputError("experiment.gradient_variance_every_steps needs num_shards of at least 2, got 1")
    if num_processes is not None:
        checks.integer("experiment.num_processes", num_processes, 1)
    run_dir.free_path(output_dir)
    world_seeds = [seed if corpus_seed is None else corpus_seed for seed in seeds]
    first = seed_run.prepare(plan, seeds[0], world_seeds[0])

    folder = run_dir.create(output_dir)
    run_dir.write_text(folder, run_dir.CONFIG, gin_config.config_text())
    if len(seeds) == 1:
        results = [seed_run.run(plan, seeds[0], world_seeds[0], folder, first)]
    else:
        folders = [os.path.join(folder, f"seed_{seed}") for seed in seeds]
        results = processes.run_seeds(plan, list(zip(seeds, world_seeds, folders)), num_processes)
    result = _merged(folder, results)
    run_dir.write_text(folder, run_dir.OPERATIVE_CONFIG, gin_config.operative_config_text())
    if result.evaluation["price_of_partial_observability"]["policies"]:
        figures.save(figures.price_figure(result.evaluation), os.path.join(folder, run_dir.PRICE_FIGURE))
    if not quiet:
        print(f"\n{console.policy_table(result.evaluation, plan.horizon)}", flush=True)
        price_of = console.price_lines(result.evaluation)
        print(f"\n{price_of}\n\nfiles: {folder}" if price_of else f"\nfiles: {folder}", flush=True)
    return result


def _merged(folder: str, results: list[SeedResult]) -> ExperimentResult:
    """For several seeds, the top level's metrics.csv and evaluation.json."""
    if len(results) == 1:
        only = results[0]
        return ExperimentResult(only.history, only.evaluation, folder, results)
    tables = []
    for result in results:
        with open(os.path.join(result.run_dir, run_dir.METRICS), encoding="utf-8") as file:
            tables.append(file.read().splitlines(keepends=True))
    run_dir.write_text(folder, run_dir.METRICS, "".join(tables[0][:1] + [line for one in tables for line in one[1:]]))
    run_dir.write_json(folder, run_dir.ENVIRONMENT, run_dir.environment([result.seed for result in results]))
    evaluations = [result.evaluation for result in results]
    names = [name for name in evaluations[0]["policies"] if all(name in one["policies"] for one in evaluations)]
    left_out = {name: reason for one in evaluations for name, reason in one["left_out"].items()}
    evaluation = {
        "policies": {name: evaluator.pooled([one["policies"][name] for one in evaluations]) for name in names},
        "left_out": left_out,
        "full_information": evaluations[0]["full_information"],
        "price_of_partial_observability": price.pooled([one["price_of_partial_observability"] for one in evaluations]),
        "horizon": evaluations[0]["horizon"],
        "per_seed": evaluations,
    }
    run_dir.write_json(folder, run_dir.EVALUATION, evaluation)
    return ExperimentResult([row for result in results for row in result.history], evaluation, folder, results)


def _checked_seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Sequence) or not seeds:
        raise checks.InvalidTypeError(f"experiment.seeds must be a list of at least one integer, got {seeds!r}")
    checked = [checks.integer("experiment.seeds: each", seed, 0) for seed in seeds]
    if max(checked) > MAX_SEED or len(set(checked)) != len(checked):
        raise checks.InvalidInputError(f"experiment.seeds must be different and at most {MAX_SEED}, got {seeds!r}")
    return checked


def _checked_num_shards(given: Optional[int], users_per_step: int) -> int:
    if given is None:
        return 1 if users_per_step % 2 else 2
    if users_per_step % checks.integer("experiment.num_shards", given, 1):
        raise checks.InvalidInputError(
            f"experiment.num_shards must divide users_per_step, got {given} and {users_per_step}"
        )
    return given


def _checked_policies(given: Any) -> list[Callable[..., Any]]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise checks.InvalidTypeError(f"experiment.policies must be a list of constructors, got {given!r}")
    checked = [checks.constructor("experiment.policies: each", policy) for policy in given]
    names = [policy.__name__ for policy in checked]
    if len(set(names)) != len(names):
        raise checks.InvalidInputError(f"experiment.policies must have different names, got {', '.join(names)}")
    return checked
