"""The export of spans by OpenTelemetry's SDK: a thread posts them to a collector (OTLP over HTTP with protobuf).

The queue of the thread is bounded: while the collector is slow or unreachable, further spans are dropped, and pings
are not delayed.
"""

import asyncio
import importlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from gateway.errors import BadSetting
from gateway.settings import Settings

_log = structlog.get_logger("tracing")

QUEUE_SPANS: Final = 8_192
"""Spans that wait for the export in one worker: about 20 MB."""
EXPORT_SPANS: Final = 512
EXPORT_INTERVAL_MS: Final = 1_000
EXPORT_TIMEOUT_S: Final = 5.0
CLOSE_S: Final = 2.0
"""Longest wait for the last export when a worker ends."""
LOG_INTERVAL_S: Final = 60.0
"""Shortest interval of log events about failed exports."""
_PACKAGES: Final = (
    "opentelemetry.sdk.trace",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk.resources",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
_SDK_LOGGER: Final = "opentelemetry"


class ExportLog(logging.Handler):
    """Turns the SDK's log records into one event at most once per `LOG_INTERVAL_S`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_s = float("-inf")
        self._omitted = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log a failure, or count it."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._omitted += 1
            return
        self._next_s = now_s + LOG_INTERVAL_S
        _log.warning("trace_export_failed", error=record.getMessage(), omitted=self._omitted)
        self._omitted = 0


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
            "tracing.endpoint requires the extra `tracing`: pip install 'rhopush[tracing]'",
            field="tracing.endpoint",
        ) from error


@asynccontextmanager
async def open_exporter(settings: Settings, worker: str, version: str) -> AsyncIterator[Any]:
    """Yield OpenTelemetry's tracer, whose spans are exported until the end of the context.

    Args:
        settings: with `tracing.endpoint`.
        worker: name of the worker, an attribute of all its spans.
        version: of the gateway.

    Raises:
        BadSetting: as `check_packages`.
    """
    check_packages(settings)
    trace, export, resources, otlp = map(importlib.import_module, _PACKAGES)
    resource = resources.Resource.create(
        {
            "service.name": "rhopush",
            "service.version": version,
            "service.instance.id": worker,
            "process.pid": os.getpid(),
        }
    )
    logger, handler = logging.getLogger(_SDK_LOGGER), ExportLog()
    logger.addHandler(handler)
    logger.propagate = False
    provider = trace.TracerProvider(
        sampler=trace.sampling.ALWAYS_ON, resource=resource, shutdown_on_exit=False
    )
    exporter = otlp.OTLPSpanExporter(endpoint=settings.tracing.endpoint, timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(
        export.BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE_SPANS,
            max_export_batch_size=EXPORT_SPANS,
            schedule_delay_millis=EXPORT_INTERVAL_MS,
        )
    )
    try:
        yield provider.get_tracer("rhopush", version)
    finally:
        await _close(provider)
        logger.removeHandler(handler)


async def _close(provider: Any) -> None:
    """Export the spans that wait. The thread is a daemon: an unreachable collector does not delay the end."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        provider.shutdown()
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:  # the loop has ended after CLOSE_S
            return

    threading.Thread(target=close, daemon=True, name="trace-export-end").start()
    try:
        async with asyncio.timeout(CLOSE_S):
            await done.wait()
    except TimeoutError:
        _log.warning(
            "trace_export_failed", error="the collector did not take the last spans in time", omitted=0
        )
