"""The page of webhooks, which only gateways with webhooks have: the table, a test message, a replay."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import NotFound
from gateway.http_api import Dependencies
from tests.gateway.console.harness import Console, open_console

XSS = "<script>alert(1)</script>"


class Endpoints:
    """One endpoint whose texts another party chose."""

    def __init__(self) -> None:
        self.replays: list[tuple[str, int]] = []
        self.messages: list[dict[str, Any]] = []
        self.state = "delivering"

    async def listing(self) -> list[dict[str, Any]]:
        texts = dict.fromkeys(("name", "url", "state", "error", "next_attempt"), XSS)
        return [{**texts, "events": [XSS], "oldest_age_s": 90, "delivered": 1, "failed": 2, "lost": 3}]

    async def replay(self, name: str, since_ms: int) -> dict[str, Any]:
        if name != XSS:
            raise NotFound(f"there is no webhook {name}")
        self.replays.append((name, since_ms))
        found = {"endpoint": name, "state": self.state, "oldest": XSS}
        return found | {"since": "1970-01-01T00:00:02Z"}

    async def test(self, name: str) -> dict[str, Any]:
        if name != XSS:
            raise NotFound(f"there is no webhook {name}")
        return {"endpoint": name, "id": "msg_test_1", "result": "failed", "status": 503, "error": XSS}

    async def of_ping(self, _: str) -> list[dict[str, Any]]:
        return self.messages


@contextlib.asynccontextmanager
async def with_endpoints(
    redis: Redis, address: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Console, Endpoints]]:
    endpoints = Endpoints()
    # Both before the routes are made, and in the services that serve them.
    monkeypatch.setattr(Dependencies, "webhooks", endpoints)
    async with open_console(redis, address, webhooks=endpoints) as console:
        yield console, endpoints


async def test_a_gateway_without_webhooks_has_no_page(console: Console) -> None:
    async with console.operator() as browser:
        assert (await browser.get("/console/webhooks"))[0] == 404
        assert "Webhooks" not in (await browser.get("/console/api"))[1].partition("<main")[0]


async def test_endpoints_are_shown_escaped(
    redis_client: Redis, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_endpoints(redis_client, redis_address, monkeypatch) as (console, _):
        async with console.operator() as browser:
            status, text = await browser.get("/console/webhooks")
        assert status == 200
        assert XSS not in text
        assert 'href="/console/webhooks"' in text
        assert ">90 s<" in text
        async with console.operator(await console.named_token("ci", ["read"])) as browser:
            _, text = await browser.get("/console/webhooks")
            assert "Send a test" not in text
            assert "Deliver again" not in text
            for path in ("test", "replay"):
                data = {"name": XSS, "since": "2"}
                assert (await browser.submit("/console", f"/console/webhooks/{path}", data))[0] == 403


async def test_a_test_message_shows_its_result_and_a_replay_its_begin(
    redis_client: Redis, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "/console/webhooks"
    async with (
        with_endpoints(redis_client, redis_address, monkeypatch) as (console, endpoints),
        console.operator() as browser,
    ):
        status, _, text = await browser.submit(page, f"{page}/test", {"name": XSS})
        assert status == 200
        assert XSS not in text
        assert "Test message msg_test_1 to &lt;script&gt;" in text
        assert "failed (status 503): &lt;script&gt;" in text
        status, _, text = await browser.submit(page, f"{page}/replay", {"name": XSS, "since": " 2 "})
        assert (status, endpoints.replays) == (200, [(XSS, 2_000)])
        assert "receives the events since 1970-01-01T00:00:02Z again" in text
        assert XSS not in text
        assert "disabled" not in text
        endpoints.state = "disabled"
        text = (await browser.submit(page, f"{page}/replay", {"name": XSS, "since": "2"}))[2]
        assert "It is disabled: a test that succeeds enables it." in text
        status, _, text = await browser.submit(page, f"{page}/replay", {"name": XSS, "since": "soon"})
        assert status == 400
        assert "<strong>since</strong>" in text
        assert 'name="since" value="soon"' in text
        assert "<option selected>" in text
        for path in ("test", "replay"):
            data = {"name": "none", "since": "2"}
            assert (await browser.submit(page, f"{page}/{path}", data))[0] == 404
        audit = (await browser.get("/console/audit"))[1]
    for path in ("test", "replay"):
        assert f"POST /console/webhooks/{path} &lt;script&gt;" in audit
        assert f"POST /console/webhooks/{path} none</td><td>not_found<" in audit
