"""Connections that aiohttp serves: slow, half-closed and broken ones."""

import asyncio
import logging
import socket

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.http_api import HttpTimeouts
from gateway.http_api.aiohttp_handler import AiohttpConnection
from gateway.http_api.fast_path import PingConnection
from tests.gateway.http_api.harness import WAIT_S, House, house, request, wire
from tests.gateway.http_api.test_fast_path import BOB


def hold_little(transport: asyncio.BaseTransport, option: int) -> None:
    """Let the kernel hold little for this socket: it would take megabytes of answers before anybody waits."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 4_096)


def wire_of(connection: PingConnection | AiohttpConnection) -> asyncio.BaseTransport:
    found = connection.transport if isinstance(connection, AiohttpConnection) else connection._transport
    assert found is not None
    return found


async def test_a_client_that_never_reads_is_dropped(redis_client: Redis) -> None:
    """Whether it only does not read, or is closed with answers unread."""
    for fast in (True, False):
        timeouts = HttpTimeouts(tick_s=0.02, read_s=0.2)
        async with (
            house(redis_client, send_bytes=16_384, timeouts=timeouts, fast_path=fast) as api,
            wire(api.port) as client,
        ):
            client.send(BOB)
            await client.answer()
            client.read_nothing()
            (connection,) = api.api._fast_path.connections
            hold_little(client.writer.transport, socket.SO_RCVBUF)
            hold_little(wire_of(connection), socket.SO_SNDBUF)
            async with asyncio.timeout(WAIT_S):
                while api.api._fast_path.connections:
                    if client.writer.transport.get_write_buffer_size() < 1_000_000:
                        client.send(BOB * 100)
                    await asyncio.sleep(0.001)
            assert connection not in api.api._fast_path.connections


async def test_a_slow_body_on_aiohttps_side_is_408_too(redis_client: Redis) -> None:
    async with (
        house(
            redis_client, timeouts=HttpTimeouts(tick_s=0.02, unauthenticated_body_s=0.1), fast_path=False
        ) as api,
        wire(api.port) as client,
    ):
        client.send(BOB[:-1])
        (answer,) = await client.answers()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")


async def test_no_further_request_begins_while_draining(both: House) -> None:
    """A client that pipelines without end cannot keep the api open."""
    async with wire(both.port) as client:
        both.queue.holding = True
        client.send(request({"user_id": "bob"}, path="/api/ping") * 5)
        await both.queue.has(1)
        closing = asyncio.create_task(both.api.close(WAIT_S))
        await asyncio.sleep(0)
        both.queue.holding = False
        both.queue.commit()
        (answer,) = await client.answers()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await closing
    assert len(both.queue.pings) == 1


FORM = b"POST /rc/v1/users/ping HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"

JSON = FORM.replace(b"x-www-form-urlencoded", b"json")


@pytest.mark.parametrize(
    "data",
    [
        FORM + b"Content-Length: 50\r\n\r\nuse",
        JSON + b"Content-Length: 300000\r\n\r\n{",
        JSON + b"Content-Encoding: gzip\r\nContent-Length: 17\r\n\r\n" + b'{"user_id": "bob"}'[:17],
    ],
)
@pytest.mark.parametrize("end", ["close", "half", "abort"])
async def test_a_truncated_or_malformed_body_is_not_an_internal_error(
    api: House, caplog: pytest.LogCaptureFixture, data: bytes, end: str
) -> None:
    with capture_logs() as logs:
        async with wire(api.port) as client:
            client.send(data)
            await asyncio.sleep(0.05)
            if end == "half":
                client.writer.write_eof()
            elif end == "abort":
                client.writer.transport.abort()
            else:
                client.writer.close()
            await asyncio.sleep(0.05)
    assert [entry for entry in logs if entry["log_level"] in {"error", "critical"}] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
