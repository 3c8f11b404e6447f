"""Scopes of named tokens and their limit to apps, route by route."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.http_api import token_cache
from gateway.http_api.admission import BROADCAST_OVER
from gateway.registry.audit_log import AuditLog
from gateway.registry.named_tokens import NamedTokens, new_token
from gateway.registry.scopes import API_TOKEN, Scope
from gateway.store import keys
from tests.gateway.http_api.harness import PING, TOKEN, Answer, House, call, house, request, wire

BULK = "/rc/v1/pings"
NDJSON = {"Content-Type": "application/x-ndjson"}
A, B = "com.example.a", "com.example.b"
MANY = [f"user{number}" for number in range(BROADCAST_OVER + 1)]


class Need(NamedTuple):
    """A request, and the scope that its caller needs."""

    scope: Scope
    method: str
    path: str
    body: Any = b""
    headers: Mapping[str, str] = {}


TABLE = [
    Need(Scope.PING, "POST", PING, {"user_id": "bob"}),
    Need(Scope.PING, "POST", "/api/ping", {"user_id": "bob"}),
    Need(Scope.PING, "POST", PING, {"user_id": MANY[:BROADCAST_OVER]}),
    Need(Scope.PING, "POST", PING, {"user_id": "bob", "wait": True}),
    Need(Scope.BROADCAST, "POST", PING, {"user_id": MANY}),
    Need(Scope.READ, "POST", f"{PING}?explain=true", {"user_id": "bob", "explain": True}),
    Need(Scope.PING, "POST", BULK, b'{"user_id": "bob"}\n', NDJSON),
    Need(Scope.READ, "GET", "/rc/v1/pings"),
    Need(Scope.READ, "GET", "/rc/v1/pings/" + "0" * 32),
    Need(Scope.PING, "DELETE", "/rc/v1/pings/" + "0" * 32),
    Need(Scope.READ, "GET", "/rc/v1/sources/type/all"),
    Need(Scope.DEVICES, "GET", "/rc/v1/users"),
    Need(Scope.DEVICES, "POST", "/rc/v1/users", {"attributes": {"login": "new", "password": "x"}}),
    Need(Scope.DEVICES, "GET", "/rc/v1/users/bob"),
    Need(Scope.DEVICES, "PUT", "/rc/v1/users/bob", {"attributes": {"email": "b@example.com"}}),
    Need(Scope.DEVICES, "GET", "/rc/v1/users/bob/clients"),
    Need(Scope.DEVICES, "GET", "/rc/v1/clients/c1"),
    Need(Scope.DEVICES, "POST", "/rc/v1/clients", {"user_id": "bob"}),
    Need(Scope.DEVICES, "POST", "/rc/v1/clients/c1/register", {"user_id": "bob", "device_type": "Apple"}),
    Need(Scope.DEVICES, "DELETE", "/rc/v1/users/bob/clients/c1"),
    Need(Scope.DEVICES, "DELETE", "/rc/v1/users/bob"),
    Need(Scope.ADMIN, "GET", "/rc/v1/admin/tokens"),
    Need(Scope.ADMIN, "POST", "/rc/v1/admin/tokens", {"name": "made", "scopes": ["read"]}),
    Need(Scope.ADMIN, "DELETE", "/rc/v1/admin/tokens/unknown"),
    Need(Scope.ADMIN, "GET", "/rc/v1/admin/audit"),
]


@contextlib.asynccontextmanager
async def guarded(redis: Redis, **options: Any) -> AsyncIterator[House]:
    """The HTTP API with named tokens, and a user with a device of each of two apps."""
    await redis.mset(
        {
            "user:bob:rho__id": "bob",
            "user:bob:login": "bob",
            "client:c1:rho__id": "c1",
            "client:c1:user_id": "bob",
            "client:c1:device_app_id": A,
            "client:c2:rho__id": "c2",
            "client:c2:user_id": "bob",
            "client:c2:device_app_id": B,
        }
    )
    await redis.sadd("app:application:users", "bob")
    await redis.sadd("user:bob:clients", "c1", "c2")
    tokens, audit = NamedTokens(redis, SHARED_CLOCK.now_s), AuditLog(redis)
    async with house(redis, named_tokens=tokens, audit_log=audit, **options) as found:
        found.reports.known["0" * 32] = {"ping_id": "0" * 32, "state": "done", "counts": {}}
        found.reports.finished = {"state": "done", "devices": [], "counts": {}}
        yield found


def tokens_of(api: House) -> NamedTokens:
    assert api.services.named_tokens is not None
    return api.services.named_tokens


async def make(api: House, *scopes: str, apps: tuple[str, ...] = (), name: str = "ci") -> str:
    """A new token of these scopes."""
    return await tokens_of(api).create(new_token(name, scopes, apps, None, API_TOKEN, SHARED_CLOCK.now_s()))


async def ask(api: House, need: Need, token: str) -> Answer:
    async with wire(api.port) as connection:
        connection.send(
            request(need.body, method=need.method, path=need.path, token=token, headers=need.headers)
        )
        connection.writer.write_eof()
        if need.path == BULK and need.method == "POST":
            whole = await connection.rest()
            head, _, body = whole.partition(b"\r\n\r\n")
            chunked = b"chunked" in head
            return Answer(int(head.split()[1]), {}, body.split(b"\r\n")[1] if chunked else body)
        return await connection.answer()


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("need", TABLE, ids=lambda need: f"{need.method} {need.path} {need.scope}")
async def test_a_route_needs_its_scope(redis_client: Redis, need: Need, fast_path: bool) -> None:
    async with guarded(redis_client, fast_path=fast_path) as api:
        lacking = await make(api, *({*Scope} - {need.scope, Scope.ADMIN}), name="lacking")
        if need.body != TABLE[6].body or need.scope is not Scope.PING:
            refused = await ask(api, need, lacking)
            assert refused.status == 403
            error = refused.json["error"]
            assert (error["code"], error["field"]) == ("scope_missing", need.scope.value)
            assert need.scope.value in error["message"]
            assert api.queue.pings == []
        for scope in {need.scope, Scope.ADMIN}:
            answer = await ask(api, need, await make(api, scope, name=f"has-{scope}"))
            assert answer.status not in (401, 403, 422), answer.body
        refused = await ask(api, need, "rhp_" + "x" * 43)
        if need.body and len(str(need.body)) > 65_536:
            assert refused.status == 413  # longer than a body may be without a valid token
        else:
            assert (refused.status, refused.body) == (422, b"No API token provided")


@pytest.mark.parametrize("fast_path", [True, False])
async def test_each_line_of_many_pings_needs_its_scope(redis_client: Redis, fast_path: bool) -> None:
    lines = b"".join(
        json.dumps(one).encode() + b"\n"
        for one in ({"user_id": "bob"}, {"user_id": MANY}, {"user_id": "eve"})
    )
    async with guarded(redis_client, fast_path=fast_path) as api:
        headers = NDJSON | {"Prefer": "return=minimal"}
        answer = await call(api, lines, path=BULK, token=await make(api, "ping"), headers=headers)
        assert (answer.json["accepted"], answer.json["refused"]) == (2, 1)
        (error,) = answer.json["errors"]
        assert (error["line"], error["error"]["code"], error["error"]["field"]) == (
            2,
            "scope_missing",
            "broadcast",
        )
        refused = await call(api, lines, path=BULK, token=await make(api, "read", name="r"), headers=headers)
        assert (refused.status, refused.error["field"]) == (403, "ping")
        only = await call(
            api, lines, path=BULK, token=await make(api, "broadcast", name="b"), headers=headers
        )
        assert (only.json["accepted"], only.json["refused"]) == (1, 2)


@pytest.mark.parametrize("named", [True, False])
async def test_a_revoked_token_ends_a_request_with_many_pings(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """A named token is revoked; the configured token is replaced by that of an admin in Redis."""
    monkeypatch.setattr(token_cache, "CACHE_S", 0.2)
    async with guarded(redis_client) as api:
        token = await make(api, "ping") if named else TOKEN
        head = request(
            b"",
            path=BULK,
            token=token,
            headers=NDJSON | {"Content-Length": None, "Transfer-Encoding": "chunked"},
        )
        line = b'{"user_id": "bob"}\n'
        chunk = b"%x\r\n%b\r\n" % (len(line), line)
        async with wire(api.port) as connection:
            connection.send(head + chunk)
            await api.queue.has(1)
            if named:
                await tokens_of(api).revoke("ci")
            else:
                await redis_client.set(keys.user(keys.ADMIN_LOGIN, "token_id"), "another")
            reading = asyncio.create_task(connection.until(b'"resume_from"'))
            while not reading.done():
                connection.send(chunk)
                await asyncio.wait([reading], timeout=0.05)
            connection.writer.write_eof()
            answers = reading.result() + await connection.rest()
        assert answers.count(b"No API token provided") == 1


@pytest.mark.parametrize("fast_path", [True, False])
async def test_pings_of_a_limited_token_carry_its_apps(redis_client: Redis, fast_path: bool) -> None:
    async with guarded(redis_client, fast_path=fast_path) as api:
        token = await make(api, "ping", "read", apps=(B, A))
        for body in ({"user_id": "bob"}, {"user_id": "bob", "wait": True}):
            assert (await call(api, body, token=token)).status == 200
        await call(
            api,
            b'{"user_id": "bob"}\n',
            path=BULK,
            token=token,
            headers=NDJSON | {"Prefer": "return=minimal"},
        )
        assert [ping.apps for ping in api.queue.pings] == [(A, B)] * 3
        await call(api, {"user_id": "bob"})
        assert api.queue.pings[-1].apps is None


async def test_a_limited_token_reads_pings_with_such_a_limit_alone(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        token = await make(api, "read", apps=(A,))
        plain = api.reports.known["0" * 32]
        for number, limit in enumerate(([A], [B], [A, B]), 1):
            api.reports.known[f"{number:032x}"] = plain | {"ping_id": f"{number:032x}", "apps": limit}
        api.reports.known[f"{4:032x}"] = plain | {"ping_id": f"{4:032x}"}
        api.reports.waiting[f"{4:032x}"] = (A,)
        found = [
            (await call(api, method="GET", path=f"/rc/v1/pings/{number:032x}", token=token)).status
            for number in range(5)
        ]
        assert found == [404, 200, 404, 404, 200]
        listed = await call(api, method="GET", path="/rc/v1/pings", token=token)
        assert [one["ping_id"] for one in listed.json["pings"]] == [f"{1:032x}"]
        assert len((await call(api, method="GET", path="/rc/v1/pings")).json["pings"]) == 5


async def test_a_limited_token_sees_and_changes_devices_of_its_apps_alone(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        token = await make(api, "devices", apps=(A,))

        async def status(method: str, path: str, body: Any = b"") -> int:
            return (await call(api, body, method=method, path=path, token=token)).status

        listed = await call(api, method="GET", path="/rc/v1/users/bob/clients", token=token)
        assert listed.json == ["c1"]
        shown = await call(api, method="GET", path="/rc/v1/users/bob", token=token)
        assert [one["value"] for one in shown.json if one["name"] == "clients"] == [["c1"]]
        assert [await status("GET", f"/rc/v1/clients/{one}") for one in ("c1", "c2", "c3")] == [200, 404, 404]
        assert await status("DELETE", "/rc/v1/users/bob/clients/c2") == 404
        assert await redis_client.exists("client:c2:rho__id")
        for client, app, expected in (
            ("c1", A, 200),
            ("c1", B, 403),
            ("c1", None, 200),
            ("c2", A, 403),
            ("c2", None, 403),
            ("c9", A, 200),
            ("c9b", None, 403),
        ):
            body = {"user_id": "bob", "device_type": "Apple", "device_pin": "ab"}
            body |= {} if app is None else {"device_app_id": app}
            assert await status("POST", f"/rc/v1/clients/{client}/register", body) == expected, (client, app)
        assert await status("POST", "/rc/v1/clients", {"user_id": "bob"}) == 403
        assert await status("POST", "/rc/v1/clients", {"user_id": "bob", "device_app_id": A}) == 200
        assert await status("DELETE", "/rc/v1/users/bob") == 403
        assert await status("PUT", "/rc/v1/users/bob", {"attributes": {"password": "x"}}) == 403
        assert await redis_client.exists("user:bob:rho__id")


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PUT", {"attributes": {"new_password": "known"}}),
        ("PUT", {"attributes": {"password": "known"}}),
        ("PUT", {"attributes": {"email": "x@example.com"}}),
        ("DELETE", b""),
    ],
)
@pytest.mark.parametrize("login", [keys.ADMIN_LOGIN, "second"])
async def test_a_token_for_devices_cannot_become_an_admin(
    redis_client: Redis, method: str, body: Any, login: str
) -> None:
    async with guarded(redis_client) as api:
        await redis_client.mset(
            {
                keys.user(login, "rho__id"): login,
                keys.user(login, "login"): login,
                keys.user(login, "admin"): "1",
            }
        )
        path = f"/rc/v1/users/{login}"
        refused = await call(api, body, method=method, path=path, token=await make(api, "devices"))
        assert (refused.status, refused.error["code"], refused.error["field"]) == (
            403,
            "scope_missing",
            "admin",
        )
        entered = await call(
            api, {"login": login, "password": "known"}, path="/rc/v1/system/login", token=None
        )
        assert entered.status == 401
        assert await redis_client.exists(keys.user(login, "rho__id"))
        admin = await make(api, "admin", name="admins")
        assert (await call(api, body, method=method, path=path, token=admin)).status == 200


async def test_a_token_may_have_a_long_body(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        token = await make(api, "ping")
        body = {"user_id": [f"user{number:0100d}" for number in range(9_000)], "message": "hello"}
        for _ in range(2):
            assert (await call(api, body, token=token)).status == 200
        assert (await call(api, body, token="rhp_" + "x" * 43)).status == 413


@pytest.mark.parametrize("fast_path", [True, False])
async def test_a_flood_of_invented_tokens_does_not_stop_a_valid_one(
    redis_client: Redis, fast_path: bool
) -> None:
    async with guarded(redis_client, fast_path=fast_path) as api:
        token = await make(api, "ping")
        assert (await call(api, {"user_id": "bob"}, token=token)).status == 200

        async def flood(number: int) -> int:
            return (await call(api, {"user_id": "bob"}, token=f"rhp_{number:043d}")).status

        flooding = [asyncio.create_task(flood(number)) for number in range(500)]
        assert (await call(api, {"user_id": "bob"}, token=token)).status == 200
        assert {*await asyncio.gather(*flooding)} == {422}
