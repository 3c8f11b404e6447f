"""The report as one page: no script, no external resource, readable in light and dark mode."""

from collections.abc import Iterator
from html import escape
from typing import Final

from gateway.bench.report.document import BenchReport
from gateway.bench.report.svg import draw
from gateway.bench.report.table import amount, bar
from gateway.bench.result import Figure, Plot, Ratio, Result

_STYLE: Final = """
:root { color-scheme: light dark; --ink: light-dark(#1c2128, #dfe3e8); --soft: light-dark(#667080, #98a2b0);
  --rule: light-dark(#d8dde4, #39414b); --good: light-dark(#1a7f4b, #4cc38a);
  --bad: light-dark(#b4411f, #f0875f); --c0: #3a78c2; --c1: #d08b2c; --c2: #5a9e6f; --c3: #9a6bb5; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; } p, dd { color: var(--soft); margin: .3rem 0; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0; } td { padding: .15rem .4rem; }
tr + tr td { border-top: 1px solid var(--rule); }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
code { overflow-wrap: anywhere; } .good { color: var(--good); } .bad { color: var(--bad); }
.plot { overflow-x: auto; } .plot svg { width: 100%; min-width: 30rem; height: auto; }
svg text { font-size: 12px; fill: var(--soft); }
svg .label { fill: var(--ink); } svg .grid { stroke: var(--rule); }
polyline { fill: none; stroke-width: 2; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.k { font-size: .85rem; margin-right: 1rem; } .k svg { width: .8em; height: .8em; margin-right: .3em; }
"""


def page(report: BenchReport) -> str:
    """The page as HTML."""
    return "".join(_page(report))


def _page(report: BenchReport) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><title>Rho Push Gateway: benchmark</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    yield "<h1>Rho Push Gateway: benchmark</h1>"
    yield from _facts(report)
    for result in report.results:
        yield from _result(result)


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


def _result(result: Result) -> Iterator[str]:
    yield f'<h2 id="{escape(result.scenario)}">{escape(result.scenario)}</h2><p>{escape(result.proves)}</p>'
    if result.ratios:
        yield "<table>" + "".join(map(_ratio, result.ratios)) + "</table>"
    for note in result.notes:
        yield f"<p>Note: {escape(note)}.</p>"
    for plot in result.plots:
        yield f"<h3>{escape(plot.title)} ({escape(plot.unit)})</h3>{_legend(plot)}"
        yield f'<div class="plot">{draw(plot)}</div>'
    yield "<table>" + "".join(map(_figure, result.figures)) + "</table>"


def _figure(figure: Figure) -> str:
    return f'<tr><td>{escape(figure.name)}<td class="n">{amount(figure.value)}<td>{escape(figure.unit)}'


def _ratio(ratio: Ratio) -> str:
    mark = {True: "good", False: "bad", None: ""}[ratio.reached]
    value = f"{amount(ratio.value)} {escape(ratio.unit)}"
    return f'<tr><td>{escape(ratio.name)}<td class="n">{value}<td class="{mark}">{escape(bar(ratio))}'


def _legend(plot: Plot) -> str:
    """The legend of a plot with more than one line."""
    if len(plot.lines) == 1:
        return ""
    marks = (
        f'<span class="k"><svg viewBox="0 0 1 1"><rect class="c{index}" width="1" height="1"/></svg>'
        f"{escape(line.name)}</span>"
        for index, line in enumerate(plot.lines)
    )
    return "<div>" + "".join(marks) + "</div>"
