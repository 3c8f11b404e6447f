"""The routes of named tokens."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.http_api.token_cache import CACHE_S
from gateway.store import keys
from tests.gateway.http_api.harness import Answer, House, call, house
from tests.gateway.http_api.test_routes_scopes import guarded, make

TOKENS = "/rc/v1/admin/tokens"


async def create(api: House, body: dict[str, Any], token: str | None = None) -> Answer:
    options = {} if token is None else {"token": token}
    return await call(api, body, path=TOKENS, **options)


async def test_a_token_is_shown_once_and_works(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        wanted = {"name": "ci", "scopes": ["ping"], "apps": ["a"], "expires_at": "2030-01-31T09:30:00Z"}
        made = (await create(api, wanted)).json
        text = made.pop("token")
        assert made.pop("created_at").endswith("Z")
        assert made == {
            "name": "ci",
            "scopes": ["ping"],
            "apps": ["a"],
            "created_by": "api_token",
            "expires_at": "2030-01-31T09:30:00Z",
            "expired": False,
            "last_used_at": None,
        }
        assert (await call(api, {"user_id": "bob"}, token=text)).status == 200
        listed = await call(api, method="GET", path=TOKENS)
        (one,) = listed.json["tokens"]
        assert one["last_used_at"].endswith("Z")
        assert text.encode() not in listed.body
        assert "token" not in one


async def test_a_revoked_token_is_refused_at_once_by_the_process_that_revoked_it(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        text = await make(api, "ping")
        assert (await call(api, {"user_id": "bob"}, token=text)).status == 200
        assert (await call(api, method="DELETE", path=f"{TOKENS}/ci")).json == {"revoked": "ci"}
        assert (await call(api, {"user_id": "bob"}, token=text)).status == 422
        assert (await call(api, method="DELETE", path=f"{TOKENS}/ci")).error["code"] == "not_found"


async def test_a_revoked_token_is_refused_by_every_other_process_after_three_seconds(
    redis_client: Redis,
) -> None:
    now = [1_000.0]
    async with guarded(redis_client) as one, guarded(redis_client) as other:
        other.api._context.tokens._clock = lambda: now[0]
        text = await make(one, "ping")
        assert (await call(other, {"user_id": "bob"}, token=text)).status == 200
        await call(one, method="DELETE", path=f"{TOKENS}/ci")
        now[0] += CACHE_S
        assert CACHE_S <= 3.0
        assert (await call(other, {"user_id": "bob"}, token=text)).status == 422
        assert (await call(one, {"user_id": "bob"}, token=text)).status == 422


async def test_a_token_grants_only_what_its_creator_has(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        admin = await make(api, "admin", name="boss")
        assert (await create(api, {"name": "sub", "scopes": ["admin"]}, admin)).json["created_by"] == "boss"
        reader = await make(api, "read", name="reader")
        assert (await create(api, {"name": "no", "scopes": ["read"]}, reader)).error["field"] == "admin"


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("name", {"scopes": ["ping"]}),
        ("name", {"name": 5, "scopes": ["ping"]}),
        ("scopes", {"name": "ci"}),
        ("scopes", {"name": "ci", "scopes": ["fly"]}),
        ("scopes", {"name": "ci", "scopes": [1]}),
        ("apps", {"name": "ci", "scopes": ["ping"], "apps": {"a": 1}}),
        ("apps", {"name": "ci", "scopes": ["ping"], "apps": []}),
        ("app", {"name": "ci", "scopes": ["ping"], "app": "com.example.app"}),
        ("expires", {"name": "ci", "scopes": ["ping"], "expires": "2030-01-31T09:30:00Z"}),
        ("expires_at", {"name": "ci", "scopes": ["ping"], "expires_at": "tomorrow"}),
        ("expires_at", {"name": "ci", "scopes": ["ping"], "expires_at": 5}),
    ],
)
async def test_a_wrong_body_is_refused_by_field(
    redis_client: Redis, field: str, body: dict[str, Any]
) -> None:
    async with guarded(redis_client) as api:
        answer = await create(api, body)
        assert (answer.status, answer.error["field"]) == (400, field)
        assert not await redis_client.exists(keys.NAMED_TOKENS)


async def test_a_taken_name_is_a_conflict(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        await make(api, "ping")
        answer = await create(api, {"name": "ci", "scopes": ["read"]})
        assert (answer.status, answer.error["code"]) == (409, "name_taken")


async def test_a_process_without_named_tokens_says_so(redis_client: Redis) -> None:
    async with house(redis_client) as api:
        assert (await call(api, method="GET", path=TOKENS)).status == 404


async def test_a_session_of_a_revoked_token_ends(redis_client: Redis) -> None:
    async with guarded(redis_client) as api:
        context = api.api._context
        text = await make(api, "admin")
        (caller,) = await context.services.named_tokens.find([text])
        assert await context.principal_still_valid(caller.name, caller.fingerprint) == caller
        assert await context.principal_still_valid("other", caller.fingerprint) is None
        assert await context.principal_still_valid(caller.name, "") is None
        await context.services.named_tokens.revoke("ci")
        await make(api, "admin")  # another token of the same name
        assert await context.principal_still_valid(caller.name, caller.fingerprint) is None
