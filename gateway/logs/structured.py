"""structlog for workers and commands, with the standard library's loggers (aiohttp, asyncio) led into it.

Levels: `info` for the life of processes, connections and credentials; `warning` for what was mended; `error`
for what an operator must look at; `debug` for the rest. No single push is ever logged at `info`: there are
thousands a second.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import orjson
import structlog

from gateway.logs.redaction import redact

_QUIET: Final = (
    "aiohttp.access",
    "asyncio",
)  # the doors keep their own record; asyncio's debug is not for operators


def configure(level: str = "info", **bound: Any) -> None:
    """Set up all logging of this process. Call it once, before anything is logged.

    Args:
        level: the least level that is written.
        bound: fields of every line of this process ("worker", for example).
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    terminal = sys.stderr.isatty()
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
        logging.getLogger(name).setLevel(logging.WARNING)


class _NamedWriter(structlog.WriteLogger):
    """Writes to stderr and knows its name: `structlog.get_logger("lane")` hands it to the factory."""

    def __init__(self, name: str = "gateway", *_: Any) -> None:
        super().__init__(sys.stderr)
        self.name = name


def _redacted(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return redact(event)


def _json(event: MutableMapping[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
