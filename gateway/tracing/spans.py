"""A step that has ended, and the span of OpenTelemetry's SDK that describes it."""

import importlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

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


class SpanMaker:
    """Makes OpenTelemetry's spans.

    OpenTelemetry's `Tracer` would make the same spans at many times the cost: a span that is made after its end needs
    no state, and the sampling is already decided.

    Args:
        resource: OpenTelemetry's resource, the attributes of this process.
        version: version of the gateway.
    """

    def __init__(self, resource: Any, version: str) -> None:
        api = importlib.import_module("opentelemetry.trace")
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        scope = importlib.import_module("opentelemetry.sdk.util.instrumentation")
        self._resource = resource
        self._scope = scope.InstrumentationScope("rhopush", version)
        self._span, self._context = sdk.ReadableSpan, api.SpanContext
        self._sampled = api.TraceFlags(api.TraceFlags.SAMPLED)
        self._kinds = {kind: getattr(api.SpanKind, kind) for kind in ("SERVER", "INTERNAL", "CLIENT")}
        self._ok, self._failed = api.Status(), api.Status(api.StatusCode.ERROR)

    def span(self, step: SpanData) -> Any:
        """Return the `ReadableSpan` of a step."""
        trace_id = step.trace_id
        parent = None
        if step.parent_id:
            parent = self._context(trace_id, step.parent_id, True, self._sampled)
        return self._span(
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
