"""The export: a real collector gets the spans; an unreachable one delays nothing and is logged rarely."""

import logging
import sys
from typing import Any

import msgspec
import pytest
import structlog

from gateway.errors import BadSetting
from gateway.settings import Settings
from gateway.tracing.exporter import (
    LOG_INTERVAL_S,
    QUEUE_SPANS,
    ExportLog,
    SpanData,
    check_packages,
    open_exporter,
)
from tests.support.otlp import Collector
from tests.support.ports import free_port


def settings_of(endpoint: str | None) -> Settings:
    tracing = msgspec.structs.replace(Settings().tracing, endpoint=endpoint)
    return msgspec.structs.replace(Settings(), tracing=tracing)


async def test_a_collector_gets_the_spans_before_the_end() -> None:
    async with Collector() as collector:
        async with open_exporter(settings_of(collector.url), "gateway:0", "1.2.3") as recorder:
            recorder.record(SpanData("step", 3, 5, 0, 7, 9, "INTERNAL", {"a": 1}))
        (span,) = collector.spans
    assert (span.name, span.attributes) == ("step", {"a": 1})
    assert (int(span.trace_id, 16), int(span.span_id, 16), span.parent_id) == (3, 5, "")
    assert (span.begin_ns, span.end_ns, span.failed) == (7, 9, False)
    assert span.resource["service.name"] == "rhopush"
    assert span.resource["service.instance.id"] == "gateway:0"
    assert span.resource["service.version"] == "1.2.3"


async def test_spans_beyond_the_queue_are_dropped_while_the_collector_is_unreachable() -> None:
    with structlog.testing.capture_logs() as events:
        async with open_exporter(
            settings_of(f"http://127.0.0.1:{free_port()}/v1/traces"), "gateway:0", "1.2.3"
        ) as recorder:
            for _ in range(QUEUE_SPANS + 2_000):
                recorder.record(SpanData("step", 3, 5, 0, 7, 9, "INTERNAL", {}))
    failed = [event for event in events if event["event"] == "trace_export_failed"]
    assert 1 <= len(failed) <= 2  # one of the SDK within `LOG_INTERVAL_S`, and one of the end
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
