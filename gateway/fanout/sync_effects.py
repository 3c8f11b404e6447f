"""The effect of pings: records that devices synced after a ping with sources, in metrics and receipts.

Redis reports each change of a device's `last_sync` to every worker (`gateway.registry.invalidation`). The worker that
delivered the ping waits for the device (`gateway.delivery.awaited`), so one worker counts an effect. A log in Redis has
the awaited devices within `FLUSH_S`: a restarted worker continues to wait for them. Changes that no invalidation
reported, during a restart or while the connection was lost, are found by reading `last_sync` of all awaited devices;
such an effect has the time that RhoConnect wrote there.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.awaited import AWAIT_S, DEVICES_MAX, AwaitedSyncs, Sync
from gateway.errors import StoreDown
from gateway.metrics import Metrics
from gateway.queue.effects import SYNCS_MAX, AwaitedLogEntry, EffectStore
from gateway.registry.registry import RegistryChanges
from gateway.registry.token_marks import synced_ms
from gateway.registry.user_devices import SYNC, sync_name
from gateway.scheduling.background import run_in_background
from gateway.scheduling.scheduler import slices
from gateway.store import keys
from gateway.store.connection import RedisConnection

_log = structlog.get_logger("sync_effects")

FLUSH_S: Final = 0.5
"""Longest interval of the writes: a kill of the worker loses the awaited devices of the pings in this interval."""
_SUFFIX: Final = len(sync_name(""))


class _Write(NamedTuple):
    """A write of effects, repeated until Redis has stored it."""

    syncs: Sequence[Sync]
    entry: AwaitedLogEntry
    drop: int


class SyncEffects:
    """Waits for the syncs of devices, and records them.

    Args:
        store: receipts and log of this worker.
        look_ups: connection to RhoConnect's Redis.
        metrics: receive the effects.
    """

    def __init__(self, store: EffectStore, look_ups: RedisConnection, metrics: Metrics) -> None:
        self.awaited = AwaitedSyncs(metrics)
        self._store = store
        self._look_ups = look_ups
        self._metrics = metrics
        self._found: deque[Sync] = deque()
        self._unwritten: deque[_Write] = deque()
        self._entries: deque[tuple[int, int]] = deque()
        """Time and number of devices of each entry of the log in Redis."""
        self._logged_devices = 0
        """Number of devices of all these entries."""
        self._stale = 0
        """Number of the oldest entries of the log that are not needed any longer, and not removed yet."""
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the log that an earlier process of this worker left, and start to write."""
        try:
            entries = await self._store.awaited_log()
        except StoreDown as error:
            _log.warning("awaited_syncs_read_failed", error=error.message)
            entries = []
        for entry in entries:
            for group in entry.added:
                self.awaited.add(group)
            self.awaited.forget(entry.done)
            self._stale += self._keep(entry)
        self.awaited.expire(SHARED_CLOCK.now_ms())
        self._task = run_in_background(
            self._flush_loop, "sync effects", restart_s=FLUSH_S, on_error=self._on_error
        )

    async def close(self) -> None:
        """Write the last effects, and stop."""
        for task in (self._task, self._reading):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        with contextlib.suppress(StoreDown):
            await self._flush()

    # -- changes of devices ----------------------------------------------------------------------------------

    def on_changes(self, changes: RegistryChanges) -> None:
        """Record the syncs among these changes. A client of which another key changed at the same time was registered
        or deleted."""
        if len(self.awaited):
            clients = [name[:-_SUFFIX] for name in changes.syncs]
            if changes.written:
                clients = [client for client in clients if client not in changes.written]
            self._found += self.awaited.synced(clients, SHARED_CLOCK.now_ms())

    def on_tracked(self) -> None:
        """Find the syncs that were not reported: from now on, Redis reports all of them."""
        if self._reading is not None:
            self._reading.cancel()
        self._reading = run_in_background(
            partial(self._read_syncs, self.awaited.client_ids()), "missed syncs"
        )

    async def _read_syncs(self, clients: Sequence[str]) -> None:
        for part in slices(clients):
            await self._read_part(part)

    async def _read_part(self, clients: Sequence[str]) -> None:
        values = await self._look_ups.call("MGET", *(keys.client(client, SYNC) for client in clients))
        now_ms = SHARED_CLOCK.now_ms()
        for client, value in zip(clients, values, strict=True):
            if (at_ms := synced_ms(value)) > 0:
                self._found += self.awaited.synced_at(client, min(at_ms, now_ms))

    # -- writing ---------------------------------------------------------------------------------------------

    async def _flush_loop(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self.awaited.many_collected.wait()
            await self._flush()

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, StoreDown):
            self._metrics.store_errors("sync_effects").inc()

    async def _flush(self) -> None:
        """Write what changed since the last time.

        Raises:
            StoreDown: Redis did not answer; the next call writes the rest.
        """
        self.awaited.expire(SHARED_CLOCK.now_ms())
        while len(self._found) > DEVICES_MAX:  # Redis has not accepted the writes for a long time
            self._found.popleft()
            self._metrics.sync_dropped.inc()
        if not self._unwritten:
            self._prepare()
        while self._unwritten:
            await self._write(self._unwritten[0])
            self._unwritten.popleft()

    async def _write(self, write: _Write) -> None:
        recorded = [
            (ping_id, "" if bulk else client_id, seconds)
            for (client_id, ping_id, _, _, _, bulk), seconds in write.syncs
        ]
        try:
            first = await self._store.record(recorded, write.entry, write.drop)
        except StoreDown as error:
            if not error.of_data:
                raise
            _log.error("sync_write_failed", error=error.message)
            first = [True] * len(recorded)
        self._count(sync for sync, is_first in zip(write.syncs, first, strict=True) if is_first)

    def _prepare(self) -> None:
        """Make the writes of the changes up to now, each with its part of the syncs."""
        added = self.awaited.take_added()
        while added or self._found:
            syncs = list(islice(self._found, SYNCS_MAX))
            for _ in syncs:
                self._found.popleft()
            self._number += 1
            done = tuple([awaited[:2] for awaited, _ in syncs])
            entry = AwaitedLogEntry(self._number, SHARED_CLOCK.now_ms(), tuple(added), done)
            added = []
            drop, self._stale = self._keep(entry) + self._stale, 0
            self._unwritten.append(_Write(syncs, entry, drop))

    def _keep(self, entry: AwaitedLogEntry) -> int:
        """Note a new entry of the log; returns how many of the oldest are not needed any longer."""
        devices = sum(len(group.indexes) for group in entry.added)
        self._entries.append((entry.at_ms, devices))
        self._logged_devices += devices
        drop = 0
        over_ms = entry.at_ms - AWAIT_S * 1000
        while self._entries[0][0] < over_ms or self._logged_devices - self._entries[0][1] >= DEVICES_MAX:
            self._logged_devices -= self._entries.popleft()[1]
            drop += 1
        return drop

    def _count(self, syncs: Iterable[Sync]) -> None:
        by_app: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for (_, _, _, provider, app, _), seconds in syncs:
            by_app[provider, app].append(seconds)
        for labels, times in by_app.items():
            self._metrics.sync_after_ping_seconds(*labels).observe_many(times)
