"""The overview: sums over all workers, the worst state of a lane, and live data."""

import asyncio
import json
import re

from gateway.clock import SHARED_CLOCK
from gateway.console.history import FINE, Sample
from gateway.console.overview import credentials_of, lanes_of
from gateway.telemetry.worker_report import CredentialLifetime, LaneReport, WorkerCounts, WorkerReport
from tests.gateway.console.harness import Console

XSS = "<script>alert(1)</script>"


def report(slot: int, *lanes: LaneReport, version: str = "", cpu_s: float = 0.0) -> WorkerReport:
    counts = WorkerCounts(
        waiting_devices=2, credential_expiry=(CredentialLifetime("a", "apns", 1000.0 + slot),)
    )
    return WorkerReport("g", slot, SHARED_CLOCK.now_ms(), version, cpu_s=cpu_s, lanes=lanes, counts=counts)


def test_a_lane_is_the_sum_of_its_workers_and_shows_the_worst_state() -> None:
    found = lanes_of(
        [
            report(0, LaneReport("apns:A", "apns", "h", 1, 2, 9, link="up", connections=1)),
            report(
                1,
                LaneReport("fcm:B", "fcm"),
                LaneReport(
                    "apns:A",
                    "apns",
                    "h",
                    10,
                    20,
                    8,
                    link="down",
                    breaker="open",
                    error="e",
                ),
            ),
        ]
    )
    assert [lane["name"] for lane in found] == ["apns:A", "fcm:B"]
    lane = found[0]
    assert (lane["backlog"], lane["in_flight"], lane["parked"], lane["connections"]) == (11, 22, 9, 1)
    assert (lane["link"], lane["breaker"], lane["error"]) == ("down", "open", "e")
    assert found[1]["connections"] is None


def test_credentials_are_listed_once_with_the_first_expiry() -> None:
    assert credentials_of([report(1), report(0)]) == [{"app": "a", "provider": "apns", "seconds": 1000.0}]


async def test_the_page_shows_lanes_workers_and_credentials_escaped(console: Console) -> None:
    await console.reports.write(report(0, LaneReport(XSS, "apns", XSS, error=XSS), version="1.2", cpu_s=1.0))
    console.api.missing["redis"] = XSS
    async with console.operator() as browser:
        status, text = await browser.get("/console")
        assert status == 200
        assert XSS not in text
        assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
        assert "g:0" in text
        status, text = await browser.get("/console/lanes")
        assert status == 200
        assert "<strong>redis</strong>: &lt;script&gt;" in text


async def test_a_series_is_returned_as_points(console: Console) -> None:
    await console.history.add(FINE, Sample(5_000, 5_000, pings=10))
    async with console.operator() as browser:
        status, text = await browser.get("/console/series/5s")
        assert (await browser.get("/console/series/7s"))[0] == 404
    found = json.loads(text)
    assert status == 200
    assert (found["step"], found["period"]) == (5_000, 300_000)
    assert abs(found["at"] - SHARED_CLOCK.now_ms()) < 60_000
    assert found["points"][0]["pings"] == 2


async def test_the_live_state_has_the_newest_point_and_the_sums(console: Console) -> None:
    await console.history.add(FINE, Sample(5_000, 5_000, pings=10))
    await console.reports.write(report(0, LaneReport("apns:A", "apns")))
    await console.reports.write(report(1))
    console.api.services.metrics.queue_depth.set(7)
    async with console.operator() as browser, browser.session.get("/console/live/overview") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        async with asyncio.timeout(30):
            async for line in answer.content:
                if line.startswith(b"data: {") and b"point" in line:
                    break
    state = json.loads(line.removeprefix(b"data: "))
    assert state["point"]["at"] == 5_000
    assert (state["waiting"], state["depth"], len(state["workers"])) == (4, 7, 2)
    assert state["lanes"][0]["name"] == "apns:A"


async def test_a_breaker_is_closed_by_an_admin(console: Console) -> None:
    await console.reports.write(report(0, LaneReport("apns:A", "apns")))
    async with console.operator() as browser:
        assert (await browser.submit("/console/lanes", "/console/lanes/reset", {"lane": "other"}))[0] == 404
        assert (await browser.submit("/console/lanes", "/console/lanes/reset", {"lane": "apns:A"}))[0] == 303
        assert console.resets.lanes == ["apns:A"]
        assert "POST /console/lanes/reset apns:A" in (await browser.get("/console/audit"))[1]


async def test_the_figures_are_on_the_page_without_a_script(console: Console) -> None:
    await console.history.add(FINE, Sample(5_000, 5_000, pings=12, accepted=5_000))
    console.api.services.metrics.queue_depth.set(7_000)
    console.api.services.metrics.queue_oldest_age_seconds.set(300)
    async with console.operator() as browser:
        _, text = await browser.get("/console")
    figures = dict(re.findall(r'<dd id="now-([a-z0-9]+)">([^<]*)</dd>', text))
    assert {name: value for name, value in figures.items() if value.isascii()} == {
        "pings": "2.4",
        "pushes": "1,000",
        "depth": "7,000",
        "age": "5 min",
        "scheduled": "0",
        "waiting": "0",
    }
    assert len(figures) == 8
