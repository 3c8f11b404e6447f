"""The secret of the legacy devices' ids: kept in Redis, and a copy in the data folder.

RhoConnect's `system/reset` empties the Redis that the gateway shares with it (FLUSHDB). Without the secret every device
would be refused, so a running gateway writes it back, and a start takes it from the data folder.

| Redis | data folder | in use |
| --- | --- | --- |
| has it | has none, or another one | Redis': it is the same for all gateways; the copy is renewed |
| has none | has it | the copy, written to Redis |
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
from gateway.store.connection import RedisReplyError, RedisReplyRefused
from gateway.system.private_files import read_secret, write_secret

_log = structlog.get_logger("rhoconnect_push")

_RETRY_S: Final = 1.0
"""Between two looks at Redis."""


class IdSecret:
    """Keeps the secret.

    Args:
        store: the service's part of Redis.
        folder: the data folder.
        writes: whether this process renews the copy: one process of a gateway does.
    """

    def __init__(self, store: MailboxStore, folder: Path, *, writes: bool) -> None:
        self._store = store
        self._file = folder / ID_FILE
        self._writes = writes
        self._secret: bytes | None = None

    async def open(self) -> bytes | None:
        """The secret; None: there is none yet, and Redis takes no writes for now.

        Raises:
            StoreDown: Redis does not answer, or refuses for good.
            UnsafeFile: other users may have made the copy.
        """
        self._secret = self._copy()
        try:
            return await self._synchronize()
        except RedisReplyError as error:
            if not error.for_now and not isinstance(error, RedisReplyRefused):
                raise
            if self._secret is None:
                _log.warning("rhoconnect_push_delayed", error=error.message)
            return self._secret

    async def maintain(self, changed: Callable[[bytes], None]) -> None:
        """Look at Redis from time to time, for ever: write a lost secret back, and take over another one.

        Args:
            changed: called with a secret that was not in use before.
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
            _log.warning("id_secret_replaced", why="Redis holds another one")
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
    """The copy of the secret; None: there is none, or it is damaged.

    Raises:
        OSError: it cannot be read.
        UnsafeFile: other users may have made it.
    """
    content = read_secret(file)
    return None if content is None else read_id_secret(content.strip())
