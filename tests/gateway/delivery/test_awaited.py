"""The devices that a worker waits for: bounded, each ping for itself, and no longer than 15 minutes."""

from collections.abc import Sequence
from typing import cast

import pytest

from gateway.delivery.awaited import (
    AWAIT_S,
    BATCHES_MAX,
    COLLECTED_MAX,
    GROUP_MAX,
    AwaitedSync,
    AwaitedSyncs,
)
from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.provider import ProviderMessage
from gateway.delivery.route import Route
from gateway.metrics import Metrics
from gateway.queue.effects import PingedDevices
from gateway.queue.entries import Lease
from gateway.store import keys
from protocols.devices import Device
from protocols.ping.model import Ping

BATCH = "0" * 28
LEASE = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)
ACCEPTED_MS = 1_000


class RouteOfApp:
    """The part of a route that is looked at."""

    def __init__(self, app: str = "") -> None:
        self.app = app


ROUTE = RouteOfApp()


def deliveries(sources: Sequence[tuple[str, ...]], route: RouteOfApp = ROUTE) -> list[Delivery]:
    """One delivery for each ping of a batch; a ping that has none comes first."""
    pings = [
        Ping(id=f"{n:032x}", accepted_ms=ACCEPTED_MS, sources=of) for n, of in enumerate((("x",), *sources))
    ]
    batch = DeliveryBatch(LEASE, BATCH, pings, lambda _: None)
    batch.begin_ping({})
    found = []
    for number in range(1, len(pings)):
        batch.begin_ping({})
        index = batch.add_delivery(f"c{number}", "apns")
        device, message = Device(f"c{number}"), cast("ProviderMessage", None)
        found.append(Delivery(batch, index, device, cast("Route", route), message, b"", b""))
    return found


def devices(*clients: str, ping: int = 0, accepted_ms: int = ACCEPTED_MS) -> PingedDevices:
    """Devices that accepted one ping."""
    return PingedDevices(BATCH, accepted_ms, "apns", "", False, list(clients), [ping] * len(clients))


def awaited(client: str, ping: int = 0, accepted_ms: int = ACCEPTED_MS) -> AwaitedSync:
    return client, f"{BATCH}{ping:04x}", accepted_ms, "apns", "", False


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def syncs(metrics: Metrics) -> AwaitedSyncs:
    return AwaitedSyncs(metrics)


def test_devices_of_pings_with_sources_are_awaited(syncs: AwaitedSyncs, metrics: Metrics) -> None:
    syncs.on_accepted("apns", deliveries([("Product",), (), ("all",)]))
    syncs.on_accepted("apns", deliveries([("Product",)], RouteOfApp("shop")))
    found = syncs.synced(["c1", "c2", "c3"], ACCEPTED_MS + 2_999)
    assert [(one[0], one[1], one[4], seconds) for one, seconds in found] == [
        ("c1", f"{1:032x}", "", 2),
        ("c1", f"{1:032x}", "shop", 2),
        ("c3", f"{3:032x}", "", 2),
    ]
    assert syncs.synced(["c1", "c2", "c3"], ACCEPTED_MS) == []
    assert [(one.client_ids, one.indexes, one.app) for one in syncs.take_added()] == [
        (["c1", "c3"], [1, 3], ""),
        (["c1"], [1], "shop"),
    ]
    assert syncs.take_added() == []
    assert [metrics.sync_awaited("apns", app).value for app in ("", "shop")] == [2, 1]


def test_it_says_when_many_devices_are_collected(syncs: AwaitedSyncs) -> None:
    for _ in range(COLLECTED_MAX):
        syncs.on_accepted("apns", deliveries([()]))
    for _ in range(COLLECTED_MAX - 1):
        syncs.on_accepted("apns", deliveries([("Product",), ()]))
    assert not syncs.many_collected.is_set()
    syncs.on_accepted("apns", deliveries([("Product",)]))
    assert syncs.many_collected.is_set()
    assert sum(len(group.indexes) for group in syncs.take_added()) == COLLECTED_MAX
    assert not syncs.many_collected.is_set()


def test_a_sync_counts_for_15_minutes_and_never_before_its_ping(syncs: AwaitedSyncs) -> None:
    end_ms = ACCEPTED_MS + AWAIT_S * 1000
    syncs.add(devices("c1", "c2", "c3"))
    assert syncs.synced(["c1"], end_ms + 999) == [(awaited("c1"), AWAIT_S)]
    assert syncs.synced(["c2"], end_ms + 1_000) == []
    assert syncs.synced(["c3"], 0) == [(awaited("c3"), 0)]


def test_a_device_awaits_each_ping_of_a_batch(syncs: AwaitedSyncs) -> None:
    syncs.add(PingedDevices(BATCH, ACCEPTED_MS, "apns", "", False, ["c1", "c2", "c1"], [3, 4, 5]))
    assert syncs.synced(["c1"], ACCEPTED_MS) == [(awaited("c1", 3), 0), (awaited("c1", 5), 0)]


def test_the_batches_of_a_device_are_bounded(syncs: AwaitedSyncs, metrics: Metrics) -> None:
    for number in range(BATCHES_MAX + 2):
        syncs.add(devices("c1", ping=number))
    assert [one for one, _ in syncs.synced(["c1"], 2_000)] == [awaited("c1", n) for n in (2, 3, 4, 5)]
    assert metrics.sync_dropped.value == 2


def test_beyond_the_limit_the_devices_pinged_earliest_are_dropped(metrics: Metrics) -> None:
    syncs = AwaitedSyncs(metrics, devices_max=4)
    for number in range(7):
        syncs.add(devices(f"c{number}"))
    assert len(syncs) <= 4
    assert [one[0] for one, _ in syncs.synced([f"c{n}" for n in range(7)], 2_000)] == ["c4", "c5", "c6"]
    assert metrics.sync_dropped.value == 4


def test_a_device_that_is_pinged_again_has_the_effects_of_both_tables(metrics: Metrics) -> None:
    syncs = AwaitedSyncs(metrics, devices_max=4)
    for client, ping in (("c1", 1), ("c2", 2), ("c1", 3)):
        syncs.add(devices(client, ping=ping))
    assert [one for one, _ in syncs.synced(["c1"], 2_000)] == [awaited("c1", 1), awaited("c1", 3)]


def test_old_devices_are_removed(syncs: AwaitedSyncs, metrics: Metrics) -> None:
    now_ms = 10 * AWAIT_S * 1000
    syncs.expire(now_ms)
    syncs.add(devices("c1", accepted_ms=now_ms))
    syncs.expire(now_ms + 1_000 * AWAIT_S)
    assert len(syncs) == 1
    for periods in (1, 2):
        syncs.expire(now_ms + periods * (1_000 * AWAIT_S + 1))
    assert (len(syncs), metrics.sync_dropped.value) == (0, 0)


def test_the_unwritten_devices_are_bounded(metrics: Metrics) -> None:
    syncs = AwaitedSyncs(metrics, devices_max=4)
    for _ in range(3):
        syncs.on_accepted("apns", deliveries([("Product",)] * 3))
        syncs.expire(0)
    assert [one.client_ids for one in syncs.take_added()] == [["c1", "c2", "c3"]]


def test_a_sync_in_the_past_is_the_effect_of_the_pings_before_it(syncs: AwaitedSyncs) -> None:
    before, after = awaited("c1", 1, 1_000), awaited("c1", 2, 9_000)
    syncs.add(devices("c1", ping=1, accepted_ms=1_000))
    syncs.add(devices("c1", ping=2, accepted_ms=9_000))
    assert syncs.synced_at("c1", 500) == []
    assert syncs.synced_at("c1", 4_500) == [(before, 3)]
    assert syncs.synced_at("c1", 4_500) == []
    assert syncs.synced(["c1"], 10_000) == [(after, 1)]


def test_finished_devices_are_removed(syncs: AwaitedSyncs) -> None:
    syncs.add(devices("c1", ping=1))
    syncs.add(devices("c1", ping=2))
    syncs.forget([(client, f"{BATCH}0001") for client in ("c1", "c2")])
    assert syncs.client_ids() == ["c1"]
    assert [one for one, _ in syncs.synced(["c1"], 2_000)] == [awaited("c1", 2)]


def test_a_group_of_devices_is_bounded(syncs: AwaitedSyncs) -> None:
    syncs.on_accepted("apns", deliveries([("Product",)] * (GROUP_MAX + 1)))
    assert [len(one.client_ids) for one in syncs.take_added()] == [GROUP_MAX, 1]


def test_a_clock_that_was_set_back_does_not_prolong_the_wait(syncs: AwaitedSyncs) -> None:
    day_ms = 86_400_000
    syncs.expire(2 * day_ms)  # by the wrong clock
    syncs.add(devices("c1", accepted_ms=2 * day_ms))
    syncs.expire(day_ms)
    syncs.expire(day_ms + AWAIT_S * 1_000 + 1)
    assert syncs.client_ids() == []
