"""Sends and the unit that they belong to: plain bookkeeping, no I/O.

A unit is what came off a stream as one entry: up to 200 pings, or one piece of a ping. Its sends have places,
0 to n-1, which stay the same however often the unit is delivered again (`plan`). When the last place has a
verdict, the unit is settled in Redis in one step.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from gateway.delivery.providers import Message
from gateway.delivery.route import Route
from gateway.queue.consumer import Progress
from gateway.queue.entries import Lease
from gateway.queue.receipts import Detail
from protocols.devices import Device
from protocols.ping.model import Ping
from protocols.verdict import Kind, Verdict


class Postponed(NamedTuple):
    """A send that leaves its unit and comes again. `due_ms` is by the process's steady clock."""

    due_ms: int
    attempt: int
    parked_in: str


OPEN: Final = 0
ACCEPTED: Final = 1
OTHER: Final = 2
_DIGITS: Final = bytes(ord("1") if state == ACCEPTED else ord("0") for state in range(256))


class Send:
    """One ping to one device, on its way.

    Attributes:
        unit, place: whose verdict it is.
        device: to whom.
        route: how its app is reached.
        message: the ping as this app's devices are told it.
        path: the request's path, checked.
        request_id: the same at each try (apns-id); b"" where the provider knows none.
        untried: how often a connection handed it back unprocessed.
        renewed: whether it was tried again with a new provider token.
    """

    __slots__ = ("device", "message", "path", "place", "renewed", "request_id", "route", "unit", "untried")

    def __init__(
        self,
        unit: "Unit",
        place: int,
        device: Device,
        route: Route,
        message: Message,
        path: bytes,
        request_id: bytes,
    ) -> None:
        self.unit = unit
        self.place = place
        self.device = device
        self.route = route
        self.message = message
        self.path = path
        self.request_id = request_id
        self.untried = 0
        self.renewed = False


class Unit:
    """Sends that are settled together.

    Args:
        lease: the stream entry.
        batch: of the pings' ids.
        pings: in the order of their places in the batch (a piece: one).
        first_place: place in its batch of the first ping.
        attempt: how often these sends were tried before.
        first_ms: epoch ms of their first try.
        lane: the lane in whose share they were parked; "".
        settled: called once, when every place has a verdict.
    """

    __slots__ = (
        "_plan",
        "attempt",
        "batch",
        "bulk",
        "chosen",
        "chunk",
        "dirty",
        "first_ms",
        "first_place",
        "lane",
        "lease",
        "lost",
        "node",
        "open",
        "pings",
        "postponed",
        "prefix",
        "rest",
        "settled",
        "since_ms",
        "skipped",
        "split",
        "starts",
        "states",
    )

    def __init__(
        self,
        lease: Lease,
        batch: str,
        pings: Sequence[Ping],
        settled: Callable[["Unit"], None],
        *,
        first_place: int = 0,
        attempt: int = 0,
        first_ms: int = 0,
        lane: str = "",
        bulk: bool = False,
    ) -> None:
        self.lease = lease
        self.batch = batch
        self.pings = pings
        self.first_place = first_place
        self.attempt = attempt
        self.first_ms = first_ms
        self.lane = lane
        self.bulk = bulk
        self.chunk = -1
        """The part of a broadcast's users that they go to; -1: of no broadcast, or coming again."""
        self.since_ms = pings[0].accepted_ms if pings else 0
        """Epoch ms at which the pings came through the door; they came together."""
        # What the UUIDs of this unit's requests have in common (see `planner`).
        self.prefix = f"{batch[:8]}-{batch[8:12]}-{batch[12:16]}-{batch[16:20]}-".encode()
        self.node = int(batch[20:], 16) << 16
        self.settled = settled
        self.chosen: list[tuple[str, str]] = []
        """Client id and provider, a place."""
        self.starts: list[int] = []
        """The first place of each ping."""
        self.skipped: list[dict[str, int]] = []
        self.states = bytearray()
        self.rest: dict[int, tuple[Kind, str]] = {}
        self.postponed: dict[int, Postponed] = {}
        # One more than the places without a verdict, until `planned`: a send that ends while others are still
        # being planned must not settle the unit.
        self.open = 1
        self.dirty = False
        self._plan: tuple[tuple[str, ...], ...] | None = None
        """Of `progress`: the places stay as they are once they are saved."""
        self.split: list[int] = []
        """Pings, by their number in this unit, of which one more than their pieces is counted as still to come."""
        self.lost = False
        """Another consumer took the entry over: nothing more of it is sent or settled here."""

    # -- planning --------------------------------------------------------------------------------------------

    def begin_ping(self, skipped: dict[str, int]) -> None:
        """The places from here on belong to the next ping."""
        self.starts.append(len(self.states))
        self.skipped.append(skipped)

    def add_place(self, client_id: str, provider: str) -> int:
        """A new place without a verdict."""
        place = len(self.states)
        self.states.append(OPEN)
        self.chosen.append((client_id, provider))
        self.open += 1
        return place

    def recall(self, progress: Progress) -> None:
        """Take over the verdicts of an earlier delivery of the same plan."""
        for place in range(len(self.states)):
            if progress.accepted[place >> 3] >> (place & 7) & 1:
                self._close(place, ACCEPTED)
                self.rest.pop(place, None)  # it has gone since, but this ping reached it
        for place, kind, reason in progress.rest:
            self._close(place, OTHER)
            self.rest[place] = (Kind(kind), reason)

    def ping_of(self, place: int) -> int:
        """Which ping (counted within this unit) a place belongs to."""
        return _ping_of(self.starts, place)

    # -- verdicts --------------------------------------------------------------------------------------------

    def accept(self, place: int) -> None:
        """The provider accepted this send. The hot path."""
        if self.states[place] == OPEN:
            self.states[place] = ACCEPTED
            self.dirty = True
            self.open -= 1
            if not self.open:
                self.settled(self)

    def reject(self, place: int, reason: str) -> None:
        """A final verdict: this send ends here."""
        self._end(place, Kind.REJECTED, reason)

    def postpone(self, place: int, verdict: Verdict, later: Postponed) -> None:
        """This send leaves the unit and comes again."""
        if self.states[place] == OPEN:
            self.postponed[place] = later
            self._end(place, verdict.kind, verdict.reason)

    def planned(self) -> None:
        """Every place is there. A unit that has nothing to send is settled at once."""
        self.open -= 1
        if not self.open:
            self.settled(self)

    def _end(self, place: int, kind: Kind, reason: str) -> None:
        if self.states[place] == OPEN:
            self.rest[place] = (kind, reason)
            self._close(place, OTHER)
            self.dirty = True
            if not self.open:
                self.settled(self)

    def _close(self, place: int, state: int) -> None:
        if self.states[place] == OPEN:
            self.open -= 1
        self.states[place] = state

    # -- what is written -------------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """The verdicts so far. Postponed sends count as open: only settling puts them on the schedule."""
        rest = [
            (place, int(kind), why) for place, (kind, why) in self.rest.items() if place not in self.postponed
        ]
        if self._plan is None:
            clients = [client for client, _ in self.chosen]
            self._plan = tuple(tuple(clients[first:last]) for first, last in self.spans())
        return Progress(self._plan, self._accepted(), tuple(rest), tuple(self.skipped))

    def _accepted(self) -> bytes:
        """The bitmap of `Progress`, as a binary number whose last digit is the first place: all in C."""
        digits = self.states.translate(_DIGITS)[::-1]
        return int(digits or b"0", 2).to_bytes((len(self.states) + 7) // 8, "little")

    def spans(self) -> Iterator[tuple[int, int]]:
        """First place and end of each ping."""
        return zip(self.starts, [*self.starts[1:], len(self.states)], strict=True)

    def details(self, first: int, last: int) -> tuple[Detail, ...]:
        """The places that were not simply accepted."""
        if not self.rest:
            return ()
        return tuple(
            Detail(*self.chosen[place], *self.rest[place])
            for place in range(first, last)
            if place in self.rest
        )


def _ping_of(starts: Sequence[int], place: int) -> int:
    low, high = 0, len(starts)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts[middle] <= place else (low, middle)
    return low
