"""The listening protocol, byte by byte, on both loops."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from gateway.errors import QueueFull
from gateway.http_api import HttpTimeouts
from tests.gateway.http_api.harness import TOKEN, WAIT_S, House, house, request, wire
from tests.support.worker_core import until

BOB = request({"user_id": "bob"})
NOBODY = request({"user_id": "bob"}, token=None)
HEALTH = request(method="GET", path="/healthz")

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@LOOPS
def test_pipelined_answers_are_in_order_on_both_paths(run: Run, redis_address: str) -> None:
    """A ping that waits for the queue, a refused one, and one of aiohttp's routes."""

    async def play() -> None:
        async with Redis.from_url(redis_address) as redis, house(redis) as api, wire(api.port) as client:
            client.send(BOB)
            assert (await client.answer()).status == 200  # the token is known from now on
            api.queue.holding = True
            client.send(BOB + NOBODY + BOB + HEALTH + BOB)
            await api.queue.has(3)
            api.queue.holding = False
            api.queue.commit()
            found = [await client.answer() for _ in range(5)]
            assert [answer.status for answer in found] == [200, 422, 200, 200, 200]
            assert found[3].json == {"alive": True}
            ids = [answer.headers.get("x-ping-id", "-")[-1] for answer in found]
            assert ids == ["1", "-", "2", "-", "3"]

    run(play())


@LOOPS
def test_a_half_closed_client_gets_all_its_answers(run: Run, redis_address: str) -> None:
    async def play() -> None:
        async with Redis.from_url(redis_address) as redis, house(redis) as api:
            for data, count in ((BOB + BOB, 2), (HEALTH + BOB, 2), (BOB + HEALTH, 2), (BOB + BOB[:-3], 1)):
                async with wire(api.port) as client:
                    client.send(data)
                    client.writer.write_eof()
                    cut_off = [] if count == 2 else [400]
                    statuses = [answer.status for answer in await client.answers()]
                    assert statuses == [200] * count + cut_off, data

    run(play())


async def test_every_cut_of_a_request_means_the_same(api: House) -> None:
    async with wire(api.port) as client:
        for cut in range(1, len(BOB), 7):
            client.send(BOB[:cut])
            await client.writer.drain()
            await asyncio.sleep(0)
            client.send(BOB[cut:])
            assert (await client.answer()).status == 200
    assert {ping.users for ping in api.queue.pings} == {("bob",)}


async def test_one_commit_of_many_pings_is_one_write(api: House) -> None:
    """All 50 answers are there in the first read of a client that did not read before."""
    async with wire(api.port) as client:
        client.send(BOB)
        await client.answer()
        api.queue.holding = True
        client.send(BOB * 50)
        await api.queue.has(51)
        writes = _count_writes(api)
        api.queue.commit()
        assert [(await client.answer()).status for _ in range(50)] == [200] * 50
        assert writes == [50]


def _count_writes(api: House) -> list[int]:
    """Let the one connection's transport tell how many answers each write holds."""
    (connection,) = api.api._fast_path.connections
    transport = connection._transport
    writes: list[int] = []

    class Telling:
        def write(self, data: bytes) -> None:
            writes.append(data.count(b"HTTP/1.1 "))
            transport.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(transport, name)

    connection._transport = Telling()
    return writes


async def test_many_pipelined_pings_are_left_in_the_socket_until_there_is_room(api: House) -> None:
    async with wire(api.port) as client:
        client.send(BOB)
        await client.answer()
        api.queue.holding = True
        client.send(BOB * 1000)
        await api.queue.has(257)
        assert len(api.queue.pings) == 257  # one, and as many as may wait
        api.queue.holding = False
        api.queue.commit()
        assert [(await client.answer()).status for _ in range(1000)] == [200] * 1000
        assert len(api.queue.pings) == 1001


async def test_a_client_that_does_not_read_is_not_read(api: House) -> None:
    """The client's answers fill the socket, then its requests are not read any more; nothing grows without bound."""
    async with wire(api.port) as client:
        client.send(BOB)
        await client.answer()
        (connection,) = api.api._fast_path.connections
        sent = 0
        async with asyncio.timeout(WAIT_S):
            while not connection._client_not_reading:
                client.send(BOB * 100)
                sent += 100
                await asyncio.sleep(0)
        client.send(BOB * 2_000)
        sent += 2_000
        assert connection._transport.get_write_buffer_size() < 1_000_000
        assert len(api.queue.pings) < 1 + sent
        for _ in range(sent):  # it reads again
            assert (await client.answer()).status == 200
        assert len(api.queue.pings) == 1 + sent


async def test_connection_close_takes_effect_after_the_answer(api: House) -> None:
    async with wire(api.port) as client:
        client.send(request({"user_id": "bob"}, headers={"Connection": "close"}) + BOB)
        first = await client.answer()
        assert (first.status, first.headers["connection"]) == (200, "close")
        assert await client.rest() == b""
    assert len(api.queue.pings) == 1


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 50\r\n",
        "Content-Length: 5, 50\r\n",
        "Content-Length: +5\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length: 5\n",
        "X: a\rb\r\nContent-Length: 5\r\n",
        "X\x00Y: a\r\nContent-Length: 5\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding:\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
    ],
)
async def test_ambiguous_requests_are_refused(api: House, head: str) -> None:
    start = f"POST /rc/v1/users/ping HTTP/1.1\r\nHost: a\r\nX-RhoConnect-API-TOKEN: {TOKEN}\r\n"
    kind = "Content-Type: application/json\r\n"
    async with wire(api.port) as client:
        client.send(f"{start}{kind}{head}\r\n".encode("latin-1") + b"0\r\n\r\n" + SMUGGLED)
        answer = await client.answer()
        assert answer.status == 400
        assert answer.error["code"] == "malformed_request"
        assert TOKEN.encode() not in answer.body
        assert await client.rest() == b""
    assert api.queue.pings == []


@pytest.mark.parametrize(
    ("line", "framing"),
    [
        ("CONNECT gateway:80 HTTP/1.1", f"Content-Length: {len(SMUGGLED)}\r\n"),
        ("CONNECT /healthz HTTP/1.1", f"Content-Length: {len(SMUGGLED)}\r\n"),
        (
            "POST /rc/v1/users/ping HTTP/1.0",
            "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        ),
    ],
)
async def test_a_request_that_allows_no_body_ends_the_connection(api: House, line: str, framing: str) -> None:
    """The parser reads no body after CONNECT, and another reader none in chunks from HTTP/1.0."""
    async with wire(api.port) as client:
        client.send(f"{line}\r\nHost: a\r\n{framing}\r\n".encode() + SMUGGLED)
        answer = await client.answer()
        assert answer.status == 400
        assert answer.error["code"] == "malformed_request"
        assert await client.rest() == b""


async def test_a_good_ping_before_garbage_is_answered(api: House) -> None:
    async with wire(api.port) as client:
        client.send(BOB + b"\x00garbage\r\n\r\n")
        client.writer.write_eof()
        assert [answer.status for answer in await client.answers()] == [200, 400]
    assert len(api.queue.pings) == 1


@pytest.mark.parametrize(
    ("timeouts", "data", "statuses"),
    [
        (HttpTimeouts(tick_s=0.02, idle_s=0.1), b"", []),
        (HttpTimeouts(tick_s=0.02, idle_s=0.1), BOB, [200]),
        (HttpTimeouts(tick_s=0.02, head_s=0.1), BOB[:40], []),
        (HttpTimeouts(tick_s=0.02, head_s=0.1), BOB + BOB[:40], [200]),
        (HttpTimeouts(tick_s=0.02, head_s=0.1), HEALTH[:-2], []),
        (HttpTimeouts(tick_s=0.02, unauthenticated_body_s=0.1), BOB[:-1], [408]),
    ],
    ids=["idle", "idle after a ping", "head", "head after a ping", "other head", "body"],
)
async def test_slow_clients_are_disconnected(
    redis_client: Redis, timeouts: HttpTimeouts, data: bytes, statuses: list[int]
) -> None:
    async with house(redis_client, timeouts=timeouts) as api, wire(api.port) as client:
        client.send(data)
        assert [answer.status for answer in await client.answers()] == statuses


@pytest.mark.parametrize("first", [b"", HEALTH], ids=["fast", "aiohttp"])
async def test_a_slowly_arriving_head_gains_no_time(redis_client: Redis, first: bytes) -> None:
    async with (
        house(redis_client, timeouts=HttpTimeouts(tick_s=0.02, head_s=0.1)) as api,
        wire(api.port) as client,
    ):
        client.send(first)
        for _ in range(first.count(HEALTH)):
            await client.answer()
        reading = asyncio.ensure_future(client.rest())
        for byte in range(100):
            if reading.done():
                break
            client.send(BOB[byte : byte + 1])
            await asyncio.wait([reading], timeout=0.02)
        assert reading.done()
        with contextlib.suppress(
            ConnectionResetError
        ):  # a byte that came after the last look: TCP resets then
            assert await reading == b""


async def test_empty_lines_after_a_request_are_no_late_head(redis_client: Redis) -> None:
    """Some old clients send one after a body (RFC 9112 §2.2)."""
    timeouts = HttpTimeouts(tick_s=0.02, head_s=0.05)
    async with house(redis_client, timeouts=timeouts) as api, wire(api.port) as client:
        for _ in range(2):
            client.send(HEALTH)
            assert (await client.answer()).status == 200
            client.send(b"\r\n")
            await asyncio.sleep(0.2)


@LOOPS
def test_a_busy_loop_serves_half_closed_clients(run: Run, redis_address: str) -> None:
    """However late the handler begins with the requests that came before the end of the stream."""

    async def play() -> None:
        async with Redis.from_url(redis_address) as redis, house(redis) as api, wire(api.port) as client:
            client.send(HEALTH)
            assert (await client.answer()).status == 200
            client.send(request({"user_id": "bob"}, path="/api/ping") * 5)
            client.writer.write_eof()
            assert [answer.status for answer in await client.answers()] == [200] * 5

    run(play())


async def test_a_connection_that_waits_for_the_queue_is_not_slow(redis_client: Redis) -> None:
    async with (
        house(redis_client, timeouts=HttpTimeouts(tick_s=0.02, idle_s=0.1, head_s=0.1)) as api,
        wire(api.port) as client,
    ):
        api.queue.holding = True
        client.send(BOB)
        await api.queue.has(1)
        await asyncio.sleep(0.3)  # much longer than an idle one may
        api.queue.commit()
        assert (await client.answer()).status == 200


async def test_a_lost_client_does_not_disturb_the_queue(api: House) -> None:
    api.queue.holding = True
    async with wire(api.port) as client:
        client.send(BOB)
        await api.queue.has(1)
        client.writer.transport.abort()
    async with wire(api.port) as other:
        other.send(BOB)
        await api.queue.has(2)
        api.queue.failure = QueueFull("full")
        api.queue.commit()
        assert (await other.answer()).status == 503


async def test_a_body_in_many_pieces(api: House) -> None:
    data = request({"user_id": [f"user{number}" for number in range(10_000)]})
    async with wire(api.port) as client:
        for start in range(0, len(data), 1_000):
            client.send(data[start : start + 1_000])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer()).status == 200
    assert len(api.queue.pings[0].users) == 10_000


async def test_tokens_never_reach_the_log(api: House, caplog: pytest.LogCaptureFixture) -> None:
    async with wire(api.port) as client:
        client.send(json.dumps({"api_token": TOKEN}).encode() + b"\r\n\r\n")
        answer = await client.answer()
    assert answer.status == 400
    assert TOKEN not in caplog.text


async def test_a_ping_in_progress_is_accepted_while_draining(api: House) -> None:
    async with wire(api.port) as client:
        client.send(BOB[:-5])
        server = api.api._fast_path
        await until(lambda: any(len(one._buffer or b"") == len(BOB) - 5 for one in server.connections))
        closing = asyncio.create_task(api.api.close(WAIT_S))
        await until(lambda: server.draining)
        client.send(BOB[-5:])
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await closing
    assert len(api.queue.pings) == 1


@pytest.mark.parametrize("kind", ["fast", "aiohttp"])
async def test_callers_that_wait_for_verdicts_are_answered_before_the_end(api: House, kind: str) -> None:
    api.reports.ends = asyncio.Event()
    waited = {"user_id": "bob", "wait": True}
    async with wire(api.port) as client:
        client.send(
            request(waited) if kind == "fast" else request(waited, headers={"Expect": "100-continue"})
        )
        await api.queue.has(1)
        await api.api.close(0.5)
        answer = await client.answer()
        if answer.status == 100:
            answer = await client.answer()
    assert (answer.status, answer.json["error"]["code"]) == (504, "still_open")
    assert answer.headers["x-ping-id"]
