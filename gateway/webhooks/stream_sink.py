"""Delivery of messages to a stream in the queue's Redis, which has a bounded number of entries."""

from typing import Final

from gateway.store.connection import RedisConnection, RedisReplyError
from protocols.webhooks.attempts import DELIVERED, DeliveryAttempt, failed
from protocols.webhooks.events import Message

ENTRIES_MAX: Final = 100_000
"""Approximate number of entries beyond which the oldest are removed."""


class StreamSink:
    """A Redis stream as an endpoint.

    Args:
        connection: the queue's Redis.
        name: key of the stream.
        most: number of entries that it keeps, approximately.
    """

    def __init__(self, connection: RedisConnection, name: str, most: int = ENTRIES_MAX) -> None:
        self._connection = connection
        self._name = name
        self._most = most

    async def send(self, message: Message) -> DeliveryAttempt:
        """Append an entry with the fields `id`, `type` and `body`, which is the body that a server would receive.

        Raises:
            StoreDown: Redis does not answer.
        """
        fields = ("id", message.id, "type", message.kind, "body", message.body())
        try:
            await self._connection.call("XADD", self._name, "MAXLEN", "~", self._most, "*", *fields)
        except RedisReplyError as error:
            return failed(error.message)
        return DELIVERED

    async def close(self) -> None:
        """Do nothing: the connection belongs to the worker."""
