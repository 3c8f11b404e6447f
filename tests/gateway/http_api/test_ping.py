"""The ping route over real sockets, once by the fast path and once by aiohttp (contract §1, §10)."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from redis.asyncio import Redis

from gateway.errors import IdempotencyConflict, PossiblyAccepted, QueueFull, StoreDown
from gateway.http_api.ping import traceparent_of
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from protocols.ping.fields import USERS_STEP
from protocols.ping.model import Ping
from tests.gateway.http_api.harness import PING, TOKEN, House, call, house, request, wire

RUBY = {
    "api_token": TOKEN,
    "user_id": ["testuser", "testuser1"],
    "sources": "Product",
    "message": "hello world",
    "vibrate": 2000,
    "sound": "hello.mp3",
}


async def test_a_ping_gets_rhoconnects_empty_200_and_an_id(both: House) -> None:
    answer = await call(both, RUBY)
    assert (answer.status, answer.body) == (200, b"")
    date = answer.headers.pop("date")
    assert date.endswith(" GMT")
    assert answer.headers == {
        "content-type": "text/html;charset=utf-8",
        "content-length": "0",
        "cache-control": "no-cache",
        "pragma": "no-cache",
        "x-xss-protection": "1; mode=block",
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-ping-id": "0" * 32,
    }
    assert both.queue.pings == [
        Ping(
            users=("testuser", "testuser1"),
            sources=("Product",),
            message="hello world",
            vibrate=2000,
            sound="hello.mp3",
        )
    ]
    assert both.queue.sizes == [len(json.dumps(RUBY))]


@pytest.mark.parametrize(
    "path", ["/rc/v1/users/ping", "/rc/v1/users%20/ping", "/api/ping", "/api/client/ping"]
)
async def test_every_name_of_the_route_and_the_warning_of_the_older_ones(both: House, path: str) -> None:
    answer = await call(both, {"user_id": "bob"}, path=path)
    assert answer.status == 200
    warning = f"Use of the POST {path} is deprecated. Use Rhoconnect API v1 instead."
    assert answer.headers.get("warning") == (warning if path.startswith("/api") else None)
    assert both.queue.pings[0].users == ("bob",)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/user/ping"),
        ("POST", "/rc/v1/users/ping/"),
        ("POST", "/rc/v1/user/ping"),
        ("POST", "/RC/v1/users/ping"),
        ("OPTIONS", "/rc/v1/users/ping"),
    ],
)
async def test_an_unknown_route_is_404_without_a_token_check(both: House, method: str, path: str) -> None:
    answer = await call(both, {}, method=method, path=path, token=None)
    assert answer.status == 404
    assert answer.error["code"] == "not_found"


@pytest.mark.parametrize(
    ("header", "parameter", "status", "text"),
    [
        (TOKEN, None, 200, ""),
        (None, TOKEN, 200, ""),
        ("wrong", TOKEN, 200, ""),
        ("", TOKEN, 200, ""),
        (None, None, 422, "No API token provided"),
        ("wrong", None, 422, "No API token provided"),
        ("wrong", "wrong too", 422, "No API token provided"),
        ("of-bob", None, 422, "Invalid/missing API user"),
        ("of-bob", TOKEN, 422, "Invalid/missing API user"),
        ("of-nobody", TOKEN, 422, "Invalid/missing API user"),
        (None, "of-bob", 422, "Invalid/missing API user"),
    ],
)
async def test_tokens_as_rhoconnect_reads_them(
    both: House, redis_client: Redis, header: str | None, parameter: str | None, status: int, text: str
) -> None:
    await redis_client.mset(
        {
            "api_token:of-bob:rho__id": "of-bob",
            "api_token:of-bob:user_id": "bob",
            "user:bob:rho__id": "bob",
            "api_token:of-nobody:rho__id": "of-nobody",
            "api_token:of-nobody:user_id": "nobody",
        }
    )
    body = {"user_id": "bob"} | ({} if parameter is None else {"api_token": parameter})
    answer = await call(both, body, token=header)
    assert (answer.status, answer.body.decode()) == (status, text)
    if status == 422:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(both.queue.pings) == (status == 200)


async def test_an_admins_token_in_redis_takes_precedence(both: House, redis_client: Redis) -> None:
    await redis_client.mset(
        {
            "user:rhoadmin:rho__id": "rhoadmin",
            "user:rhoadmin:admin": "1",
            "user:rhoadmin:token_id": "from-redis",
            "api_token:from-redis:rho__id": "from-redis",
            "api_token:from-redis:user_id": "rhoadmin",
        }
    )
    assert (await call(both, {"user_id": "bob"}, token="from-redis")).status == 200
    assert (await call(both, {"user_id": "bob"}, token=TOKEN)).status == 422


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        (b'{"user_id": ', "malformed_body", "byte 12"),
        (b'{"user_id": "bob",}', "malformed_body", "byte"),
        (b'{"user_id": "\xff"}', "malformed_body", "is not UTF-8 (byte 13, line 1, column 14)"),
        (b"[1]", "malformed_body", "not a list"),
        (b"null", "malformed_body", "not null"),
        (b'"text"', "malformed_body", "not a text"),
        (b"\xef\xbb\xbf{}", "malformed_body", "byte order mark"),
        (b'{"badge": []}', "invalid_field", "badge"),
        (b'{"sources": 5}', "invalid_field", "sources"),
    ],
)
async def test_malformed_bodies_are_400_and_name_the_location(
    both: House, body: bytes, code: str, named: str
) -> None:
    answer = await call(both, body)
    assert answer.status == 400
    assert answer.error["code"] == code
    assert named in answer.error["message"]
    assert both.queue.pings == []


async def test_a_broken_body_is_reported_before_the_token(both: House) -> None:
    assert (await call(both, b"{", token=None)).status == 400


async def test_an_empty_body_is_a_ping_without_users(both: House) -> None:
    assert (await call(both, b"")).status == 200
    assert both.queue.pings == [Ping()]


async def test_unknown_fields_are_named_safely(both: House) -> None:
    answer = await call(both, {"user_id": "bob", "colour": 1, "a\r\nb: c, ü": 2})
    assert answer.status == 200
    assert answer.headers["x-ping-warning"] == "not understood: colour, a%0D%0Ab%3A%20c%2C%20%C3%BC"


@pytest.mark.parametrize(
    ("kind", "body", "users"),
    [
        ("application/json; charset=utf-8", b'{"user_id":"a"}', ("a",)),
        ("application/jsonp", b'{"user_id":"a"}', ("a",)),
        ("Application/JSON", b'{"user_id":"a"}', ("a",)),
        ("APPLICATION/JSON;CHARSET=UTF-8", b'{"user_id":"a"}', ("a",)),
        ("text/json", b'{"user_id":"a"}', ("a",)),
        ("application/vnd.api+json", b'{"user_id":"a"}', ("a",)),
        ("application/problem+json; charset=utf-8", b'\r\n {"user_id":"a"} \n', ("a",)),
        ("text/plain", b'{"user_id":"a"}', ("a",)),
        ("text/plain;charset=UTF-8", b'{"user_id":["a"]}', ("a",)),
        ("application/octet-stream", b'{"user_id":"a"}', ("a",)),
        ("application/x-www-form-urlencoded", b'{"user_id": ["a", "b"]}', ("a", "b")),
        (None, b'{"user_id":"a"}', ("a",)),
        ("", b'{"user_id":"a"}', ("a",)),
        ("application/json; charset=iso-8859-1", '{"user_id":"\xfc"}'.encode("latin-1"), ("\xfc",)),
        ("application/json; charset=ISO-8859-1", '{"user_id":"\xfc"}'.encode(), ("\xfc",)),
        ('application/json; charset="utf-16"', '{"user_id":"\xfc"}'.encode("utf-16"), ("\xfc",)),
        ("text/plain; charset=utf-16be", '{"user_id":"\xfc"}'.encode("utf-16-be"), ("\xfc",)),
        ("application/x-www-form-urlencoded", b"user_id[]=a&user_id[]=b&message=hi", ("a", "b")),
        ("application/x-www-form-urlencoded; charset=UTF-8", b"user_id%5B%5D=a", ("a",)),
        (None, b"user_id=a", ("a",)),
    ],
)
async def test_the_content_type_says_how_a_body_is_read(
    both: House, kind: str | None, body: bytes, users: tuple[str, ...]
) -> None:
    answer = await call(both, body, headers={"Content-Type": kind})
    assert answer.status == 200
    assert both.queue.pings[0].users == users


@pytest.mark.parametrize("kind", ["text/plain", "text/json", "application/xml", "application/vnd.x+json"])
@pytest.mark.parametrize("body", [b"hello", b"{user_id: 'a'}", b'["a"]', b'{"user_id":"a"', b"\xff{}"])
async def test_a_body_that_is_not_read_is_named_with_its_type(both: House, kind: str, body: bytes) -> None:
    answer = await call(both, body, headers={"Content-Type": f"{kind}; x=1"})
    expected = f"the body was not read: its Content-Type is {kind}; x=1, and it is not a JSON object"
    assert (answer.status, answer.headers.get("x-ping-warning")) == (200, expected)
    assert both.queue.pings == [Ping()]


async def test_a_content_type_of_other_bytes_is_named_in_ascii(both: House) -> None:
    raw = (
        b"POST %b HTTP/1.1\r\nHost: x\r\nX-RhoConnect-API-TOKEN: %b\r\nContent-Type: application/\xff\x80\r\n"
        b"Content-Length: 3\r\nConnection: close\r\n\r\nabc" % (PING.encode(), TOKEN.encode())
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", both.port)
    writer.write(raw)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"%3F%3F, and it is not a JSON object" in answer


async def test_a_body_that_is_not_read_does_not_hide_the_query(both: House) -> None:
    answer = await call(
        both, b"hello", path=f"{PING}?user_id=a&colour=1", headers={"Content-Type": "text/plain"}
    )
    assert answer.headers["x-ping-warning"].endswith("not a JSON object; not understood: colour")
    assert both.queue.pings[0].users == ("a",)
    empty = await call(both, b" ", headers={"Content-Type": "text/plain"})
    assert "x-ping-warning" not in empty.headers


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Application/JSON", b"user_id=a"),
        ("application/json; charset=iso-8859-1", b"user_id=a"),
        ("application/json; charset=klingon", b'{"user_id":"\xfc"}'),
        ("application/json; charset=idna", b'{"user_id":"\xfc"}'),
        ("application/json; charset=utf-16", b'{"\0"'),
        ("application/json", b'\xef\xbb\xbf{"user_id":"a"}'),
    ],
)
async def test_json_that_is_none_is_an_error(both: House, kind: str, body: bytes) -> None:
    answer = await call(both, body, headers={"Content-Type": kind})
    assert (answer.status, answer.error["code"]) == (400, "malformed_body")
    if "klingon" in kind:
        assert "charset klingon" in answer.error["message"]
    assert not both.queue.pings


async def test_a_large_body_is_read_as_json_by_its_two_ends(both: House) -> None:
    users = [f"user{number}" for number in range(10_000)]
    answer = await call(both, json.dumps({"user_id": users}).encode(), headers={"Content-Type": "text/plain"})
    assert answer.status == 200
    assert both.queue.pings[0].users == tuple(users)


async def test_a_multipart_form_is_read(both: House) -> None:
    parts = [("user_id[]", "a"), ("user_id[]", "b"), ("message", "grüße")]
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in parts
    )
    data = f"{body}--x--\r\n".encode()
    answer = await call(both, data, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status == 200
    assert both.queue.pings == [Ping(users=("a", "b"), message="grüße")]


async def test_the_query_counts_and_the_body_wins(both: House) -> None:
    path = f"/rc/v1/users/ping?user_id=a&message=from%20query&api_token={TOKEN}"
    answer = await call(both, {"message": "from body"}, path=path, token=None)
    assert answer.status == 200
    assert both.queue.pings == [Ping(users=("a",), message="from body")]


async def test_a_body_sent_after_100_continue_is_accepted(both: House) -> None:
    body = json.dumps({"user_id": "bob"}).encode()
    whole = request(body, headers={"Expect": "100-continue"})
    async with wire(both.port) as connection:
        connection.send(whole[: -len(body)])
        assert (await connection.answer()).status == 100
        connection.send(body)
        assert (await connection.answer()).status == 200
    assert both.queue.pings[0].users == ("bob",)


async def test_a_chunked_body_is_read(both: House) -> None:
    head = request(b"", headers={"Content-Length": None, "Transfer-Encoding": "chunked"})
    async with wire(both.port) as connection:
        connection.send(head + b'5\r\n{"use\r\nc\r\nr_id":"bob"}\r\n0\r\n\r\n')
        assert (await connection.answer()).status == 200
    assert both.queue.pings[0].users == ("bob",)


async def test_too_large_is_413_before_the_body_is_sent(both: House) -> None:
    both.set(limits={"body_bytes": 100})
    assert (await call(both, {"user_id": "b" * 50})).status == 200
    async with wire(both.port) as connection:
        connection.send(request(b"", headers={"Content-Length": "101"}))  # and nothing of the body
        answer = await connection.answer()
    assert answer.status == 413
    assert answer.error["code"] == "too_large"
    assert answer.headers["connection"] == "close"


async def test_a_chunked_body_over_the_limit_is_413(both: House) -> None:
    both.set(limits={"body_bytes": 100})
    head = request(b"", headers={"Content-Length": None, "Transfer-Encoding": "chunked"})
    async with wire(both.port) as connection:
        connection.send(head + b"65\r\n" + b" " * 101 + b"\r\n")
        assert (await connection.answer()).status == 413


async def test_users_at_and_over_the_limit(both: House) -> None:
    both.set(limits={"users_per_ping": 2})
    assert (await call(both, {"user_id": ["a", "b"]})).status == 200
    answer = await call(both, {"user_id": ["a", "b", "c"]})
    assert (answer.status, answer.error["field"]) == (413, "user_id")


async def test_requests_over_the_rate_are_429(both: House) -> None:
    both.set(limits={"requests_per_s": 0.001})  # one at once, the next in a quarter of an hour
    assert (await call(both, {"user_id": "a"})).status == 200
    answer = await call(both, {"user_id": "a"})
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert answer.error["code"] == "too_many_requests"


@pytest.mark.parametrize(
    ("failure", "status", "named"),
    [
        (QueueFull("full"), 503, False),
        (StoreDown("gone"), 503, False),
        (PossiblyAccepted("lost"), 503, True),
        (IdempotencyConflict("other body"), 409, False),
    ],
)
async def test_queue_errors_have_a_status(both: House, failure: StoreDown, status: int, named: bool) -> None:
    both.queue.failure = failure
    both.queue.holding = True
    async with wire(both.port) as connection:
        connection.send(request({"user_id": "bob"}))
        await both.queue.has(1)
        both.queue.commit()
        answer = await connection.answer()
    assert answer.status == status
    assert answer.error == {"code": failure.code, "message": failure.message, "field": None}
    assert ("x-ping-id" in answer.headers) == named
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_503_while_redis_is_unreachable() -> None:
    for fast in (True, False):
        async with house(client(RedisAddress(unix_path="/nowhere")), fast_path=fast) as gone:
            answer = await call(gone, {"user_id": "bob"})
        assert (answer.status, answer.error["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "2"


async def test_an_idempotency_key_is_scoped_by_token_and_compared_with_the_body(both: House) -> None:
    keyed = {"Idempotency-Key": "order-1"}
    await call(both, {"user_id": "bob"}, headers=keyed)
    await call(both, {"user_id": "eve"}, headers=keyed)
    await call(both, {"user_id": "bob", "api_token": TOKEN}, headers=keyed, token=None)
    await call(both, {"user_id": "bob"}, headers={"Idempotency-Key": "order-2"})
    await call(both, {"user_id": "bob"})
    first, other_body, other_place, other_key, none = both.queue.keys
    assert none is None
    assert first is not None
    assert other_body is not None
    assert other_place is not None
    assert other_key is not None
    assert first.scope == other_body.scope == other_place.scope != other_key.scope
    assert first.body == other_key.body != other_body.body
    assert len(first.scope) == len(first.body) == 32


@pytest.mark.parametrize("key", ["k" * 255, "k" * 256, "two words"])
async def test_an_invalid_idempotency_key_is_refused(both: House, key: str) -> None:
    answer = await call(both, {"user_id": "bob"}, headers={"Idempotency-Key": key})
    good = len(key) == 255
    assert answer.status == (200 if good else 400)
    if not good:
        assert answer.error["field"] == "Idempotency-Key"


async def test_a_representation_is_sent_only_on_request(both: House) -> None:
    both.reports.known["0" * 32] = {"ping_id": "0" * 32, "state": "queued"}
    answer = await call(both, {"user_id": "bob"}, headers={"Prefer": "respond-async, return=representation"})
    assert answer.status == 200
    assert answer.json == {"ping_id": "0" * 32, "state": "queued", "repeated": False}
    assert answer.headers["preference-applied"] == "return=representation"
    assert answer.headers["x-ping-id"] == "0" * 32


@pytest.mark.parametrize(
    ("asked", "headers", "status", "told"),
    [
        ({"wait": True}, {}, 504, {"report": None}),
        ({}, {"Prefer": "return=representation"}, 200, {"state": "queued"}),
    ],
    ids=["still open", "representation"],
)
async def test_an_accepted_ping_is_reported_although_its_report_cannot_be_read(
    both: House,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    headers: dict[str, str],
    status: int,
    told: dict[str, Any],
) -> None:
    """A 503 would have its caller send it once more."""

    async def away(_: str) -> None:
        raise StoreDown("Redis is away")

    monkeypatch.setattr(both.reports, "report", away)
    answer = await call(both, {"user_id": "bob", **asked}, headers=headers)
    assert (answer.status, answer.headers["x-ping-id"]) == (status, "0" * 32)
    assert told.items() <= answer.json.items()


async def test_a_report_requires_the_token(both: House) -> None:
    both.reports.known["f" * 32] = {"state": "done"}
    path = "/rc/v1/pings/" + "f" * 32
    assert (await call(both, method="GET", path=path)).json == {"state": "done"}
    assert (await call(both, method="GET", path=path, token=None)).status == 422
    assert (await call(both, method="GET", path=f"{path}?api_token={TOKEN}", token=None)).status == 200
    missing = await call(both, method="GET", path="/rc/v1/pings/abc")
    assert (missing.status, missing.error["field"]) == (404, "ping_id")


async def test_accepted_and_refused_pings_are_counted(both: House) -> None:
    await call(both, {"user_id": "bob"})
    await call(both, {"user_id": "bob"}, token="wrong")
    await both.api.close(1.0)
    assert 'rhopush_pings_accepted_total{ingress="http"} 1.0' in both.metrics
    assert 'rhopush_pings_refused_total{reason="api_token_refused"} 1.0' in both.metrics


async def test_a_ping_to_many_users_is_stored_as_a_broadcast(both: House) -> None:
    users = [f"user{number}" for number in range(40_000)]
    answer = await call(both, {"user_id": users})
    assert answer.status == 200
    assert both.queue.pings[0].users == tuple(users)


async def test_closing_sends_pending_answers(both: House) -> None:
    both.queue.holding = True
    async with wire(both.port) as connection, wire(both.port) as idle:
        connection.send(request({"user_id": "bob"}))
        await both.queue.has(1)
        closing = asyncio.ensure_future(both.api.close(5.0))
        assert await idle.rest() == b""
        both.queue.commit()
        answer = await connection.answer()
        assert answer.status == 200
        assert await connection.rest() == b""
        await closing


async def test_a_long_body_that_is_malformed_is_400_as_a_short_one(both: House) -> None:
    answer = await call(both, b'{"user_id": [' + b'"someone",' * 10_000)
    assert (answer.status, answer.json["error"]["code"]) == (400, "malformed_body")
    assert "ends too early" in answer.json["error"]["message"]


async def test_a_long_list_of_users_is_read_in_the_turns_of_broadcasts(
    both: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, turn, taken = both.services.scheduler, both.services.scheduler.turn, list[None]()

    async def counted() -> None:
        taken.append(None)
        await turn()

    monkeypatch.setattr(scheduler, "turn", counted)
    names = [f"user{n}" for n in range(8 * USERS_STEP)]
    assert (await call(both, {"user_id": names, "message": "hello"})).status == 200
    assert both.queue.pings[0].users == tuple(names)
    assert len(taken) >= 2 + 16 + 8  # after finding the values, and after each part, decoded and read


# Scheduled pings.


@pytest.mark.parametrize(
    ("values", "found"), [([], None), (["one"], "one"), (["one", "two"], None), (["one", "one"], None)]
)
def test_a_repeated_traceparent_is_ignored(values: list[str], found: str | None) -> None:
    headers = CIMultiDict(("traceparent", value) for value in values)
    assert traceparent_of(make_mocked_request("POST", PING, headers=headers)) == found
