"""Structured logs of workers and commands by structlog, including the standard library's loggers (aiohttp, asyncio).

Levels: `info` for the life cycle of processes, connections and credentials; `warning` for problems that were solved;
`error` for problems that an operator must solve; `debug` for the rest. Single deliveries are never logged at `info`,
since there are thousands a second.
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import orjson
import structlog

from gateway.logs.levels import LogLevel, number_of
from gateway.logs.redaction import redact
from gateway.logs.terminal import printable_fields

_QUIET: Final = ("aiohttp.access", "asyncio")
"""Loggers that log warnings and errors only: the HTTP API counts its requests itself, and asyncio's debug lines are not
for operators."""


def configure(level: LogLevel = "info", **bound: Any) -> None:
    """Configure all logging of this process. Call it once, before anything is logged.

    Args:
        level: the lowest level that is written.
        bound: fields of every line of this process ("worker", for example).
    """
    least = number_of(level)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    terminal = sys.stderr.isatty()
    if terminal:
        shared.append(_printable)
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(_json)
    )
    structlog.configure(
        processors=[structlog.stdlib.add_logger_name, *shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=_NamedWriter,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
    _lead_in_standard_loggers(least, shared, render)


def _lead_in_standard_loggers(
    least: int, shared: list[structlog.typing.Processor], render: structlog.typing.Processor
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(least, logging.INFO))
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))


class _NamedWriter(structlog.WriteLogger):
    """Logger with a name that writes to stderr; `structlog.get_logger("lane")` passes the name to the factory."""

    def __init__(self, name: str = "gateway", *_: Any) -> None:
        super().__init__(sys.stderr)
        self.name = name


def _redacted(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return redact(event)


def _printable(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return printable_fields(event)


def _json(event: MutableMapping[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (
        orjson.JSONEncodeError
    ):  # half of a surrogate pair, or an integer beyond 64 bits: a line must not be lost
        return json.dumps(dict(event), default=str)
