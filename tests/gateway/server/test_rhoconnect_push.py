"""Authentication of users and apps by the gateway itself."""

import asyncio
import base64
import socket
import time
from collections import Counter
from pathlib import Path

import aiohttp
import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.errors import BadSetting
from gateway.http_api import sessions
from gateway.http_api.sessions import COOKIE, Session, Sessions
from gateway.metrics import Metrics
from gateway.registry.accounts import Accounts
from gateway.server import id_secret
from gateway.server.rhoconnect_push import LocalAuthenticator, open_mailbox, open_rhoconnect_push
from gateway.settings import AuthSettings, HttpSettings, RhoConnectPushSettings, Secret, Settings
from tests.support import rhoconnect
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.worker_core import until

DAY_S = 86_400


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def settings(mode: str = "redis", push_server: str | None = None) -> Settings:
    server = None if push_server is None else Secret(push_server)
    return Settings(auth=msgspec.convert({"devices": mode}, AuthSettings), push_server=server)


async def accounts_of(redis: Redis) -> Accounts:
    await rhoconnect.lay_user(redis, "bob", [], password="pw")
    return Accounts(redis, api_token=Secret("t"), admin_password=None, owns_store=False)


async def cookie(accounts: Accounts, *, until_s: float) -> str:
    user = await accounts.user("bob")
    assert user is not None
    issuer = Sessions(await accounts.session_secret())
    return f"{COOKIE}={issuer.issue(Session('bob', user.fingerprint, int(until_s)))}"


@pytest.mark.parametrize("joined", ["{}", "instance=a:b; {}", "instance=a:b,{}"])
async def test_a_user_has_a_session_and_credentials(redis_client: Redis, joined: str) -> None:
    accounts = await accounts_of(redis_client)
    authenticator = LocalAuthenticator(settings(), accounts)
    session = joined.format(await cookie(accounts, until_s=time.time() + DAY_S))
    assert await authenticator.user(session, basic("bob:pw"))
    assert await authenticator.user(session, basic("somebody:else")), "its name need not be the session's"
    assert not await authenticator.user(session, None)
    assert not await authenticator.user(session, "Basic ")


async def test_an_expired_altered_or_outdated_session_is_refused(redis_client: Redis) -> None:
    accounts = await accounts_of(redis_client)
    authenticator = LocalAuthenticator(settings(), accounts)
    good = await cookie(accounts, until_s=time.time() + DAY_S)
    assert not await authenticator.user(await cookie(accounts, until_s=time.time() - 1), basic("bob:pw"))
    assert not await authenticator.user(good[:-1] + "g", basic("bob:pw"))
    assert not await authenticator.user("", basic("bob:pw"))
    await accounts.update("bob", {"new_password": "other"})
    assert not await authenticator.user(good, basic("bob:pw"))


async def test_a_session_of_a_new_key_is_accepted_after_a_reset_of_redis(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_RECHECK_S", 0.0)
    authenticator = LocalAuthenticator(settings(), await accounts_of(redis_client))
    for _ in range(2):
        accounts = await accounts_of(redis_client)
        session = await cookie(accounts, until_s=time.time() + DAY_S)
        assert await authenticator.user(session, basic("bob:pw"))
        await redis_client.flushdb()
        assert not await authenticator.user(session, basic("bob:pw"))


async def test_the_other_rules_for_devices(redis_client: Redis) -> None:
    accounts = await accounts_of(redis_client)
    good = await cookie(accounts, until_s=time.time() + DAY_S)
    assert not await LocalAuthenticator(settings("off"), accounts).user(good, basic("bob:pw"))
    assert await LocalAuthenticator(settings("open"), accounts).user("", basic("anybody"))
    assert not await LocalAuthenticator(settings("open"), accounts).user("", None)
    assert not await LocalAuthenticator(settings(), None).user(good, basic("bob:pw"))


@pytest.mark.parametrize(
    ("push_server", "login", "good"),
    [
        ("http://someapp@localhost:8675/", "someapp:", True),
        ("http://someapp@localhost:8675/", "someapp:x", False),
        ("http://some%40app:p%3Aw@localhost/", "some@app:p:w", True),
        ("http://someapp:pw@localhost/", "someapp:", False),
        ("http://someapp:pw@localhost/", "other:pw", False),
        ("http://localhost:8675/", ":", False),
        (None, "someapp:", False),
    ],
)
async def test_an_app_has_the_credentials_of_push_server(
    push_server: str | None, login: str, good: bool
) -> None:
    assert await LocalAuthenticator(settings(push_server=push_server), None).app(basic(login)) is good


async def test_only_the_built_in_service_has_a_store(redis_address: str) -> None:
    for mode in ("client", "off"):
        said = Settings(
            redis=Secret(redis_address),
            rhoconnect_push=msgspec.convert({"mode": mode}, RhoConnectPushSettings),
        )
        async with open_mailbox(said) as store:
            assert store is None
    async with open_mailbox(Settings(redis=Secret(redis_address))) as store:
        assert store is not None
        assert store.up


async def test_an_unusable_certificate_is_named(redis_address: str, tmp_path: Path) -> None:
    said = Settings(
        redis=Secret(redis_address),
        rhoconnect_push=RhoConnectPushSettings(certificate_file=tmp_path / "none.pem"),
    )
    async with open_mailbox(said) as store:
        assert store is not None
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            with pytest.raises(
                BadSetting, match=r"^rhoconnect_push\.certificate_file: .*none\.pem: No such file"
            ):
                async with open_rhoconnect_push(said, store, sock, Metrics()):
                    pass


@pytest.mark.parametrize("kind", KINDS)
async def test_the_first_start_on_a_full_redis_waits_for_room(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_secret, "_RETRY_S", 0.01)
    with RedisServer(kind) as server, socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/instanceId"
        said = Settings(redis=Secret(server.address), auth=AuthSettings(devices="open"))
        async with (
            store_client(server.socket) as redis,
            open_mailbox(said) as store,
            aiohttp.ClientSession(headers={"Authorization": basic("bob:pw")}) as phone,
        ):
            assert store is not None
            await redis.config_set("maxmemory", "1")
            with capture_logs() as logs:
                async with open_rhoconnect_push(said, store, sock, Metrics()) as service:
                    async with phone.post(url) as answer:
                        assert answer.status == 503
                    await redis.config_set("maxmemory", "0")
                    await until(lambda: service.service.ids)
                    async with phone.post(url) as answer:
                        assert answer.status == 200
                    await service.close(1)
            (log,) = (line for line in logs if line["event"] == "rhoconnect_push_delayed")
            assert log["error"].startswith("OOM")


def test_no_repr_shows_a_password() -> None:
    authenticator = LocalAuthenticator(settings(push_server="http://a:hunter2@h/"), None)
    assert "hunter2" not in repr(vars(authenticator))


async def post(url: str, password: str, client: str) -> int:
    headers = {"Authorization": basic(f"app:{password}"), "X-Forwarded-For": client}
    async with (
        aiohttp.ClientSession(headers=headers) as app,
        app.post(f"{url}/messageQueue/token", json={"collapseId": 1, "data": {}}) as answer,
    ):
        return answer.status


async def test_an_apps_credentials_are_guessed_within_the_bounds_of_logins(redis_address: str) -> None:
    said = Settings(
        redis=Secret(redis_address),
        push_server=Secret("http://app:good@localhost:8675/"),
        http=HttpSettings(trusted_proxies=("127.0.0.1",)),
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with open_mailbox(said) as store:
            assert store is not None
            async with open_rhoconnect_push(said, store, sock, Metrics()) as service:
                guesses = (post(url, f"guess{number}", "198.51.100.1") for number in range(100))
                assert Counter(await asyncio.gather(*guesses)) == {401: 10, 429: 90}
                assert await post(url, "good", "198.51.100.1") == 429
                right = await post(url, "good", "192.0.2.1")
                assert right == 401, "let in, and the token is none of an app's"
                assert await post(url, "good", "198.51.100.1") == 401, "remembered, so nobody guesses"
                await service.close(1.0)


async def test_a_devices_session_is_looked_up_in_its_clients_turn(redis_client: Redis) -> None:
    accounts = await accounts_of(redis_client)
    good = await cookie(accounts, until_s=time.time() + DAY_S)
    authenticator = LocalAuthenticator(settings(), accounts)
    found = await asyncio.gather(
        *(authenticator.user(good, basic("bob:pw"), f"client{n}") for n in range(50))
    )
    assert found == [True] * 50
    await authenticator.close()
