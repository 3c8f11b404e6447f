"""The export: a real collector gets the spans; an unreachable one delays nothing and is logged rarely."""

import logging
import sys
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import structlog

from gateway.errors import BadSetting
from gateway.settings import Settings
from gateway.tracing.exporter import (
    EXPORT_SPANS,
    LOG_INTERVAL_S,
    QUEUE_SPANS,
    ExportLog,
    SpanExporter,
    check_packages,
    open_exporter,
)
from gateway.tracing.spans import SpanData, SpanMaker
from tests.support.otlp import Collector
from tests.support.ports import free_port


def settings_of(endpoint: str | None) -> Settings:
    tracing = msgspec.structs.replace(Settings().tracing, endpoint=endpoint)
    return msgspec.structs.replace(Settings(), tracing=tracing)


async def test_a_collector_gets_the_spans_before_the_end() -> None:
    async with Collector() as collector:
        async with open_exporter(settings_of(collector.url), "gateway:0", "1.2.3") as exporter:
            exporter.record(SpanData("step", 3, 5, 0, 7, 9, "INTERNAL", {"a": 1}))
        (span,) = collector.spans
    assert (span.name, span.attributes) == ("step", {"a": 1})
    assert (int(span.trace_id, 16), int(span.span_id, 16), span.parent_id) == (3, 5, "")
    assert (span.begin_ns, span.end_ns, span.failed) == (7, 9, False)
    assert span.resource["service.name"] == "rhopush"
    assert span.resource["service.instance.id"] == "gateway:0"
    assert span.resource["service.version"] == "1.2.3"


@pytest.fixture
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of the export that has no recent event."""
    monkeypatch.setattr("gateway.tracing.exporter._EXPORT_LOG", ExportLog())
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "handlers", [])


STEP = SpanData("step", 3, 5, 0, 7, 9, "INTERNAL", {})


class SlowCollector:
    """OpenTelemetry's exporter to a collector that answers only when it may; the first answer is an error."""

    def __init__(self) -> None:
        self.exports: list[int] = []
        self.called = threading.Event()
        self.may_answer = threading.Event()
        self.closed = False

    def export(self, spans: Sequence[object]) -> None:
        self.exports.append(len(spans))
        self.called.set()
        self.may_answer.wait()
        if len(self.exports) == 1:
            raise ValueError("no answer")

    def shutdown(self) -> None:
        self.closed = True


@pytest.mark.usefixtures("fresh_log")
def test_spans_beyond_the_queue_are_dropped_and_the_others_are_exported_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.tracing.exporter.EXPORT_INTERVAL_S", 1_000.0)
    collector = SlowCollector()
    exporter = SpanExporter(collector, SpanMaker(None, "1.2.3"))
    with structlog.testing.capture_logs() as events:
        for _ in range(EXPORT_SPANS):
            exporter.record(STEP)
        assert collector.called.wait(10), "a full request did not wake the thread"
        for _ in range(QUEUE_SPANS + 3):
            exporter.record(STEP)
        collector.may_answer.set()
        exporter.close()
        exporter.join()
    assert collector.exports == [EXPORT_SPANS] * (1 + QUEUE_SPANS // EXPORT_SPANS)
    assert collector.closed
    (failed,) = events
    assert (failed["event"], failed["error"]) == ("trace_export_failed", "ValueError: no answer")


@pytest.mark.usefixtures("fresh_log")
def test_dropped_spans_are_reported() -> None:
    collector = SlowCollector()
    collector.exports.append(0)  # no error
    exporter = SpanExporter(collector, SpanMaker(None, "1.2.3"))
    with structlog.testing.capture_logs() as events:
        for _ in range(EXPORT_SPANS):
            exporter.record(STEP)
        assert collector.called.wait(10)
        for _ in range(QUEUE_SPANS + 3):
            exporter.record(STEP)
        collector.may_answer.set()
        exporter.close()
        exporter.join()
    assert [event["error"] for event in events] == ["3 spans dropped: more than 8192 waited for the export"]


@pytest.mark.usefixtures("fresh_log")
async def test_an_unreachable_collector_does_not_delay_the_end() -> None:
    with structlog.testing.capture_logs() as events:
        endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
        async with open_exporter(settings_of(endpoint), "gateway:0", "1.2.3") as exporter:
            for _ in range(QUEUE_SPANS):
                exporter.record(STEP)
    failed = [event for event in events if event["event"] == "trace_export_failed"]
    assert 1 <= len(failed) <= 2  # one of the SDK within `LOG_INTERVAL_S`, and one of the end


async def test_the_log_of_the_sdk_has_one_handler_after_several_starts() -> None:
    for _ in range(2):
        async with Collector() as collector, open_exporter(settings_of(collector.url), "gateway:0", "1.2.3"):
            pass
    handlers = logging.getLogger("opentelemetry").handlers
    assert sum(isinstance(handler, ExportLog) for handler in handlers) == 1


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("opentelemetry.x", logging.WARNING, "", 1, text, None, None)


def test_failures_are_logged_at_a_limited_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("gateway.tracing.exporter.time.monotonic", lambda: now_s)
    handler = ExportLog()
    with structlog.testing.capture_logs() as events:
        for _ in range(5):
            handler.emit(record("refused"))
        now_s += LOG_INTERVAL_S
        handler.emit(record("refused again"))
    assert [(event["error"], event["omitted"]) for event in events] == [("refused", 0), ("refused again", 4)]


@pytest.mark.parametrize("missing", ["opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"])
def test_a_missing_package_is_an_invalid_setting(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.startswith(missing)]:
        monkeypatch.delitem(sys.modules, name)
    blocked: Any = None
    monkeypatch.setitem(sys.modules, missing, blocked)
    check_packages(settings_of(None))
    with pytest.raises(BadSetting, match=r"pip install .\.\[tracing\]") as raised:
        check_packages(settings_of("http://127.0.0.1:4318/v1/traces"))
    assert raised.value.field == "tracing.endpoint"
