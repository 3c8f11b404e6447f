"""Upkeep goes on after a defect: lanes that nobody sweeps would stand still, with a worker that looks well."""

import asyncio
from pathlib import Path

import pytest

from gateway.delivery.dead_tokens import NoMarks
from gateway.delivery.lane_manager import Lanes
from gateway.metrics import Metrics
from gateway.queue.consumer import Streams
from gateway.server import maintenance as maintenance_module
from gateway.server.maintenance import Upkeep
from gateway.server.redis_permissions import Permissions
from gateway.settings import load
from gateway.store.address import Address
from gateway.store.connection import Link


async def test_a_defect_is_not_the_end(
    redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 0.001)
    file = tmp_path / "settings.yml"
    file.write_text("development: {}")
    settings, metrics = load(file, "development", {}), Metrics()
    lanes = Lanes(settings, metrics, NoMarks())
    link = Link(Address.parse(redis_address), "upkeep")
    await link.open(30)
    calls, failed_often = 0, asyncio.Event()

    def failing() -> list[None]:
        nonlocal calls
        calls += 1
        if calls == 3:
            failed_often.set()
        raise KeyError("a defect")

    monkeypatch.setattr(lanes, "all", failing)
    upkeep = Upkeep(
        settings, Streams(link, "one:0", 60), lanes, metrics, (), Permissions(settings), lambda: None
    )
    upkeep.start()
    async with asyncio.timeout(30):
        await failed_often.wait()
    await upkeep.close()
    await link.close()
    assert calls >= 3
