import xml.etree.ElementTree as ET

import pytest

from gateway.bench.report.svg import draw, ticks
from gateway.bench.result import Line, Plot

SVG = "{http://www.w3.org/2000/svg}"


def parsed(plot: Plot) -> ET.Element:
    return ET.fromstring(draw(plot))


def test_bars_are_as_long_as_their_values() -> None:
    plot = Plot("CPU", "bars", "µs", (Line("a", (("x & y", 10.0), ("z", 5.0))),))
    bars = [float(bar.attrib["width"]) for bar in parsed(plot).iter("rect")]
    assert bars[0] == pytest.approx(2 * bars[1], abs=0.2)
    assert "x & y" in [text.text for text in parsed(plot).iter("text")]


def test_the_longest_name_of_a_peer_has_room_beside_its_bar() -> None:
    name = "aioapns, 10 connections, 1000 in flight"
    (label, _) = parsed(Plot("CPU", "bars", "µs", (Line("a", ((name, 1.0),)),))).iter("text")
    assert (
        float(label.attrib["x"]) > len(name) * 6.2
    )  # of a sans-serif of 12 px, in which a letter takes so much


def test_stacked_bars_follow_each_other() -> None:
    plot = Plot("CPU", "bars", "µs", (Line("a", (("x", 3.0),)), Line("b", (("x", 1.0),))))
    first, second = parsed(plot).iter("rect")
    assert float(second.attrib["x"]) == pytest.approx(
        float(first.attrib["x"]) + float(first.attrib["width"]), abs=0.2
    )


def test_a_line_goes_up_where_values_do() -> None:
    plot = Plot("m", "lines", "MB", (Line("a", ((1, 0.0), (10, 5.0), (100, 10.0))),), log_x=True)
    (line,) = parsed(plot).iter("polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    xs, ys = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[2] < ys[0]


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 0.9, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, 4, [3.0, 3.2, 3.4, 3.6, 3.8, 4.0]),
        (7, 7, [7]),
    ],
)
def test_marks_are_round_and_cover_the_values(least: float, most: float, expected: list[float]) -> None:
    assert ticks(least, most) == pytest.approx(expected)
