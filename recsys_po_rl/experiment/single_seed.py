"""One seed of an experiment: training, selection by validation users, and comparison with other policies.

Over 350 lines: the order in which a seed is trained, selected, evaluated and written stands in one place.
"""

import contextlib
import dataclasses
import functools
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl import catalogue_corpus, fields, gin_config
from recsys_po_rl.common import output, protocols
from recsys_po_rl.common import validation as validation_lib
from recsys_po_rl.evaluation import evaluator, price
from recsys_po_rl.experiment import console, evaluation_files, signals
from recsys_po_rl.experiment import monitor as monitor_lib
from recsys_po_rl.experiment import recorder as recorder_lib
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.selection import BestPolicy, BestPolicySelector, Weights, weights_of, with_weights
from recsys_po_rl.experiment.tasks import Task
from recsys_po_rl.policies.base import BuiltPolicy, LeftOutError, PolicyContext, WarmStart
from recsys_po_rl.run_folder import csv_tables, layout, policy_file
from recsys_po_rl.run_folder.schema import Evaluation, Selection
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import loop
from recsys_po_rl.training.alarms import StoppedByAlarmError
from recsys_po_rl.training.callbacks import Callback, CallbackList, TrainingStoppedError
from recsys_po_rl.training.rows import TrainingRow, row_from_text
from recsys_po_rl.training.shards import ShardProgram

LEARNED = "learned"
LEARNED_LAST = "learned_last"
LEARNED_GREEDY = "learned_greedy"
TRAINING = "training"  # stream of the learned policy's training users


class SeedResult(NamedTuple):
    """Result of one seed."""

    seed: int
    history: list[TrainingRow]
    evaluation: dict[str, Any]  # as in evaluation.json
    run_dir: str


class Prepared(NamedTuple):
    """Network that is trained, and its learner."""

    network: SimulationNetwork
    learner: protocols.Learner


class Trained(NamedTuple):
    """Result of a training."""

    history: list[TrainingRow]
    best: Weights  # at the step with the highest validation reward; the last step without validation
    best_step: int
    last: Weights


class _Trainer:
    """Trainer of further policies as the learned one is trained, see `policies.base.Trainer`."""

    def __init__(self, config: ExperimentConfig, seed: int, world_seed: int, context: PolicyContext) -> None:
        self._config = config
        self._seed = seed
        self._world_seed = world_seed
        self._context = context

    def train(
        self, recommender_ctor: Callable[..., Any], full_information: bool, warm_start: Optional[WarmStart] = None
    ) -> BuiltPolicy:
        """Train a recommender and return a network with its best weights; see `policies.base.Trainer`."""
        config, seed = self._config, self._seed
        options = {"recommender_ctor": recommender_ctor, "full_information": full_information}
        prepared = prepare(config, seed, self._world_seed, **options)
        try:
            details = imitate(config, warm_start, prepared.network, self._context)
        except validation_lib.InvalidInputError as error:  # the run continues without this policy
            raise LeftOutError(gin_config.first_line(error)) from error
        network = config.network_ctor(num_users=config.evaluation_batch_size, corpus_seed=self._world_seed, **options)
        selector = BestPolicySelector(config, seed, prepared.network, network, config.runtime_ctor(network.variables))
        progress = console.TrainingProgress(config.num_training_steps, seed, config.quiet)
        kind = "full information" if full_information else "another recommender"
        monitor = monitor_lib.TrainingMonitor(progress, config.alarms, seed, training=f" of the training with {kind}")
        try:
            # Without the interest, the users of each step are those of the learned policy's training.
            path = kind if full_information else TRAINING
            trained = train(config, seed, prepared, selector, [monitor], path=path)
        except StoppedByAlarmError as error:  # the run continues without this policy
            raise LeftOutError(f"its training {error}") from error
        finally:
            monitor.close()
        if monitor.raised:
            details = {**details, "alarms": [alarm._asdict() for alarm in monitor.raised]}
        return BuiltPolicy(with_weights(network, trained.best), details)


def policy_context(
    config: ExperimentConfig, seed: int, world_seed: int, network_config: Mapping[str, Any]
) -> PolicyContext:
    """Return the world at one seed, in which further policies can be trained.

    Args:
      config: configuration of the experiment.
      seed: seed of the run.
      world_seed: seed of the corpus.
      network_config: configuration of the network.
    """
    context = PolicyContext(
        functools.partial(config.network_ctor, corpus_seed=world_seed),
        config.runtime_ctor,
        network_config,
        seed,
        config.horizon,
        config.evaluation_batch_size,
    )
    context.trainer = _Trainer(config, seed, world_seed, context)
    return context


def imitate(
    config: ExperimentConfig, warm_start: Optional[WarmStart], student: SimulationNetwork, context: PolicyContext
) -> Mapping[str, Any]:
    """Set the weights of a network by a warm start, before its training.

    Args:
      config: configuration of the experiment.
      warm_start: sets the weights; None: they stay as they are.
      student: the network that is trained next.
      context: the world.

    Returns:
      Entries of the policy's `details` in evaluation.json.

    Raises:
      LeftOutError: if the teacher cannot be built in this world.
      InvalidInputError: if teacher or student are unsuitable.
    """
    if warm_start is None:
        return {}
    if not config.quiet:
        output.say("warm start")
    details = warm_start(student, context, config.num_shards)
    if not config.quiet and "cross_entropies" in details:
        first, last = details["cross_entropies"][0], details["cross_entropies"][-1]
        output.say(f"warm start: cross-entropy to the teacher's slates {first:.2f} to {last:.2f} nats")
    return details


def _start_warm(config: ExperimentConfig, student: SimulationNetwork, context: PolicyContext, folder: str) -> None:
    """Set the weights of the learned policy before its training, and write the details to the run folder."""
    try:
        details = imitate(config, config.warm_start, student, context)
    except (LeftOutError, validation_lib.InvalidInputError) as error:
        raise validation_lib.InvalidInputError(f"experiment.warm_start_ctor: {gin_config.first_line(error)}") from error
    layout.write_json(folder, layout.WARM_START, dict(details))


@gin_config.wrong_calls_in_one_line
def prepare(config: ExperimentConfig, seed: int, world_seed: int, **network_options: Any) -> Prepared:
    """Build network and learner, which validates their arguments and those of the network of evaluation."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        config.network_ctor(num_users=config.evaluation_batch_size, corpus_seed=world_seed, **network_options)
        tf.keras.utils.set_random_seed(seed)
        network = config.network_ctor(
            num_users=config.users_per_step // config.num_shards, corpus_seed=world_seed, **network_options
        )
        learner = config.learner_ctor(network=network, horizon=config.horizon, runtime_ctor=config.runtime_ctor)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    num_minibatches = getattr(learner, "num_minibatches", 1)
    if config.num_shards % num_minibatches:
        raise validation_lib.InvalidInputError(
            f"experiment.num_shards must be a multiple of the algorithm's {num_minibatches} minibatches, "
            f"got {config.num_shards}"
        )
    if config.training_workers is not None:
        if not hasattr(learner, "compute_shards_with"):
            raise validation_lib.InvalidInputError(
                f"experiment.training_workers needs a learner with the method compute_shards_with, "
                f"got {type(learner).__name__}"
            )
        apart = dataclasses.replace(config, training_workers=None, policies=(), warm_start=None)
        task = Task("training", shard_program, (apart, seed, world_seed, network_options))
        learner.compute_shards_with(config.training_workers.shards(task, network.recommender.variables))
    return Prepared(network, learner)


def shard_program(
    config: ExperimentConfig, seed: int, world_seed: int, network_options: Mapping[str, Any]
) -> ShardProgram:
    """Build the program of a training's shards, in the process that computes them; arguments as of `prepare`."""
    prepared = prepare(config, seed, world_seed, **network_options)
    return ShardProgram(prepared.learner, prepared.network.recommender.variables)  # type: ignore[arg-type]


def train(
    config: ExperimentConfig,
    seed: int,
    prepared: Prepared,
    selector: BestPolicySelector,
    callbacks: Sequence[Callback],
    path: str = TRAINING,
    start: recorder_lib.Start = recorder_lib.Start(),  # noqa: B008  (a constant)
) -> Trained:
    """Train, and keep the weights of the best validation.

    Args:
      config: configuration of the experiment.
      seed: seed of the run.
      prepared: network and learner.
      selector: validates the policy and owns the best one.
      callbacks: called at each step, in their order.
      path: name of the stream of training users.
      start: steps completed before.
    """
    history = loop.train(
        prepared.learner,
        seed=seed,
        num_steps=config.num_training_steps,
        users_per_step=config.users_per_step,
        horizon=config.horizon,
        callback=CallbackList(callbacks),
        validator=selector,
        num_shards=config.num_shards,
        path=path,
        steps_done=start.step,
    )
    last = weights_of(prepared.network)
    best = selector.best or BestPolicy(0.0, config.num_training_steps, last)
    return Trained([*start.history, *history], best.weights, best.step, last)


def run(
    config: ExperimentConfig, seed: int, world_seed: int, folder: str, prepared: Optional[Prepared] = None
) -> SeedResult:
    """Train, evaluate, and write a complete run folder.

    Args:
      config: configuration of the experiment.
      seed: seed of the run.
      world_seed: seed of the corpus.
      folder: the run folder, which exists. With `config.resume` the run in the folder is resumed.
      prepared: network and learner; None: they are built here.

    Raises:
      layout.FolderMovedError: if the folder was renamed, removed or replaced meanwhile.
    """
    if config.resume and layout.is_finished(folder):
        return result_in(folder, seed)
    prepared = prepared or prepare(config, seed, world_seed)
    describe(config, folder, [seed], prepared.network.corpus, corpus_seed=world_seed)
    place = layout.Place(folder)
    context = policy_context(config, seed, world_seed, prepared.network.config)
    timings = Timings()
    network = context.network()
    runtime = context.runtime(network)
    with timings.measured("training"):
        selector = BestPolicySelector(config, seed, prepared.network, network, runtime)
        with _recorded(config, context, prepared, selector, folder) as (callbacks, start):
            trained = train(config, seed, prepared, selector, callbacks, start=start)
    compared = evaluate_policies(config, context, network, runtime, trained, timings, folder)
    evaluation = dataclasses.replace(compared, corpus_seed=world_seed).to_json()
    place.raise_if_moved()
    policy_file.save(folder, with_weights(network, trained.best).recommender)
    layout.write_json(folder, layout.EVALUATION, evaluation)
    layout.write_text(folder, layout.OPERATIVE_CONFIG, gin_config.operative_config_text())
    layout.write_json(folder, layout.TIMINGS, timings.seconds)
    return SeedResult(seed, trained.history, evaluation, folder)


def describe(
    config: ExperimentConfig, folder: str, seeds: Sequence[int], corpus: Any, corpus_seed: Optional[int] = None
) -> None:
    """Write config.gin and environment.json, which identifies the run; a resumed run keeps its files.

    Args:
      config: configuration of the experiment.
      folder: the run folder.
      seeds: seeds of the run.
      corpus: the corpus entity, whose table, if it has one, is identified by a hash.
      corpus_seed: seed of the corpus; None: each seed of the run has its own.
    """
    layout.remove_leftovers(folder)
    if config.resume and layout.read_environment(folder) is not None:
        return
    layout.write_text(folder, layout.CONFIG, gin_config.config_text())
    content = dataclasses.replace(
        layout.environment(seeds),
        corpus_seed=corpus_seed,
        table=catalogue_corpus.content_hash(corpus),
        arguments=dict(config.fingerprint),
    )
    layout.write_json(folder, layout.ENVIRONMENT, content.to_json())


def result_in(folder: str, seed: int) -> SeedResult:
    """Read the result of a seed from its run folder."""
    rows = csv_tables.whole_rows(os.path.join(folder, layout.METRICS))
    evaluation = layout.read_json(folder, layout.EVALUATION) or {}
    return SeedResult(seed, [row_from_text(row) for row in rows], evaluation, folder)


class Timings:
    """Wall-clock seconds of the parts of a run."""

    def __init__(self) -> None:
        """Start with no parts."""
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def measured(self, part: str) -> Iterator[None]:
        """Add the block's time to a part."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started


@contextlib.contextmanager
def _recorded(
    config: ExperimentConfig, context: PolicyContext, prepared: Prepared, selector: BestPolicySelector, folder: str
) -> Iterator[tuple[list[Callback], recorder_lib.Start]]:
    """Provide the callbacks that write metrics, checkpoints and events of the block's training to the run folder.

    A warm start comes first, unless the run is resumed from a checkpoint; its weights are saved as those of step 0.
    """
    seed = context.seed
    recorder = recorder_lib.Recorder(config, seed, prepared.network.recommender, prepared.learner, selector, folder)
    start = recorder.start
    monitor = monitor_lib.TrainingMonitor(
        console.TrainingProgress(config.num_training_steps, seed, config.quiet, start.step),
        config.alarms,
        seed,
        folder,
        start.history,
        hyperparameters=monitor_lib.hyperparameters_of(config, seed, gin_config.bound_scalars()),
        learning_rate=lambda: monitor_lib.learning_rate_of(prepared.learner),
    )
    try:
        if config.warm_start is not None and not start.restored:
            _start_warm(config, prepared.network, context, folder)
            recorder.save(0)
        with signals.deferred():
            try:
                yield [recorder, monitor, *config.callbacks], start
            except (StoppedByAlarmError, TrainingStoppedError):  # --resume continues after this step
                recorder.save_last_step()
                raise
            recorder.save(config.num_training_steps)
    finally:
        monitor.close()
        recorder.close()


def evaluate_policies(
    config: ExperimentConfig,
    context: PolicyContext,
    network: SimulationNetwork,
    runtime: SeededRuntime,
    trained: Trained,
    timings: Timings,
    folder: str,
) -> Evaluation:
    """Compare all policies on the same fresh users; write their portraits and totals.

    Args:
      config: configuration of the experiment.
      context: the world.
      network: network of the learned policy; its weights are set.
      runtime: runtime of `network`.
      trained: training whose policies are evaluated as learned and learned_last.
      timings: timings to which the seconds of each policy are added.
      folder: the run folder.

    Returns:
      The evaluation, which lacks `corpus_seed`.
    """
    if not config.quiet:
        output.say(f"evaluating on {config.num_evaluation_users} fresh users")
    outcomes: dict[str, evaluator.Outcome] = {}
    left_out: dict[str, str] = {}
    full_information: list[str] = []
    of_learned = layout.read_json(folder, layout.WARM_START)
    details: dict[str, Any] = {LEARNED: of_learned} if of_learned else {}
    files = evaluation_files.EvaluationFiles(context, network.corpus)
    place = layout.Place(folder)

    def evaluate(name: str, runtime: evaluator.Rollouts) -> None:
        with timings.measured(name):
            outcomes[name] = evaluator.evaluate(
                runtime,
                horizon=config.horizon,
                num_users=config.num_evaluation_users,
                batch_size=context.batch_size,
                seed=context.seed,
                reducer=files.portrait_of(name),
            )
        if isinstance(runtime, SeededRuntime) and _sees_interest(runtime):
            full_information.append(name)

    context.learned_weights = trained.best
    with_weights(network, trained.best)
    evaluate(LEARNED, runtime)
    with_weights(network, trained.last)
    evaluate(LEARNED_LAST, runtime)
    if hasattr(network.recommender, "greedy"):
        greedy = with_weights(context.network(), trained.best)
        greedy.recommender.greedy = True
        evaluate(LEARNED_GREEDY, context.runtime(greedy))
    else:
        left_out[LEARNED_GREEDY] = f"{type(network.recommender).__name__} has no attribute greedy"
    for policy in config.policies:
        name = policy.name
        if not config.quiet:
            output.say(f"  {name}")
        try:
            with timings.measured(name):
                built = policy.build(context)
        except LeftOutError as error:
            left_out[name] = gin_config.first_line(error)
            continue
        evaluate(name, built.runtime or context.runtime(built.network))
        if built.sees_interest:
            full_information.append(name)
        if built.details:
            details[name] = evaluation_files.in_users_words(dict(built.details), network.corpus)
    policies = {name: evaluator.summary(outcome, outcomes[LEARNED]) for name, outcome in outcomes.items()}
    for name, reported in details.items():
        policies[name] = dataclasses.replace(policies[name], details=reported)
    place.raise_if_moved()
    files.write(folder, outcomes)
    # The price of partial observability is not defined for a learner that observes the interest.
    compared, position = dict(outcomes), price.position_of(network.recommender)
    if LEARNED in full_information:
        del compared[LEARNED]
    return Evaluation(
        policies=policies,
        left_out=left_out,
        full_information=full_information,
        price_of_partial_observability=price.price_of_partial_observability(compared, position),
        selection=Selection(best_step=trained.best_step, num_validation_users=config.num_validation_users),
        seed=context.seed,
        horizon=config.horizon,
        world=evaluation_files.world_of(network, runtime, context),
    )


def _sees_interest(runtime: SeededRuntime) -> bool:
    """Return whether the slates or the recommender's state are computed from the observed interest."""
    names = {variable.name for variable in runtime.variables}
    return any(
        fields.OBSERVED_INTEREST in runtime.flow(name).reads.get(fields.USER_OBSERVATION, ())
        for name in (fields.SLATE_DOCS, fields.RECOMMENDER_STATE)
        if name in names
    )
