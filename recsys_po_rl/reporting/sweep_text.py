"""Texts about a sweep, for the terminal and the page."""

from collections.abc import Sequence
from typing import Any

from recsys_po_rl.common import formatting
from recsys_po_rl.reporting import tables
from recsys_po_rl.run_folder.sweep_file import COMPLETE, FAILED, PRUNED, BestTrial, Sweep, Trial

MAX_SHOWN = 10  # trials of the table on the terminal
PREFIX = "recsys_po_rl."
FRESH_NOTE = (
    "The value of a trial is the best mean reward of its validation users. The best of many values is partly luck: "
    "rewards on fresh users, which no trial has used, are what to expect."
)


def trial_line(trial: Trial) -> str:
    """Return a line about a trial that has ended."""
    values = ", ".join(
        f"{name} {value_text(value)}" for name, value in zip(short_names(list(trial.bindings)), trial.bindings.values())
    )
    return f"trial {trial.number} ({values}): {outcome(trial)}"


def outcome(trial: Trial) -> str:
    """Return the outcome of a trial in words."""
    if trial.state == FAILED:
        return f"failed: {' '.join((trial.reason or '').split())[:200]}"
    value = (
        "no validation" if trial.value is None else f"{formatting.plain(trial.value, '.4f')} at step {trial.best_step}"
    )
    return f"{value}, pruned at step {trial.steps[-1]}" if trial.state == PRUNED and trial.steps else value


def short_name(name: str) -> str:
    """Return the name of a binding without the project's prefix."""
    return name.replace(PREFIX, "")


def short_names(names: Sequence[str]) -> list[str]:
    """Return the names of the parameters alone where they differ, else of the bindings."""
    last = [name.rpartition(".")[2] for name in names]
    return [end if last.count(end) == 1 else short_name(name) for end, name in zip(last, names)]


def value_text(value: Any) -> str:
    """Return a sampled value with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranked(sweep: Sweep) -> list[Trial]:
    """Return the trials with a value, complete ones first, by value."""
    with_value = [trial for trial in sweep.trials if trial.value is not None]
    return sorted(with_value, key=lambda trial: (trial.state != COMPLETE, -(trial.value or 0.0), trial.number))


def counts(sweep: Sweep) -> str:
    """Return the number of trials in each state in words."""
    states = [trial.state for trial in sweep.trials]
    parts = [f"{states.count(state)} {state}" for state in (COMPLETE, PRUNED, FAILED) if state in states]
    return f"{len(states)} of {sweep.num_trials} trials" + (f": {', '.join(parts)}" if parts else "")


def best_cells(best: BestTrial, is_first: bool) -> list[str]:
    """Return mean, interval, difference to the first trial and its interval as texts."""
    return [
        formatting.plain(best.mean, ".4f"),
        formatting.interval(best.interval95, 4),
        "" if is_first else formatting.plain(best.minus_first.mean, "+.4f"),
        "" if is_first else formatting.interval(best.minus_first.interval95, 4),
    ]


def table(sweep: Sweep) -> str:
    """Format a sweep for a terminal."""
    names = list(sweep.settings.space)
    header = ("trial", "value", "step", "state", *short_names(names))
    rows: list[tuple[str, ...]] = [header]
    for trial in ranked(sweep)[:MAX_SHOWN]:
        value = formatting.plain(trial.value or 0.0, ".4f")
        values = (value_text(trial.bindings[name]) for name in names)
        rows.append((str(trial.number), value, str(trial.best_step), trial.state, *values))
    lines = [f"{counts(sweep)}; by the reward of the validation users", "", *tables.aligned(rows)]
    if sweep.importances:
        shares = (f"{short_name(name)} {formatting.percent(share)}" for name, share in sweep.importances.items())
        lines += ["", f"importance for the value (PED-ANOVA): {', '.join(shares)}"]
    if sweep.best:
        first = sweep.best[0].trial
        rows = [("trial", "mean", "95% interval", f"minus trial {first}", "95% interval")]
        rows += [(str(best.trial), *best_cells(best, best.trial == first)) for best in sweep.best]
        lines += ["", f"on {sweep.num_fresh_users:,} fresh users, the same for all", "", *tables.aligned(rows)]
    return "\n".join(lines)
