"""Sends and the unit that they belong to: plain bookkeeping, no I/O.

A unit is what came off a stream as one entry: up to 200 pings, or one piece of a ping. Its sends have places,
0 to n-1, which stay the same however often the unit is delivered again (`plan`). When the last place has a
verdict, the unit is settled in Redis in one step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.delivery.provider import ProviderMessage
from gateway.delivery.route import Route
from gateway.queue.consumer import BatchProgress
from gateway.queue.entries import Chunk, Lease
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
_FIRST_TRY: Final = Chunk(Ping())
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

    Other modules read the attributes, and change them through the methods alone.

    Args:
        lease: the stream entry.
        batch_id: of the pings' ids.
        pings: in the order of their places in the batch (a piece: one).
        first_ping_index: place in its batch of the first ping.
        chunk: the chunk or the retry that the entry holds; without it they are tried for the first time, and belong to
            no broadcast. Its attributes are the batch's own: `attempt`, `first_ms`, `lane`, `chunk_index`.
        bulk: they belong to a broadcast, which small pings overtake.
        on_complete: called once, when every place has a verdict.
    """

    __slots__ = (
        "_on_complete",
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
        chunk: Chunk = _FIRST_TRY,
        bulk: bool = False,
    ) -> None:
        self.lease: Final = lease
        self.batch_id: Final = batch_id
        self.pings: Final = pings
        self.first_ping_index: Final = first_ping_index
        self.attempt: Final = chunk.attempt
        self.first_ms: Final = chunk.first_ms
        self.lane: Final = chunk.lane
        self.bulk: Final = bulk
        self.chunk_index: Final = chunk.chunk_index
        self.since_ms: Final = pings[0].accepted_ms if pings else 0
        """Epoch ms at which the pings came through the door; they came together."""
        # What the UUIDs of this unit's requests have in common (see `planner`).
        self.prefix: Final = f"{batch_id[:8]}-{batch_id[8:12]}-{batch_id[12:16]}-{batch_id[16:20]}-".encode()
        self.node: Final = int(batch_id[20:], 16) << 16
        self._on_complete: Final = on_complete
        self.chosen: Final[list[tuple[str, str]]] = []
        """Client id and provider, a place."""
        self.starts: Final[list[int]] = []
        """The first place of each ping."""
        self.skipped: Final[list[dict[str, int]]] = []
        self.states: Final = bytearray()
        self.other_verdicts: Final[dict[int, tuple[VerdictKind, str]]] = {}
        self.postponed: Final[dict[int, Postponed]] = {}
        # One more than the places without a verdict, until `finish_planning`: a send that ends while others are still
        # being planned must not settle the unit.
        self.open = 1
        self.unsaved = False
        """Whether a verdict was added since `begin_save`."""
        self._plan: tuple[tuple[str, ...], ...] | None = None
        """Of `progress`: the places stay as they are once they are saved."""
        self.split: Final[list[int]] = []
        """Pings, by their number in this unit, of which one more than their pieces is counted as still to come."""
        self.lease_lost = False
        """Another consumer took the entry over: nothing more of it is sent or settled here."""

    # -- planning --------------------------------------------------------------------------------------------

    def begin_ping(self, skipped: dict[str, int]) -> None:
        """The places from here on belong to the next ping."""
        self.starts.append(len(self.states))
        self.skipped.append(skipped)

    def mark_split(self, number: int) -> None:
        """This ping, by its number in the unit, is split into chunks (see `split`)."""
        self.split.append(number)

    def add_skipped(self, number: int, skipped: Mapping[str, int]) -> None:
        """Add to the counts, by reason, of what a ping left out."""
        counts = self.skipped[number]
        for reason, count in skipped.items():
            counts[reason] = counts.get(reason, 0) + count

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

    def lose_lease(self) -> None:
        """The entry is another consumer's, or was put aside: nothing more of it is sent or settled here."""
        self.lease_lost = True

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
                self._on_complete(self)

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
            self._on_complete(self)

    def _end(self, index: int, kind: VerdictKind, reason: str) -> None:
        if self.states[index] == OPEN:
            self.other_verdicts[index] = (kind, reason)
            self._close(index, OTHER)
            self.unsaved = True
            if not self.open:
                self._on_complete(self)

    def _close(self, index: int, state: int) -> None:
        if self.states[index] == OPEN:
            self.open -= 1
        self.states[index] = state

    # -- what is written -------------------------------------------------------------------------------------

    def begin_save(self) -> BatchProgress:
        """The verdicts to save now; those that come later make the unit unsaved again."""
        self.unsaved = False
        return self.progress()

    def save_failed(self) -> None:
        """The verdicts of the last `begin_save` are perhaps not in Redis."""
        self.unsaved = True

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


def _ping_of(starts: Sequence[int], index: int) -> int:
    low, high = 0, len(starts)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts[middle] <= index else (low, middle)
    return low
