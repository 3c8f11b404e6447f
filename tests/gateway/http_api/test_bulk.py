"""Many pings in one request: the answers in order, each refusal alone, the window, the ends of a stream."""

import asyncio
import gzip
import io
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.errors import PossiblyAccepted, QueueFull, StoreDown
from gateway.http_api.bulk import ERRORS_MAX
from gateway.http_api.line_window import WINDOW_BYTES, WINDOW_LINES
from gateway.store import keys
from tests.gateway.http_api.harness import TOKEN, WAIT_S, House, Wire, house, request, wire

BULK = "/rc/v1/pings"
NDJSON = "application/x-ndjson"
CHUNKED: Mapping[str, str | None] = {
    "Content-Type": NDJSON,
    "Content-Length": None,
    "Transfer-Encoding": "chunked",
}


def lines(*pings: Mapping[str, Any] | bytes) -> bytes:
    return b"".join(
        (ping if isinstance(ping, bytes) else json.dumps(ping).encode()) + b"\n" for ping in pings
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"user_id": f"user{number}"} for number in range(count)]


async def post(api: House, body: Any, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    sent = {"Content-Type": NDJSON, "X-RhoConnect-API-TOKEN": TOKEN}
    sent |= {name.replace("_", "-"): text for name, text in headers.items()}
    async with (
        asyncio.timeout(WAIT_S),
        aiohttp.ClientSession(f"http://127.0.0.1:{api.port}") as session,
        session.post(BULK, data=body, headers=sent) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


async def answers(api: House, *pings: Mapping[str, Any] | bytes, **headers: str) -> list[dict[str, Any]]:
    status, found, body = await post(api, lines(*pings), **headers)
    assert (status, found["Content-Type"]) == (200, NDJSON)
    return [json.loads(line) for line in body.splitlines()]


class Stream:
    """A client that sends a body piece by piece and reads the answer's lines as they come."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._reader = wire._reader
        self.status = 0

    def begin(self, **headers: str | None) -> None:
        self.wire.send(request(b"", path=BULK, headers={**CHUNKED, **headers}))

    def send(self, *pings: Mapping[str, Any] | bytes) -> None:
        self.wire.send(chunk(lines(*pings)))

    def end(self) -> None:
        self.wire.send(b"0\r\n\r\n")

    async def head(self) -> None:
        async with asyncio.timeout(WAIT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
        self.status = int(head.split()[1])

    async def answer(self) -> dict[str, Any] | None:
        """The next line; None: the answer's end. Each line that is written alone is a chunk of its own."""
        if not self.status:
            await self.head()
        async with asyncio.timeout(WAIT_S):
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = (await self._reader.readexactly(size + 2))[:-2]
        found: dict[str, Any] | None = json.loads(data) if data else None
        return found


@asynccontextmanager
async def stream(
    api: House, *, receive_bytes: int | None = None, **headers: str | None
) -> AsyncIterator[Stream]:
    async with wire(api.port, receive_bytes=receive_bytes) as connection:
        found = Stream(connection)
        found.begin(**headers)
        yield found


# Answers.


async def test_each_line_is_a_ping_and_has_its_answer_in_order(api: House) -> None:
    found = await answers(api, *numbered(450))
    assert found == [{"ping_id": f"{number:032x}"} for number in range(450)]
    assert [ping.users for ping in api.queue.pings] == [(f"user{number}",) for number in range(450)]
    assert 'rhopush_pings_accepted_total{ingress="http"} 450.0' in api.metrics


async def test_a_line_has_all_parameters_of_a_ping(api: House) -> None:
    await answers(
        api, {"user_id": ["bob", "ann"], "sources": "A,B", "message": "hi", "badge": "5", "ttl_s": 60}
    )
    (ping,) = api.queue.pings
    assert (ping.users, ping.sources, ping.message, ping.badge, ping.ttl_s) == (
        ("bob", "ann"),
        ("A", "B"),
        "hi",
        5,
        60,
    )


async def test_wrong_lines_refuse_themselves_alone(api: House) -> None:
    found = await answers(
        api,
        {"user_id": "a"},
        b"{no json",
        b"",
        {"user_id": "b", "badge": -1},
        b"  \r",
        {"user_id": "c", "wait": True},
        {"user_id": "d", "api_token": TOKEN},
        {"user_id": "e", "idempotency_key": ""},
        b"[]",
        {"user_id": "f"},
    )
    refused = [(one["line"], one["error"]["code"], one["error"]["field"]) for one in found if "error" in one]
    assert refused == [
        (2, "malformed_body", None),
        (4, "invalid_field", "badge"),
        (6, "invalid_field", "wait"),
        (7, "invalid_field", "api_token"),
        (8, "invalid_field", "idempotency_key"),
        (9, "malformed_body", None),
    ]
    assert [ping.users for ping in api.queue.pings] == [("a",), ("f",)]
    assert [sorted(one) for one in found if "error" not in one] == [["ping_id"], ["ping_id"]]


async def test_a_line_may_be_scheduled(api: House) -> None:
    found = await answers(
        api, {"user_id": "a", "deliver_at": 1_796_119_200}, {"user_id": "b", "deliver_at": "now"}
    )
    assert "ping_id" in found[0]
    assert found[1]["error"]["field"] == "deliver_at"
    assert api.queue.instants == [1_796_119_200_000]


async def test_an_unknown_parameter_is_named(api: House) -> None:
    assert await answers(api, {"user_id": "a", "colour": 1}) == [
        {"ping_id": "0" * 32, "warning": "not understood: colour"}
    ]


@pytest.mark.parametrize("excess", [0, 1])
async def test_a_long_line_refuses_itself_alone(api: House, excess: int) -> None:
    api.set(limits={"line_bytes": 50_000})
    long = b'{"user_id": "long"' + b" " * 200_000
    found = await answers(api, {"user_id": "a"}, long[: 49_999 + excess] + b"}", {"user_id": "b"})
    assert [one.get("error", {}).get("code") for one in found] == [
        None,
        "line_too_long" if excess else None,
        None,
    ]
    assert [ping.users[0] for ping in api.queue.pings] == ["a", "b"] if excess else ["a", "long", "b"]


async def test_a_line_with_too_much_besides_its_parameters_is_named_as_a_line(api: House) -> None:
    (found,) = await answers(api, b'{"user_id": "a"' + b" " * 150_000 + b"}")
    assert found["error"]["message"].startswith("this line has more than 65536 bytes besides")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("excess", [0, 1])
async def test_the_end_of_a_line_does_not_count(api: House, end: bytes, excess: int) -> None:
    api.set(limits={"line_bytes": 100})
    _, _, body = await post(api, b'{"user_id": "a"' + b" " * (84 + excess) + b"}" + end)
    assert json.loads(body).get("error", {}).get("code") == ("line_too_long" if excess else None)


async def test_the_last_line_needs_no_end(api: House) -> None:
    status, _, body = await post(api, b'{"user_id": "a"}\n{"user_id": "b"}')
    assert (status, len(body.splitlines())) == (200, 2)


async def test_no_line_is_an_empty_answer(api: House) -> None:
    status, headers, body = await post(api, b"\n\n")
    assert (status, headers["Content-Type"], body) == (200, NDJSON, b"")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_pieces_may_end_anywhere(api: House, size: int) -> None:
    body = lines({"user_id": "bob", "message": "grüße"}, b"", b"{", {"user_id": "ann"})
    async with stream(api) as client:
        for start in range(0, len(body), size):
            client.wire.send(chunk(body[start : start + size]))
            await client.wire.writer.drain()
            await asyncio.sleep(0)
        client.end()
        rest = await client.wire._reader.readuntil(b"0\r\n\r\n")
    assert [ping.users for ping in api.queue.pings] == [("bob",), ("ann",)]
    assert api.queue.pings[0].message == "grüße"
    assert rest.count(b'"ping_id"') == 2
    assert rest.count(b'"line":3') == 1


async def test_a_gzip_body_is_decoded_line_by_line(api: House) -> None:
    status, _, body = await post(api, gzip.compress(lines(*numbered(3000))), Content_Encoding="gzip")
    assert (status, len(body.splitlines()), len(api.queue.pings)) == (200, 3000, 3000)


async def test_gzip_in_many_members(api: House) -> None:
    pings = [
        {"user_id": f"user{number}", "message": random.Random(number).randbytes(999).hex()}
        for number in range(60)
    ]
    body = b"".join(gzip.compress(lines(ping)) for ping in pings)
    status, _, found = await post(api, body, Content_Encoding="gzip")
    assert (status, found.count(b'"ping_id"'), found.count(b"error")) == (200, 60, 0)


async def test_a_body_that_decompresses_to_too_much_ends_with_an_error(api: House) -> None:
    bomb = gzip.compress(lines({"user_id": "a"}) + b" " * 30_000_000)
    status, _, body = await post(api, bomb, Content_Encoding="gzip")
    last = json.loads(body.splitlines()[-1])
    assert (status, last["error"]["code"], last["resume_from"]) == (200, "too_large", 2)
    assert len(api.queue.pings) == 1


async def test_broken_gzip_before_a_line_is_an_answer_of_its_own(api: House) -> None:
    status, _, body = await post(api, b"no gzip", Content_Encoding="gzip")
    assert (status, json.loads(body)["error"]["code"]) == (400, "malformed_body")


# Before the first line.


async def test_only_the_headers_token_counts(api: House) -> None:
    body = lines({"user_id": "a", "api_token": TOKEN})
    for token in ("", "wrong"):
        async with wire(api.port) as client:
            path = f"{BULK}?api_token={TOKEN}"
            client.send(request(body, path=path, token=token, headers={"Content-Type": NDJSON}))
            assert (await client.answer()).status == 422
    assert not api.queue.pings


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content_Type": "application/json"}, 415, "unsupported_media_type"),
        ({"Content_Encoding": "br"}, 415, "unsupported_content_encoding"),
    ],
)
async def test_other_bodies_are_refused(api: House, headers: dict[str, str], status: int, code: str) -> None:
    found, _, body = await post(api, b"", **headers)
    assert (found, json.loads(body)["error"]["code"]) == (status, code)


@pytest.mark.parametrize("name", ["explain", "deliver_at", "user_id", "wait", "idempotency_key", "to"])
async def test_a_parameter_of_a_ping_in_the_query_is_refused(api: House, name: str) -> None:
    """It would have no effect on the lines: `explain=true` must send nothing."""
    body = lines({"user_id": "a"})
    async with wire(api.port) as client:
        suffix = "[devices][]=c" if name == "to" else "=true"
        path = f"{BULK}?api_token={TOKEN}&other=1&{name}{suffix}"
        client.send(request(body, path=path, headers={"Content-Type": NDJSON}))
        answer = await client.answer()
    assert (answer.status, answer.error["field"]) == (400, name)
    assert not api.queue.pings


async def test_an_idempotency_key_of_the_whole_request_is_refused(api: House) -> None:
    status, _, body = await post(api, lines({"user_id": "a"}), Idempotency_Key="k")
    assert (status, json.loads(body)["error"]["field"]) == (400, "Idempotency-Key")
    assert not api.queue.pings


async def test_other_parameters_of_the_query_have_no_effect(api: House) -> None:
    async with wire(api.port) as client:
        path = f"{BULK}?api_token={TOKEN}&other=1"
        client.send(request(lines({"user_id": "a"}), path=path, headers={"Content-Type": NDJSON}))
        assert (await client.answer()).status == 200


async def test_the_window_counts_in_the_budget_of_bodies(api: House) -> None:
    api.queue.holding = True
    async with stream(api) as first:
        first.send({"user_id": "a"})
        await api.queue.has(1)
        assert api.services.bodies.reserved == WINDOW_BYTES + api.services.settings.limits.line_bytes
        api.set(limits={"bodies_bytes": api.services.bodies.reserved + 1})
        status, headers, body = await post(api, lines({"user_id": "b"}))
        assert (status, json.loads(body)["error"]["code"]) == (503, "bodies_full")
        assert headers["Retry-After"]
        api.queue.commit()
        first.end()
        assert await first.answer() == {"ping_id": "0" * 32}
        assert await first.answer() is None
    async with asyncio.timeout(WAIT_S):
        while api.services.bodies.reserved:
            await asyncio.sleep(0.01)


async def test_body_bytes_is_no_limit(api: House) -> None:
    api.set(limits={"body_bytes": 100, "unauthenticated_body_bytes": 100})
    assert len(await answers(api, *numbered(500))) == 500


async def test_a_client_that_expects_100_continue_gets_it(api: House) -> None:
    async with wire(api.port) as client:
        body = lines({"user_id": "a"})
        head = {"Content-Type": NDJSON, "Expect": "100-continue", "Content-Length": str(len(body))}
        client.send(request(b"", path=BULK, headers=head))
        assert (await client.answer()).status == 100
        client.send(body)
        assert (await client.answer()).status == 200


# While the body comes.


async def test_a_line_is_answered_while_the_body_comes(api: House) -> None:
    async with stream(api) as client:
        for number in range(3):
            client.send({"user_id": f"user{number}"})
            assert await client.answer() == {"ping_id": f"{number:032x}"}
        client.end()
        assert await client.answer() is None


async def test_nothing_is_read_while_the_window_is_full(api: House) -> None:
    api.queue.holding = True
    total = 30 * WINDOW_LINES

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, total, 100):
            yield lines(*({"user_id": f"user{number}"} for number in range(start, start + 100)))

    posted = asyncio.create_task(post(api, body()))
    seen = 0
    while seen < total:
        await api.queue.has(min(seen + WINDOW_LINES, total))
        await asyncio.sleep(0.01)
        assert len(api.queue.pings) - seen <= WINDOW_LINES
        seen = len(api.queue.pings)
        api.queue.commit()
    _, _, answer = await posted
    assert len(answer.splitlines()) == total


async def test_the_loop_runs_after_as_many_lines_as_an_entry_holds(api: House) -> None:
    taken: list[int] = []

    async def watch() -> None:
        while True:
            taken.append(len(api.queue.pings))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await post(api, lines(*numbered(WINDOW_LINES)))
    watching.cancel()
    assert max(after - before for before, after in pairwise(taken)) <= keys.ENTRY_PINGS


async def test_the_unanswered_bytes_of_a_request_are_bounded(api: House) -> None:
    api.queue.holding = True
    long = [{"user_id": f"user{number}", "message": "x" * 60_000} for number in range(60)]
    posted = asyncio.create_task(post(api, io.BytesIO(lines(*long))))
    seen = 0
    while seen < len(long):
        await api.queue.has(seen + 1)
        await asyncio.sleep(0.05)
        assert (len(api.queue.pings) - seen - 1) * 60_000 < WINDOW_BYTES
        seen = len(api.queue.pings)
        api.queue.commit()
    await posted


async def test_answers_keep_the_order_of_lines(api: House) -> None:
    api.queue.holding = True
    async with stream(api) as client:
        client.send({"user_id": "a"}, b"{", {"user_id": "b"})
        client.end()
        await api.queue.has(2)
        (_, first), (_, second) = api.queue.held
        second(None)
        first(None)
        await client.head()
        body = await client.wire._reader.readuntil(b"0\r\n\r\n")
    assert body.index(b'"ping_id":"' + b"0" * 32) < body.index(b'"line":2') < body.index(b'1"}')


@pytest.mark.parametrize(
    ("failure", "more"),
    [
        (QueueFull("full"), {"code": "queue_full", "retry_after_s": 2}),
        (StoreDown("down"), {"code": "store_unavailable", "retry_after_s": 2}),
    ],
)
async def test_a_temporarily_refused_line_has_retry_after_s(
    api: House, failure: Any, more: dict[str, Any]
) -> None:
    api.queue.failure = failure
    (found,) = await answers(api, {"user_id": "a"})
    assert found == {"error": {"message": failure.message, "field": None} | more, "line": 1}


async def test_a_possibly_accepted_line_has_its_id(api: House) -> None:
    api.queue.failure = PossiblyAccepted("perhaps", ping_id="ab" * 16)
    (found,) = await answers(api, {"user_id": "a"})
    assert (found["error"]["code"], found["ping_id"]) == ("possibly_accepted", "ab" * 16)


async def test_the_rate_limits_lines(api: House) -> None:
    api.set(limits={"requests_per_s": 0.001})
    found = await answers(api, *numbered(2))
    assert found[1]["error"]["code"] == "too_many_requests"
    assert found[1]["error"]["retry_after_s"] >= 1


# The summary.


async def test_return_minimal_is_answered_with_one_summary(api: House) -> None:
    wrong = [b"{"] * (ERRORS_MAX + 5)
    status, headers, body = await post(
        api, lines({"user_id": "a"}, *wrong, {"user_id": "b"}), Prefer="return=minimal"
    )
    found = json.loads(body)
    assert (status, headers["Preference-Applied"]) == (200, "return=minimal")
    assert (found["accepted"], found["refused"], len(found["errors"])) == (2, len(wrong), ERRORS_MAX)
    assert found["errors"][0]["line"] == 2
    assert list(found) == ["accepted", "refused", "errors"]


async def test_a_caller_that_reads_at_its_end_uses_the_summary(redis_client: Redis) -> None:
    async with house(redis_client, send_bytes=4096) as api, stream(api, Prefer="return=minimal") as client:
        for _ in range(40):
            client.send(*numbered(1000))
            await client.wire.writer.drain()
        client.end()
        found = await client.wire.answer()
    assert found.json == {"accepted": 40_000, "refused": 0, "errors": []}
