"""The listener of metrics.port: its requests, its limits and its timeouts."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.server import metrics_http
from gateway.server.metrics_http import CONNECTIONS_MAX, HEAD_BYTES_MAX, request_of
from protocols.response_headers import SAFETY_HEADERS
from tests.gateway.server.test_metrics_thread import WAIT_S, House


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    made.thread.start()
    yield made
    for one in made.open:
        one.close()
    made.thread.stop()
    made.thread.join(WAIT_S)
    assert not made.thread.is_alive()
    made.listener.close()
    assert made.log.getvalue() == ""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405 Method Not Allowed"),
        (b"GET /rc/v1/users HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX * 2, b"431 Request Header Fields Too Large"),
    ],
)
async def test_the_listener_answers_one_request_a_connection(
    house: House, request_: bytes, status: bytes
) -> None:
    head, _, body = (await house.raw(request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert (body == b"") == request_.startswith(b"HEAD")
    assert (b"Allow: GET, HEAD" in head) == (b"405" in status)
    for name, value in SAFETY_HEADERS:
        assert f"\r\n{name}: {value}\r\n".encode() in head


async def test_a_head_may_come_byte_by_byte(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    for byte in b"GET /metrics HTTP/1.1\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_connections_without_a_request_do_not_block_scrapers(house: House) -> None:
    async with contextlib.AsyncExitStack() as held:
        slow = []
        for _ in range(CONNECTIONS_MAX + 5):
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(b"GET /met")
            await writer.drain()
            held.callback(writer.close)
            slow.append(reader)
        assert await house.scraped()
        for reader in slow[:5]:  # the oldest made room
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""


async def test_a_head_that_never_ends_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http.ScrapeStage.HEAD, "_value_", 0.0)
    made = House()
    made.thread.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    made.thread.stop()
    made.listener.close()


async def test_a_client_that_reads_no_answer_times_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http.ScrapeStage.ANSWER, "_value_", 0.0)
    metrics, _ = house.worker()
    for number in range(20_000):  # more than the buffers of a connection hold
        metrics.pings_accepted(f"ingress {number} {'x' * 300}")
    with socket.create_connection(("127.0.0.1", house.port)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        lazy.setblocking(False)
        loop, read = asyncio.get_running_loop(), 0
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(lazy, 1):
                read += len(data)
        assert read < 20_000 * 300


def test_a_request_line_decides_the_status() -> None:
    assert request_of(b"GET /metrics HTTP/1.1") == ("GET", "200 OK")
    assert request_of(b"GET  /metrics HTTP/1.1")[1] == "400 Bad Request"
    assert request_of(b"GET /metrics/ HTTP/1.1")[1] == "404 Not Found"
    assert request_of(b"get /metrics HTTP/1.1")[1] == "405 Method Not Allowed"
