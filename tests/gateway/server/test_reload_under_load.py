"""A running gateway whose settings file changes: credentials swapped under load, mistakes refused."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from os import kill
from pathlib import Path
from typing import Any

import yaml

from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import store_client
from tests.support.rhoconnect import apple, lay_user

StartGateway = Callable[..., Awaitable[Gateway]]
BUDGET_S = 30


def change(gateway: Gateway, **gateway_settings: Any) -> None:
    document = yaml.safe_load(gateway.settings_file.read_text())
    document["development"]["gateway"] |= gateway_settings
    new = gateway.settings_file.with_suffix(".new")
    new.write_text(yaml.safe_dump(document))
    new.replace(gateway.settings_file)


async def logged(gateway: Gateway, event: str, times: int = 1) -> None:
    async with asyncio.timeout(BUDGET_S):
        while gateway.log.read_text().count(f'"{event}"') < times:
            await asyncio.sleep(0.02)


async def gauge(gateway: Gateway, name: str) -> float:
    text = (await gateway.request("GET", "/metrics")).body.decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"rhopush_{name}"))


async def lay(gateway: Gateway) -> None:
    async with store_client(gateway.data_dir / "valkey" / "valkey.sock") as redis:
        await lay_user(redis, "bob", [apple("ab" * 32)])


async def test_a_new_credential_takes_over_under_load_and_nothing_is_lost(
    start_gateway: StartGateway,
) -> None:
    async with ApnsSimulator() as old, ApnsSimulator() as new, FcmSimulator() as fcm:
        settings = provider_settings(old, fcm, ping={"wait_max_s": 10})
        gateway = await start_gateway(settings, workers=2)
        await lay(gateway)
        sent: list[str] = []
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                answer = await gateway.ping("bob", message="hello", wait=True)
                assert answer.status == 200, answer.body
                sent.append(answer.ping_id)

        async def at_least(provider: ApnsSimulator, pushes: int) -> None:
            async with asyncio.timeout(BUDGET_S):
                while len(provider.received) < pushes:
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(load())
            await at_least(old, 20)
            change(gateway, apns=provider_settings(new, fcm)["apns"])
            await logged(gateway, "settings_applied", times=2)
            before = len(old.received)
            await at_least(new, 20)
            stop.set()
        assert len(old.received) <= before + 4  # what was in flight at the moment of the swap
        reached = {record.headers["apns-collapse-id"] for record in (*old.received, *new.received)}
        assert reached == set(sent)
        assert {record.status for record in new.received} == {200}
        assert await gateway.stop() == 0


async def test_an_invalid_file_changes_nothing_and_raises_the_alarm_until_it_is_corrected(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway({"limits": {"users_per_ping": 5}})
    two, pids = ["a", "b"], gateway.workers
    change(gateway, limits={"users_per_ping": 1, "typo": 1})
    await logged(gateway, "settings_reload_failed")
    assert (await gateway.ping(two)).status == 200
    async with asyncio.timeout(BUDGET_S):
        while await gauge(gateway, "settings_reload_failed") != 1:
            await asyncio.sleep(0.02)
    change(gateway, limits={"users_per_ping": 1})
    await logged(gateway, "settings_applied")
    assert (await gateway.ping(two)).status == 413
    assert await gauge(gateway, "settings_reload_failed") == 0
    assert gateway.workers == pids


async def test_sighup_reloads_and_a_worker_that_starts_later_has_the_new_settings(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway({"limits": {"users_per_ping": 5}})
    kill(gateway.supervisor, signal.SIGHUP)
    await logged(gateway, "settings_applied")
    change(gateway, limits={"users_per_ping": 1}, data_dir="elsewhere")
    await logged(gateway, "settings_applied", times=2)
    assert '{"settings": ["data_dir"], "event": "settings_restart_required"' in gateway.log.read_text()
    gateway.kill(*gateway.workers)
    await logged(gateway, "worker_ready", times=2)
    assert (await gateway.ping(["a", "b"])).status == 413


async def test_a_credential_that_cannot_be_read_leaves_the_old_one_in_force(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        settings = provider_settings(apns, fcm)
        gateway = await start_gateway(settings)
        await lay(gateway)
        assert (await gateway.ping("bob", message="one", wait=True)).status == 200
        change(gateway, apns={**settings["apns"], "key_file": str(tmp_path / "gone.p8")})
        await logged(gateway, "credential_update_failed")
        assert (await gateway.ping("bob", message="two", wait=True)).status == 200
        assert [record.status for record in apns.received] == [200, 200]


async def test_an_unreadable_credential_is_reported_at_the_start_and_pings_are_accepted(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    key = {"key_file": str(tmp_path / "gone.p8"), "key_id": "ABC123DEFG", "team_id": "DEF123GHIJ"}
    gateway = await start_gateway({"apns": {**key, "topic": "com.example.app"}})
    await logged(gateway, "credential_invalid")
    assert "gone.p8: No such file or directory" in gateway.log.read_text()
    assert (await gateway.ping("bob")).status == 200
