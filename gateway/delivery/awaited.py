"""The syncs that pings with sources are expected to cause: which devices got such a ping and have not synced since.

The first change of a device's `last_sync` within `AWAIT_S` after the acceptance of a ping counts as the effect of this
ping. Attribution is by time alone: a device that would have synced anyway counts as well. This module does no I/O;
`gateway.fanout.sync_effects` stores the state and the effects.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from gateway.delivery.batch import Delivery
from gateway.delivery.route import Route
from gateway.metrics import Metrics

AWAIT_S: Final = 900
"""Longest time from the acceptance of a ping to a sync that counts as its effect."""
DEVICES_MAX: Final = 50_000
"""Most devices that one worker waits for, about 0.4 KB each; beyond it, those that were pinged earliest are dropped."""
PINGS_MAX: Final = 4
"""Pings that wait for the sync of one device, at least; beyond twice this number, the oldest is dropped."""

AwaitedSync: TypeAlias = tuple[str, str, int, str, str, bool]
"""A ping that waits for the sync of a device: client id, ping id, epoch ms of the ping's acceptance by the shared
clock, provider, the app's name in the settings ("" for the default credential), and whether the ping is a broadcast,
whose receipt has a count alone. No class, since one is made for each delivery."""

Sync: TypeAlias = tuple[AwaitedSync, int]
"""The effect of a ping on a device: the seconds after which the device synced."""

_Devices: TypeAlias = dict[str, AwaitedSync | list[AwaitedSync]]


class AwaitedSyncs:
    """The devices that a worker waits for.

    They are in two tables: the present one, and the one before, which is dropped when the present one is full or old.

    Args:
        metrics: count awaited and dropped syncs.
        devices_max: most devices.
    """

    def __init__(self, metrics: Metrics, devices_max: int = DEVICES_MAX) -> None:
        self._metrics = metrics
        self._table_max = devices_max // 2
        self._devices: _Devices = {}
        self._before: _Devices = {}
        self._since_ms = 0  # beginning of the present table
        self._added: list[AwaitedSync] = []

    def __len__(self) -> int:
        """Number of devices; a device that is in both tables counts twice."""
        return len(self._devices) + len(self._before)

    def on_accepted(self, provider: str, deliveries: Sequence[Delivery]) -> None:
        """Wait for the devices of those deliveries whose pings have sources. The hot path of such pings."""
        number, last = 0, None
        devices, added = self._devices, self._added
        for delivery in deliveries:
            batch = delivery.batch
            ping = batch.pings[bisect_right(batch.starts, delivery.index) - 1]
            if ping.sources:
                route = delivery.route
                if route is not last:
                    self._count(provider, last, number)
                    number, last = 0, route
                number += 1
                client_id = delivery.device.client_id
                awaited = (client_id, ping.id, batch.since_ms, provider, route.app, batch.bulk)
                if client_id in devices:
                    self._add_again(awaited)
                else:
                    devices[client_id] = awaited
                added.append(awaited)
        self._count(provider, last, number)
        if len(devices) >= self._table_max:
            self._turn()

    def add(self, awaited: AwaitedSync) -> None:
        """Wait for one device. The ping is not among `take_added`: the log has it already."""
        if awaited[0] in self._devices:
            self._add_again(awaited)
        else:
            self._devices[awaited[0]] = awaited
            if len(self._devices) >= self._table_max:
                self._turn()

    def take_added(self) -> list[AwaitedSync]:
        """The syncs that are awaited since the last call; of very many, the newest (see `expire`)."""
        added, self._added = self._added, []
        return added

    def synced(self, client_ids: Iterable[str], now_ms: int) -> list[Sync]:
        """The effects of syncs that happen now; they are awaited no longer."""
        found: list[Sync] = []
        devices, before = self._devices, self._before
        for client_id in client_ids:
            known = self._pop(client_id) if client_id in before else devices.pop(client_id, None)
            if known is not None:
                for awaited in known if isinstance(known, list) else (known,):
                    seconds = (now_ms - awaited[2]) // 1000
                    if seconds <= AWAIT_S:
                        found.append((awaited, seconds if seconds > 0 else 0))
        return found

    def synced_at(self, client_id: str, synced_ms: int) -> list[Sync]:
        """The effects of a sync at this time in the past; pings that were accepted later stay awaited."""
        found: list[Sync] = []
        for awaited in self._pop(client_id):
            if awaited[2] > synced_ms:
                self.add(awaited)
            elif (seconds := (synced_ms - awaited[2]) // 1000) <= AWAIT_S:
                found.append((awaited, seconds))
        return found

    def forget(self, done: Iterable[tuple[str, str]]) -> None:
        """Await these pings, each as client id and ping id, no longer."""
        for client_id, ping_id in done:
            for awaited in self._pop(client_id):
                if awaited[1] != ping_id:
                    self.add(awaited)

    def expire(self, now_ms: int) -> None:
        """End the wait for devices whose pings are older than `AWAIT_S`, at the latest after twice that time, and bound
        what `take_added` returns. To be called twice a second."""
        del self._added[: -2 * self._table_max]
        if not 0 <= now_ms - self._since_ms <= AWAIT_S * 1000:  # below 0: the clock was set back
            self._before, self._devices = self._devices, {}
            self._since_ms = now_ms

    def client_ids(self) -> list[str]:
        """The devices that are awaited."""
        return list(self._devices | self._before)

    def _add_again(self, awaited: AwaitedSync) -> None:
        """Wait for a device that another ping waits for."""
        known = self._devices[awaited[0]]
        if not isinstance(known, list):
            self._devices[awaited[0]] = [known, awaited]
            return
        known.append(awaited)
        if len(known) > PINGS_MAX:
            del known[0]
            self._metrics.sync_dropped.inc()

    def _turn(self) -> None:
        """Begin another table, since the present one is full: the syncs of the one before are given up."""
        self._metrics.sync_dropped.inc(
            sum(len(one) if isinstance(one, list) else 1 for one in self._before.values())
        )
        self._before, self._devices = self._devices, {}

    def _pop(self, client_id: str) -> list[AwaitedSync]:
        found: list[AwaitedSync] = []
        for table in (self._before, self._devices):
            known = table.pop(client_id, None)
            if known is not None:
                found += known if isinstance(known, list) else (known,)
        return found

    def _count(self, provider: str, route: Route | None, number: int) -> None:
        if route is not None:
            self._metrics.sync_awaited(provider, route.app).inc(number)
