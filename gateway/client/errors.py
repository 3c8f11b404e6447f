"""What a ping's caller hears when it did not work."""

from collections.abc import Sequence

from gateway.errors import RhoPushError


class PingError(RhoPushError):
    """A ping was refused, or a device did not get it.

    Attributes:
        errors: one text for each thing that went wrong.
        ping_id: the ping's id where the gateway gave one: what became of it can be asked for.
        refused_with: HTTP status of a gateway that did not accept the ping; None: it did, or could not be
            reached.
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
