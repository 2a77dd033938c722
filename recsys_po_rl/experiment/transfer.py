"""Mode evaluate: evaluates a trained policy on other users, another horizon, or another world.

Over 350 lines: a run folder is read, checked and evaluated step by step, as hostile input.
"""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import gin
import numpy as np
import tensorflow as tf

from recsys_po_rl import gin_config, gin_state, gin_text
from recsys_po_rl.common import output, regular_files, validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import resume, single_seed
from recsys_po_rl.experiment import run as run_lib
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.experiment.single_seed import Trained
from recsys_po_rl.reporting import figures, tables
from recsys_po_rl.run_folder import checkpoints, layout, schema
from recsys_po_rl.run_folder.schema import Change, Evaluation, LearnedWhereTrained

EVALUATIONS = "evaluations"  # subfolder of the run folder that holds time-stamped folders
# Parts of names of bindings that do not affect an evaluation.
_ELSEWHERE = (
    "learner_ctor",
    "num_training_steps",
    "users_per_step",
    "num_shards",
    "checkpoint_every",
    "validat",
    "warm_start",
    "pretrained",
)
_TABLE = "corpus.table"  # entry of a world, see `TableCorpus.world_parameters`


class EvaluationResult(NamedTuple):
    """Result of an evaluation."""

    evaluation: dict[str, Any]  # as in evaluation.json
    folder: str


class Source(NamedTuple):
    """Trained policy and its origin."""

    folder: str  # run folder of one seed
    seed: int
    world_seed: int
    run: str  # identity, see `layout.environment`


def evaluate(
    run: str,
    gin_files: Sequence[str] = (),
    gin_bindings: Sequence[str] = (),
    output_dir: Optional[str] = None,
    quiet: bool = False,
) -> EvaluationResult:
    """Evaluate the policy of a run, in the run's configuration with changed bindings.

    Without changes the evaluation uses the users of the run's own evaluation and reproduces its numbers. A single seed
    bound in `experiment.seeds`, other than the run's, selects that seed's users; `experiment.corpus_seed` selects
    another corpus. The policies for comparison are built again, in the world of the evaluation. All previous gin
    bindings are cleared, and the run's gin scope is active.

    A run folder may come from an untrusted source: a module that its config.gin imports is not imported, unless it is
    already loaded, or gin_files or gin_bindings import it too.

    Args:
      run: run folder of one or several seeds; only `evaluations/` is written.
      gin_files: gin files read after the run's config.gin.
      gin_bindings: gin bindings applied after the files.
      output_dir: folder of the results; None: a time-stamped folder in the run's `evaluations/`.
      quiet: whether to print nothing.

    Returns:
      Content of evaluation.json, with `trained_in` and `evaluated_in` (worlds, see `evaluation_files.world_of`) and
      `changed`, a list of the bindings that differ from the training, each with name, trained and evaluated (text;
      None: not bound).

    Raises:
      InvalidInputError: one line, if the folder does not hold a policy, the policy does not fit the world, a binding is
        invalid, or config.gin needs a module that is not imported.
    """
    with opened_run(run, gin_files, gin_bindings, quiet) as loaded:
        under = os.path.join(run, EVALUATIONS)
        layout.free_path(output_dir, under)
        jobs = loaded.restored()
        folder = layout.create(output_dir, under)
        with (
            resume.exclusive_lock(folder),
            layout.errors_of(folder, "evaluate again, to another folder, when that is mended"),
        ):
            evaluation = _evaluate_all(loaded, jobs, folder)
        if not quiet:
            output.say(f"\n{tables.which_is_which(evaluation, run)}\n\n{tables.policy_table(evaluation)}")
            price_of = tables.price_lines(evaluation)
            output.say(f"\n{price_of}\n\nfiles: {folder}" if price_of else f"\nfiles: {folder}")
        return EvaluationResult(evaluation.to_json(), folder)


def parse_config(folder: str, gin_bindings: Sequence[str]) -> None:
    """Read a folder's config.gin, then bindings, into gin; the folder may come from an untrusted source.

    Args:
      folder: folder with config.gin.
      gin_bindings: gin bindings applied after the file.

    Raises:
      InvalidInputError: one line, if config.gin cannot be read, includes a file, or needs a module that is not
        imported, or a binding is invalid.
    """
    text = _read(folder, layout.CONFIG)
    _import_own_modules((), gin_bindings)
    _raise_if_not_imported(folder, text)
    gin_config.parse([os.path.join(folder, layout.CONFIG)], gin_bindings)


class Job(NamedTuple):
    """Trained policy and the world in which it acts."""

    source: Source
    seed: int  # of the users
    world_seed: int
    trained: Trained


class LoadedRun(NamedTuple):
    """Run folder whose configuration gin holds, with changed bindings."""

    config: ExperimentConfig
    sources: list[Source]
    trained_text: str  # content of the run's config.gin
    before: Mapping[str, str]  # bindings of the training
    after: Mapping[str, str]

    @property
    def changed(self) -> list[Change]:
        """Bindings that differ from the training and can affect an evaluation."""
        return _changes(self.before, self.after)

    def raise_if_several_seeds(self, what: str) -> None:
        """Validate that the folder is of one seed.

        Args:
          what: result that needs it, such as "a log".

        Raises:
          InvalidInputError: one line that names the folders of the seeds.
        """
        if len(self.sources) > 1:
            run = os.path.dirname(self.sources[0].folder)
            parts = ", ".join(os.path.basename(source.folder) for source in self.sources)
            raise validation.InvalidInputError(f"{what} is of one seed: choose a folder of {run!r}: {parts}")

    def restored(self) -> list[Job]:
        """Return the trained policies, in the order of the run's seeds.

        Raises:
          InvalidInputError: one line, if there is no policy, or it does not fit the world.
        """
        return [
            Job(
                source,
                *_seeds_of_users(source, self.config, self.before, self.after, len(self.sources)),
                _restored(self.config, source),
            )
            for source in self.sources
        ]


@contextlib.contextmanager
def opened_run(run: str, gin_files: Sequence[str], gin_bindings: Sequence[str], quiet: bool) -> Iterator[LoadedRun]:
    """Load the configuration of a run into gin, with changed bindings; see `evaluate` for arguments and errors.

    Within the block, the run's gin scope is active.

    Yields:
      The run.
    """
    sources = _sources(run)
    trained_text = _read(run, layout.CONFIG)
    _import_own_modules(gin_files, gin_bindings)
    _raise_if_not_imported(run, trained_text)
    with gin.unlock_config():
        gin.clear_config()
    with gin.config_scope(_scope(run)):
        yield _loaded(run, sources, trained_text, gin_files, gin_bindings=gin_bindings, quiet=quiet)


def _loaded(
    run: str,
    sources: list[Source],
    trained_text: str,
    gin_files: Sequence[str],
    *,
    gin_bindings: Sequence[str],
    quiet: bool,
) -> LoadedRun:
    """Load in the scope of the run; requires that all modules its config.gin names are already imported."""
    try:
        gin_config.parse([os.path.join(run, layout.CONFIG)], [])
    except validation.InvalidInputError as error:
        if "No configurable matching" not in str(error):
            raise
        raise validation.InvalidInputError(
            f"{gin_config.first_line(error)}: if that is your own, import the module that registers it, with "
            "--gin_bindings 'import MODULE'; if a script defines it, call evaluate in that script"
        ) from error
    before = gin_text.bindings(gin_config.config_text())
    _raise_if_not_bound(run)
    gin_config.parse(gin_files, gin_bindings)
    gin_state.raise_if_not_writable()
    after = gin_text.bindings(gin_config.config_text())
    config = config_lib.validated(**{**config_lib.bound_for_evaluation(run_lib.experiment), "quiet": quiet})
    return LoadedRun(config, sources, trained_text, before, after)


def _evaluate_all(loaded: LoadedRun, jobs: Sequence[Job], folder: str) -> Evaluation:
    """Evaluate all policies and write all files; return the evaluation, pooled over several seeds."""
    evaluations = []
    place = layout.Place(folder)
    for source, seed, world_seed, trained in jobs:
        part = folder if len(jobs) == 1 else os.path.join(folder, os.path.basename(os.path.normpath(source.folder)))
        place.raise_if_moved()
        if part != folder:
            layout.make_subfolder(*os.path.split(part))
        evaluated = _evaluated(loaded.config, seed, world_seed, trained, part)
        evaluations.append(_with_origin(evaluated, source, loaded.changed, trained))
        place.raise_if_moved()
        layout.write_json(part, layout.EVALUATION, evaluations[-1].to_json())
    evaluation = evaluations[0]
    if len(jobs) > 1:
        evaluation = dataclasses.replace(run_lib.pooled(evaluations), changed=evaluations[0].changed)
        layout.write_text(folder, layout.CONFIG, gin_config.config_text())
        layout.write_json(
            folder, layout.ENVIRONMENT, layout.environment([source.seed for source, *_ in jobs]).to_json()
        )
        layout.write_json(folder, layout.EVALUATION, evaluation.to_json())
    layout.write_text(folder, "trained_config.gin", loaded.trained_text)
    figures.save_price_figure(evaluation, folder)
    return evaluation


def _sources(run: str) -> list[Source]:
    """Return the policies in a run folder, in the order of its seeds."""
    if not isinstance(run, (str, os.PathLike)) or not os.path.isdir(run):
        raise validation.InvalidInputError(f"there is no run folder {validation.shown(run, validation.MAX_PATH_SHOWN)}")
    environment = _environment(run)
    seeds = environment.seeds or []
    folders = [run] if len(seeds) == 1 else [os.path.join(run, f"seed_{seed}") for seed in seeds]
    sources = []
    for folder, seed in zip(folders, seeds):
        own = environment if folder == run else _environment(folder)
        _own_evaluation(folder)  # raises for a damaged file before anything is built
        sources.append(Source(folder, seed, seed if own.corpus_seed is None else own.corpus_seed, own.run or ""))
    return sources


def _environment(folder: str) -> schema.Environment:
    """Read environment.json; it must have seeds."""
    content = layout.read_json(folder, layout.ENVIRONMENT)
    if not content or not content.get("seeds"):
        raise validation.InvalidInputError(f"{folder!r} is no run folder: it has no whole {layout.ENVIRONMENT}")
    return schema.Environment.from_json(content, f"{folder!r}: {layout.ENVIRONMENT}: ")


def _read(folder: str, name: str) -> str:
    try:
        return regular_files.text(os.path.join(folder, name))
    except (FileNotFoundError, validation.InvalidInputError) as error:
        raise validation.InvalidInputError(f"{folder!r} is no run folder: {name} cannot be read") from error


def _import_own_modules(gin_files: Sequence[str], gin_bindings: Sequence[str]) -> None:
    """Import the modules that the user's files and bindings import, so that the run's config.gin can refer to them."""
    modules: list[str] = []
    folders = ["", gin_config.configs_dir()]
    with contextlib.suppress(ValueError, OSError):  # gin reads a missing or invalid file again and reports the error
        for path in gin_files:
            modules.extend(gin_text.file_imports(path, folders))
        for binding in gin_bindings:
            modules.extend(gin_text.imports(binding, folders))
    for module in modules:
        gin_config.import_module(module)


def _raise_if_not_imported(run: str, text: str) -> None:
    """Raise if config.gin would import a module or read a file: the folder may come from an untrusted source."""
    try:
        modules = gin_text.imports(text)
    except validation.InvalidInputError as error:
        raise validation.InvalidInputError(f"{run!r}: {layout.CONFIG}: {gin_config.first_line(error)}") from error
    for module in modules:
        if module.startswith("__gin__."):
            raise validation.InvalidInputError(
                f"{run!r}: {layout.CONFIG} uses gin's {module.removeprefix('__gin__.')}, with which a file can name "
                "any function: it is not read; register your classes with gin.configurable and import their module"
            )
        if module not in sys.modules:
            raise validation.InvalidInputError(
                f"{run!r}: {layout.CONFIG} needs the module {module!r}, and a run folder has nothing imported: "
                f"if you trust that module, add --gin_bindings 'import {module}'"
            )


def _scope(run: str) -> list[str]:
    """Return the names of the gin scope that was active when the run began."""
    recorded = (_environment(run).arguments or {}).get("experiment.gin_scope", "''")
    match = re.fullmatch(r"'((?:\w[\w.]*(?:/\w[\w.]*)*)?)'", recorded)
    if not match:
        raise validation.InvalidInputError(
            f"{run!r}: {layout.ENVIRONMENT}: experiment.gin_scope must be names with '/' between"
        )
    return match.group(1).split("/") if match.group(1) else []


def _raise_if_not_bound(run: str) -> None:
    """Raise if the run has arguments that its config.gin lacks, as a run started from Python can have."""
    given = _environment(run).arguments or {}
    known = config_lib.validated(**config_lib.bound_for_evaluation(run_lib.experiment)).fingerprint
    lacking = [name for name in known if name in given and given[name] != known[name]]
    if lacking:
        raise validation.InvalidInputError(
            f"{run!r} was made with arguments that its {layout.CONFIG} does not have ({', '.join(lacking)}): "
            "bind them with gin to evaluate it here"
        )


def _seeds_of_users(
    source: Source,
    config: ExperimentConfig,
    before: Mapping[str, str],
    after: Mapping[str, str],
    num_sources: int,
) -> tuple[int, int]:
    """Return the seeds of users and corpus of an evaluation: those of the training, unless bindings change them."""
    seeds, corpus_seed = (f"{gin_config.MODULE}.experiment.{name}" for name in ("seeds", "corpus_seed"))
    seed, world_seed = source.seed, source.world_seed
    if before.get(seeds) != after.get(seeds):
        if len(config.seeds) > 1:
            raise validation.InvalidInputError(
                f"experiment.seeds must be the run's own, or one seed, whose users the policies meet, "
                f"got {config.seeds} for {num_sources} trained"
            )
        seed = config.seeds[0]
    if before.get(corpus_seed) != after.get(corpus_seed) and after.get(corpus_seed) != "None":
        world_seed = config.world_seed(seed)
    return seed, world_seed


def _restored(config: ExperimentConfig, source: Source) -> Trained:
    """Restore the weights of the last and the best policy, for a network of the world of the evaluation."""
    search = checkpoints.find(source.folder, source.run)
    if not search.whole:
        raise validation.InvalidInputError(f"{source.folder!r} has no whole checkpoint: there is no policy to evaluate")
    checkpoint = search.whole[0]
    recommender = config.network_ctor(num_users=config.evaluation_batch_size, corpus_seed=source.world_seed).recommender
    best = [tf.Variable(tf.zeros_like(weight)) for weight in recommender.variables]
    try:
        with checkpoints.readable(checkpoint.path) as path:
            status = tf.train.Checkpoint(recommender=recommender, best_weights=best).restore(path)
            status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        why = " ".join(str(error).split())[:200]
        raise validation.InvalidInputError(
            f"the policy of {source.folder!r} does not fit this network (documents, embeddings and model must be as "
            f"trained): {why}"
        ) from error
    last: list[np.ndarray] = [weight.numpy() for weight in recommender.variables]
    best_step = checkpoint.state.get("best_step")
    if best_step is None:
        return Trained([], last, checkpoint.step, last)
    return Trained([], [weight.numpy() for weight in best], int(best_step), last)


def _evaluated(config: ExperimentConfig, seed: int, world_seed: int, trained: Trained, folder: str) -> Evaluation:
    """Evaluate one policy and return the evaluation; write the other files into an existing folder."""
    network = config.network_ctor(num_users=config.evaluation_batch_size, corpus_seed=world_seed)
    context = single_seed.policy_context(config, seed, world_seed, network.config)
    timings = single_seed.Timings()
    layout.write_text(folder, layout.CONFIG, gin_config.config_text())
    environment = dataclasses.replace(layout.environment([seed]), corpus_seed=world_seed)
    layout.write_json(folder, layout.ENVIRONMENT, environment.to_json())
    runtime = context.runtime(network)
    evaluation = single_seed.evaluate_policies(config, context, network, runtime, trained, timings, folder)
    layout.write_text(folder, layout.OPERATIVE_CONFIG, gin_config.operative_config_text())
    layout.write_json(folder, layout.TIMINGS, timings.seconds)
    return dataclasses.replace(evaluation, corpus_seed=world_seed)


def _with_origin(evaluation: Evaluation, source: Source, changed: list[Change], trained: Trained) -> Evaluation:
    """Return the evaluation with the entries that the one of a training lacks."""
    own = _own_evaluation(source.folder)
    changed = [*changed, *_changed_table((own.world or {}) if own else {}, evaluation.world or {})]
    known = None if own is None else own.policies.get(single_seed.LEARNED)
    learned = None
    if own is not None and known is not None and own.horizon is not None:
        learned = LearnedWhereTrained(
            mean=known.mean, interval95=known.interval95, num_users=known.num_users, horizon=own.horizon
        )
    trained_in = {} if own is None or own.world is None else own.world
    return dataclasses.replace(
        evaluation,
        trained_seed=source.seed,
        trained_in={**trained_in, "corpus_seed": source.world_seed},
        evaluated_in={**(evaluation.world or {}), "corpus_seed": evaluation.corpus_seed},
        changed=changed,
        learned_where_it_was_trained=learned,
        best_step=trained.best_step,
    )


def _changed_table(trained_in: Mapping[str, Any], evaluated_in: Mapping[str, Any]) -> list[Change]:
    """Return an entry of `changed` if a table of documents has other content than in the training."""
    then, now = (world.get(_TABLE) for world in (trained_in, evaluated_in))
    if then is None or now is None or then == now:
        return []
    return [Change(name="table of documents", trained=then, evaluated=now)]


def _own_evaluation(folder: str) -> Optional[Evaluation]:
    """Return the evaluation at the end of the training; None if the training did not reach its end."""
    try:
        return schema.read(os.path.join(folder, layout.EVALUATION))
    except FileNotFoundError:
        return None


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """Return the bindings that differ from the training and can affect an evaluation."""
    prefix = f"{gin_config.MODULE}."
    return [
        Change(name=name.removeprefix(prefix), trained=before.get(name), evaluated=after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name) and not any(part in name for part in _ELSEWHERE)
    ]
