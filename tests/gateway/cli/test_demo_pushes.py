"""Pushes of the demo as its console shows them."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.cli.demo_pushes import PushReporter, of_message, of_record
from gateway.console.demo import DemoPush
from gateway.simulators import SimulatedRecord
from protocols.simulation.record import Summary


def record(provider: str, payload: Any, **summary: Any) -> SimulatedRecord:
    return SimulatedRecord(0.0, provider, 1, "t", "topic", 200, "", {}, payload, (), Summary(**summary))


def test_a_push_of_apns() -> None:
    found = of_record(
        record("apns", {"aps": {"alert": {"title": "T"}}}, alert="B", badge=0, vibrate=5, do_sync=("A", "B")),
        "alice",
    )
    assert found == DemoPush("alice", "apns", "B", "T", "0", "", "5", "A, B")


@pytest.mark.parametrize(
    "payload", [None, {}, {"aps": {"alert": "text"}}, {"message": {"notification": None}}]
)
def test_a_push_without_a_title(payload: Any) -> None:
    assert of_record(record("fcm", payload, sound="s"), "bob") == DemoPush("bob", "fcm", sound="s")


def test_a_title_of_fcm() -> None:
    payload = {"message": {"notification": {"title": "T"}}}
    assert of_record(record("fcm", payload), "bob").title == "T"


def test_a_message_of_rhoconnect_push_and_long_texts() -> None:
    assert of_message({"alert": "x" * 9_999, "badge": 0}, "carol").badge == "0"
    assert len(of_message({"alert": "x" * 9_999}, "carol").alert) == 500


async def test_reports_are_sent_and_a_lost_gateway_ends_nothing() -> None:
    found: list[Any] = []
    arrived = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        assert request.headers["X-RhoConnect-API-TOKEN"] == "token"
        found.append(await request.json())
        arrived.set()
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/console/demo/pushes", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{address[1]}") as session:
        reporter = PushReporter(session, "token")
        running = asyncio.create_task(reporter.run())
        reporter.add(DemoPush("alice", "apns", "one"))
        await asyncio.wait_for(arrived.wait(), 30)
        await runner.cleanup()
        reporter.add(DemoPush("alice", "apns", "two"))
        await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [one["alert"] for one in found] == ["one"]
