"""Page sweep.html of a sweep."""

import functools
from collections.abc import Callable
from typing import Any

from recsys_po_rl.common import formatting
from recsys_po_rl.reporting import sweep_text
from recsys_po_rl.reporting.html import charts, markup
from recsys_po_rl.reporting.html.charts import Series
from recsys_po_rl.reporting.html.markup import Html, element
from recsys_po_rl.run_folder.sweep_file import CHOICE, COMPLETE, Sweep

MAX_TRIALS = 1000  # rows of the table; trials.csv has all


def page(name: str, sweep: Sweep) -> str:
    """Return the whole page, as text.

    Args:
      name: name of the folder.
      sweep: content of sweep.json.
    """
    show: dict[str, Callable[[Sweep], Any]] = {
        "Best trials": _best,
        "Importances": _importances,
        "Trials": _trials,
        "Space": _space,
    }
    sections = {
        title: markup.section(title, markup.guarded(functools.partial(make, sweep))) for title, make in show.items()
    }
    return markup.page(f"Sweep {name}", element("p", f"{sweep_text.counts(sweep)}.", class_="muted"), sections)


def _best(sweep: Sweep) -> list[Any]:
    note = element("p", sweep_text.FRESH_NOTE, class_="muted")
    if not sweep.best:
        return [element("p", "No trials were compared on fresh users yet."), note]
    first = sweep.best[0].trial
    values = {trial.number: trial.value for trial in sweep.trials}
    rows: list[list[Any]] = [
        [
            f"trial {best.trial}",
            formatting.fixed(values[best.trial], 4),
            *sweep_text.best_cells(best, best.trial == first),
        ]
        for best in sweep.best
    ]
    header = ["", "validation users", "fresh users", "95% interval", f"minus trial {first}", "95% interval"]
    caption = f"Reward of the best trials on {sweep.num_fresh_users} fresh users, the same for all"
    return [element("p", f"{caption}."), markup.table(header, rows, caption, "numbers"), note]


def _importances(sweep: Sweep) -> Html:
    if not sweep.importances:
        return element("p", "Not known: that needs complete trials with at least four different values.")
    rows = [[markup.name(sweep_text.short_name(name)), formatting.percent(s)] for name, s in sweep.importances.items()]
    caption = "Share of each binding in the variance of the values, by PED-ANOVA"
    return markup.table(["binding", "importance"], rows, caption, "numbers")


def _trials(sweep: Sweep) -> list[Any]:
    names = list(sweep.settings.space)
    rows: list[list[Any]] = []
    unvalued = [trial for trial in sweep.trials if trial.value is None]
    for trial in [*sweep_text.ranked(sweep), *unvalued][:MAX_TRIALS]:
        values = [sweep_text.value_text(trial.bindings[name]) for name in names]
        rows.append([str(trial.number), sweep_text.outcome(trial), trial.state, *values])
    header = ["trial", "value at step", "state", *(markup.name(name) for name in sweep_text.short_names(names))]
    complete = [trial for trial in sweep.trials if trial.state == COMPLETE]
    best_so_far: list[float] = []
    for trial in complete:
        best_so_far.append(max(trial.value or 0.0, *best_so_far[-1:]) if best_so_far else trial.value or 0.0)
    numbers = [float(trial.number) for trial in complete]
    series = [
        Series("value", numbers, [trial.value for trial in complete], style=1),
        Series("best so far", numbers, best_so_far, style=3),
    ]
    chart = charts.line_chart("Reward of the validation users", series, "trial", "Complete trials only.")
    return [chart, charts.legend([("value", 1), ("best so far", 3)]), markup.table(header, rows, "Trials", "numbers")]


def _space(sweep: Sweep) -> list[Any]:
    rows: list[list[Any]] = []
    for name, distribution in sweep.settings.space.items():
        if distribution.kind == CHOICE:
            text = ", ".join(distribution.choices or ())
        else:
            scale = ", logarithmic" if distribution.log else ""
            text = f"{distribution.low} to {distribution.high}{scale}"
        rows.append([markup.name(sweep_text.short_name(name)), distribution.kind, text])
    settings = sweep.settings
    sentence = (
        f"Sampler {settings.sampler}, seed {settings.sampler_seed}; pruner {settings.pruner}; "
        f"{settings.num_trials_at_once} trials at once."
    )
    return [element("p", sentence), markup.table(["binding", "kind", "values"], rows, "Space", "differences")]
