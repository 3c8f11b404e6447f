"""Plots as figures: their numbers, units and forms."""

import itertools
import subprocess
import sys
from typing import Any

import pytest

from gateway.bench.report.figures import figure, figure_html, height, library, themes
from gateway.bench.result import Line, Plot

BARS = Plot(
    "CPU a push",
    "bars",
    "µs",
    (Line("one", (("x & y", 10.0), ("z", 5.0))), Line("two", (("x & y", 3.0), ("z", 1.0)))),
)
LINES = Plot(
    "answer",
    "lines",
    "ms",
    (
        Line("half", ((1.0, 0.5), (10.0, 2.0)), ((0.4, 0.7), (1.5, 2.25))),
        Line("80 %", ((1.0, 0.6), (10.0, 3.0)), ((0.5, 0.9), (2.5, 3.25))),
    ),
    x_name="one in so many",
    log_x=True,
)


def drawn(plot: Plot) -> Any:
    return figure(plot).to_plotly_json()


def test_bars_have_the_numbers_of_the_result() -> None:
    found = drawn(BARS)
    assert [one["x"] for one in found["data"]] == [[10.0, 5.0], [3.0, 1.0]]
    assert found["data"][0]["y"] == ["x &amp; y", "z"]
    assert found["layout"]["barmode"] == "stack"
    assert found["layout"]["xaxis"]["title"]["text"] == "µs"
    labels = [(one["x"], one["text"]) for one in found["layout"]["annotations"]]
    assert labels == [(13.0, "13 µs"), (6.0, "6 µs")]
    assert height(BARS) < height(Plot("", "bars", "", (Line("", tuple((str(n), 1.0) for n in range(9))),)))


def test_lines_have_the_numbers_and_the_spread_of_the_result() -> None:
    found = drawn(LINES)
    half, _ = found["data"]
    assert (half["x"], half["y"]) == ([1.0, 10.0], [0.5, 2.0])
    assert half["error_y"]["array"] == pytest.approx([0.2, 0.25])
    assert half["error_y"]["arrayminus"] == pytest.approx([0.1, 0.5])
    layout = found["layout"]
    assert (layout["xaxis"]["type"], layout["xaxis"]["title"]["text"]) == ("log", "one in so many")
    assert layout["yaxis"]["title"]["text"] == "ms"


def test_the_value_beside_a_bar_is_behind_its_spread() -> None:
    plot = Plot("CPU", "bars", "µs", (Line("a", (("x", 10.0),), ((8.0, 14.0),)),))
    found = drawn(plot)
    assert found["layout"]["annotations"][0]["x"] == 14.0
    assert found["layout"]["xaxis"]["range"][1] > 14.0
    assert found["data"][0]["error_x"]["array"] == [4.0]


@pytest.mark.parametrize("plot", [BARS, LINES])
def test_the_parts_of_a_plot_differ_in_more_than_colour(plot: Plot) -> None:
    first, second = drawn(plot)["data"]
    forms = [
        (one.get("line", {}).get("dash"), one["marker"].get("symbol"), one["marker"].get("pattern"))
        for one in (first, second)
    ]
    assert forms[0] != forms[1]
    assert drawn(plot)["layout"]["showlegend"]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of `#rrggbb`."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("theme", "background"), [("light", "#ffffff"), ("dark", "#15181d")])
def test_colours_are_visible_on_their_background(theme: str, background: str) -> None:
    layout = themes()[theme]["layout"]
    for colour, least in [*zip(layout["colorway"], itertools.repeat(3.0)), (layout["font"]["color"], 4.5)]:
        low, high = sorted([luminance(colour), luminance(background)])
        assert (high + 0.05) / (low + 0.05) >= least, colour


def test_labels_hold_no_markup_and_no_end_of_a_script() -> None:
    plot = Plot("t", "lines", "</script>", (Line("<b>", ((1, 1.0),)),), x_name="<a href='//x'>")
    text = figure_html(plot, "one")
    assert text.count("</script>") == 1
    assert "&lt;b" in text.replace("\\u003c", "<")
    assert "<a" not in text.replace("\\u003c", "<")
    assert "</script" not in library()


def test_plotly_is_imported_for_a_page_alone() -> None:
    code = "import sys, gateway.cli.bench, gateway.bench.scenarios.push; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
