"""Routes and lanes, made on demand and changed by a reload."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.http2_lane import Http2Lane
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.providers.base import NO_CREDENTIAL, NOT_SERVED
from gateway.delivery.route import Route
from gateway.metrics import Metrics
from gateway.settings import ApnsSettings, RhoConnectPushSettings, Secret, Settings
from gateway.settings.model import App, RetrySettings
from gateway.simulators.authority import Authority
from gateway.simulators.keys import TeamKey, make_team_key
from protocols.devices import FCM, RHOCONNECT_PUSH
from protocols.push_tokens import APNS


def apns(key: TeamKey, topic: str = "com.example.app", **more: Any) -> ApnsSettings:
    return ApnsSettings(
        key=Secret(key.pem.decode()), key_id=key.key_id, team_id=key.team_id, topic=topic, **more
    )


@pytest.fixture
def key() -> TeamKey:
    return make_team_key()


@pytest.fixture
async def lanes(key: TeamKey) -> AsyncIterator[LaneManager]:
    apps = {"com.example.other": App(apns(key, "com.example.other"))}
    made = LaneManager(Settings(apns=apns(key), apps=apps), Metrics(), IgnoredTokenReports())
    yield made
    await made.close(0)


def route(lanes: LaneManager, platform: str = APNS, app: str = "") -> Route:
    found = lanes.route(platform, app)
    assert isinstance(found, Route)
    return found


def names(lanes: LaneManager) -> list[str]:
    return [lane.name for lane in lanes.all()]


async def test_a_route_is_made_once_and_unknown_apps_have_that_of_all(
    lanes: LaneManager, key: TeamKey
) -> None:
    assert names(lanes) == []
    assert route(lanes) is route(lanes, app="com.example.unknown")
    assert names(lanes) == [f"apns:{key.key_id}"]


async def test_apps_with_one_credential_share_its_lane(lanes: LaneManager, key: TeamKey) -> None:
    one, other = route(lanes), route(lanes, app="com.example.other")
    assert one is not other
    assert one.lane is other.lane
    assert (one.target.topic, other.target.topic) == ("com.example.app", "com.example.other")


async def test_a_missing_route_has_a_reason(lanes: LaneManager) -> None:
    assert lanes.route(FCM, "") == NO_CREDENTIAL
    assert lanes.route("blackberry", "") == NOT_SERVED
    assert lanes.route(RHOCONNECT_PUSH, "") == NOT_SERVED  # no mailbox here
    client = Settings(rhoconnect_push=RhoConnectPushSettings(mode="client"))
    assert LaneManager(client, Metrics(), IgnoredTokenReports()).route(RHOCONNECT_PUSH, "") == NO_CREDENTIAL


async def test_a_reload_that_changes_nothing_of_a_lane_keeps_it(lanes: LaneManager, key: TeamKey) -> None:
    before, version = route(lanes), lanes.routes_version
    lanes.apply_settings(Settings(apns=apns(key)))
    assert route(lanes).lane is before.lane
    assert before.newest is route(lanes)
    assert lanes.routes_version is not version


async def test_a_changed_credential_gets_a_successor_lane(lanes: LaneManager) -> None:
    before, new = route(lanes), make_team_key()
    lanes.apply_settings(Settings(apns=apns(new)))
    assert names(lanes) == [f"apns:{new.key_id}"]
    assert before.newest is route(lanes)
    assert route(lanes).lane is not before.lane


async def test_a_credential_that_cannot_be_used_leaves_the_route_as_it_was(
    lanes: LaneManager, key: TeamKey
) -> None:
    before = route(lanes)
    broken = msgspec.structs.replace(apns(key), key=Secret("no key"))
    lanes.apply_settings(Settings(apns=broken))
    assert route(lanes) is before
    assert names(lanes) == [before.lane.name]


async def test_each_lane_gets_the_parked_deliveries_of_all_gateways(lanes: LaneManager) -> None:
    name = route(lanes).lane.name
    (lane,) = lanes.all()
    lanes.update_parked({name: 7, "apns:GONE": 3})
    assert lane.parked_total == 7
    lanes.update_parked({})
    assert lane.parked_total == 0


async def test_the_sandbox_is_a_lane_of_its_own_with_auto() -> None:
    key = make_team_key()
    lanes = LaneManager(Settings(apns=apns(key, environment="auto")), Metrics(), IgnoredTokenReports())
    first = route(lanes)
    assert first.fallback is not None
    assert (first.token_scope and first.token_scope.host) == "api.push.apple.com"
    assert (first.fallback.token_scope and first.fallback.token_scope.host) == "api.sandbox.push.apple.com"
    assert sorted(names(lanes)) == [f"apns:{key.key_id}", f"apns:{key.key_id}@api.sandbox.push.apple.com"]
    await lanes.close(0)


# -- what an earlier version stored under former names of lanes -------------------------------------------------

REMOTE = Settings(
    push_server=Secret("http://someapp@push.example:8675/"),
    rhoconnect_push=RhoConnectPushSettings(mode="client"),
)
NAME, FORMER = "rhoconnect_push:push.example:8675", "rps:push.example:8675"


@pytest.fixture
def remote_lanes() -> LaneManager:
    return LaneManager(REMOTE, Metrics(), IgnoredTokenReports())


@pytest.mark.parametrize(
    ("parked", "total"),
    [
        ({}, 0),
        ({NAME: 3}, 3),
        ({FORMER: 4}, 4),
        ({NAME: 3, FORMER: 4}, 7),
        ({"rps": 5, "rhoconnect_push": 6, "rps:other.example:8675": 7}, 0),
    ],
)
async def test_deliveries_parked_by_an_earlier_version_count(
    remote_lanes: LaneManager, parked: Mapping[str, int], total: int
) -> None:
    remote_lanes.route(RHOCONNECT_PUSH, "")
    (lane,) = remote_lanes.all()
    remote_lanes.update_parked(parked)
    assert (lane.name, lane.parked_total) == (NAME, total)


async def test_deliveries_of_a_lane_that_kept_its_name_count_once(tmp_path: Path) -> None:
    file = tmp_path / "apple.pem"
    file.write_bytes(Authority().client_certificate(["com.example.app"]).pem)
    lanes = LaneManager(Settings(apns=ApnsSettings(certificate_file=file)), Metrics(), IgnoredTokenReports())
    lanes.route(APNS, "")
    (lane,) = lanes.all()
    lanes.update_parked({lane.name: 3})
    assert lane.parked_total == 3
    await lanes.close(1)


async def test_answers_about_device_tokens_are_those_of_earlier_versions(remote_lanes: LaneManager) -> None:
    """The digests were made by an earlier version. Marks and the memory of accepted tokens are found by them."""
    route = remote_lanes.route(RHOCONNECT_PUSH, "com.x")
    assert isinstance(route, Route)
    scope = route.token_scope
    assert scope is not None
    assert (scope.key, scope.identity) == ("27d701dced913a01", "abadcf95c7eb2253")
    assert (scope.lane, scope.host) == (NAME, NAME)


async def test_a_lane_that_stays_has_the_new_delays_of_retries(lanes: LaneManager, key: TeamKey) -> None:
    before = route(lanes).lane
    retry = RetrySettings(apns_5xx_s=7.0)
    lanes.apply_settings(Settings(apns=apns(key), retry=retry))
    (lane,) = lanes.all()
    assert lane is before
    assert lane.retry == retry


async def test_a_lane_that_is_still_being_retired_ends_with_the_close(
    lanes: LaneManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def retire(*_: object) -> None:
        await asyncio.Event().wait()

    route(lanes)
    monkeypatch.setattr(Http2Lane, "retire", retire)
    lanes.apply_settings(Settings(apns=apns(make_team_key())))
    (task,) = [one for one in asyncio.all_tasks() if one.get_name().startswith("retire:")]
    await lanes.close(0)
    async with asyncio.timeout(30):
        await asyncio.wait([task])
    assert task.cancelled()
