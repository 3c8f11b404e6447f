"""Request heads and bodies that are long, malformed or truncated."""

import asyncio
import contextlib
import json

import pytest

from gateway.http_api.aiohttp_parser import RequestTracker, refusal_of
from protocols.http1.request_head import HEAD_BYTES
from tests.gateway.http_api.harness import PING, TOKEN, House, Wire, call, request, wire
from tests.gateway.http_api.test_app import BODY

PLAIN = request(BODY, path="/api/ping")
CHUNKED = {"Transfer-Encoding": "chunked", "Content-Length": None}


def headed(name: str, size: int, **options: str) -> bytes:
    """A ping whose head has exactly this many bytes, by one more header."""
    short = request(BODY, headers={name: ""}, **options)
    return request(BODY, headers={name: "x" * (size - len(short) + len(BODY))}, **options)


def tracked(*pieces: bytes, end: bool = False) -> tuple[int, bool, str, bool]:
    """Heads, whether a body is open, why nothing more is read, and whether aiohttp does not find that."""
    tracker = RequestTracker()
    for piece in pieces:
        tracker.feed(piece)
    if end:
        tracker.end()
    cause = "" if tracker.cause is None else str(refusal_of(tracker.cause))
    return tracker.heads, tracker.in_body, cause, tracker.hidden


CHUNKS = request(path="/api/ping", headers=CHUNKED) + b"5\r\n" + BODY[:5] + b"\r\n"
UPGRADE = request(
    method="GET", headers={"Connection": "Upgrade", "Upgrade": "websocket", "Content-Length": None}
)


@pytest.mark.parametrize(
    ("data", "end", "expected"),
    [
        (b"", True, (0, False, "", False)),
        (b"\r\n", True, (0, False, "", False)),
        (PLAIN * 3, True, (3, False, "", False)),
        (PLAIN * 3 + PLAIN[:-1], False, (4, True, "", False)),
        (PLAIN[:40], False, (0, False, "", False)),
        (CHUNKS, False, (1, True, "", False)),
        (CHUNKS + b"0\r\n\r\n" + PLAIN, True, (2, False, "", False)),
        (UPGRADE + PLAIN, False, (2, False, "", False)),
    ],
)
async def test_every_split_finds_the_same_requests(
    data: bytes, end: bool, expected: tuple[int, bool, str, bool]
) -> None:
    for cut in range(len(data) + 1):
        assert tracked(data[:cut], data[cut:], end=end) == expected, cut
    assert tracked(*(data[at : at + 1] for at in range(len(data))), end=end) == expected


@pytest.mark.parametrize("data", [PLAIN[:40], PLAIN + PLAIN[:40], PLAIN[:-1], CHUNKS, PLAIN + b"P"])
async def test_a_stream_that_ends_within_a_request_is_broken(data: bytes) -> None:
    found = tracked(data, end=True)
    assert found[2] == "the request is not valid HTTP/1.1: the request is truncated"
    assert found[3]


async def test_the_end_of_the_stream_may_be_reported_twice() -> None:
    tracker = RequestTracker()
    tracker.feed(PLAIN)
    tracker.end()
    tracker.end()
    assert tracker.cause is None


async def test_a_body_that_breaks_stays_open_and_a_head_that_breaks_opens_none() -> None:
    assert tracked(CHUNKS, b"zz\r\n")[:2] == (1, True)
    assert tracked(CHUNKS, b"0\r\n\r\n\x00")[:2] == (1, False)
    assert not tracked(PLAIN, b"\x00")[3]


async def test_a_head_that_is_never_whole_is_too_large() -> None:
    line = b"X: " + b"y" * 1_000 + b"\r\n"
    pieces = [PLAIN[: PLAIN.index(b"\r\n") + 2], *([line] * 20)]
    assert sum(map(len, pieces)) > HEAD_BYTES
    heads, in_body, cause, hidden = tracked(*pieces)
    assert (heads, in_body, hidden) == (0, False, True)
    assert str(HEAD_BYTES) in cause


@pytest.mark.parametrize("size", [8_000, 8_190, 9_000, 16_383, 16_384])
async def test_a_head_of_16_kilobytes_is_taken(both: House, size: int) -> None:
    async with wire(both.port) as client:
        data = headed("Cookie", size)
        assert data.index(b"\r\n\r\n") + 4 == size
        client.send(data)
        assert (await client.answer()).status == 200
        client.send(headed("Cookie", size, path="/api/ping"))
        assert (await client.answer()).status == 200


async def test_a_head_may_have_many_short_headers(both: House) -> None:
    names = {f"X-{number}": "1" for number in range(900)}
    assert (await call(both, BODY, headers=names)).status == 200


@pytest.mark.parametrize(
    "head",
    [
        headed("Cookie", 16_400),
        headed("Cookie", 500_000),
        request(BODY, headers={f"X-{number}": "y" * 1_000 for number in range(17)}),
        request(BODY, headers={f"X-{number}": "y" * 8_000 for number in range(100)}),
        request(BODY, headers={f"X{number}": "1" for number in range(1_100)}),
        request(BODY, path=f"{PING}?message={'x' * 17_000}"),
        request(BODY, path=f"/{'x' * 17_000}"),
        request(BODY, headers={"X" * 17_000: "1"}),
        request(BODY, headers={f"X-{number}": "y" * 8_000 for number in range(3)})[:20_000],
    ],
    ids=["a few more", "far more", "few", "many", "short", "query", "path", "name", "never whole"],
)
@pytest.mark.parametrize("step", [1_000_000, 5_000])
async def test_a_longer_head_is_431(both: House, head: bytes, step: int) -> None:
    async with wire(both.port) as client:
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(head), step):
                client.send(head[start : start + step])
                await client.writer.drain()
                await asyncio.sleep(0)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (431, "head_too_large")
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
    assert not both.queue.pings


async def sent_in_two(client: Wire, first: bytes, second: bytes) -> None:
    """Send the second piece once the first was read: the answer to the ping before it is there."""
    client.send(request(BODY) + first)
    assert (await client.answer()).status == 200
    client.send(second)


@pytest.mark.parametrize("path", [PING, "/api/ping", "/rc/v1/users"])
@pytest.mark.parametrize(
    "rest",
    [
        b"zz\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"-1\r\n",
        b"0\r\nX Y: 1\r\n\r\n",
        b"0\r\nX: " + b"y" * 20_000,
        b"\x00\x00",
    ],
    ids=["size", "longer", "sign", "trailer", "long trailer", "zeros"],
)
async def test_a_chunked_body_that_breaks_late_is_answered(both: House, path: str, rest: bytes) -> None:
    head = request(path=path, headers=CHUNKED)
    async with wire(both.port) as client:
        await sent_in_two(client, head + b"5\r\n" + BODY[:5] + b"\r\n", rest)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (400, "malformed_body")
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
    assert len(both.queue.pings) == 1


@pytest.mark.parametrize(
    "cut",
    [
        request(BODY)[:-3],
        request(BODY, path="/api/ping")[:-3],
        request(BODY, headers={"Content-Length": "100"}),
        request(headers=CHUNKED) + b"5\r\n" + BODY[:5] + b"\r\n",
        request(headers=CHUNKED) + b"5\r\n" + BODY[:2],
        request(headers=CHUNKED) + b"5\r\n" + BODY[:5] + b"\r\n0\r\n",
        request(BODY)[:40],
        request(BODY, path="/api/ping")[:40],
    ],
    ids=["body", "other route", "length", "chunks", "chunk", "trailer", "head", "other head"],
)
@pytest.mark.parametrize("before", [b"", request(BODY)], ids=["first", "second"])
async def test_what_a_half_closed_client_cut_off_is_answered(both: House, cut: bytes, before: bytes) -> None:
    async with wire(both.port) as client:
        client.send(before + cut)
        client.writer.write_eof()
        found = await client.answers()
    assert [answer.status for answer in found] == [200] * bool(before) + [400]
    assert found[-1].headers["connection"] == "close"
    assert found[-1].error["code"] in ("malformed_body", "malformed_request")
    assert len(both.queue.pings) == bool(before)


async def test_a_body_that_no_route_reads_ends_with_its_stream(both: House) -> None:
    async with wire(both.port) as client:
        client.send(request(BODY, method="GET", path="/healthz", headers={"Content-Length": "100"}))
        client.writer.write_eof()
        assert [answer.status for answer in await client.answers()] == [200]


async def test_a_cut_off_request_waits_for_the_answers_before_it(both: House) -> None:
    both.queue.holding = True
    async with wire(both.port) as client:
        client.send(request(BODY) + request(BODY)[:-3])
        client.writer.write_eof()
        await both.queue.has(1)
        both.queue.commit()
        assert [answer.status for answer in await client.answers()] == [200, 400]


async def test_chunks_may_have_extensions_and_trailers(both: House) -> None:
    chunks = b'f;a=b;c="d"\r\n' + BODY + b"\r\n0;x\r\nX-Trailer: 1\r\n\r\n"
    async with wire(both.port) as client:
        client.send(request(headers=CHUNKED) + chunks + request(BODY))
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (request(BODY, headers={"Host": None}), "Host header"),
        (request(BODY).replace(b"\r\n", b"\r\nHost: other\r\n", 1), "occurs twice"),
        (request(BODY, method="post"), "upper case"),
        (request(BODY, path="/rc/v1/users/\xfc"), "percent-encoded"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (request(headers=CHUNKED) + b"zz\r\n", "chunk"),
    ],
    ids=["no host", "two hosts", "method", "target", "TLS", "chunk"],
)
async def test_a_refusal_says_what_is_wrong(both: House, data: bytes, words: str) -> None:
    async with wire(both.port) as client:
        client.send(data)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (400, "malformed_request")
        assert words in answer.error["message"]
        assert TOKEN not in json.dumps(answer.json)
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
