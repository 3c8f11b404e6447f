"""Consumer of the queue's streams: reads as fast as the deliveries in flight allow, small pings apart from
broadcasts.

Each worker runs three kinds of loops, each with its own blocking connection: for pings and retries, for broadcast
chunks, and for broadcasts to be split. A loop reads only while its share of the deliveries in flight has room, so
memory is bounded and a broadcast never uses the capacity reserved for small pings. While it has room, a worker
leases the entries that its own ingresses append in the same step, so that the readers mostly find entries of other
processes. Further loops resume the entries held before a restart, take over entries of inactive consumers, and
release due retries.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import structlog

from gateway.errors import BAD_DATA, StoreDown
from gateway.fanout.broadcast import BroadcastTasks
from gateway.fanout.cpu_load import CpuLoad
from gateway.fanout.in_flight import PINGS_HELD, InFlight
from gateway.fanout.planner import Planner
from gateway.queue.consumer import FIRST, LEASE_S, Streams
from gateway.queue.entries import Entry, Lease
from gateway.scheduling.background import keep_running
from gateway.store import keys
from gateway.store.connection import ConnectionLost, RedisConnection

_log = structlog.get_logger("consumer")

SMALL_DELIVERIES: Final = 12_000
BULK_DELIVERIES: Final = 4_000
"""Deliveries in flight of each priority, exceeded by at most one plan: about 20 MB."""
SHED_AFTER_S: Final = 0.25
"""Longest wait for room for small pings before lanes that hold more than their share of it must shed their
backlog."""
RETRIED_DELIVERIES: Final = SMALL_DELIVERIES
"""Deliveries of broadcasts in flight above which no retries are read; more than the chunks alone may add."""
TAKEN_DELIVERIES: Final = 3_000
"""Deliveries in flight above which appended entries are left to other gateways: more than a worker delivers in a tenth
of a second."""
TAKEN_SHARE: Final = 0.5
"""CPU share above which a worker that has siblings leaves appended entries to the first reader."""
READ_ENTRIES: Final = 64
"""Entries read at once: an entry holds up to 200 pings, that of a busy ingress about 30, a retry one."""
READ_CHUNKS: Final = 1
PLAN_BYTES: Final = 16 * 1024
"""Bytes of entries that are looked up and planned at once: a hundred pings, or fewer with a thousand users, in
about 5 ms. More would block the event loop for too long."""
BLOCK_MS: Final = 1_000
DUE_S: Final = 0.2
DUE_CHUNKS: Final = 2_000
"""Retries on their stream above which no more are released: workers process about ten thousand per second."""
_RETRY_S: Final = 0.5
_REFUSED_S: Final = 2.0
"""Time after which a refusal by Redis counts as over, since a refused read is retried sooner."""


class Readers:
    """The blocking connections of the three loops."""

    def __init__(self, small: RedisConnection, bulk: RedisConnection, broadcasts: RedisConnection) -> None:
        self.small = small
        self.bulk = bulk
        self.broadcasts = broadcasts

    async def close(self) -> None:
        """Close the connections: an entry delivered to a reader that has stopped would stay leased until the lease
        expires."""
        for connection in (self.small, self.bulk, self.broadcasts):
            await connection.close()


class QueueConsumer:
    """Supplies a worker with entries of the streams.

    Args:
        streams: the consumer side of the streams.
        readers: the blocking connections of the consumer.
        planner: delivers pings and chunks.
        broadcast_tasks: splits broadcasts.
        in_flight: the entries and deliveries in flight.
        siblings: whether other workers on this machine read the same streams.
    """

    def __init__(
        self,
        streams: Streams,
        readers: Readers,
        planner: Planner,
        broadcast_tasks: BroadcastTasks,
        in_flight: InFlight,
        *,
        siblings: bool = False,
    ) -> None:
        self._streams = streams
        self._readers = readers
        self._planner = planner
        self._broadcast_tasks = broadcast_tasks
        self._in_flight = in_flight
        self._siblings = siblings
        self._cpu_load = CpuLoad()
        self._taken: list[Lease] = []
        self._taken_users = 0
        self._taken_pings = 0
        self._taken_event = asyncio.Event()
        self._all_planned = asyncio.Event()
        self._all_planned.set()
        self._resume_needed = asyncio.Event()
        self._resume_needed.set()
        self._ending = False
        self._refused = ""
        self._refused_at = float("-inf")
        self._leases_checked = False
        """Whether all leases were checked for a renewal time in the future of Redis' clock."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the loops."""
        loops: Sequence[tuple[str, Callable[[], Awaitable[None]]]] = (
            ("taken", self._deliver_taken),
            ("small", self._read_small),
            # Two loops, so that one looks users up while the other plans deliveries.
            ("bulk", self._read_bulk),
            ("bulk beside", self._read_bulk),
            ("broadcasts", self._read_broadcasts),
            ("resume", self._resume),
            ("due", self._release_due),
            ("scheduled", self._release_scheduled),
            ("take over", self._take_over),
        )
        self._tasks = [
            asyncio.create_task(self._repeated(step, f"consumer:{name}"), name=f"consumer:{name}")
            for name, step in loops
        ]

    async def close(self, budget_s: float = 0.0) -> None:
        """Stop reading. Entries that this worker took are planned first, as far as the budget allows."""
        self._ending = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                await self._all_planned.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._readers.close()
        await self._broadcast_tasks.close()
        await self._planner.close()

    @property
    def refused(self) -> str | None:
        """The text of Redis' refusal to return entries; None while it returns them."""
        return self._refused if time.monotonic() - self._refused_at < _REFUSED_S else None

    def _on_error(self, error: BaseException) -> None:
        """Note an error of a loop, which starts again."""
        if isinstance(error, ConnectionLost):
            if error.sent:
                self.recover()  # The reply will never arrive.
        elif isinstance(error, StoreDown):
            self._refused, self._refused_at = error.message, time.monotonic()

    # -- interface of the queue (LocalConsumer) --------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the consumer that holds the leases."""
        return self._streams.name

    def has_room(self) -> bool:
        """Whether this worker takes the entries that its own ingresses append."""
        deliveries = self._in_flight.deliveries(bulk=False) + self._taken_users
        pings = self._in_flight.pings(bulk=False) + self._taken_pings
        if self._ending or deliveries >= TAKEN_DELIVERIES or pings >= PINGS_HELD:
            return False
        return not self._siblings or self._cpu_load.share() < TAKEN_SHARE

    def prefetch(self, entry: Entry) -> None:
        """Prefetch the devices of an entry's only ping. For several pings in one entry a further round trip does
        not matter."""
        if len(entry.pings) == 1:
            self._planner.prefetch(entry.pings[0])

    def take(self, lease: Lease) -> None:
        """Deliver an entry that was leased when it was appended."""
        for claimed in self._in_flight.claim((lease,)):
            self._taken.append(claimed)
            self._taken_users += claimed.users
            self._taken_pings += claimed.pings
        self._taken_event.set()
        self._all_planned.clear()

    def recover(self) -> None:
        """Search for entries that are leased to this consumer but missing here."""
        self._resume_needed.set()

    def stop_taking(self) -> None:
        """Leave appended entries to other workers from now on, since this worker is about to end."""
        self._ending = True

    # -- loops -----------------------------------------------------------------------------------------------

    async def _repeated(self, step: Callable[[], Awaitable[None]], name: str) -> None:
        """Repeat a step without end, also after errors."""

        async def repeat() -> None:
            while True:
                await step()

        await keep_running(repeat, name, restart_s=_RETRY_S, on_error=self._on_error)

    async def _read_small(self) -> None:
        await self._wait_for_room(bulk=False)
        # Retries of broadcasts do not use the room of small pings, so they are counted separately.
        has_retry_room = self._in_flight.deliveries(bulk=True) < RETRIED_DELIVERIES
        streams = (keys.PINGS, keys.RETRIES) if has_retry_room else (keys.PINGS,)
        await self._deliver(await self._streams.read(self._readers.small, streams, READ_ENTRIES, BLOCK_MS))

    async def _deliver_taken(self) -> None:
        await self._taken_event.wait()
        self._taken_event.clear()
        leases, self._taken = self._taken, []
        self._taken_users = self._taken_pings = 0
        try:
            await self._deliver_claimed(leases)
        finally:
            if not self._taken:
                self._all_planned.set()

    async def _read_bulk(self) -> None:
        await self._wait_for_room(bulk=True)
        await self._deliver(
            await self._streams.read(self._readers.bulk, (keys.CHUNKS,), READ_CHUNKS, BLOCK_MS)
        )

    async def _read_broadcasts(self) -> None:
        await self._broadcast_tasks.wait_for_room()
        self._split(await self._streams.read(self._readers.broadcasts, (keys.BROADCASTS,), 1, BLOCK_MS))

    async def _resume(self) -> None:
        """Deliver the entries that this consumer held when it ended, or that were leased by a step whose reply was
        lost."""
        await self._resume_needed.wait()
        self._resume_needed.clear()
        try:
            for stream in keys.STREAMS:
                await self._resume_stream(stream)
        except BaseException:
            self._resume_needed.set()
            raise

    async def _resume_stream(self, stream: str) -> None:
        after = "0"
        while leases := await self._streams.resume(stream, after):
            after = leases[-1].entry
            _log.info("entries_resumed", stream=stream, entries=len(leases))
            await self._redeliver(leases)

    async def _take_over(self) -> None:
        """Take over the entries of consumers that no longer renew their leases.

        No consumer can renew its leases while Redis is unavailable. Therefore, after an outage, entries are taken
        over only after a complete lease period. The same applies after a change of Redis' clock, by which Redis
        measures idle times.
        """
        await asyncio.sleep(LEASE_S / 2)
        await self._streams.read_clock()
        if self._streams.reachable_s < LEASE_S:
            self._leases_checked = False
            return
        for stream in keys.STREAMS:
            if not self._leases_checked:
                await self._streams.fix_future_leases(stream)
            start = FIRST
            while True:
                leases, start = await self._streams.take_over(stream, start, READ_ENTRIES)
                if leases:
                    _log.warning("entries_taken_over", stream=stream, entries=len(leases))
                    await self._redeliver(leases)
                if start == FIRST:
                    break
        self._leases_checked = True

    async def _release_due(self) -> None:
        await asyncio.sleep(DUE_S)
        await self._streams.release_due(DUE_CHUNKS)

    async def _release_scheduled(self) -> None:
        await asyncio.sleep(DUE_S)
        await self._streams.release_scheduled()

    async def _redeliver(self, leases: Sequence[Lease]) -> None:
        if leases[0].stream == keys.BROADCASTS:
            self._split(leases)
        else:
            await self._deliver(leases)

    def _split(self, leases: Sequence[Lease]) -> None:
        for lease in self._in_flight.claim(leases):
            self._broadcast_tasks.begin(lease)

    async def _deliver(self, leases: Sequence[Lease]) -> None:
        # Claimed before the first await: an entry that is settled meanwhile must not be delivered again.
        await self._deliver_claimed(self._in_flight.claim(leases))

    async def _deliver_claimed(self, leases: Sequence[Lease]) -> None:
        """Deliver claimed entries in groups.

        A look-up that fails because Redis does not answer is repeated until it succeeds, since no other worker
        reads these entries. After an unexpected error, the entries that are not planned are read again.
        """
        try:
            for part in _plan_groups(leases):
                await self._wait_for_room(bulk=part[0].stream == keys.CHUNKS)
                undone = await self._plan(self._held(part))
                while undone:
                    await asyncio.sleep(_RETRY_S)
                    undone = await self._plan(self._held(undone))
                await asyncio.sleep(0)  # Planning took some ms: let the loop send and serve the ingresses.
        except BaseException:
            for lease in self._held(leases):
                self._in_flight.release(lease)
            self.recover()
            raise

    async def _plan(self, leases: list[Lease]) -> list[Lease]:
        """Plan entries together, and one by one if that fails; an entry that fails alone is quarantined."""
        try:
            return await self._planner.deliver(leases)
        except BAD_DATA as error:
            _log.exception("planning_failed", entries=len(leases))
            left = self._held(leases)
            if len(leases) == 1:
                for lease in left:
                    await self._in_flight.quarantine(lease, error)
                return []
        return [undone for lease in left for undone in await self._plan([lease])]

    async def _wait_for_room(self, *, bulk: bool) -> None:
        """Wait for room. After `SHED_AFTER_S`, lanes that hold more than their share of the small pings' room shed
        backlog."""
        most = BULK_DELIVERIES if bulk else SMALL_DELIVERIES
        if not bulk and not self._in_flight.has_room(bulk=False, deliveries=most):
            try:
                async with asyncio.timeout(SHED_AFTER_S):
                    await self._in_flight.wait_for_room(bulk=False, deliveries=most)
            except TimeoutError:
                self._planner.shed_backlog()
        await self._in_flight.wait_for_room(bulk=bulk, deliveries=most)

    def _held(self, leases: Sequence[Lease]) -> list[Lease]:
        """The leases that are still held after an await."""
        return [lease for lease in leases if self._in_flight.holds(lease)]


def _plan_groups(leases: Sequence[Lease]) -> Iterator[list[Lease]]:
    """Group the entries that are planned together: of one stream or of the two small ones, at most `PLAN_BYTES` or
    one entry."""
    part: list[Lease] = []
    size = 0
    for lease in leases:
        if part and size + len(lease.payload) > PLAN_BYTES:
            yield part
            part, size = [], 0
        part.append(lease)
        size += len(lease.payload)
    if part:
        yield part
