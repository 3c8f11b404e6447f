"""Requests to a collector: which failures are worth a repetition, and what OpenTelemetry's variables set."""

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from gateway.simulators.authority import Authority
from gateway.tracing.collector import AFTER_MAX_S, Collector, Failure
from tests.support.ports import free_port
from tests.support.worker_core import until


class Server:
    """An HTTP server that answers with a fixed response and keeps what it receives."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self._response = status, headers
        self.bodies: list[bytes] = []
        self.headers: list[CIMultiDictProxy[str]] = []
        self.connections: set[object] = set()

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(request.headers)
        self.connections.add(request.transport)
        status, headers = self._response
        return web.Response(status=status, headers=headers)


async def posted(
    server: Server, bodies: list[bytes], environ: dict[str, str], tls: ssl.SSLContext | None = None
) -> list[Failure | None]:
    app = web.Application()
    app.router.add_post("/v1/traces", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        before = open_files()
        scheme = "http" if tls is None else "https"
        collector = Collector(f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/v1/traces", environ)
        found = [await asyncio.to_thread(collector.post, body) for body in bodies]
        collector.close()
        # The end of the server would leave a connection open whose handshake has not ended yet.
        await until(lambda: open_files() <= before)
        return found
    finally:
        await runner.cleanup()


def open_files() -> int:
    """Number of open file descriptors of this process."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_requests_share_a_connection(status: int) -> None:
    server = Server(status, {})
    assert await posted(server, [b"one", b"two"], {}) == [None, None]
    assert server.bodies == [b"one", b"two"]
    assert len(server.connections) == 1
    assert server.headers[0]["Content-Type"] == "application/x-protobuf"


@pytest.mark.parametrize(
    ("status", "headers", "again", "after_s"),
    [
        (429, {}, True, 0),
        (502, {}, True, 0),
        (503, {"Retry-After": "7"}, True, 7),
        (504, {"Retry-After": "86400"}, True, AFTER_MAX_S),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, True, 0),
        (503, {"Retry-After": "-1"}, True, 0),
        (400, {}, False, 0),
        (401, {}, False, 0),
        (500, {}, False, 0),
        (301, {"Location": "http://127.0.0.1:1/"}, False, 0),
    ],
)
async def test_a_status_decides_whether_the_request_is_repeated(
    status: int, headers: dict[str, str], again: bool, after_s: float
) -> None:
    server = Server(status, headers)
    (failure,) = await posted(server, [b"body"], {})
    assert failure == Failure(f"the collector answered with HTTP status {status}", again, after_s)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"])
async def test_headers_of_the_environment_are_sent(name: str) -> None:
    server = Server(200, {})
    await posted(server, [b"body"], {name: "Authorization=Bearer%20secret,x-tenant=7"})
    assert (server.headers[0]["Authorization"], server.headers[0]["X-Tenant"]) == ("Bearer secret", "7")


async def test_the_variable_for_traces_takes_precedence() -> None:
    server = Server(200, {})
    both = {"OTEL_EXPORTER_OTLP_HEADERS": "x-a=all", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-a=traces"}
    await posted(server, [b"body"], both)
    assert server.headers[0]["X-A"] == "traces"


async def test_a_header_that_cannot_be_sent_is_named_without_its_value() -> None:
    server = Server(200, {})
    (failure,) = await posted(server, [b"body"], {"OTEL_EXPORTER_OTLP_HEADERS": "x-a=se%0Acret"})
    assert failure is not None
    assert "OTEL_EXPORTER_OTLP_HEADERS" in failure.reason
    assert "cret" not in failure.reason
    assert not failure.again


def test_a_collector_that_does_not_answer_may_answer_later() -> None:
    failure = Collector(f"http://127.0.0.1:{free_port()}/v1/traces", {}).post(b"body")
    assert failure == Failure("connection refused", again=True)


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"])
async def test_the_environment_names_the_trusted_certificates(name: str, tmp_path: Path) -> None:
    authority, trusted = Authority(["127.0.0.1"]), tmp_path / "trusted.pem"
    trusted.write_bytes(authority.ca_pem)
    server, tls = Server(200, {}), authority.server_context(["http/1.1"])
    assert await posted(server, [b"body"], {name: str(trusted)}, tls) == [None]
    (untrusted,) = await posted(server, [b"body"], {}, tls)
    assert untrusted is not None
    assert untrusted.reason.startswith("certificate not trusted")
    (absent,) = await posted(server, [b"body"], {name: str(tmp_path / "absent.pem")}, tls)
    assert absent == Failure("no such file or directory", again=True)
    assert server.bodies == [b"body"]
