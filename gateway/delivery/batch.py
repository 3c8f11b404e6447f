"""Deliveries and the batch that they belong to. No I/O.

A delivery batch is the content of one stream entry: up to 200 pings, or one chunk of a ping. Its deliveries have
the indexes 0 to n-1, which stay the same if the batch is delivered again (`BatchProgress.plan`). When every index has
a verdict, the batch is settled in Redis in one step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple, Protocol

import msgspec

from gateway.delivery.provider import ProviderMessage
from gateway.delivery.route import Route
from gateway.queue.consumer import BatchProgress
from gateway.queue.entries import Chunk, Lease
from protocols.devices import Device
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind


class Postponed(NamedTuple):
    """A delivery that leaves its batch and is retried. `due_ms` is by the process's steady clock."""

    due_ms: int
    attempt: int
    parked_in: str


OPEN: Final = 0
ACCEPTED: Final = 1
OTHER: Final = 2
_FIRST_TRY: Final = Chunk(Ping())
_NONE: Final[AbstractSet[int]] = frozenset()
_DIGITS: Final = bytes(ord("1") if state == ACCEPTED else ord("0") for state in range(256))


class Delivery(msgspec.Struct, eq=False, gc=False):
    """One delivery: one ping to one device.

    Thousands wait at once. They are not tracked by the cycle collector, whose visits would cost more than their
    creation: a lane that ends gives all of its deliveries away, so none stays in a cycle.

    Attributes:
        batch, index: the batch and the index that get the verdict.
        device: the recipient device.
        route: the route to the device's app.
        message: the ping encoded for the devices of this app.
        path: the request's path, validated.
        request_id: the id of the request, the same for every attempt (APNs: apns-id); b"" if the provider has no such
            id.
        unprocessed: number of times that a connection returned the delivery unprocessed.
        reauthorized: whether the delivery was tried again with a new provider token.
    """

    batch: "DeliveryBatch"
    index: int
    device: Device
    route: Route
    message: ProviderMessage
    path: bytes
    request_id: bytes
    unprocessed: int = 0
    reauthorized: bool = False


class Trace(Protocol):
    """Records the steps of a batch (`gateway.tracing`)."""

    def planned(self, batch: "DeliveryBatch") -> None:
        """Record that the deliveries of the batch are offered to the lanes."""

    def ended(self, batch: "DeliveryBatch") -> None:
        """Record that each delivery of the batch has a verdict."""


class DeliveryBatch:
    """Deliveries that are settled together.

    Other modules read the attributes, and change them through the methods alone.

    Args:
        lease: the lease of the stream entry.
        batch_id: the batch id in the pings' ids.
        pings: the pings in the order of their indexes in the batch (a chunk: one).
        first_ping_index: index of the first ping in its original batch.
        chunk: the chunk or the retry that the entry holds; None: the deliveries are first attempts, and belong to
            no broadcast. Its values become attributes of the batch: `attempt`, `first_ms`, `lane`, `chunk_index`.
        bulk: whether the deliveries belong to a broadcast, which small pings overtake.
        on_complete: called once, when every index has a verdict.
    """

    __slots__ = (
        "_on_complete",
        "_plan",
        "attempt",
        "batch_id",
        "bulk",
        "chosen",
        "chunk_index",
        "dead",
        "first_ms",
        "first_ping_index",
        "lane",
        "lease",
        "lease_lost",
        "node",
        "open",
        "other_verdicts",
        "pings",
        "planned_ms",
        "postponed",
        "prefix",
        "since_ms",
        "skipped",
        "split",
        "starts",
        "states",
        "trace",
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
        """Epoch ms at which the pings were accepted; all pings of a batch were accepted together."""
        # The common prefix of the UUIDs of this batch's requests (see `BatchPlan.request_id`).
        self.prefix: Final = f"{batch_id[:8]}-{batch_id[8:12]}-{batch_id[12:16]}-{batch_id[16:20]}-".encode()
        self.node: Final = int(batch_id[20:], 16) << 16
        self.planned_ms = 0
        """Time at which the lanes get the deliveries, by the shared clock; 0: they are still being planned."""
        self._on_complete: Final = on_complete
        self.chosen: Final[list[tuple[str, str]]] = []
        """Client id and provider of each index."""
        self.starts: Final[list[int]] = []
        """The first index of each ping."""
        self.skipped: Final[list[dict[str, int]]] = []
        self.states: Final = bytearray()
        self.other_verdicts: Final[dict[int, tuple[VerdictKind, str]]] = {}
        self.postponed: Final[dict[int, Postponed]] = {}
        self.dead: AbstractSet[int] = _NONE
        """Indexes whose push token the provider called dead."""
        # One more than the indexes without a verdict, until `finish_planning`: a delivery that ends while others
        # are still being planned must not settle the batch.
        self.open = 1
        self.unsaved = False
        """Whether a verdict was added since `begin_save`."""
        self._plan: tuple[tuple[str, ...], ...] | None = None
        """The plan part of `progress`: the indexes do not change once they are saved."""
        self.split: Final[list[int]] = []
        """Pings, by their number in this batch, for which one more than their chunks is counted as open."""
        self.trace: Trace | None = None
        """Records the steps of the batch if one of its pings has a trace."""
        self.lease_lost = False
        """Whether another consumer took the entry over: no delivery of it is sent or settled here any longer."""

    # -- planning --------------------------------------------------------------------------------------------

    def attach_trace(self, trace: Trace) -> None:
        """Have the steps of the batch recorded."""
        self.trace = trace

    def begin_ping(self, skipped: dict[str, int]) -> None:
        """Start the next ping; deliveries added from now on belong to it."""
        self.starts.append(len(self.states))
        self.skipped.append(skipped)

    def mark_split(self, number: int) -> None:
        """Mark a ping, by its number in the batch, as split into chunks (see `split`)."""
        self.split.append(number)

    def add_skipped(self, number: int, skipped: Mapping[str, int]) -> None:
        """Add to the number of omitted devices, by reason, of a ping."""
        counts = self.skipped[number]
        for reason, count in skipped.items():
            counts[reason] = counts.get(reason, 0) + count

    def add_delivery(self, client_id: str, provider: str) -> int:
        """Add a delivery without a verdict; returns its index."""
        index = len(self.states)
        self.states.append(OPEN)
        self.chosen.append((client_id, provider))
        self.open += 1
        return index

    def mark_dead(self, index: int) -> None:
        """Record that the provider called the push token of this index dead."""
        self.dead = self.dead | {index}

    def restore(self, progress: BatchProgress) -> None:
        """Restore the verdicts of an earlier delivery of the same plan."""
        for index in range(len(self.states)):
            if progress.accepted[index >> 3] >> (index & 7) & 1:
                self._close(index, ACCEPTED)
                # the device has gone since, but the ping reached it
                self.other_verdicts.pop(index, None)
        for index, kind, reason in progress.other_verdicts:
            self._close(index, OTHER)
            self.other_verdicts[index] = (VerdictKind(kind), reason)
        if progress.dead:
            self.dead = frozenset(progress.dead)

    def lose_lease(self) -> None:
        """Mark the entry as taken over or quarantined: no delivery of it is sent or settled here any longer."""
        self.lease_lost = True

    def ping_of(self, index: int) -> int:
        """The number of the ping, within this batch, that an index belongs to."""
        return _ping_of(self.starts, index)

    # -- verdicts --------------------------------------------------------------------------------------------

    def accept(self, index: int) -> None:
        """Record that the provider accepted a delivery. The hot path."""
        if self.states[index] == OPEN:
            self.states[index] = ACCEPTED
            self.unsaved = True
            self.open -= 1
            if not self.open:
                self._on_complete(self)

    def reject(self, index: int, reason: str) -> None:
        """Record a final verdict other than acceptance."""
        self._end(index, VerdictKind.REJECTED, reason)

    def postpone(self, index: int, verdict: Verdict, later: Postponed) -> None:
        """Record that a delivery leaves the batch and is retried."""
        if self.states[index] == OPEN:
            self.postponed[index] = later
            self._end(index, verdict.kind, verdict.reason)

    def begin_delivery(self, now_ms: int) -> None:
        """Record that the deliveries that are planned go to their lanes."""
        self.planned_ms = now_ms

    def end_postponed(self, index: int, reason: str) -> None:
        """Replace the retry of a delivery by a final verdict other than acceptance."""
        if self.postponed.pop(index, None) is not None:
            self.other_verdicts[index] = (VerdictKind.REJECTED, reason)

    def finish_planning(self) -> None:
        """Finish the planning. A batch without open deliveries is settled at once."""
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

    # -- stored form -----------------------------------------------------------------------------------------

    def begin_save(self) -> BatchProgress:
        """The verdicts to save now; later verdicts make the batch unsaved again."""
        self.unsaved = False
        return self.progress()

    def save_failed(self) -> None:
        """Record that the verdicts of the last `begin_save` may not be in Redis."""
        self.unsaved = True

    def progress(self) -> BatchProgress:
        """The verdicts so far. Postponed deliveries count as open: only settling puts them on the schedule."""
        other_verdicts = [
            (index, int(kind), why)
            for index, (kind, why) in self.other_verdicts.items()
            if index not in self.postponed
        ]
        if self._plan is None:
            clients = [client for client, _ in self.chosen]
            self._plan = tuple(tuple(clients[first:last]) for first, last in self.spans())
        return BatchProgress(
            self._plan, self._accepted(), tuple(other_verdicts), tuple(self.skipped), tuple(self.dead)
        )

    def _accepted(self) -> bytes:
        """The bitmap of `BatchProgress`, as a binary number whose last digit is the first index; computed in C."""
        digits = self.states.translate(_DIGITS)[::-1]
        return int(digits or b"0", 2).to_bytes((len(self.states) + 7) // 8, "little")

    def spans(self) -> Iterator[tuple[int, int]]:
        """First index and end of each ping."""
        return zip(self.starts, [*self.starts[1:], len(self.states)], strict=True)

    def span_of(self, number: int) -> tuple[int, int]:
        """First index and end of one ping."""
        starts = self.starts
        return starts[number], starts[number + 1] if number + 1 < len(starts) else len(self.states)


def _ping_of(starts: Sequence[int], index: int) -> int:
    low, high = 0, len(starts)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts[middle] <= index else (low, middle)
    return low
