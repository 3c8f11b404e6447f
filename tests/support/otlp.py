"""A collector of traces: an HTTP server that decodes OTLP's protobuf messages."""

import asyncio
import gzip
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_BUDGET_S = 40.0


class Span(NamedTuple):
    """One received span. Times are epoch nanoseconds; `resource` has the attributes of its process."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    begin_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    failed: bool


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Collector:
    """Receives spans on a free port."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/traces"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(of_process.resource.attributes)
            for scope in of_process.scope_spans:
                self.spans += [_span(one, resource) for one in scope.spans]
        async with self._changed:
            self._changed.notify_all()
        found = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=found, content_type="application/x-protobuf")

    def of_trace(self, trace_id: str) -> dict[str, Span]:
        """The spans of a trace by name."""
        return {span.name: span for span in self.spans if span.trace_id == trace_id}

    async def has(self, trace_id: str, *names: str) -> dict[str, Span]:
        """Wait until the trace has spans of these names, and return its spans."""
        async with asyncio.timeout(_BUDGET_S), self._changed:
            await self._changed.wait_for(lambda: {*names} <= {*self.of_trace(trace_id)})
        return self.of_trace(trace_id)


def _span(one: Any, resource: Mapping[str, Any]) -> Span:
    return Span(
        one.name,
        one.trace_id.hex(),
        one.span_id.hex(),
        one.parent_span_id.hex(),
        one.start_time_unix_nano,
        one.end_time_unix_nano,
        _values(one.attributes),
        resource,
        one.status.code == 2,
    )
