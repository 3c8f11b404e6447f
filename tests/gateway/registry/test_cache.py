"""The cached devices of users in a worker, and their validity."""

import pytest

from gateway.registry.cache import CHANGES_MAX, DeviceCache
from gateway.registry.user_devices import UserDevices
from protocols.devices import Device

LIFE_S = 60.0


class Clock:
    """Monotonic seconds, set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> DeviceCache:
    cache = DeviceCache(life_s=LIFE_S, users_max=8, clock=clock)
    cache.enabled = True
    return cache


def read(clock: Clock, client: str = "ab", *, gone: str = "") -> UserDevices:
    found = UserDevices((Device(client, "Apple"),), left_out=(gone,) if gone else ())
    found.read_s = clock.now_s
    return found


def keep(cache: DeviceCache, user: str, found: UserDevices) -> None:
    cache.put([user], [found])


def knows(cache: DeviceCache, user: str = "bob") -> bool:
    return cache.get([user]) != [None]


def test_an_entry_is_valid_for_its_lifetime(cache: DeviceCache, clock: Clock) -> None:
    keep(cache, "bob", read(clock))
    for after_s, believed in ((0, True), (LIFE_S - 0.1, True), (LIFE_S, False), (0, False)):
        clock.now_s = 1000.0 + after_s
        assert knows(cache) == believed, after_s


@pytest.mark.parametrize("name", ["bob", "ab", "cd"])
def test_a_change_of_user_or_client_invalidates_it(cache: DeviceCache, clock: Clock, name: str) -> None:
    keep(cache, "bob", read(clock, gone="cd"))
    keep(cache, "eve", read(clock, "ef"))
    clock.now_s += 1
    cache.invalidate([name])
    assert (knows(cache), knows(cache, "eve")) == (False, True)


@pytest.mark.parametrize(("heard_after_s", "believed"), [(-1.0, True), (0.0, False), (1.0, False)])
def test_data_that_changed_after_the_request_is_not_cached(
    cache: DeviceCache, clock: Clock, heard_after_s: float, believed: bool
) -> None:
    """The answer may be older than the change, or newer: asking once more is never wrong."""
    found = read(clock)
    clock.now_s += heard_after_s
    cache.invalidate(["bob"])
    clock.now_s = 1002.0
    keep(cache, "bob", found)
    assert knows(cache) == believed


def test_a_change_is_stored_as_long_as_a_reply_may_be_in_transit(cache: DeviceCache, clock: Clock) -> None:
    cache.invalidate(["early"])
    clock.now_s += LIFE_S
    late = read(clock)
    cache.invalidate(["bob"])
    for _ in range(3):
        clock.now_s += LIFE_S / 4
        cache.invalidate(["other"])
    keep(cache, "bob", late)
    assert not knows(cache)


@pytest.mark.parametrize("how", ["clear", "flood"])
def test_after_a_flush_earlier_requests_are_not_cached(cache: DeviceCache, clock: Clock, how: str) -> None:
    keep(cache, "bob", read(clock))
    in_transit = read(clock, "cd")
    if how == "clear":
        cache.clear()
    else:
        cache.invalidate(str(number) for number in range(CHANGES_MAX + 1))
    keep(cache, "eve", in_transit)
    assert (knows(cache), knows(cache, "eve")) == (False, False)
    clock.now_s += 1
    keep(cache, "eve", read(clock, "cd"))
    assert knows(cache, "eve")


def test_nothing_is_cached_while_changes_are_not_received(cache: DeviceCache, clock: Clock) -> None:
    cache.enabled = False
    keep(cache, "bob", read(clock))
    assert not knows(cache)


def test_a_full_cache_keeps_its_entries_until_they_expire(cache: DeviceCache, clock: Clock) -> None:
    for number in range(20):
        clock.now_s += 0.1
        keep(cache, f"u{number}", read(clock))
    assert [knows(cache, f"u{number}") for number in range(20)] == [number < 8 for number in range(20)]
    clock.now_s += LIFE_S - 1.55  # the first four are over: the fifth was read 1.5 s ago
    for number in range(30, 40):
        keep(cache, f"u{number}", read(clock))
    assert [knows(cache, f"u{number}") for number in range(30, 40)] == [
        number < 34 for number in range(30, 40)
    ]
    assert [knows(cache, f"u{number}") for number in range(8)] == [number >= 4 for number in range(8)]


def test_an_entry_that_is_read_again_is_renewed(cache: DeviceCache, clock: Clock) -> None:
    keep(cache, "bob", read(clock))
    for number in range(7):
        clock.now_s += 0.1
        keep(cache, f"u{number}", read(clock))
    keep(cache, "bob", read(clock))  # though it is full: this takes nobody's place
    clock.now_s += LIFE_S - 0.05
    keep(cache, "eve", read(clock))
    assert (knows(cache), knows(cache, "eve"), knows(cache, "u5")) == (True, True, False)


def test_expired_entries_make_room(cache: DeviceCache, clock: Clock) -> None:
    for number in range(8):
        keep(cache, f"u{number}", read(clock))
    clock.now_s += LIFE_S
    for name in ("bob", "eve"):
        keep(cache, name, read(clock))
    assert (len(cache), knows(cache), knows(cache, "eve")) == (2, True, True)


def test_a_cache_of_size_0_stores_nothing(clock: Clock) -> None:
    cache = DeviceCache(users_max=0, clock=clock)
    cache.enabled = True
    keep(cache, "bob", read(clock))
    assert (len(cache), knows(cache)) == (0, False)
