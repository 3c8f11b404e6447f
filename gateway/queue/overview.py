"""The current numbers of the queue, for operators. Nothing is written."""

import asyncio
from typing import Any, Final

import msgspec

from gateway.clock import SHARED_CLOCK
from gateway.store import keys
from gateway.store.connection import RedisConnection, RedisReplyError
from protocols.numbers import stored

STREAM_NAMES: Final = {
    keys.PINGS: "pings",
    keys.RETRIES: "retries",
    keys.BROADCASTS: "broadcasts",
    keys.CHUNKS: "chunks",
}
"""The names of the streams for operators."""
PARKED_MAX: Final = 200
"""Most lanes whose parked deliveries are listed: those with the most."""


class StreamOverview(msgspec.Struct, frozen=True):
    """One stream.

    Attributes:
        name: see `STREAM_NAMES`.
        entries: entries that are not settled.
        pending: those of them that a worker holds.
        oldest_age_s: age of the oldest entry; None: the stream is empty.
    """

    name: str
    entries: int
    pending: int
    oldest_age_s: float | None


class QueueState(msgspec.Struct, frozen=True):
    """The queue.

    Attributes:
        streams: its streams.
        pings, bytes: number and size of pings that are accepted and not settled, in all streams.
        scheduled_pings, scheduled_bytes: number and size of pings that wait for their `deliver_at`.
        retries: number of batches of deliveries that wait for their next attempt.
        parked: number of deliveries by the lane for which they are parked; included in the batches of `retries`.
        receipts, receipt_bytes: stored receipts of batches.
        unreadable, unreadable_bytes: records of entries that could not be read.
    """

    streams: tuple[StreamOverview, ...]
    pings: int
    bytes: int
    scheduled_pings: int
    scheduled_bytes: int
    retries: int
    parked: dict[str, int]
    receipts: int
    receipt_bytes: int
    unreadable: int
    unreadable_bytes: int


_STATS: Final = ("pings", "bytes", "scheduled_pings", "scheduled_bytes", "receipt_bytes", "unreadable_bytes")


class QueueOverview:
    """Reads the numbers.

    Args:
        connection: to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def read(self) -> QueueState:
        """The present numbers.

        Raises:
            StoreDown: Redis did not answer.
        """
        call = self._connection.call
        counts, parked, retries, receipts, unreadable, *streams = await asyncio.gather(
            call("HMGET", keys.STATS, *_STATS),
            call("HGETALL", keys.PARKED),
            call("ZCARD", keys.SCHEDULE),
            call("ZCARD", keys.RECEIPTS),
            call("XLEN", keys.UNREADABLE),
            *(self._stream(stream) for stream in keys.STREAMS),
        )
        numbers = dict(zip(_STATS, (max(0, stored(count)) for count in counts), strict=True))
        return QueueState(
            streams=tuple(streams),
            parked=_parked(parked),
            retries=retries,
            receipts=receipts,
            unreadable=unreadable,
            **numbers,
        )

    async def _stream(self, stream: str) -> StreamOverview:
        call = self._connection.call
        length, first, pending = await asyncio.gather(
            call("XLEN", stream), call("XRANGE", stream, "-", "+", "COUNT", 1), self._pending(stream)
        )
        age_s = None
        if first:
            at_ms = stored(first[0][0].partition(b"-")[0])
            age_s = round(max(0.0, SHARED_CLOCK.seconds_since([at_ms])[0]), 1)
        return StreamOverview(STREAM_NAMES[stream], length, pending, age_s)

    async def _pending(self, stream: str) -> int:
        try:
            summary = await self._connection.call("XPENDING", stream, keys.GROUP)
        except RedisReplyError as error:
            if not error.words.startswith("NOGROUP"):
                raise
            return 0  # a new or flushed Redis
        return int(summary[0])


def _parked(flat: Any) -> dict[str, int]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    counts = [(lane.decode("utf-8", "replace"), stored(count)) for lane, count in pairs]
    waiting = sorted((pair for pair in counts if pair[1] > 0), key=lambda pair: -pair[1])
    return dict(waiting[:PARKED_MAX])
