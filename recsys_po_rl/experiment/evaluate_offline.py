"""Mode evaluate_offline: estimates the value of a run's learned policy from a log of other policies."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import formatting, output, validation
from recsys_po_rl.evaluation import fitted_values, statistics
from recsys_po_rl.evaluation.logged_replay import HistoryReplay, LoggedHistories, Replayed
from recsys_po_rl.evaluation.offline import LoggedTrajectories
from recsys_po_rl.evaluation.offline_evaluation import OfflineEstimate, OfflineEvaluation
from recsys_po_rl.evaluation.offline_slates import LoggedSlates, SlatePropensities
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.experiment import resume, selection, single_seed, transfer
from recsys_po_rl.logs import reading, trajectories
from recsys_po_rl.logs.trajectories import Trajectories
from recsys_po_rl.reporting import tables
from recsys_po_rl.run_folder import layout, offline_schema, schema
from recsys_po_rl.run_folder.offline_schema import OfflineResults

OFFLINE_EVALUATIONS = "offline_evaluations"  # subfolder of the run folder that holds time-stamped folders


class OfflineEvaluationResult(NamedTuple):
    """Result of an offline evaluation."""

    results: OfflineResults
    folder: str


def evaluate_offline(
    log: str,
    policy: str,
    gin_files: Sequence[str] = (),
    gin_bindings: Sequence[str] = (),
    output_dir: Optional[str] = None,
    quiet: bool = False,
) -> OfflineEvaluationResult:
    """Estimate the reward of a run's learned policy from a log, with all estimators that apply.

    The policy's recommender is replayed over the logged histories: its state follows from the logged slates, clicks and
    consumed times. The log's documents are those of the run's corpus. As in `transfer.evaluate`, all previous gin
    bindings are cleared, and a run folder may come from an untrusted source.

    Args:
      log: log of this project's columns, or of those that `ColumnMap` is bound to, with joint propensities.
      policy: run folder of one seed, with the target policy.
      gin_files: gin files read after the run's config.gin.
      gin_bindings: gin bindings applied after the files, for instance of `OfflineEvaluation.horizon`.
      output_dir: folder of the results; None: a time-stamped folder in the run's `offline_evaluations/`.
      quiet: whether to print nothing.

    Raises:
      InvalidInputError: one line, if pyarrow is not installed, log or run cannot be read or do not fit each other, the
        log lacks propensities, or the policy reads what no log has.
    """
    with transfer.opened_run(policy, gin_files, gin_bindings, quiet) as loaded:
        loaded.raise_if_several_seeds("a policy")
        settings = OfflineEvaluation()
        under = os.path.join(policy, OFFLINE_EVALUATIONS)
        layout.free_path(output_dir, under)
        interactions = reading.load_interactions(log)
        logged = trajectories.from_interactions(interactions, settings.horizon)
        _raise_if_unknown(logged, log)
        (job,) = loaded.restored()
        network = loaded.config.network_ctor(num_users=loaded.config.evaluation_batch_size, corpus_seed=job.world_seed)
        selection.with_weights(network, job.trained.best)
        replay = HistoryReplay(network, loaded.config.runtime_ctor(network.variables), settings.num_target_slates)
        replayed = replay.replay(
            LoggedHistories(logged.slates, logged.choices, logged.consumed_times.astype(np.float32)), job.seed
        )
        estimates, left_out = _estimates(settings, logged, replayed, replay)
        name = single_seed.LEARNED_GREEDY if getattr(network.recommender, "greedy", False) else single_seed.LEARNED
        names = [] if interactions.policy is None else sorted({str(one) for one in set(interactions.policy) - {None}})
        results = OfflineResults(
            policy=name,
            logging_policies=names,
            num_users=len(logged.user_ids),
            horizon=logged.slates.shape[1],
            slate_size=logged.slates.shape[2],
            logged=MeanInterval.from_estimate(statistics.mean_interval(logged.consumed_times.sum(axis=1))),
            estimates=estimates,
            left_out=left_out,
            on_policy=_on_policy(job.source.folder, name, reading.read_metadata(log), logged.slates.shape[1]),
        )
        folder = layout.create(output_dir, under)
        with (
            resume.exclusive_lock(folder),
            layout.errors_of(folder, "evaluate again, to another folder, when that is mended"),
        ):
            layout.write_json(folder, offline_schema.OFFLINE_EVALUATION, results.to_json())
    if not quiet:
        output.say(f"\n{table(results)}\n\nfiles: {folder}")
    return OfflineEvaluationResult(results, folder)


def _raise_if_unknown(logged: Trajectories, log: str) -> None:
    unknown = int(np.isnan(logged.propensities).any(axis=1).sum())
    if unknown:
        raise validation.InvalidInputError(
            f"{log!r} lacks the joint propensities of {unknown} of {len(logged.user_ids)} users: only logs whose "
            "policies are known can be used for an offline evaluation"
        )


def _estimates(
    settings: OfflineEvaluation, logged: Trajectories, replayed: Replayed, replay: HistoryReplay
) -> tuple[dict[str, OfflineEstimate], dict[str, str]]:
    left_out = {}
    values = None
    if settings.num_target_slates == 0:
        left_out["estimators with values"] = "OfflineEvaluation.num_target_slates is 0"
    elif len(logged.user_ids) < 2:
        left_out["estimators with values"] = "the log has one user, and values are fitted to other users"
    else:
        features = fitted_values.slate_features(
            replay.places_of(logged.slates),
            replay.places_of(replayed.sampled_slates),
            logged.consumed_times,
            logged.choices,
            fitted_values.document_features(replay.documents),
        )
        values = fitted_values.fitted_values(features, logged.consumed_times)
    users = LoggedTrajectories(
        logged.consumed_times,
        np.minimum(replayed.log_propensities, 0.0),
        np.log(logged.propensities),
        None if values is None else values.action_values,
        None if values is None else values.state_values,
    )
    slates, reason = _slates(logged, replayed)
    if reason is not None:
        left_out["estimators of slates"] = reason
    return settings.estimates(users, slates), left_out


def _slates(logged: Trajectories, replayed: Replayed) -> tuple[Optional[LoggedSlates], Optional[str]]:
    """Return the slates of a log of one step, or the reason for which the estimators of slates do not apply."""
    if logged.slates.shape[1] > 1:
        return None, "they are for logs of one step (OfflineEvaluation.horizon = 1)"
    target = (replayed.log_prefix_propensities, replayed.log_item_propensities)
    behaviour = (logged.prefix_propensities[:, 0], logged.item_propensities[:, 0])
    if any(values is None or np.isnan(values).any() for values in (*target, *behaviour)):
        return None, "propensities by slot are unknown"
    is_clicked = logged.choices[:, :1] == np.arange(logged.slates.shape[2])
    prefix, item = (np.minimum(np.asarray(values)[:, 0], 0.0) for values in target)
    return LoggedSlates(
        is_clicked * logged.consumed_times[:, :1],
        SlatePropensities(prefix, item),
        SlatePropensities(*(np.log(values) for values in behaviour)),
    ), None


def _on_policy(folder: str, policy: str, metadata: Mapping[str, Any], horizon: int) -> Optional[MeanInterval]:
    """Return the policy's reward in the run's own evaluation, if that was in the world of the log."""
    try:
        evaluation = schema.read(os.path.join(folder, layout.EVALUATION))
    except FileNotFoundError:
        return None
    known = evaluation.policies.get(policy)
    same_world = evaluation.world is not None and evaluation.world == metadata.get("world")
    if known is None or not same_world or evaluation.corpus_seed != metadata.get("corpus_seed"):
        return None
    return MeanInterval(mean=known.mean, interval95=known.interval95) if evaluation.horizon == horizon else None


def table(results: OfflineResults) -> str:
    """Format the estimates for a terminal.

    Args:
      results: the results.
    """
    rows = [("estimator", "value", "95% interval", "effective users", "")]
    for name, result in results.estimates.items():
        size = "" if result.effective_sample_size is None else f"{result.effective_sample_size:.0f}"
        if result.refused is not None:
            rows.append((name, "refused", "", size, result.refused))
            continue
        no_interval = f"no interval: right only if {result.assumption}" if result.assumption else ""
        interval = "" if result.interval95 is None else tables.interval(result.interval95)
        rows.append((name, formatting.plain(result.value or 0.0, ".2f"), interval, size, no_interval))
    by = f" by {', '.join(results.logging_policies)}" if results.logging_policies else ""
    steps = "step" if results.horizon == 1 else "steps"
    lines = [
        f"cumulative reward of {results.policy} over {results.horizon} {steps}, estimated from a log of "
        f"{results.num_users} users{by}",
        f"reward in the log: {tables.estimate(results.logged)}",
    ]
    if results.on_policy is not None:
        lines.append(f"reward of {results.policy} in the run's evaluation: {tables.estimate(results.on_policy)}")
    lines += ["", *tables.aligned(rows)]
    lines += [f"{name} left out: {reason}" for name, reason in results.left_out.items()]
    return "\n".join(lines)
