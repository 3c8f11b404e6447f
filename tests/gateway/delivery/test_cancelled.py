"""The cancelled pings of a worker: which deliveries belong to them, and their verdicts."""

from typing import Any, cast

import pytest

from gateway.delivery.batch import Delivery, DeliveryBatch, Postponed
from gateway.delivery.cancelled import CancelledPings
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.store import keys
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind

IDS = ("0" * 32, "1" * 32)
REJECTED = (VerdictKind.REJECTED, "cancelled")


@pytest.fixture
def batch() -> DeliveryBatch:
    """Two pings with two deliveries each."""
    made = DeliveryBatch(
        Lease(keys.PINGS, "1-0", b"", 2, 10, redelivered=False),
        "0" * 28,
        [Ping(id=ping_id) for ping_id in IDS],
        lambda _: None,
    )
    for _ in IDS:
        made.begin_ping({})
        for client in ("a", "b"):
            made.add_delivery(client, "apns")
    return made


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def cancelled(metrics: Metrics) -> CancelledPings:
    made = CancelledPings(metrics)
    made.ids = frozenset(IDS[1:])
    return made


def deliveries(batch: DeliveryBatch) -> list[Delivery]:
    nothing = cast("Any", None)
    return [Delivery(batch, index, nothing, nothing, nothing, b"", b"") for index in range(4)]


def counted(metrics: Metrics) -> str:
    return metrics.exposition().decode()


def test_deliveries_of_cancelled_pings_are_ended_and_the_others_returned(
    batch: DeliveryBatch, cancelled: CancelledPings, metrics: Metrics
) -> None:
    assert [one.index for one in cancelled.end_own(deliveries(batch))] == [0, 1]
    assert batch.other_verdicts == {2: REJECTED, 3: REJECTED}
    assert 'rhopush_devices_skipped_total{reason="cancelled"} 2.0' in counted(metrics)


def test_retries_of_cancelled_pings_are_not_scheduled(
    batch: DeliveryBatch, cancelled: CancelledPings, metrics: Metrics
) -> None:
    later = Verdict(VerdictKind.LATER, "busy")
    for index in (1, 2):
        batch.postpone(index, later, Postponed(5, 1, ""))
    cancelled.end_postponed(batch)
    assert list(batch.postponed) == [1]
    assert batch.other_verdicts == {1: (VerdictKind.LATER, "busy"), 2: REJECTED}
    assert 'rhopush_devices_skipped_total{reason="cancelled"} 1.0' in counted(metrics)


def test_nothing_is_counted_where_nothing_is_cancelled(batch: DeliveryBatch, metrics: Metrics) -> None:
    cancelled = CancelledPings(metrics)
    assert len(cancelled.end_own(deliveries(batch))) == 4
    cancelled.end_postponed(batch)
    assert 'reason="cancelled"' not in counted(metrics)
