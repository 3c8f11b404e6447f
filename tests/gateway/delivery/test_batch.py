"""A unit's bookkeeping: places, verdicts, progress and replays."""

import pytest

from gateway.delivery.batch import Postponed, Unit
from gateway.queue.entries import Lease
from gateway.store import keys
from protocols.ping.model import Ping
from protocols.verdict import Kind, Verdict

LEASE = Lease(keys.PINGS, "1-0", b"", 1, 1, again=False)
LATER = Verdict(Kind.LATER, "ServiceUnavailable")
SOON = Postponed(2000, 1, "")


class Settled(list[Unit]):
    """Remembers which units were finished, and how often."""

    def unit(self, *sizes: int) -> Unit:
        """A unit with a ping of so many devices for each size, fully planned."""
        pings = [Ping(id=f"{number:032x}") for number in range(len(sizes))]
        unit = Unit(LEASE, "0" * 28, pings, self.append)
        for number, size in enumerate(sizes):
            unit.begin_ping({})
            for device in range(size):
                unit.add_place(f"c{number}.{device}", "apns")
        return unit


@pytest.fixture
def settled() -> Settled:
    return Settled()


def test_a_unit_is_finished_by_its_last_verdict(settled: Settled) -> None:
    unit = settled.unit(3)
    unit.planned()
    unit.accept(0)
    unit.reject(2, "Unregistered")
    assert (settled, unit.open) == ([], 1)
    unit.postpone(1, LATER, SOON)
    assert settled == [unit]


def test_a_verdict_during_planning_finishes_nothing(settled: Settled) -> None:
    unit = settled.unit(1)
    unit.reject(0, "no_credential")
    assert settled == []
    unit.planned()
    assert settled == [unit]


def test_a_unit_without_sends_is_finished_at_once(settled: Settled) -> None:
    unit = settled.unit(0, 0)
    unit.planned()
    assert settled == [unit]


def test_the_first_verdict_of_a_place_counts(settled: Settled) -> None:
    unit = settled.unit(2)
    unit.planned()
    unit.accept(0)
    unit.reject(0, "late")
    unit.postpone(0, LATER, SOON)
    unit.accept(0)
    assert (unit.open, settled) == (1, [])
    assert unit.details(0, 2) == ()


def test_progress_tells_what_needs_no_repeat(settled: Settled) -> None:
    unit = settled.unit(2, 0, 9)
    unit.planned()
    for place in (0, 3, 10):
        unit.accept(place)
    unit.reject(1, "Unregistered")
    unit.postpone(2, LATER, SOON)  # it stands on no schedule yet: as good as open
    found = unit.progress()
    assert found.plan == (("c0.0", "c0.1"), (), tuple(f"c2.{n}" for n in range(9)))
    assert found.accepted == bytes([0b0000_1001, 0b0000_0100])
    assert found.rest == ((1, Kind.REJECTED, "Unregistered"),)


def test_a_replay_sends_only_the_rest(settled: Settled) -> None:
    before = settled.unit(2, 0, 9)
    before.accept(0)
    before.reject(1, "Unregistered")
    before.postpone(2, LATER, SOON)
    unit = settled.unit(2, 0, 9)
    unit.recall(before.progress())
    unit.planned()
    assert unit.open == 9
    for place in range(2, 11):
        unit.accept(place)
    assert settled == [unit]
    assert [detail.reason for detail in unit.details(0, 11)] == ["Unregistered"]


def test_a_replay_forgets_what_it_thought_of_a_phone_that_was_reached(settled: Settled) -> None:
    before = settled.unit(1)
    before.accept(0)
    unit = settled.unit(1)
    unit.reject(0, "device_gone")
    unit.recall(before.progress())
    assert unit.details(0, 1) == ()


@pytest.mark.parametrize(("sizes", "owners"), [((2, 1), [0, 0, 1]), ((1, 0, 2), [0, 2, 2]), ((0, 0, 1), [2])])
def test_each_place_belongs_to_a_ping(settled: Settled, sizes: tuple[int, ...], owners: list[int]) -> None:
    unit = settled.unit(*sizes)
    assert [unit.ping_of(place) for place in range(sum(sizes))] == owners


@pytest.mark.parametrize("places", [0, 1, 7, 8, 9, 400])
def test_the_bitmap_has_a_bit_for_each_accepted_place(places: int) -> None:
    unit = Unit(LEASE, "0" * 28, (Ping(),), lambda _: None)
    unit.begin_ping({})
    for place in range(places):
        unit.add_place(f"client{place}", "apns")
    accepted = set(range(0, places, 3))
    for place in accepted:
        unit.accept(place)
    for place in range(1, places, 3):
        unit.reject(place, "BadDeviceToken")
    bits = unit.progress().accepted
    assert len(bits) == (places + 7) // 8
    assert {place for place in range(8 * len(bits)) if bits[place >> 3] >> (place & 7) & 1} == accepted
