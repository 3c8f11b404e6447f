"""h2load against a real simulator."""

import asyncio
from pathlib import Path

import pytest

from gateway.bench import h2load
from gateway.bench.errors import CannotMeasure
from gateway.bench.population import pin
from gateway.simulators import ApnsSimulator, Hosting

AUTHORIZATION = "bearer a-secret-token"


async def test_every_request_is_counted_and_the_token_is_not_shown(tmp_path: Path) -> None:
    paths = h2load.write_paths(tmp_path, 50)
    assert paths.read_text().splitlines()[49] == f"/3/device/{pin(49)}"
    async with ApnsSimulator(hosting=Hosting(accept_all=True)) as apns:
        found = await asyncio.to_thread(
            h2load.run, apns.port, paths, 50, AUTHORIZATION, "com.example.app", 10
        )
        assert (found.accepted, apns.answered) == (50, 50)
    assert found.seconds > 0
    assert found.mean_s > 0
    assert "-n 50 -c 1 -m 10" in found.command
    assert AUTHORIZATION not in found.command


async def test_refused_requests_give_no_figure(tmp_path: Path) -> None:
    paths = h2load.write_paths(tmp_path, 5)
    async with ApnsSimulator() as apns:
        with pytest.raises(CannotMeasure, match="h2load"):
            await asyncio.to_thread(h2load.run, apns.port, paths, 5, AUTHORIZATION, "com.example.app")


def test_without_h2load_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotMeasure, match="nghttp2-client"):
        h2load.find()
