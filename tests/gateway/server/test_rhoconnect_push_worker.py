"""A worker of the RhoConnect Push service alone."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.errors import BadSetting
from gateway.server.ipc import SettingsUpdate, pack_settings_update
from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.rhoconnect_push_worker import run
from gateway.server.settings_feed import SettingsFeed
from gateway.server.worker_channels import WorkerChannels
from gateway.settings import LimitSettings, RhoConnectPushSettings, Secret, Settings


def settings(address: str, folder: Path, mode: str = "builtin") -> Settings:
    rhoconnect_push = msgspec.convert({"mode": mode, "wait_s": 30}, RhoConnectPushSettings)
    return Settings(redis=Secret(address), data_dir=folder, rhoconnect_push=rhoconnect_push)


async def test_it_serves_until_it_is_stopped_and_takes_new_limits_over(
    redis_address: str, tmp_path: Path
) -> None:
    said = settings(redis_address, tmp_path)
    ours, theirs = socket.socketpair()
    feed, stop, ready = SettingsFeed(), asyncio.Event(), asyncio.Event()
    channels = WorkerChannels(feed, MetricsReporter(theirs, report_s=3600))
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/nextMessage/nobody"
    work = asyncio.create_task(
        run(said, slot=0, gateway_id="tested", sock=sock, stop=stop, ready=ready.set, channels=channels)
    )
    await asyncio.wait_for(ready.wait(), 30)
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status in (401, 404)
    limits = LimitSettings(connections=1)
    feed.publish(pack_settings_update(SettingsUpdate(msgspec.structs.replace(said, limits=limits))))
    first, other = (aiohttp.ClientSession() for _ in range(2))
    async with first, other, first.get(url):
        async with other.get(url) as refused:  # the first connection is kept alive, and is the only one
            assert (refused.status, await refused.read()) == (503, (await refused.read()))
    stop.set()
    await asyncio.wait_for(work, 30)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", sock.getsockname()[1] if sock.fileno() >= 0 else 1)
    channels.metrics_reporter.close()
    ours.close()


@pytest.mark.parametrize("mode", ["client", "off"])
async def test_where_the_service_is_not_built_in_there_is_none(
    redis_address: str, tmp_path: Path, mode: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(BadSetting, match="not built in"):
        await run(
            settings(redis_address, tmp_path, mode),
            slot=0,
            gateway_id="tested",
            sock=sock,
            stop=asyncio.Event(),
            ready=lambda: None,
        )
