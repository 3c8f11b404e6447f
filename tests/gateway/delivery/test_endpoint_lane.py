"""Lanes for endpoints that devices name: one each, bounded in number, closed when idle."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.delivery import endpoint_lane, lane_manager
from gateway.delivery.circuit_breaker import CLOSED_BREAKER
from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.endpoint_lane import IDLE_S, EndpointLane
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.provider_entry import ProviderEntry
from gateway.delivery.provider_registry import Providers
from gateway.delivery.providers.apns_credentials import CertificateCredential
from gateway.delivery.providers.base import (
    NO_CREDENTIAL,
    CheckedCredential,
    LaneSpec,
    ProviderServer,
    PushProvider,
    RouteOpener,
)
from gateway.delivery.route import Route
from gateway.delivery.throttle import FREE
from gateway.errors import CredentialError
from gateway.metrics import Metrics
from gateway.settings import ProviderSettings, Secret, Settings
from gateway.transport.feed import Endpoint
from protocols.errors import InvalidToken
from protocols.fcm.message import compose as compose_any
from protocols.fcm.verdicts import judge as judge_any
from tests.gateway.delivery.test_lane_rules import IdleLane


class Section(ProviderSettings, frozen=True):
    credential_fields = ("token",)
    token: Secret | None = None
    forbidden: str = ""
    version: int = 0


class ByDevice(PushProvider):
    name = "bydevice"
    devices = "Other"
    by_device = True
    compose = staticmethod(compose_any)
    judge = staticmethod(judge_any)

    def credential(self, settings: Settings, app: str) -> CheckedCredential | None:
        return None

    def servers(self, settings: Settings, app: str) -> Iterator[ProviderServer]:
        yield from ()

    def endpoint(self, settings: Settings, app: str, token: str) -> str:
        if not token:
            raise InvalidToken("no host")
        return token

    def open(self, opener: RouteOpener, app: str, endpoint: str) -> Route | None:
        section: Any = self.section(opener.settings, app)
        if section.token.reveal() == "bad":
            raise CredentialError("bad")
        if section.forbidden == endpoint:
            return None
        spec = LaneSpec(
            f"bydevice:{endpoint}",
            section.version,
            Endpoint(endpoint, 443, None, endpoint),
            lambda wake: CertificateCredential(),
            1,
            1.0,
            per_device=True,
        )
        return Route(opener.http2_lane(self, spec), None, app)


PROVIDER = ByDevice()
PROVIDERS = Providers([(ProviderEntry("bydevice", f"{__name__}:PROVIDER", Section), "here")])
PROVIDERS._loaded["bydevice"] = PROVIDER
PROVIDER_OF_ONE_LANE = ByDevice()


def settings(token: str | None = "good", **more: Any) -> Settings:
    section = Section(None if token is None else Secret(token), **more)
    return PROVIDERS.settings_type(bydevice=section)


@pytest.fixture
async def lanes() -> AsyncIterator[LaneManager]:
    made = LaneManager(settings(), Metrics(), IgnoredTokenReports(), providers=PROVIDERS)
    yield made
    await made.close(0)


def route(lanes: LaneManager, host: str) -> Route:
    found = lanes.route("bydevice", "", host)
    assert isinstance(found, Route)
    return found


def names(lanes: LaneManager) -> list[str]:
    return [lane.name for lane in lanes.all()]


async def test_each_endpoint_has_a_lane_of_its_own(lanes: LaneManager) -> None:
    assert route(lanes, "a") is route(lanes, "a")
    assert route(lanes, "a").lane is not route(lanes, "b").lane
    assert names(lanes) == ["bydevice:a", "bydevice:b"]
    assert lanes.route("bydevice", "", "") == InvalidToken.label
    assert isinstance(route(lanes, "a").lane, EndpointLane)


async def test_without_a_credential_no_token_is_examined(lanes: LaneManager) -> None:
    lanes.apply_settings(settings(None))
    assert lanes.route("bydevice", "", "a") == NO_CREDENTIAL
    assert names(lanes) == []


async def test_a_credential_that_cannot_be_used_is_read_once_for_all_endpoints(lanes: LaneManager) -> None:
    lanes.apply_settings(settings("bad"))
    assert lanes.route("bydevice", "", "a") == CredentialError.label
    lanes.settings = settings()  # not applied: the credential is not read again before a reload
    assert lanes.route("bydevice", "", "b") == CredentialError.label
    lanes.apply_settings(settings())
    assert route(lanes, "b").lane.name == "bydevice:b"


async def test_the_longest_unused_lane_makes_room_for_a_further_endpoint(
    lanes: LaneManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_manager, "ENDPOINT_LANES_MAX", 2)
    first, second = route(lanes, "a"), route(lanes, "b")
    first.lane.offer((), bulk=False)
    before = lanes.routes_version
    route(lanes, "c")
    assert names(lanes) == ["bydevice:a", "bydevice:c"]
    assert lanes.routes_version is not before
    assert route(lanes, "a") is first
    assert route(lanes, "b") is not second


async def test_an_idle_lane_is_closed_and_opened_again(
    lanes: LaneManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = route(lanes, "a")
    lanes.close_idle()
    assert names(lanes) == ["bydevice:a"]
    assert isinstance(old.lane, EndpointLane)
    old.lane.offered_s -= IDLE_S + 1
    lanes.close_idle()
    assert names(lanes) == []
    assert route(lanes, "a").lane is not old.lane


async def test_an_offer_keeps_a_lane(lanes: LaneManager) -> None:
    lane = route(lanes, "a").lane
    assert isinstance(lane, EndpointLane)
    lane.offered_s -= IDLE_S + 1
    lane.offer((), bulk=False)
    lanes.close_idle()
    assert names(lanes) == ["bydevice:a"]
    assert endpoint_lane.ENDPOINT_LANES_MAX > 1


@pytest.mark.parametrize("busy", ["backlog", "in_flight"])
async def test_a_lane_with_deliveries_is_not_closed(
    lanes: LaneManager, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    lane = route(lanes, "a").lane
    assert isinstance(lane, EndpointLane)
    lane.offered_s -= IDLE_S + 1
    with monkeypatch.context() as patched:
        patched.setattr(EndpointLane, busy, 1)
        lanes.close_idle()
    assert names(lanes) == ["bydevice:a"]
    lanes.close_idle()
    assert names(lanes) == []


@pytest.mark.parametrize("limit", ["throttle", "circuit breaker"])
async def test_a_lane_that_must_pause_is_not_closed_before_the_pause_ends(
    lanes: LaneManager, limit: str
) -> None:
    lane = route(lanes, "a").lane
    assert isinstance(lane, EndpointLane)
    lane.offered_s -= IDLE_S + 1
    if limit == "throttle":
        lane._throttle = FREE.after_limit(3600.0, time.monotonic())
    else:
        lane._breaker = CLOSED_BREAKER.after_refusal("BadJwtToken", time.monotonic())
    lanes.close_idle()
    assert names(lanes) == ["bydevice:a"]
    lane._throttle, lane._breaker = FREE, lane._breaker.at(float("inf"))
    lanes.close_idle()
    assert names(lanes) == []


async def test_a_reload_keeps_the_lane_of_the_same_configuration_and_closes_a_forbidden_one(
    lanes: LaneManager,
) -> None:
    kept, gone = route(lanes, "a").lane, route(lanes, "b").lane
    lanes.apply_settings(settings(forbidden="b"))
    assert route(lanes, "a").lane is kept
    assert gone not in list(lanes.all())
    lanes.apply_settings(settings(version=1))
    assert route(lanes, "a").lane is not kept


async def test_the_gauges_of_a_closed_lane_end_with_it(lanes: LaneManager) -> None:
    lane = route(lanes, "a").lane
    assert isinstance(lane, EndpointLane)
    lane._breaker = lane._breaker.after_refusal("refused", float("inf"))
    lane.sweep()

    def gauge() -> float | None:
        return lanes.metrics.registry.get_sample_value("rhopush_lane_breaker_open", {"lane": lane.name})

    assert gauge() == 1
    lanes.apply_settings(settings(forbidden="a"))
    assert not gauge()


async def test_every_kind_of_lane_stops_with_the_writing_of_verdicts(lanes: LaneManager) -> None:
    lane = route(lanes, "a").lane
    assert isinstance(lane, EndpointLane)
    only = lanes.only_lane(PROVIDER_OF_ONE_LANE, lambda: IdleLane("one"))
    assert only is not None
    assert lane.unsaved is only.unsaved is lanes._unsaved
