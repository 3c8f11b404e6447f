"""A queue's Redis whose durability changes while the gateway runs: /readyz, the metric and the log report it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import BadSetting, StoreDown, StoreRefused
from gateway.server import redis_durability
from gateway.store.address import RedisAddress
from tests.support.ports import free_port
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.worker import Worker, working


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check at short intervals, so that no test waits for it."""
    monkeypatch.setattr(redis_durability, "EVERY_S", 0.05)


def settings(durability: str) -> Mapping[str, Any]:
    return {"rhoconnect_push": {"mode": "off"}, "queue": {"durability": durability}}


async def assert_reported(worker: Worker, problem: str | None) -> None:
    """Assert that /readyz and the metric report a problem with these words in time; None: no problem."""
    found: tuple[str | None, float] | None = None
    try:
        async with asyncio.timeout(20):
            while found is None or not _fits(found, problem):
                await asyncio.sleep(0.02)
                found = await _reported(worker)
    except TimeoutError:
        raise AssertionError(f"{problem!r} was never reported: {found}") from None


async def _reported(worker: Worker) -> tuple[str | None, float]:
    readiness = (await worker.request("GET", "/readyz")).json()
    exposition = (await worker.request("GET", "/metrics")).body.decode()
    values = dict(line.rsplit(" ", 1) for line in exposition.splitlines() if not line.startswith("#"))
    return readiness["missing"].get("redis"), float(values["rhopush_durability_missing"])


def _fits(found: tuple[str | None, float], problem: str | None) -> bool:
    text, missing = found
    if problem is None:
        return text is None and missing == 0
    return text is not None and problem in text and missing == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_append_only_file_that_is_switched_off_is_reported(tmp_path: Path, kind: str) -> None:
    """A failover may lead to a server without an append-only file, which would be refused at the start."""
    with RedisServer(kind, persist=True) as server, capture_logs() as logged:
        async with (
            working(tmp_path, server.address, settings("aof")) as worker,
            store_client(server.socket) as redis,
        ):
            await assert_reported(worker, None)
            await redis.config_set("appendonly", "no")
            await assert_reported(worker, "queue.durability is aof, but the append-only file is off")
            await redis.config_set("appendonly", "yes")
            await assert_reported(worker, None)
    found = [line["event"] for line in logged if line["event"].startswith("durability")]
    assert found == ["durability_lost", "durability_restored"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_replica_that_disconnects_is_reported(tmp_path: Path, kind: str) -> None:
    """Every ping is answered with 503 then, since no replica confirms it."""
    port = str(free_port())
    with (
        RedisServer(kind, options={"port": port, "repl-diskless-sync-delay": "0"}) as server,
        RedisServer(kind, options={"replicaof": f"127.0.0.1 {port}"}) as replica,
    ):
        await _replicated(server)
        async with working(tmp_path, server.address, settings("replicas")) as worker:
            await assert_reported(worker, None)
            replica.kill()
            await assert_reported(worker, "no replica is connected")
            replica.start()
            await assert_reported(worker, None)


async def _replicated(server: RedisServer) -> None:
    """Wait until a replica holds the data."""
    async with asyncio.timeout(30), store_client(server.socket) as redis:
        while (await redis.info("replication")).get("slave0", {}).get("state") != "online":
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_new_eviction_policy_is_logged_once(tmp_path: Path, kind: str) -> None:
    with RedisServer(kind) as server, capture_logs() as logged:
        async with (
            working(tmp_path, server.address, settings("memory")) as worker,
            store_client(server.socket) as redis,
        ):
            await redis.config_set("maxmemory", "1gb")
            await redis.config_set("maxmemory-policy", "allkeys-lru")
            async with asyncio.timeout(20):
                while not _texts(logged, "allkeys-lru"):
                    await asyncio.sleep(0.02)
            await redis.config_set("maxmemory", "2gb")  # the same condition
            checks = await _checks(server)
            while await _checks(server) < checks + 6:
                await asyncio.sleep(0.02)
            await assert_reported(worker, None)
    assert len(_texts(logged, "allkeys-lru")) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ["redis", "queue.redis"])
async def test_an_error_at_the_start_names_the_setting_and_the_server(
    tmp_path: Path, kind: str, setting: str
) -> None:
    off: dict[str, Any] = {"rhoconnect_push": {"mode": "off"}}
    with (
        RedisServer(kind) as other,
        RedisServer(kind, options={"replicaof": "127.0.0.1 1"}) as replica,
        RedisServer(kind) as locked,
    ):
        locked.client().config_set("requirepass", "required")
        for address, words, error in (
            (replica.address, "this Redis is a replica", BadSetting),
            (locked.address, "Redis refuses: NOAUTH", StoreRefused),
            (f"unix://{tmp_path}/none", "Redis does not answer", StoreDown),
            (f"unix://{other.socket}?db=99", "Redis refuses: DB index", StoreRefused),
        ):
            main = address if setting == "redis" else other.address
            further = {} if setting == "redis" else {"queue": {"redis": address}}
            with pytest.raises(error) as refused:
                async with working(tmp_path, main, off | further):
                    pass
            named = setting if error is BadSetting else f"{setting} ({RedisAddress.parse(address)})"
            assert refused.value.message.startswith(f"{named}: {words}")


def _texts(logged: list[Any], words: str) -> list[str]:
    return [line["text"] for line in logged if words in str(line.get("text"))]


async def _checks(server: RedisServer) -> int:
    """Number of CONFIG GET so far: a check sends three."""
    async with store_client(server.socket) as redis:
        return int((await redis.info("commandstats"))["cmdstat_config|get"]["calls"])
