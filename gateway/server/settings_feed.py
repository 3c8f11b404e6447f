"""The way of reloaded settings to a worker: the pipe's thread publishes them, the event loop applies them."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from gateway.errors import RhoPushError
from gateway.server.ipc import SettingsUpdate, unpack_settings_update

_log = structlog.get_logger("settings")
_READ_BYTES: Final = 65_536

UpdateListener = Callable[[SettingsUpdate], None]


class SettingsFeed:
    """Passes the newest settings from the pipe's thread to the subscriber on the event loop.

    Updates that arrive before the subscription wait; only the newest of them is delivered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: bytes | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: UpdateListener | None = None

    def subscribe(self, listener: UpdateListener) -> None:
        """Call `listener` with each update from now on, on the running loop."""
        with self._lock:
            self._loop, self._listener = asyncio.get_running_loop(), listener
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._on_line(waiting)

    def publish(self, line: bytes) -> None:
        """Publish a line of the supervisor. Thread-safe."""
        with self._lock:
            if self._loop is None:
                self._waiting = line
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._on_line, line)

    def _on_line(self, line: bytes) -> None:
        """Pass an update to the subscriber. If the subscriber fails, the worker keeps its settings, and the error is
        logged."""
        try:
            update = unpack_settings_update(line)
            if self._listener is not None:
                self._listener(update)
        except RhoPushError as error:
            _log.error("settings_apply_failed", error=error.message)


def read_lines(descriptor: int) -> Iterator[bytes]:
    """Yield the complete lines of a pipe, without line ends, until it ends."""
    rest = b""
    while data := os.read(descriptor, _READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
