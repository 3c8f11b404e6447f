"""Pushes of the demo as its console shows them."""

import asyncio
from typing import Any

import aiohttp
from aiohttp import web

from gateway.cli.demo_pushes import PushReporter, push_of
from gateway.console.demo import DemoPush
from protocols.simulation.record import Summary


def test_a_push_with_all_of_its_content() -> None:
    content = Summary("B", 0, None, 5, ("A", "B"), "T")
    assert push_of(content, "apns", "alice") == DemoPush("alice", "apns", "B", "T", "0", "", "5", "A, B")


def test_a_push_without_content_is_reported_with_empty_texts() -> None:
    assert push_of(Summary(), "fcm", "bob") == DemoPush("bob", "fcm")


def test_long_texts_are_cut() -> None:
    assert len(push_of(Summary("x" * 9_999), "fcm", "bob").alert) == 500


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
