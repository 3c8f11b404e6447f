"""Sends and the unit that they belong to: plain bookkeeping, no I/O.

A unit is what came off a stream as one entry: up to 200 pings, or one piece of a ping. Its sends have places,
0 to n-1, which stay the same however often the unit is delivered again (`plan`). When the last place has a
verdict, the unit is settled in Redis in one step.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from gateway.delivery.provider import ProviderMessage
from gateway.delivery.route import Route
from gateway.queue.consumer import BatchProgress
from gateway.queue.entries import Lease
from gateway.queue.receipts import DeviceVerdict
from protocols.devices import Device
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind


class Postponed(NamedTuple):
    """A send that leaves its unit and comes again. `due_ms` is by the process's steady clock."""

    due_ms: int
    attempt: int
    parked_in: str


OPEN: Final = 0
ACCEPTED: Final = 1
OTHER: Final = 2
_DIGITS: Final = bytes(ord("1") if state == ACCEPTED else ord("0") for state in range(256))


class Delivery:
    """One ping to one device, on its way.

    Attributes:
        batch, index: whose verdict it is.
        device: to whom.
        route: how its app is reached.
        message: the ping as this app's devices are told it.
        path: the request's path, checked.
        request_id: the same at each try (apns-id); b"" where the provider knows none.
        unprocessed: how often a connection handed it back unprocessed.
        reauthorized: whether it was tried again with a new provider token.
    """

    __slots__ = (
        "batch",
        "device",
        "index",
        "message",
        "path",
        "reauthorized",
        "request_id",
        "route",
        "unprocessed",
    )

    def __init__(
        self,
        batch: "DeliveryBatch",
        index: int,
        device: Device,
        route: Route,
        message: ProviderMessage,
        path: bytes,
        request_id: bytes,
    ) -> None:
        self.batch = batch
        self.index = index
        self.device = device
        self.route = route
        self.message = message
        self.path = path
        self.request_id = request_id
        self.unprocessed = 0
        self.reauthorized = False


class DeliveryBatch:
    """Sends that are settled together.

    Args:
        lease: the stream entry.
        batch_id: of the pings' ids.
        pings: in the order of their places in the batch (a piece: one).
        first_ping_index: place in its batch of the first ping.
        attempt: how often these sends were tried before.
        first_ms: epoch ms of their first try.
        lane: the lane in whose share they were parked; "".
        on_complete: called once, when every place has a verdict.
    """

    __slots__ = (
        "_plan",
        "attempt",
        "batch_id",
        "bulk",
        "chosen",
        "chunk_index",
        "first_ms",
        "first_ping_index",
        "lane",
        "lease",
        "lease_lost",
        "node",
        "on_complete",
        "open",
        "other_verdicts",
        "pings",
        "postponed",
        "prefix",
        "since_ms",
        "skipped",
        "split",
        "starts",
        "states",
        "unsaved",
    )

    def __init__(
        self,
        lease: Lease,
        batch_id: str,
        pings: Sequence[Ping],
        on_complete: Callable[["DeliveryBatch"], None],
        *,
        first_ping_index: int = 0,
        attempt: int = 0,
        first_ms: int = 0,
        lane: str = "",
        bulk: bool = False,
    ) -> None:
        self.lease = lease
        self.batch_id = batch_id
        self.pings = pings
        self.first_ping_index = first_ping_index
        self.attempt = attempt
        self.first_ms = first_ms
        self.lane = lane
        self.bulk = bulk
        self.chunk_index = -1
        """The part of a broadcast's users that they go to; -1: of no broadcast, or coming again."""
        self.since_ms = pings[0].accepted_ms if pings else 0
        """Epoch ms at which the pings came through the door; they came together."""
        # What the UUIDs of this unit's requests have in common (see `planner`).
        self.prefix = f"{batch_id[:8]}-{batch_id[8:12]}-{batch_id[12:16]}-{batch_id[16:20]}-".encode()
        self.node = int(batch_id[20:], 16) << 16
        self.on_complete = on_complete
        self.chosen: list[tuple[str, str]] = []
        """Client id and provider, a place."""
        self.starts: list[int] = []
        """The first place of each ping."""
        self.skipped: list[dict[str, int]] = []
        self.states = bytearray()
        self.other_verdicts: dict[int, tuple[VerdictKind, str]] = {}
        self.postponed: dict[int, Postponed] = {}
        # One more than the places without a verdict, until `finish_planning`: a send that ends while others are still
        # being planned must not settle the unit.
        self.open = 1
        self.unsaved = False
        self._plan: tuple[tuple[str, ...], ...] | None = None
        """Of `progress`: the places stay as they are once they are saved."""
        self.split: list[int] = []
        """Pings, by their number in this unit, of which one more than their pieces is counted as still to come."""
        self.lease_lost = False
        """Another consumer took the entry over: nothing more of it is sent or settled here."""

    # -- planning --------------------------------------------------------------------------------------------

    def begin_ping(self, skipped: dict[str, int]) -> None:
        """The places from here on belong to the next ping."""
        self.starts.append(len(self.states))
        self.skipped.append(skipped)

    def add_delivery(self, client_id: str, provider: str) -> int:
        """A new place without a verdict."""
        index = len(self.states)
        self.states.append(OPEN)
        self.chosen.append((client_id, provider))
        self.open += 1
        return index

    def restore(self, progress: BatchProgress) -> None:
        """Take over the verdicts of an earlier delivery of the same plan."""
        for index in range(len(self.states)):
            if progress.accepted[index >> 3] >> (index & 7) & 1:
                self._close(index, ACCEPTED)
                self.other_verdicts.pop(index, None)  # it has gone since, but this ping reached it
        for index, kind, reason in progress.other_verdicts:
            self._close(index, OTHER)
            self.other_verdicts[index] = (VerdictKind(kind), reason)

    def ping_of(self, index: int) -> int:
        """Which ping (counted within this unit) a place belongs to."""
        return _ping_of(self.starts, index)

    # -- verdicts --------------------------------------------------------------------------------------------

    def accept(self, index: int) -> None:
        """The provider accepted this send. The hot path."""
        if self.states[index] == OPEN:
            self.states[index] = ACCEPTED
            self.unsaved = True
            self.open -= 1
            if not self.open:
                self.on_complete(self)

    def reject(self, index: int, reason: str) -> None:
        """A final verdict: this send ends here."""
        self._end(index, VerdictKind.REJECTED, reason)

    def postpone(self, index: int, verdict: Verdict, later: Postponed) -> None:
        """This send leaves the unit and comes again."""
        if self.states[index] == OPEN:
            self.postponed[index] = later
            self._end(index, verdict.kind, verdict.reason)

    def finish_planning(self) -> None:
        """Every place is there. A unit that has nothing to send is settled at once."""
        self.open -= 1
        if not self.open:
            self.on_complete(self)

    def _end(self, index: int, kind: VerdictKind, reason: str) -> None:
        if self.states[index] == OPEN:
            self.other_verdicts[index] = (kind, reason)
            self._close(index, OTHER)
            self.unsaved = True
            if not self.open:
                self.on_complete(self)

    def _close(self, index: int, state: int) -> None:
        if self.states[index] == OPEN:
            self.open -= 1
        self.states[index] = state

    # -- what is written -------------------------------------------------------------------------------------

    def progress(self) -> BatchProgress:
        """The verdicts so far. Postponed sends count as open: only settling puts them on the schedule."""
        other_verdicts = [
            (index, int(kind), why)
            for index, (kind, why) in self.other_verdicts.items()
            if index not in self.postponed
        ]
        if self._plan is None:
            clients = [client for client, _ in self.chosen]
            self._plan = tuple(tuple(clients[first:last]) for first, last in self.spans())
        return BatchProgress(self._plan, self._accepted(), tuple(other_verdicts), tuple(self.skipped))

    def _accepted(self) -> bytes:
        """The bitmap of `BatchProgress`, as a binary number whose last digit is the first place: all in C."""
        digits = self.states.translate(_DIGITS)[::-1]
        return int(digits or b"0", 2).to_bytes((len(self.states) + 7) // 8, "little")

    def spans(self) -> Iterator[tuple[int, int]]:
        """First place and end of each ping."""
        return zip(self.starts, [*self.starts[1:], len(self.states)], strict=True)

    def details(self, first: int, last: int) -> tuple[DeviceVerdict, ...]:
        """The places that were not simply accepted."""
        if not self.other_verdicts:
            return ()
        return tuple(
            DeviceVerdict(*self.chosen[index], *self.other_verdicts[index])
            for index in range(first, last)
            if index in self.other_verdicts
        )


def _ping_of(starts: Sequence[int], index: int) -> int:
    low, high = 0, len(starts)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts[middle] <= index else (low, middle)
    return low
