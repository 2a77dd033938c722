"""Charts: what is drawn is what was given."""

import re
import xml.etree.ElementTree as ET

import pytest

from recsys_po_rl.reporting.html import charts
from recsys_po_rl.reporting.html.charts import Mark, Series


def svg_of(figure):
    return ET.fromstring(re.search("<svg.*</svg>", figure, re.DOTALL).group())


def points(path):
    return [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", path)]


def test_places_are_proportional_to_values():
    series = Series("learned", [0, 5, 10], [0.0, 1.0, 2.0], [0.0, 0.5, 1.0], [1.0, 1.5, 2.0], style=1)
    drawn = svg_of(charts.line_chart("Reward", [series], "step"))
    line, band = drawn.find("path[@class='line s1']"), drawn.find("path[@class='band f1']")
    (x0, y0), (x1, y1), (x2, y2) = points(line.get("d"))
    assert (x0, x2) == (charts.LEFT, charts.WIDTH - charts.RIGHT)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.02)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.02)
    assert (y0, y2) == (charts.HEIGHT - charts.BOTTOM, charts.TOP)
    assert len(points(band.get("d"))) == 6
    ticks = [text.text for text in drawn.iter("text")]
    assert {"0", "0.5", "1", "1.5", "2", "10", "step"} <= set(ticks)
    assert drawn.get("aria-label") == "Reward. learned: from 0 to 2."


def test_a_gap_breaks_the_line():
    drawn = svg_of(charts.line_chart("t", [Series("a", [1, 2, 3, 4], [1.0, None, 3.0, 4.0])], "step"))
    assert drawn.find("path").get("d").count("M") == 2


def test_nothing_to_draw_is_said():
    figure = charts.line_chart("t", [Series("a", [1, 2], [None, None]), Series("b", [], [])], "step")
    assert "nothing to draw" in figure
    assert "<svg" not in figure


@pytest.mark.parametrize(
    "values", [[3.0], [0.0, 0.0], [1e12, 1e12], [-1e-9, 1e-9], [1e300, -1e300], [5.0, 5.0 + 1e-12]]
)
def test_any_values_can_be_drawn(values):
    drawn = svg_of(charts.line_chart("t", [Series("a", list(range(len(values))), values)], "step"))
    places = points(drawn.find("path").get("d"))
    assert len(places) == len(values)
    assert all(charts.TOP <= y <= charts.HEIGHT - charts.BOTTOM for _, y in places)


def test_long_lines_are_thinned_to_means():
    many = list(range(1000))
    drawn = svg_of(charts.line_chart("t", [Series("a", many, [float(x % 2) for x in many])], "step"))
    places = points(drawn.find("path").get("d"))
    assert 100 < len(places) <= charts.MAX_POINTS


def test_marks_stand_where_they_happened_and_say_what():
    figure = charts.line_chart(
        "t", [Series("a", [0, 10], [0.0, 1.0])], "step", marks=[Mark(5, "alarm <b>"), Mark(99, "out")]
    )
    (mark,) = svg_of(figure).findall("line[@class='mark']")
    assert float(mark.get("x1")) == pytest.approx((charts.LEFT + charts.WIDTH - charts.RIGHT) / 2)
    assert mark.find("title").text == "alarm <b>"


def test_steps_have_whole_ticks():
    drawn = svg_of(charts.line_chart("t", [Series("a", [1, 2, 3], [0.0, 100.0, 200.0])], "step"))
    assert [text.text for text in drawn.iter("text") if "." in text.text] == []


def test_cells_are_as_dark_as_their_shares():
    figure = charts.heat_map("Topics", [("one", [0.5, None]), ("two", [0.0, 1.0])], ("first", "last"), highest=1.0)
    drawn = svg_of(figure)
    cells = drawn.findall("rect[@class='cell']")
    assert [float(cell.get("fill-opacity")) for cell in cells] == [0.5, 1.0]
    assert [cell.find("title").text for cell in cells] == ["one, part 1: 50.0%", "two, part 2: 100.0%"]
    assert drawn.get("aria-label") == "Topics. In the first part most is one, 50%. In the last part most is two, 100%."
