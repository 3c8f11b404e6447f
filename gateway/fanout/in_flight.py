"""Delivery batches in flight: renews their leases, saves their verdicts and settles finished batches.

This module holds every entry that a worker has read from a stream and not yet settled. A finished batch is settled
immediately. The verdicts of an unfinished batch are saved every `SAVE_S`, which bounds the repeats after a kill.
Writes are repeated until Redis answers; settling and saving are idempotent.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import DeliveryBatch
from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.errors import BAD_DATA, StoreDown
from gateway.fanout.settlement import NO_EVENTS, build_settlement, split_waiters, without_own_keys
from gateway.fanout.unreadable import UnreadableEntries
from gateway.metrics import SETTLEMENT, Metrics
from gateway.queue.consumer import (
    RENEW_S,
    SETTLED,
    TAKEN_OVER,
    Settlement,
    Streams,
)
from gateway.queue.entries import Lease
from gateway.queue.outbox import EventPlan
from gateway.scheduling.background import run_in_background
from gateway.scheduling.scheduler import Scheduler
from gateway.store import keys
from gateway.store.connection import Reply

_log = structlog.get_logger("in_flight")

SAVE_S: Final = 0.04
"""Interval of saving: verdicts are in Redis within this time and a round trip, below the 50 ms that bound repeats
after a kill."""
_RETRY_S: Final = 0.2
"""Pause after a defect of the loop that saves verdicts."""
_QUARANTINE_RETRY_S: Final = 1.0
"""Pause between two attempts to quarantine an entry."""
PINGS_HELD: Final = 40_000
"""Pings in flight of each priority. At about 3 KB each they take 130 MB in the worst case, in which one delivery
of each entry is slow."""


class LocalWaiters(Protocol):
    """The callers of this process that wait for the completion of a ping (`wait=true`)."""

    @property
    def channel(self) -> str:
        """The channel in the `reply_to` of their pings."""
        ...

    def complete(self, ping_id: str, record: bytes) -> None:
        """Report a finished ping with its complete packed record (`receipts.pack_delta`)."""
        ...


class InFlight:
    """The entries and batches of this worker that are not settled yet.

    Args:
        streams: the streams that batches are read from and settled on.
        scheduler: is notified of small pings, so that long work yields; a new one by default.
        local_waiters: is notified of the completion of its own pings without a round trip through Redis; None: all
            callers are notified through Redis.
        metrics: counts quarantined entries; a new one by default.
        unsaved: receives whether verdicts are recorded, for the lanes; a new one by default.
        events: the events that settlements add to the outbox of webhooks; none by default.
        cancelled: the cancelled pings of this worker; none by default.
    """

    def __init__(
        self,
        streams: Streams,
        scheduler: Scheduler | None = None,
        local_waiters: LocalWaiters | None = None,
        metrics: Metrics | None = None,
        unsaved: UnsavedVerdicts | None = None,
        events: EventPlan = NO_EVENTS,
        cancelled: CancelledPings | None = None,
    ) -> None:
        self._streams = streams
        self.events: Final = events
        """The plan passed to the constructor."""
        metrics = Metrics() if metrics is None else metrics
        self._cancelled = CancelledPings(metrics) if cancelled is None else cancelled
        self._unsaved = UnsavedVerdicts() if unsaved is None else unsaved
        self._settling: set[DeliveryBatch] | None = None
        """Batches whose settlement the present pass waits for: those that were finished at its beginning, and those
        that it could not save; None: no pass has begun."""
        self._unwritable: set[tuple[str, str]] = set()
        """Entries whose settlement Redis refuses because of one of their own keys: no pass waits for them."""
        self._unreadable = UnreadableEntries(streams, metrics)
        self._quarantines: set[asyncio.Task[None]] = set()
        self._local_waiters = local_waiters
        self.scheduler = Scheduler() if scheduler is None else scheduler
        """The scheduler passed to the constructor."""
        self._batches: dict[tuple[str, str], DeliveryBatch] = {}
        self._claims: dict[tuple[str, str], Lease] = {}
        self._settled: set[tuple[str, str]] = set()
        self._settled_before: set[tuple[str, str]] = set()
        """Entries settled during the last one or two periods of `RENEW_S`: a reply about the leases of this
        consumer may be older."""
        self._seconds = metrics.stage_seconds(SETTLEMENT, "")
        self._writing = 0
        self._unwritten: deque[tuple[Settlement, int]] = deque()
        """Settlements that Redis has not stored, each with the `steady_ms` of its first attempt."""
        self._retry_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to save verdicts and to renew leases."""
        self._tasks = [
            run_in_background(self._save_loop, "in flight:save", restart_s=_RETRY_S),
            run_in_background(self._renew_loop, "in flight:renew", restart_s=0),
        ]

    async def close(self) -> None:
        """Stop. Verdicts of unfinished batches are saved, and their leases are released for other consumers."""
        for task in (*self._tasks, *self._quarantines):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        with contextlib.suppress(StoreDown):
            await self._save_unsaved()
            await self._streams.release_leases()
        self._unsaved.close()

    # -- entries in flight -----------------------------------------------------------------------------------

    def hold(self, batch: DeliveryBatch) -> None:
        """Hold a batch whose lease was claimed, unless the lease was lost meanwhile."""
        key = batch.lease.stream, batch.lease.entry
        if self._claims.pop(key, None) is None:
            batch.lose_lease()
        else:
            self._batches[key] = batch

    def holds(self, lease: Lease) -> bool:
        """Whether this worker still has a claimed lease that has not become a batch yet."""
        return self._claims.get((lease.stream, lease.entry)) is lease

    def claim(self, leases: Sequence[Lease]) -> list[Lease]:
        """Register entries that were just read, before any of them is planned or split.

        Only `QueueConsumer` calls this, once for each entry that it read; planner and splitters take claimed
        leases.

        Returns:
            The leases that this worker has from now on. An entry can be read twice, by two loops or after a lost
            connection: entries that are in flight, or were settled within the last seconds, are omitted.
        """
        claimed = []
        for lease in leases:
            key = lease.stream, lease.entry
            if (
                key in self._claims
                or key in self._batches
                or key in self._settled
                or key in self._settled_before
            ):
                continue
            if lease.stream == keys.PINGS:
                self.scheduler.small_started()
            self._claims[key] = lease
            claimed.append(lease)
        return claimed

    def release(self, lease: Lease) -> None:
        """Stop working on this entry."""
        self._remove(lease.stream, lease.entry)

    def _remove(self, stream: str, entry: str) -> None:
        batch = self._batches.pop((stream, entry), None)
        other = self._claims.pop((stream, entry), None)
        if stream == keys.PINGS and (batch is not None or other is not None):
            self.scheduler.small_finished()
        self._room.set()

    def _on_lease_lost(self, stream: str, entry: str) -> None:
        """Drop an entry that another consumer took over because its lease expired; that consumer sends the rest."""
        batch = self._batches.get((stream, entry))
        if batch is None and (stream, entry) not in self._claims:
            return  # settled by this worker meanwhile
        if batch is not None and not batch.open:
            return  # being settled
        self._remove(stream, entry)
        if batch is not None:
            batch.lose_lease()
        _log.warning("lease_lost", stream=stream, entry=entry, unsent=batch.open if batch else None)

    def deliveries(self, *, bulk: bool) -> int:
        """Number of deliveries of one priority without a verdict."""
        return sum(batch.open for batch in self._batches.values() if batch.bulk == bulk)

    def pings(self, *, bulk: bool) -> int:
        """Number of pings in batches of one priority, finished or not: the pings of a batch are settled together."""
        return sum(len(batch.pings) for batch in self._batches.values() if batch.bulk == bulk)

    @property
    def empty(self) -> bool:
        """Whether no batch is in flight and all settlements are written."""
        return not self._batches and not self._writing

    async def wait_empty(self, timeout_s: float) -> bool:
        """Wait until no batch is in flight; False if that takes longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.empty:
                    self._room.clear()
                    await self._room.wait()
        return self.empty

    async def wait_for_room(self, *, bulk: bool, deliveries: int) -> None:
        """Wait until there is room.

        The condition is checked again whenever verdicts are saved: a batch with one slow delivery has room for all
        others.
        """
        while not self.has_room(bulk=bulk, deliveries=deliveries):
            self._room.clear()
            await self._room.wait()

    def has_room(self, *, bulk: bool, deliveries: int) -> bool:
        """Whether fewer than `deliveries` of this priority have no verdict, and fewer than `PINGS_HELD` pings are
        held."""
        return self.deliveries(bulk=bulk) < deliveries and self.pings(bulk=bulk) < PINGS_HELD

    # -- settling --------------------------------------------------------------------------------------------

    def on_complete(self, batch: DeliveryBatch) -> None:
        """Settle a batch of which every delivery has a verdict, unless its lease is lost."""
        if batch.lease_lost:
            return
        try:
            if batch.postponed and self._cancelled.ids:
                self._cancelled.end_postponed(batch)
            if batch.trace is not None:
                batch.trace.ended(batch)
            settlement = self._notify_local_waiters(build_settlement(batch, self.events))
        except (
            BAD_DATA
        ) as error:  # the outcomes of other batches, which the caller also has, must not be lost with it
            self._quarantine_in_background(partial(self.quarantine, batch.lease, error))
            return
        self.settle(settlement)

    def _notify_local_waiters(self, settlement: Settlement) -> Settlement:
        """Notify the callers in this process while the settlement is written: the verdicts of the providers are
        final, even if Redis fails. The other waiters stay in the settlement, which notifies them through Redis."""
        local_waiters = self._local_waiters
        if local_waiters is None or not settlement.waiters:
            return settlement
        here, settlement = split_waiters(settlement, local_waiters.channel)
        for waiter in here:
            local_waiters.complete(waiter.ping_id, waiter.record)
        return settlement

    def settle(self, settlement: Settlement) -> None:
        """Write a settlement, repeatedly until Redis has stored it."""
        self._writing += 1
        self._write(settlement, SHARED_CLOCK.steady_ms())

    async def attempt(self, lease: Lease, work: Awaitable[None]) -> StoreDown | None:
        """Await work on one entry; `on_failure` handles an error.

        Returns:
            None if the work is done or the entry was quarantined; otherwise the result of `on_failure`.
        """
        try:
            await work
        except (StoreDown, *BAD_DATA) as error:
            return await self.on_failure(lease, error)
        return None

    async def on_failure(self, lease: Lease, error: Exception) -> StoreDown | None:
        """Quarantine an entry if its data, or one of its own keys, caused the error.

        Returns:
            The error if Redis did not answer or refused temporarily: the entry stays in flight, and the work can
            be repeated.
        """
        if isinstance(error, StoreDown) and not error.of_data:
            return error
        await self.quarantine(lease, error)
        return None

    async def quarantine(self, lease: Lease, error: Exception) -> None:
        """Quarantine an entry that cannot be read, planned or settled, so that it is not lost and blocks nothing.

        The write is repeated until it succeeds, after the first attempt in the background: no other work waits for
        it.
        """
        if (batch := self._batches.get((lease.stream, lease.entry))) is not None:
            batch.lose_lease()  # a later verdict must not settle the batch
        self._writing += 1
        if not await self._try_quarantine(lease, error):
            self._quarantine_in_background(partial(self._retry_quarantine, lease, error))

    def _quarantine_in_background(self, work: Callable[[], Awaitable[None]]) -> None:
        task = run_in_background(work, "quarantine")
        self._quarantines.add(task)
        task.add_done_callback(self._quarantines.discard)

    async def _try_quarantine(self, lease: Lease, error: Exception) -> bool:
        try:
            await self._unreadable.quarantine(lease, error)
        except StoreDown as down:
            _log.debug("quarantine_failed", stream=lease.stream, entry=lease.entry, error=down.message)
            return False
        self._writing -= 1
        self._settled.add((lease.stream, lease.entry))
        self.release(lease)
        return True

    async def _retry_quarantine(self, lease: Lease, error: Exception) -> None:
        while True:
            await asyncio.sleep(_QUARANTINE_RETRY_S)
            if await self._try_quarantine(lease, error):
                return

    def _write(
        self, settlement: Settlement, since_ms: int, *, probe: bool = False, whole: Settlement | None = None
    ) -> None:
        """Write a settlement.

        Args:
            settlement: the settlement.
            since_ms: `steady_ms` of its first attempt.
            probe: whether other settlements wait for the result.
            whole: the complete settlement if this one omits the parts that Redis refused.
        """

        def on_reply(reply: Reply) -> None:
            if isinstance(reply, StoreDown):
                reduced = without_own_keys(settlement) if reply.of_data and whole is None else None
                if reduced is not None:
                    # A key of this entry alone may have another type: retries must not be lost together with the
                    # receipt.
                    self._write(reduced, since_ms, probe=probe, whole=settlement)
                    return
                self._keep_unwritten(whole or settlement, since_ms, reply)
                return
            if whole is not None:
                _log.error(
                    "receipt_write_failed", stream=settlement.lease.stream, entry=settlement.lease.entry
                )
            self._seconds.observe_times(
                (SHARED_CLOCK.steady_ms() - since_ms) / 1000, settlement.lease.pings or 1
            )
            self._writing -= 1
            self._settled.add((settlement.lease.stream, settlement.lease.entry))
            self._unwritable.discard((settlement.lease.stream, settlement.lease.entry))
            self.release(settlement.lease)
            if probe:
                waiting, self._unwritten = self._unwritten, deque()
                for one, first_ms in waiting:
                    self._write(one, first_ms)

        self._streams.settle(settlement, SHARED_CLOCK.steady_ms(), on_reply)

    def _keep_unwritten(self, settlement: Settlement, since_ms: int, error: StoreDown) -> None:
        """Keep a settlement for a retry. Thousands may wait during an outage: one of them at a time probes whether
        Redis is back."""
        if not self._unwritten:
            _log.warning("settlement_retry", stream=settlement.lease.stream, error=error.message)
        self._unwritten.append((settlement, since_ms))
        if error.of_data:
            self._unwritable.add((settlement.lease.stream, settlement.lease.entry))
        if self._retry_timer is None:
            self._retry_timer = self._loop.call_later(_RETRY_S, self._retry_write)

    def _retry_write(self) -> None:
        self._retry_timer = None
        if self._unwritten:
            settlement, since_ms = self._unwritten.popleft()
            self._write(settlement, since_ms, probe=True)

    async def _save_loop(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            self._room.set()
            await self._save_unsaved()
            self._end_pass()

    async def _save_unsaved(self) -> None:
        """Save the verdicts of unfinished batches."""
        unsaved = self._begin_pass()
        try:
            saves = [self._streams.save(batch.lease, batch.begin_save()) for batch in unsaved]
            replies = await asyncio.gather(*saves, return_exceptions=True)
        except BaseException:  # after a cancellation, `close` saves them; after a defect, the next pass
            for batch in unsaved:
                batch.save_failed()
            raise
        for batch, reply in zip(unsaved, replies, strict=True):
            if isinstance(reply, BaseException):
                batch.save_failed()
                if self._settling is not None:  # it may be finished before it can be saved
                    self._settling.add(batch)
            elif reply in (TAKEN_OVER, SETTLED):
                self._on_lease_lost(batch.lease.stream, batch.lease.entry)
        failed = next((reply for reply in replies if isinstance(reply, BaseException)), None)
        if failed is not None:
            raise failed

    def _begin_pass(self) -> list[DeliveryBatch]:
        """Begin to record all verdicts up to now, unless a pass runs already; returns unfinished batches with
        unsaved verdicts."""
        unsaved: list[DeliveryBatch] = []
        settling: list[DeliveryBatch] = []
        for batch in self._batches.values():
            if batch.unsaved:
                (unsaved if batch.open else settling).append(batch)
        if self._settling is None:
            self._settling = set(settling)
            self._unsaved.begin_pass()
        return unsaved

    def _end_pass(self) -> None:
        """The verdicts of unfinished batches are saved: the pass ends when those of finished batches are settled."""
        self._settling = {
            batch
            for batch in self._settling or ()
            if (key := (batch.lease.stream, batch.lease.entry)) not in self._unwritable
            and self._batches.get(key) is batch
            and not batch.open  # else its verdicts are saved by now
        }
        if not self._settling:
            self._settling = None
            self._unsaved.end_pass()

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._renew_held()

    async def _renew_held(self) -> None:
        """Renew the leases of all entries, and forget the entries that were settled before the previous renewal."""
        self._settled_before, self._settled = self._settled, set()
        entries: defaultdict[str, list[str]] = defaultdict(list)
        for stream, entry in (*self._batches, *self._claims):
            entries[stream].append(entry)
        try:
            for stream, held in entries.items():
                for entry in await self._streams.renew_leases(stream, held):
                    self._on_lease_lost(stream, entry)
        except StoreDown as error:
            _log.warning("lease_renewal_failed", error=error.message)
