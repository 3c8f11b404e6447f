"""The queue as the ingresses use it: a ping is submitted, and its outcome is reported once."""

import asyncio
from typing import NamedTuple, Protocol

from gateway.errors import RhoPushError
from gateway.queue.append_batch import Accepted, IdempotencyKey, OnAppended
from protocols.ping.model import Ping


class PingQueue(Protocol):
    """Interface for submitting accepted pings (`QueueProducer`)."""

    def submit(self, ping: Ping, size: int, done: OnAppended, *, key: IdempotencyKey | None = None) -> str:
        """Give the ping an id and call `done` once: with None if it is durable, or with its repeat or error."""
        ...


class PendingAppend:
    """A ping that is submitted at once, and whose outcome can be awaited.

    Attributes:
        ping_id: id of the ping, valid for every outcome.
    """

    __slots__ = ("_appended", "ping_id")

    def __init__(self, queue: PingQueue, ping: Ping, size: int, key: IdempotencyKey | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._appended: asyncio.Future[Accepted | RhoPushError | None] = loop.create_future()
        self.ping_id = queue.submit(ping, size, self._on_appended, key=key)

    async def outcome(self) -> Accepted | RhoPushError:
        """Wait until the queue has stored or refused the ping."""
        return await self._appended or Accepted(self.ping_id)

    def _on_appended(self, outcome: Accepted | RhoPushError | None) -> None:
        if not self._appended.done():  # the caller may have been cancelled
            self._appended.set_result(outcome)


class BacklogLimits(NamedTuple):
    """The limits of the ingest backlog, beyond which ingresses answer 503 (`limits.queue_pings`,
    `limits.queue_bytes`)."""

    pings: int
    bytes: int
