"""Page report.html of a pretraining."""

import functools
from collections.abc import Sequence
from typing import Any

from recsys_po_rl.common.formatting import as_number
from recsys_po_rl.evaluation.ranking import MEASURES
from recsys_po_rl.reporting import pretraining_text
from recsys_po_rl.reporting.html import charts, markup
from recsys_po_rl.reporting.html.charts import Series
from recsys_po_rl.reporting.html.markup import Html, element
from recsys_po_rl.reporting.html.report import value_of
from recsys_po_rl.run_folder.pretraining_file import Pretraining
from recsys_po_rl.run_folder.run_files import Row, RunFiles


def page(run: RunFiles, record: Pretraining, epochs: Sequence[Row]) -> str:
    """Return the whole page, as text.

    Args:
      run: the folder's configuration and environment.
      record: content of pretraining.json.
      epochs: rows of pretraining.csv.
    """
    sections = {
        title: markup.section(title, markup.guarded(show))
        for title, show in (
            ("Measures", functools.partial(_measures, record)),
            ("Training", functools.partial(_training, epochs)),
            ("Log", functools.partial(_log, record)),
            ("Configuration", functools.partial(_configuration, run)),
        )
    }
    lead = element("p", pretraining_text.training_sentence(record), class_="muted")
    return markup.page(f"Pretraining of {run.name}", [lead, *_problems(run)], sections)


def _problems(run: RunFiles) -> list[Html]:
    return [element("div", markup.bulleted(list(run.problems)), class_="warn")] if run.problems else []


def _measures(record: Pretraining) -> list[Any]:
    rows: list[list[Any]] = [
        [label, *(pretraining_text.cell(label, by_measure[measure]) for measure in MEASURES)]
        for label, by_measure in pretraining_text.rows(record)
    ]
    header = ["", *(pretraining_text.heading(measure) for measure in MEASURES)]
    caption = pretraining_text.caption(record)
    return [
        element("p", f"{caption}."),
        markup.table(header, rows, caption, "numbers"),
        element("p", f"{pretraining_text.RANKING_NOTE} {pretraining_text.INTERVAL_NOTE}", class_="muted"),
    ]


def _training(epochs: Sequence[Row]) -> Html:
    if not epochs:
        return element("p", "There are no rows in pretraining.csv.")
    steps = [as_number(row.get("epoch")) or 0.0 for row in epochs]
    series = [
        Series(label, steps, [as_number(row.get(column)) for row in epochs], style=style)
        for label, column, style in (("training users", "loss", 1), ("validation users", "validation_loss", 3))
    ]
    return charts.line_chart(
        "Cross-entropy of the next document, nats", series, "epoch", "The loss in training is a mean over the epoch."
    )


def _log(record: Pretraining) -> Html:
    log = record.log
    facts: list[list[Any]] = [
        ["rows", f"{log.num_rows:,}"],
        ["clicks", f"{log.num_clicks:,}"],
        ["users trained on", f"{log.num_users.training:,}"],
        ["users for stopping", f"{log.num_users.validation:,}"],
        ["users for the measures", f"{log.num_users.test:,}"],
    ]
    return markup.table(["what", "number"], facts, "Content of the log", "numbers")


def _configuration(run: RunFiles) -> Html:
    if run.config is None:
        return element("p", "Not known: there is no config.gin.")
    rows: list[list[Any]] = [
        [markup.name(name.removeprefix("recsys_po_rl.")), value_of(value)] for name, value in sorted(run.config.items())
    ]
    return markup.table(["parameter", "value"], rows, "Configuration", "differences")
