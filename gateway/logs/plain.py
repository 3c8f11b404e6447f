"""Log lines without structlog, for the supervisor: the same fields in the same format."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from gateway.logs.levels import LogLevel, number_of
from gateway.logs.redaction import redact
from gateway.logs.terminal import printable_fields
from gateway.logs.writer import Notice


class PlainLog:
    """Logger that writes one line for each event.

    Args:
        logger: name of the logger.
        stream: the output; None: stderr.
        level: the lowest level that is written.
    """

    def __init__(self, logger: str, stream: TextIO | None = None, level: LogLevel = "info") -> None:
        self._logger, self._stream = logger, stream or sys.stderr
        self._least = number_of(level)

    def info(self, event: str, **fields: Any) -> None:
        """Log an event that may interest an operator."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log a problem that was solved without an operator."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log a problem that an operator must solve."""
        self._write("error", event, fields)

    def _write(self, level: LogLevel, event: str, fields: dict[str, Any]) -> None:
        if number_of(level) < self._least:
            return
        self._stream.write(line(self._logger, level, event, fields, terminal=self._stream.isatty()) + "\n")
        self._stream.flush()


def line(logger: str, level: str, event: str, fields: dict[str, Any], *, terminal: bool) -> str:
    """One line of the log, without the line break."""
    timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    safe = redact({"event": event, **fields})
    if terminal:
        safe = printable_fields(
            {name: value if isinstance(value, str) else str(value) for name, value in safe.items()}
        )
        rest = " ".join(f"{name}={value}" for name, value in safe.items() if name != "event")
        return f"{timestamp} [{level:<8}] {safe['event']:<30} [{logger}] {rest}".rstrip()
    head = {"event": safe.pop("event"), "logger": logger, "level": level, "timestamp": timestamp}
    return json.dumps({**safe, **head}, ensure_ascii=False, default=str)


def dropped_notice(**bound: Any) -> Notice:
    """Return the function that makes the line about dropped lines; `bound`: fields of every line of this process."""
    terminal = sys.stderr is not None and sys.stderr.isatty()

    def notice(number: int) -> str:
        fields = {"lines": number, **bound}
        return line("logs", "warning", "log_lines_dropped", fields, terminal=terminal)

    return notice
