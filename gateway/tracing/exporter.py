"""The export of spans: a thread posts them to a collector.

The queue of the thread is bounded. While the collector is unreachable or overloaded, its spans wait; if it is full,
further spans are dropped. Pings are never delayed.
"""

import asyncio
import importlib
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from gateway.errors import BAD_DATA, BadSetting
from gateway.settings import Settings
from gateway.tracing.collector import Collector, Failure
from gateway.tracing.spans import SpanData, SpanEncoder, Value

_log = structlog.get_logger("tracing")

QUEUE_SPANS: Final = 8_192
"""Most spans that wait for the export in one worker: about 5 MB."""
EXPORT_SPANS: Final = 1_024
"""Largest number of spans in one request."""
EXPORT_INTERVAL_S: Final = 2.0
"""A request costs as much CPU as hundreds of its spans."""
RETRY_MAX_S: Final = 60.0
"""Longest wait after a failure. Each further failure doubles the wait, from `EXPORT_INTERVAL_S`."""
CLOSE_S: Final = 2.0
"""Longest wait for the last export when a worker ends."""
LOG_INTERVAL_S: Final = 60.0
"""Shortest interval of log events about failed exports."""
_RESOURCES: Final = "opentelemetry.sdk.resources"
_PACKAGES: Final = (
    _RESOURCES,
    "opentelemetry.util.re",
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    "urllib3",
)


class ExportLog:
    """Logs failures of the export, at most one event per `LOG_INTERVAL_S`."""

    def __init__(self) -> None:
        self._next_s = float("-inf")
        self._omitted = 0

    def failed(self, error: str) -> None:
        """Log a failure, or count it if the last event is recent."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._omitted += 1
            return
        self._next_s = now_s + LOG_INTERVAL_S
        _log.warning("trace_export_failed", error=error, omitted=self._omitted)
        self._omitted = 0


class SpanExporter:
    """Exports spans that have ended, from a thread. The event loop only appends them to a list.

    OpenTelemetry's `BatchSpanProcessor` makes a system call for each span in the thread that records it
    (`os.getpid`), and gives up spans after some seconds without the collector.

    Args:
        collector: receives the requests. Only the thread uses it.
        encoder: encodes the spans.
    """

    def __init__(self, collector: Collector, encoder: SpanEncoder) -> None:
        self._collector = collector
        self._encode = encoder.encode
        self._waiting: deque[SpanData] = deque()
        self._dropped = 0
        self._log = ExportLog()
        self._failures = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="trace-export")
        self._thread.start()

    def record(self, span: SpanData) -> None:
        """Record a span. It is dropped if `QUEUE_SPANS` wait for the export."""
        waiting = len(self._waiting)
        if waiting >= QUEUE_SPANS:
            self._dropped += 1
            return
        self._waiting.append(span)
        if waiting + 1 == EXPORT_SPANS:
            self._wake.set()

    def close(self) -> None:
        """Export the waiting spans, then end the thread. Returns without waiting for it."""
        self._closing.set()
        self._wake.set()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(EXPORT_INTERVAL_S)
            self._wake.clear()
            self._closing.wait(self.export())
        self.export()  # what was recorded until `close`
        self._collector.close()

    def export(self) -> float:
        """Export the waiting spans, and report the dropped ones. The thread calls it.

        Returns:
            How long not to export, in seconds; 0: all spans are exported or given up.
        """
        pause_s = 0.0
        while self._waiting and not pause_s:
            pause_s = self._export_some()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._log.failed(f"{dropped} spans dropped: more than {QUEUE_SPANS} waited for the export")
        return pause_s

    def _export_some(self) -> float:
        """Export the first waiting spans. If the collector may accept them later, they wait on.

        Returns:
            How long not to export, in seconds; 0: the spans are exported or given up.
        """
        waiting = self._waiting
        spans = [waiting.popleft() for _ in range(min(len(waiting), EXPORT_SPANS))]
        failure = self._post(spans)
        if failure is None:
            self._failures = 0
            return 0.0
        self._log.failed(failure.reason)
        if not failure.again:
            return 0.0
        waiting.extendleft(reversed(spans))
        self._failures += 1
        return failure.after_s or min(EXPORT_INTERVAL_S * 2 ** (self._failures - 1), RETRY_MAX_S)

    def _post(self, spans: Sequence[SpanData]) -> Failure | None:
        """Post spans. A defect costs these spans and not the thread, without which none would be exported again."""
        try:
            return self._collector.post(self._encode(spans))
        except BAD_DATA as error:
            _log.error("background_task_failed", task="trace-export", exc_info=error)
            return Failure(f"{len(spans)} spans dropped: {type(error).__name__}", again=False)


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
    endpoint = settings.tracing.endpoint or ""
    exporter = SpanExporter(Collector(endpoint), SpanEncoder(_resource(worker, version), version))
    try:
        yield exporter
    finally:
        await _close(exporter)


def _resource(worker: str, version: str) -> Mapping[str, Value]:
    """Return the attributes of this process. OpenTelemetry's variables of the environment may set further ones."""
    about = {
        "service.name": "rhopush",
        "service.version": version,
        "service.instance.id": worker,
        "process.pid": os.getpid(),
    }
    found: Mapping[str, Value] = importlib.import_module(_RESOURCES).Resource.create(about).attributes
    return found


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
