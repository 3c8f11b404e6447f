"""Redis servers that only some pings need."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.server import maintenance as maintenance_module
from gateway.server.further_redis import further_addresses, open_further_healths
from gateway.settings import ResqueSettings, RhoConnectPushSettings, Secret, Settings
from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.gateway.rhoconnect_push.harness import basic
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import Worker, working


def settings(push: str | None, resque: str | None, queues: tuple[str, ...] = ("ping",)) -> Settings:
    return Settings(
        redis=Secret("redis://main"),
        rhoconnect_push=RhoConnectPushSettings(redis=None if push is None else Secret(push)),
        resque=ResqueSettings(queues=queues, redis=None if resque is None else Secret(resque)),
    )


def test_only_separate_servers_are_checked() -> None:
    assert further_addresses(settings(None, None)) == {}
    assert further_addresses(settings("redis://main", "redis://main")) == {}
    found = further_addresses(settings("redis://push", "redis://resque"))
    assert {name: address.host for name, address in found.items()} == {
        "rhoconnect_push.redis": "push",
        "resque.redis": "resque",
    }
    assert [*further_addresses(settings("redis://push", "redis://resque", ()))] == ["rhoconnect_push.redis"]


async def test_an_unreachable_server_is_named_and_delays_nothing(unused_tcp_port: int) -> None:
    async with open_further_healths(settings(None, f"redis://127.0.0.1:{unused_tcp_port}")) as (health,):
        assert health.name == "resque.redis"
        health.probe()
        assert health.error_text is None  # until it has not answered for some seconds


@pytest.mark.parametrize("strict", [False, True])
async def test_pings_are_accepted_while_resques_redis_is_unreachable(
    redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 0.05)
    monkeypatch.setattr("gateway.store.health._STALE_S", 2.0)
    with RedisServer("valkey") as server:
        async with ApnsSimulator() as apns, FcmSimulator() as fcm:
            said = provider_settings(
                apns, fcm, drain_s=1, resque={"redis": server.address}, readyz={"strict": strict}
            )
            async with working(tmp_path, redis_address, said) as worker:
                answer = await worker.request("GET", "/readyz")
                assert answer.json() == {"ready": True, "missing": {}, "degraded": {}}
                server.kill()
                part = "missing" if strict else "degraded"
                expected = {"resque.redis": "does not answer"}
                async with asyncio.timeout(30):
                    # On a busy machine, the main Redis may exceed the shortened limit for a moment too.
                    while (answer := await worker.request("GET", "/readyz")).json()[part] != expected:
                        await asyncio.sleep(0.02)
                assert (answer.status, answer.json()["ready"]) == ((503, False) if strict else (200, True))
                server.start()
                async with asyncio.timeout(30):
                    while (await worker.request("GET", "/readyz")).json()[part]:
                        await asyncio.sleep(0.02)


async def test_pings_are_accepted_if_the_redis_of_rhoconnect_push_is_down_at_the_start(
    redis_address: str, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 0.05)
    monkeypatch.setattr("gateway.store.health._STALE_S", 2.0)
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer("valkey"))
        server.kill()
        apns = await stack.enter_async_context(ApnsSimulator())
        fcm = await stack.enter_async_context(FcmSimulator())
        said = provider_settings(apns, fcm, drain_s=1, auth={"devices": "open"})
        said["rhoconnect_push"] = {"redis": server.address}
        worker = await stack.enter_async_context(working(tmp_path, redis_address, said, rhoconnect_push=True))
        await worker.done(await worker.accepted("bob", message="hello"))
        assert apns.received.total == 1
        assert await _degraded(worker, "rhoconnect_push.redis") == "does not answer"
        assert await _instance_id(worker) == 503
        server.start()
        assert await _degraded(worker, None) is None
        async with asyncio.timeout(30):
            while await _instance_id(worker) != 200:
                await asyncio.sleep(0.02)


async def _degraded(worker: Worker, part: str | None) -> str | None:
    """Wait until the worker is ready and /readyz names this part as the only degraded one, and return its text; None:
    no part.

    On a busy machine, the main Redis may exceed the shortened limit for a moment too.
    """
    async with asyncio.timeout(30):
        while True:
            answer = await worker.request("GET", "/readyz")
            found: dict[str, str] = answer.json()["degraded"]
            ready = answer.status == 200 and not answer.json()["missing"]
            if ready and [*found] == ([] if part is None else [part]):
                return found.get(part or "")
            await asyncio.sleep(0.02)


async def _instance_id(worker: Worker) -> int:
    """The status with which the RhoConnect Push service answers a device."""
    headers = {"Authorization": basic("bob", "pw")}
    async with (
        aiohttp.ClientSession(headers=headers) as phone,
        phone.post(f"{worker.rhoconnect_push_url}/instanceId") as answer,
    ):
        return answer.status
