"""Changes that writers append to a stream, which keeps them while no gateway runs.

The leader reads them, under one consumer name for all gateways, so that its successor finds the entries that it had
read and not stored. Stored entries are acknowledged, and deleted if no other group reads the stream at that time, since
nothing else would trim it.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any, Final

import structlog

from gateway.change_events.coalescer import Coalescer
from gateway.change_events.windows import PendingChange
from gateway.errors import StoreDown
from gateway.metrics import Metrics
from gateway.scheduling.background import run_in_background
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection, RedisReplyError
from gateway.store.consumer_groups import ensure_group

FIELD: Final = b"event"
"""The field of an entry that holds the change as JSON."""
COUNT: Final = 500
_BLOCK_MS: Final = 1_000
_REPLY_S: Final = 5.0
_RETRY_S: Final = 0.5
_ACCESS_RETRY_S: Final = 30.0
"""Interval between checks of a key that is not a stream."""
_CONSUMER: Final = "gateway"

_log = structlog.get_logger("change_events")


class ChangeStreamReader:
    """Reads the streams of `events.streams` while this gateway is the leader.

    Args:
        address: the Redis that writers use.
        streams: names of the streams.
        coalescer: receiver of the changes.
        metrics: the metrics of this process.
    """

    def __init__(
        self, address: RedisAddress, streams: Sequence[str], coalescer: Coalescer, metrics: Metrics
    ) -> None:
        self._connection = RedisConnection(address, "events:streams", reply_s=_REPLY_S)
        self._streams = streams
        self._coalescer = coalescer
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    async def open(self, timeout_s: float) -> None:
        """Start reading. Raises StoreDown."""
        await self._connection.open(timeout_s)
        self._task = run_in_background(
            self._run, "events:streams", restart_s=_RETRY_S, on_error=self._on_error
        )

    async def close(self) -> None:
        """Stop; entries that were read and not stored are read again by the next leader."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._connection.close()

    async def _run(self) -> None:
        while True:
            await self._coalescer.leader.wait()
            await self._follow()

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, StoreDown):
            self._metrics.store_errors("change_events").inc()

    async def _follow(self) -> None:
        """Read as long as this gateway is the leader and all streams can be read."""
        leader = self._coalescer.leader
        usable = [stream for stream in self._streams if await self._prepare(stream)]
        if not usable:
            await asyncio.sleep(_ACCESS_RETRY_S)
            return
        look_s = time.monotonic() + (_ACCESS_RETRY_S if len(usable) < len(self._streams) else math.inf)
        await self._read(usable, "0")
        while leader.is_set() and time.monotonic() < look_s:
            await self._read(usable, ">")

    async def _prepare(self, stream: str) -> bool:
        """Create the consumer group at the beginning of the stream, so that earlier entries are read too.

        Returns:
            False if the key is not a stream; the other streams are still read.
        """
        try:
            await ensure_group(self._connection, stream, keys.CHANGE_EVENT_GROUP)
        except RedisReplyError as error:
            if not error.of_data:
                raise
            _log.error("change_event_stream_unreadable", stream=stream, error=error.message)
            return False
        return True

    async def _read(self, streams: Sequence[str], start: str) -> None:
        """Read entries: from "0" on all entries that were read before and not acknowledged; new ones with ">"."""
        after = dict.fromkeys(streams, start)
        while after:
            reply = await self._connection.call(
                *(
                    "XREADGROUP",
                    "GROUP",
                    keys.CHANGE_EVENT_GROUP,
                    _CONSUMER,
                    "COUNT",
                    COUNT,
                    "BLOCK",
                    _BLOCK_MS,
                ),
                *("STREAMS", *after, *after.values()),
            )
            found = {stream.decode(): entries for stream, entries in reply or () if entries}
            for stream, entries in found.items():
                await self._take(stream, entries)
            if start == ">":
                return
            after = {stream: entries[-1][0].decode() for stream, entries in found.items()}

    async def _take(self, stream: str, entries: Sequence[Any]) -> None:
        changes = [change for _, flat in entries if (change := self._read_one(flat)) is not None]
        await self._coalescer.write(changes)
        ids = [entry for entry, _ in entries]
        await self._connection.call("XACK", stream, keys.CHANGE_EVENT_GROUP, *ids)
        # Asked for each batch: another reader may create its group at any time.
        if len(await self._connection.call("XINFO", "GROUPS", stream)) == 1:
            await self._connection.call("XDEL", stream, *ids)

    def _read_one(self, flat: Any) -> PendingChange | None:
        """Parse an entry. A deleted entry has no fields; an entry without the field `FIELD` is an empty event."""
        if flat is None:
            return None
        self._metrics.change_events_received("stream").inc()
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return self._coalescer.read_event(fields.get(FIELD, b""))
