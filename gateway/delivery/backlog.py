"""The deliveries that wait in memory for a lane: their order, how many may wait, and the next attempt of a parked
delivery.

No I/O and no clock. Small pings overtake broadcasts. Deliveries that cannot wait in memory are parked in Redis.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.delivery.batch import Delivery

WAITING_ROOM_S: Final = 3.0
WAITING_ROOM_MIN: Final = 200
"""Deliveries that a lane may keep in memory: as many as it begins in `WAITING_ROOM_S`, but at least the minimum."""
PATIENCE_SWEEPS: Final = 3
"""Number of consecutive sweeps with waiting deliveries before those beyond the room are parked."""
PARK_S: Final = 4.0
PARK_MAX_S: Final = 60.0
"""A parked delivery is tried again after `PARK_S` at first, and later the longer its lane has been unable to send,
so that a large backlog is not read and parked repeatedly."""
LAST_TRY_S: Final = 2.0
"""A parked delivery is tried again at least once, this many seconds (or twice as many) before its time to live
ends, since its lane may be up again."""


class Backlog:
    """Waiting deliveries, those of small pings apart from those of broadcasts.

    Attributes:
        small: deliveries of small pings; the leftmost begins first.
        bulk: deliveries of broadcasts, in the same order.
    """

    __slots__ = ("bulk", "small")

    def __init__(self) -> None:
        self.small: deque[Delivery] = deque()
        self.bulk: deque[Delivery] = deque()

    def __len__(self) -> int:
        return len(self.small) + len(self.bulk)

    def add(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Append deliveries. The consumer bounds how many a worker holds."""
        (self.bulk if bulk else self.small).extend(deliveries)

    def put_back(self, delivery: Delivery) -> None:
        """Put a delivery back in front of the others: it was taken but did not begin."""
        (self.bulk if delivery.batch.bulk else self.small).appendleft(delivery)

    def excess(self, room: int) -> Iterator[Delivery]:
        """Remove the newest deliveries, those of broadcasts first, until `room` are left."""
        for waiting in (self.bulk, self.small):
            while waiting and len(self) > room:
                yield waiting.pop()

    def remove(self, is_removed: Callable[[Delivery], bool]) -> list[Delivery]:
        """Remove the deliveries for which the condition is true; the others keep their order."""
        removed: list[Delivery] = []
        for waiting in (self.small, self.bulk):
            kept: list[Delivery] = []
            for delivery in waiting:
                (removed if is_removed(delivery) else kept).append(delivery)
            if len(kept) < len(waiting):
                waiting.clear()
                waiting.extend(kept)
        return removed

    def drain(self) -> tuple[list[Delivery], list[Delivery]]:
        """Remove all deliveries: those of small pings, and those of broadcasts."""
        small, bulk = list(self.small), list(self.bulk)
        self.small.clear()
        self.bulk.clear()
        return small, bulk


class WaitingRoomSize:
    """Decides how many deliveries a lane may keep in memory: as many as it begins in `WAITING_ROOM_S`.

    A lane that is slow for a long time (a small quota, a stream limit of one) must not fill the worker with its
    deliveries, since other lanes share the worker's room. A lane that was just offered a burst may keep it.
    """

    def __init__(self) -> None:
        self._rates: deque[int] = deque(maxlen=PATIENCE_SWEEPS)
        self._busy = 0

    def soon(self, begun: int) -> int:
        """Number of waiting deliveries that will begin within `WAITING_ROOM_S`; `begun`: since the last `room`."""
        return int(max(begun, *self._rates, 0) * WAITING_ROOM_S)

    def room(self, begun: int, waiting: int) -> int:
        """Number of deliveries that may continue to wait; called once a second.

        Args:
            begun: deliveries that began in this second.
            waiting: deliveries that wait now.
        """
        self._rates.append(begun)
        self._busy = self._busy + 1 if waiting else 0
        if self._busy < PATIENCE_SWEEPS:
            return waiting
        return max(WAITING_ROOM_MIN, self.soon(begun))


def parked_until_ms(now_ms: int, expires_ms: int, wait_s: float, noise: float) -> int | None:
    """The time at which a delivery that is parked now is tried again, in epoch ms; None: its time to live ends
    before.

    Args:
        now_ms: epoch ms.
        expires_ms: epoch ms at which the delivery's time to live ends.
        wait_s: how long the lane is expected to be unable to send.
        noise: random, 0 to 1, so that parked deliveries are not retried all at once.
    """
    delay_s = min(PARK_MAX_S, max(PARK_S, wait_s))
    due_ms = now_ms + int(delay_s * 1000 * (1 + noise))
    due_ms = min(due_ms, expires_ms - int(LAST_TRY_S * 1000 * (1 + noise)))
    return due_ms if due_ms > now_ms else None
