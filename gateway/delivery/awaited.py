"""The syncs that pings with sources are expected to cause: which devices got such a ping and have not synced since.

The first change of a device's `last_sync` within `AWAIT_S` after the acceptance of a ping counts as the effect of this
ping. Attribution is by time alone: a device that would have synced anyway counts as well. This module does no I/O;
`gateway.fanout.sync_effects` stores the state and the effects.
"""

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gateway.delivery.batch import Delivery
from gateway.metrics import Metrics

AWAIT_S: Final = 900
"""Longest time from the acceptance of a ping to a sync that counts as its effect."""
DEVICES_MAX: Final = 50_000
"""Most devices that one worker waits for, about 0.5 KB each; beyond it, the device that was pinged least recently is
dropped."""
PINGS_MAX: Final = 4
"""Most pings that wait for the sync of one device; beyond it, the oldest is dropped."""


class AwaitedSync(NamedTuple):
    """One ping that waits for the sync of one device.

    Attributes:
        client_id: the device.
        ping_id: the ping.
        accepted_ms: epoch ms of its acceptance, by the shared clock.
        provider: the provider that accepted the delivery.
        app: the app's name in the settings; "" for the default credential.
        bulk: whether the ping is a broadcast, whose receipt has a count alone.
    """

    client_id: str
    ping_id: str
    accepted_ms: int
    provider: str
    app: str
    bulk: bool = False


class Sync(NamedTuple):
    """The effect of a ping on a device: the device synced after `seconds`."""

    awaited: AwaitedSync
    seconds: int


# Equivalent to `AwaitedSync(...)`, without the Python call of a named tuple's constructor.
_awaited: Final = tuple.__new__


class AwaitedSyncs:
    """The devices that a worker waits for, the least recently pinged first.

    Args:
        metrics: count awaited and dropped syncs.
        devices_max: most devices.
    """

    def __init__(self, metrics: Metrics, devices_max: int = DEVICES_MAX) -> None:
        self._metrics = metrics
        self._devices_max = devices_max
        self._devices: OrderedDict[str, list[AwaitedSync]] = OrderedDict()
        self._added: list[AwaitedSync] = []

    def __len__(self) -> int:
        """Number of devices."""
        return len(self._devices)

    def on_accepted(self, provider: str, deliveries: Sequence[Delivery]) -> None:
        """Wait for the devices of those deliveries whose pings have sources. The hot path of such pings."""
        before = len(self._added)
        for delivery in deliveries:
            batch = delivery.batch
            ping = batch.pings[bisect_right(batch.starts, delivery.index) - 1]
            if ping.sources:
                self.add(
                    _awaited(
                        AwaitedSync,
                        (
                            delivery.device.client_id,
                            ping.id,
                            batch.since_ms,
                            provider,
                            delivery.route.app,
                            batch.bulk,
                        ),
                    )
                )
        if len(self._added) > before:
            self._count(self._added[before:])

    def add(self, awaited: AwaitedSync) -> None:
        """Wait for one device."""
        devices = self._devices
        known = devices.get(awaited.client_id)
        if known is None:
            devices[awaited.client_id] = [awaited]
            if len(devices) > self._devices_max:
                self._metrics.sync_dropped.inc(len(devices.popitem(last=False)[1]))
        else:
            known.append(awaited)
            devices.move_to_end(awaited.client_id)
            if len(known) > PINGS_MAX:
                del known[0]
                self._metrics.sync_dropped.inc()
        self._added.append(awaited)

    def take_added(self) -> list[AwaitedSync]:
        """What was added since the last call. Beyond `DEVICES_MAX` the oldest are omitted."""
        added, self._added = self._added, []
        return added[-self._devices_max :]

    def synced(self, client_ids: Iterable[str], now_ms: int) -> list[Sync]:
        """The effects of syncs that happen now; they are awaited no longer."""
        found: list[Sync] = []
        for client_id in client_ids:
            for awaited in self._devices.pop(client_id, ()):
                seconds = max(0, now_ms - awaited.accepted_ms) // 1000
                if seconds <= AWAIT_S:
                    found.append(Sync(awaited, seconds))
        return found

    def synced_at(self, client_id: str, synced_ms: int) -> list[Sync]:
        """The effects of a sync at this time in the past; pings that were accepted later stay awaited."""
        known = self._devices.get(client_id, ())
        before = [one for one in known if one.accepted_ms <= synced_ms]
        if not before:
            return []
        after = [one for one in known if one.accepted_ms > synced_ms]
        if after:
            self._devices[client_id] = after
        else:
            del self._devices[client_id]
        times = ((one, (synced_ms - one.accepted_ms) // 1000) for one in before)
        return [Sync(one, seconds) for one, seconds in times if seconds <= AWAIT_S]

    def forget(self, done: Iterable[tuple[str, str]]) -> None:
        """Await these pings, each as client id and ping id, no longer."""
        for client_id, ping_id in done:
            left = [one for one in self._devices.get(client_id, ()) if one.ping_id != ping_id]
            if left:
                self._devices[client_id] = left
            else:
                self._devices.pop(client_id, None)

    def expire(self, now_ms: int) -> None:
        """End the wait for devices whose newest ping is older than `AWAIT_S`."""
        oldest_ms = now_ms - AWAIT_S * 1000
        devices = self._devices
        while devices:
            client_id = next(iter(devices))
            if devices[client_id][-1].accepted_ms >= oldest_ms:
                return
            del devices[client_id]

    def client_ids(self) -> list[str]:
        """The devices that are awaited."""
        return list(self._devices)

    def _count(self, added: Sequence[AwaitedSync]) -> None:
        for (provider, app), number in Counter((one.provider, one.app) for one in added).items():
            self._metrics.sync_awaited(provider, app).inc(number)
