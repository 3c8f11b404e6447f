"""A step that has ended, and the encoding of many as the body of an export request.

The messages are those of OTLP (opentelemetry-proto, `trace/v1/trace.proto`). OpenTelemetry's SDK would make a
`ReadableSpan` of each step and encode that, at several times the CPU.
"""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

Kind = Literal["SERVER", "INTERNAL", "CLIENT"]
Value = str | int | bool

_KINDS: Final[dict[Kind, int]] = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3}
"""`Span.SpanKind` of trace.proto."""
_ERROR: Final = 2
"""`Status.STATUS_CODE_ERROR` of trace.proto."""
_FLAGS: Final = 0x101
"""`SpanFlags` of trace.proto: the trace is sampled, and it is known whether the parent is in another process."""
_REMOTE: Final = 0x200
"""`SpanFlags` of trace.proto: the parent is, or may be, in another process."""
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_MESSAGES: Final = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"


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
    attributes: Mapping[str, Value]
    failed: bool = False


class SpanEncoder:
    """Encodes spans.

    Args:
        resource: attributes of this process.
        version: version of the gateway.
    """

    def __init__(self, resource: Mapping[str, Value], version: str) -> None:
        self._request = importlib.import_module(_MESSAGES).ExportTraceServiceRequest
        self._of_process = self._request()
        spans = self._of_process.resource_spans.add()
        _add(spans.resource.attributes, resource)
        scope = spans.scope_spans.add().scope
        scope.name, scope.version = "rhopush", version

    def encode(self, spans: Sequence[SpanData]) -> bytes:
        """Return the body of an export request (`ExportTraceServiceRequest`)."""
        request = self._request()
        request.CopyFrom(self._of_process)
        add = request.resource_spans[0].scope_spans[0].spans.add
        for span in spans:
            message = add(
                trace_id=span.trace_id.to_bytes(_TRACE_BYTES, "big"),
                span_id=span.span_id.to_bytes(_SPAN_BYTES, "big"),
                name=span.name,
                kind=_KINDS[span.kind],
                start_time_unix_nano=span.begin_ns,
                end_time_unix_nano=span.end_ns,
                flags=_FLAGS,
            )
            if span.parent_id:
                message.parent_span_id = span.parent_id.to_bytes(_SPAN_BYTES, "big")
                message.flags = _FLAGS | _REMOTE
            if span.failed:
                message.status.code = _ERROR
            _add(message.attributes, span.attributes)
        body: bytes = request.SerializeToString()
        return body


def _add(attributes: Any, values: Mapping[str, Value]) -> None:
    """Add attributes to a message."""
    for name, value in values.items():
        held = attributes.add(key=name).value
        if isinstance(value, str):
            held.string_value = value
        elif isinstance(value, bool):
            held.bool_value = value
        else:
            held.int_value = value
