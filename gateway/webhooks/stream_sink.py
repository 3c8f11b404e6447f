"""Delivery of messages to a stream in the queue's Redis, of which the newest entries are kept."""

from collections import deque
from typing import Final

from gateway.store.connection import RedisConnection, RedisReplyError
from protocols.webhooks.attempts import DELIVERED, DeliveryAttempt, failed
from protocols.webhooks.events import Message

ENTRIES_MAX: Final = 100_000
"""Approximate number of entries beyond which the oldest are removed."""
BYTES_MAX: Final = 64 * 1024 * 1024
"""Approximate size of all entries beyond which the oldest are removed: a message may have 100 KB, and a full Redis
would refuse pings."""
_SAMPLE: Final = 20
"""Newest entries of a stream whose average size stands for that of the entries that an earlier leader appended."""


class StreamSink:
    """A Redis stream as an endpoint.

    Args:
        connection: the queue's Redis.
        name: key of the stream.
        most: number of entries that it keeps, approximately.
        most_bytes: size of all entries that it keeps, approximately.
    """

    def __init__(
        self, connection: RedisConnection, name: str, most: int = ENTRIES_MAX, most_bytes: int = BYTES_MAX
    ) -> None:
        self._connection = connection
        self._name = name
        self._most = most
        self._most_bytes = most_bytes
        self._sizes: deque[int] | None = None
        """Sizes of the entries in the stream, the oldest first; None: not read yet."""
        self._bytes = 0

    async def send(self, message: Message) -> DeliveryAttempt:
        """Append an entry with the fields `id`, `type` and `body`, which is the body that a server would receive.

        Raises:
            StoreDown: Redis does not answer.
        """
        body = message.body()
        fields = ("id", message.id, "type", message.kind, "body", body)
        try:
            kept = await self._with_room(len(body))
            await self._connection.call("XADD", self._name, "MAXLEN", "~", len(kept) + 1, "*", *fields)
        except RedisReplyError as error:
            return failed(error.message)
        kept.append(len(body))
        self._bytes += len(body)
        return DELIVERED

    async def close(self) -> None:
        """Do nothing: the connection belongs to the worker."""

    async def _with_room(self, size: int) -> deque[int]:
        """Return the sizes of the entries that may stay beside a new one of `size` bytes."""
        if self._sizes is None:
            self._sizes = await self._read_sizes()
            self._bytes = sum(self._sizes)
        kept = self._sizes
        while kept and (len(kept) >= self._most or self._bytes + size > self._most_bytes):
            self._bytes -= kept.popleft()
        return kept

    async def _read_sizes(self) -> deque[int]:
        """Return the estimated size of each entry of the stream."""
        number = int(await self._connection.call("XLEN", self._name))
        newest = await self._connection.call("XREVRANGE", self._name, "+", "-", "COUNT", _SAMPLE)
        sizes = [sum(map(len, fields)) for _, fields in newest]
        return deque([sum(sizes) // len(sizes)] * number if sizes else (), maxlen=self._most)
