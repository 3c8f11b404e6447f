"""The plots of a report as figures of plotly. Only this module imports plotly, which takes about a second."""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from plotly import graph_objects
from plotly.offline import get_plotlyjs

from gateway.bench.report.table import amount
from gateway.bench.result import Line, Plot

# Okabe and Ito's colours ("Color Universal Design"): people with any kind of colour blindness tell them apart. Each has
# a contrast of at least 3 to the background of its theme (WCAG 2.2, 1.4.11). Lines and bars differ in form, too.
_LIGHT: Final = ("#0072b2", "#d55e00", "#00805e", "#aa4499")
_DARK: Final = ("#56b4e9", "#e69f00", "#2fb98f", "#cc79a7")
_DASHES: Final = ("solid", "dash", "dot", "dashdot")
_SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up")
_PATTERNS: Final = ("", "/", "x", ".")
_MARKED_MAX: Final = 40
"""Most points of a line that are marked one by one."""
_ROW: Final = 34
_LINES_HEIGHT: Final = 320
_CONFIG: Final = {"responsive": True, "displaylogo": False, "plotlyServerURL": ""}


def library() -> str:
    """The text of plotly.js, from the installed package."""
    text: str = get_plotlyjs()
    return text


def themes() -> dict[str, Any]:
    """The templates of the figures: `light` and `dark`."""
    return {
        "light": _theme("#1c2128", "#d8dde4", _LIGHT),
        "dark": _theme("#dfe3e8", "#39414b", _DARK),
    }


def figure_html(plot: Plot, name: str) -> str:
    """The figure as a part of a page that contains `library`.

    Args:
        plot: the plot.
        name: the id of its element.
    """
    text: str = figure(plot).to_html(
        config=_CONFIG, include_plotlyjs=False, full_html=False, div_id=name, default_height=height(plot)
    )
    return text


def height(plot: Plot) -> int:
    """The height of a figure in pixels."""
    return _ROW * len(plot.lines[0].points) + 90 if plot.kind == "bars" else _LINES_HEIGHT


def figure(plot: Plot) -> Any:
    """The figure of a plot: horizontal bars with their values, or lines. Several runs have their spread."""
    found = graph_objects.Figure(layout=_layout(plot))
    if plot.kind == "bars":
        _add_bars(found, plot)
    else:
        _add_lines(found, plot)
    return found


def _theme(ink: str, grid: str, colours: Sequence[str]) -> dict[str, Any]:
    axis = {"gridcolor": grid, "linecolor": grid, "zerolinecolor": grid}
    layout = {
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": ink},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(colours),
        "xaxis": axis,
        "yaxis": axis,
    }
    return {"layout": layout, "data": {"bar": [{"error_x": {"color": ink}}]}}


def _layout(plot: Plot) -> dict[str, Any]:
    common = {
        "template": themes()["light"],
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "showlegend": len(plot.lines) > 1,
        "legend": {"orientation": "h", "traceorder": "normal", "yanchor": "bottom", "y": 1.02, "x": 0},
    }
    values = {"title": {"text": _safe(plot.unit)}, "rangemode": "tozero", "automargin": True}
    if plot.kind == "bars":
        labels = {"autorange": "reversed", "automargin": True, "ticksuffix": "  ", "showgrid": False}
        room = {"range": [0, _end(plot) * 1.25 or 1.0]}  # for the values beside the bars
        return common | {"barmode": "stack", "xaxis": values | room, "yaxis": labels}
    positions = {"title": {"text": _safe(plot.x_name)}, "automargin": True}
    if plot.log_x:
        positions |= {"type": "log", "dtick": 1}
    return common | {"xaxis": positions, "yaxis": values, "hovermode": "x unified"}


def _end(plot: Plot) -> float:
    """The greatest end of a bar with its spread."""
    return max(end for _, end in _ends(plot))


def _ends(plot: Plot) -> list[tuple[float, float]]:
    """The sum of each row's values, and the end of what is drawn."""
    found = []
    for row in range(len(plot.lines[0].points)):
        total = sum(line.points[row][1] for line in plot.lines)
        last = plot.lines[-1]
        above = last.spreads[row][1] - last.points[row][1] if last.spreads else 0.0
        found.append((total, total + above))
    return found


def _add_bars(found: Any, plot: Plot) -> None:
    labels = [_safe(str(label)) for label, _ in plot.lines[0].points]
    for number, line in enumerate(plot.lines):
        found.add_bar(
            orientation="h",
            name=_safe(line.name),
            x=[value for _, value in line.points],
            y=labels,
            error_x=_errors(line),
            marker={"pattern": {"shape": _PATTERNS[number % len(_PATTERNS)]}},
            hovertemplate=f"%{{y}}: %{{x}} {_safe(plot.unit)}<extra></extra>",
        )
    for label, (total, end) in zip(labels, _ends(plot), strict=True):
        text = _safe(f"{amount(total)} {plot.unit}")
        found.add_annotation(x=end, y=label, text=text, showarrow=False, xanchor="left", xshift=6)


def _add_lines(found: Any, plot: Plot) -> None:
    for number, line in enumerate(plot.lines):
        found.add_scatter(
            mode="lines+markers" if len(line.points) <= _MARKED_MAX else "lines",
            name=_safe(line.name),
            x=[position for position, _ in line.points],
            y=[value for _, value in line.points],
            error_y=_errors(line),
            line={"dash": _DASHES[number % len(_DASHES)]},
            marker={"symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
            hovertemplate=f"%{{y}} {_safe(plot.unit)}",
        )


def _errors(line: Line) -> dict[str, Any]:
    """The spread as error bars: from the lowest to the highest value of several runs."""
    if not line.spreads:
        return {"visible": False}
    values = [value for _, value in line.points]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, line.spreads, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, line.spreads, strict=True)],
        "thickness": 1.5,
        "width": 4 if len(values) <= _MARKED_MAX else 0,
    }


def _safe(text: str) -> str:
    """The text without markup: plotly reads a part of HTML in labels."""
    return escape(text, quote=False)
