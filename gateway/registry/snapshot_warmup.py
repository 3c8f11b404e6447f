"""Rebuilding of all snapshots in the background after a lapse, before they are needed."""

import asyncio
import contextlib
import time
from typing import Final

import structlog

from gateway.errors import StoreDown
from gateway.registry.registry import DeviceRegistry
from gateway.registry.user_devices import DECODE_ERRORS
from gateway.scheduling.background import run_in_background
from gateway.store import keys
from gateway.store.connection import RedisConnection, RedisReplyError

_log = structlog.get_logger("snapshot_warmup")

USERS: Final = 200
"""Users read together."""
PAUSE_FACTOR: Final = 4.0
"""Pause for each second of reading, so that pings have four fifths of this worker and of Redis."""
_RETRY_S: Final = 1.0
RESTART_S: Final = 60.0
"""Pause after an unexpected error, before all users are read again."""


class SnapshotWarmup:
    """Reads all users once, with a fifth of the worker's time; a later lapse restarts it.

    Args:
        connection: connection to RhoConnect's Redis.
        registry: reads the users, and stores their snapshots.
    """

    def __init__(self, connection: RedisConnection, registry: DeviceRegistry) -> None:
        self._connection = connection
        self._registry = registry
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start, or restart, after all snapshots became invalid."""
        if self._task is not None:
            self._task.cancel()
        self._task = run_in_background(self._run, "snapshot warm-up", restart_s=RESTART_S)

    async def close(self) -> None:
        """Stop; missing snapshots are made when they are needed."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        begun_s, users, cursor = time.monotonic(), 0, b"0"
        while True:
            since_s = time.monotonic()
            try:
                after, logins = await self._connection.call("SSCAN", keys.APP_USERS, cursor, "COUNT", USERS)
                await self._registry.devices_of_many(
                    [login.decode("utf-8", DECODE_ERRORS) for login in logins]
                )
            except RedisReplyError as error:
                _log.warning("snapshot_rebuild_failed", error=error.message)
                return
            except StoreDown:
                await asyncio.sleep(_RETRY_S)
                continue
            cursor = after
            users += len(logins)
            if cursor == b"0":
                break
            await asyncio.sleep(PAUSE_FACTOR * (time.monotonic() - since_s))
        _log.info("snapshots_rebuilt", users=users, seconds=round(time.monotonic() - begun_s, 1))
