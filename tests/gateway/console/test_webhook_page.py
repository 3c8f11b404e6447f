"""The page of webhooks, which only gateways with webhooks have."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.http_api import Dependencies
from tests.gateway.console.harness import Console, open_console

XSS = "<script>alert(1)</script>"


class Endpoints:
    """One endpoint whose texts another party chose."""

    async def listing(self) -> list[dict[str, Any]]:
        texts = dict.fromkeys(("name", "url", "state", "error", "next_attempt"), XSS)
        return [{**texts, "events": [XSS], "delivered": 1, "failed": 2, "lost": 3}]


async def test_a_gateway_without_webhooks_has_no_page(console: Console) -> None:
    async with console.operator() as browser:
        assert (await browser.get("/console/webhooks"))[0] == 404
        assert "Webhooks" not in (await browser.get("/console/api"))[1].partition("<main")[0]


async def test_endpoints_are_shown_escaped(
    redis_client: Redis, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both before the routes are made, and in the services that serve them.
    monkeypatch.setattr(Dependencies, "webhooks", Endpoints())
    async with (
        open_console(redis_client, redis_address, webhooks=Endpoints()) as console,
        console.operator() as browser,
    ):
        status, text = await browser.get("/console/webhooks")
    assert status == 200
    assert XSS not in text
    assert 'href="/console/webhooks"' in text
