"""The part of the recipients that is computed once for a device, and its validity."""

from typing import Any, cast

import pytest

from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.provider_registry import installed
from gateway.delivery.providers.base import NO_CREDENTIAL
from gateway.fanout.recipients import APP_NOT_ALLOWED, recipients, within_apps
from gateway.metrics import Metrics
from gateway.registry.user_devices import UNKNOWN_USER, UserDevices
from gateway.settings import Settings
from protocols.devices import REPEATED, Device

PHONE = Device("ab", "Apple", "apple", "cd", "phone", "app")


class StubLanes:
    """Routes of one name, which a reload changes."""

    def __init__(self) -> None:
        self.routes_version: object = object()
        self.name = NO_CREDENTIAL
        self.asked = 0
        self.device_types = installed().device_types

    def route(self, platform: str, app_id: str, token: str) -> str:
        self.asked += 1
        return f"{self.name} {platform} {app_id}"


@pytest.fixture
def stub() -> StubLanes:
    return StubLanes()


def routes(stub: StubLanes, *registrations: UserDevices) -> list[Any]:
    found, _ = recipients(registrations, cast(LaneManager, stub))
    return [one.route for one in found]


def test_the_recipients_of_a_single_user_are_computed_once(stub: StubLanes) -> None:
    bob = UserDevices((PHONE,))
    assert routes(stub, bob) == routes(stub, bob) == [f"{NO_CREDENTIAL} apns app"]
    assert stub.asked == 1


def test_after_a_reload_recipients_are_computed_again(stub: StubLanes) -> None:
    bob = UserDevices((PHONE,))
    routes(stub, bob)
    stub.name, stub.routes_version = "other", object()
    assert routes(stub, bob) == ["other apns app"]


def test_recipients_of_one_ping_are_computed_once_and_again_after_a_reload(stub: StubLanes) -> None:
    users = [UserDevices((Device(name, "Apple", "apple", name, app_id="app"),)) for name in ("ab", "cd")]
    twice = [UserDevices((PHONE, Device("ef", "Apple", "apple", "ef", "phone", "app")))]
    expected = [f"{NO_CREDENTIAL} apns app"] * 3
    assert routes(stub, *users, *twice) == routes(stub, *users, *twice) == expected
    assert stub.asked == 4  # a user with several devices is worked out each time
    stub.name, stub.routes_version = "other", object()
    assert routes(stub, *users) == ["other apns app"] * 2
    found, skipped = recipients([*users, users[0], UserDevices((), unknown=True)], cast(LaneManager, stub))
    assert [one.device.pin for one in found] == ["ab", "cd"]
    assert skipped == {REPEATED: 1, UNKNOWN_USER: 1}


def test_the_caller_may_extend_the_skipped_counts(stub: StubLanes) -> None:
    for bob in (UserDevices((PHONE,)), UserDevices((PHONE, PHONE))):
        for _ in range(2):
            _, skipped = recipients([bob], cast(LaneManager, stub))
            assert skipped == ({REPEATED: 1} if len(bob.devices) > 1 else {})
            skipped["added"] = 1


def test_users_of_one_ping_share_a_device(stub: StubLanes) -> None:
    assert len(routes(stub, UserDevices((PHONE,)), UserDevices((PHONE,)))) == 1


@pytest.mark.parametrize(
    "bob",
    [
        UserDevices((PHONE,)),
        UserDevices((Device("ab", "Apple"),)),
        UserDevices((Device("ab", "", "apple", "cd"),)),
        UserDevices((Device("ab", "wp8", "", "cd"),)),
        UserDevices((PHONE,), 1, 1, ("ef", "01")),
        UserDevices((PHONE, PHONE)),
        UserDevices(()),
        UserDevices((), unknown=True),
    ],
    ids=["usual", "no token", "unregistered", "unsupported", "left out", "two", "none", "unknown"],
)
def test_a_user_has_the_same_recipients_alone_and_among_others(stub: StubLanes, bob: UserDevices) -> None:
    alone, left_out = recipients([bob], cast(LaneManager, stub))
    beside, left_out_beside = recipients([bob, UserDevices(())], cast(LaneManager, stub))
    assert [(one.device, one.platform, one.route) for one in alone] == [
        (one.device, one.platform, one.route) for one in beside
    ]
    assert left_out == left_out_beside


def test_a_reload_is_another_version_of_the_routes() -> None:
    lanes = LaneManager(Settings(), Metrics(), IgnoredTokenReports())
    before = lanes.routes_version
    lanes.apply_settings(Settings())
    assert lanes.routes_version is not before


def test_devices_of_other_apps_are_left_out_and_counted(stub: StubLanes) -> None:
    devices = tuple(Device(name, "Apple", "apple", name, app_id=f"app{name}") for name in "abc")
    chosen, skipped = recipients([UserDevices(devices)], cast(LaneManager, stub))
    within = within_apps(chosen, ("appa", "appc", "other"), skipped)
    assert [one.device.client_id for one in within] == ["a", "c"]
    assert skipped == {APP_NOT_ALLOWED: 1}
    assert within_apps(chosen, ("appa", "appb", "appc"), skipped) == list(chosen)
    assert skipped == {APP_NOT_ALLOWED: 1}
