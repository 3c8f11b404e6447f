"""What a gateway that stands by has heard and cannot be sure is written down.

Redis gives every listener the same order. The gateway that writes publishes marks among the changes, and tells
by its lease up to which mark it has written everything: up to there the others forget.
"""

from typing import Final

from gateway.change_events.windows import PendingChange

PART_MAX: Final = 200_000
"""Changes between two marks that are kept; more than Redis publishes in the second between them."""


class StandbyBuffer:
    """Changes in parts, each begun by a mark."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, dict[PendingChange, None]]] = [("", {})]

    def add(self, pending: PendingChange) -> bool:
        """Keep a change (the same change in one part counts once); False: there is no room."""
        part = self._parts[-1][1]
        if len(part) >= PART_MAX and pending not in part:
            return False
        part[pending] = None
        return True

    def mark(self, mark: str) -> None:
        """A mark was heard: what comes now is behind it."""
        self._parts.append((mark, {}))

    def discard_before(self, mark: str) -> None:
        """Everything before this mark is written down. A mark that was never heard here says nothing."""
        for index, (begun_by, _) in enumerate(self._parts):
            if mark and begun_by == mark:
                del self._parts[:index]
                return

    def take_all(self) -> list[PendingChange]:
        """Everything that is kept, in order; the buffer is empty then."""
        parts, self._parts = self._parts, [("", {})]
        return [pending for _, part in parts for pending in part]

    def __len__(self) -> int:
        return sum(len(part) for _, part in self._parts)
