"""`rhopush check` and the RhoConnect Push service: its port, its server, its registrations."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.check import rhoconnect_push
from gateway.check.checks import check_provider, providers
from gateway.check.findings import Finding, Level
from gateway.check.rhoconnect_push import check_push_port, check_push_server, check_registrations
from gateway.server.data_dir import DataDir
from gateway.settings import MetricsSettings, RhoConnectPushSettings, Secret, Settings
from tests.support.redis import store_client

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def listener(answer: bytes) -> AsyncIterator[int]:
    """A program on a free port that answers whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "who"),
    [
        (REFUSAL, "a rhoconnect-push"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "another program"),
        (b"", "another program"),
    ],
)
async def test_the_program_that_has_the_port_is_named(answer: bytes, who: str) -> None:
    async with listener(answer) as port:
        found = await check_push_port(Settings(rhoconnect_push=RhoConnectPushSettings(port=port)))
    text = f"{who} listens on 127.0.0.1:{port}: stop it first"
    assert found == [Finding(Level.BAD, "rhoconnect_push", text)]


async def test_a_free_port_is_not_reported(unused_tcp_port: int) -> None:
    assert await check_push_port(Settings(rhoconnect_push=RhoConnectPushSettings(port=unused_tcp_port))) == []
    assert await check_push_port(Settings(rhoconnect_push=RhoConnectPushSettings(mode="off"))) == []


@pytest.mark.parametrize(
    ("host", "words"), [("a..b", "not a valid host name"), ("none.invalid", "host name not found")]
)
async def test_no_program_is_named_where_nobody_was_reached(host: str, words: str) -> None:
    (found,) = await check_push_port(Settings(rhoconnect_push=RhoConnectPushSettings(host=host, port=1)))
    assert found.level is Level.WARNING
    assert f"{host}:1: {words}" in found.text
    assert "listens" not in found.text


async def test_a_gateway_that_runs_on_the_folder_may_have_the_port(tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "data")
    async with listener(REFUSAL) as port:
        settings = Settings(data_dir=folder.path, rhoconnect_push=RhoConnectPushSettings(port=port))
        folder.lock()
        try:
            assert await check_push_port(settings) == []
        finally:
            folder.release()
        assert [found.level for found in await check_push_port(settings)] == [Level.BAD]


async def test_the_default_port_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway starts without RhoConnect Push devices then."""
    async with listener(REFUSAL) as port:
        monkeypatch.setattr(rhoconnect_push, "RHOCONNECT_PUSH_PORT", port)
        (found,) = await check_push_port(Settings(rhoconnect_push=RhoConnectPushSettings(port=port)))
    assert found.level is Level.WARNING
    assert found.text.endswith("stop it first, or serve runs without RhoConnect Push devices")


@pytest.mark.parametrize(("port", "level"), [(8675, Level.WARNING), (8676, Level.BAD)])
async def test_a_port_that_two_settings_name_is_reported(port: int, level: Level) -> None:
    metrics = MetricsSettings(port=port)
    (found,) = await check_push_port(
        Settings(metrics=metrics, rhoconnect_push=RhoConnectPushSettings(port=port))
    )
    assert found.level is level
    assert f"metrics.port and rhoconnect_push.port are both {port}" in found.text
    for other in (
        RhoConnectPushSettings(mode="off", port=port),
        RhoConnectPushSettings(host="::1", port=port),
    ):
        found_there = await check_push_port(Settings(metrics=metrics, rhoconnect_push=other))
        assert not any("metrics.port" in one.text for one in found_there)


async def test_a_push_server_that_is_down_is_named_in_client_mode(unused_tcp_port: int) -> None:
    secret = Secret(f"http://app:hush@127.0.0.1:{unused_tcp_port}/")
    settings = Settings(push_server=secret, rhoconnect_push=RhoConnectPushSettings(mode="client"))
    (provider,) = providers(settings)
    (found,) = await check_provider(provider)
    assert (found.level, found.subject) == (Level.BAD, f"push_server 127.0.0.1:{unused_tcp_port}")
    assert "hush" not in found.text
    assert providers(Settings(push_server=secret)) == []


def client_of(port: int) -> Settings:
    secret = Secret(f"http://app:hush@127.0.0.1:{port}/")
    return Settings(push_server=secret, rhoconnect_push=RhoConnectPushSettings(mode="client"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (REFUSAL, None),
        (b"HTTP/1.1 200 OK\r\n\r\n", "is no rhoconnect-push: it answers 'HTTP/1.1 200 OK' to GET /, not 403"),
        (b"\x15\x03\x01", r"is no rhoconnect-push: it answers '\x15\x03\x01' to GET /, not 403"),
        (b"", "is no rhoconnect-push: it answers 'nothing' to GET /, not 403"),
    ],
)
async def test_a_push_server_that_is_none_is_named(answer: bytes, text: str | None) -> None:
    async with listener(answer) as port:
        found = await check_push_server(client_of(port))
    expected = [] if text is None else [Finding(Level.WARNING, f"push_server 127.0.0.1:{port}", text)]
    assert found == expected


async def test_a_push_server_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rhoconnect_push, "_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        port = hanging.getsockname()[1]
        (found,) = await check_push_server(client_of(port))
    assert found == Finding(
        Level.BAD, f"push_server 127.0.0.1:{port}", "accepts connections and does not answer"
    )


async def test_what_other_checks_report_about_a_push_server_is_reported_once(unused_tcp_port: int) -> None:
    assert await check_push_server(client_of(unused_tcp_port)) == []
    assert await check_push_server(Settings(rhoconnect_push=RhoConnectPushSettings(mode="client"))) == []
    assert await check_push_server(Settings()) == []


async def test_registrations_in_another_redis_of_the_settings_are_found(
    redis_client: Redis, redis_address: str
) -> None:
    await redis_client.set("tok:one", "instance")
    own = Secret(redis_address.replace("db=0", "db=5"))
    settings = Settings(redis=Secret(redis_address), rhoconnect_push=RhoConnectPushSettings(redis=own))
    (found,) = await check_registrations(["one", "two"], settings)
    assert found.level is Level.BAD
    assert "; 1 have it in unix://" in found.text
    assert ", the Redis of redis" in found.text


async def test_registrations_in_the_right_redis_are_good(redis_client: Redis, redis_address: str) -> None:
    await redis_client.set("tok:one", "instance")
    settings = Settings(redis=Secret(redis_address))
    (found,) = await check_registrations(["one"], settings)
    assert found.level is Level.GOOD
    (found,) = await check_registrations(["one", "gone"], settings)
    assert found.level is Level.WARNING
    assert found.text.startswith("1 of 2 RhoConnect Push devices have their registration in unix://")


async def test_registrations_in_another_database_are_found(redis_client: Redis, redis_address: str) -> None:
    path = redis_client.connection_pool.connection_kwargs["path"]
    async with store_client(path, db=3) as other, store_client(path, db=4) as unrelated:
        await other.sadd("reg:instance", "{}")
        await other.set("tok:one", "instance")
        await unrelated.set("key", "value")
        (found,) = await check_registrations(["one"], Settings(redis=Secret(redis_address)))
    assert found.level is Level.BAD
    assert "0 of 1 RhoConnect Push devices" in found.text
    assert "set rhoconnect_push.redis to the Redis of rhoconnect-push" in found.text
    assert found.text.endswith("there are registrations in database 3 of this server")


async def test_other_keys_in_the_same_database_cause_no_hint(redis_client: Redis, redis_address: str) -> None:
    await redis_client.sadd("reg:instance", "{}")
    (found,) = await check_registrations(["one"], Settings(redis=Secret(redis_address)))
    assert found.level is Level.BAD
    assert found.text.endswith(
        "set rhoconnect_push.redis to the Redis of rhoconnect-push (its option redisToGoUrl)"
    )


async def test_only_the_built_in_service_needs_the_registrations(redis_address: str) -> None:
    settings = Settings(redis=Secret(redis_address), rhoconnect_push=RhoConnectPushSettings(mode="client"))
    assert await check_registrations(["one"], settings) == []
    assert await check_registrations([], Settings(redis=Secret(redis_address))) == []
