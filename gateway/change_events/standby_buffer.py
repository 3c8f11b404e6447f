"""Changes that a standby gateway has received and that may not be stored yet.

Redis delivers messages to every subscriber in the same order. The leader publishes marks between the changes, and
records in its lease the mark up to which all changes are stored: the standby gateways discard the changes before it.
"""

from typing import Final

from gateway.change_events.windows import PendingChange

PART_MAX: Final = 200_000
"""Most changes buffered between two marks; more than Redis publishes in the second between them."""


class StandbyBuffer:
    """Changes in parts, each of which begins with a mark."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, dict[PendingChange, None]]] = [("", {})]

    def add(self, pending: PendingChange) -> bool:
        """Buffer a change (a repetition within one part is ignored); False: there is no room."""
        part = self._parts[-1][1]
        if len(part) >= PART_MAX and pending not in part:
            return False
        part[pending] = None
        return True

    def mark(self, mark: str) -> None:
        """Begin a new part after a received mark."""
        self._parts.append((mark, {}))

    def discard_before(self, mark: str) -> None:
        """Discard everything before this mark, which is stored. A mark that was not received here has no effect."""
        for index, (begun_by, _) in enumerate(self._parts):
            if mark and begun_by == mark:
                del self._parts[:index]
                return

    def take_all(self) -> list[PendingChange]:
        """Return all changes in order, and empty the buffer."""
        parts, self._parts = self._parts, [("", {})]
        return [pending for _, part in parts for pending in part]

    def __len__(self) -> int:
        return sum(len(part) for _, part in self._parts)
