"""Limits of request bodies: their length by caller, the budget of the process, and the cost of decoding."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.http_api import HttpTimeouts, aiohttp_handler
from tests.gateway.http_api.harness import PING, TOKEN, WAIT_S, House, Wire, call, house, request, wire

SMALL = 65_536
ROUTES = [
    ("POST", PING),
    ("POST", "/api/ping"),
    ("POST", "/rc/v1/users"),
    ("POST", "/rc/v1/app/login"),
    ("POST", "/rc/v1/system/login"),
    ("POST", "/rc/v1/clients"),
    ("PUT", "/rc/v1/users/bob"),
    ("DELETE", "/rc/v1/users/bob"),
    ("GET", "/healthz"),
    ("GET", "/rc/v1/users"),
    ("POST", "/nowhere"),
]


def head(
    length: int, *, token: str | None = None, method: str = "POST", path: str = PING, **more: str
) -> bytes:
    """A request's head, with a body announced that does not come."""
    headers = {name.replace("_", "-"): text for name, text in more.items()}
    return request(
        b"", method=method, path=path, token=token, headers={"Content-Length": str(length), **headers}
    )


def long_ping(size: int) -> bytes:
    """A ping that names bob, in so many bytes."""
    body = b'{"user_id":["bob"' + b" " * size
    return body[: size - 2] + b"]}"


@pytest.mark.parametrize("token", [None, "no-such-token", ""])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_long_body_without_a_valid_header_is_refused_before_it_comes(
    both: House, method: str, path: str, token: str | None
) -> None:
    async with wire(both.port) as client:
        client.send(head(SMALL + 1, token=token, method=method, path=path, Expect="100-continue"))
        answer = await client.answer()
        assert answer.status == 413
        assert "X-RhoConnect-API-TOKEN" in answer.error["message"]
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("how", ["header", "continue"])
async def test_the_limit_itself_may_be_sent(both: House, how: str) -> None:
    body = json.dumps({"user_id": "bob", "api_token": TOKEN}).encode().ljust(SMALL)
    async with wire(both.port) as client:
        if how == "continue":
            client.send(head(SMALL, Expect="100-continue"))
            assert (await client.answer()).status == 100
            client.send(body)
        else:
            client.send(request(body, token="no-such-token"))
        assert (await client.answer()).status == 200
    assert both.queue.pings[0].users == ("bob",)


async def test_a_valid_header_admits_a_long_body_and_then_100_continue(both: House) -> None:
    body = long_ping(SMALL + 1)
    async with wire(both.port) as client:
        client.send(head(len(body), token=TOKEN, Expect="100-continue"))
        assert (await client.answer()).status == 100
        client.send(body)
        assert (await client.answer()).status == 200
        assert (await call(both, body)).status == 200  # the token is known by now
    assert [ping.users for ping in both.queue.pings] == [("bob",)] * 2


async def test_beyond_the_larger_limit_the_header_is_not_named(both: House) -> None:
    both.set(limits={"body_bytes": 100_000})
    async with wire(both.port) as client:
        client.send(head(100_001, token=TOKEN, Expect="100-continue"))
        answer = await client.answer()
    assert (answer.status, answer.error["message"]) == (413, "a body must not exceed 100000 bytes")


async def test_the_limit_follows_the_settings(both: House) -> None:
    both.set(limits={"unauthenticated_body_bytes": 100})
    body = json.dumps({"user_id": "bob", "api_token": TOKEN}).encode()
    assert (await call(both, body.ljust(100), token=None)).status == 200
    assert (await call(both, body.ljust(101), token=None)).status == 413
    assert (await call(both, body.ljust(101))).status == 200


def chunks(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@pytest.mark.parametrize(("token", "status"), [(None, 413), ("no-such-token", 413), (TOKEN, 200)])
async def test_chunks_count_as_they_come(both: House, token: str | None, status: int) -> None:
    start = request(
        b"", path="/api/ping", token=token, headers={"Content-Length": None, "Transfer-Encoding": "chunked"}
    )
    async with wire(both.port) as client:
        client.send(start + b"".join(chunks(long_ping(SMALL + 1), 7_000)))
        assert (await client.answer()).status == status


@pytest.mark.parametrize("size", [1_000_000, 20_000_000])
async def test_a_client_that_sends_its_whole_body_first_can_read_the_answer(both: House, size: int) -> None:
    """Java, .NET and Ruby do not look before the body is written; a reset would take the answer with it."""
    async with wire(both.port) as client:
        client.send(head(size))
        for _ in range(size // 100_000):
            client.send(b" " * 100_000)
            await client.writer.drain()
        answer = await client.answer()
        assert answer.status == 413
        assert "X-RhoConnect-API-TOKEN" in answer.error["message"]


async def test_a_refused_body_is_not_read_without_end(both: House) -> None:
    both.set(limits={"body_bytes": 1_000_000})
    start = request(b"", token=None, headers={"Content-Length": None, "Transfer-Encoding": "chunked"})
    sent = 0
    async with wire(both.port) as client, asyncio.timeout(WAIT_S):
        client.send(start)
        with pytest.raises((ConnectionError, TimeoutError)):
            while True:
                client.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
                await client.writer.drain()
                sent += 65_536
                await asyncio.sleep(0)
    assert sent < 40_000_000  # 1 MB that is read, and what the sockets hold


async def test_after_a_refused_body_a_silent_client_is_disconnected(
    both: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp's own time for the rest of a body is longer than the limit of this test."""
    monkeypatch.setattr(aiohttp_handler, "LINGER_IDLE_S", 0.1)
    async with wire(both.port) as client, asyncio.timeout(WAIT_S):
        client.send(head(1_000_000))
        assert (await client.answer()).status == 413
        assert await client.rest() == b""


async def test_a_caller_without_a_valid_token_has_less_time(redis_client: Redis) -> None:
    timeouts = HttpTimeouts(tick_s=0.02, unauthenticated_body_s=0.1, body_s=WAIT_S * 2)
    for fast in (True, False):
        async with house(redis_client, timeouts=timeouts, fast_path=fast) as api:
            for token in (None, "no-such-token", "x" * 2_000):
                async with wire(api.port) as client:
                    client.send(head(10, token=token) + b"{")
                    assert (await client.answer()).status == 408
            assert (await call(api, {"user_id": "bob"})).status == 200
            async with wire(api.port) as client:
                client.send(head(17, token=TOKEN) + b"{")
                await asyncio.sleep(0.3)  # three times what the others have
                client.send(b'"user_id":"bob"}')
                assert (await client.answer()).status == 200


async def test_the_time_limit_with_a_valid_token_grows_with_the_received_bytes(redis_client: Redis) -> None:
    """A long body that does not come is not waited for as long as its length would need."""
    timeouts = HttpTimeouts(tick_s=0.02, body_s=0.2, body_bytes_per_s=100_000)
    async with house(redis_client, timeouts=timeouts) as api:
        assert (await call(api, {"user_id": "bob"})).status == 200
        async with wire(api.port) as client:
            client.send(head(30_000_000, token=TOKEN) + b"{")
            assert (await client.answer()).status == 408


@asynccontextmanager
async def held(api: House, count: int, size: int, token: str | None) -> AsyncIterator[list[Wire]]:
    """So many requests whose bodies have come but for one byte."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            client = await stack.enter_async_context(wire(api.port))
            client.send(head(size, token=token, path="/api/ping") + long_ping(size)[:-1])
            await client.writer.drain()
            clients.append(client)
        yield clients


async def bytes_held(api: House, count: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while api.services.bodies.reserved != count:
            await asyncio.sleep(0.005)


async def test_bodies_have_one_budget_and_give_it_back(both: House) -> None:
    assert (await call(both, {"user_id": "bob"})).status == 200
    both.set(limits={"bodies_bytes": 1_000_000})
    async with held(both, 2, 400_000, TOKEN) as clients:
        await bytes_held(both, 800_000)
        answer = await call(both, long_ping(400_000))
        assert (answer.status, answer.error["code"]) == (503, "bodies_full")
        assert answer.headers["retry-after"]
        assert (await call(both, long_ping(100_000))).status == 200
        assert (await call(both, {"user_id": "bob"})).status == 200  # small ones always find room
        clients[0].send(b"}")
        assert (await clients[0].answer()).status == 200
        await bytes_held(both, 400_000)
        assert (await call(both, long_ping(400_000))).status == 200
    await bytes_held(both, 0)  # also of the one whose client is gone


async def test_the_budget_counts_the_decoded_body(both: House) -> None:
    both.set(limits={"bodies_bytes": 1_000_000})
    users = [f"user{number}" for number in range(40_000)]
    body = gzip.compress(json.dumps({"user_id": users}).encode())
    async with held(both, 1, 700_000, TOKEN):
        await bytes_held(both, 700_000)
        assert (await call(both, body, headers={"Content-Encoding": "gzip"})).status == 503
        await bytes_held(both, 700_000)
    await bytes_held(both, 0)
    assert (await call(both, body, headers={"Content-Encoding": "gzip"})).status == 200
    await bytes_held(both, 0)


async def test_callers_without_a_token_cannot_take_the_whole_budget(both: House) -> None:
    both.set(limits={"bodies_bytes": 400_000})
    async with held(both, 2, 50_000, None):
        await bytes_held(both, 100_000)
        assert (await call(both, long_ping(50_000), token=None, path="/api/ping")).status == 503
        assert (await call(both, long_ping(250_000))).status == 200
    await bytes_held(both, 0)


async def test_the_budget_holds_on_the_fast_path(api: House) -> None:
    api.set(limits={"bodies_bytes": 400_000})
    async with AsyncExitStack() as stack:
        for _ in range(2):
            client = await stack.enter_async_context(wire(api.port))
            client.send(head(50_000) + b"{")
        await bytes_held(api, 100_000)
        client = await stack.enter_async_context(wire(api.port))
        client.send(head(50_000) + b"{")
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (503, "bodies_full")
    await bytes_held(api, 0)


async def test_a_body_longer_than_the_whole_budget_is_413(both: House) -> None:
    both.set(limits={"bodies_bytes": 100_000})
    answer = await call(both, long_ping(100_001))
    assert (answer.status, answer.error["code"]) == (413, "too_large")
    assert (await call(both, long_ping(100_000))).status == 200


DEEP = b"[" * 900 + b"1" + b"]" * 900


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", PING), ("POST", PING + "?badge=1"), ("POST", "/rc/v1/users"), ("POST", "/rc/v1/app/login")],
)
@pytest.mark.parametrize("users", [1, 20_000], ids=["short", "long"])
async def test_deep_nesting_is_malformed(both: House, method: str, path: str, users: int) -> None:
    body = b'{"user_id":[%b],"x":%b}' % (b",".join([b'"bob"'] * users), DEEP)
    answer = await call(both, body, method=method, path=path)
    assert answer.status == 400
    assert "nested" in answer.error["message"]


def form(body: bytes) -> dict[str, Any]:
    return {"path": PING, "headers": {"Content-Type": "application/x-www-form-urlencoded"}, "body": body}


def many() -> bytes:
    return b",".join(b'"k%d":1' % number for number in range(400_000))


@pytest.mark.parametrize(
    ("make", "kind", "word"),  # made by the test that needs them: each has megabytes
    [
        (lambda: b"{%b}" % many(), "json", "parameters of a ping"),
        (lambda: b'{"fcm":{%b}}' % many(), "json", "fcm may have at most 65536 characters"),
        (lambda: b'{"apns":{"aps":{%b}}}' % many(), "json", "apns may have at most 65536 characters"),
        (lambda: b'{"user_id":[' + b"[1]," * 1_000_000 + b"1]}", "json", "user_id"),
        (lambda: b'{"badge":"%b"}' % (b"1_" * 1_000_000), "json", "badge may have at most"),
        (lambda: b"&".join([b"a"] * 1_000_000), "x-www-form-urlencoded", "parameters"),
        (lambda: b"&".join(b"a%d=" % n for n in range(1_000_000)), "x-www-form-urlencoded", "parameters"),
        (lambda: b"message=" + b"%41" * 1_000_000, "x-www-form-urlencoded", "message may have at most 65536"),
        (lambda: b"badge=" + b"1_" * 300_000, "x-www-form-urlencoded", "badge may have at most"),
    ],
    ids=["names", "fcm", "apns", "lists", "badge", "pairs", "form names", "form value", "form badge"],
)
async def test_content_that_no_ping_needs_is_refused_early(
    both: House, make: Callable[[], bytes], kind: str, word: str
) -> None:
    answer = await call(both, make(), headers={"Content-Type": f"application/{kind}"})
    assert answer.status == 400
    assert word in answer.error["message"]


async def test_a_large_json_body_of_another_route_is_bounded(both: House) -> None:
    answer = await call(both, b"{%b}" % many(), path="/rc/v1/users")
    assert (answer.status, answer.error["code"]) == (400, "malformed_body")
    text = json.dumps({"attributes": {"login": "bob", "password": "x" * 100_000}}).encode()
    assert (await call(both, text, path="/rc/v1/users")).status != 400


@pytest.mark.parametrize("kind", ["json", "form", "multipart"])
async def test_many_users_in_each_form(both: House, kind: str) -> None:
    users = [f'us"er\u00e9 {number}' for number in range(3_000 if kind == "multipart" else 50_000)]
    if kind == "json":
        sent = {
            "headers": {"Content-Type": "application/json"},
            "body": json.dumps({"user_id": users}).encode(),
        }
    elif kind == "form":
        sent = form("&".join(f"user_id[]={user}" for user in users).encode())
    else:
        parts = [
            f'--b\r\nContent-Disposition: form-data; name="user_id[]"\r\n\r\n{user}\r\n' for user in users
        ]
        sent = {"headers": {"Content-Type": "multipart/form-data; boundary=b"}}
        sent["body"] = ("".join(parts) + "--b--\r\n").encode()
    answer = await call(both, sent.pop("body"), **sent)
    assert answer.status == 200, answer.body
    assert both.queue.pings[0].users == tuple(users)
