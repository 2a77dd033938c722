"""Report sections on users over the horizon and on the documents shown, from portrait.json."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.common.formatting import fixed, interval, is_interval, is_number, percent
from recsys_po_rl.evaluation import portrait as portrait_lib
from recsys_po_rl.evaluation import price, statistics
from recsys_po_rl.reporting.html import charts, markup
from recsys_po_rl.reporting.html.charts import Series
from recsys_po_rl.reporting.html.markup import Html, element

LEARNED = "learned"
MEASURES = {
    "reward_per_step": "Reward per slate",
    "click_rate": "Click rate",
    "mean_quality_consumed": "Mean quality of what is consumed",
    "share_positive_quality": "Share of consumption with positive quality",
    "interest_drift": "Interest drift, distance from the first interest",
}
# Policies drawn, if they were evaluated: the learned policy, and both ends of the gap.
COMPARED = {LEARNED: 1, price.FLOOR: 5, price.CEILING: 2}
SEGMENTS = {
    "toward_trash": ("begin toward trash", 2),
    "between": ("between", 4),
    "toward_nutrition": ("begin toward nutrition", 3),
}
LEAST_SHOWN = 0.005  # share of slates below which documents are not listed
MAX_TOPIC_SHOWN = 14  # characters of a topic's name beside a chart
MAX_DOCUMENT_TABLES = 3  # number of seeds whose documents are listed


class Line(NamedTuple):
    """Measure by part of the horizon."""

    mean: list[Optional[float]]
    low: list[Optional[float]]
    high: list[Optional[float]]


def pooled(portraits: Sequence[Mapping[str, Any]], policy: str, segment: str, measure: str) -> Optional[Line]:
    """Return a measure of one run, with intervals over users, or of several runs, with intervals over runs.

    Args:
      portraits: contents of portrait.json, at least one.
      policy: policy name.
      segment: one of `portrait.SEGMENTS`, or `portrait.ALL`.
      measure: name of the measure.

    Returns:
      The line, None if a portrait lacks the measure.
    """
    measures = [
        portrait["policies"].get(policy, {}).get("users", {}).get(segment, {}).get(measure) for portrait in portraits
    ]
    if any(measured is None for measured in measures):
        return None
    if len(measures) == 1:
        bounds = [ends if is_interval(ends) else (None, None) for ends in measures[0]["interval95"]]
        return Line(list(measures[0]["mean"]), [low for low, _ in bounds], [high for _, high in bounds])
    estimates = []
    for values in zip(*(measured["mean"] for measured in measures)):
        present = [value for value in values if value is not None]
        estimates.append(statistics.mean_interval(np.array(present)) if present else None)
    return Line(
        [None if estimate is None else estimate.mean for estimate in estimates],
        [None if estimate is None else estimate.bounds[0] for estimate in estimates],
        [None if estimate is None else estimate.bounds[1] for estimate in estimates],
    )


def users(portraits: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Return charts of users over the horizon: by policy, and for the learned policy by initial segment."""
    first = portraits[0]
    names = [name for name in COMPARED if all(name in portrait["policies"] for portrait in portraits)]
    unit = _unit(portraits)
    by_policy = _charts(portraits, [(name, name, portrait_lib.ALL, COMPARED[name]) for name in names])
    parts = [
        element(
            "p",
            f"The horizon of {first['horizon']} slates in {len(first['parts'])} parts. "
            f"Bands are 95% intervals over {unit}.",
        ),
        markup.section("By policy", charts.legend([(name, COMPARED[name]) for name in names]), by_policy, level=3),
    ]
    segments = [
        name for name in SEGMENTS if all(name in portrait["policies"][LEARNED]["users"] for portrait in portraits)
    ]
    if segments:
        shown = [(SEGMENTS[name][0], LEARNED, name, SEGMENTS[name][1]) for name in segments]
        parts.append(
            markup.section(
                "By where their interest begins, under the learned policy",
                element("p", _about_segments(portraits, segments)),
                charts.legend([(label, style) for label, _, _, style in shown]),
                _charts(portraits, shown),
                level=3,
            )
        )
    parts.append(_numbers(portraits))
    return parts


def _unit(portraits: Sequence[Mapping[str, Any]]) -> str:
    if len(portraits) > 1:
        return f"{len(portraits)} seeds"
    return f"{portraits[0]['policies'][LEARNED]['num_users']} users"


def _charts(portraits: Sequence[Mapping[str, Any]], lines: Sequence[tuple[str, str, str, int]]) -> Html:
    middles = [(begin + end) / 2 for begin, end in portraits[0]["parts"]]
    drawn = []
    for measure, title in MEASURES.items():
        drawable = [
            (label, pooled(portraits, policy, segment, measure), style) for label, policy, segment, style in lines
        ]
        series = [
            Series(label, middles, line.mean, line.low, line.high, style)
            for label, line, style in drawable
            if line is not None
        ]
        if series:
            drawn.append(charts.line_chart(title, series, "slate", x_range=(1, portraits[0]["horizon"])))
    return element("div", drawn, class_="charts")


def _about_segments(portraits: Sequence[Mapping[str, Any]], segments: Sequence[str]) -> str:
    tastes = []
    for name in segments:
        values = [portrait["policies"][LEARNED]["segments"][name]["mean_taste"] for portrait in portraits]
        tastes.append(
            fixed(float(np.mean(values)), sign=True) if all(is_number(value) for value in values) else "unknown"
        )
    return (
        "Thirds of the users, by the mean quality of the document that they would choose at the start, were the whole "
        f"catalogue one slate: {tastes[0]} on average in the third toward trash, {tastes[1]} between, {tastes[-1]} in "
        "the third toward nutrition."
    )


def _numbers(portraits: Sequence[Mapping[str, Any]]) -> Html:
    lines = {measure: pooled(portraits, LEARNED, portrait_lib.ALL, measure) for measure in MEASURES}
    present = {measure: line for measure, line in lines.items() if line is not None}
    rows = []
    for place, (begin, end) in enumerate(portraits[0]["parts"]):
        cells = [
            f"{fixed(line.mean[place], 3)} {interval([line.low[place], line.high[place]], 3)}"
            if line.mean[place] is not None
            else "none"
            for line in present.values()
        ]
        rows.append([f"{begin}\u2013{end}", *cells])
    table = markup.table(
        ["slates", *(MEASURES[measure] for measure in present)],
        rows,
        "The learned policy's users in numbers",
        "numbers",
    )
    return element("details", element("summary", "The learned policy's users in numbers"), table)


def shown(portraits: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Html]:
    """Return the documents shown by the learned policy: topics over time, documents early and late.

    Args:
      portraits: contents of portrait.json, at least one.
      names: names of the runs, if there are several.
    """
    parts = [
        markup.section("Topics over the horizon", _topic_maps(portraits), level=3),
    ]
    tables: list[Any] = []
    for content, name in list(zip(portraits, names))[:MAX_DOCUMENT_TABLES]:
        learned, topics = content["policies"][LEARNED], _topic_names(content)
        first, last = content["parts"][0], content["parts"][-1]
        of_run = f" ({name})" if len(portraits) > 1 else ""
        pair = [
            _documents(learned["documents_early"], f"Slates {first[0]} to {first[1]}{of_run}", topics),
            _documents(learned["documents_late"], f"Slates {last[0]} to {last[1]}{of_run}", topics),
        ]
        tables.append(element("div", pair, class_="pair"))
    if len(portraits) > MAX_DOCUMENT_TABLES:
        tables.append(element("p", "The reports in the folders of the other seeds list theirs.", class_="muted"))
    parts.append(markup.section("Documents shown most, early and late", tables, level=3))
    return parts


def _topic_maps(portraits: Sequence[Mapping[str, Any]]) -> list[Any]:
    first = portraits[0]
    maps = [
        ("Shown by the learned policy, share of the slots", _mix(portraits, LEARNED, "topics_shown")),
        ("Clicked under the learned policy, share of the clicks", _mix(portraits, LEARNED, "topics_clicked")),
    ]
    if all(price.CEILING in entry["policies"] for entry in portraits):
        maps.append(("Shown by the reference that sees the interest", _mix(portraits, price.CEILING, "topics_shown")))
    highest = max((share for _, mix in maps for of_part in mix if of_part for share in of_part), default=1.0) or 1.0
    topics = first.get("topics") or [{"topic": topic, "mean_quality": None} for topic in range(_num_topics(maps))]
    qualities = {entry["topic"]: entry["mean_quality"] for entry in topics}
    names = {topic: validation.cut(name, MAX_TOPIC_SHOWN) for topic, name in _topic_names(first).items()}
    order = sorted(
        range(len(topics)), key=lambda topic: -qualities[topic] if is_number(qualities[topic]) else float("inf")
    )
    drawn = []
    for title, mix in maps:
        rows = [
            (
                f"{names.get(topic, f'topic {topic}')} ({fixed(qualities[topic], 1, sign=True)})"
                if is_number(qualities[topic])
                else names.get(topic, f"topic {topic}"),
                [of_part[topic] if of_part else None for of_part in mix],
            )
            for topic in order
        ]
        drawn.append(charts.heat_map(title, rows, ("slate 1", f"slate {first['horizon']}"), highest))
    brackets = "In brackets the mean quality of a topic's documents, " + (
        "in the first seed's world" if len(portraits) > 1 else "the most nutritious topics on top"
    )
    return [
        element("p", f"{brackets}. The darkest cell stands for {percent(highest)}."),
        element("div", drawn, class_="charts"),
    ]


def _num_topics(maps: Sequence[tuple[str, Any]]) -> int:
    return max((len(of_part) for _, mix in maps for of_part in mix if of_part), default=0)


def _mix(portraits: Sequence[Mapping[str, Any]], policy: str, key: str) -> list[Optional[list[float]]]:
    """Return the shares of topics by part, averaged over runs."""
    mixes = []
    for of_part in zip(*(portrait["policies"][policy][key] for portrait in portraits)):
        present = [np.asarray(shares, np.float64) for shares in of_part if shares is not None]
        mixes.append(np.mean(present, axis=0).tolist() if present else None)
    return mixes


def _topic_names(portrait: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the topics that have one, by topic."""
    return {entry["topic"]: str(entry["name"]) for entry in portrait.get("topics") or () if "name" in entry}


def _documents(documents: Sequence[Mapping[str, Any]], title: str, names: Mapping[int, str]) -> Html:
    rows = [
        [
            str(doc.get("document", doc["doc_id"])),
            names.get(doc["topic"], str(doc["topic"])),
            fixed(doc["quality"], sign=True),
            percent(doc["in_slates"]),
            percent(doc["click_rate"]),
        ]
        for doc in documents
        if not is_number(doc["in_slates"]) or doc["in_slates"] >= LEAST_SHOWN
    ]
    table = markup.table(["document", "topic", "quality", "in slates", "clicked when shown"], rows, title, "numbers")
    return element("div", element("p", element("strong", title)), table)
