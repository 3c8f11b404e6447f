"""Time limits without timers: members with equal limits are kept in the order of their start."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class Timeouts(Generic[Member]):
    """Members with a common time limit.

    Args:
        limit: the time limit, in ticks of the clock.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._since: dict[Member, int] = {}

    def __len__(self) -> int:
        return len(self._since)

    def start(self, member: Member, now: int) -> None:
        """Start the time limit of a member, or restart it."""
        self._since.pop(member, None)
        self._since[member] = now

    def stop(self, member: Member) -> None:
        """Remove a member."""
        self._since.pop(member, None)

    def expired(self, now: int) -> list[Member]:
        """Remove and return the members whose time limit is over."""
        over: list[Member] = []
        for member, since in self._since.items():
            if now - since < self._limit:
                break
            over.append(member)
        for member in over:
            del self._since[member]
        return over
