"""The records that the routes leave in the audit."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.registry.audit_log import REFUSED_LOGINS_OF_CLIENT
from gateway.store import keys
from tests.gateway.http_api.harness import TOKEN, House, call, house
from tests.gateway.http_api.test_routes_scopes import guarded, make

AUDIT = "/rc/v1/admin/audit"
TOKENS = "/rc/v1/admin/tokens"


async def rows(api: House) -> list[tuple[str, ...]]:
    """Kind, caller, action and outcome of each record, the oldest first."""
    found = (await call(api, method="GET", path=AUDIT)).json["records"]
    assert all(one["client"] == "127.0.0.1" for one in found)
    return [(one["kind"], one["who"], one["action"], one["outcome"]) for one in reversed(found)]


async def test_changes_of_tokens_are_recorded_without_secrets(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        made = await call(api, {"name": "boss", "scopes": ["admin"]}, path=TOKENS)
        boss = made.json["token"]
        await call(api, {"name": "boss", "scopes": ["ping"]}, path=TOKENS, token=boss)
        await call(api, {"name": "x"}, path=TOKENS, token=await make(api, "read", name="reader"))
        await call(api, method="DELETE", path=f"{TOKENS}/boss", token=boss)
        await call(api, {"name": "x", "scopes": ["ping"]}, path=TOKENS, token="invented")
        await call(api, method="GET", path=TOKENS)
        assert await rows(api) == [
            ("api_token", "api_token", f"POST {TOKENS} boss", "done"),
            ("token", "boss", f"POST {TOKENS} boss", "name_taken"),
            ("token", "reader", f"POST {TOKENS}", "scope_missing"),
            ("token", "boss", f"DELETE {TOKENS}/boss", "done"),
        ]
        stored = repr(await redis_client.xrange(keys.AUDIT))
        assert boss not in stored
        assert TOKEN not in stored


async def test_changes_of_users_are_recorded(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        user = {"attributes": {"login": "eve", "password": "secret-word"}}
        await call(api, user, path="/rc/v1/users")
        await call(api, user, path="/rc/v1/users")
        await call(api, {"attributes": {"email": "e"}}, method="PUT", path="/rc/v1/users/eve")
        await call(api, method="DELETE", path="/rc/v1/users/bob/clients/c1")
        await call(api, method="DELETE", path="/rc/v1/users/eve")
        await call(api, method="GET", path="/rc/v1/users")
        found = await rows(api)
        assert [row[2:] for row in found] == [
            ("create user eve", "done"),
            ("create user eve", "record_refused"),
            ("update user eve", "done"),
            ("delete client c1", "done"),
            ("delete user eve", "done"),
        ]
        assert "secret-word" not in repr(await redis_client.xrange(keys.AUDIT))


async def test_logins_of_admins_are_recorded(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:

        async def log_in(password: Any, login: Any = "rhoadmin") -> int:
            body = {"login": login, "password": password}
            return (await call(api, body, path="/rc/v1/system/login", token=None)).status

        for number in range(20):
            await log_in(f"guess-{number}")
        await log_in("x", login=["no text"])
        found = await rows(api)
        assert found == [("login", "rhoadmin", "login", "login_refused")] * REFUSED_LOGINS_OF_CLIENT
        assert "guess" not in repr(await redis_client.xrange(keys.AUDIT))


@pytest.mark.parametrize("broken", ["another type", "absent"])
async def test_an_action_without_a_record_is_served(redis_client: Redis, broken: str) -> None:
    options: dict[str, Any] = {} if broken == "another type" else {"audit_log": None}
    async with guarded(redis_client) as api:
        api.services.__dict__.update(options)
        await redis_client.set(keys.AUDIT, "a text")
        assert (await call(api, {"name": "ci", "scopes": ["ping"]}, path=TOKENS)).status == 200
        assert (await call(api, method="DELETE", path=f"{TOKENS}/ci")).status == 200
        assert (await call(api, method="GET", path=AUDIT)).status in (404, 503)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=yesterday", "since"),
        ("cursor=x", "cursor"),
        ("cursor=MC0w", "cursor"),
        ("limit=0", "limit"),
        ("limit=many", "limit"),
    ],
)
async def test_a_wrong_parameter_is_named(redis_client: Redis, query: str, field: str) -> None:
    async with guarded(redis_client) as api:
        answer = await call(api, method="GET", path=f"{AUDIT}?{query}")
        assert (answer.status, answer.error["field"]) == (400, field)


async def test_records_before_an_instant_are_left_out(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        await redis_client.xadd(keys.AUDIT, {"r": '{"who":"bob"}'}, id="1000-0")
        await call(api, {"name": "ci", "scopes": ["ping"]}, path=TOKENS)
        for query, count in (("", 2), ("?since=2020-01-01T00:00:00Z", 1), ("?since=4000000000", 0)):
            answer = await call(api, method="GET", path=AUDIT + query)
            assert len(answer.json["records"]) == count


async def test_a_process_without_an_audit_says_so(redis_client: Redis) -> None:
    async with house(redis_client) as api:
        assert (await call(api, method="GET", path=AUDIT)).status == 404
