"""The operator's page has one row for each metric and each log event of the code, and no other."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from rules.log_events import log_calls
from rules.source import Breach, Document, Source

PAGE: Final = "docs/operations.md"
METRICS_HOME: Final = "gateway/metrics.py"
METRIC_COLUMNS: Final = ("metric", "labels", "meaning", "what to do")
EVENT_COLUMNS: Final = ("event", "level", "meaning", "cause", "what to do")

_PREFIX: Final = "rhopush_"
_KIND: Final = re.compile(r"_(counter|gauge|histogram|alarm)(_family)?")
_NAME: Final = re.compile(r"`([^`]+)`")
_METRIC: Final = re.compile(r"\brhopush_[a-z0-9_]+")
_SAMPLE: Final = re.compile(r"_(bucket|sum|count)$")
_LEVELS: Final = ("info", "warning", "error")  # debug lines are for developers


class Row(NamedTuple):
    """One row of a table: its line in the page and its cells."""

    line: int
    cells: tuple[str, ...]


class Named(NamedTuple):
    """A metric or an event of the code.

    Attributes:
        path: the file that has it.
        line: the line there.
        details: the labels of a metric, the levels of an event.
    """

    path: str
    line: int
    details: tuple[str, ...]


def metrics(found: Iterable[Source]) -> dict[str, Named]:
    """The metrics of the code, each by its name as Prometheus has it."""
    return {
        name: named
        for source in found
        if source.path == METRICS_HOME
        for node in source.nodes
        if isinstance(node, ast.Call)
        for name, named in _metric(source, node)
    }


def _metric(source: Source, node: ast.Call) -> Iterator[tuple[str, Named]]:
    kind = _KIND.fullmatch(node.func.id) if isinstance(node.func, ast.Name) else None
    texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    if kind is not None and texts:
        name, _, *labels = (str(text) for text in texts)
        ending = "_total" if kind[1] == "counter" else ""
        yield f"{_PREFIX}{name}{ending}", Named(source.path, node.lineno, tuple(labels))


def events(found: Iterable[Source]) -> dict[str, Named]:
    """The events of the code, each with the levels that it is logged at."""
    all_events: dict[str, Named] = {}
    for call in log_calls(found):
        for event in call.events:
            known = all_events.get(event, Named(call.source.path, call.line, ()))
            levels = {*known.details, call.level}
            ordered = tuple(level for level in _LEVELS if level in levels)
            all_events[event] = known._replace(details=ordered)
    return {event: named for event, named in all_events.items() if named.details}


def rows(page: Document, columns: tuple[str, ...]) -> Iterator[Row]:
    """The rows of every table of the page that has these columns."""
    inside = False
    for line, text in enumerate(page.text.splitlines(), 1):
        cells = tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", text)[1:-1])
        if not cells:
            inside = False
        elif cells == columns:
            inside = True
        elif inside and not set(text) <= set("|-: "):
            yield Row(line, cells)


def undocumented_names(found: list[Source], pages: Iterable[Document]) -> Iterator[Breach]:
    """Metrics and events without a row, rows without a metric or an event, rows with other labels or levels."""
    page = next((page for page in pages if page.path == PAGE), Document(PAGE, ""))
    yield from _compared(page, METRIC_COLUMNS, metrics(found))
    yield from _compared(page, EVENT_COLUMNS, events(found))


def _compared(page: Document, columns: tuple[str, ...], named: Mapping[str, Named]) -> Iterator[Breach]:
    seen: set[str] = set()
    for row in rows(page, columns):
        yield from _row_faults(row, columns, named, seen)
    for name, where in named.items():
        if name not in seen:
            yield Breach(where.path, where.line, f"the {columns[0]} {name} has no row in {PAGE}")


def _row_faults(
    row: Row, columns: tuple[str, ...], named: Mapping[str, Named], seen: set[str]
) -> Iterator[Breach]:
    name = row.cells[0].strip("`")
    if name in seen:
        yield Breach(PAGE, row.line, f"{name} has a row above")
    elif name not in named:
        yield Breach(PAGE, row.line, f"the code has no {columns[0]} {name}")
    elif len(row.cells) != len(columns) or not all(row.cells):
        yield Breach(PAGE, row.line, f"{name}: fill the {len(columns)} cells {', '.join(columns)}")
    elif tuple(_NAME.findall(row.cells[1])) != named[name].details:
        yield Breach(
            PAGE, row.line, f"{name}: the code has the {columns[1]} {', '.join(named[name].details)}"
        )
    seen.add(name)


def unknown_metrics(found: list[Source], pages: Iterable[Document]) -> Iterator[Breach]:
    """Names of metrics in documents that the code does not have."""
    known = metrics(found)
    for page in pages:
        for line, text in enumerate(page.text.splitlines(), 1):
            for name in _METRIC.findall(text):
                if name not in known and _SAMPLE.sub("", name) not in known:
                    yield Breach(page.path, line, f"the code has no metric {name}")
