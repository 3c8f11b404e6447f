"""Logins over HTTP: the number of attempts of a client, which do not lock others out."""

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.registry import logins
from gateway.registry.accounts import TokenRole
from gateway.scheduling.lookups import Lookups
from gateway.settings import AuthSettings, HttpSettings, Secret, Settings
from tests.gateway.http_api.harness import Answer, House, call, house


async def add(api: House, login: str) -> None:
    body = {"attributes": {"login": login, "password": "secret"}}
    assert (await call(api, body, path="/rc/v1/users")).status == 200


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/rc/v1/app/login", 1_000),
        ("/application/clientlogin", 50),
        ("/api/application/clientlogin", 50),
        ("/rc/v1/system/login", 50),
        ("/login", 50),
        ("/api/admin/login", 50),
    ],
)
async def test_concurrent_logins_get_no_more_guesses(redis_client: Redis, path: str, count: int) -> None:
    async with behind_a_proxy(redis_client) as api:
        await add(api, "bob")

        async def guess(number: int) -> int:
            spelled = "bob" if number % 2 else "BOB"
            return (await log_in(api, spelled, f"guess{number}", "192.0.2.1", path)).status

        statuses = Counter(await asyncio.gather(*(guess(number) for number in range(count))))
        assert statuses == {401: 10, 429: count - 10}


async def test_a_client_cannot_lock_an_account_for_others(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "SPACING_S", 0.05)
    async with behind_a_proxy(redis_client) as api:
        await add(api, "bob")
        for number in range(40):  # more than `ACCOUNT_ATTEMPTS`: from then on they are spaced out
            assert (await log_in(api, "bob", "guess", f"198.51.100.{number % 4}")).status == 401
        assert (await log_in(api, "bob", "secret", "198.51.100.1")).status == 429
        assert (await log_in(api, "bob", "secret", "192.0.2.1")).status == 200


async def test_an_ipv6_network_has_the_attempts_of_one_client(redis_client: Redis) -> None:
    async with behind_a_proxy(redis_client) as api:
        await add(api, "bob")
        found = [(await log_in(api, "bob", "guess", f"2001:db8::{n:x}")).status for n in range(1, 12)]
        assert found == [401] * 10 + [429]
        assert (await log_in(api, "bob", "secret", "2001:db8:0:1::1")).status == 200


async def test_an_untrusted_forwarded_address_gives_no_further_attempts(api: House) -> None:
    await add(api, "bob")
    found = [(await log_in(api, "bob", "guess", f"192.0.2.{number}")).status for number in range(11)]
    assert found == [401] * 10 + [429]


async def test_hundreds_of_right_logins_at_once_are_all_answered(api: House) -> None:
    for number in range(20):
        await add(api, f"user{number}")

    async def right(number: int) -> int:
        return (await log_in(api, f"user{number % 20}", "secret")).status

    assert Counter(await asyncio.gather(*(right(number) for number in range(600)))) == {200: 600}


async def test_users_that_anybody_may_create_wait_their_turn(redis_client: Redis) -> None:
    settings = Settings(auth=msgspec.convert({"devices": "open"}, AuthSettings))
    async with house(redis_client, settings=settings) as api:

        async def enter(number: int) -> int:
            return (await log_in(api, f"user{number}", "mine")).status

        assert Counter(await asyncio.gather(*(enter(number) for number in range(100)))) == {200: 100}
    assert await redis_client.scard("app:application:users") == 100


async def test_the_apps_credentials_are_guessed_no_more_often(redis_client: Redis) -> None:
    """The query of an external push service with an app's Basic credentials."""
    settings = Settings(push_server=Secret("http://app:good@localhost:8675/"))
    async with house(redis_client, settings=settings) as api:

        async def ask(password: str) -> int:
            basic = "Basic " + base64.b64encode(f"app:{password}".encode()).decode()
            path, headers = "/rc/v1/system/rps_login", {"Authorization": basic}
            return (await call(api, method="GET", path=path, token=None, headers=headers)).status

        assert [await ask("good") for _ in range(20)] == [204] * 20
        found = Counter(await asyncio.gather(*(ask(f"guess{number}") for number in range(100))))
        assert found == {401: 10, 429: 90}
        assert await ask("good") == 429


@pytest.mark.parametrize("fast_path", [True, False])
async def test_an_invented_token_is_looked_up_in_its_clients_turn(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch, fast_path: bool
) -> None:
    found: list[str] = []
    look_up = Lookups.__call__

    async def note(self: Lookups[TokenRole], name: str, caller: str) -> TokenRole:
        found.append(caller)
        return await look_up(self, name, caller)

    monkeypatch.setattr(Lookups, "__call__", note)
    settings = Settings(http=HttpSettings(trusted_proxies=("127.0.0.1",)))
    async with house(redis_client, settings=settings, fast_path=fast_path) as api:
        for client in ({}, {"X-Forwarded-For": "192.0.2.9, 192.0.2.1"}, {"X-Forwarded-For": "2001:db8::1"}):
            token = f"invented{len(found)}"
            assert (await call(api, {"user_id": "bob"}, token=token, headers=client)).status == 422
    assert found == ["127.0.0.1", "192.0.2.1", "2001:db8::/64"]


@contextlib.asynccontextmanager
async def behind_a_proxy(redis: Redis) -> AsyncIterator[House]:
    """The HTTP API with this machine as a trusted proxy, whose X-Forwarded-For counts."""
    settings = Settings(http=HttpSettings(trusted_proxies=("127.0.0.1",)))
    async with house(redis, settings=settings) as api:
        yield api


async def log_in(
    api: House, login: str, password: str, client: str | None = None, path: str = "/rc/v1/app/login"
) -> Answer:
    headers = {} if client is None else {"X-Forwarded-For": client}
    body = {"login": login, "password": password}
    return await call(api, body, path=path, token=None, headers=headers)
