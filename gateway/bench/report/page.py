"""The report as one page, which contains plotly.js once: it can be moved, sent and read without a network.

A folder with the library beside the page would be smaller only for several reports, and loses its plots when the page
is sent alone.
"""

from collections.abc import Iterator
from html import escape
from itertools import count
from typing import Final

import msgspec

from gateway.bench.report.document import BenchReport
from gateway.bench.report.figures import figure_html, library, themes
from gateway.bench.report.table import amount, bar, between
from gateway.bench.result import Figure, Plot, Ratio, Result, Spread

_STYLE: Final = """
:root { color-scheme: light dark; --ink: light-dark(#1c2128, #dfe3e8); --soft: light-dark(#5a6472, #98a2b0);
  --rule: light-dark(#d8dde4, #39414b); --paper: light-dark(#ffffff, #15181d);
  --good: light-dark(#1a7f4b, #4cc38a); --bad: light-dark(#b4411f, #f0875f); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; } p { color: var(--soft); margin: .3rem 0; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0; } td { padding: .15rem .4rem; }
tr + tr td { border-top: 1px solid var(--rule); }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.s { color: var(--soft); }
code { overflow-wrap: anywhere; } .good { color: var(--good); } .bad { color: var(--bad); }
.plot { overflow-x: auto; } .plot > div { min-width: 26rem; }
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""The browser refuses every request to another host."""
_THEMES: Final = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.querySelectorAll(".js-plotly-plot").forEach((one) =>
  Plotly.relayout(one, {template: themes[dark.matches ? "dark" : "light"]}));
dark.addEventListener("change", paint);
paint();
"""
"""The script that gives the figures the colours of the page."""


def page(report: BenchReport) -> str:
    """The page as HTML."""
    return "".join(_page(report))


def _page(report: BenchReport) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><title>Rho Push Gateway: benchmark</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    drawn = any(result.plots for result in report.results)
    if drawn:
        yield f"<script>{library()}</script>"
    yield "<h1>Rho Push Gateway: benchmark</h1>"
    yield from _facts(report)
    numbers = count()
    for result in report.results:
        yield from _result(result, numbers)
    if drawn:
        yield f"<script>const themes = {msgspec.json.encode(themes()).decode()};{_THEMES}</script>"


def _facts(report: BenchReport) -> Iterator[str]:
    machine = report.machine
    where = f"{machine.processor}, {machine.cores} cores, {machine.memory_gb} GB, {machine.system}"
    rows = {
        "Command": report.command,
        "Begun": report.begun,
        "Machine": f"{where}; load average {machine.load:.2f} before the run",
        "Versions": ", ".join(f"{name} {version}" for name, version in report.versions.items()),
    }
    if report.broken_off:
        rows["Broken off"] = report.broken_off
    yield "<table>"
    for name, text in rows.items():
        yield f"<tr><td>{name}<td><code>{escape(text)}</code>"
    yield "</table>"


def _result(result: Result, numbers: Iterator[int]) -> Iterator[str]:
    yield f'<h2 id="{escape(result.scenario)}">{escape(result.scenario)}</h2><p>{escape(result.proves)}</p>'
    if result.ratios:
        yield "<table>" + "".join(map(_ratio, result.ratios)) + "</table>"
    for note in result.notes:
        yield f"<p>Note: {escape(note)}.</p>"
    for plot in result.plots:
        yield from _plot(plot, f"plot-{next(numbers)}")
    yield "<table>" + "".join(map(_figure, result.figures)) + "</table>"


def _plot(plot: Plot, name: str) -> Iterator[str]:
    title = escape(f"{plot.title} ({plot.unit})", quote=True)
    yield f'<h3>{title}</h3><div class="plot" role="img" aria-label="{title}">{figure_html(plot, name)}</div>'
    if any(line.spreads for line in plot.lines):
        yield "<p>Median of the runs, with the lowest and the highest value.</p>"


def _figure(figure: Figure) -> str:
    value = f'<td class="n">{amount(figure.value)}<td>{escape(figure.unit)}'
    return f"<tr><td>{escape(figure.name)}{value}{_spread(figure.spread)}"


def _ratio(ratio: Ratio) -> str:
    mark = {True: "good", False: "bad", None: ""}[ratio.reached]
    value = f"{amount(ratio.value)} {escape(ratio.unit)}"
    verdict = f'<td class="{mark}">{escape(bar(ratio))}'
    return f'<tr><td>{escape(ratio.name)}<td class="n">{value}{_spread(ratio.spread)}{verdict}'


def _spread(spread: Spread | None) -> str:
    return "" if spread is None else f'<td class="s">{between(spread)}'
