"""The interruption of a streamed request."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from gateway.errors import RequestTimeout, ShuttingDown
from gateway.http_api import stream_watch
from gateway.http_api.aiohttp_handler import AiohttpConnection
from gateway.http_api.stream_watch import StreamWatch
from tests.gateway.http_api.harness import WAIT_S


class Connection:
    """The part of a connection that is watched."""

    def __init__(self) -> None:
        self.unsent_bytes = 0
        self.aborted = asyncio.Event()
        self.streaming = False
        self.on_drain: Callable[[], None] = self.end_stream

    def begin_stream(self, on_drain: Callable[[], None]) -> None:
        self.streaming = True
        self.on_drain = on_drain

    def end_stream(self) -> None:
        self.streaming = False

    def abort(self) -> None:
        self.aborted.set()


def watch(connection: Connection, stream_s: float = 0.1) -> StreamWatch:
    return StreamWatch(cast("AiohttpConnection", connection), stream_s)


async def test_without_progress_the_request_is_interrupted() -> None:
    connection = Connection()
    with watch(connection) as watched:
        assert connection.streaming
        with pytest.raises(TimeoutError):
            async with watched.interruptible():
                await asyncio.sleep(WAIT_S)
        assert isinstance(watched.reason, RequestTimeout)
        async with asyncio.timeout(WAIT_S):
            await connection.aborted.wait()  # its answer's end makes no progress either
    assert not connection.streaming


async def test_a_client_that_does_not_read_is_dropped() -> None:
    connection = Connection()
    connection.unsent_bytes = 5
    with watch(connection) as watched:
        async with asyncio.timeout(WAIT_S), watched.interruptible():
            await connection.aborted.wait()
        assert watched.reason is None


@pytest.mark.parametrize("way", ["in", "out"])
async def test_progress_in_either_direction_counts(way: str) -> None:
    connection = Connection()
    with watch(connection, 1.5) as watched:
        async with watched.interruptible():
            for _ in range(8):  # 2 s in all
                await asyncio.sleep(0.25)
                if way == "in":
                    watched.moved()
                else:
                    connection.unsent_bytes += 1
    assert watched.reason is None
    assert not connection.aborted.is_set()


@pytest.mark.parametrize("when", ["before", "meanwhile", "after"])
async def test_a_drain_interrupts_only_what_is_under_way(when: str) -> None:
    connection = Connection()
    with watch(connection, WAIT_S) as watched:
        if when == "before":
            connection.on_drain()
        if when == "after":
            async with watched.interruptible():
                await asyncio.sleep(0)
            connection.on_drain()
        else:
            if when == "meanwhile":
                asyncio.get_running_loop().call_later(0.01, connection.on_drain)
            with pytest.raises(TimeoutError):
                async with watched.interruptible():
                    await asyncio.sleep(WAIT_S)
        assert isinstance(watched.reason, ShuttingDown)


class Clock:
    """The event loop's clock and timers; the test alone moves the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> "Clock":
        self.timers = [(self.now + delay_s, callback)]
        return self

    def cancel(self) -> None:
        self.timers = []

    def move(self, seconds: float) -> None:
        """Move the time, and call the timers that are due on the way."""
        until = self.now + seconds
        while self.timers and self.timers[0][0] <= until:
            self.now, callback = self.timers.pop()
            callback()
        self.now = until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(stream_watch, "asyncio", SimpleNamespace(get_running_loop=lambda: found))
    return found


def test_an_interrupted_client_has_the_same_time_to_read_its_answer(clock: Clock) -> None:
    connection = Connection()
    with watch(connection, 8.0) as watched:
        clock.move(8.5)
        assert isinstance(watched.reason, RequestTimeout)
        clock.move(7.0)
        assert not connection.aborted.is_set()
        clock.move(1.0)
        assert connection.aborted.is_set()


def test_after_its_request_nothing_is_watched(clock: Clock) -> None:
    connection = Connection()
    with watch(connection, 8.0) as watched:
        clock.move(1.5)
    clock.move(100.0)
    assert watched.reason is None
    assert not connection.aborted.is_set()
