"""Units in hand: leases kept, verdicts saved, finished units settled.

Everything that a worker has taken off a stream and not yet settled stands here. A unit that is finished is
settled at once; one that is not has its verdicts saved every `SAVE_S`, which is what bounds the repeats after
a kill. Writing is repeated until Redis answers: settling and saving twice is the same as once.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from gateway.clock import SHARED
from gateway.delivery.batch import Unit
from gateway.errors import StoreDown
from gateway.fanout.settlement import settlement
from gateway.fanout.unreadable import UnreadableEntries
from gateway.metrics import Metrics
from gateway.queue.consumer import (
    GONE,
    RENEW_S,
    TAKEN_OVER,
    Settlement,
    Streams,
)
from gateway.queue.entries import Lease
from gateway.scheduling.scheduler import Turns
from gateway.store import keys
from gateway.store.connection import Reply

_log = structlog.get_logger("ledger")

SAVE_S: Final = 0.04
"""Verdicts are in Redis within this and a round trip: under the 50 ms that bound repeats after a kill."""
_AGAIN_S: Final = 0.2
_ASIDE_S: Final = 1.0
"""Between two tries to put an entry aside."""
PINGS_HELD: Final = 40_000
"""Pings in hand of each priority: some 3 KB each, so 130 MB where in each entry one send hangs."""


class Ear(Protocol):
    """The doors of this process that wait for the end of a ping."""

    @property
    def channel(self) -> str:
        """What their pings have in `reply_to`."""
        ...

    def hear(self, ping_id: str, record: bytes) -> None:
        """A ping is over; all that became of it, packed (`receipts.pack_delta`)."""
        ...


class Ledger:
    """What this worker has in hand.

    Args:
        streams: where units come from and are settled.
        turns: is told of small pings, before which long work steps back; of its own unless given.
        ear: hears of the end of its own pings without Redis in between; None: Redis tells all doors.
        metrics: where entries that were put aside are counted; of its own unless given.
    """

    def __init__(
        self,
        streams: Streams,
        turns: Turns | None = None,
        ear: Ear | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._streams = streams
        self._unreadable = UnreadableEntries(streams, Metrics() if metrics is None else metrics)
        self._aside: set[asyncio.Task[None]] = set()
        self._ear = ear
        self.turns = Turns() if turns is None else turns
        """Those that were given."""
        self._units: dict[tuple[str, str], Unit] = {}
        self._others: dict[tuple[str, str], Lease] = {}
        self._over: set[tuple[str, str]] = set()
        self._over_before: set[tuple[str, str]] = set()
        """Settled within the last `RENEW_S` or two: an answer about what this consumer holds may be older."""
        self._writing = 0
        self._unwritten: deque[Settlement] = deque()
        self._again: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to save and to renew leases."""
        self._tasks = [asyncio.create_task(self._save()), asyncio.create_task(self._renew())]

    async def close(self) -> None:
        """Stop; what is unfinished has its verdicts saved and stays in Redis, for others at once."""
        for task in (*self._tasks, *self._aside):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._again is not None:
            self._again.cancel()
        with contextlib.suppress(StoreDown):
            await self._save_dirty()
            await self._streams.release()

    # -- what is in hand -------------------------------------------------------------------------------------

    def hold(self, unit: Unit) -> None:
        """This unit, whose lease was claimed, is being delivered from now on; unless the lease was lost meanwhile."""
        key = unit.lease.stream, unit.lease.entry
        if self._others.pop(key, None) is None:
            unit.lost = True
        else:
            self._units[key] = unit

    def holds(self, lease: Lease) -> bool:
        """Whether a lease that was claimed is still this worker's, and is no unit yet."""
        return self._others.get((lease.stream, lease.entry)) is lease

    def claim(self, leases: Sequence[Lease]) -> list[Lease]:
        """Take entries in hand, though they are no units (yet): they are to be planned, or are broadcasts.

        Left out is what is in hand already, or was until a moment ago: an entry can be read twice, by two loops or
        after a lost connection.
        Whoever holds a lease may claim it again.
        """
        claimed = []
        for lease in leases:
            key = lease.stream, lease.entry
            if key in self._over or key in self._over_before:
                continue
            if key not in self._units and self._others.get(key, lease) is lease:
                if key not in self._others and lease.stream == keys.PINGS:
                    self.turns.small_came()
                self._others[key] = lease
                claimed.append(lease)
        return claimed

    def let_go(self, lease: Lease) -> None:
        """This entry is no longer worked on."""
        self._drop(lease.stream, lease.entry)

    def _drop(self, stream: str, entry: str) -> None:
        unit = self._units.pop((stream, entry), None)
        other = self._others.pop((stream, entry), None)
        if stream == keys.PINGS and (unit is not None or other is not None):
            self.turns.small_went()
        self._room.set()

    def _lose(self, stream: str, entry: str) -> None:
        """Another consumer took this entry over, since this one was silent: what was not sent is its to send."""
        unit = self._units.get((stream, entry))
        if unit is None and (stream, entry) not in self._others:
            return  # this worker has settled it meanwhile
        if unit is not None and not unit.open:
            return  # or is doing so
        self._drop(stream, entry)
        if unit is not None:
            unit.lost = True
        _log.warning("lease_lost", stream=stream, entry=entry, unsent=unit.open if unit else None)

    def sends(self, *, bulk: bool) -> int:
        """Sends without a verdict, of one priority."""
        return sum(unit.open for unit in self._units.values() if unit.bulk == bulk)

    def pings(self, *, bulk: bool) -> int:
        """Pings held by units of one priority, finished or not: what is settled together stays together."""
        return sum(len(unit.pings) for unit in self._units.values() if unit.bulk == bulk)

    @property
    def empty(self) -> bool:
        """Whether nothing is in hand and all is written."""
        return not self._units and not self._writing

    async def emptied(self, timeout_s: float) -> bool:
        """Wait until nothing is in hand; False if that takes longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.empty:
                    self._room.clear()
                    await self._room.wait()
        return self.empty

    async def room(self, *, bulk: bool, sends: int) -> None:
        """Wait until there is room.

        Looked at anew whenever verdicts are saved: a unit of which one send hangs has room for all others.
        """
        while not self.has_room(bulk=bulk, sends=sends):
            self._room.clear()
            await self._room.wait()

    def has_room(self, *, bulk: bool, sends: int) -> bool:
        """Whether fewer than `sends` of this priority are without a verdict, and few enough pings are held."""
        return self.sends(bulk=bulk) < sends and self.pings(bulk=bulk) < PINGS_HELD

    # -- settling --------------------------------------------------------------------------------------------

    def settled(self, unit: Unit) -> None:
        """Every send of the unit has a verdict: take it off its stream, unless it is another's now."""
        if not unit.lost:
            self.settle(self._tell_here(settlement(unit)))

    def _tell_here(self, done: Settlement) -> Settlement:
        """Doors of this process hear what became of their pings while that is written: the providers have said it,
        and no failure of Redis takes it back. The others are left in the settlement, which tells them."""
        ear = self._ear
        if ear is None or not done.waiting:
            return done
        elsewhere = []
        for door in done.waiting:
            if door.channel == ear.channel and door.record:
                ear.hear(door.ping_id, door.record)
            else:
                elsewhere.append(door)
        return done._replace(waiting=elsewhere)

    def settle(self, done: Settlement) -> None:
        """Write a settlement, until Redis has it."""
        self._writing += 1
        self._write(done)

    async def put_aside(self, lease: Lease, error: Exception) -> None:
        """Keep an entry that cannot be read or planned where an operator finds it: it is neither lost nor in the way.

        Repeated until Redis has it, in the background after the first time: nothing else waits for that.
        """
        if (unit := self._units.get((lease.stream, lease.entry))) is not None:
            unit.lost = True  # a verdict that still comes must not settle it
        self._writing += 1
        if not await self._try_to_put_aside(lease, error):
            task = asyncio.create_task(self._keep_putting_aside(lease, error))
            self._aside.add(task)
            task.add_done_callback(self._aside.discard)

    async def _try_to_put_aside(self, lease: Lease, error: Exception) -> bool:
        try:
            await self._unreadable.put_aside(lease, error)
        except StoreDown as down:
            _log.debug("not_put_aside", stream=lease.stream, entry=lease.entry, error=down.message)
            return False
        self._writing -= 1
        self._over.add((lease.stream, lease.entry))
        self.let_go(lease)
        return True

    async def _keep_putting_aside(self, lease: Lease, error: Exception) -> None:
        while True:
            await asyncio.sleep(_ASIDE_S)
            if await self._try_to_put_aside(lease, error):
                return

    def _write(self, done: Settlement, *, probe: bool = False, whole: Settlement | None = None) -> None:
        """Write a settlement; `whole` is given where this one is without what Redis refused of it."""

        def told(reply: Reply) -> None:
            if isinstance(reply, StoreDown) and reply.of_data and whole is None and _has_own_keys(done):
                # A key of this entry alone may be of another type: retries must not be lost with its receipt.
                self._write(done._replace(receipts=(), waiting=(), used=()), probe=probe, whole=done)
                return
            if isinstance(reply, StoreDown):
                self._keep_unwritten(whole or done, reply)
                return
            if whole is not None:
                _log.error("receipt_not_written", stream=done.lease.stream, entry=done.lease.entry)
            self._writing -= 1
            self._over.add((done.lease.stream, done.lease.entry))
            self.let_go(done.lease)
            if probe:
                rest, self._unwritten = self._unwritten, deque()
                for one in rest:
                    self._write(one)

        self._streams.settle(done, SHARED.steady_ms(), told)

    def _keep_unwritten(self, done: Settlement, error: StoreDown) -> None:
        """Thousands may wait while Redis is away: one of them finds out whether it is back, in turn."""
        if not self._unwritten:
            _log.warning("settling_again", stream=done.lease.stream, error=error.message)
        self._unwritten.append(done)
        if self._again is None:
            self._again = self._loop.call_later(_AGAIN_S, self._write_again)

    def _write_again(self) -> None:
        self._again = None
        if self._unwritten:
            self._write(self._unwritten.popleft(), probe=True)

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            self._room.set()
            try:
                await self._save_dirty()
            except StoreDown:
                await asyncio.sleep(_AGAIN_S)

    async def _save_dirty(self) -> None:
        dirty = [unit for unit in self._units.values() if unit.dirty and unit.open]
        for unit in dirty:
            unit.dirty = False
        saves = [self._streams.save(unit.lease, unit.progress()) for unit in dirty]
        try:
            replies = await asyncio.gather(*saves, return_exceptions=True)
        except asyncio.CancelledError:  # `close` saves them
            for unit in dirty:
                unit.dirty = True
            raise
        for unit, reply in zip(dirty, replies, strict=True):
            if isinstance(reply, BaseException):
                unit.dirty = True
            elif reply in (TAKEN_OVER, GONE):
                self._lose(unit.lease.stream, unit.lease.entry)
        failed = next((reply for reply in replies if isinstance(reply, BaseException)), None)
        if failed is not None:
            raise failed

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            self._over_before, self._over = self._over, set()
            entries: defaultdict[str, list[str]] = defaultdict(list)
            for stream, entry in (*self._units, *self._others):
                entries[stream].append(entry)
            try:
                for stream, held in entries.items():
                    for entry in await self._streams.renew(stream, held):
                        self._lose(stream, entry)
            except StoreDown as error:
                _log.warning("leases_not_renewed", error=error.message)


def _has_own_keys(done: Settlement) -> bool:
    return bool(done.receipts or done.waiting or done.used)
