"""With and without the fast path: whatever bytes come, in whatever pieces, the answers are the same.

Both servers get the same bytes in the same cuts, then the client's end of stream; compared are all answers (but
for the Date), whether the connection ended, and every ping that reached the queue.
"""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.http_api.token_cache import TokenCache
from tests.gateway.http_api.harness import PING, TOKEN, Answer, House, call, house, request, wire
from tests.support.redis import RedisServer, store_client

GOOD = b'{"user_id":["a","b"],"message":"hi"}'

BODIES = st.one_of(
    st.sampled_from(
        [
            GOOD,
            b'{"user_id":"a","api_token":"%b"}' % TOKEN.encode(),
            b'{"user_id":"a","api_token":"wrong"}',
            b'{"user_id":"a","colour":1,"wait":false}',
            b'{"user_id":"a","wait":true}',
            b'{"user_id":"a","badge":[]}',
            b"{",
            b"[]",
            b"null",
            b"",
            b'{"user_id":"\xff"}',
            b"user_id=a&user_id[]=b",
        ]
    ),
    st.binary(max_size=40),
)
LINES = st.sampled_from(
    [f"POST {PING} HTTP/1.1"] * 8
    + [
        f"POST {PING} HTTP/1.0",
        f"POST {PING} HTTP/1.1 ",
        f"POST  {PING} HTTP/1.1",
        f"POST {PING}?message=x HTTP/1.1",
        f"post {PING} HTTP/1.1",
        f"POST http://gateway{PING} HTTP/1.1",
        f"POST /{PING} HTTP/1.1",
        "POST /rc//v1/users/%70ing HTTP/1.1",
        "POST /api/ping HTTP/1.1",
        "POST /rc/v1/users/pin HTTP/1.1",
        "POST /rc/v1/users%2Fping HTTP/1.1",
        "GET /healthz HTTP/1.1",
        f"PRI {PING} HTTP/2.0",
        "",
    ]
)
# Every header that a request may have, good and bad. None: as it should be, computed from the body.
EXTRAS = st.lists(
    st.sampled_from(
        [
            "Content-Length: {length}",
            "Content-Length: {more}",
            "Content-Length: +{length}",
            "Content-Length: {length}, {length}",
            "Content-Length : {length}",
            " Content-Length: {length}",
            "content-length:{length}",
            "Content-Length: 0x10",
            "Content-Length: ",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked, identity",
            "transfer-encoding:\tchunked",
            "Content-Type: application/json",
            "Content-Type: text/plain",
            "Content-Type: application/vnd.api+json",
            "Content-Type: application/json; charset=utf-16",
            "Content-Type: application/json;charset=latin1",
            "Content-Type: application/json; charset=utf-8",
            "Content-Encoding: gzip",
            "Content-Encoding: identity",
            f"X-RhoConnect-API-TOKEN: {TOKEN}",
            f"x-rhoconnect-api-token:  {TOKEN} ",
            "X-RhoConnect-API-TOKEN: wrong",
            "X-RhoConnect-API-TOKEN: \xe9",
            "X-Rhoconnect-Api-Token:",
            "Expect: 100-continue",
            "Expect: coffee",
            "Connection: close",
            "Connection: keep-alive",
            "Connection: Keep-Alive, TE",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Connection: Upgrade\r\nUpgrade: h2c",
            "Prefer: return=representation",
            "Idempotency-Key: one",
            "Idempotency-Key: two words",
            "Host: other",
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "Traceparent: malformed",
            "tracestate: vendor=1",
            "tracestate: a\r\n b",
            "baggage: " + "x" * 17_000,
            "b3: 1\r\nX-Request-Id: 2",
            "X-Request-Id: a\rb",
            "X-Request-Id:",
            "X-Long: " + "x" * 9_000,
            "X-Longer: " + "x" * 17_000,
            "X-Folded: a\r\n b",
            "X-Null: a\x00b",
            "X-Control: a\x01b",
            "X-Bare: a\rb",
            "X Space: a",
            "NoColon",
            "X-Umlaut: ü",
            ": empty",
        ]
    ),
    max_size=4,
)
ENDS = st.sampled_from(["\r\n"] * 12 + ["\n", "\r"])


def one(body: bytes, line: str, extras: list[str], dropped: set[int], end: str) -> bytes:
    usual = [
        "Host: gateway",
        "Content-Type: application/json",
        "Content-Length: {length}",
        f"X-RhoConnect-API-TOKEN: {TOKEN}",
    ]
    headers = [header for number, header in enumerate(usual) if number not in dropped] + extras
    lines = [header.format(length=len(body), more=len(body) + 3) for header in headers]
    return end.join([line, *lines, "", ""]).encode("latin-1") + body


@st.composite
def anything(draw: st.DrawFn) -> bytes:
    """One request, perhaps malformed."""
    extras = draw(EXTRAS)
    dropped = draw(st.sets(st.integers(0, 3), max_size=1)) if extras else set()
    return one(draw(BODIES), draw(LINES), extras, dropped, draw(ENDS))


@st.composite
def pipeline(draw: st.DrawFn) -> bytes:
    """Well-formed requests, one after the other.

    No malformed one among them: aiohttp forgets the good requests that came in the same read as a bad one, so
    that its answers depend on the cuts. `test_front` shows that the fast path does not.
    """
    extra = st.sampled_from(
        [
            "Connection: keep-alive",
            "X-Other: 1",
            "Idempotency-Key: one",
            "Prefer: return=representation",
            "tracestate: vendor=1",
            "X-Request-Id: 1\r\nbaggage: a=b",
        ]
    )
    line = st.sampled_from(
        [f"POST {PING} HTTP/1.1"] * 4 + ["POST /api/ping HTTP/1.1", "GET /healthz HTTP/1.1"]
    )
    made = [
        one(draw(BODIES), draw(line), draw(st.lists(extra, max_size=1)), set(), "\r\n")
        for _ in range(draw(st.integers(1, 5)))
    ]
    if draw(st.booleans()):
        made.append(one(GOOD, f"POST {PING} HTTP/1.1", ["Connection: close"], set(), "\r\n"))
    return b"".join(made)


STREAMS = st.one_of(anything(), anything(), pipeline(), st.binary(max_size=60))


class Seen:
    """The answers to a client and the pings in a queue after one stream of bytes."""

    def __init__(self, answers: list[Answer], pings: list[Any], keys: list[Any], *, reset: bool) -> None:
        self.reset = reset
        for answer in answers:
            answer.headers.pop("date", None)
        self.facts = ([(a.status, a.headers, a.body) for a in answers], pings, keys)


async def see(api: House, stream: bytes, cuts: list[int]) -> Seen:
    api.queue.pings.clear()
    api.queue.keys.clear()
    async with wire(api.port) as connection:
        sock: socket.socket = connection.writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
        with contextlib.suppress(OSError):  # refused and closed before the last piece
            for start, end in itertools.pairwise(places):
                connection.send(stream[start:end])
                await connection.writer.drain()
                await asyncio.sleep(0)
            connection.writer.write_eof()
        answers, reset = [], False
        try:
            answers = await connection.answers()
        except ConnectionResetError:
            reset = True
    return Seen(answers, list(api.queue.pings), list(api.queue.keys), reset=reset)


@contextlib.asynccontextmanager
async def pair(server: RedisServer) -> AsyncIterator[tuple[House, House]]:
    async with (
        store_client(server.socket) as redis,
        house(redis, fast_path=True) as fast,
        house(redis, fast_path=False) as slow,
    ):
        yield fast, slow


@pytest.fixture(scope="module")
def server() -> Any:
    with RedisServer("redis") as running:
        yield running


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def running(server: RedisServer, runner: asyncio.Runner) -> Iterator[tuple[House, House]]:
    """Both servers, for all examples: their start takes longer than an example."""
    opened = pair(server)
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    streams=st.lists(st.tuples(STREAMS, st.lists(st.integers(0, 10_000), max_size=4)), min_size=1, max_size=4)
)
def test_the_answers_never_differ(
    runner: asyncio.Runner, running: tuple[House, House], streams: list[tuple[bytes, list[int]]]
) -> None:
    async def compare() -> None:
        fast, slow = running
        for stream, cuts in streams:
            ours, theirs = await asyncio.gather(see(fast, stream, cuts), see(slow, stream, cuts))
            if ours.reset or theirs.reset:
                # A refused request's later pieces met a closed socket, and the reset overtook the answer.
                ours, theirs = await see(fast, stream, []), await see(slow, stream, [])
            assert ours.facts == theirs.facts, stream
            assert not ours.reset

    runner.run(compare())


def test_the_comparison_can_fail(server: RedisServer) -> None:
    """A control: the comparison finds a server that answers differently."""

    async def compare() -> None:
        async with pair(server) as (fast, slow):
            slow.set(limits={"users_per_ping": 1})
            stream = one(GOOD, f"POST {PING} HTTP/1.1", [], set(), "\r\n")
            ours, theirs = await see(fast, stream, []), await see(slow, stream, [])
            assert (ours.facts[0][0][0], theirs.facts[0][0][0]) == (200, 413)
            assert ours.facts != theirs.facts

    asyncio.run(compare())


async def test_no_request_is_read_while_a_token_is_looked_up(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    first, released = asyncio.Event(), asyncio.Event()
    resolve = TokenCache.resolve

    async def held(cache: TokenCache, header: str, parameter: str, client: str = "") -> Any:
        begun.append(header)
        first.set()
        await released.wait()
        return await resolve(cache, header, parameter, client)

    monkeypatch.setattr(TokenCache, "resolve", held)
    async with house(redis_client, fast_path=True) as api, wire(api.port) as connection:
        connection.send(
            b"".join(request({"user_id": "a"}, token=f"invented-{number}") for number in range(5))
        )
        await asyncio.wait_for(first.wait(), 30)
        assert (await call(api, path="/healthz", method="GET")).status == 200
        assert begun == ["invented-0"]
        released.set()
        assert [(await connection.answer()).status for _ in range(5)] == [422] * 5
        connection.send(request({"user_id": "a"}))
        assert (await connection.answer()).status == 200
