"""Changed settings on their way from the pipe's thread to a worker's event loop."""

import asyncio
import os
import threading

from structlog.testing import capture_logs

from gateway.errors import BadSetting
from gateway.server.ipc import SettingsUpdate, pack_settings_update
from gateway.server.settings_feed import SettingsFeed, read_lines
from gateway.settings import Secret, Settings


def update(name: str) -> SettingsUpdate:
    return SettingsUpdate(Settings(api_token=Secret(name)))


def line(name: str) -> bytes:
    return pack_settings_update(update(name))


async def test_of_updates_before_the_subscription_the_newest_counts() -> None:
    feed, heard = SettingsFeed(), list[SettingsUpdate]()
    feed.publish(line("first"))
    feed.publish(line("second"))
    feed.subscribe(heard.append)
    assert heard == [update("second")]


async def test_the_listener_is_called_on_the_loop_from_another_thread() -> None:
    feed, heard = SettingsFeed(), asyncio.Queue[tuple[SettingsUpdate, int]]()
    feed.subscribe(lambda one: heard.put_nowait((one, threading.get_ident())))
    await asyncio.to_thread(feed.publish, line("new"))
    assert await asyncio.wait_for(heard.get(), 30) == (update("new"), threading.get_ident())
    await asyncio.to_thread(feed.publish, pack_settings_update(SettingsUpdate(None, "port: no number")))
    assert (await asyncio.wait_for(heard.get(), 30))[0] == SettingsUpdate(None, "port: no number")


async def test_an_invalid_line_or_failing_listener_keeps_the_previous_settings() -> None:
    feed = SettingsFeed()

    def refuse(one: SettingsUpdate) -> None:
        raise BadSetting("limits: not now")

    with capture_logs() as logs:
        feed.publish(b"no settings")
        feed.subscribe(refuse)
        feed.publish(line("new"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [one["event"] for one in logs] == ["settings_apply_failed"] * 2
    assert logs[1]["error"] == "limits: not now"


def test_after_the_end_of_the_loop_nothing_is_delivered() -> None:
    feed, heard = SettingsFeed(), list[SettingsUpdate]()

    async def listen() -> None:
        feed.subscribe(heard.append)

    asyncio.run(listen())
    feed.publish(line("late"))
    assert heard == []


def test_lines_are_assembled_from_any_chunks() -> None:
    ours, theirs = os.pipe()
    long = b"x" * 200_000

    def write() -> None:
        for piece in (b"on", b"e\ntwo\nthr", b"ee\n" + long + b"\n", b"cut off"):
            view = memoryview(piece)
            while view:
                view = view[os.write(theirs, view) :]
        os.close(theirs)

    thread = threading.Thread(target=write)
    thread.start()
    assert list(read_lines(ours)) == [b"one", b"two", b"three", long]
    thread.join()
    os.close(ours)
