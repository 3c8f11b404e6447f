"""The part of an audience that a ping leaves out, before any device is selected."""

import pytest

from gateway.fanout.narrowing import (
    APP_EXCLUDED,
    PROVIDER_EXCLUDED,
    USER_EXCLUDED,
    Narrowing,
    narrowing_of,
)
from gateway.registry.user_devices import UserDevices, unknown_user
from protocols.devices import Device, LeftOut
from protocols.ping.addressees import Addressees
from protocols.ping.model import Ping

TYPES = {"apple": "apns", "fcm": "fcm"}
IPHONE = Device("c1", "Apple", "apple", "ab", "", "one")
ANDROID = Device("c2", "ANDROID", "fcm", "token", "", "two")
UNREGISTERED = Device("c3")


def narrowing(**to: tuple[str, ...]) -> Narrowing:
    found = narrowing_of(Ping(to=Addressees(**to)), TYPES)
    assert found is not None
    return found


def test_a_ping_without_restrictions_has_no_narrowing() -> None:
    assert narrowing_of(Ping(users=("bob",)), TYPES) is None
    assert narrowing_of(Ping(to=Addressees(all_users=True)), TYPES) is None
    assert narrowing_of(Ping(to=Addressees(devices=("c1",))), TYPES) is None


@pytest.mark.parametrize(
    ("to", "reasons"),
    [
        ({"apps": ("one",)}, ["", APP_EXCLUDED, APP_EXCLUDED]),
        ({"apps": ("one", "two")}, ["", "", APP_EXCLUDED]),
        ({"providers": ("apns",)}, ["", PROVIDER_EXCLUDED, ""]),  # not registered: skipped as such
        ({"apps": ("two",), "providers": ("apns",)}, [APP_EXCLUDED, PROVIDER_EXCLUDED, APP_EXCLUDED]),
        ({"except_users": ("bob",)}, ["", "", ""]),
    ],
)
def test_each_excluded_device_has_its_reason(to: dict[str, tuple[str, ...]], reasons: list[str]) -> None:
    found = narrowing(**to)
    assert [found.reason(device) for device in (IPHONE, ANDROID, UNREGISTERED)] == reasons


def test_a_registration_keeps_what_else_is_known_of_it() -> None:
    skipped: dict[str, int] = {}
    left_out: LeftOut = []
    known = UserDevices((IPHONE, ANDROID), 1, 2, ("x", "y", "z"), marked=True, large=True)
    kept = narrowing(apps=("one",)).of_user("bob", known, skipped, left_out)
    assert kept.devices == (IPHONE,)
    assert (kept.dangling, kept.dead, kept.left_out) == (1, 2, ("x", "y", "z"))
    assert kept.marked
    assert kept.large
    assert (skipped, left_out) == ({APP_EXCLUDED: 1}, [(ANDROID, APP_EXCLUDED)])


def test_a_registration_that_loses_no_device_stays_the_same_object() -> None:
    known, nobody = UserDevices((IPHONE,)), unknown_user()
    found = narrowing(apps=("one",), except_users=("eve",))
    assert found.of_user("bob", known, {}) is known
    assert found.of_user("nobody", nobody, {}) is nobody


def test_an_excepted_user_counts_once() -> None:
    skipped: dict[str, int] = {}
    left_out: LeftOut = []
    found = narrowing(except_users=("bob",))
    kept = found.of_user("bob", UserDevices((IPHONE, ANDROID), 1), skipped, left_out)
    assert (kept.devices, kept.dangling, kept.unknown) == ((), 0, False)
    assert skipped == {USER_EXCLUDED: 1}
    assert [reason for _, reason in left_out] == [USER_EXCLUDED, USER_EXCLUDED]
