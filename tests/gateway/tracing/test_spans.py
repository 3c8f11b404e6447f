"""OpenTelemetry's spans of steps."""

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind

from gateway.tracing.spans import SpanData, SpanMaker

STEP = SpanData("delivery apns", 3, 5, 4, 7, 9, "CLIENT", {"rhopush.attempt": 2}, failed=True)


def maker() -> SpanMaker:
    return SpanMaker(Resource({"service.name": "rhopush"}), "1.2.3")


def test_a_span_has_everything_of_its_step() -> None:
    span = maker().span(STEP)
    assert (span.name, span.kind, span.attributes) == (
        "delivery apns",
        SpanKind.CLIENT,
        {"rhopush.attempt": 2},
    )
    assert (span.start_time, span.end_time, span.status.is_ok) == (7, 9, False)
    assert (span.context.trace_id, span.context.span_id, span.context.is_remote) == (3, 5, False)
    assert (span.parent.trace_id, span.parent.span_id, span.parent.is_remote) == (3, 4, True)
    assert span.context.trace_flags.sampled
    assert span.resource.attributes == {"service.name": "rhopush"}
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("rhopush", "1.2.3")


def test_a_first_span_has_no_parent_and_a_step_that_succeeded_no_error() -> None:
    span = maker().span(STEP._replace(parent_id=0, failed=False))
    assert span.parent is None
    assert span.status.is_ok
