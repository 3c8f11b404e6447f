"""The export: a real collector gets the spans; an unreachable one delays nothing and is logged rarely."""

import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.errors import BadSetting
from gateway.settings import Settings
from gateway.tracing.collector import Collector, Failure
from gateway.tracing.exporter import (
    EXPORT_SPANS,
    LOG_INTERVAL_S,
    QUEUE_SPANS,
    ExportLog,
    SpanExporter,
    check_packages,
    open_exporter,
)
from gateway.tracing.spans import SpanData, SpanEncoder
from tests.support.otlp import Collector as OtlpServer
from tests.support.ports import free_port


def settings_of(endpoint: str | None) -> Settings:
    tracing = msgspec.structs.replace(Settings().tracing, endpoint=endpoint)
    return msgspec.structs.replace(Settings(), tracing=tracing)


async def test_a_collector_gets_the_spans_before_the_end() -> None:
    async with OtlpServer() as collector:
        async with open_exporter(settings_of(collector.url), "gateway:0", "1.2.3") as exporter:
            exporter.record(SpanData("step", 3, 5, 0, 7, 9, "INTERNAL", {"a": 1}))
        (span,) = collector.spans
    assert (span.name, span.attributes) == ("step", {"a": 1})
    assert (int(span.trace_id, 16), int(span.span_id, 16), span.parent_id) == (3, 5, "")
    assert (span.begin_ns, span.end_ns, span.failed) == (7, 9, False)
    assert span.resource["service.name"] == "rhopush"
    assert span.resource["service.instance.id"] == "gateway:0"
    assert span.resource["service.version"] == "1.2.3"


SPAN = SpanData("step", 3, 5, 0, 7, 9, "INTERNAL", {})


class SlowCollector(Collector):
    """A collector that answers only when it may, with given answers first."""

    def __init__(self, *answers: Failure) -> None:
        super().__init__("http://127.0.0.1/v1/traces")
        self.answers = list(answers)
        self.names: list[list[str]] = []
        self.calls = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def post(self, body: bytes) -> Failure | None:
        (of_process,) = ExportTraceServiceRequest.FromString(body).resource_spans
        self.names.append([span.name for span in of_process.scope_spans[0].spans])
        self.calls.release()
        self.may_answer.wait()
        return self.answers.pop(0) if self.answers else None


def exporter_to(collector: Collector) -> SpanExporter:
    return SpanExporter(collector, SpanEncoder({}, "1.2.3"))


def record_all(exporter: SpanExporter, names: Iterable[str]) -> None:
    for name in names:
        exporter.record(SPAN._replace(name=name))


def test_a_full_request_is_exported_before_the_interval_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.tracing.exporter.EXPORT_INTERVAL_S", 1_000.0)
    collector = SlowCollector()
    exporter = exporter_to(collector)
    record_all(exporter, map(str, range(EXPORT_SPANS)))
    assert collector.calls.acquire(timeout=10)
    collector.may_answer.set()
    exporter.close()
    exporter.join()
    assert collector.names == [[str(number) for number in range(EXPORT_SPANS)]]


def test_spans_beyond_the_queue_are_dropped_and_counted() -> None:
    collector = SlowCollector()
    exporter = exporter_to(collector)
    with structlog.testing.capture_logs() as events:
        record_all(exporter, ["first"] * EXPORT_SPANS)
        assert collector.calls.acquire(timeout=10)
        record_all(exporter, ["waits"] * QUEUE_SPANS + ["dropped"] * 3)
        collector.may_answer.set()
        exporter.close()
        exporter.join()
    exported = [name for names in collector.names for name in names]
    assert exported == ["first"] * EXPORT_SPANS + ["waits"] * QUEUE_SPANS
    assert [event["error"] for event in events] == ["3 spans dropped: more than 8192 waited for the export"]


def test_a_span_that_cannot_be_encoded_ends_no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.tracing.exporter.EXPORT_INTERVAL_S", 0.01)
    collector = SlowCollector()
    collector.may_answer.set()
    exporter = exporter_to(collector)
    with structlog.testing.capture_logs() as events:
        exporter.record(SPAN._replace(attributes={"reason": "\ud800"}))
        deadline_s = time.monotonic() + 10
        while len(events) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.005)
        record_all(exporter, ["next"])
        exporter.close()
        exporter.join()
    assert collector.names == [["next"]]
    assert [event["event"] for event in events] == ["background_task_failed", "trace_export_failed"]
    assert events[1]["error"].startswith("1 spans dropped: ")


@pytest.mark.parametrize("again", [True, False])
def test_spans_wait_until_the_collector_accepts_them_unless_it_never_will(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.tracing.exporter.EXPORT_INTERVAL_S", 0.01)
    collector = SlowCollector(*[Failure("overloaded", again)] * 2)
    collector.may_answer.set()
    exporter = exporter_to(collector)
    with structlog.testing.capture_logs() as events:
        record_all(exporter, ["a", "b"])
        for _ in range(3 if again else 1):
            assert collector.calls.acquire(timeout=10)
        record_all(exporter, ["c"])
        exporter.close()
        exporter.join()
    exported = [name for names in collector.names for name in names]
    assert exported == (["a", "b"] * 3 if again else ["a", "b"]) + ["c"]
    assert [event["error"] for event in events] == ["overloaded"]


def test_the_waits_after_failures_double_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = SlowCollector(
        *[Failure("overloaded", again=True)] * 8, Failure("busy", again=True, after_s=7.0)
    )
    collector.may_answer.set()
    exporter = exporter_to(collector)
    exporter.close()
    exporter.join()
    record_all(exporter, ["a"])
    assert [exporter.export() for _ in range(10)] == [2, 4, 8, 16, 32, 60, 60, 60, 7, 0]


async def test_an_unreachable_collector_does_not_delay_the_end() -> None:
    with structlog.testing.capture_logs() as events:
        endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
        async with open_exporter(settings_of(endpoint), "gateway:0", "1.2.3") as exporter:
            record_all(exporter, ["step"] * QUEUE_SPANS)
    failed = [event["error"] for event in events if event["event"] == "trace_export_failed"]
    assert failed == ["connection refused"]


def test_failures_are_logged_at_a_limited_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr("gateway.tracing.exporter.time.monotonic", lambda: now_s)
    log = ExportLog()
    with structlog.testing.capture_logs() as events:
        for _ in range(5):
            log.failed("refused")
        now_s += LOG_INTERVAL_S
        log.failed("refused again")
    assert [(event["error"], event["omitted"]) for event in events] == [("refused", 0), ("refused again", 4)]


@pytest.mark.parametrize("missing", ["opentelemetry.sdk.resources", "opentelemetry.proto", "urllib3"])
def test_a_missing_package_is_an_invalid_setting(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.startswith(missing)]:
        monkeypatch.delitem(sys.modules, name)
    blocked: Any = None
    monkeypatch.setitem(sys.modules, missing, blocked)
    check_packages(settings_of(None))
    with pytest.raises(BadSetting, match=r"pip install .\.\[tracing\]") as raised:
        check_packages(settings_of("http://127.0.0.1:4318/v1/traces"))
    assert raised.value.field == "tracing.endpoint"
