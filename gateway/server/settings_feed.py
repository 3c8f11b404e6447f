"""How a worker hears of settings that were read anew: the pipe's thread tells, the loop takes them over."""

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
    """Carries the newest settings from the pipe's thread to whoever listens on the loop.

    What is told before anybody listens waits; of several such the newest counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: bytes | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: UpdateListener | None = None

    def subscribe(self, listener: UpdateListener) -> None:
        """From now on call `listener`, on the running loop."""
        with self._lock:
            self._loop, self._listener = asyncio.get_running_loop(), listener
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._on_line(waiting)

    def publish(self, line: bytes) -> None:
        """Take a line of the supervisor's. From any thread."""
        with self._lock:
            if self._loop is None:
                self._waiting = line
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._on_line, line)

    def _on_line(self, line: bytes) -> None:
        """A listener that fails leaves the worker with what it had, and says so."""
        try:
            update = unpack_settings_update(line)
            if self._listener is not None:
                self._listener(update)
        except RhoPushError as error:
            _log.error("settings_apply_failed", error=error.message)


def read_lines(descriptor: int) -> Iterator[bytes]:
    """Whole lines of a pipe, without their ends, until it ends."""
    rest = b""
    while data := os.read(descriptor, _READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
