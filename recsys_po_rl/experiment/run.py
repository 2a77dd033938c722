"""Mode train_and_evaluate: trains a recommender, then compares it with other policies on fresh users."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional, Union

from recsys_po_rl import catalogue_corpus, gin_config, gin_state
from recsys_po_rl.common import output, regular_files, validation
from recsys_po_rl.evaluation import evaluator, price
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import recorder, signals, single_seed
from recsys_po_rl.experiment import resume as resume_lib
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.executors import Executor
from recsys_po_rl.experiment.local_processes import LocalExecutor
from recsys_po_rl.experiment.single_seed import SeedResult
from recsys_po_rl.experiment.tasks import Task
from recsys_po_rl.policies.base import Policy, WarmStart
from recsys_po_rl.policies.popularity import PopularByClicks, PopularByTime
from recsys_po_rl.policies.uniform_random import UniformRandom
from recsys_po_rl.reporting import figures, tables
from recsys_po_rl.reporting import pages as report_lib
from recsys_po_rl.run_folder import layout, readers, schema
from recsys_po_rl.run_folder.schema import Evaluation
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork, create_interest_evolution_simulation_network
from recsys_po_rl.training import rows as rows_lib
from recsys_po_rl.training.alarms import Alarms
from recsys_po_rl.training.callbacks import Callback
from recsys_po_rl.training.learner import PolicyGradientLearner


class ExperimentResult(NamedTuple):
    """Result of an experiment; with several seeds `history` is concatenated and `evaluation` is pooled."""

    history: list[rows_lib.TrainingRow]
    evaluation: dict[str, Any]  # as in evaluation.json
    run_dir: str
    per_seed: list[SeedResult]


class SeedJob(NamedTuple):
    """Seed of an experiment of several."""

    seed: int
    world_seed: int
    folder: str


@gin_config.configurable(denylist=("executor", "callbacks", "training_workers"))
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
    policies: Sequence[Union[Policy, Callable[..., Any]]] = (UniformRandom, PopularByClicks, PopularByTime),
    network_ctor: Callable[..., SimulationNetwork] = create_interest_evolution_simulation_network,
    learner_ctor: Callable[..., Any] = PolicyGradientLearner,
    runtime_ctor: Callable[..., SeededRuntime] = SeededRuntime,
    alarms_ctor: Callable[[], Alarms] = Alarms,
    output_dir: Optional[str] = None,
    quiet: bool = False,
    resume: bool = False,
    checkpoint_every_minutes: Optional[float] = None,
    warm_start_ctor: Optional[Callable[[], WarmStart]] = None,
    pretrained: Optional[str] = None,
    executor: Optional[Executor] = None,
    callbacks: Sequence[Callback] = (),
    training_workers: Optional[int] = None,
) -> ExperimentResult:
    """Train a recommender, compare it with other policies on fresh users, and write a run folder.

    Weights are initialised through `tf.keras.utils.set_random_seed`: TensorFlow's global seed changes; the states of
    Python's and NumPy's generators are restored.

    Args:
      seeds: seeds of the runs, each 0 to 2**32 - 1.
      num_training_steps: updates of the weights, at least 0.
      horizon: T, slates shown to each user, at least 1.
      users_per_step: U, fresh users of each training step, at least 1.
      num_shards: number of batches into which the users of a step are split. Batches run in parallel, on two cores
        almost twice as fast as one. Must divide users_per_step, and be a multiple of the algorithm's minibatches; None:
        two, or one if users_per_step is odd. Per-user tensors of the network have the size of one batch.
      num_evaluation_users: fresh users on whom policies are compared, at least 2.
      evaluation_batch_size: users simulated at once in evaluation, at least 1.
      corpus_seed: seed of the world's corpus; each run's own seed if None.
      checkpoint_every_steps: training steps between checkpoints, at least 1; there is always one at the end.
      num_validation_users: held-out users on whom the best policy is selected, at least 2; neither training nor
        evaluation uses them.
      validate_every_steps: training steps between validations, at least 0; the last step is always validated. With 0
        there is no validation, and the last policy is kept.
      gradient_variance_every_steps: training steps between measurements of the gradient's variance under several
        baselines, at least 0, see `training.diagnostics`; 0: never.
      num_processes: number of seeds that run at once, each in its own process, at least 1; None: the number of cores.
        The results of a seed do not depend on this number.
      policies: policies that the learned one is compared with: classes of policies, in gin references to them, or
        policies, or functions of a `PolicyContext`, see `policies.base` and `policies.adapters`.
      network_ctor: constructor of the network, called with num_users, corpus_seed and, to replace the recommender,
        recommender_ctor.
      learner_ctor: constructor of the learner, called with the network, horizon and runtime_ctor; the learner has
        `step`, `trainable_variables` and `optimizer`.
      runtime_ctor: constructor of a runtime, called with a network's variables.
      alarms_ctor: constructor of the training alarms, see `training.alarms`.
      output_dir: the run folder; a new, time-stamped one under runs/ if None.
      quiet: whether to print nothing.
      resume: whether to resume the run in output_dir from its last checkpoint, or from the start if no checkpoint
        exists; the arguments must be those of the original run. The results equal those of an uninterrupted run.
      checkpoint_every_minutes: longest time between checkpoints in minutes, above 0; None: no limit.
      warm_start_ctor: constructor of a method that sets the weights before the training, see `policies.warm_start`;
        None: weights are those of the initialisation.
      pretrained: folder of a pretraining (`--mode pretrain`) of the same scorer, whose weights the training starts
        from; None: no pretraining. Excludes warm_start_ctor.
      executor: where the seeds run, if there are several, see `executors`; None: processes of this machine. Gin cannot
        bind it: a run folder from elsewhere must not choose machines.
      callbacks: called at each step of the training of the learned policy, after the tables are written, see
        `training.callbacks`; in the process of each seed. Gin cannot bind them.
      training_workers: number of processes of a `RayExecutor` that compute the shards of each training step, at least
        1 and at most num_shards; seeds then run one after another, in this process. None: this process computes the
        shards. Weights do not depend on this number. Gin cannot bind it.

    Returns:
      Rows of metrics.csv, content of evaluation.json, and the run folder's path.

    Raises:
      InvalidInputError: one line, if an argument is invalid or a run cannot be resumed, raised before anything is
        written or compiled; or if a file cannot be written.
      layout.FolderMovedError: if the run folder was renamed, removed or replaced; the training step is saved first, if
        the folder exists.
      TrainingStoppedError: if a callback stops the training; the training step is saved.
      signals.Stopped: a KeyboardInterrupt, at SIGINT or SIGTERM. At the first signal the training step is finished and
        saved; a second signal stops at once.
    """
    gin_state.raise_if_not_writable()
    with signals.handled():
        return _run(
            config_lib.validated(
                seeds=seeds,
                num_training_steps=num_training_steps,
                horizon=horizon,
                users_per_step=users_per_step,
                num_shards=num_shards,
                num_evaluation_users=num_evaluation_users,
                evaluation_batch_size=evaluation_batch_size,
                corpus_seed=corpus_seed,
                checkpoint_every_steps=checkpoint_every_steps,
                num_validation_users=num_validation_users,
                validate_every_steps=validate_every_steps,
                gradient_variance_every_steps=gradient_variance_every_steps,
                num_processes=num_processes,
                policies=policies,
                network_ctor=network_ctor,
                learner_ctor=learner_ctor,
                runtime_ctor=runtime_ctor,
                alarms_ctor=alarms_ctor,
                output_dir=output_dir,
                quiet=quiet,
                resume=resume,
                checkpoint_every_minutes=checkpoint_every_minutes,
                warm_start_ctor=warm_start_ctor,
                pretrained=pretrained,
                callbacks=callbacks,
                executor=executor,
                training_workers=training_workers,
            ),
            LocalExecutor(num_processes) if executor is None else executor,
            training_workers,
        )


def _run(config: ExperimentConfig, executor: Executor, training_workers: Optional[int]) -> ExperimentResult:
    """Validate the run folder, and run a validated experiment in it."""
    if config.resume:
        _raise_if_not_resumable(config)
        if layout.is_finished(str(config.output_dir)):
            return _finished(config, str(config.output_dir))
    else:
        layout.free_path(config.output_dir)
    if training_workers is None:
        return _run_in_folder(config, executor)
    with executor.training_workers(training_workers, config.quiet) as workers:  # type: ignore[attr-defined]
        in_this_process = LocalExecutor(1)
        return _run_in_folder(dataclasses.replace(config, training_workers=workers), in_this_process)


def _run_in_folder(config: ExperimentConfig, executor: Executor) -> ExperimentResult:
    seeds, world_seeds = config.seeds, [config.world_seed(seed) for seed in config.seeds]
    first = single_seed.prepare(config, seeds[0], world_seeds[0])
    if config.resume:
        for of_run in (str(config.output_dir), *_seed_folders(str(config.output_dir), seeds)):
            resume_lib.raise_if_other_table(of_run, catalogue_corpus.content_hash(first.network.corpus))
    folder = layout.create(config.output_dir, may_hold_a_run=config.resume)
    try:
        with resume_lib.exclusive_lock(folder), layout.errors_of(folder):
            place = layout.Place(folder)
            corpus_seed = world_seeds[0] if len(seeds) == 1 else None
            single_seed.describe(config, folder, seeds, first.network.corpus, corpus_seed)
            if len(seeds) == 1:
                results = [single_seed.run(config, seeds[0], world_seeds[0], folder, first)]
            else:
                folders = _seed_folders(folder, seeds)
                for seed_folder in folders:  # created together: later, another folder might have taken the same name
                    layout.make_subfolder(*os.path.split(seed_folder))
                results = _run_seeds(config, executor, [SeedJob(*job) for job in zip(seeds, world_seeds, folders)])
            result = _complete(place, folder, results)
    except KeyboardInterrupt:
        if not config.quiet:
            output.complain(f"interrupted: --resume --output_dir {folder} goes on from the last checkpoint")
        raise
    _show(config, result)
    return result


def _run_seeds(config: ExperimentConfig, executor: Executor, jobs: Sequence[SeedJob]) -> list[SeedResult]:
    """Run seeds in tasks of an executor; each seed gives the same results as alone."""
    resumed = dataclasses.replace(config, resume=True)
    executor.run(
        [
            Task(f"seed {job.seed}", _run_seed, (config, job), (resumed, job))
            for job in jobs
            if not (config.resume and layout.is_finished(job.folder))
        ],
        config.quiet,
    )
    return [single_seed.result_in(job.folder, job.seed) for job in jobs]


def _run_seed(config: ExperimentConfig, job: SeedJob) -> None:
    """Run a seed, in the process that its executor has started."""
    with resume_lib.exclusive_lock(job.folder), layout.errors_of(job.folder):
        single_seed.run(config, job.seed, job.world_seed, job.folder)
        if not (config.resume and layout.is_finished(job.folder)):
            layout.mark_finished(job.folder)


def _complete(place: layout.Place, folder: str, results: list[SeedResult]) -> ExperimentResult:
    """Write the files over all seeds, the mark of a finished run in environment.json last."""
    place.raise_if_moved()
    result = _merged(folder, results)
    layout.write_text(folder, layout.OPERATIVE_CONFIG, gin_config.operative_config_text())
    figures.save_price_figure(_evaluation_of(result), folder)
    _report(folder)
    place.raise_if_moved()
    layout.mark_finished(folder)
    return result


def _report(folder: str) -> None:
    """Write report.html, or warn if that fails: `--mode report` can write it later."""
    try:
        report_lib.report(folder)
    except Exception as error:  # a failed report must not fail the run, whose results are on disk
        why = " ".join(str(error).split())[:200]
        path = os.path.join(folder, layout.REPORT)
        warnings.warn(f"{path!r} is left out: {type(error).__name__}: {why}", stacklevel=2)


def _raise_if_not_resumable(config: ExperimentConfig) -> None:
    if config.output_dir is None:
        raise validation.InvalidInputError("experiment.resume needs output_dir, the folder of the run to resume")
    layout.raise_if_no_folder(config.output_dir)
    folders = [(config.output_dir, config.seeds)]
    folders += [(folder, [seed]) for folder, seed in zip(_seed_folders(config.output_dir, config.seeds), config.seeds)]
    for folder, seeds in folders:
        resume_lib.raise_if_other(folder, seeds, config.fingerprint)
        resume_lib.position_of(folder, recorder.tables(config))


def _seed_folders(folder: str, seeds: Sequence[int]) -> list[str]:
    """Return the run folders of several seeds; an empty list for one seed."""
    return [os.path.join(folder, f"seed_{seed}") for seed in seeds] if len(seeds) > 1 else []


def _finished(config: ExperimentConfig, folder: str) -> ExperimentResult:
    if not config.quiet:
        output.say(f"the run in {folder} is finished: nothing is done")
    folders = _seed_folders(folder, config.seeds) or [folder]
    results = [single_seed.result_in(seed_folder, seed) for seed, seed_folder in zip(config.seeds, folders)]
    evaluation = layout.read_json(folder, layout.EVALUATION) or {}
    return ExperimentResult([row for result in results for row in result.history], evaluation, folder, results)


def _show(config: ExperimentConfig, result: ExperimentResult) -> None:
    if config.quiet:
        return
    evaluation = _evaluation_of(result)
    schema.raise_if_not_shown(evaluation, os.path.join(result.run_dir, layout.EVALUATION))
    output.say(f"\n{tables.policy_table(evaluation)}")
    price_of = tables.price_lines(evaluation)
    output.say(f"\n{price_of}\n\nfiles: {result.run_dir}" if price_of else f"\nfiles: {result.run_dir}")


def _evaluation_of(result: Union[ExperimentResult, SeedResult]) -> Evaluation:
    return schema.from_json(result.evaluation, os.path.join(result.run_dir, layout.EVALUATION))


def _merged(folder: str, results: list[SeedResult]) -> ExperimentResult:
    """Merge the results of seeds; with several, write the top level's metrics.csv and evaluation.json."""
    if len(results) == 1:
        only = results[0]
        return ExperimentResult(only.history, only.evaluation, folder, results)
    metrics = []
    for result in results:
        text = regular_files.text(os.path.join(result.run_dir, layout.METRICS), readers.MAX_TABLE_BYTES)
        metrics.append(text.splitlines(keepends=True))
    layout.write_text(
        folder, layout.METRICS, "".join(metrics[0][:1] + [line for table in metrics for line in table[1:]])
    )
    evaluation = pooled([_evaluation_of(result) for result in results]).to_json()
    layout.write_json(folder, layout.EVALUATION, evaluation)
    return ExperimentResult([row for result in results for row in result.history], evaluation, folder, results)


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation over several seeds.

    Args:
      evaluations: the evaluation of each seed.

    Raises:
      InvalidInputError: if an evaluation, read from a file, lacks the price of partial observability.
    """
    first = evaluations[0]
    names = [name for name in first.policies if all(name in evaluation.policies for evaluation in evaluations)]
    prices = [evaluation.price_of_partial_observability for evaluation in evaluations]
    if None in prices:
        raise validation.InvalidInputError(f"{layout.EVALUATION} of a seed lacks price_of_partial_observability")
    return Evaluation(
        policies={name: evaluator.pooled([evaluation.policies[name] for evaluation in evaluations]) for name in names},
        left_out={name: reason for evaluation in evaluations for name, reason in evaluation.left_out.items()},
        full_information=first.full_information,
        price_of_partial_observability=price.pooled([of_seed for of_seed in prices if of_seed is not None]),
        horizon=first.horizon,
        per_seed=list(evaluations),
    )
