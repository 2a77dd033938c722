"""Bias, variance and coverage of off-policy estimators, by how far target and logging policy differ.

python benchmarks/offline_evaluation.py [--logs 200] writes results/OFFLINE.md and results/offline.png. With a finished
run in --policy instead of a fresh short training, that run's policy is the learned one. All estimates go to
runs/offline_evaluation.json.gz, from which --page writes page and figure again.

The logging policy draws slates by the scores of the learned policy times `LOGGING`; a target policy by these scores
times another factor, 1 for the learned policy itself and 0 for the uniform one. Every log is of fresh users; the truth
is the mean reward of other users under the target policy.
"""

import argparse
import contextlib
import gzip
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

import recsys_po_rl  # noqa: F401  (before TensorFlow: chooses Keras 2)
from recsys_po_rl import fields, gin_config
from recsys_po_rl.evaluation import fitted_values, offline, offline_intervals, offline_slates, statistics
from recsys_po_rl.evaluation.logged_replay import HistoryReplay, LoggedHistories, Replayed
from recsys_po_rl.evaluation.offline import LoggedTrajectories, Terms
from recsys_po_rl.evaluation.offline_evaluation import OfflineEvaluation
from recsys_po_rl.evaluation.offline_slates import LoggedSlates, SlatePropensities
from recsys_po_rl.evaluation.propensities import SlatePropensities as LoggingPropensities
from recsys_po_rl.experiment import experiment, selection, single_seed, transfer
from recsys_po_rl.recommender import CollabFilteringRecommender
from recsys_po_rl.simulation import seeding

HERE = pathlib.Path(__file__).resolve().parent
PAGE, FIGURE = HERE / "results" / "OFFLINE.md", HERE / "results" / "offline.png"
ESTIMATES = HERE.parent / "runs" / "offline_evaluation.json.gz"
USERS = 1000  # of a log
HORIZONS = (1, 5, 20)
LOGGING = 0.6  # factor of the logging policy's scores
TARGETS = (0.6, 0.55, 0.7, 0.4, 0.8, 1.0)  # factors, from near to far
TRUTH_BATCHES = 200  # of `USERS` users
SAMPLES = 2  # slates of the target at each history
BOOTSTRAP_SAMPLES = 500
NEAR_THRESHOLD = 3.0  # effective sample sizes up to this multiple of the least one are near it
TRAINING = [
    "recsys_po_rl.experiment.seeds = [0]",
    f"recsys_po_rl.experiment.horizon = {max(HORIZONS)}",
    "recsys_po_rl.experiment.num_training_steps = 100",
    "recsys_po_rl.experiment.num_evaluation_users = 1000",
    "recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random]",
]
INTERVALS = ("t", "t on the log scale", "percentile bootstrap", "studentised bootstrap")


class ScaledRecommender(CollabFilteringRecommender):
    """Recommender that draws slates by a multiple of its scorer's scores."""

    factor = 1.0

    def _scores(self, previous_state: Any) -> Any:
        """Return the multiple of the scores; float32 [U, D]."""
        return self.factor * super()._scores(previous_state)


class Cell(NamedTuple):
    """Result of one estimator on one log."""

    horizon: int
    target: float
    estimator: str
    value: float
    size: Optional[float]  # effective sample size
    is_refused: bool
    bounds: Mapping[str, tuple[float, float]]  # by kind of interval


class World(NamedTuple):
    """World of a learned policy."""

    context: Any
    weights: Sequence[np.ndarray]

    def network(self, factor: float) -> Any:
        """Return a network whose recommender has the learned weights and scales the scores."""
        network = selection.with_weights(self.context.network(recommender_ctor=ScaledRecommender), self.weights)
        network.recommender.factor = factor
        return network


@contextlib.contextmanager
def learned_world(run: Optional[str]) -> Iterator[World]:
    """Train a policy, or take that of a run; the run's configuration is gin's within the block."""
    with tempfile.TemporaryDirectory() as folder:
        if run is None:
            gin_config.parse(["experiments/default.gin"], TRAINING)
            run = experiment(output_dir=os.path.join(folder, "run"), quiet=True).run_dir
        bindings = [f"recsys_po_rl.experiment.evaluation_batch_size = {USERS}", TRAINING[1]]
        with transfer.opened_run(run, [], bindings, True) as loaded:
            (job,) = loaded.restored()
            network = loaded.config.network_ctor(num_users=USERS, corpus_seed=job.world_seed)
            context = single_seed.policy_context(loaded.config, job.seed, job.world_seed, network.config)
            yield World(context, job.trained.best)


def truths(world: World) -> dict[tuple[float, int], statistics.Estimate]:
    """Return the mean reward of fresh users by target and horizon."""
    found = {}
    for target in TARGETS:
        runtime = world.context.runtime(world.network(target))
        rewards = []
        for batch in range(TRUTH_BATCHES):
            trajectory = runtime.trajectory(
                max(HORIZONS) + 1,
                keys=seeding.make_keys(1, "truth", batch=batch),
                record={fields.METRICS_STATE: [fields.REWARD]},
            )
            rewards.append(trajectory[fields.METRICS_STATE].get(fields.REWARD).numpy()[1:])
        per_step = np.concatenate(rewards, axis=1).astype(np.float64)
        for horizon in HORIZONS:
            found[target, horizon] = statistics.mean_interval(per_step[:horizon].sum(axis=0))
    return found


class Log(NamedTuple):
    """Log of the logging policy."""

    histories: LoggedHistories
    joint: np.ndarray  # float64 [U, T]
    prefix: np.ndarray  # float64 [U, T, S]
    item: np.ndarray  # float64 [U, T, S]


def logs_of(world: World, num_logs: int) -> Iterator[Log]:
    """Yield logs of fresh users."""
    network = world.network(LOGGING)
    runtime = world.context.runtime(network)
    propensities = LoggingPropensities(network.variables, runtime)
    record = {name: list(names) for name, names in propensities.record.items()}
    shown = {fields.SLATE_DOCS: [fields.DOC_ID], fields.USER_RESPONSE: [fields.CHOICE, fields.CONSUMED_TIME]}
    for name, names in shown.items():
        record[name] = sorted({*record.get(name, ()), *names})
    for batch in range(num_logs):
        keys = seeding.make_keys(0, "logs", batch=batch)
        trajectory = runtime.trajectory(max(HORIZONS), keys=keys, record=record)
        of_slates = propensities.of_slates(trajectory)
        response = trajectory[fields.USER_RESPONSE]
        histories = LoggedHistories(
            trajectory[fields.SLATE_DOCS].get(fields.DOC_ID).numpy().swapaxes(0, 1),
            response.get(fields.CHOICE).numpy().T,
            np.maximum(response.get(fields.CONSUMED_TIME).numpy().T, 0.0),
        )
        yield Log(histories, *(np.swapaxes(values, 0, 1) for values in of_slates))


def cells_of(log: Log, target: float, replayed: Replayed, replay: HistoryReplay) -> Iterator[Cell]:
    """Yield what every estimator finds in a log, at each horizon."""
    settings = OfflineEvaluation()
    features = fitted_values.slate_features(
        replay.places_of(log.histories.slates),
        replay.places_of(replayed.sampled_slates),
        log.histories.consumed_times.astype(np.float64),
        log.histories.choices,
        fitted_values.document_features(replay.documents),
    )
    for horizon in HORIZONS:
        rewards = log.histories.consumed_times[:, :horizon].astype(np.float64)
        kept = fitted_values.SlateFeatures(*(part[:, :horizon] for part in features))
        logged = LoggedTrajectories(
            rewards,
            np.minimum(replayed.log_propensities[:, :horizon], 0.0),
            np.log(log.joint[:, :horizon]),
            *fitted_values.fitted_values(kept, rewards),
        )
        estimators = {**offline.IMPORTANCE_SAMPLING_ESTIMATORS, **offline.VALUE_ESTIMATORS}
        found = {name: estimator(logged) for name, estimator in estimators.items()}
        if horizon == 1:
            found.update(slate_terms(log, replayed))
        for name, terms in found.items():
            refused = settings.refusal(terms) is not None
            bounds = {} if refused or name == "direct_method" else intervals(terms)
            yield Cell(horizon, target, name, terms.value, terms.effective_sample_size, refused, bounds)


def slate_terms(log: Log, replayed: Replayed) -> dict[str, Terms]:
    """Return the terms of the one-step estimators of slates, at the first step."""
    is_clicked = log.histories.choices[:, :1] == np.arange(log.histories.slates.shape[2])
    prefix, item = replayed.log_prefix_propensities, replayed.log_item_propensities
    assert prefix is not None  # slates are drawn by scores
    assert item is not None
    slates = LoggedSlates(
        is_clicked * log.histories.consumed_times[:, :1],
        SlatePropensities(np.minimum(prefix[:, 0], 0.0), np.minimum(item[:, 0], 0.0)),
        SlatePropensities(np.log(log.prefix[:, 0]), np.log(log.item[:, 0])),
    )
    return {name: estimator.terms(slates) for name, estimator in offline_slates.SLATE_ESTIMATORS.items()}


def _counts() -> np.ndarray:
    """Return how often each user is in each bootstrap sample; float32 [B, U], the same for all logs."""
    return np.random.default_rng(0).multinomial(USERS, np.full(USERS, 1 / USERS), BOOTSTRAP_SAMPLES).astype(np.float32)


COUNTS = _counts()


def intervals(terms: Terms) -> dict[str, tuple[float, float]]:
    """Return intervals of all kinds; the bootstrap ones resample users.

    The studentised bootstrap (P. Hall, "Theoretical comparison of bootstrap confidence intervals", 1988) resamples the
    linearised contributions.
    """
    plain, on_log_scale = statistics.mean_interval(terms.contributions), offline_intervals.log_t_interval(terms)
    totals = COUNTS @ terms.numerators.astype(np.float32)
    if terms.denominators is None:
        values = totals.sum(axis=1) / USERS
    else:
        values = (totals / (COUNTS @ terms.denominators.astype(np.float32))).sum(axis=1)
    low, high = np.quantile(values, [0.025, 0.975])
    errors = (terms.contributions - terms.value).astype(np.float32)
    means = COUNTS @ errors / USERS
    deviations = np.sqrt(np.maximum(COUNTS @ errors**2 / USERS - means**2, 1e-12))
    least, most = np.quantile(means / deviations, [0.025, 0.975])
    scale = errors.std()
    studentised = (terms.value - most * scale, terms.value - least * scale)
    pairs = ((plain.low, plain.high), (on_log_scale.low, on_log_scale.high), (low, high), studentised)
    return dict(zip(INTERVALS, ((float(one), float(other)) for one, other in pairs)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first column is left-aligned."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" + "---:|" * (len(header) - 1)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def covers(cell: Cell, truth: float, kind: str) -> bool:
    """Return whether an interval contains the truth."""
    low, high = cell.bounds[kind]
    return low <= truth <= high


def percent_covered(cells: Sequence[Cell], by_cell: Mapping[tuple[float, int], statistics.Estimate], kind: str) -> str:
    """Return the share of the intervals that contain the truth; empty without intervals."""
    covered = [covers(cell, by_cell[cell.target, cell.horizon].mean, kind) for cell in cells if cell.bounds]
    return f"{100.0 * np.mean(covered):.1f}" if covered else ""


CHOSEN = "t on the log scale"
NO_ASSUMPTION = [
    *offline.IMPORTANCE_SAMPLING_ESTIMATORS,
    "doubly_robust",
    "weighted_doubly_robust",
    *(name for name, estimator in offline_slates.SLATE_ESTIMATORS.items() if estimator.assumption is None),
]


def lines_of(cells: Sequence[Cell], by_cell: Mapping[tuple[float, int], statistics.Estimate]) -> list[str]:
    """Return one table for each horizon: a row for each target and estimator."""
    lines = []
    groups: dict[tuple[int, float, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.horizon, cell.target, cell.estimator), []).append(cell)
    header = ["estimator", "bias", "standard deviation", "effective users", "refused, %", "coverage, %"]
    for horizon in HORIZONS:
        lines += ["", f"## {horizon} step{'s' if horizon > 1 else ''}"]
        for target in TARGETS:
            truth = by_cell[target, horizon]
            rows = []
            for (of_horizon, of_target, name), group in groups.items():
                if (of_horizon, of_target) != (horizon, target):
                    continue
                values = np.array([cell.value for cell in group])
                sizes = [cell.size for cell in group if cell.size is not None]
                refused = np.mean([cell.is_refused for cell in group])
                covered = percent_covered(group, by_cell, CHOSEN)
                rows.append(
                    [
                        name if name in NO_ASSUMPTION else f"{name} (assumes)",
                        f"{values.mean() - truth.mean:+.3f}",
                        f"{values.std(ddof=1):.3f}",
                        f"{np.median(sizes):.0f}" if sizes else "",
                        f"{100 * refused:.0f}",
                        covered if name in NO_ASSUMPTION else (f"({covered})" if covered else ""),
                    ]
                )
            half = truth.high - truth.mean
            lines += ["", f"Target {target:g}, true value {truth.mean:.3f} ± {half:.3f}", "", *table(header, rows)]
    return lines


def summary_of(cells: Sequence[Cell], by_cell: Mapping[tuple[float, int], statistics.Estimate]) -> list[str]:
    """Return the coverage over all cells, by estimator and by kind of interval."""
    certain = [cell for cell in cells if cell.estimator in NO_ASSUMPTION]
    rows = []
    for name in NO_ASSUMPTION:
        group = [cell for cell in certain if cell.estimator == name]
        kept = [cell for cell in group if not cell.is_refused]
        rows.append(
            [name, str(len(group)), str(len(kept)), *(percent_covered(kept, by_cell, kind) for kind in INTERVALS)]
        )
    kept = [cell for cell in certain if not cell.is_refused]
    rows.append(
        ["all", str(len(certain)), str(len(kept)), *(percent_covered(kept, by_cell, kind) for kind in INTERVALS)]
    )
    least = OfflineEvaluation().min_effective_sample_size
    near = [cell for cell in kept if cell.size is not None and cell.size < NEAR_THRESHOLD * least]
    rows.append(
        [f"all, below {NEAR_THRESHOLD * least:g} effective users", "", str(len(near))]
        + [percent_covered(near, by_cell, kind) for kind in INTERVALS]
    )
    return table(["estimator", "estimates", "not refused", *(f"{kind}, %" for kind in INTERVALS)], rows)


def spread_of(cells: Sequence[Cell], by_cell: Mapping[tuple[float, int], statistics.Estimate], num_logs: int) -> str:
    """Return how many rows of the tables have a coverage within 93 and 97%."""
    groups: dict[tuple[int, float, str], list[Cell]] = {}
    for cell in cells:
        if cell.estimator in NO_ASSUMPTION and cell.bounds:
            groups.setdefault((cell.horizon, cell.target, cell.estimator), []).append(cell)
    shares = [
        float(np.mean([covers(cell, by_cell[cell.target, cell.horizon].mean, CHOSEN) for cell in group]))
        for group in groups.values()
        if len(group) == num_logs
    ]
    inside = sum(0.93 <= share <= 0.97 for share in shares)
    draws = np.random.default_rng(0).binomial(num_logs, 0.95, 100_000) / num_logs
    exact = np.mean((draws >= 0.93) & (draws <= 0.97))
    return (
        f"Of the {len(shares)} rows below in which no log was refused, {inside} have a coverage of 93 to 97%, the "
        f"least {100 * min(shares):.1f}% and the largest {100 * max(shares):.1f}%; of intervals that cover "
        f"exactly 95%, {100 * exact:.0f}% of such rows would be within, because {num_logs} logs determine a "
        f"coverage to ± {196 * np.sqrt(0.95 * 0.05 / num_logs):.1f} points."
    )


def save_figure(cells: Sequence[Cell], by_cell: Mapping[tuple[float, int], statistics.Estimate]) -> None:
    """Draw estimates against the truth, a panel for each horizon."""
    from matplotlib.figure import Figure

    from recsys_po_rl.reporting import figures

    names = {
        "importance_sampling": ("#b35900", "importance sampling"),
        "weighted_per_decision_importance_sampling": ("#1f5fa8", "weighted, per decision"),
        "doubly_robust": ("#2b7a3d", "doubly robust"),
    }
    figure = Figure(figsize=(11.0, 4.2), layout="constrained")
    panels = figure.subplots(1, len(HORIZONS))
    for panel, horizon in zip(panels, HORIZONS):
        drawn: list[float] = []  # ends of the bars that are not faint
        ends = [by_cell[target, horizon].mean for target in TARGETS]
        margin = 0.25 * (max(ends) - min(ends))
        gap = (max(ends) - min(ends)) / 60
        limits = (min(ends) - margin, max(ends) + margin)
        panel.plot(limits, limits, color="#999999", linewidth=1, zorder=1)
        for place, (name, (colour, label)) in enumerate(names.items()):
            for target in TARGETS:
                group = [c for c in cells if (c.horizon, c.target, c.estimator) == (horizon, target, name)]
                kept = [cell.value for cell in group if not cell.is_refused]
                refused = 1.0 - len(kept) / len(group)
                truth = by_cell[target, horizon].mean + (place - 1) * gap
                values = [cell.value for cell in group] if refused > 0.5 else kept
                low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
                faint = refused > 0.5
                if not faint:
                    drawn += [low, high]
                panel.plot([truth, truth], [low, high], color=colour, linewidth=1.6, alpha=0.3 if faint else 1.0)
                panel.plot(
                    [truth], [middle], "o", color=colour, markersize=5, alpha=0.6 if faint else 1.0,
                    markerfacecolor="white" if faint else colour,
                    label=label if horizon == HORIZONS[0] and target == TARGETS[0] else None,
                )  # fmt: skip
        low, high = min(limits[0], *drawn), max(limits[1], *drawn)
        panel.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))  # faint bars may end outside
        panel.set_title(f"{horizon} step{'s' if horizon > 1 else ''}")
        panel.set_xlabel("true value")
    panels[0].set_ylabel("estimate, median and 95% of the logs")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names), frameon=False)
    figures.save(figure, str(FIGURE))


INTRO = """# Offline evaluation: bias, variance and coverage

Made by `python benchmarks/offline_evaluation.py{arguments}` in {minutes:.0f} minutes. {num_logs} logs of {users} fresh
users each, ten topics, 100 documents, slates of 2. The learned policy draws slates by its scores, the logging policy
by {logging:g} times these scores, a target policy by another multiple (1: the learned policy). The true value is the
mean reward of {truth_users} other users under the target policy. Values are cumulative consumed times.

An estimate is refused below {least:g} effectively equally weighted users
(`OfflineEvaluation.min_effective_sample_size`).
Coverage is the share of the 95% intervals that contain the true value, among the estimates that are not refused; bias
and standard deviation are over all logs. Estimators that are marked with "(assumes)" are right only under an
assumption that does not hold here, and are reported without an interval; the coverage that they would have is in
brackets.

![Estimate against truth](offline.png)

Hollow points: more than half of the logs are refused; the bars then show all of them. The line is estimate = truth.

## Coverage over all targets and horizons, by kind of interval

"""


def measure(num_logs: int, policy: Optional[str]) -> dict[str, Any]:
    """Return the estimates of all logs and the truths, for JSON."""
    started = time.perf_counter()
    cells: list[Cell] = []
    with learned_world(policy) as world:
        by_cell = truths(world)
        print(f"truths after {time.perf_counter() - started:.0f} s", flush=True)
        replays = {}
        for target in TARGETS:
            network = world.network(target)
            replays[target] = HistoryReplay(network, world.context.runtime(network), SAMPLES)
        for number, log in enumerate(logs_of(world, num_logs)):
            for target, replay in replays.items():
                cells.extend(cells_of(log, target, replay.replay(log.histories, seed=number), replay))
            if number % 10 == 9:
                print(f"{number + 1} logs after {time.perf_counter() - started:.0f} s", flush=True)
    return {
        "num_logs": num_logs,
        "seconds": time.perf_counter() - started,
        "truths": [[target, horizon, list(truth)] for (target, horizon), truth in by_cell.items()],
        "cells": [list(cell) for cell in cells],
    }


def main() -> None:
    """Measure, and write page and figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", type=int, default=200)
    parser.add_argument("--policy", help="run folder of one seed")
    parser.add_argument("--page", action="store_true", help="only write page and figure")
    flags = parser.parse_args()
    if not flags.page:
        ESTIMATES.parent.mkdir(exist_ok=True)
        with gzip.open(ESTIMATES, "wt", encoding="utf-8") as file:
            json.dump(measure(flags.logs, flags.policy), file)
    with gzip.open(ESTIMATES, "rt", encoding="utf-8") as file:
        measured = json.load(file)
    cells = [Cell(*cell) for cell in measured["cells"]]
    by_cell = {(target, horizon): statistics.Estimate(*truth) for target, horizon, truth in measured["truths"]}
    num_logs = measured["num_logs"]
    intro = INTRO.format(
        arguments="" if num_logs == 200 else f" --logs {num_logs}",
        minutes=measured["seconds"] / 60,
        num_logs=num_logs,
        users=USERS,
        logging=LOGGING,
        truth_users=TRUTH_BATCHES * USERS,
        least=OfflineEvaluation().min_effective_sample_size,
    )
    summary = [*summary_of(cells, by_cell), "", spread_of(cells, by_cell, num_logs)]
    PAGE.write_text(intro + "\n".join([*summary, *lines_of(cells, by_cell)]) + "\n", encoding="utf-8")
    save_figure(cells, by_cell)


if __name__ == "__main__":
    main()
