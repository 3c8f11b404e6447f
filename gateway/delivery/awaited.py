"""The syncs that pings with sources are expected to cause: which devices got such a ping and have not synced since.

The first change of a device's `last_sync` within `AWAIT_S` after the acceptance of a ping counts as the effect of this
ping. Attribution is by time alone: a device that would have synced anyway counts as well. This module does no I/O;
`gateway.fanout.sync_effects` stores the state and the effects.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.route import Route
from gateway.metrics import Metrics
from gateway.queue.effects import PingedDevices
from gateway.queue.receipts import split

AWAIT_S: Final = 900
"""Longest time from the acceptance of a ping to a sync that counts as its effect."""
DEVICES_MAX: Final = 50_000
"""Most devices that one worker waits for; beyond it, those that were pinged earliest are dropped."""
BATCHES_MAX: Final = 4
"""Batches whose pings wait for the sync of one device, at least; beyond twice this number, the oldest is dropped."""
GROUP_MAX: Final = 64
"""Most devices of one `PingedDevices`, in which `synced` searches for a device."""
COLLECTED_MAX: Final = 2_000
"""Collected devices after which they are to be taken (`take_added`). All at once, those of half a second at full load
take the event loop some 10 ms, during which no ping is answered."""

AwaitedSync: TypeAlias = tuple[str, str, int, str, str, bool]
"""A ping that waits for the sync of a device: client id, ping id, and from `PingedDevices` since_ms, provider, app and
bulk."""

Sync: TypeAlias = tuple[AwaitedSync, int]
"""The effect of a ping on a device: the seconds after which the device synced."""

_Devices: TypeAlias = dict[str, PingedDevices | list[PingedDevices]]


class AwaitedSyncs:
    """The devices that a worker waits for.

    They are in two tables: the present one, and the previous one, which is dropped when the present one is full or old.
    Accepted deliveries are collected in a list first, and enter the table together when it is needed.

    Args:
        metrics: counts awaited and dropped syncs.
        devices_max: most devices.
    """

    def __init__(self, metrics: Metrics, devices_max: int = DEVICES_MAX) -> None:
        self.many_collected = asyncio.Event()
        """Set while `COLLECTED_MAX` devices, or more, are collected and not in the table."""
        self._metrics = metrics
        self._table_max = devices_max // 2
        self._devices: _Devices = {}
        self._before: _Devices = {}
        self._since_ms = 0  # beginning of the present table
        self._open: dict[tuple[str, Route], PingedDevices] = {}
        """The groups that accepted deliveries are added to, by batch id and route."""
        self._collected: list[PingedDevices] = []
        self._collected_devices = 0
        self._added: list[PingedDevices] = []

    def __len__(self) -> int:
        """Number of devices; a device that is in both tables counts twice."""
        self._enter_collected()
        return len(self._devices) + len(self._before)

    def on_accepted(self, provider: str, deliveries: Sequence[Delivery]) -> None:
        """Wait for the devices of those deliveries whose pings have sources. The hot path of such pings."""
        batch, route, group, added = None, None, None, 0
        for delivery in deliveries:
            if delivery.batch is not batch or delivery.route is not route:
                batch, route, group = delivery.batch, delivery.route, None
            position = bisect_right(batch.starts, delivery.index) - 1
            if batch.pings[position].sources:
                if group is None or len(group.indexes) >= GROUP_MAX:
                    group = self._group(provider, batch, route)
                group.client_ids.append(delivery.device.client_id)
                group.indexes.append(batch.first_ping_index + position)
                added += 1
        self._collected_devices += added
        if self._collected_devices >= COLLECTED_MAX:
            self.many_collected.set()

    def _group(self, provider: str, batch: DeliveryBatch, route: Route) -> PingedDevices:
        """The group to which a delivery of the batch is added."""
        group = self._open.get((batch.batch_id, route))
        if group is None or len(group.indexes) >= GROUP_MAX:
            group = PingedDevices(batch.batch_id, batch.since_ms, provider, route.app, batch.bulk, [], [])
            self._open[batch.batch_id, route] = group
            self._collected.append(group)
        return group

    def add(self, group: PingedDevices) -> None:
        """Wait for devices that are not among `take_added`: the log has them already."""
        devices, dropped = self._devices, 0
        for client_id in group.client_ids:
            known = devices.setdefault(client_id, group)
            if known is group:
                continue
            if not isinstance(known, list):
                devices[client_id] = [known, group]
            elif known[-1] is not group:
                known.append(group)
                if len(known) > BATCHES_MAX:
                    del known[0]
                    dropped += 1
        self._metrics.sync_dropped.inc(dropped)
        if len(devices) >= self._table_max:
            self._begin_table()

    def take_added(self) -> list[PingedDevices]:
        """The devices that are awaited since the last call; of very many, the newest (see `expire`)."""
        self._enter_collected()
        added, self._added = self._added, []
        return added

    def synced(self, client_ids: Iterable[str], now_ms: int) -> list[Sync]:
        """The effects of syncs that happen now; they are awaited no longer."""
        self._enter_collected()
        found: list[Sync] = []
        for client_id in client_ids:
            for awaited in self._pop(client_id):
                seconds = (now_ms - awaited[2]) // 1000
                if seconds <= AWAIT_S:
                    found.append((awaited, seconds if seconds > 0 else 0))
        return found

    def synced_at(self, client_id: str, synced_ms: int) -> list[Sync]:
        """The effects of a sync at this time in the past; pings that were accepted later stay awaited."""
        self._enter_collected()
        found: list[Sync] = []
        for awaited in self._pop(client_id):
            if awaited[2] > synced_ms:
                self._add_one(awaited)
            elif (seconds := (synced_ms - awaited[2]) // 1000) <= AWAIT_S:
                found.append((awaited, seconds))
        return found

    def forget(self, done: Iterable[tuple[str, str]]) -> None:
        """Stop waiting for the syncs of these pings, each given by client id and ping id."""
        for client_id, ping_id in done:
            for awaited in self._pop(client_id):
                if awaited[1] != ping_id:
                    self._add_one(awaited)

    def expire(self, now_ms: int) -> None:
        """End the wait for devices whose pings are older than `AWAIT_S`, at the latest after twice that time, and bound
        what `take_added` returns. To be called at least twice a second."""
        self._enter_collected()
        over = sum(len(group.indexes) for group in self._added) - 2 * self._table_max
        while over > 0:
            over -= len(self._added.pop(0).indexes)
        if not 0 <= now_ms - self._since_ms <= AWAIT_S * 1000:  # below 0: the clock was set back
            self._before, self._devices = self._devices, {}
            self._since_ms = now_ms

    def client_ids(self) -> list[str]:
        """The devices that are awaited."""
        self._enter_collected()
        return list(self._devices | self._before)

    def _enter_collected(self) -> None:
        """Enter the devices of accepted deliveries in the table."""
        if not self._collected:
            return
        self._open.clear()
        for group in self._collected:
            self._metrics.sync_awaited(group.provider, group.app).inc(len(group.indexes))
            self.add(group)
        self._added += self._collected
        self._collected = []
        self._collected_devices = 0
        self.many_collected.clear()

    def _add_one(self, awaited: AwaitedSync) -> None:
        client_id, ping_id, since_ms, provider, app, bulk = awaited
        batch_id, index = split(ping_id)
        self.add(PingedDevices(batch_id, since_ms, provider, app, bulk, [client_id], [index]))

    def _begin_table(self) -> None:
        """Begin another table, since the present one is full. The syncs in the previous one are given up."""
        self._metrics.sync_dropped.inc(
            sum(len(one) if isinstance(one, list) else 1 for one in self._before.values())
        )
        self._before, self._devices = self._devices, {}

    def _pop(self, client_id: str) -> list[AwaitedSync]:
        found: list[AwaitedSync] = []
        for table in (self._before, self._devices):
            known = table.pop(client_id, None)
            if known is not None:
                for group in known if isinstance(known, list) else (known,):
                    found += _awaited(group, client_id)
        return found


def _awaited(group: PingedDevices, client_id: str) -> Iterator[AwaitedSync]:
    """The pings of a group that wait for one device."""
    client_ids, at = group.client_ids, -1
    for _ in range(client_ids.count(client_id)):
        at = client_ids.index(client_id, at + 1)
        ping_id = f"{group.batch_id}{group.indexes[at]:04x}"
        yield client_id, ping_id, group.since_ms, group.provider, group.app, group.bulk
