"""Mode log: writes interactions of fresh users with the policies of a run, with exact propensities."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl import catalogue_corpus, fields, gin_config
from recsys_po_rl.common import output, validation
from recsys_po_rl.evaluation.evaluator import BATCHES_AT_ONCE, Rollouts
from recsys_po_rl.evaluation.propensities import Propensities, SlatePropensities
from recsys_po_rl.experiment import actors, evaluation_files, resume, single_seed, transfer
from recsys_po_rl.logs import writing
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.policies.base import LeftOutError, PolicyContext
from recsys_po_rl.run_folder import layout
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork

LOGS = "logs"  # subfolder of the run folder that holds time-stamped folders
LOG = "log.parquet"
PURPOSE = "log"  # of the users, see `seeding.make_keys`
MAX_DOCUMENTS = 100_000  # whose fields stand in the metadata
_SHOWN = {fields.SLATE_DOCS: [fields.DOC_ID], fields.USER_RESPONSE: [fields.CHOICE, fields.CONSUMED_TIME]}


class LogResult(NamedTuple):
    """Log that was written."""

    path: str
    num_rows: int
    unknown: dict[str, str]  # policies whose propensities are unknown, with the reasons


class _Actor(NamedTuple):
    """Policy that acts on a number of users."""

    name: str
    rollouts: Rollouts
    propensities: Optional[SlatePropensities]  # None: it acts outside of the network
    num_users: int

    @property
    def unknown_because(self) -> Optional[str]:
        """Reason for which propensities are unknown."""
        return "it acts outside of the network" if self.propensities is None else self.propensities.unknown_because


def write_log(
    run: str,
    num_users: int,
    policies: Sequence[str] = (single_seed.LEARNED,),
    gin_files: Sequence[str] = (),
    gin_bindings: Sequence[str] = (),
    output_dir: Optional[str] = None,
    quiet: bool = False,
) -> LogResult:
    """Write a log of fresh users, who are neither those of the training nor of an evaluation.

    The users are split evenly between the policies, and no two policies meet the same users. User i of the log, and the
    user's random draws, depend on the seed, the batch size and the place of the policy alone. Memory does not grow with
    the number of users. As in `transfer.evaluate`, all previous gin bindings are cleared, and a run folder may come
    from an untrusted source.

    Args:
      run: run folder of one seed.
      num_users: N, users of the log, at least one for each policy.
      policies: learned, learned_last, learned_greedy, and names of `experiment.policies`, all different.
      gin_files: gin files read after the run's config.gin.
      gin_bindings: gin bindings applied after the files, for instance of `experiment.horizon` or `experiment.policies`.
      output_dir: folder of the log; None: a time-stamped folder in the run's `logs/`.
      quiet: whether to print nothing.

    Returns:
      Path and size of the log.

    Raises:
      InvalidInputError: one line, if pyarrow is not installed, the folder does not hold a policy of one seed, a policy
        is not known or cannot be built, or an argument is invalid.
    """
    num_users = validation.integer("users", num_users, 1)
    with transfer.opened_run(run, gin_files, gin_bindings, quiet) as loaded:
        loaded.raise_if_several_seeds("a log")
        names = actors.checked_names(policies, loaded.config)
        if num_users < len(names):
            raise validation.InvalidInputError(f"users must be at least the number of policies, {len(names)}")
        under = os.path.join(run, LOGS)
        path = os.path.join(layout.free_path(output_dir, under), LOG)
        writing.InteractionWriter(path)  # raises before policies are built, which can take minutes
        (job,) = loaded.restored()
        network = loaded.config.network_ctor(num_users=loaded.config.evaluation_batch_size, corpus_seed=job.world_seed)
        context = single_seed.policy_context(loaded.config, job.seed, job.world_seed, network.config)
        context.learned_weights = job.trained.best
        shares = [num_users // len(names) + (place < num_users % len(names)) for place in range(len(names))]
        logging_actors = [
            _logging_actor(actors.build(name, context, loaded.config, job.trained), share)
            for name, share in zip(names, shares)
        ]
        folder = layout.create(output_dir, under)
        with (
            resume.exclusive_lock(folder),
            layout.errors_of(folder, "write the log again, to another folder, when that is mended"),
        ):
            metadata = _metadata(context, network, job, logging_actors)
            with writing.InteractionWriter(os.path.join(folder, LOG), metadata, whole_users=True) as writer:
                _write_all(writer, logging_actors, context, quiet)
            layout.write_text(folder, "log_config.gin", gin_config.config_text())
        result = LogResult(
            os.path.join(folder, LOG),
            writer.num_rows,
            {actor.name: actor.unknown_because for actor in logging_actors if actor.unknown_because is not None},
        )
    if not quiet:
        for name, reason in result.unknown.items():
            output.say(f"the propensities of {name} are unknown: {reason}")
        output.say(f"log: {result.path} ({result.num_rows} rows of {num_users} users)")
    return result


def interactions_of(
    trajectory: Mapping[str, Any], propensities: Optional[Propensities], policy: str, first_user: int, num_users: int
) -> Interactions:
    """Return the rows of a batch of users, by user, step and slot; empty slots have no row.

    Args:
      trajectory: stacked fields [T, U, ...]: doc_id of the slates; choice and consumed_time of the responses.
      propensities: propensities of the slates; None: unknown.
      policy: name of the policy.
      first_user: id of the first user.
      num_users: users of the batch that count, from the first.
    """
    ids = np.asarray(trajectory[fields.SLATE_DOCS].get(fields.DOC_ID))[:, :num_users]
    choice = np.asarray(trajectory[fields.USER_RESPONSE].get(fields.CHOICE))[:, :num_users]
    time = np.asarray(trajectory[fields.USER_RESPONSE].get(fields.CONSUMED_TIME))[:, :num_users]
    shape = ids.shape
    slot = np.broadcast_to(np.arange(shape[2], dtype=np.int32), shape)
    clicked = slot == choice[..., np.newaxis]
    time = np.maximum(time, 0.0)  # a negative time counts as 0, as in the reward (`metrics`)
    nan = np.full(shape, np.nan)
    joint, prefix, item = (
        (nan, nan, nan)
        if propensities is None
        else (
            np.broadcast_to(propensities.joint[:, :num_users, np.newaxis], shape),
            propensities.prefix[:, :num_users],
            propensities.item[:, :num_users],
        )
    )

    def rows(values: np.ndarray, dtype: Any) -> np.ndarray:
        return np.swapaxes(values, 0, 1).astype(dtype).ravel()

    step = np.broadcast_to(np.arange(shape[0])[:, np.newaxis, np.newaxis], shape)
    user = np.broadcast_to(first_user + np.arange(shape[1])[:, np.newaxis], shape)
    log = Interactions(
        user_id=rows(user, np.int64),
        step=rows(step, np.int32),
        slot=rows(slot, np.int32),
        item_id=rows(ids, np.int32),
        clicked=rows(clicked, bool),
        consumed_time=rows(np.where(clicked, time[..., np.newaxis], 0.0), np.float32),
        propensity=rows(joint, np.float64),
        propensity_prefix=rows(prefix, np.float64),
        propensity_item=rows(item, np.float64),
        policy=np.full(ids.size, policy, object),
    )
    shown = log.item_id != fields.NULL_DOC_ID
    return log if shown.all() else log.take(shown)


def _logging_actor(actor: actors.Actor, num_users: int) -> _Actor:
    if actor.network is None or not isinstance(actor.rollouts, SeededRuntime):
        return _Actor(actor.name, actor.rollouts, None, num_users)
    propensities = SlatePropensities(actor.network.variables, actor.rollouts)
    return _Actor(actor.name, actor.rollouts, propensities, num_users)


def _write_all(
    writer: writing.InteractionWriter, logging_actors: Sequence[_Actor], context: PolicyContext, quiet: bool
) -> None:
    first_user, first_batch = 0, 0
    for actor in logging_actors:
        record = {name: list(names) for name, names in _SHOWN.items()}
        known = actor.propensities is not None and actor.propensities.unknown_because is None
        if known and actor.propensities is not None:
            for name, names in actor.propensities.record.items():
                record[name] = sorted({*record.get(name, ()), *names})
        num_batches = -(-actor.num_users // context.batch_size)
        for first in range(0, num_batches, BATCHES_AT_ONCE):
            together = range(first, min(first + BATCHES_AT_ONCE, num_batches))
            keys = [seeding.make_keys(context.seed, PURPOSE, batch=first_batch + batch) for batch in together]
            for batch, trajectory in zip(together, actor.rollouts.trajectories(context.horizon, keys, record=record)):
                propensities = actor.propensities.of_slates(trajectory) if known and actor.propensities else None
                start = batch * context.batch_size
                counting = min(context.batch_size, actor.num_users - start)
                writer.write(interactions_of(trajectory, propensities, actor.name, first_user + start, counting))
            if not quiet:
                done = min((together[-1] + 1) * context.batch_size, actor.num_users)
                output.say(f"{actor.name}: {done} of {actor.num_users} users")
        first_user += actor.num_users
        first_batch += num_batches


def _metadata(
    context: PolicyContext, network: SimulationNetwork, job: transfer.Job, logging_actors: Sequence[_Actor]
) -> dict[str, Any]:
    """Return the metadata of a log; docs/logs.md describes them."""
    documents: dict[str, Any] = {"num_docs": context.config["num_docs"]}
    ids = catalogue_corpus.document_ids(network.corpus)
    if context.config["num_docs"] <= MAX_DOCUMENTS:
        try:
            of_world = context.documents().at(fields.DOC_TOPIC, fields.DOC_QUALITY, fields.DOC_LENGTH).as_dict
            documents.update({name: tf.convert_to_tensor(values).numpy().tolist() for name, values in of_world.items()})
        except LeftOutError:
            pass  # a corpus that is not static has no documents before its users
        if ids is not None:
            documents["document_ids"] = list(ids)
    return {
        "schema_version": 1,
        "documents": documents,
        "world": evaluation_files.world_of(network, context.runtime(network), context),
        "seed": job.seed,
        "corpus_seed": job.world_seed,
        "trained_seed": job.source.seed,
        "horizon": context.horizon,
        "slate_size": context.config["slate_size"],
        "history_length": context.config["history_length"],
        "policies": [{"name": actor.name, "num_users": actor.num_users} for actor in logging_actors],
        "unknown_propensities": {a.name: a.unknown_because for a in logging_actors if a.unknown_because is not None},
        "config": gin_config.config_text(),
        "versions": layout.versions(),
    }
