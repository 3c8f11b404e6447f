"""A worker of the RhoConnect Push service alone."""

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from gateway.errors import BadSetting
from gateway.server.ipc import SettingsUpdate, pack_settings_update
from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.rhoconnect_push_worker import run
from gateway.server.settings_feed import SettingsFeed
from gateway.server.worker_channels import WorkerChannels, WorkerContext
from gateway.settings import LimitSettings, RhoConnectPushSettings, Secret, Settings


def settings(address: str, folder: Path, mode: str = "builtin") -> Settings:
    rhoconnect_push = msgspec.convert({"mode": mode, "wait_s": 30}, RhoConnectPushSettings)
    return Settings(redis=Secret(address), data_dir=folder, rhoconnect_push=rhoconnect_push)


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Poll as nobody; whether that is refused as it should be."""
    writer.write(b"GET /nextMessage/nobody HTTP/1.1\r\nHost: push\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    return head.startswith(b"HTTP/1.1 4") and b"content-length: 0" in head.lower()


async def test_it_serves_until_it_is_stopped_and_takes_new_limits_over(
    redis_address: str, tmp_path: Path
) -> None:
    said = settings(redis_address, tmp_path)
    ours, theirs = socket.socketpair()
    feed, stop, ready = SettingsFeed(), asyncio.Event(), asyncio.Event()
    channels = WorkerChannels(feed, MetricsReporter(theirs, report_s=3600))
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    work = asyncio.create_task(
        run(WorkerContext(said, 0, "tested", sock, stop, ready.set, channels=channels))
    )
    await asyncio.wait_for(ready.wait(), 30)
    (first, one), (second, other) = [await asyncio.open_connection(*address) for _ in range(2)]
    for reader, writer in ((first, one), (second, other)):
        assert await answered(reader, writer)
    limits = LimitSettings(connections=2)
    feed.publish(pack_settings_update(SettingsUpdate(msgspec.structs.replace(said, limits=limits))))
    third, another = await asyncio.open_connection(*address)
    assert await answered(third, another)
    assert await asyncio.wait_for(first.read(), 30) == b""  # the oldest idle connection made room
    assert await answered(second, other)
    stop.set()
    await asyncio.wait_for(work, 30)
    for writer in (one, other, another):
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    channels.metrics_reporter.close()
    ours.close()


@pytest.mark.parametrize("mode", ["client", "off"])
async def test_where_the_service_is_not_built_in_there_is_none(
    redis_address: str, tmp_path: Path, mode: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(BadSetting, match="not built in"):
        await run(
            WorkerContext(
                settings(redis_address, tmp_path, mode), 0, "tested", sock, asyncio.Event(), lambda: None
            )
        )
