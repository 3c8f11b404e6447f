"""The state of real lanes as values."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.delivery import lane_report as module
from gateway.delivery.lane_report import lane_report, lane_reports
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from tests.support.providers import provider_settings
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import pipeline, until

PIN = "ab" * 32


async def test_a_lane_reports_what_it_does_and_why_it_cannot_send(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        await one.append("bob")
        apns.hold()
        await one.planner.deliver(await one.read(keys.PINGS))
        (lane,) = one.lanes.all()
        await until(lambda: lane.in_flight)
        report = lane_report(lane)
        assert (report.name, report.provider, report.host) == (lane.name, "apns", lane.host)
        assert (report.in_flight, report.backlog, report.connections) == (1, 0, 1)
        assert (report.link, report.breaker, report.throttle, report.error) == ("up", "closed", "free", "")
        apns.release()
        apns.faults.add("403")
        lane.parked_total = 7
        await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        await until(lambda: lane.halted)
        report = lane_report(lane)
        assert report.breaker in {"open", "half_open"}
        assert report.parked == 7
        assert report.breaker_reason == report.error != ""


async def test_a_report_has_a_bounded_number_of_lanes_and_those_with_errors_first(
    redis_address: str, tmp_path: Path, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LANES_MAX", 1)
    async with (
        FcmSimulator() as fcm,
        pipeline(redis_address, tmp_path, provider_settings(apns, fcm)) as one,
    ):
        one.lanes.route("apns", "")
        one.lanes.route("fcm", "")
        lanes = sorted(one.lanes.all(), key=lambda lane: lane.name)
        assert len(lanes) == 2
        (first,), omitted = lane_reports(lanes)
        assert (first.name, omitted) == (lanes[0].name, 1)
        lanes[1]._credential_refused("Revoked")
        (first,), omitted = lane_reports(lanes)
        assert (first.name, first.breaker_reason) == (lanes[1].name, "Revoked")
        lanes[1].reset_breaker()
        assert lane_report(lanes[1]).breaker == "closed"
