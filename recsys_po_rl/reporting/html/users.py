"""Report sections on users over the horizon and on the documents shown, from portrait.json."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.common import validation
from recsys_po_rl.common.formatting import fixed, interval, is_number, percent
from recsys_po_rl.evaluation import portrait as portrait_lib
from recsys_po_rl.evaluation import price, statistics
from recsys_po_rl.evaluation.portrait import PolicyPortrait, Portrait, ShownDocument
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


def pooled(portraits: Sequence[Portrait], policy: str, segment: str, measure: str) -> Optional[Line]:
    """Return a measure of one run, with intervals over users, or of several runs, with intervals over runs.

    Args:
      portraits: portraits of the runs, at least one.
      policy: policy name.
      segment: one of `portrait.SEGMENTS`, or `portrait.ALL`.
      measure: name of the measure.

    Returns:
      The line, None if a portrait lacks the measure.
    """
    by_run = [
        portrait.policies[policy].users.get(segment, {}).get(measure)
        for portrait in portraits
        if policy in portrait.policies
    ]
    measures = [in_run for in_run in by_run if in_run is not None]
    if len(measures) < len(portraits):
        return None
    if len(measures) == 1:
        bounds = [(None, None) if ends is None or None in ends else ends for ends in measures[0].interval95]
        return Line(list(measures[0].mean), [low for low, _ in bounds], [high for _, high in bounds])
    estimates = []
    for values in zip(*(in_run.mean for in_run in measures)):
        present = [value for value in values if value is not None]
        estimates.append(statistics.mean_interval(np.array(present)) if present else None)
    return Line(
        [None if estimate is None else estimate.mean for estimate in estimates],
        [None if estimate is None else estimate.bounds[0] for estimate in estimates],
        [None if estimate is None else estimate.bounds[1] for estimate in estimates],
    )


def users(portraits: Sequence[Portrait]) -> list[Html]:
    """Return charts of users over the horizon: by policy, and for the learned policy by initial segment."""
    first = portraits[0]
    names = [name for name in COMPARED if all(name in portrait.policies for portrait in portraits)]
    unit = _unit(portraits)
    by_policy = _charts(portraits, [(name, name, portrait_lib.ALL, COMPARED[name]) for name in names])
    parts = [
        element(
            "p",
            f"The horizon of {first.horizon} slates in {len(first.parts)} parts. Bands are 95% intervals over {unit}.",
        ),
        markup.section("By policy", charts.legend([(name, COMPARED[name]) for name in names]), by_policy, level=3),
    ]
    segments = [name for name in SEGMENTS if all(name in portrait.policies[LEARNED].users for portrait in portraits)]
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


def _unit(portraits: Sequence[Portrait]) -> str:
    if len(portraits) > 1:
        return f"{len(portraits)} seeds"
    return f"{portraits[0].policies[LEARNED].num_users} users"


def _charts(portraits: Sequence[Portrait], lines: Sequence[tuple[str, str, str, int]]) -> Html:
    middles = [(begin + end) / 2 for begin, end in portraits[0].parts]
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
            drawn.append(charts.line_chart(title, series, "slate", x_range=(1, portraits[0].horizon)))
    return element("div", drawn, class_="charts")


def _about_segments(portraits: Sequence[Portrait], segments: Sequence[str]) -> str:
    tastes = []
    for name in segments:
        means = [portrait.policies[LEARNED].segments[name].mean_taste for portrait in portraits]
        known = [mean for mean in means if mean is not None]
        tastes.append(fixed(float(np.mean(known)), sign=True) if len(known) == len(means) else "unknown")
    return (
        "Thirds of the users, by the mean quality of the document that they would choose at the start, were the whole "
        f"catalogue one slate: {tastes[0]} on average in the third toward trash, {tastes[1]} between, {tastes[-1]} in "
        "the third toward nutrition."
    )


def _numbers(portraits: Sequence[Portrait]) -> Html:
    lines = {measure: pooled(portraits, LEARNED, portrait_lib.ALL, measure) for measure in MEASURES}
    present = {measure: line for measure, line in lines.items() if line is not None}
    rows = []
    for place, (begin, end) in enumerate(portraits[0].parts):
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


def shown(portraits: Sequence[Portrait], names: Sequence[str]) -> list[Html]:
    """Return the documents shown by the learned policy: topics over time, documents early and late.

    Args:
      portraits: portraits of the runs, at least one.
      names: names of the runs, if there are several.
    """
    parts = [
        markup.section("Topics over the horizon", _topic_maps(portraits), level=3),
    ]
    tables: list[Any] = []
    for content, name in list(zip(portraits, names))[:MAX_DOCUMENT_TABLES]:
        learned, topics = content.policies[LEARNED], _topic_names(content)
        first, last = content.parts[0], content.parts[-1]
        of_run = f" ({name})" if len(portraits) > 1 else ""
        pair = [
            _documents(learned.documents_early, f"Slates {first[0]} to {first[1]}{of_run}", topics),
            _documents(learned.documents_late, f"Slates {last[0]} to {last[1]}{of_run}", topics),
        ]
        tables.append(element("div", pair, class_="pair"))
    if len(portraits) > MAX_DOCUMENT_TABLES:
        tables.append(element("p", "The reports in the folders of the other seeds list theirs.", class_="muted"))
    parts.append(markup.section("Documents shown most, early and late", tables, level=3))
    return parts


def _topic_maps(portraits: Sequence[Portrait]) -> list[Any]:
    first = portraits[0]
    maps = [
        (
            "Shown by the learned policy, share of the slots",
            _mix(portraits, LEARNED, lambda policy: policy.topics_shown),
        ),
        (
            "Clicked under the learned policy, share of the clicks",
            _mix(portraits, LEARNED, lambda policy: policy.topics_clicked),
        ),
    ]
    if all(price.CEILING in portrait.policies for portrait in portraits):
        maps.append(
            (
                "Shown by the reference that sees the interest",
                _mix(portraits, price.CEILING, lambda policy: policy.topics_shown),
            )
        )
    highest = max((share for _, mix in maps for of_part in mix if of_part for share in of_part), default=1.0) or 1.0
    qualities: Mapping[int, Optional[float]] = {topic.topic: topic.mean_quality for topic in first.topics or ()}
    qualities = qualities or dict.fromkeys(range(_num_topics(maps)))
    names = {topic: validation.cut(name, MAX_TOPIC_SHOWN) for topic, name in _topic_names(first).items()}
    order = sorted(qualities, key=lambda topic: float("inf") if (mean := qualities[topic]) is None else -mean)
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
        drawn.append(charts.heat_map(title, rows, ("slate 1", f"slate {first.horizon}"), highest))
    brackets = "In brackets the mean quality of a topic's documents, " + (
        "in the first seed's world" if len(portraits) > 1 else "the most nutritious topics on top"
    )
    return [
        element("p", f"{brackets}. The darkest cell stands for {percent(highest)}."),
        element("div", drawn, class_="charts"),
    ]


def _num_topics(maps: Sequence[tuple[str, portrait_lib.Shares]]) -> int:
    return max((len(of_part) for _, mix in maps for of_part in mix if of_part), default=0)


def _mix(
    portraits: Sequence[Portrait], policy: str, shares_of: Callable[[PolicyPortrait], portrait_lib.Shares]
) -> portrait_lib.Shares:
    """Return the shares of topics by part, averaged over runs."""
    mixes: portrait_lib.Shares = []
    for by_run in zip(*(shares_of(portrait.policies[policy]) for portrait in portraits)):
        present = [np.asarray(shares, np.float64) for shares in by_run if shares is not None]
        mixes.append(np.mean(present, axis=0).tolist() if present else None)
    return mixes


def _topic_names(portrait: Portrait) -> dict[int, str]:
    """Return the names of the topics that have one, by topic."""
    return {topic.topic: topic.name for topic in portrait.topics or () if topic.name is not None}


def _documents(documents: Sequence[ShownDocument], title: str, names: Mapping[int, str]) -> Html:
    rows = [
        [
            str(doc.doc_id if doc.document is None else doc.document),
            names.get(doc.topic, str(doc.topic)),
            fixed(doc.quality, sign=True),
            percent(doc.in_slates),
            percent(doc.click_rate),
        ]
        for doc in documents
        if doc.in_slates >= LEAST_SHOWN
    ]
    table = markup.table(["document", "topic", "quality", "in slates", "clicked when shown"], rows, title, "numbers")
    return element("div", element("p", element("strong", title)), table)
