"""The export of spans: a thread posts them to a collector by OpenTelemetry's exporter (OTLP over HTTP with protobuf).

The queue of the thread is bounded: while the collector is slow or unreachable, further spans are dropped, and pings
are not delayed.
"""

import asyncio
import importlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from gateway.errors import BadSetting
from gateway.settings import Settings
from gateway.tracing.spans import SpanData, SpanMaker

_log = structlog.get_logger("tracing")

QUEUE_SPANS: Final = 8_192
"""Most spans that wait for the export in one worker: about 20 MB."""
EXPORT_SPANS: Final = 1_024
"""Largest number of spans in one request."""
EXPORT_INTERVAL_S: Final = 2.0
"""A request costs as much CPU as some dozens of its spans, so one a second would cost a third more in all."""
EXPORT_TIMEOUT_S: Final = 5.0
CLOSE_S: Final = 2.0
"""Longest wait for the last export when a worker ends."""
LOG_INTERVAL_S: Final = 60.0
"""Shortest interval of log events about failed exports."""
_PACKAGES: Final = (
    "opentelemetry.sdk.trace",
    "opentelemetry.sdk.resources",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
_SDK_LOGGER: Final = "opentelemetry"


class ExportLog(logging.Handler):
    """Logs failures of the export, at most one event per `LOG_INTERVAL_S`: its own, and the SDK's log records."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_s = float("-inf")
        self._omitted = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record of the SDK."""
        self.failed(record.getMessage())

    def failed(self, error: str) -> None:
        """Log a failure, or count it if the last event is recent."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._omitted += 1
            return
        self._next_s = now_s + LOG_INTERVAL_S
        _log.warning("trace_export_failed", error=error, omitted=self._omitted)
        self._omitted = 0


_EXPORT_LOG: Final = ExportLog()


class SpanExporter:
    """Exports spans that have ended, from a thread.

    OpenTelemetry's `BatchSpanProcessor` would do the same, but it makes a system call for each span in the thread that
    records it (`os.getpid`), and its spans must be made there too. Both delay pings; here the event loop only appends
    to a list.

    Args:
        exporter: OpenTelemetry's exporter. Only the thread uses it.
        spans: makes OpenTelemetry's spans.
    """

    def __init__(self, exporter: Any, spans: SpanMaker) -> None:
        self._exporter = exporter
        self._span = spans.span
        self._waiting: deque[SpanData] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="trace-export")
        self._thread.start()

    def record(self, step: SpanData) -> None:
        """Record a span. It is dropped if `QUEUE_SPANS` wait for the export."""
        waiting = len(self._waiting)
        if waiting >= QUEUE_SPANS:
            self._dropped += 1
            return
        self._waiting.append(step)
        if waiting + 1 == EXPORT_SPANS:
            self._wake.set()

    def close(self) -> None:
        """Export the waiting spans, then end the thread. Returns without waiting for it."""
        self._closed = True
        self._wake.set()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait(EXPORT_INTERVAL_S)
            self._wake.clear()
            self._export()
        self._export()  # what was recorded until `close`
        self._exporter.shutdown()

    def _export(self) -> None:
        """Export all waiting spans, and report the dropped ones."""
        waiting = self._waiting
        while waiting:
            steps = [waiting.popleft() for _ in range(min(len(waiting), EXPORT_SPANS))]
            try:
                self._exporter.export([self._span(step) for step in steps])  # logs its failures
            except (OSError, ValueError, TypeError, RuntimeError) as error:  # of the encoding, or of the SDK
                _EXPORT_LOG.failed(f"{type(error).__name__}: {error}")
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            _EXPORT_LOG.failed(f"{dropped} spans dropped: more than {QUEUE_SPANS} waited for the export")


def check_packages(settings: Settings) -> None:
    """Check that the packages of the extra `tracing` are installed if tracing is on.

    Raises:
        BadSetting: a package is missing.
    """
    if settings.tracing.endpoint is None:
        return
    try:
        for name in _PACKAGES:
            importlib.import_module(name)
    except ImportError as error:
        raise BadSetting(
            "tracing.endpoint requires the extra `tracing`: pip install '.[tracing]'",
            field="tracing.endpoint",
        ) from error


@asynccontextmanager
async def open_exporter(settings: Settings, worker: str, version: str) -> AsyncIterator[SpanExporter]:
    """Yield an exporter, whose spans are exported until the end of the context.

    Args:
        settings: settings with `tracing.endpoint`.
        worker: name of the worker, an attribute of all its spans.
        version: version of the gateway.

    Raises:
        BadSetting: as `check_packages`.
    """
    check_packages(settings)
    _, resources, otlp = map(importlib.import_module, _PACKAGES)
    resource = _resource(resources, worker, version)
    logger = logging.getLogger(_SDK_LOGGER)
    logger.addHandler(_EXPORT_LOG)  # never removed: the SDK's thread may log after the end of the context
    logger.propagate = False
    otlp_exporter = otlp.OTLPSpanExporter(endpoint=settings.tracing.endpoint, timeout=EXPORT_TIMEOUT_S)
    exporter = SpanExporter(otlp_exporter, SpanMaker(resource, version))
    try:
        yield exporter
    finally:
        await _close(exporter)


def _resource(sdk: Any, worker: str, version: str) -> Any:
    """Return the resource of this process, with a constant hash.

    The SDK hashes the resource of each span that it exports. Its own hash encodes all attributes as JSON.
    """

    about = {
        "service.name": "rhopush",
        "service.version": version,
        "service.instance.id": worker,
        "process.pid": os.getpid(),
    }
    found = sdk.Resource.create(about)
    constant: Any = type("ConstantResource", (sdk.Resource,), {"__hash__": object.__hash__})
    return constant(found.attributes, found.schema_url)


async def _close(exporter: SpanExporter) -> None:
    """Export the waiting spans. The thread is a daemon, so an unreachable collector does not delay the end of the
    process."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        exporter.join()
        try:
            loop.call_soon_threadsafe(ended.set)
        except RuntimeError:  # the loop has ended after CLOSE_S
            return

    exporter.close()
    threading.Thread(target=wait, daemon=True, name="trace-export-end").start()
    try:
        async with asyncio.timeout(CLOSE_S):
            await ended.wait()
    except TimeoutError:
        _log.warning(
            "trace_export_failed", error="the collector did not accept the last spans in time", omitted=0
        )
