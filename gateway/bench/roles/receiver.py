"""The receiver of what the gateway sends to others: webhooks, and traces as an OpenTelemetry collector takes them.

It accepts every POST, verifies nothing, and counts. Its first line is its port on 127.0.0.1; any later order requests
the counts.
"""

import importlib
from typing import Any, Final

import msgspec
import uvloop
from aiohttp import web

from gateway.bench.roles import order_lines, result

_FORMAT: Final = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
_BODY_MAX: Final = 64 * 1024 * 1024
WEBHOOKS: Final = "/events"
TRACES: Final = "/v1/traces"


class ReceiverCounts(msgspec.Struct):
    """The counts since the start: events of webhooks, those of a repeated message once, and spans."""

    events: int = 0
    spans: int = 0


class _Message(msgspec.Struct):
    """A message of webhooks."""

    data: list[msgspec.Raw]


class Receiver:
    """The handlers.

    Attributes:
        counts: the counts.
    """

    def __init__(self) -> None:
        self.counts = ReceiverCounts()
        self._seen: set[str] = set()

    async def on_message(self, request: web.Request) -> web.Response:
        """Accept a message of webhooks."""
        body = await request.read()
        number = request.headers["webhook-id"]
        if number not in self._seen:
            self._seen.add(number)
            self.counts.events += len(msgspec.json.decode(body, type=_Message).data)
        return web.Response(status=204)

    async def on_traces(self, request: web.Request) -> web.Response:
        """Accept spans."""
        self.counts.spans += _spans(await request.read())
        return web.Response(content_type="application/x-protobuf")


def _spans(body: bytes) -> int:
    # Loaded with the first spans: the packages belong to the extra `tracing`.
    exported: Any = importlib.import_module(_FORMAT).ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for process in exported.resource_spans for scope in process.scope_spans)


async def _serve() -> None:
    receiver, lines = Receiver(), await order_lines()
    app = web.Application(client_max_size=_BODY_MAX)
    app.router.add_post(WEBHOOKS, receiver.on_message)
    app.router.add_post(TRACES, receiver.on_traces)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    result(runner.addresses[0][1])
    while await lines.readline():
        result(receiver.counts)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())
