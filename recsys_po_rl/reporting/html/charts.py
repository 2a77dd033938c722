"""Small inline SVG charts, which follow the page's colours, light or dark, and need no script.

Not drawn by matplotlib, whose pictures have fixed colours and sizes: a page for two themes and two widths would embed
four versions of each, and importing matplotlib takes as long as the rest of a report.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from recsys_po_rl.common.formatting import short
from recsys_po_rl.reporting.html.markup import Html, element
from recsys_po_rl.reporting.html.style import NUM_STYLES

Values = Sequence[Optional[float]]

WIDTH, HEIGHT = 360, 225  # size of a chart in pixels on narrow pages; wider pages enlarge it a little
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 36  # margins around the data
MAX_POINTS = 240  # points of a line; more could not be distinguished
NUM_TICKS = 5
CELL_LABELS = 92  # width of a heat map's labels
CELL_HEIGHT = 17


class Series(NamedTuple):
    """Line of a chart, interrupted where a value is None."""

    label: str
    x: Sequence[float]
    y: Values
    low: Optional[Values] = None  # lower bound of a band, together with `high`
    high: Optional[Values] = None
    style: int = 0  # index below `style.NUM_STYLES`


class Mark(NamedTuple):
    """Event at a position on the x axis."""

    x: float
    label: str


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    note: str = "",
    marks: Sequence[Mark] = (),
    x_range: Optional[tuple[float, float]] = None,
) -> Html:
    """Return a line chart with bands.

    Args:
      title: quantity drawn, with its unit.
      series: the lines; lines without values are omitted.
      x_label: label of the x axis, which has ticks at integers.
      note: remark below the title.
      marks: vertical lines.
      x_range: ends of the x axis; None: the ends of the lines.

    Returns:
      A figure, with a text alternative of both ends of each line; a sentence if there is nothing to draw.
    """
    with_values = [line for line in series if any(value is not None for value in line.y)]
    drawn = [_thinned(line) for line in with_values]
    caption = element("figcaption", title, element("small", note) if note else None)
    if not drawn:
        return element("figure", caption, element("p", "There is nothing to draw yet.", class_="muted"))
    across = _Scale(
        x_range or [x for line in with_values for x in line.x], LEFT, WIDTH - RIGHT, tight=True, least_step=1.0
    )
    values = [
        value
        for line in drawn
        for bound in (line.y, line.low or (), line.high or ())
        for value in bound
        if value is not None
    ]
    up = _Scale(values, HEIGHT - BOTTOM, TOP)
    parts = [_axes(across, up, x_label)]
    parts += [_mark(mark, across) for mark in marks if across.low <= mark.x <= across.high]
    parts += [_band(line, across, up) for line in drawn if line.low is not None and line.high is not None]
    parts += [_line(line, across, up) for line in drawn]
    return element("figure", caption, _svg(WIDTH, HEIGHT, f"{title}. {_ends(drawn, marks)}", parts))


def legend(labels: Sequence[tuple[str, int]]) -> Html:
    """Return the legend of line charts.

    Args:
      labels: labels, each with its style number.
    """
    items = []
    for text, style in labels:
        stroke = element("line", x1=0, x2=32, y1=6, y2=6, class_=f"line s{style % NUM_STYLES}")
        items.append(element("li", element("svg", stroke, viewBox="0 0 32 12", aria_hidden="true"), text))
    return element("ul", items, class_="legend")


def heat_map(
    title: str, rows: Sequence[tuple[str, Values]], x_ends: tuple[str, str], highest: float, note: str = ""
) -> Html:
    """Return a heat map of shares over time, darker for larger shares.

    Args:
      title: quantity drawn.
      rows: from the top a label and its shares, equally many for each row.
      x_ends: labels of the first and last columns.
      highest: the share with the darkest colour.
      note: remark below the title.

    Returns:
      A figure; each cell is labelled with row, column and share, and a text alternative gives the largest share at both
      ends.
    """
    width = (WIDTH - CELL_LABELS - RIGHT) / max(1, len(rows[0][1]))
    bottom = len(rows) * CELL_HEIGHT
    parts = [element("rect", x=CELL_LABELS, y=0, width=_short(width * len(rows[0][1])), height=bottom, class_="frame")]
    for place, (label, shares) in enumerate(rows):
        middle = place * CELL_HEIGHT + CELL_HEIGHT / 2 + 4
        parts.append(element("text", label, x=CELL_LABELS - 6, y=_short(middle), text_anchor="end"))
        for column, share in enumerate(shares):
            if share is not None and share > 0:
                parts.append(
                    element(
                        "rect",
                        element("title", f"{label}, part {column + 1}: {share:.1%}"),
                        x=_short(CELL_LABELS + column * width),
                        y=_short(place * CELL_HEIGHT + 0.5),
                        width=_short(width - 0.5),
                        height=CELL_HEIGHT - 1,
                        fill_opacity=_short(min(1.0, share / highest)),
                        class_="cell",
                    )
                )
    for text, place, anchor in ((x_ends[0], CELL_LABELS, "start"), (x_ends[1], WIDTH - RIGHT, "end")):
        parts.append(element("text", text, x=place, y=bottom + 15, text_anchor=anchor))
    ends = []
    for when, column in (("first", 0), ("last", -1)):
        of_column = [(shares[column], label) for label, shares in rows if shares[column] is not None]
        if of_column:
            share, label = max(of_column, key=lambda pair: pair[0] or 0.0)
            ends.append(f"In the {when} part most is {label}, {share:.0%}.")
    caption = element("figcaption", title, element("small", note) if note else None)
    return element("figure", caption, _svg(WIDTH, bottom + 22, f"{title}. {' '.join(ends)}", parts))


class _Scale:
    """Linear scale from values to positions, with round ticks."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, tight: bool = False, least_step: float = 0.0
    ) -> None:
        low, high = min(values), max(values)
        if low == high:
            low, high = (low - 0.5, high + 0.5) if abs(low) < 1e6 else (0.0, 2 * high)
        step = max(least_step, _round_step((high - low) / NUM_TICKS))
        first, last = math.floor(low / step), math.ceil(high / step)
        if tight:
            self.low, self.high = low, high
        else:
            self.low, self.high = first * step, last * step
        self.ticks = [tick * step for tick in range(first, last + 1) if self.low <= tick * step <= self.high]
        self._start, self._end = start, end

    def __call__(self, value: float) -> str:
        return _short(self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start))


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def _axes(across: _Scale, up: _Scale, x_label: str) -> Html:
    parts = []
    for tick in up.ticks:
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(tick), y2=up(tick), class_="grid"))
        parts.append(element("text", short(_clean(tick)), x=LEFT - 6, y=_short(float(up(tick)) + 4), text_anchor="end"))
    for tick in across.ticks:
        anchor = "end" if float(across(tick)) > WIDTH - RIGHT - 12 else "middle"
        parts.append(element("text", short(_clean(tick)), x=across(tick), y=HEIGHT - BOTTOM + 15, text_anchor=anchor))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(element("text", x_label, x=_short(middle), y=HEIGHT - 5, text_anchor="middle"))
    return element("g", parts)


def _line(series: Series, across: _Scale, up: _Scale) -> Html:
    pieces = [
        "M" + " ".join(f"{across(x)},{up(y)}" for x, y in run) + ("h0.01" if len(run) == 1 else "")
        for run in _runs(series.x, series.y)
    ]
    return element("path", d="".join(pieces), class_=f"line s{series.style % NUM_STYLES}", stroke_linecap="round")


def _band(series: Series, across: _Scale, up: _Scale) -> Html:
    assert series.low is not None
    assert series.high is not None
    both = [None if low is None or high is None else (low, high) for low, high in zip(series.low, series.high)]
    pieces = []
    for run in _runs(series.x, both):
        upper = [f"{across(x)},{up(high)}" for x, (_, high) in run]
        lower = [f"{across(x)},{up(low)}" for x, (low, _) in reversed(run)]
        pieces.append("M" + " ".join(upper + lower) + "Z")
    return element("path", d="".join(pieces), class_=f"band f{series.style % NUM_STYLES}")


def _mark(mark: Mark, across: _Scale) -> Html:
    place = across(mark.x)
    return element("line", element("title", mark.label), x1=place, x2=place, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark")


def _runs(xs: Sequence[float], values: Sequence[Any]) -> list[list[tuple[float, Any]]]:
    """Return the stretches of a line without gaps."""
    runs: list[list[tuple[float, Any]]] = [[]]
    for x, value in zip(xs, values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((x, value))
    return [run for run in runs if run]


def _thinned(series: Series) -> Series:
    """Return a line reduced to at most `MAX_POINTS` points, each the mean of neighbours."""
    every = -(-len(series.x) // MAX_POINTS)
    if every <= 1:
        return series

    def thinned(values: Optional[Values]) -> Any:
        return None if values is None else [_mean(values[at : at + every]) for at in range(0, len(values), every)]

    return series._replace(x=thinned(series.x), y=thinned(series.y), low=thinned(series.low), high=thinned(series.high))


def _mean(values: Values) -> Optional[float]:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _ends(drawn: Sequence[Series], marks: Sequence[Mark]) -> str:
    texts = []
    for series in drawn:
        present = [value for value in series.y if value is not None]
        first, last = (short(float(f"{value:.3g}")) for value in (present[0], present[-1]))
        texts.append(f"{series.label}: from {first} to {last}.")
    return " ".join(texts + [f"{mark.label}." for mark in marks])


def _svg(width: float, height: float, alternative: str, parts: Sequence[Html]) -> Html:
    return element("svg", parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=alternative)


def _clean(tick: float) -> float:
    return float(f"{tick:.6g}")


def _short(place: float) -> str:
    return f"{place:.2f}".rstrip("0").rstrip(".")
