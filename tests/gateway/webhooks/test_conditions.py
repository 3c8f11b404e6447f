"""Conditions of lanes and certificates, reported once by any number of workers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from gateway.clock import SharedClock
from gateway.delivery.certificate_expiry import DAY_S, CertificateExpiry
from gateway.delivery.circuit_breaker import BREAKER_OPEN_S
from gateway.delivery.lane import Lane
from gateway.delivery.link_state import LinkEvent
from gateway.metrics import Metrics
from gateway.queue.outbox import EventPlan
from gateway.settings import ApnsSettings, RetrySettings, Settings
from gateway.simulators.authority import Authority
from gateway.store import keys
from gateway.webhooks import conditions
from gateway.webhooks.conditions import ConditionMonitor, certificate_condition, lane_conditions
from gateway.webhooks.outbox import Outbox, event_record
from protocols.apns.credentials import PushCertificate
from protocols.webhooks.events import (
    CREDENTIAL_EXPIRING,
    CREDENTIAL_REFUSED,
    EVENT_TYPES,
    LANE_DOWN,
    LANE_UP,
)

ALL = frozenset(EVENT_TYPES)


class Provider:
    name = "apns"
    reasons = frozenset[str]()


class IdleLane(Lane):
    """A lane whose states the test changes."""

    def __init__(self) -> None:
        super().__init__("apns:ABC", cast("Any", Provider()), RetrySettings(), Metrics())

    def wake(self) -> None: ...

    async def close(self, budget_s: float) -> None: ...

    @property
    def in_flight(self) -> int:
        return 0

    def connected(self) -> None:
        self._on_link(LinkEvent.CONNECTED)

    def failed(self) -> None:
        self._on_link(LinkEvent.FAILED, "connection refused")

    def refused(self) -> None:
        self._credential_refused("InvalidProviderToken")

    def accepted(self) -> None:
        self._breaker = self._breaker.at(1e12 + BREAKER_OPEN_S)
        self._credential_accepted()


def monitor(outbox: Outbox, lane: Lane, wanted: frozenset[str] = ALL) -> ConditionMonitor:
    return ConditionMonitor(Settings(), EventPlan(wanted, 10**6), lambda: [lane], outbox)


async def told(outbox: Outbox) -> list[str]:
    cursor, kinds = "0-0", []
    while records := await outbox.next_second(cursor):
        cursor = records[-1].record
        kinds += [kind for record in records for kind in event_record(record, ALL).events]
    return kinds


async def test_two_workers_report_each_change_once(outbox: Outbox, redis_client: Redis) -> None:
    lanes = [IdleLane(), IdleLane()]
    workers = [monitor(outbox, lane) for lane in lanes]
    steps: list[Callable[[IdleLane], None]] = [
        lambda _: None,
        IdleLane.connected,
        IdleLane.failed,
        IdleLane.failed,
        IdleLane.connected,
        IdleLane.refused,
        IdleLane.accepted,
        IdleLane.failed,
    ]
    for step in steps:
        for lane, worker in zip(lanes, workers, strict=True):
            step(lane)
            await worker.step()
            await worker.step()
    assert await told(outbox) == [LANE_DOWN, LANE_UP, CREDENTIAL_REFUSED, LANE_DOWN]
    assert await redis_client.hgetall(keys.WEBHOOK_CONDITIONS) == {b"lane:apns:ABC": b"down"}


async def test_a_lane_that_was_down_before_a_restart_is_reported_up(outbox: Outbox) -> None:
    lane = IdleLane()
    lane.failed()
    await monitor(outbox, lane).step()
    after = IdleLane()
    restarted = monitor(outbox, after)
    await restarted.step()
    after.connected()
    await restarted.step()
    assert await told(outbox) == [LANE_DOWN, LANE_UP]


async def test_a_reload_reads_the_certificates_again(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = Authority().client_certificate(["com.example.app"]).pem
    now_s = PushCertificate.load(pem).expires_s - DAY_S / 2
    monkeypatch.setattr(conditions, "SHARED_CLOCK", SharedClock(wall=lambda: int(now_s * 1e9)))
    (tmp_path / "apple.pem").write_bytes(pem)
    one = monitor(outbox, IdleLane())
    await one.step()
    assert await told(outbox) == []
    one.apply_settings(Settings(apns=ApnsSettings(certificate_file=tmp_path / "apple.pem")))
    await one.step()
    assert await told(outbox) == [CREDENTIAL_EXPIRING]


async def test_only_wanted_events_are_stored(outbox: Outbox, redis_client: Redis) -> None:
    lane = IdleLane()
    lane.failed()
    await monitor(outbox, lane, frozenset({"ping.completed"})).step()
    assert await redis_client.exists(keys.WEBHOOK_CONDITIONS) == 0
    await monitor(outbox, lane, frozenset({LANE_UP})).step()
    assert await told(outbox) == []
    lane.connected()
    await monitor(outbox, lane, frozenset({LANE_UP})).step()
    assert await told(outbox) == [LANE_UP]


def test_the_event_of_a_lane_has_its_error() -> None:
    lane = IdleLane()
    assert list(lane_conditions(lane)) == []
    lane.failed()
    (condition,) = lane_conditions(lane)
    assert condition.event is not None
    assert condition.event.event == {"lane": "apns:ABC", "provider": "apns", "error": "connection refused"}


@pytest.mark.parametrize(
    ("days", "value"),
    [(31, ""), (29, "expires_30_days"), (6, "expires_7_days"), (0.5, "expires_1_days"), (-1, "expired")],
)
def test_a_certificate_is_reported_at_each_warning(days: float, value: str) -> None:
    now_s = 1_800_000_000.0
    certificate = CertificateExpiry("com.example", "com.example.topic", now_s + days * DAY_S, "apns")
    found = certificate_condition(certificate, now_s)
    assert (found.subject, found.value) == ("certificate:apns:com.example:com.example.topic", value)
    assert (found.event.kind if found.event else "") == (CREDENTIAL_EXPIRING if value else "")
