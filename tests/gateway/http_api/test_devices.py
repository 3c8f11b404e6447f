"""A device's session and registration, over a real store (contract §2.1)."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.http_api import sessions
from gateway.http_api.sessions import COOKIE
from gateway.settings import AuthSettings, Secret, Settings
from gateway.settings.model import HttpSettings
from gateway.store import keys
from tests.gateway.http_api.harness import TOKEN, Answer, House, call, house

OPEN = Settings(auth=AuthSettings(devices="open"))
OFF = Settings(auth=AuthSettings(devices="off"))
PHONE = {
    "device_pin": "ab" * 32,
    "phone_id": "phone",
    "device_port": "100",
    "device_type": "APPLE",
    "device_push_type": "apple",
    "device_app_id": "com.example.app",
    "device_app_version": "1.0",
}


async def add(api: House, login: str) -> None:
    body = {"attributes": {"login": login, "password": "secret"}}
    assert (await call(api, body, path="/rc/v1/users")).status == 200


async def log_in(api: House, login: str) -> dict[str, str]:
    """The header of a new session."""
    body = {"login": login, "password": "secret", "remember_me": 1}
    answer = await call(api, body, path="/rc/v1/app/login", token=None)
    assert (answer.status, answer.body) == (200, b"")
    return {"Cookie": cookie_of(answer)}


def cookie_of(answer: Answer) -> str:
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    for part in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=31536000"):
        assert part in cookie
    return cookie.partition(";")[0]


async def new_client(api: House, session: dict[str, str], body: Any = b"") -> str:
    answer = await call(api, body, path="/rc/v1/clients", token=None, headers=session)
    assert (answer.status, list(answer.json)) == (200, ["client"])
    client_id: str = answer.json["client"]["client_id"]
    assert len(bytes.fromhex(client_id)) == 16
    return client_id


async def keys_of(redis: Redis, client_id: str) -> dict[str, str]:
    prefix = f"client:{client_id}:"
    names = [key.decode() async for key in redis.scan_iter(f"{prefix}*")]
    return {name.removeprefix(prefix): (await redis.get(name)).decode() for name in names}


async def test_a_device_logs_in_and_registers(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    session = await log_in(api, "bob")
    client_id = await new_client(api, session)
    bare = {"rho__id": client_id, "user_id": "bob", "app_id": "application"}
    assert await keys_of(redis_client, client_id) == bare
    path = f"/rc/v1/clients/{client_id}/register"
    answer = await call(api, PHONE, path=path, token=None, headers=session)
    assert (answer.status, answer.body) == (200, b"")
    assert await keys_of(redis_client, client_id) == bare | PHONE
    assert await redis_client.smembers("user:bob:clients") == {client_id.encode()}
    assert await redis_client.get("client:count") == b"1"


async def test_the_older_routes_do_the_same(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    body = {"login": "bob", "password": "secret"}
    answer = await call(api, body, path="/api/application/clientlogin", token=None)
    cookie = answer.json[COOKIE]
    assert cookie.startswith(f"{COOKIE}%3D")
    assert cookie_of(answer) == cookie.replace("%3D", "=", 1)
    query = f"?{COOKIE}={cookie}"
    made = await call(api, method="GET", path=f"/api/application/clientcreate{query}", token=None)
    client_id = made.json["client"]["client_id"]
    assert "deprecated" in made.headers["warning"]
    path = f"/api/application/clientregister{query}"
    assert (await call(api, PHONE | {"client_id": client_id}, path=path, token=None)).status == 200
    assert (await keys_of(redis_client, client_id))["device_pin"] == PHONE["device_pin"]


async def test_empty_texts_overwrite_and_nulls_do_not(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    session = await log_in(api, "bob")
    client_id = await new_client(api, session, PHONE)
    path = f"/rc/v1/clients/{client_id}/register"
    logout = dict.fromkeys(PHONE, "") | {"device_port": None}
    assert (await call(api, logout, path=path, token=None, headers=session)).status == 200
    found = await keys_of(redis_client, client_id)
    assert {name: found[name] for name in PHONE} == dict.fromkeys(PHONE, "") | {"device_port": "100"}


async def test_a_client_moves_to_the_user_who_registers_it(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    await add(api, "eve")
    client_id = await new_client(api, await log_in(api, "bob"), PHONE)
    path = f"/rc/v1/clients/{client_id}/register"
    assert (await call(api, {}, path=path, token=None, headers=await log_in(api, "eve"))).status == 200
    assert await redis_client.smembers("user:bob:clients") == set()
    assert await redis_client.smembers("user:eve:clients") == {client_id.encode()}
    assert (await keys_of(redis_client, client_id))["user_id"] == "eve"
    assert await redis_client.get("client:count") == b"1"


@pytest.mark.parametrize(
    "route",
    [
        ("POST", "/rc/v1/clients/{}/register"),
        ("POST", "/application/clientregister?client_id={}"),
        ("POST", "/api/application/clientregister?client_id={}"),
    ],
)
@pytest.mark.parametrize("admin", [False, True])
async def test_a_client_that_moves_keeps_nothing_by_any_route(
    api: House, redis_client: Redis, route: tuple[str, str], admin: bool
) -> None:
    await add(api, "bob")
    await add(api, "eve")
    client_id = await new_client(api, await log_in(api, "bob"), PHONE)
    method, path = route
    headers = {} if admin else await log_in(api, "eve")
    body = {"device_type": "ANDROID"} | ({"user_id": "eve"} if admin else {})
    moved = await call(
        api,
        body,
        method=method,
        path=path.format(client_id),
        token=TOKEN if admin else None,
        headers=headers,
    )
    assert moved.status == 200
    assert await keys_of(redis_client, client_id) == {
        "rho__id": client_id,
        "user_id": "eve",
        "app_id": "application",
        "device_type": "ANDROID",
    }


@pytest.mark.parametrize("admin", [False, True])
async def test_a_user_has_no_more_devices_than_the_setting_allows(
    api: House, redis_client: Redis, admin: bool
) -> None:
    await add(api, "bob")
    session = await log_in(api, "bob")
    api.set(limits={"devices_per_user": 2})
    for _ in range(2):
        await new_client(api, session)
    body = {"user_id": "bob"} if admin else {}
    who: dict[str, Any] = {"token": TOKEN if admin else None, "headers": {} if admin else session}
    refused = [
        await call(api, body, path="/rc/v1/clients", **who),
        await call(api, body, path="/rc/v1/clients/abc/register", **who),
    ]
    if not admin:
        refused.append(await call(api, method="GET", path="/application/clientcreate", **who))
    for answer in refused:
        assert (answer.status, answer.error["code"]) == (422, "too_many_devices")
        assert "limits.devices_per_user" in answer.error["message"]
    assert await redis_client.scard("user:bob:clients") == 2
    assert await redis_client.get("client:count") == b"2"
    assert 'reason="too_many_devices"' in api.metrics


async def test_an_unknown_client_is_created_with_its_id(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    session = await log_in(api, "bob")
    assert (
        await call(api, PHONE, path="/rc/v1/clients/abc/register", token=None, headers=session)
    ).status == 200
    assert (await keys_of(redis_client, "abc"))["user_id"] == "bob"


@pytest.mark.parametrize("client_id", ["a:b", "a%3Ab", "a%20b", "x" * 129])
async def test_an_id_that_could_name_a_document_is_refused(
    api: House, redis_client: Redis, client_id: str
) -> None:
    await add(api, "bob")
    path = f"/rc/v1/clients/{client_id}/register"
    answer = await call(api, PHONE, path=path, token=None, headers=await log_in(api, "bob"))
    assert (answer.status, answer.error["field"]) == (400, "client_id")
    assert [key async for key in redis_client.scan_iter("client:*:*")] == []


@pytest.mark.parametrize("value", [True, [], {}, "x" * 4097])
async def test_a_device_field_of_a_wrong_form_is_400_and_named(api: House, value: Any) -> None:
    await add(api, "bob")
    session = await log_in(api, "bob")
    answer = await call(api, {"device_pin": value}, path="/rc/v1/clients", token=None, headers=session)
    assert (answer.status, answer.error["field"]) == (400, "device_pin")


async def test_a_registration_clears_the_dead_mark(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    session = await log_in(api, "bob")
    client_id = await new_client(api, session, PHONE)
    await redis_client.set(keys.dead(client_id), "digest:1:Unregistered")
    before = int(await redis_client.get(keys.registered(client_id)))
    path = f"/rc/v1/clients/{client_id}/register"
    assert (await call(api, PHONE, path=path, token=None, headers=session)).status == 200
    assert await redis_client.exists(keys.dead(client_id)) == 0
    assert int(await redis_client.get(keys.registered(client_id))) >= before > 1_700_000_000_000


@pytest.mark.parametrize("cookie", [None, "x", "x--y", "rubymarshal--0123456789abcdef"])
async def test_without_a_session_of_the_gateway_nothing_is_registered(api: House, cookie: str | None) -> None:
    headers = {} if cookie is None else {"Cookie": f"{COOKIE}={cookie}"}
    for path in ("/rc/v1/clients", "/rc/v1/clients/abc/register"):
        answer = await call(api, PHONE, path=path, token=None, headers=headers)
        assert (answer.status, answer.body) == (401, b"Not authenticated")


async def test_a_session_ends_with_its_user_and_with_its_password(api: House) -> None:
    for change in (
        {"method": "PUT", "body": {"attributes": {"new_password": "other"}}},
        {"method": "DELETE", "body": b""},
    ):
        await add(api, "bob")
        session = await log_in(api, "bob")
        await new_client(api, session)
        assert (
            await call(api, change["body"], method=str(change["method"]), path="/rc/v1/users/bob")
        ).status == 200
        answer = await call(api, PHONE, path="/rc/v1/clients", token=None, headers=session)
        assert (answer.status, answer.body) == (401, b"Not authenticated")
        await call(api, method="DELETE", path="/rc/v1/users/bob")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "secure"),
    [
        ((), {}, False),
        ((), {"X-Forwarded-Proto": "https"}, False),  # anybody can say so
        (("127.0.0.1",), {}, False),
        (("127.0.0.1",), {"X-Forwarded-Proto": "http"}, False),
        (("127.0.0.1",), {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}, True),
        (("127.0.0.0/8",), {"X-Forwarded-Proto": "https"}, True),
        (("192.0.2.1",), {"X-Forwarded-Proto": "https"}, False),
    ],
)
async def test_a_cookie_is_secure_where_the_client_used_tls(
    redis_client: Redis, proxies: tuple[str, ...], forwarded: dict[str, str], secure: bool
) -> None:
    settings = Settings(
        http=HttpSettings(trusted_proxies=proxies), admin_password=Secret("of the admin"), auth=AuthSettings()
    )
    async with house(redis_client, settings=settings) as api:
        await add(api, "bob")
        body = {"login": "bob", "password": "secret"}
        admin = {"login": "rhoadmin", "password": "of the admin"}
        logins = {
            "/rc/v1/app/login": body,
            "/application/clientlogin": body,
            "/api/application/clientlogin": body,
            "/rc/v1/system/login": admin,
            "/login": admin,
        }
        for path, credentials in logins.items():
            answer = await call(api, credentials, path=path, token=None, headers=forwarded)
            attributes = answer.headers["set-cookie"].split("; ")
            assert (answer.status, "Secure" in attributes) == (200, secure), path
            assert "HttpOnly" in attributes


async def test_all_processes_take_each_others_sessions(redis_client: Redis) -> None:
    async with house(redis_client) as one, house(redis_client) as other:
        await add(one, "bob")
        client_id = await new_client(other, await log_in(one, "bob"))
        assert (await keys_of(redis_client, client_id))["user_id"] == "bob"


async def test_processes_take_each_others_sessions_after_a_reset_of_redis(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RhoConnect's `system/reset` deletes the users and the key of the sessions."""
    monkeypatch.setattr(sessions, "_RECHECK_S", 0.0)
    async with house(redis_client) as one, house(redis_client) as other:
        await add(one, "bob")
        ended = await log_in(one, "bob")
        await new_client(one, ended)
        await redis_client.flushdb()
        for first, second in ((other, one), (one, other)):
            await redis_client.delete("user:bob:rho__id")
            await add(first, "bob")
            await new_client(second, await log_in(first, "bob"))
        for api in (one, other):
            refused = await call(api, {}, path="/rc/v1/clients", token=None, headers=ended)
            assert (refused.status, refused.body) == (401, b"Not authenticated")


async def test_a_wrong_password_is_401_without_a_session(api: House) -> None:
    await add(api, "bob")
    answer = await call(api, {"login": "bob", "password": "x"}, path="/rc/v1/app/login", token=None)
    assert (answer.status, answer.body) == (401, b"Unable to authenticate 'bob'")
    assert "set-cookie" not in answer.headers


async def test_auth_devices_open_accepts_everybody(redis_client: Redis) -> None:
    async with house(redis_client, settings=OPEN) as api:
        session = await log_in(api, "newcomer")
        client_id = await new_client(api, session, PHONE)
        assert (await call(api, method="GET", path="/rc/v1/users/newcomer/clients")).json == [client_id]
        assert (await call(api, {}, path="/rc/v1/app/login", token=None)).status == 401  # but not nobody


async def test_devices_that_log_a_new_user_in_at_the_same_time_are_all_accepted(redis_client: Redis) -> None:
    async with house(redis_client, settings=OPEN) as one, house(redis_client, settings=OPEN) as other:
        for api in (one, other):
            api.set(limits={"users": 1})
        sessions = await asyncio.gather(*(log_in(api, "newcomer") for api in (one, other, one, other)))
        made = await asyncio.gather(*(new_client(one, session, {}) for session in sessions))
        assert len(set(made)) == 4
        listed = await call(one, method="GET", path="/rc/v1/users/newcomer/clients")
        assert sorted(listed.json) == sorted(made)


async def test_auth_devices_open_creates_no_more_users_than_the_setting_allows(redis_client: Redis) -> None:
    async with house(redis_client, settings=OPEN) as api:
        await add(api, "bob")
        api.set(limits={"users": 2})
        await log_in(api, "newcomer")
        for path in ("/rc/v1/app/login", "/application/clientlogin", "/api/application/clientlogin"):
            refused = await call(api, {"login": "third", "password": "x"}, path=path, token=None)
            assert (refused.status, refused.error["code"]) == (422, "too_many_users")
            assert "limits.users" in refused.error["message"]
            assert "set-cookie" not in refused.headers
        await log_in(api, "newcomer")
        await add(api, "third")
        await log_in(api, "third")
        assert 'reason="too_many_users"' in api.metrics


async def test_auth_devices_off_accepts_only_an_admins_token(redis_client: Redis) -> None:
    async with house(redis_client, settings=OFF) as api:
        await add(api, "bob")
        login = await call(api, {"login": "bob", "password": "secret"}, path="/rc/v1/app/login", token=None)
        assert (login.status, login.error["code"]) == (403, "not_allowed")
        for token, status in ((None, 403), (TOKEN, 200)):
            body = PHONE | {"user_id": "bob"}
            assert (await call(api, body, path="/rc/v1/clients", token=token)).status == status


async def test_registration_by_token_names_its_user(api: House, redis_client: Redis) -> None:
    await add(api, "bob")
    made = await call(api, PHONE | {"user_id": "bob"}, path="/rc/v1/clients")
    client_id = made.json["client"]["client_id"]
    again = await call(api, {"device_pin": "cd" * 32}, path=f"/rc/v1/clients/{client_id}/register")
    assert again.status == 200
    found = await keys_of(redis_client, client_id)
    assert (found["user_id"], found["device_pin"]) == ("bob", "cd" * 32)
    nobody = await call(api, PHONE | {"user_id": "nobody"}, path="/rc/v1/clients")
    assert (nobody.status, nobody.error["field"]) == (404, "user_id")
    wrong = await call(api, PHONE | {"user_id": "bob"}, path="/rc/v1/clients", token="wrong")
    assert (wrong.status, wrong.body) == (422, b"No API token provided")


async def test_the_client_id_may_be_in_the_header(redis_client: Redis) -> None:
    async with house(redis_client, settings=OPEN) as api:
        session = await log_in(api, "bob")
        client_id = await new_client(api, session)
        path, named = "/application/clientregister", {"X-RhoConnect-CLIENT-ID": client_id}
        answer = await call(api, PHONE, path=path, token=None, headers=session | named)
        assert answer.status == 200
        assert (await keys_of(redis_client, client_id))["device_pin"] == PHONE["device_pin"]
        # The parameter goes first, as it does in RhoConnect.
        other = {"client_id": "f" * 32, "device_pin": "other"}
        assert (await call(api, other, path=path, token=None, headers=session | named)).status == 200
        assert (await keys_of(redis_client, "f" * 32))["device_pin"] == "other"
        answer = await call(api, PHONE, path=path, token=None, headers=session)
        assert answer.error["field"] == "client_id"


async def test_a_device_cannot_become_the_admin(redis_client: Redis) -> None:
    async with house(redis_client, settings=OPEN) as api:
        body = {"login": "rhoadmin", "password": "mine"}
        answer = await call(api, body, path="/rc/v1/app/login", token=None)
        assert (answer.status, answer.body) == (401, b"Unable to authenticate 'rhoadmin'")
        answer = await call(api, {"attributes": body}, path="/rc/v1/users")
        assert (answer.status, answer.body) == (500, b"Record already exists for 'rhoadmin'")
        assert await redis_client.keys("user:*") == []


@pytest.mark.parametrize(
    ("value", "found"), [(1.5, "a number"), (True, "a boolean"), ([1], "a list"), ({}, "an object")]
)
async def test_a_field_of_another_kind_is_named(redis_client: Redis, value: Any, found: str) -> None:
    async with house(redis_client, settings=OPEN) as api:
        session = await log_in(api, "bob")
        answer = await call(api, {"device_pin": value}, path="/rc/v1/clients", token=None, headers=session)
    message = f"device_pin must be a text or a whole number, not {found}"
    assert (answer.error["message"], answer.error["field"]) == (message, "device_pin")
