"""Upkeep goes on after a defect: lanes that nobody sweeps would stand still, with a worker that looks well."""

import asyncio
from pathlib import Path

import pytest

from gateway.compose import upkeep as upkeep_module
from gateway.compose.permissions import Permissions
from gateway.compose.upkeep import Upkeep
from gateway.delivery.dead import NoMarks
from gateway.delivery.lanes import Lanes
from gateway.metrics import Metrics
from gateway.settings import load
from gateway.store.address import Address
from gateway.store.link import Link
from gateway.store.streams import Streams


async def test_a_defect_is_not_the_end(
    redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "_EVERY_S", 0.001)
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
