"""Mode pretrain: trains a scorer on logs to predict the document that a user consumes next.

Over 350 lines, because the entry has many arguments, each documented and validated here, and one way through them.
"""

import contextlib
import dataclasses
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import tensorflow as tf

from recsys_po_rl import catalogue_corpus, gin_config, gin_state
from recsys_po_rl.common import output, validation
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.experiment import pretraining_progress, resume, signals
from recsys_po_rl.logs.columns import ColumnMap
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.reporting import pages, pretraining_text
from recsys_po_rl.run_folder import csv_tables, layout, policy_file
from recsys_po_rl.run_folder.pretraining_file import InversePropensity, LogSummary, Pretraining, UsersOfLog
from recsys_po_rl.simulation_config import SimulationNetwork, create_interest_evolution_simulation_network
from recsys_po_rl.training import optimizers, pretraining, sequences
from recsys_po_rl.training.examples import Examples
from recsys_po_rl.training.sequences import Sequences, Split, Weighting

MAX_SEED = 2**32 - 1  # of NumPy's legacy generator, which tf.keras seeds


class PretrainResult(NamedTuple):
    """Result of a pretraining."""

    record: Pretraining  # content of pretraining.json
    folder: str


@dataclasses.dataclass(frozen=True)
class _Config:
    """Validated arguments of `pretrain`, documented there."""

    log: Sequence[str]
    seed: int
    num_epochs: int
    batch_size: int
    patience: int
    validation_share: float
    test_share: float
    inverse_propensity: bool
    max_weight: float
    max_invalid_share: float
    columns: ColumnMap
    quiet: bool


class _Data(NamedTuple):
    """Sequences of a log, divided, weighted and as examples."""

    sequences: Sequences
    summary: LogSummary
    users: Split
    weighting: Optional[Weighting]
    training: Examples
    validation: Examples
    test: Examples


@gin_config.configurable
def pretrain(
    log: Optional[Union[str, Sequence[str]]] = None,
    output_dir: Optional[str] = None,
    seed: int = 0,
    num_epochs: int = 20,
    batch_size: int = 1024,
    optimizer: Callable[[], tf.keras.optimizers.Optimizer] = tf.keras.optimizers.Adam,
    patience: int = 2,
    validation_share: float = 0.1,
    test_share: float = 0.1,
    inverse_propensity: bool = False,
    max_weight: float = 10.0,
    max_invalid_share: float = 0.0,
    columns_ctor: Callable[[], ColumnMap] = ColumnMap,
    network_ctor: Callable[..., SimulationNetwork] = create_interest_evolution_simulation_network,
    quiet: bool = False,
) -> PretrainResult:
    """Train a scorer on the next document of each user of a log, and write a folder that an experiment can start from.

    The scorer is that of the recommender of `network_ctor`, so that the gin files of an experiment serve for both.
    Weights are initialised as in `experiment`. Metrics are means over test users, none of whose clicks the training
    or the stopping have seen.

    Args:
      log: path or paths of Parquet or CSV files, see `logs.reading`.
      output_dir: the folder; a new, time-stamped one under pretrainings/ if None.
      seed: of the weights, of the order of the examples and of the division of the users, 0 to 2**32 - 1.
      num_epochs: largest number of passes over the training users, at least 1.
      batch_size: consumed documents of an update, at least 1; scorers that carry a state read whole sequences of about
        as many.
      optimizer: constructor of a `tf.keras` optimizer.
      patience: epochs without a lower validation loss after which the training stops, at least 1.
      validation_share: share of the users for stopping, above 0.
      test_share: share of the users for the measures, above 0; some users must be left for training.
      inverse_propensity: whether the training and validation losses are weighted by inverse propensities.
      max_weight: largest weight, above 0; 1 is the weight of a document shown uniformly at random.
      max_invalid_share: share of invalid rows that are left out, 0 to 1; more of them stop the job.
      columns_ctor: constructor of the map of the files' columns.
      network_ctor: constructor of a network, called with num_users and corpus_seed.
      quiet: whether to print nothing.

    Returns:
      Content of pretraining.json, and the folder.

    Raises:
      InvalidInputError: one line, if an argument, a file or the scorer is invalid, raised before anything is written;
        or if a loss is not finite, or a file cannot be written.
    """
    gin_state.raise_if_not_writable()
    config = _validated(
        log=log, seed=seed, num_epochs=num_epochs, batch_size=batch_size, patience=patience,
        validation_share=validation_share, test_share=test_share, inverse_propensity=inverse_propensity,
        max_weight=max_weight, max_invalid_share=max_invalid_share, columns_ctor=columns_ctor, quiet=quiet,
    )  # fmt: skip
    layout.free_path(output_dir, UNDER)
    network = _network(validation.constructor("pretrain.network_ctor", network_ctor), config.seed)
    made_optimizer = optimizers.construct("pretrain.optimizer", optimizer)
    _raise_if_not_savable(network.recommender)
    model = pretraining.model_of(network.recommender.model)
    with signals.handled():
        data = _data(config, network)
        folder = layout.create(output_dir, UNDER)
        advice = "pretrain again, to another folder, when that is mended"
        with resume.exclusive_lock(folder), layout.errors_of(folder, advice):
            record = _run(config, network, model, made_optimizer, data, folder)
    if not config.quiet:
        output.say(f"\n{pretraining_text.table(record)}\n\nfiles: {folder}")
    return PretrainResult(record, folder)


UNDER = "pretrainings"  # parent of time-stamped folders


@gin_config.wrong_calls_in_one_line
def _validated(**given: Any) -> _Config:
    """Validate the arguments, as far as possible without files."""
    given = gin_state.plain(given)

    def integer(name: str, minimum: int) -> int:
        return validation.integer(f"pretrain.{name}", given[name], minimum)

    def share(name: str) -> float:
        return validation.number(f"pretrain.{name}", given[name], 0.0, 1.0, exclusive_minimum=True)

    if integer("seed", 0) > MAX_SEED:
        raise validation.InvalidInputError(f"pretrain.seed must be at most {MAX_SEED}, got {given['seed']}")
    if share("validation_share") + share("test_share") >= 1.0:
        raise validation.InvalidInputError(
            "pretrain.validation_share and test_share must be below 1 together, got "
            f"{given['validation_share']:g} and {given['test_share']:g}"
        )
    columns = validation.constructor("pretrain.columns_ctor", given["columns_ctor"])()
    if not isinstance(columns, ColumnMap):
        raise validation.InvalidTypeError(
            "pretrain.columns_ctor must make a ColumnMap (in gin: @recsys_po_rl.ColumnMap), got "
            f"{type(columns).__name__}"
        )
    return _Config(
        log=_paths(given["log"]),
        seed=given["seed"],
        num_epochs=integer("num_epochs", 1),
        batch_size=integer("batch_size", 1),
        patience=integer("patience", 1),
        validation_share=share("validation_share"),
        test_share=share("test_share"),
        inverse_propensity=validation.boolean("pretrain.inverse_propensity", given["inverse_propensity"]),
        max_weight=validation.number("pretrain.max_weight", given["max_weight"], 0.0, exclusive_minimum=True),
        max_invalid_share=validation.number("pretrain.max_invalid_share", given["max_invalid_share"], 0.0, 1.0),
        columns=columns,
        quiet=validation.boolean("pretrain.quiet", given["quiet"]),
    )


def _paths(log: Any) -> list[str]:
    paths = [log] if isinstance(log, (str, os.PathLike)) else log
    if not isinstance(paths, Sequence) or not paths or not all(isinstance(path, (str, os.PathLike)) for path in paths):
        raise validation.InvalidTypeError(
            "pretrain.log must be the path of a CSV or Parquet file, or a list of such paths, got "
            f"{validation.shown(log)}"
        )
    return [os.fspath(path) for path in paths]


@gin_config.wrong_calls_in_one_line
def _network(network_ctor: Callable[..., SimulationNetwork], seed: int) -> SimulationNetwork:
    """Build a network with freshly initialised weights; the states of Python's and NumPy's generators are restored."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        tf.keras.utils.set_random_seed(seed)
        return network_ctor(num_users=1, corpus_seed=seed)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def _raise_if_not_savable(recommender: Any) -> None:
    """Raise for a recommender whose scorer could not be saved after the training."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        policy_file.save(folder, recommender)
        if not os.path.exists(os.path.join(folder, layout.POLICY)):
            reasons = [str(warning.message) for warning in caught if layout.POLICY in str(warning.message)]
            raise validation.InvalidInputError(
                reasons[0] if reasons else f"{type(recommender).__name__} has no Keras model as its scorer"
            )


def _data(config: _Config, network: SimulationNetwork) -> _Data:
    """Read the log, and make examples of it."""
    scorer, sizes = network.recommender.model, network.config
    builder = sequences.SequenceBuilder(sizes["slate_size"] if pretraining.keeps_slates(scorer) else None)
    for rows in _rows(config, network):
        builder.add(rows)
    num_rows = builder.num_rows
    of_users = builder.finish()
    users = _users(config, of_users)
    weighting = None
    weights = of_users.is_click.astype(np.float32)
    if config.inverse_propensity:
        weighting = sequences.inverse_propensity_weights(of_users, users.training, sizes["num_docs"], config.max_weight)
        weights = weighting.weights
    training, held_out, test = (
        pretraining.examples_for(scorer, of_users, part, weights, sizes["history_length"], config.batch_size)
        for part in users
    )
    if not config.quiet:
        output.say(f"{num_rows:,} rows, {len(of_users.user_ids):,} users, {of_users.is_click.sum():,} clicks")
    counts = UsersOfLog(training=len(users.training), validation=len(users.validation), test=len(users.test))
    summary = LogSummary(num_rows=num_rows, num_clicks=int(of_users.is_click.sum()), num_users=counts)
    return _Data(of_users, summary, users, weighting, training, held_out, test)


def _rows(config: _Config, network: SimulationNetwork) -> Iterable[Interactions]:
    """Validate the log, and return its rows in batches; labels of documents are those of a table corpus, if any."""
    from recsys_po_rl.logs import reading  # pyarrow, of the extra `data`, is needed here only

    has_labels = config.columns.item_table is not None
    log = reading.open_interactions(
        config.log,
        columns=config.columns,
        num_docs=network.config["num_docs"],
        max_invalid_share=config.max_invalid_share,
        item_ids=catalogue_corpus.document_ids(network.corpus) if has_labels else None,
    )
    return log.batches()


def _users(config: _Config, of_users: Sequences) -> Split:
    """Divide the users with at least one click."""
    clicks = np.add.reduceat(of_users.is_click.astype(np.int64), of_users.first[:-1])
    parts = sequences.split(of_users.user_ids, config.seed, config.validation_share, config.test_share)
    users = Split(*(part[clicks[part] > 0] for part in parts))
    for name, part in users._asdict().items():
        if len(part) < 2:
            raise validation.InvalidInputError(
                f"the log has {(clicks > 0).sum()} users with a click, {len(part)} of them for {name}: each of "
                "training, validation and test needs two (pretrain.validation_share, test_share, seed)"
            )
    return users


def _run(
    config: _Config,
    network: SimulationNetwork,
    model: pretraining.NextDocumentModel,
    optimizer: tf.keras.optimizers.Optimizer,
    data: _Data,
    folder: str,
) -> Pretraining:
    """Train, measure, and write all files; the mark of a finished job comes last."""
    place = layout.Place(folder)
    layout.write_text(folder, layout.CONFIG, gin_config.config_text())
    arguments = resume.fingerprint({f"pretrain.{name}": value for name, value in vars(config).items()})
    environment = dataclasses.replace(layout.environment([config.seed]), arguments=arguments)
    layout.write_json(folder, layout.ENVIRONMENT, environment.to_json())
    seconds: dict[str, float] = {}
    with _measured(seconds, "training"):
        fitted = _fit(config, model, optimizer, data, folder)
    with _measured(seconds, "measures"):
        counts = pretraining.popularity(data.sequences, data.users.training, network.config["num_docs"])
        means = pretraining.user_means(model, data.test, counts)
    place.raise_if_moved()
    policy_file.save(folder, network.recommender)
    record = Pretraining(
        scorer=type(network.recommender.model).__name__,
        num_docs=network.config["num_docs"],
        history_length=network.config["history_length"],
        seed=config.seed,
        log=data.summary,
        num_epochs=len(fitted.epochs),
        best_epoch=fitted.best_epoch,
        weights=policy_file.weights_hash(folder),
        measures=_intervals(pretraining.estimates(means)),
        scorer_minus=_intervals(pretraining.differences(means)),
        inverse_propensity=_weighting_record(config, data.weighting),
    )
    layout.write_json(folder, layout.PRETRAINING, record.to_json())
    layout.write_text(folder, layout.OPERATIVE_CONFIG, gin_config.operative_config_text())
    layout.write_json(folder, layout.TIMINGS, seconds)
    pages.report(folder)
    place.raise_if_moved()
    layout.mark_finished(folder)
    return record


def _fit(
    config: _Config,
    model: pretraining.NextDocumentModel,
    optimizer: tf.keras.optimizers.Optimizer,
    data: _Data,
    folder: str,
) -> pretraining.Fitted:
    """Train, with a line of pretraining.csv for each epoch."""
    table = csv_tables.CsvLogger(os.path.join(folder, layout.PRETRAINING_EPOCHS))
    progress = pretraining_progress.PretrainingProgress(config.num_epochs, data.training.num_batches, config.quiet)
    started = time.perf_counter()

    def on_epoch(epoch: pretraining.Epoch) -> None:
        table.write({**epoch._asdict(), "elapsed_seconds": time.perf_counter() - started})
        progress.end_epoch(epoch)

    try:
        return pretraining.fit(
            model,
            data.training,
            data.validation,
            optimizer,
            num_epochs=config.num_epochs,
            patience=config.patience,
            seed=config.seed,
            on_epoch=on_epoch,
            callbacks=[progress],
        )
    finally:
        progress.close()
        table.close()


def _intervals(estimates: pretraining.Estimates) -> dict[str, dict[str, MeanInterval]]:
    return {
        name: {measure: MeanInterval.from_estimate(estimate) for measure, estimate in by_measure.items()}
        for name, by_measure in estimates.items()
    }


def _weighting_record(config: _Config, weighting: Optional[Weighting]) -> Optional[InversePropensity]:
    if weighting is None:
        return None
    return InversePropensity(
        max_weight=config.max_weight,
        share_clipped=weighting.share_clipped,
        effective_sample_size=weighting.effective_sample_size,
    )


@contextlib.contextmanager
def _measured(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Add the block's time to a part."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] = time.perf_counter() - started
