"""Report section on training: learning curves, diagnostics, alarms."""

from collections.abc import Sequence
from typing import Any, Optional

from recsys_po_rl.common.formatting import as_number, is_number
from recsys_po_rl.reporting.html import charts, markup
from recsys_po_rl.reporting.html.charts import Mark, Series
from recsys_po_rl.reporting.html.markup import Html, element
from recsys_po_rl.run_folder.run_files import Curve, Row, RunFiles, curve

REWARD = "mean_reward"
# Columns of metrics.csv other than diagnostics: indices, counts, and times, which have these endings.
NO_DIAGNOSTICS = frozenset({"seed", "step", "user_steps", REWARD})
TIMES = ("_seconds", "_per_second")
TITLES = {
    "gradient_norm": "Gradient norm, before clipping",
    "entropy": "Entropy of the first pick, nats",
    "explained_variance": "Explained variance of the returns by the critic",
    "approximate_kl": "Approximate KL between policies of an update, nats",
    "clip_share": "Share of probability ratios that were clipped",
    "critic_gradient_norm": "Gradient norm of the critic, before clipping",
}
LEVELS = ("uniform_random", "full_information_reference")  # policies drawn as horizontal lines
MAX_ALARMS = 200  # number of alarms listed; their total number is always shown


def learning(run: RunFiles) -> list[Html]:
    """Return the report section on the training of a run."""
    steps = [step for row in run.metrics if (step := as_number(row.get("step"))) is not None]
    if not steps:
        return [element("p", "No training step is done yet: metrics.csv has no rows.")]
    return [
        *_curves(run, max(steps)),
        markup.section("Diagnostics", _diagnostics(run), level=3),
        markup.section("Alarms", _alarms(run), level=3),
    ]


def marks(rows: Sequence[Row]) -> list[Mark]:
    """Return the first alarm of each kind and seed, as marks of a chart."""
    first: dict[Any, Mark] = {}
    for row in rows:
        step = as_number(row.get("step"))
        if step is not None:
            label = f"alarm at step {step:g}: {row.get('alarm', '')}"
            first.setdefault((row.get("seed"), row.get("alarm")), Mark(step, label))
    return list(first.values())


def as_series(label: str, column: Optional[Curve], style: int) -> list[Series]:
    """Return a curve as a line, with a band for several seeds."""
    if column is None:
        return []
    several = column.num_seeds > 1
    return [
        Series(
            label, column.steps, column.mean, column.low if several else None, column.high if several else None, style
        )
    ]


def _curves(run: RunFiles, last: float) -> list[Html]:
    in_training, validation = curve(run.metrics, REWARD), curve(run.validation, REWARD)
    series = [*as_series("in training", in_training, 1), *as_series("on validation users", validation, 3)]
    for place, (name, mean) in enumerate(_levels(run)):
        series.append(Series(f"{name}, in the evaluation", [1.0, last], [mean, mean], style=5 + place))
    num_seeds = in_training.num_seeds if in_training else 0
    band = (
        f"Lines are means over {num_seeds} seeds, bands reach from the lowest seed to the highest."
        if num_seeds > 1
        else "Each point is a fresh population, before the update of that step."
    )
    selection = None if run.evaluation is None else run.evaluation.selection
    best = None if selection is None else selection.best_step
    kept = f" The policy of step {best} is kept." if is_number(best) else ""
    chart = charts.line_chart(
        "Mean cumulative reward per user", series, "training step", band + kept, marks(run.alarms)
    )
    return [
        charts.legend([(line.label, line.style) for line in series]),
        element("div", chart, class_="charts"),
    ]


def _levels(run: RunFiles) -> list[tuple[str, float]]:
    """Return the means of policies that serve as reference levels of learning curves."""
    policies = {} if run.evaluation is None else run.evaluation.policies
    return [(name, policies[name].mean) for name in LEVELS if name in policies]


def _diagnostics(run: RunFiles) -> Html:
    columns = [
        name
        for name in (run.metrics[0] if run.metrics else {})
        if name not in NO_DIAGNOSTICS and not name.endswith(TIMES)
    ]
    drawn = []
    for name in columns:
        column = curve(run.metrics, name)
        if column is not None:
            title = TITLES.get(name, name.replace("_", " "))
            drawn.append(charts.line_chart(title, as_series(name, column, 1), "training step", marks=marks(run.alarms)))
    return element("div", drawn, class_="charts") if drawn else element("p", "metrics.csv has no diagnostics.")


def _alarms(run: RunFiles) -> list[Html]:
    if not run.alarms:
        return [element("p", "None.")]
    several = len({row.get("seed") for row in run.metrics}) > 1
    shown = run.alarms[:MAX_ALARMS]
    header = [*(["seed"] if several else []), "step", "alarm", "value", "threshold", "message"]
    rows = [[markup.escaped(row.get(column, "")) for column in header] for row in shown]
    number = f"{len(run.alarms)} alarm{'s' if len(run.alarms) != 1 else ''}"
    listed = f", the first {MAX_ALARMS} are listed" if len(run.alarms) > MAX_ALARMS else ""
    return [
        element("p", f"{number}{listed}. The first of each kind is a vertical line in the charts."),
        markup.table(header, rows, "Alarms of the training"),
    ]
