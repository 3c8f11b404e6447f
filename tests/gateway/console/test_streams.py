"""Live streams: their number, their end with the session and at the shutdown, and idle connections."""

import asyncio

import aiohttp
import pytest
import structlog
from redis.asyncio import Redis

from gateway.console import overview, streams
from gateway.console.guard import Guard
from gateway.errors import StoreDown
from gateway.http_api import HttpTimeouts
from tests.gateway.console.harness import Browser, Console, open_console

LIVE = "/console/live/overview"


async def opened(browser: Browser) -> aiohttp.ClientResponse:
    answer = await browser.session.get(LIVE)
    if answer.status == 200:
        assert await answer.content.readline()
    return answer


async def rest(answer: aiohttp.ClientResponse) -> None:
    """Read to the end of a stream."""
    async with asyncio.timeout(30):
        try:
            while await answer.content.readany():
                pass
        except aiohttp.ClientError:
            pass


async def test_a_process_serves_a_limited_number(
    redis_client: Redis, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.LiveStreams.__init__, "__defaults__", (2,))
    monkeypatch.setattr(overview, "EVERY_S", 0.1)  # the second line to a closed connection fails
    async with open_console(redis_client, redis_address) as console, console.operator() as browser:
        first, second = await opened(browser), await opened(browser)
        refused = await opened(browser)
        assert refused.status == 503
        assert "no further live pages" in await refused.text()
        first.close()
        async with asyncio.timeout(30):
            while (again := await opened(browser)).status != 200:
                await asyncio.sleep(0.05)
        for one in (second, again):
            one.close()


async def test_a_stream_outlives_the_limit_of_idle_connections(
    redis_client: Redis, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "EVERY_S", 1.0)  # ten times the limits below
    timeouts = HttpTimeouts(head_s=0.1, idle_s=0.1, read_s=0.1, body_s=0.1, tick_s=0.02)
    async with (
        open_console(redis_client, redis_address, timeouts=timeouts) as console,
        console.operator() as browser,
    ):
        answer = await opened(browser)
        lines = 0
        async with asyncio.timeout(30):
            async for line in answer.content:
                lines += line.startswith(b"event: state")
                if lines == 2:  # the second comes a second later
                    break
        assert lines == 2
        answer.close()


async def test_a_stream_ends_with_its_session(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_SESSION_S", 0.05)
    async with console.operator() as browser:
        answer = await opened(browser)
        await browser.submit("/console", "/console/logout", {})
        await rest(answer)
        assert answer.content.at_eof()


async def test_a_stream_survives_a_redis_that_is_down_for_a_moment(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_SESSION_S", 0.05)
    async with console.operator() as browser:
        answer = await opened(browser)
        failed = asyncio.Event()

        async def fails(*_: object) -> None:
            failed.set()
            raise StoreDown("down")

        with monkeypatch.context() as patched:
            patched.setattr(Guard, "visit", fails)
            await asyncio.wait_for(failed.wait(), 30)
        assert await answer.content.readline()
        answer.close()


async def test_the_shutdown_ends_streams(redis_client: Redis, redis_address: str) -> None:
    async with open_console(redis_client, redis_address) as console, console.operator() as browser:
        answer = await opened(browser)
        closing = asyncio.create_task(console.api.api.close(20.0))
        await rest(answer)
        assert answer.content.at_eof()
        await asyncio.wait_for(closing, 30)
        assert console.api.services.connections.main == 0


async def test_a_stream_begins_with_its_session_and_shows_that_it_lives(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_SESSION_S", 0.05)
    monkeypatch.setattr(overview, "EVERY_S", 60.0)
    async with console.operator() as browser:
        csrf = await browser.csrf("/console")
        async with browser.session.get(LIVE) as answer:
            text = b""
            async with asyncio.timeout(30):
                while text.count(b"event: alive") < 2:
                    text += await answer.content.readany()
    assert text.startswith(b"event: session")
    assert f'"csrf":"{csrf}"'.encode() in text
    assert b'"caller":"api_token"' in text


async def test_a_defect_that_ends_a_stream_is_logged(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    defect = RuntimeError("a defect")

    async def fails(_: object) -> None:
        raise defect

    monkeypatch.setattr(overview.OverviewReader, "state", fails)
    with structlog.testing.capture_logs() as logged:
        async with console.operator() as browser, browser.session.get(LIVE) as answer:
            await rest(answer)
    failures = [one for one in logged if one["event"] == "console_stream_failed"]
    assert [(one["path"], one["exc_info"]) for one in failures] == [(LIVE, defect)]


async def test_a_client_that_disconnects_is_no_failure_of_its_stream(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "EVERY_S", 0.05)  # the second line to a closed connection fails
    with structlog.testing.capture_logs() as logged:
        async with console.operator() as browser:
            (await opened(browser)).close()
            async with asyncio.timeout(30):
                while console.api.services.connections.main:
                    await asyncio.sleep(0.01)
    assert [one for one in logged if one["log_level"] == "error"] == []
