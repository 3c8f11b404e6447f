"""Lanes of RhoConnect Push go on with what an earlier version stored under their former names."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.route import Route
from gateway.metrics import Metrics
from gateway.settings import ApnsSettings, RhoConnectPushSettings, Secret, Settings
from gateway.simulators.authority import Authority
from protocols.devices import APNS, RHOCONNECT_PUSH

REMOTE = Settings(
    push_server=Secret("http://someapp@push.example:8675/"),
    rhoconnect_push=RhoConnectPushSettings(mode="client"),
)
NAME, FORMER = "rhoconnect_push:push.example:8675", "rps:push.example:8675"


@pytest.fixture
def lanes() -> LaneManager:
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
    lanes: LaneManager, parked: Mapping[str, int], total: int
) -> None:
    lanes.route(RHOCONNECT_PUSH, "")
    (lane,) = lanes.all()
    lanes.update_parked(parked)
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


async def test_answers_about_device_tokens_are_those_of_earlier_versions(lanes: LaneManager) -> None:
    """The digests were made by an earlier version. Marks and the memory of accepted tokens are found by them."""
    route = lanes.route(RHOCONNECT_PUSH, "com.x")
    assert isinstance(route, Route)
    scope = route.token_scope
    assert scope is not None
    assert (scope.key, scope.identity) == ("27d701dced913a01", "abadcf95c7eb2253")
    assert (scope.lane, scope.host) == (NAME, NAME)
