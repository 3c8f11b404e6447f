"""A delivery batch: indexes, verdicts, progress and resuming."""

import pytest

from gateway.delivery.batch import DeliveryBatch, Postponed
from gateway.queue.entries import Lease
from gateway.store import keys
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind

LEASE = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)
LATER = Verdict(VerdictKind.LATER, "ServiceUnavailable")
SOON = Postponed(2000, 1, "")


class Settled(list[DeliveryBatch]):
    """Remembers which units were finished, and how often."""

    def batch(self, *sizes: int) -> DeliveryBatch:
        """A unit with a ping of so many devices for each size, fully planned."""
        pings = [Ping(id=f"{number:032x}") for number in range(len(sizes))]
        batch = DeliveryBatch(LEASE, "0" * 28, pings, self.append)
        for number, size in enumerate(sizes):
            batch.begin_ping({})
            for device in range(size):
                batch.add_delivery(f"c{number}.{device}", "apns")
        return batch


@pytest.fixture
def settled() -> Settled:
    return Settled()


def test_a_batch_is_finished_by_its_last_verdict(settled: Settled) -> None:
    batch = settled.batch(3)
    batch.finish_planning()
    batch.accept(0)
    batch.reject(2, "Unregistered")
    assert (settled, batch.open) == ([], 1)
    batch.postpone(1, LATER, SOON)
    assert settled == [batch]


def test_a_verdict_during_planning_finishes_nothing(settled: Settled) -> None:
    batch = settled.batch(1)
    batch.reject(0, "no_credential")
    assert settled == []
    batch.finish_planning()
    assert settled == [batch]


def test_a_batch_without_deliveries_is_finished_immediately(settled: Settled) -> None:
    batch = settled.batch(0, 0)
    batch.finish_planning()
    assert settled == [batch]


def test_the_first_verdict_of_a_delivery_counts(settled: Settled) -> None:
    batch = settled.batch(2)
    batch.finish_planning()
    batch.accept(0)
    batch.reject(0, "late")
    batch.postpone(0, LATER, SOON)
    batch.accept(0)
    assert (batch.open, settled) == (1, [])
    assert batch.other_verdicts == {}


def test_progress_lists_deliveries_that_need_no_repeat(settled: Settled) -> None:
    batch = settled.batch(2, 0, 9)
    batch.finish_planning()
    for place in (0, 3, 10):
        batch.accept(place)
    batch.reject(1, "Unregistered")
    batch.postpone(2, LATER, SOON)  # it stands on no schedule yet: as good as open
    found = batch.progress()
    assert found.plan == (("c0.0", "c0.1"), (), tuple(f"c2.{n}" for n in range(9)))
    assert found.accepted == bytes([0b0000_1001, 0b0000_0100])
    assert found.other_verdicts == ((1, VerdictKind.REJECTED, "Unregistered"),)


def test_a_resumed_batch_sends_only_the_rest(settled: Settled) -> None:
    before = settled.batch(2, 0, 9)
    before.accept(0)
    before.reject(1, "Unregistered")
    before.postpone(2, LATER, SOON)
    batch = settled.batch(2, 0, 9)
    batch.restore(before.progress())
    batch.finish_planning()
    assert batch.open == 9
    for place in range(2, 11):
        batch.accept(place)
    assert settled == [batch]
    assert batch.other_verdicts == {1: (VerdictKind.REJECTED, "Unregistered")}


def test_a_resumed_batch_drops_the_reason_of_a_device_that_was_reached(settled: Settled) -> None:
    before = settled.batch(1)
    before.accept(0)
    batch = settled.batch(1)
    batch.reject(0, "device_gone")
    batch.restore(before.progress())
    assert batch.other_verdicts == {}


@pytest.mark.parametrize(("sizes", "owners"), [((2, 1), [0, 0, 1]), ((1, 0, 2), [0, 2, 2]), ((0, 0, 1), [2])])
def test_each_delivery_belongs_to_a_ping(settled: Settled, sizes: tuple[int, ...], owners: list[int]) -> None:
    batch = settled.batch(*sizes)
    assert [batch.ping_of(place) for place in range(sum(sizes))] == owners


@pytest.mark.parametrize("places", [0, 1, 7, 8, 9, 400])
def test_the_bitmap_has_a_bit_for_each_accepted_delivery(places: int) -> None:
    batch = DeliveryBatch(LEASE, "0" * 28, (Ping(),), lambda _: None)
    batch.begin_ping({})
    for place in range(places):
        batch.add_delivery(f"client{place}", "apns")
    accepted = set(range(0, places, 3))
    for place in accepted:
        batch.accept(place)
    for place in range(1, places, 3):
        batch.reject(place, "BadDeviceToken")
    bits = batch.progress().accepted
    assert len(bits) == (places + 7) // 8
    assert {place for place in range(8 * len(bits)) if bits[place >> 3] >> (place & 7) & 1} == accepted


def test_verdicts_are_unsaved_until_a_save_begins_and_again_when_it_failed(settled: Settled) -> None:
    batch = settled.batch(2)
    batch.accept(0)
    assert batch.unsaved
    assert batch.begin_save() == batch.progress()
    assert not batch.unsaved
    batch.save_failed()
    assert batch.unsaved
    batch.begin_save()
    batch.reject(1, "Unregistered")
    assert batch.unsaved


def test_devices_omitted_by_splitting_are_added_to_the_counts(settled: Settled) -> None:
    batch = settled.batch(1, 1)
    batch.skipped[1]["repeated"] = 1
    batch.mark_split(1)
    batch.add_skipped(1, {"repeated": 2, "dead_token": 1})
    assert (batch.skipped, batch.split) == ([{}, {"repeated": 3, "dead_token": 1}], [1])
