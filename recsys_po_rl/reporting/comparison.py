"""Comparison of runs: differences with intervals, paired if users and random draws are the same."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import price, statistics
from recsys_po_rl.evaluation.results import PolicyResult
from recsys_po_rl.evaluation.statistics import Estimate
from recsys_po_rl.reporting.tables import LEARNED
from recsys_po_rl.run_folder import layout, per_user, schema
from recsys_po_rl.run_folder.run_files import RunFiles
from recsys_po_rl.run_folder.schema import Evaluation

# A policy without learning has the same rewards in equal worlds: it reveals differences that the files do not record.
WITNESS = price.FLOOR
WITNESS_TOLERANCE = 1e-3  # relative, of a user's total: rounding differs between machines
WITNESS_SHARE = 0.05  # share of users whose totals may differ by more: rounding can change a choice
MAX_KEYS = 8  # keys named in an error


class Row(NamedTuple):
    """A policy in all runs; None for runs without the policy."""

    policy: str
    means: list[Optional[Estimate]]  # by run
    differences: list[Optional[Estimate]]  # by run, minus the first run; None for the first


class Comparison(NamedTuple):
    """Rewards of several runs."""

    names: list[str]  # names of the runs, all different
    paired: bool
    unit: str  # users or seeds
    num_units: list[int]  # by run; for paired runs, the number of common units
    horizons: list[int]  # by run
    rows: list[Row]  # the learned policy first, then the first run's policies, best first


class _Measured(NamedTuple):
    """A run prepared for comparison."""

    name: str
    run: RunFiles
    evaluations: Mapping[int, Evaluation]  # by seed
    folders: dict[int, str]


def compare(runs: Sequence[RunFiles], unpaired: bool = False) -> Comparison:
    """Compare the policies of finished runs with the policies of the first run.

    Args:
      runs: results of `run_files.read`, at least two. If all have one seed, the unit is the user; otherwise the seed.
      unpaired: whether to treat the runs as independent samples (Welch), regardless of worlds and users.

    Raises:
      InvalidInputError: one line, for fewer than two runs, a run that is not finished, or files of another form;
        without `unpaired` also for different worlds, seeds or users, with the differing keys.
    """
    if len(runs) < 2:
        raise validation.InvalidInputError(f"comparing needs at least two run folders, got {len(runs)}")
    measured = [_measured(run, name) for run, name in zip(runs, _names(runs))]
    several = any(len(run.evaluations) > 1 for run in measured)
    if not unpaired:
        for other in measured[1:]:
            _raise_if_worlds_differ(measured[0], other)
    return _by_seed(measured, unpaired) if several else _by_user(measured, unpaired)


def _names(runs: Sequence[RunFiles]) -> list[str]:
    """Return the names of the folders; if names repeat, their paths, and if paths repeat, their indices."""
    for names in ([run.name for run in runs], [run.folder for run in runs]):
        if len(set(names)) == len(names):
            return names
    return [f"{run.folder} ({place})" for place, run in enumerate(runs, 1)]


def _measured(run: RunFiles, name: str) -> _Measured:
    for part in (run, *run.seeds):
        if (problem := part.problem_of(layout.EVALUATION)) is not None:
            raise validation.InvalidInputError(f"{part.folder!r}: {problem}")
    missing = [part.name for part in run.parts if part.evaluation is None]
    if missing or (run.seeds and run.evaluation is None):
        in_seeds = f" in {', '.join(missing)}" if run.seeds and missing else ""
        raise validation.InvalidInputError(f"{run.folder!r} is not finished: there is no {layout.EVALUATION}{in_seeds}")
    evaluations: dict[int, Evaluation] = {}
    folders: dict[int, str] = {}
    for part in run.parts:
        evaluation = part.evaluation
        if evaluation is None:
            continue
        schema.raise_if_not_comparable(evaluation, os.path.join(part.folder, layout.EVALUATION))
        # Policies of several seeds may have been evaluated on the users of a single seed.
        seed = evaluation.seed if evaluation.trained_seed is None else evaluation.trained_seed
        assert seed is not None  # validated
        if seed in evaluations:
            raise validation.InvalidInputError(f"{run.folder!r}: {layout.EVALUATION} of two seeds is of seed {seed}")
        evaluations[seed], folders[seed] = evaluation, part.folder
    return _Measured(name, run, evaluations, folders)


def _raise_if_worlds_differ(run: _Measured, other_run: _Measured) -> None:
    """Raise with the differences if the worlds of two runs differ, because such runs cannot be paired."""
    pair = f"{run.name} and {other_run.name} cannot be paired"
    advice = "--unpaired compares them as independent samples"
    if set(run.evaluations) != set(other_run.evaluations):
        seeds = " and ".join(str(sorted(owner.evaluations)) for owner in (run, other_run))
        raise validation.InvalidInputError(f"{pair}: their seeds differ, {seeds}; {advice}")
    for seed, evaluation in run.evaluations.items():
        for owner, recorded in ((run, evaluation), (other_run, other_run.evaluations[seed])):
            if recorded.world is None:
                raise validation.InvalidInputError(
                    f"{pair}: {layout.EVALUATION} of {owner.name} does not say what its world was; {advice}"
                )
        worlds = (evaluation.world or {}, other_run.evaluations[seed].world or {})
        _raise_if_worlds_are_unclear(pair, advice, *worlds)
        keys = world_differences(evaluation, other_run.evaluations[seed])
        if keys:
            one_line = validation.one_line
            shown = ", ".join(
                f"{one_line(key)} ({one_line(str(first), 100)} and {one_line(str(second), 100)})"
                for key, first, second in keys[:MAX_KEYS]
            )
            and_more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
            raise validation.InvalidInputError(f"{pair}: they differ in {shown}{and_more}; {advice}")


def _raise_if_worlds_are_unclear(
    pair: str, advice: str, world: Mapping[str, Any], other_world: Mapping[str, Any]
) -> None:
    """Raise if two project versions recorded different keys of a world, or only the names of macros."""
    if world and other_world and world.get("form") != other_world.get("form"):
        raise validation.InvalidInputError(
            f"{pair}: their worlds were recorded by different versions of this project; evaluate both with this "
            f"version (--mode evaluate); {advice}"
        )
    for key, value in world.items():
        if "form" not in world and isinstance(value, str) and value.startswith("%"):
            raise validation.InvalidInputError(
                f"{pair}: an earlier version of this project recorded {key} as the macro {value[:100]}, not by its "
                f"value; evaluate both with this version (--mode evaluate); {advice}"
            )


def world_differences(first: Evaluation, second: Evaluation) -> list[tuple[str, Any, Any]]:
    """Return the settings that make the users of two evaluations differ: keys with both values.

    Args:
      first: evaluation of one seed.
      second: evaluation of another run, with the same seed.
    """
    worlds = [
        {"seed": evaluation.seed, "corpus_seed": evaluation.corpus_seed, **(evaluation.world or {})}
        for evaluation in (first, second)
    ]
    keys = list(dict.fromkeys([*worlds[0], *worlds[1]]))
    absent = "not there"
    both = [(key, worlds[0].get(key, absent), worlds[1].get(key, absent)) for key in keys]
    return [(key, first, second) for key, first, second in both if first != second]


def _raise_if_witnesses_differ(run: _Measured, other_run: _Measured, seed: int) -> None:
    totals, others = (per_user.load(measured.folders[seed]).get(WITNESS) for measured in (run, other_run))
    if totals is None or others is None:
        return
    shared = min(len(totals), len(others))
    near = np.isclose(totals[:shared], others[:shared], rtol=WITNESS_TOLERANCE, atol=WITNESS_TOLERANCE)
    if 1.0 - near.mean() > WITNESS_SHARE:
        raise validation.InvalidInputError(
            f"{run.name} and {other_run.name} cannot be paired: {WITNESS}, which learns nothing, brings other totals "
            f"to {1.0 - near.mean():.0%} of the users, so the users differ in something that the files do not say "
            "(another version of an entity, another processor); --unpaired compares them as independent samples"
        )


def _by_user(measured: Sequence[_Measured], unpaired: bool) -> Comparison:
    """Compare runs with one seed each: the unit is the user."""
    evaluations = [next(iter(run.evaluations.values())) for run in measured]
    totals: list[Mapping[str, np.ndarray]] = []
    if not unpaired:
        for other in measured[1:]:
            _raise_if_witnesses_differ(measured[0], other, next(iter(other.evaluations)))
        totals = [per_user.load(next(iter(run.folders.values()))) for run in measured]
    rows = []
    for policy in _policies(evaluations):
        means = [_estimate(evaluation.policies.get(policy)) for evaluation in evaluations]
        values = None if unpaired else [by_policy.get(policy) for by_policy in totals]
        rows.append(Row(policy, means, _differences(means, values)))
    if unpaired:
        num_units = [next(iter(evaluation.policies.values())).num_users for evaluation in evaluations]
    else:
        num_users = [len(next(iter(by_policy.values()))) for by_policy in totals]
        num_units = [num_users[0], *(min(num_users[0], number) for number in num_users[1:])]
    return Comparison([run.name for run in measured], not unpaired, "users", num_units, _horizons(evaluations), rows)


def _by_seed(measured: Sequence[_Measured], unpaired: bool) -> Comparison:
    """Compare runs with several seeds: the unit is the seed."""
    if not unpaired:
        for other in measured[1:]:
            for seed in other.evaluations:
                _raise_if_witnesses_differ(measured[0], other, seed)
    firsts = [next(iter(run.evaluations.values())) for run in measured]
    rows = []
    for policy in _policies(firsts):
        values = [_means_of_seeds(run, policy) for run in measured]
        means = [None if value is None else statistics.mean_interval(value) for value in values]
        rows.append(Row(policy, means, _differences(means, None if unpaired else values)))
    num_units = [len(run.evaluations) for run in measured]
    return Comparison([run.name for run in measured], not unpaired, "seeds", num_units, _horizons(firsts), rows)


def _differences(
    means: Sequence[Optional[Estimate]], paired: Optional[Sequence[Optional[np.ndarray]]]
) -> list[Optional[Estimate]]:
    """Return the differences of each run to the first: paired over common units if given values, else from means."""
    differences: list[Optional[Estimate]] = [None]
    for index in range(1, len(means)):
        mean, first = means[index], means[0]
        if mean is None or first is None:
            differences.append(None)
        elif paired is None:
            differences.append(statistics.unpaired_difference(mean, first))
        else:
            differences.append(_paired(paired[index], paired[0]))
    return differences


def _horizons(evaluations: Sequence[Evaluation]) -> list[int]:
    return [evaluation.horizon for evaluation in evaluations if evaluation.horizon is not None]


def _policies(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return all policies: the learned policy, then the first run's policies, best first, then those of other runs."""
    first = evaluations[0].policies
    in_order = sorted(first, key=lambda name: (name != LEARNED, -first[name].mean))
    return list(dict.fromkeys([*in_order, *(name for evaluation in evaluations[1:] for name in evaluation.policies)]))


def _means_of_seeds(run: _Measured, policy: str) -> Optional[np.ndarray]:
    """Return the means by seed, in the order of the seeds; None if a seed lacks the policy."""
    entries = [run.evaluations[seed].policies.get(policy) for seed in sorted(run.evaluations)]
    means = [entry.mean for entry in entries if entry is not None]
    return np.array(means, np.float64) if len(means) == len(entries) else None


def _paired(values: Optional[np.ndarray], others: Optional[np.ndarray]) -> Optional[Estimate]:
    """Return the paired difference over the common units: the first users are equal for any number of users."""
    if values is None or others is None:
        return None
    shared = min(len(values), len(others))
    return statistics.paired_difference(values[:shared], others[:shared])


def _estimate(entry: Optional[PolicyResult]) -> Optional[Estimate]:
    if entry is None:
        return None
    low, high = entry.interval95
    return Estimate(
        float(entry.mean),
        -np.inf if low is None else float(low),
        np.inf if high is None else float(high),
        entry.num_users,
    )
