"""Plots as inline SVG: horizontal bars, and lines with two axes. Colours are the page's (its CSS classes)."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

from gateway.bench.report.table import amount
from gateway.bench.result import Plot

WIDTH: Final = 640
_ROW: Final = 26
_LABEL: Final = 260
_VALUE: Final = 90
_HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 40
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


def draw(plot: Plot) -> str:
    """The plot as an SVG element."""
    body, height = (_bars(plot), _bars_height(plot)) if plot.kind == "bars" else (_lines(plot), _HEIGHT)
    name = escape(f"{plot.title} ({plot.unit})", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">' + "".join(body) + "</svg>"


def ticks(least: float, most: float, count: int = 5) -> list[float]:
    """Round values from `least` to `most` or just above it, about `count` steps."""
    rough = (most - least) / count or 1.0
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(step * magnitude for step in _STEPS if step * magnitude >= rough * 0.999)
    first = math.floor(least / step)
    return [number * step for number in range(first, math.ceil(most / step - 1e-9) + 1)]


# -- bars ----------------------------------------------------------------------------------------------------


def _bars_height(plot: Plot) -> int:
    return _ROW * len(plot.lines[0].points) + 8


def _bars(plot: Plot) -> Iterator[str]:
    """One row for each label; the values of the lines follow one another in it."""
    labels = [str(label) for label, _ in plot.lines[0].points]
    rows = [[line.points[row][1] for line in plot.lines] for row in range(len(labels))]
    most = max(sum(values) for values in rows) or 1.0
    room = WIDTH - _LABEL - _VALUE
    for row, (label, values) in enumerate(zip(labels, rows, strict=True)):
        y, x = row * _ROW + 4, float(_LABEL)
        yield f'<text class="label" x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(label)}</text>'
        for position, value in enumerate(values):
            width = value / most * room
            size = f'width="{max(width, 1):.1f}" height="18"'
            yield f'<rect class="c{position}" x="{x:.1f}" y="{y}" {size} rx="2"/>'
            x += width
        yield f'<text x="{x + 6:.1f}" y="{y + 15}">{amount(sum(values))} {escape(plot.unit)}</text>'


# -- lines ---------------------------------------------------------------------------------------------------


class _Axis(NamedTuple):
    """One axis, which maps values to positions.

    Attributes:
        low, high: values at the ends.
        start, end: positions of the ends.
        log: whether it is logarithmic.
        marks: labelled values.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool
    marks: Sequence[float]

    def position(self, value: float) -> float:
        """The position in the picture."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)


def _axes(plot: Plot) -> tuple[_Axis, _Axis]:
    xs = [float(x) for line in plot.lines for x, _ in line.points]
    ys = [y for line in plot.lines for _, y in line.points]
    if plot.log_x:
        low, high = min(xs), max(xs)
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        across = [10.0**power for power in range(first, last + 1) if low <= 10.0**power <= high]
    else:
        across = ticks(min(xs), max(xs))
        low, high = across[0], across[-1]
    up = ticks(0.0, max(ys) or 1.0)
    return (
        _Axis(low, high, _LEFT, WIDTH - _RIGHT, plot.log_x, across),
        _Axis(up[0], up[-1], _HEIGHT - _BOTTOM, _TOP, log=False, marks=up),
    )


def _lines(plot: Plot) -> Iterator[str]:
    x_axis, y_axis = _axes(plot)
    for mark in y_axis.marks:
        y = y_axis.position(mark)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{amount(mark)}</text>'
    for mark in x_axis.marks:
        x = x_axis.position(mark)
        yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{amount(mark)}</text>'
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(plot.x_name)}</text>'
    for position, line in enumerate(plot.lines):
        points = " ".join(f"{x_axis.position(float(x)):.1f},{y_axis.position(y):.1f}" for x, y in line.points)
        yield f'<polyline class="s{position}" points="{points}"/>'
