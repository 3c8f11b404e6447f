"""The interface of the three kinds of endpoints."""

from typing import Protocol

from protocols.webhooks.attempts import DeliveryAttempt
from protocols.webhooks.events import Message


class Sink(Protocol):
    """The receiving side of an endpoint."""

    async def send(self, message: Message) -> DeliveryAttempt:
        """Make one attempt to deliver a message. A failure of the endpoint is an outcome, not an exception.

        Raises:
            StoreDown: the queue's Redis does not answer, so that the attempt cannot be judged.
        """
        ...

    async def close(self) -> None:
        """Close connections and files."""
        ...
