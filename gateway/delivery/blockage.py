"""The reason why a lane cannot send, as of its last sweep."""

from typing import NamedTuple


class Blockage(NamedTuple):
    """The reason why a lane cannot send, as of its last sweep.

    Attributes:
        reason: reason code for a receipt; None: the lane can send.
        since_s: monotonic seconds of the first sweep that found the lane unable to send.
    """

    reason: str | None = None
    since_s: float = 0.0

    def at(self, reason: str | None, now_s: float) -> "Blockage":
        """The blockage after a sweep."""
        return Blockage(reason, now_s if self.reason is None else self.since_s)
