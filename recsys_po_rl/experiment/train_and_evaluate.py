"""Mode train_and_evaluate: trains a recommender, then compares it with others on fresh users."""

import functools
import os
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl import checks, gin_config
from recsys_po_rl.artifacts import checkpoints, loggers, run_dir
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import console
from recsys_po_rl.experiment import policies as policies_lib
from recsys_po_rl.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork, create_interest_evolution_simulation_network
from recsys_po_rl.training import trainer
from recsys_po_rl.training.learner import PolicyGradientLearner

LEARNED = "learned"
LEARNED_GREEDY = "learned_greedy"
MAX_SEED = 2**32 - 1  # of NumPy's legacy generator, which draws the reference corpora


class SeedResult(NamedTuple):
    """What one seed gave."""

    seed: int
    history: list[trainer.TrainingRow]
    evaluation: dict[str, Any]  # as in evaluation.json
    run_dir: str


class ExperimentResult(NamedTuple):
    """What an experiment gave; for several seeds `history` is theirs in turn and `evaluation` pools them."""

    history: list[trainer.TrainingRow]
    evaluation: dict[str, Any]  # as in evaluation.json
    run_dir: str
    per_seed: list[SeedResult]


class _Plan(NamedTuple):
    """The checked arguments that every seed shares."""

    num_training_steps: int
    horizon: int
    users_per_step: int
    num_shards: int
    num_evaluation_users: int
    evaluation_batch_size: int
    checkpoint_every_steps: int
    policies: list[Callable[..., Any]]
    network_ctor: Callable[..., SimulationNetwork]
    learner_ctor: Callable[..., Any]
    runtime_ctor: Callable[..., SeededRuntime]
    quiet: bool


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
    policies: Sequence[Callable[..., Any]] = (
        policies_lib.uniform_random,
        policies_lib.popular_by_clicks,
        policies_lib.popular_by_time,
    ),
    network_ctor: Callable[..., SimulationNetwork] = create_interest_evolution_simulation_network,
    learner_ctor: Callable[..., Any] = PolicyGradientLearner,
    runtime_ctor: Callable[..., SeededRuntime] = SeededRuntime,
    output_dir: Optional[str] = None,
    quiet: bool = False,
) -> ExperimentResult:
    """Trains, evaluates on fresh users beside other policies, and writes a run folder.

    Weights are initialised through `tf.keras.utils.set_random_seed`: TensorFlow's global seed is changed; Python's and
    NumPy's generators are left as they were.

    Args:
      seeds: seeds of the runs, one after another, each 0 to 2**32 - 1.
      num_training_steps: updates of the weights, at least 0.
      horizon: T, slates shown to each user, at least 1.
      users_per_step: U, fresh users of each training step, at least 1.
      num_shards: batches that the users of a step are split into; they run side by side, on two cores almost twice as
        fast as one. Must divide users_per_step; None: two, or one if the users are an odd number. Whatever has a number
        for each user has it for those of one batch.
      num_evaluation_users: fresh users on whom policies are compared, at least 2.
      evaluation_batch_size: users simulated at once in evaluation, at least 1.
      corpus_seed: seed of the world's corpus; each run's own seed if None.
      checkpoint_every_steps: training steps between checkpoints, at least 1; there is always one at the end.
      policies: constructors of policies evaluated beside the learned one, see `experiment.policies`.
      network_ctor: called with num_users, corpus_seed and, to replace the recommender, recommender_ctor.
      learner_ctor: called with the network, horizon and runtime_ctor; has `step`, `trainable_variables`, `optimizer`.
      runtime_ctor: called with a network's variables.
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
    plan = _Plan(
        num_training_steps=checks.integer("experiment.num_training_steps", num_training_steps, 0),
        horizon=checks.integer("experiment.horizon", horizon, 1),
        users_per_step=checks.integer("experiment.users_per_step", users_per_step, 1),
        num_shards=_checked_num_shards(num_shards, users_per_step),
        num_evaluation_users=checks.integer("experiment.num_evaluation_users", num_evaluation_users, 2),
        evaluation_batch_size=min(
            checks.integer("experiment.evaluation_batch_size", evaluation_batch_size, 1), num_evaluation_users
        ),
        checkpoint_every_steps=checks.integer("experiment.checkpoint_every_steps", checkpoint_every_steps, 1),
        policies=_checked_policies(policies),
        network_ctor=checks.constructor("experiment.network_ctor", network_ctor),
        learner_ctor=checks.constructor("experiment.learner_ctor", learner_ctor),
        runtime_ctor=checks.constructor("experiment.runtime_ctor", runtime_ctor),
        quiet=checks.boolean("experiment.quiet", quiet),
    )
    run_dir.free_path(output_dir)
    world_seeds = [seed if corpus_seed is None else corpus_seed for seed in seeds]
    first = _prepare(plan, seeds[0], world_seeds[0])

    folder = run_dir.create(output_dir)
    run_dir.write_text(folder, run_dir.CONFIG, gin_config.config_text())
    results = []
    for seed, world_seed in zip(seeds, world_seeds):
        seed_folder = folder if len(seeds) == 1 else os.path.join(folder, f"seed_{seed}")
        prepared = first if seed == seeds[0] else _prepare(plan, seed, world_seed)
        results.append(_run_seed(plan, seed, world_seed, prepared, seed_folder))
    result = _merged(folder, results)
    run_dir.write_text(folder, run_dir.OPERATIVE_CONFIG, gin_config.operative_config_text())
    if not quiet:
        print(f"\n{console.policy_table(result.evaluation, plan.horizon)}\n\nfiles: {folder}", flush=True)
    return result


class _Prepared(NamedTuple):
    network: SimulationNetwork
    learner: Any


def _prepare(plan: _Plan, seed: int, world_seed: int) -> _Prepared:
    """Makes network and learner; every impossible number of theirs shows here."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        tf.keras.utils.set_random_seed(seed)
        network = plan.network_ctor(num_users=plan.users_per_step // plan.num_shards, corpus_seed=world_seed)
        learner = plan.learner_ctor(network=network, horizon=plan.horizon, runtime_ctor=plan.runtime_ctor)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    return _Prepared(network, learner)


def _run_seed(plan: _Plan, seed: int, world_seed: int, prepared: _Prepared, folder: str) -> SeedResult:
    os.makedirs(folder, exist_ok=True)
    run_dir.write_text(folder, run_dir.CONFIG, gin_config.config_text())
    run_dir.write_json(folder, run_dir.ENVIRONMENT, {**run_dir.environment([seed]), "corpus_seed": world_seed})
    history = _train(plan, seed, prepared, folder)
    study = policies_lib.Study(
        functools.partial(plan.network_ctor, corpus_seed=world_seed),
        plan.runtime_ctor,
        prepared.network.config,
        seed,
        plan.horizon,
        plan.evaluation_batch_size,
    )
    evaluation = _evaluate(plan, study, prepared.network)
    run_dir.write_json(folder, run_dir.EVALUATION, evaluation)
    run_dir.write_text(folder, run_dir.OPERATIVE_CONFIG, gin_config.operative_config_text())
    return SeedResult(seed, history, evaluation, folder)


def _train(plan: _Plan, seed: int, prepared: _Prepared, folder: str) -> list[trainer.TrainingRow]:
    table = loggers.CsvLogger(os.path.join(folder, run_dir.METRICS))
    progress = console.TrainingProgress(plan.num_training_steps, seed, plan.quiet)
    saved = checkpoints.Checkpoints(folder, prepared.network.recommender, prepared.learner.optimizer)
    done = 0

    def on_row(row: trainer.TrainingRow) -> None:
        table.write({"seed": seed, **row._asdict()})
        progress.update(row)

    def after_step(step: int) -> None:
        nonlocal done
        done = step
        if step % plan.checkpoint_every_steps == 0:
            saved.save(step)

    try:
        return trainer.train(
            prepared.learner,
            seed,
            plan.num_training_steps,
            plan.users_per_step,
            plan.horizon,
            on_row,
            plan.num_shards,
            after_step,
        )
    finally:  # an interrupted run keeps what it has learned
        progress.close()
        table.close()
        saved.save(done)


def _evaluate(plan: _Plan, study: policies_lib.Study, trained: SimulationNetwork) -> dict[str, Any]:
    """The content of evaluation.json: every policy on the same fresh users."""
    if not plan.quiet:
        print(f"evaluating on {plan.num_evaluation_users} fresh users", flush=True)
    evaluate = functools.partial(
        evaluator.evaluate,
        horizon=plan.horizon,
        num_users=plan.num_evaluation_users,
        batch_size=study.batch_size,
        seed=study.seed,
    )
    rewards = {LEARNED: evaluate(study.runtime(_with_weights_of(trained, study.network())))}
    left_out = {}
    greedy = _with_weights_of(trained, study.network())
    if hasattr(greedy.recommender, "greedy"):
        greedy.recommender.greedy = True
        rewards[LEARNED_GREEDY] = evaluate(study.runtime(greedy))
    else:
        left_out[LEARNED_GREEDY] = f"{type(greedy.recommender).__name__} has no attribute greedy"
    for policy in plan.policies:
        network = study.network(recommender_ctor=policy(study))
        rewards[policy.__name__] = evaluate(study.runtime(network))
    return {
        "policies": {name: evaluator.summary(of_users, rewards[LEARNED]) for name, of_users in rewards.items()},
        "left_out": left_out,
        "seed": study.seed,
        "horizon": plan.horizon,
    }


def _with_weights_of(trained: SimulationNetwork, network: SimulationNetwork) -> SimulationNetwork:
    """Copies every variable of the trained recommender into that of an equal network of another size."""
    for target, source in zip(network.recommender.variables, trained.recommender.variables, strict=True):
        target.assign(source)
    return network


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
    names = [name for name in results[0].evaluation["policies"]]
    evaluation = {
        "policies": {
            name: evaluator.pooled([result.evaluation["policies"][name] for result in results]) for name in names
        },
        "left_out": results[0].evaluation["left_out"],
        "horizon": results[0].evaluation["horizon"],
        "per_seed": [result.evaluation for result in results],
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
