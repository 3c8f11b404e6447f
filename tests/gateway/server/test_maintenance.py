"""The maintenance continues after a defect: without it, lanes would stall while the worker looks healthy."""

import asyncio
from pathlib import Path

import pytest
import yaml

from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.lane_manager import LaneManager
from gateway.metrics import Metrics
from gateway.queue.consumer import Streams
from gateway.server import maintenance as maintenance_module
from gateway.server.maintenance import Maintenance, Stores
from gateway.server.redis_checks import RedisChecks
from gateway.settings import load
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from tests.support.providers import provider_settings


@pytest.mark.parametrize("strict", [False, True])
async def test_an_unreachable_provider_leaves_the_gateway_ready_unless_it_is_strict(
    redis_address: str, tmp_path: Path, strict: bool
) -> None:
    file = tmp_path / "settings.yml"
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        said = provider_settings(apns, fcm, readyz={"strict": strict})
        file.write_text(yaml.safe_dump({"development": {"gateway": said}}))
        settings, metrics = load(file, "development", {}), Metrics()
        lanes = LaneManager(settings, metrics, IgnoredTokenReports())
        link = RedisConnection(RedisAddress.parse(redis_address), "upkeep")
        maintenance = Maintenance(
            settings,
            Streams(link, "one:0", 60),
            lanes,
            metrics,
            Stores(),
            RedisChecks(settings, metrics),
            lambda: None,
        )
        assert await maintenance.readiness() == ({}, {})
        for provider in ("apns", "fcm"):
            lanes.route(provider, "")
        one, other = lanes.all()
        one._credential_refused("Revoked")
        refused = {f"lane {one.name}": "Revoked"}
        assert await maintenance.readiness() == ((refused, {}) if strict else ({}, refused))
        other._credential_refused("Revoked")
        assert await maintenance.readiness() == (refused | {f"lane {other.name}": "Revoked"}, {})
        await lanes.close(0)


async def test_a_defect_does_not_end_the_maintenance(
    redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 0.001)
    file = tmp_path / "settings.yml"
    file.write_text("development: {}")
    settings, metrics = load(file, "development", {}), Metrics()
    lanes = LaneManager(settings, metrics, IgnoredTokenReports())
    link = RedisConnection(RedisAddress.parse(redis_address), "upkeep")
    await link.open(30)
    calls, failed_often = 0, asyncio.Event()

    def failing() -> list[None]:
        nonlocal calls
        calls += 1
        if calls == 3:
            failed_often.set()
        raise KeyError("a defect")

    monkeypatch.setattr(lanes, "all", failing)
    maintenance = Maintenance(
        settings,
        Streams(link, "one:0", 60),
        lanes,
        metrics,
        Stores(),
        RedisChecks(settings, metrics),
        lambda: None,
    )
    maintenance.start()
    async with asyncio.timeout(30):
        await failed_often.wait()
    await maintenance.close()
    await link.close()
    assert calls >= 3
