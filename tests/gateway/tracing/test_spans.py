"""The encoding of spans: a reader of OTLP's messages finds everything."""

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from gateway.tracing.spans import Kind, SpanData, SpanEncoder

SPAN = SpanData("delivery apns", 3, 5, 4, 7, 9, "CLIENT", {"s": "\u00e4", "i": -2, "yes": True}, failed=True)


def decoded(*spans: SpanData) -> Any:
    body = SpanEncoder({"service.name": "rhopush", "process.pid": 8}, "1.2.3").encode(spans)
    (of_process,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (of_scope,) = of_process.scope_spans
    return of_process.resource, of_scope.scope, list(of_scope.spans)


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def test_a_request_has_the_process_once_and_all_spans() -> None:
    resource, scope, spans = decoded(SPAN, SPAN._replace(name="queue"))
    assert values(resource.attributes) == {"service.name": "rhopush", "process.pid": 8}
    assert (scope.name, scope.version) == ("rhopush", "1.2.3")
    assert [span.name for span in spans] == ["delivery apns", "queue"]


def test_a_span_has_everything_of_its_step() -> None:
    (span,) = decoded(SPAN)[2]
    assert (int.from_bytes(span.trace_id, "big"), len(span.trace_id)) == (3, 16)
    assert (int.from_bytes(span.span_id, "big"), len(span.span_id)) == (5, 8)
    assert (int.from_bytes(span.parent_span_id, "big"), len(span.parent_span_id)) == (4, 8)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (7, 9)
    assert values(span.attributes) == {"s": "\u00e4", "i": -2, "yes": True}
    assert span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert span.flags & trace_pb2.SPAN_FLAGS_TRACE_FLAGS_MASK == 1  # W3C Trace Context: sampled
    assert span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
    assert span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def test_a_first_span_has_no_parent_and_a_step_that_succeeded_no_status() -> None:
    (span,) = decoded(SPAN._replace(parent_id=0, failed=False))[2]
    assert span.parent_span_id == b""
    assert not span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    assert span.status.code == trace_pb2.Status.STATUS_CODE_UNSET


@pytest.mark.parametrize("kind", ["SERVER", "INTERNAL", "CLIENT"])
def test_kinds_have_the_numbers_of_the_messages(kind: Kind) -> None:
    (span,) = decoded(SPAN._replace(kind=kind))[2]
    assert span.kind == trace_pb2.Span.SpanKind.Value(f"SPAN_KIND_{kind}")
