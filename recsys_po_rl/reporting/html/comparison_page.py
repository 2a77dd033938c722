"""Comparison of runs as text for a terminal, and as a self-contained page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from recsys_po_rl.common.formatting import estimate, fixed, interval
from recsys_po_rl.evaluation import portrait as portrait_lib
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.evaluation.statistics import Estimate
from recsys_po_rl.reporting import tables
from recsys_po_rl.reporting.comparison import Comparison
from recsys_po_rl.reporting.html import charts, markup, report, training, users
from recsys_po_rl.reporting.html.charts import Series
from recsys_po_rl.reporting.html.markup import Html, element
from recsys_po_rl.reporting.html.style import NUM_STYLES
from recsys_po_rl.reporting.tables import LEARNED
from recsys_po_rl.run_folder.run_files import RunFiles, curve

FIRST_STYLE = 1  # first style of the lines of runs; style 0 is the text colour


def text(comparison: Comparison, configs: Sequence[Optional[Mapping[str, str]]]) -> str:
    """Return the comparison as lines for a terminal.

    Args:
      comparison: result of `compare.compare`.
      configs: bindings of the runs, by name, see `run_files.RunFiles.config`.
    """
    first, *others = comparison.names
    header = ["policy", *(cell for name in comparison.names for cell in (name, "95% interval"))]
    header += [cell for name in others for cell in (f"{name} minus {first}", "95% interval")]
    rows = [header]
    for row in comparison.rows:
        cells = [cell for mean in row.means for cell in _cells(mean)]
        cells += [cell for mean in row.differences[1:] for cell in _cells(mean, sign=True)]
        rows.append([row.policy, *cells])
    lines = [_about(comparison), "", *tables.aligned(rows), ""]
    lines += sentences(comparison)
    unknown = [name for name, config in zip(comparison.names, configs) if config is None]
    differences = [] if unknown else report.differences(*(config or {} for config in configs))
    if unknown:
        lines += ["", f"Configuration differences: not known, {', '.join(unknown)} has no config.gin that can be read"]
    if differences:
        lines += ["", "Configuration differences"]
        for name, values in differences:  # one below the other, because lists of policies are long
            lines.append(name)
            labelled = [[f"{run}:", value or "not bound"] for run, value in zip(comparison.names, values)]
            width = max(len(label) for label, _ in labelled)
            lines += [f"  {label.ljust(width)}  {value}" for label, value in labelled]
    return "\n".join(_printable(line) for line in lines)


def sentences(comparison: Comparison) -> list[str]:
    """Return a sentence about the learned policies' difference for each run after the first."""
    row = next((row for row in comparison.rows if row.policy == LEARNED), None)
    if row is None:
        return []
    texts = []
    first = comparison.names[0]
    for name, difference in zip(comparison.names[1:], row.differences[1:]):
        if difference is None:
            continue
        larger = difference if difference.mean >= 0 else _negated(difference)
        clear = difference.low > 0 or difference.high < 0
        texts.append(
            f"The policy learned in {name} brings {_shown(larger)} {'more' if difference.mean >= 0 else 'less'} "
            f"than that of {first}{'' if clear else ', which is not clear'}."
        )
    return texts


def page(comparison: Comparison, runs: Sequence[RunFiles]) -> str:
    """Return the whole page, as text.

    Args:
      comparison: result of `compare.compare`.
      runs: the same runs, results of `run_files.read`.
    """
    names = comparison.names
    styles = [FIRST_STYLE + place % (NUM_STYLES - FIRST_STYLE) for place in range(len(names))]
    sections: dict[str, Html] = {}

    def add(title: str, make: Callable[[], Any]) -> None:
        sections[title] = markup.section(title, markup.guarded(make))

    add(
        "In short",
        lambda: element("div", [element("p", sentence) for sentence in sentences(comparison)], class_="verdict"),
    )
    add("Policies", lambda: _table(comparison))
    add("Learning curves", lambda: _curves(runs, names, styles))
    add("Users over the horizon, under the learned policies", lambda: _users(comparison, runs, styles))
    add("Configuration differences", lambda: _configurations(runs, names))
    add("Version differences", lambda: _versions(runs, names))
    lead = element("p", _about(comparison), class_="muted")
    return markup.page(f"Comparison of {', '.join(names)}", lead, sections)


def _about(comparison: Comparison) -> str:
    horizons = sorted(set(comparison.horizons))
    slates = f"{horizons[0]} slates" if len(horizons) == 1 else f"horizons of {', '.join(map(str, horizons))} slates"
    numbers = sorted(set(comparison.num_units))
    how_many = (
        str(numbers[0]) if len(numbers) == 1 else " to ".join(str(number) for number in (numbers[0], numbers[-1]))
    )
    unit = comparison.unit
    design = (
        f"differences are paired, on the same {how_many} {unit} with the same random draws"
        if comparison.paired
        else f"differences are those of independent samples (Welch), over {how_many} {unit}"
    )
    return f"Cumulative consumed time per user over {slates}; 95% intervals over {unit}; {design}."


def _table(comparison: Comparison) -> Html:
    first, *others = comparison.names
    header: list[Any] = ["policy", *map(markup.name, comparison.names)]
    header += [[markup.name(name), " minus ", markup.name(first)] for name in others]
    rows: list[list[Any]] = []
    for row in comparison.rows:
        label = markup.name(row.policy)
        cells = [_cell(value) for value in row.means] + [_cell(value, sign=True) for value in row.differences[1:]]
        rows.append([element("strong", label) if row.policy == LEARNED else label, *cells])
    return markup.table(header, rows, "Policies in all runs", "compared")


def _curves(runs: Sequence[RunFiles], names: Sequence[str], styles: Sequence[int]) -> list[Html]:
    drawn = []
    for title, metrics in (
        ("Mean cumulative reward in training", [run.metrics for run in runs]),
        ("Mean cumulative reward of validation users", [run.validation for run in runs]),
    ):
        series = [
            line
            for name, rows, style in zip(names, metrics, styles)
            for line in training.as_series(name, curve(rows, training.REWARD), style)
        ]
        drawn.append(charts.line_chart(title, series, "training step"))
    return [charts.legend(list(zip(names, styles))), element("div", drawn, class_="charts")]


def _users(comparison: Comparison, runs: Sequence[RunFiles], styles: Sequence[int]) -> list[Html]:
    names = comparison.names
    portraits = [[part.portrait for part in run.parts if part.portrait is not None] for run in runs]
    known = [place for place, of_run in enumerate(portraits) if of_run]
    if not known:
        return [element("p", "No run has a portrait.json.")]
    drawn = []
    for measure, title in users.MEASURES.items():
        series = []
        for place in known:
            line = users.pooled(portraits[place], LEARNED, portrait_lib.ALL, measure)
            if line is not None:
                middles = [(begin + end) / 2 for begin, end in portraits[place][0].parts]
                series.append(Series(names[place], middles, line.mean, line.low, line.high, styles[place]))
        if series:
            drawn.append(charts.line_chart(title, series, "slate", x_range=(1, max(comparison.horizons))))
    without = [name for place, name in enumerate(names) if place not in known]
    return [
        element("p", f"Without portrait.json: {', '.join(without)}.") if without else Html(),
        charts.legend([(names[place], styles[place]) for place in known]),
        element("div", drawn, class_="charts"),
    ]


def _configurations(runs: Sequence[RunFiles], names: Sequence[str]) -> Html:
    unknown = [name for name, run in zip(names, runs) if run.config is None]
    if unknown:
        return element("p", f"Not known: {', '.join(unknown)} has no config.gin that can be read.")
    differences = report.differences(*(run.config or {} for run in runs))
    if not differences:
        return element("p", "None.")
    rows: list[list[Any]] = [
        [markup.name(name.removeprefix("recsys_po_rl.")), *map(report.value_of, values)] for name, values in differences
    ]
    return markup.table(["parameter", *map(markup.name, names)], rows, "Configuration differences", "differences")


def _versions(runs: Sequence[RunFiles], names: Sequence[str]) -> Html:
    versions = [(run.environment and run.environment.versions) or {} for run in runs]
    differences = report.differences(*versions)
    if not differences:
        return element("p", "None.")
    rows: list[list[Any]] = [[name, *(version or "unknown" for version in values)] for name, values in differences]
    return markup.table(["package", *map(markup.name, names)], rows, "Version differences")


def _cells(value: Optional[Estimate], sign: bool = False) -> tuple[str, str]:
    return ("", "") if value is None else (fixed(value.mean, sign=sign), interval(value.bounds, sign=sign))


def _cell(value: Optional[Estimate], sign: bool = False) -> Html:
    mean, bounds = _cells(value, sign)
    return markup.escaped([f"{mean} ", element("span", bounds, class_="interval")])


def _shown(value: Estimate) -> str:
    return estimate(MeanInterval.from_estimate(value))


def _negated(value: Estimate) -> Estimate:
    return Estimate(-value.mean, -value.high, -value.low, value.num_units)


def _printable(line: str) -> str:
    """Remove characters that control a terminal's cursor or colours; replace the typographic minus by a hyphen."""
    shown = line.replace("\u2212", "-")
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
