"""Reading the streams: as fast as what is in hand allows, small pings apart from broadcasts.

Three loops a worker, each with a blocking connection of its own: pings and retries; pieces of broadcasts;
broadcasts to be cut. Each reads only while its share of sends in hand has room, so memory is bounded and a
broadcast never takes a small ping's place. What this worker's own doors append it leases in the same step, while
it has room, so that the readers mostly find what others left. Beside them: entries held before a restart, entries
of consumers that fell silent, and the schedule.
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
from gateway.store import keys
from gateway.store.connection import ConnectionLost, RedisConnection

_log = structlog.get_logger("consumer")

SMALL_DELIVERIES: Final = 12_000
BULK_DELIVERIES: Final = 4_000
"""Sends in hand of each priority, and one plan more: some 20 MB."""
SHED_AFTER_S: Final = 0.25
"""How long room for small pings is waited for before lanes that hold more than their share of it are asked for it."""
RETRIED_DELIVERIES: Final = SMALL_DELIVERIES
"""Sends of broadcasts in hand with which no retries are read: above what the pieces alone may bring."""
TAKEN_DELIVERIES: Final = 3_000
"""Sends in hand with which entries are left to other gateways: a tenth of a second's work is no reason to."""
TAKEN_SHARE: Final = 0.5
"""Of a worker that has siblings: busier than this, it leaves entries to whoever reads first."""
READ_ENTRIES: Final = 64
"""Read at once: an entry holds up to 200 pings, a busy door's some 30, a retry's one."""
READ_CHUNKS: Final = 1
PLAN_BYTES: Final = 16 * 1024
"""Planned and looked up at once: a hundred pings, or a thousand users of fewer, in some 5 ms. More would hold up the
loop."""
BLOCK_MS: Final = 1_000
DUE_S: Final = 0.2
DUE_CHUNKS: Final = 2_000
"""Pieces on the retries stream beyond which no more are called: workers take some ten thousand a second."""
_RETRY_S: Final = 0.5
_FAILURE_PAUSE_S: Final = 1.0
_REFUSED_S: Final = 2.0
"""What was refused is tried again sooner: an older refusal is over."""


class Readers:
    """The blocking connections of the three loops."""

    def __init__(self, small: RedisConnection, bulk: RedisConnection, broadcasts: RedisConnection) -> None:
        self.small = small
        self.bulk = bulk
        self.broadcasts = broadcasts

    async def close(self) -> None:
        """End them: an entry that came for a reader that listens no more would wait for its lease to end."""
        for connection in (self.small, self.bulk, self.broadcasts):
            await connection.close()


class QueueConsumer:
    """Feeds a worker from the streams.

    Args:
        streams: the consumer.
        readers: its blocking connections.
        planner: delivers pings and pieces.
        broadcast_tasks: takes broadcasts.
        in_flight: knows what is in hand.
        siblings: other workers read the same streams on this machine.
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
        self._taken_event = asyncio.Event()
        self._all_planned = asyncio.Event()
        self._all_planned.set()
        self._resume_needed = asyncio.Event()
        self._resume_needed.set()
        self._ending = False
        self._refused = ""
        self._refused_at = float("-inf")
        self._leases_checked = False
        """Whether no lease was renewed in the future of Redis' clock."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read."""
        loops: Sequence[tuple[str, Callable[[], Awaitable[None]]]] = (
            ("taken", self._deliver_taken),
            ("small", self._read_small),
            # Two, so that one's look-ups go on while the other's sends are planned.
            ("bulk", self._read_bulk),
            ("bulk beside", self._read_bulk),
            ("broadcasts", self._read_broadcasts),
            ("resume", self._resume),
            ("due", self._release_due),
            ("scheduled", self._release_scheduled),
            ("take over", self._take_over),
        )
        self._tasks = [
            asyncio.create_task(_supervise(name, step, self._failed), name=f"intake:{name}")
            for name, step in loops
        ]

    async def close(self, budget_s: float = 0.0) -> None:
        """Read nothing more; what was taken goes on its way first, within the budget."""
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
        """What Redis says instead of giving entries, in its words; None: it gives them."""
        return self._refused if time.monotonic() - self._refused_at < _REFUSED_S else None

    def _failed(self, error: StoreDown) -> None:
        if not isinstance(error, ConnectionLost):
            self._refused, self._refused_at = error.message, time.monotonic()
        elif error.sent:
            self.recover()  # an answer will never come

    # -- towards the queue (Taker) ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Whose leases these are."""
        return self._streams.name

    def has_room(self) -> bool:
        """Whether this worker takes what its own doors append."""
        deliveries = self._in_flight.deliveries(bulk=False) + sum(lease.users for lease in self._taken)
        pings = self._in_flight.pings(bulk=False) + sum(lease.pings for lease in self._taken)
        if self._ending or deliveries >= TAKEN_DELIVERIES or pings >= PINGS_HELD:
            return False
        return not self._siblings or self._cpu_load.share() < TAKEN_SHARE

    def prefetch(self, entry: Entry) -> None:
        """Look up whom the only ping of an entry is for; where many came together, no round trip more matters."""
        if len(entry.pings) == 1:
            self._planner.prefetch(entry.pings[0])

    def take(self, lease: Lease) -> None:
        """Deliver an entry that was leased when it was appended."""
        self._taken += self._in_flight.claim((lease,))
        self._taken_event.set()
        self._all_planned.clear()

    def recover(self) -> None:
        """Look for what is leased to this consumer without its knowing."""
        self._resume_needed.set()

    def stop_taking(self) -> None:
        """From now on others shall read what the doors append: this worker is about to end."""
        self._ending = True

    # -- loops -----------------------------------------------------------------------------------------------

    # Each step is repeated for ever by `_repeat`, which also waits while Redis is away, and `_supervise`.

    async def _read_small(self) -> None:
        await self._wait_for_room(bulk=False)
        # What comes back of broadcasts takes no small ping's room, so it is counted for itself.
        has_retry_room = self._in_flight.deliveries(bulk=True) < RETRIED_DELIVERIES
        streams = (keys.PINGS, keys.RETRIES) if has_retry_room else (keys.PINGS,)
        await self._deliver(await self._streams.read(self._readers.small, streams, READ_ENTRIES, BLOCK_MS))

    async def _deliver_taken(self) -> None:
        await self._taken_event.wait()
        self._taken_event.clear()
        leases, self._taken = self._taken, []
        await self._deliver_claimed(leases)
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
        """What this consumer held when it ended, or was leased by a step whose reply was lost."""
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
        """What consumers held that renew no more.

        While Redis itself was silent none of them could: who has lost it judges nobody before a whole lease is over.
        The same holds after Redis' clock was set, since it measures silence by that clock.
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
        # Claimed before anything is waited for: what is settled meanwhile must not be delivered once more.
        await self._deliver_claimed(self._in_flight.claim(leases))

    async def _deliver_claimed(self, leases: Sequence[Lease]) -> None:
        """Deliver claimed entries, some at a time.

        A look-up that fails because Redis does not answer is repeated until it succeeds: no other worker reads these
        entries.
        """
        for part in _plan_groups(leases):
            await self._wait_for_room(bulk=part[0].stream == keys.CHUNKS)
            undone = await self._plan(self._held(part))
            while undone:
                await asyncio.sleep(_RETRY_S)
                undone = await self._plan(self._held(undone))
            await asyncio.sleep(0)  # planning took some ms: now the loop sends, and serves the doors

    async def _plan(self, leases: list[Lease]) -> list[Lease]:
        """Plan entries together, and one by one where that fails: what fails alone is put aside."""
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
        """Wait for room. Small pings wait for no lane that would keep more than its share of theirs."""
        most = BULK_DELIVERIES if bulk else SMALL_DELIVERIES
        if not bulk and not self._in_flight.has_room(bulk=False, deliveries=most):
            try:
                async with asyncio.timeout(SHED_AFTER_S):
                    await self._in_flight.wait_for_room(bulk=False, deliveries=most)
            except TimeoutError:
                self._planner.shed_backlog()
        await self._in_flight.wait_for_room(bulk=bulk, deliveries=most)

    def _held(self, leases: Sequence[Lease]) -> list[Lease]:
        """Those that were not lost while something was waited for."""
        return [lease for lease in leases if self._in_flight.holds(lease)]


def _plan_groups(leases: Sequence[Lease]) -> Iterator[list[Lease]]:
    """What is planned together: entries of one stream or of the small two, of at most `PLAN_BYTES` or one."""
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


async def _repeat(
    name: str, step: Callable[[], Awaitable[None]], failed: Callable[[StoreDown], None]
) -> None:
    """Repeat a step for ever; Redis being away is waited for, and `failed` hears of it."""
    while True:
        try:
            await step()
        except StoreDown as error:
            failed(error)
            _log.debug("redis_unavailable", loop=name, error=error.message)
            await asyncio.sleep(_RETRY_S)


async def _supervise(
    name: str, step: Callable[[], Awaitable[None]], failed: Callable[[StoreDown], None]
) -> None:
    """Begin anew after a defect of ours: a worker that reads no more would look alive."""
    while True:
        (error,) = await asyncio.gather(_repeat(name, step, failed), return_exceptions=True)
        _log.error("consumer_loop_failed", loop=name, exc_info=error)
        await asyncio.sleep(_FAILURE_PAUSE_S)
