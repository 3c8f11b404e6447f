"""The connections to Redis of one worker's pipeline, each for one purpose."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from gateway.fanout.consumer import Readers
from gateway.metrics import Metrics
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection

_OPEN_S: Final = 15.0
_APPEND_REPLY_S: Final = 2.0
"""Time after which an append without a reply is checked by its marker; other commands may take longer."""
_READERS: Final = ("small", "pieces", "broadcasts")


class RedisLinks(NamedTuple):
    """The connections of a pipeline.

    Attributes:
        appends: to the queue's Redis, for the producers.
        streams: to the queue's Redis, for everything but appends and reads of the streams.
        look_ups: to the registry's Redis.
        readers: to the queue's Redis; each waits for entries.
    """

    appends: RedisConnection
    streams: RedisConnection
    look_ups: RedisConnection
    readers: Readers


@asynccontextmanager
async def open_redis_links(
    main: RedisAddress, queued: RedisAddress, metrics: Metrics
) -> AsyncIterator[RedisLinks]:
    """Open the connections; they are closed at the end of the context.

    Args:
        main: the registry's Redis.
        queued: the queue's Redis.
        metrics: receive the times of round trips.

    Raises:
        StoreDown: Redis cannot be reached.
    """
    async with AsyncExitStack() as opened:

        async def link(address: RedisAddress, purpose: str, reply_s: float = 5.0) -> RedisConnection:
            blocks = purpose.startswith("read:")  # its round trips are waits for entries
            seconds = None if blocks else metrics.redis_seconds(purpose)
            made = RedisConnection(address, purpose, reply_s=reply_s, seconds=seconds)
            await made.open(_OPEN_S)
            opened.push_async_callback(made.close)
            return made

        yield RedisLinks(
            await link(queued, "append", _APPEND_REPLY_S),
            await link(queued, "streams"),
            await link(main, "registry"),
            Readers(*[await link(queued, f"read:{purpose}") for purpose in _READERS]),
        )
