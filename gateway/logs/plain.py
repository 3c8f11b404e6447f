"""Log lines without structlog, for the supervisor: the same fields in the same form."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from gateway.logs.redaction import redact


class PlainLog:
    """Writes one line an event.

    Args:
        logger: who speaks.
        stream: where to; None: stderr.
    """

    def __init__(self, logger: str, stream: TextIO | None = None) -> None:
        self._logger, self._stream = logger, stream or sys.stderr

    def info(self, event: str, **fields: Any) -> None:
        """Something that an operator may want to know."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something that was mended and should not have happened."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something that an operator must look at."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        safe = redact({"event": event, **fields})
        if self._stream.isatty():
            rest = " ".join(f"{name}={value}" for name, value in safe.items() if name != "event")
            line = f"{timestamp} [{level:<8}] {safe['event']:<30} [{self._logger}] {rest}".rstrip()
        else:
            head = {
                "event": safe.pop("event"),
                "logger": self._logger,
                "level": level,
                "timestamp": timestamp,
            }
            line = json.dumps({**safe, **head}, ensure_ascii=False, default=str)
        self._stream.write(line + "\n")
        self._stream.flush()
