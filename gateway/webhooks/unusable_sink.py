"""The receiving side of an endpoint whose settings cannot be used; each attempt fails with the reason."""

from protocols.webhooks.attempts import DeliveryAttempt, failed
from protocols.webhooks.events import Message


class UnusableSink:
    """An endpoint whose file of certificate authorities cannot be read.

    Args:
        error: the reason.
    """

    def __init__(self, error: str) -> None:
        self._error = error

    async def send(self, message: Message) -> DeliveryAttempt:
        """Return the reason as the error of the attempt."""
        return failed(self._error)

    async def close(self) -> None:
        """Do nothing."""
