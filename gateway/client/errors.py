"""Errors that the client raises to the caller of a ping."""

from collections.abc import Sequence

from gateway.errors import RhoPushError


class PingError(RhoPushError):
    """A ping was refused, or was not delivered to every device.

    Attributes:
        errors: one text for each failure.
        ping_id: the ping's id, with which its receipt can be read; None if the gateway assigned none.
        refused_with: HTTP status of a gateway that did not accept the ping; None if the ping was accepted or the
            gateway could not be reached.
    """

    code = "ping_failed"
    label = "ping_failed"

    def __init__(
        self, errors: Sequence[str], ping_id: str | None = None, refused_with: int | None = None
    ) -> None:
        super().__init__("; ".join(errors))
        self.errors = tuple(errors)
        self.ping_id = ping_id
        self.refused_with = refused_with
