"""Log events: literal, in snake_case, a noun phrase or a past participle."""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from rules.source import Breach, Source

LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "error",
}
"""The method of a logger, and the level of the line that it writes."""

_MAKERS: Final = ("get_logger", "getLogger", "PlainLog")
_LOGGER_NAMES: Final = ("log", "logger")
_SNAKE_CASE: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_FIRST_WORDS_REFUSED: Final = ("cannot", "no", "not")
_PARTICIPLES: Final = {"broken", "lost", "missing", "over", "rebuilt", "draining", "listening", "loading"}
_ADJECTIVES: Final = {
    "down",
    "invalid",
    "near",
    "ready",
    "unavailable",
    "unknown",
    "unreachable",
    "unreadable",
    "up",
}
_NOUNS: Final = {"invalidation", "leader", "reason", "retry", "standby", "warning"}
_LAST_WORDS: Final = _PARTICIPLES | _ADJECTIVES | _NOUNS | {"unresponsive"}
"""Words with which an event may end, besides a participle in -ed. A finite verb is refused: it would make a
sentence."""

_LINE_WRITER: Final = "line"  # gateway/logs: line(LOGGER, LEVEL, EVENT, ...), for lines that no logger writes
_LINE_WRITERS_HOME: Final = "gateway/logs"


class LogCall(NamedTuple):
    """A call that writes a line of the log.

    Attributes:
        source: the file.
        line: the line in the file.
        level: of the line that is written; of an exception: error.
        events: the literal events that the call may write; empty: the event is no literal.
    """

    source: Source
    line: int
    level: str
    events: tuple[str, ...]


def log_calls(found: Iterable[Source]) -> Iterator[LogCall]:
    """Each call of a logger in `gateway/` and `protocols/`."""
    for source in found:
        if source.in_room("gateway", "protocols"):
            loggers = _logger_names(source)
            for node in source.nodes:
                if isinstance(node, ast.Call):
                    yield from _log_call(source, node, loggers)


def _log_call(source: Source, node: ast.Call, loggers: set[str]) -> Iterator[LogCall]:
    called = node.func
    if isinstance(called, ast.Attribute) and called.attr in LEVELS and _is_logger(called.value, loggers):
        yield LogCall(source, node.lineno, LEVELS[called.attr], _literals(node.args[:1]))
    elif isinstance(called, ast.Name) and called.id == _LINE_WRITER and source.in_room(_LINE_WRITERS_HOME):
        level = _literals(node.args[1:2])
        if level:  # else: the writer's own call on behalf of a logger
            yield LogCall(source, node.lineno, level[0], _literals(node.args[2:3]))


def _logger_names(source: Source) -> set[str]:
    """Names that the file binds to a new logger, and the usual ones."""
    names = set(_LOGGER_NAMES)
    for node in source.nodes:
        if isinstance(node, ast.Assign) and _makes_logger(node.value):
            names |= {_last_name(target).strip("_") for target in node.targets}
    return names


def _makes_logger(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _last_name(node.func) in _MAKERS


def _is_logger(node: ast.expr, loggers: set[str]) -> bool:
    return _makes_logger(node) or _last_name(node).strip("_") in loggers


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _literals(arguments: list[ast.expr]) -> tuple[str, ...]:
    """The strings of the first argument: one, both of a conditional expression, or none."""
    first = arguments[0] if arguments else None
    if isinstance(first, ast.IfExp):
        one, other = _literals([first.body]), _literals([first.orelse])
        return one + other if one and other else ()
    return (first.value,) if isinstance(first, ast.Constant) and isinstance(first.value, str) else ()


def badly_named_events(found: Iterable[Source]) -> Iterator[Breach]:
    """Events that are no literals, not in snake_case, or sentences."""
    for call in log_calls(found):
        if not call.events:
            yield Breach(call.source.path, call.line, "the event of a log line is a literal")
        for event in call.events:
            fault = event_fault(event)
            if fault is not None:
                yield Breach(call.source.path, call.line, f"log event {event!r}: {fault}")


def event_fault(event: str) -> str | None:
    """Return the fault in the name of an event; None: there is none."""
    words = event.split("_")
    if _SNAKE_CASE.fullmatch(event) is None:
        return "not in snake_case"
    if words[0] in _FIRST_WORDS_REFUSED:
        return f"name the state in place of {words[0]!r}"
    if not words[-1].endswith("ed") and words[-1] not in _LAST_WORDS:
        return "ends with no participle and no noun of the list in tools/rules/log_events.py"
    return None


def borrowed_log_methods(found: Iterable[Source]) -> Iterator[Breach]:
    """Methods of a logger that are passed on and not called: their events cannot be listed."""
    for source in found:
        if not source.in_room("gateway", "protocols"):
            continue
        loggers = _logger_names(source)
        called = {id(node.func) for node in source.nodes if isinstance(node, ast.Call)}
        methods = [
            node
            for node in source.nodes
            if isinstance(node, ast.Attribute) and node.attr in LEVELS and id(node) not in called
        ]
        for node in methods:
            if _is_logger(node.value, loggers):
                yield Breach(source.path, node.lineno, f"call {ast.unparse(node)} where it is named")
