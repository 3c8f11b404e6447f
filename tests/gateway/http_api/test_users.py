"""RhoConnect's admin routes over a real store (contract §2)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.http_api.sessions import COOKIE
from gateway.settings import Secret, Settings, Source
from tests.gateway.http_api.harness import TOKEN, House, call, house
from tests.support.rhoconnect import apple

HTML = "text/html;charset=utf-8"


async def add(api: House, login: str, password: str = "secret") -> None:
    answer = await call(api, {"attributes": {"login": login, "password": password}}, path="/rc/v1/users")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"User created", HTML)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/rc/v1/users"),
        ("GET", "/rc/v1/users/bob"),
        ("POST", "/rc/v1/users"),
        ("PUT", "/rc/v1/users/bob"),
        ("DELETE", "/rc/v1/users/bob"),
        ("GET", "/rc/v1/users/bob/clients"),
        ("DELETE", "/rc/v1/users/bob/clients/c"),
        ("GET", "/rc/v1/clients/c"),
        ("GET", "/rc/v1/sources/type/all"),
        ("POST", "/api/list_users"),
    ],
)
async def test_every_admin_route_needs_the_token(api: House, method: str, path: str) -> None:
    await add(api, "bob")
    for token, words in ((None, b"No API token provided"), ("wrong", b"No API token provided")):
        answer = await call(api, method=method, path=path, token=token)
        assert (answer.status, answer.body) == (422, words)
    assert (await call(api, method="GET", path="/rc/v1/users/bob")).status == 200  # still there


async def test_users_are_created_listed_shown_and_deleted(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    await add(api, "eve@example.com")
    for path, method in (("/rc/v1/users", "GET"), ("/rc/v1/users/", "GET"), ("/api/list_users", "POST")):
        answer = await call(api, method=method, path=path)
        assert sorted(answer.json) == ["bob", "eve@example.com"]
        assert answer.headers["content-type"] == HTML
    shown = (await call(api, method="GET", path="/rc/v1/users/eve%40example.com")).json
    assert [field["name"] for field in shown] == [
        "rho__id",
        "login",
        "email",
        "salt",
        "hashed_password",
        "clients",
        "admin",
        "token_id",
    ]
    deleted = await call(api, method="DELETE", path="/rc/v1/users/bob")
    assert deleted.body == b"User deleted"
    assert [key async for key in redis_client.scan_iter("user:bob:*")] == []
    missing = await call(api, method="GET", path="/rc/v1/users/bob")
    assert (missing.status, missing.error["code"]) == (404, "not_found")


async def test_a_user_is_shown_without_secrets(api: House) -> None:
    await add(api, "bob")
    shown = (await call(api, method="GET", path="/rc/v1/users/bob")).json
    values = {field["name"]: field["value"] for field in shown}
    assert [values[name] for name in ("salt", "hashed_password", "token_id")] == [None, None, None]


@pytest.mark.parametrize(
    ("attributes", "status", "words"),
    [
        ({"login": "bob", "password": "x"}, 500, b"Record already exists for 'bob'"),
        ({"login": "", "password": "x"}, 500, b"Empty login"),
        ({}, 500, b"Empty login"),
    ],
)
async def test_users_refused_in_rhoconnects_words(
    api: House, attributes: dict[str, str], status: int, words: bytes
) -> None:
    await add(api, "bob")
    answer = await call(api, {"attributes": attributes}, path="/rc/v1/users")
    assert (answer.status, answer.body) == (status, words)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"attributes": {"login": 7}}, "login"),
        ({"attributes": "bob"}, "attributes"),
        ({"attributes": {"login": "a\nb", "password": "x"}}, "login"),
    ],
)
async def test_users_of_a_wrong_form(api: House, body: dict[str, Any], field: str) -> None:
    answer = await call(api, body, path="/rc/v1/users")
    assert (answer.status, answer.error["field"]) == (400, field)


async def test_a_form_with_brackets_creates_a_user_too(api: House) -> None:
    body = b"attributes[login]=bob&attributes[password]=secret&api_token=" + TOKEN.encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await call(api, body, path="/api/create_user", token=None, headers=form)
    assert answer.body == b"User created"
    assert answer.headers["warning"].startswith("Use of the POST /api/create_user is deprecated.")


async def test_a_new_password_replaces_the_old_and_ends_no_login_by_name(api: House) -> None:
    await add(api, "bob", "old")
    change = {"attributes": {"login": "robert", "new_password": "new"}}
    assert (await call(api, change, method="PUT", path="/rc/v1/users/bob")).body == b"User updated"
    for password, status in (("old", 401), ("new", 200)):
        answer = await call(api, {"login": "bob", "password": password}, path="/rc/v1/app/login")
        assert answer.status == status
    assert (await call(api, method="GET", path="/rc/v1/users/robert")).status == 404


async def test_clients_are_listed_shown_and_deleted(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    device = apple("ab" * 32, client_id="c1", phone_id="p", last_sync=datetime(2026, 11, 24, 10, tzinfo=UTC))
    await redis_client.mset(device.keys("bob"))
    await redis_client.sadd("user:bob:clients", "c1")
    assert (await call(api, method="GET", path="/rc/v1/users/bob/clients")).json == ["c1"]
    shown = (await call(api, method="GET", path="/rc/v1/clients/c1")).json
    assert [(field["name"], field["value"]) for field in shown] == [
        ("rho__id", "c1"),
        ("device_type", "Apple"),
        ("device_push_type", "apple"),
        ("device_pin", "ab" * 32),
        ("device_port", "100"),
        ("device_app_id", None),
        ("device_app_version", None),
        ("phone_id", "p"),
        ("user_id", "bob"),
        ("last_sync", "2026-11-24T10:00:00+00:00"),
        ("app_id", "application"),
    ]
    assert {field["type"] for field in shown} == {"string", "datetime"}
    old = await call(api, {"client_id": "c1"}, path="/api/client/get_client_params")
    assert old.json == shown
    deleted = await call(api, method="DELETE", path="/rc/v1/users/bob/clients/c1")
    assert deleted.body == b"Client deleted"
    assert (await call(api, method="GET", path="/rc/v1/clients/c1")).status == 404
    assert (await call(api, method="GET", path="/rc/v1/users/bob/clients")).json == []


async def test_sources_by_partition(redis_client: Redis) -> None:
    sources = {"Product": Source(), "Price": Source(partition_type="app")}
    async with house(redis_client, settings=Settings(sources=sources)) as api:
        for kind, names in (("user", ["Product"]), ("app", ["Price"]), ("all", ["Product", "Price"])):
            assert (await call(api, method="GET", path=f"/rc/v1/sources/type/{kind}")).json == names


@pytest.mark.parametrize("path", ["/rc/v1/system/login", "/login", "/api/admin/login"])
async def test_an_admins_login_gives_the_token_and_a_session(redis_client: Redis, path: str) -> None:
    settings = Settings(admin_password=Secret("hard to guess"))
    async with house(redis_client, settings=settings) as api:
        answer = await call(api, {"login": "rhoadmin", "password": "hard to guess"}, path=path, token=None)
        assert (answer.status, answer.body.decode()) == (200, TOKEN)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        api.reports.known["f" * 32] = {"state": "done"}
        session = {"Cookie": cookie.partition(";")[0]}
        report = f"/rc/v1/pings/{'f' * 32}"
        assert (await call(api, method="GET", path=report, token=None, headers=session)).status == 200
        # A session opens no route that a browser could be tricked into calling.
        assert (await call(api, {"user_id": "a"}, token=None, headers=session)).status == 422


@pytest.mark.parametrize(
    ("login", "password", "status", "words"),
    [
        ("rhoadmin", "", 401, "Unable to authenticate 'rhoadmin'"),
        ("rhoadmin", "wrong", 401, "Unable to authenticate 'rhoadmin'"),
        ("nobody", "x", 401, "Unable to authenticate 'nobody'"),
        ("bob", "secret", 422, "Invalid/missing API user"),
    ],
)
async def test_logins_that_are_no_admins(
    api: House, login: str, password: str, status: int, words: str
) -> None:
    await add(api, "bob")
    answer = await call(api, {"login": login, "password": password}, path="/rc/v1/system/login", token=None)
    assert (answer.status, answer.body.decode()) == (status, words)
    assert "set-cookie" not in answer.headers


async def test_rhoconnects_empty_admin_password_opens_nothing(api: House, redis_client: Redis) -> None:
    # sha1("" + salt), as RhoConnect stores it at its first start
    await redis_client.mset(
        {
            "user:rhoadmin:rho__id": "rhoadmin",
            "user:rhoadmin:login": "rhoadmin",
            "user:rhoadmin:admin": "1",
            "user:rhoadmin:salt": "abcdefghij",
            "user:rhoadmin:hashed_password": "d68c19a0a345b7eab78d5e11e991c026ec60db63",
        }
    )
    for body in ({"login": "rhoadmin", "password": ""}, {"login": "rhoadmin"}):
        assert (await call(api, body, path="/rc/v1/system/login", token=None)).status == 401


async def test_logins_are_limited(api: House) -> None:
    await add(api, "bob")
    bad = {"login": "bob", "password": "guess"}
    for _ in range(10):
        assert (await call(api, bad, path="/rc/v1/app/login")).status == 401
    answer = await call(api, {"login": "bob", "password": "secret"}, path="/rc/v1/app/login")
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert (await call(api, {"login": "eve", "password": "x"}, path="/rc/v1/app/login")).status == 401


@pytest.mark.parametrize(
    ("method", "path", "attributes", "message"),
    [
        ("POST", "/rc/v1/users", [], "attributes must be an object, not a list"),
        ("POST", "/rc/v1/users", {"login": 5}, "login must be a text, not a number"),
        ("PUT", "/rc/v1/users/bob", {"password": True}, "attributes.password must be a text, not a boolean"),
    ],
)
async def test_an_attribute_of_another_kind_is_named_with_its_kind(
    api: House, redis_client: Redis, method: str, path: str, attributes: Any, message: str
) -> None:
    await redis_client.set("user:bob:rho__id", "bob")
    answer = await call(api, {"attributes": attributes}, method=method, path=path)
    assert (answer.status, answer.error["message"]) == (400, message)
