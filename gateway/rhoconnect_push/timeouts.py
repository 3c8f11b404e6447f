"""Time-outs without timers: what waits equally long is kept in the order in which it began."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class Timeouts(Generic[Member]):
    """Members that all have the same time.

    Args:
        limit: how many ticks of the clock each has.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._since: dict[Member, int] = {}

    def __len__(self) -> int:
        return len(self._since)

    def start(self, member: Member, now: int) -> None:
        """Its time begins now, anew if it had begun before."""
        self._since.pop(member, None)
        self._since[member] = now

    def stop(self, member: Member) -> None:
        """It has done what it must."""
        self._since.pop(member, None)

    def expired(self, now: int) -> list[Member]:
        """Those whose time is over; they are no longer watched."""
        over: list[Member] = []
        for member, since in self._since.items():
            if now - since < self._limit:
                break
            over.append(member)
        for member in over:
            del self._since[member]
        return over
