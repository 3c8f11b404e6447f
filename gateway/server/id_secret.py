"""The secret that signs RhoConnect Push ids: stored in Redis, with a copy in the data folder.

RhoConnect's `system/reset` empties the Redis that the gateway shares with it (FLUSHDB). Without the secret every device
would be refused, so a running gateway writes it back, and a starting gateway restores it from the data folder.

| Redis | data folder | secret in use |
| --- | --- | --- |
| has one | has none, or another one | that of Redis, which all gateways share; the copy is updated |
| has none | has one | the copy, written to Redis |
| has none | has none | a new one, or the one that another process wrote first |
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from gateway.errors import StoreDown
from gateway.mailbox.store import MailboxStore, read_id_secret
from gateway.server.data_dir import ID_FILE
from gateway.store.connection import ConnectionLost, RedisReplyError, RedisReplyRefused
from gateway.system.private_files import read_secret, write_secret

_log = structlog.get_logger("rhoconnect_push")

_RETRY_S: Final = 1.0
"""Interval of the checks of Redis."""


class IdSecret:
    """Maintains the secret.

    Args:
        store: the mailbox store, whose Redis holds the secret.
        folder: the data folder.
        writes: whether this process updates the copy: one process of a gateway does.
    """

    def __init__(self, store: MailboxStore, folder: Path, *, writes: bool) -> None:
        self._store = store
        self._file = folder / ID_FILE
        self._writes = writes
        self._secret: bytes | None = None

    async def open(self) -> bytes | None:
        """Return the secret; None: there is none, and Redis cannot be reached or accepts no writes at present.

        Raises:
            StoreDown: Redis returns another error.
            UnsafeFile: other users may have written the copy.
        """
        self._secret = self._copy()
        try:
            return await self._synchronize()
        except (RedisReplyError, ConnectionLost) as error:
            if isinstance(error, RedisReplyError) and not (
                error.for_now or isinstance(error, RedisReplyRefused)
            ):
                raise
            if self._secret is None:
                _log.warning("rhoconnect_push_delayed", error=error.message)
            return self._secret

    async def maintain(self, changed: Callable[[bytes], None]) -> None:
        """Check Redis at intervals until cancelled: restore a lost secret, and adopt a changed one.

        Args:
            changed: called with each secret that was not in use before.
        """
        while True:
            await asyncio.sleep(_RETRY_S)
            used = self._secret
            with contextlib.suppress(StoreDown):
                found = await self._synchronize()
                if found != used:
                    changed(found)

    async def _synchronize(self) -> bytes:
        found = await self._store.secret(self._secret)
        if self._secret not in (None, found):
            _log.warning("id_secret_replaced", why="Redis holds a different secret")
        if found != self._secret:
            self._secret = found
            self._update_copy(found)
        return found

    def _copy(self) -> bytes | None:
        try:
            return read_copy(self._file)
        except OSError as error:
            _log.warning("id_secret_read_failed", file=str(self._file), error=error.strerror)
            return None

    def _update_copy(self, secret: bytes) -> None:
        if not self._writes:
            return
        try:
            write_secret(self._file, secret.hex().encode() + b"\n")
        except OSError as error:
            _log.warning("id_secret_write_failed", file=str(self._file), error=error.strerror)


def read_copy(file: Path) -> bytes | None:
    """Return the copy of the secret; None: there is none, or it is damaged.

    Raises:
        OSError: the file cannot be read.
        UnsafeFile: other users may have written it.
    """
    content = read_secret(file)
    return None if content is None else read_id_secret(content.strip())
