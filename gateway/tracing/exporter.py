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
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, NamedTuple

import structlog

from gateway.errors import BadSetting
from gateway.settings import Settings

_log = structlog.get_logger("tracing")

QUEUE_SPANS: Final = 8_192
"""Most spans that wait for the export in one worker: about 20 MB."""
EXPORT_SPANS: Final = 1_024
EXPORT_INTERVAL_MS: Final = 2_000
"""A request costs as much CPU as some dozens of its spans, so one a second would cost a third more in all."""
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


Kind = Literal["SERVER", "INTERNAL", "CLIENT"]


class SpanData(NamedTuple):
    """A span that has ended.

    Attributes:
        name: name of the span.
        trace_id, span_id: its ids.
        parent_id: id of its parent; 0: it has none.
        begin_ns, end_ns: its begin and end, epoch nanoseconds.
        kind: name of OpenTelemetry's `SpanKind`.
        attributes: its attributes.
        failed: whether the step has failed.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    begin_ns: int
    end_ns: int
    kind: Kind
    attributes: Mapping[str, str | int | bool]
    failed: bool = False


class ExportLog(logging.Handler):
    """Turns the SDK's log records into one event at most once per `LOG_INTERVAL_S`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_s = float("-inf")
        self._omitted = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log a failure, or count it if the last event is recent."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._omitted += 1
            return
        self._next_s = now_s + LOG_INTERVAL_S
        _log.warning("trace_export_failed", error=record.getMessage(), omitted=self._omitted)
        self._omitted = 0


class SpanRecorder:
    """Records spans that have ended.

    OpenTelemetry's `Tracer` would make the same spans at many times the cost: a span that is recorded after its end
    needs no state, and the sampling is already decided.

    Args:
        processor: OpenTelemetry's span processor, which receives the spans.
        resource: OpenTelemetry's resource, the attributes of this process.
        version: version of the gateway.
    """

    def __init__(self, processor: Any, resource: Any, version: str) -> None:
        api = importlib.import_module("opentelemetry.trace")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        scope = importlib.import_module("opentelemetry.sdk.util.instrumentation")
        self._end = processor.on_end
        self._resource = resource
        self._scope = scope.InstrumentationScope("rhopush", version)
        self._span, self._context = sdk.ReadableSpan, api.SpanContext
        self._sampled = api.TraceFlags(api.TraceFlags.SAMPLED)
        self._kinds = {kind: getattr(api.SpanKind, kind) for kind in ("SERVER", "INTERNAL", "CLIENT")}
        self._ok, self._failed = api.Status(), api.Status(api.StatusCode.ERROR)

    def record(self, step: SpanData) -> None:
        """Record a span; it is dropped if too many wait for the export."""
        trace_id = step.trace_id
        parent = None
        if step.parent_id:
            parent = self._context(trace_id, step.parent_id, True, self._sampled)
        self._end(
            self._span(
                step.name,
                self._context(trace_id, step.span_id, False, self._sampled),
                parent,
                self._resource,
                step.attributes,
                kind=self._kinds[step.kind],
                status=self._failed if step.failed else self._ok,
                start_time=step.begin_ns,
                end_time=step.end_ns,
                instrumentation_scope=self._scope,
            )
        )


_EXPORT_LOG: Final = ExportLog()


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
async def open_exporter(settings: Settings, worker: str, version: str) -> AsyncIterator[SpanRecorder]:
    """Yield a recorder, whose spans are exported until the end of the context.

    Args:
        settings: settings with `tracing.endpoint`.
        worker: name of the worker, an attribute of all its spans.
        version: version of the gateway.

    Raises:
        BadSetting: as `check_packages`.
    """
    check_packages(settings)
    _, export, resources, otlp = map(importlib.import_module, _PACKAGES)
    resource = _resource(resources, worker, version)
    logger = logging.getLogger(_SDK_LOGGER)
    logger.addHandler(_EXPORT_LOG)  # never removed: the SDK's thread may log after the end of the context
    logger.propagate = False
    exporter = otlp.OTLPSpanExporter(endpoint=settings.tracing.endpoint, timeout=EXPORT_TIMEOUT_S)
    processor = export.BatchSpanProcessor(
        exporter,
        max_queue_size=QUEUE_SPANS,
        max_export_batch_size=EXPORT_SPANS,
        schedule_delay_millis=EXPORT_INTERVAL_MS,
    )
    try:
        yield SpanRecorder(processor, resource, version)
    finally:
        await _close(processor)


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


async def _close(processor: Any) -> None:
    """Export the waiting spans. The thread is a daemon, so an unreachable collector does not delay the end of the
    process."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        processor.shutdown()
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
            "trace_export_failed", error="the collector did not accept the last spans in time", omitted=0
        )
