"""The headers of pages, errors as pages, and escaping."""

import pytest

from gateway.console.pages import CONTENT_SECURITY_POLICY
from gateway.errors import StoreDown
from tests.gateway.console.harness import Console


async def test_every_page_forbids_inline_code_and_other_hosts(console: Console) -> None:
    async with console.operator() as browser:
        for path in (
            "/console",
            "/console/ping",
            "/console/login",
            "/console/pings/none",
            "/console/series/x",
        ):
            headers = await browser.headers(path)
            assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Frame-Options"] == "DENY"
            assert "Server" not in headers
    for forbidden in ("unsafe", "*", "http"):
        assert forbidden not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(
    "path", ["/console", "/console/ping", "/console/lanes", "/console/settings", "/console/tokens"]
)
async def test_no_page_has_inline_code(console: Console, path: str) -> None:
    async with console.operator() as browser:
        _, text = await browser.get(path)
        assert "<style" not in text
        assert " style=" not in text
        assert "<script>" not in text
        for event in ("onclick", "onload", "onsubmit", "onchange"):
            assert f" {event}=" not in text


async def test_an_error_is_a_page_with_the_status_of_the_api(console: Console) -> None:
    async with console.operator() as browser:
        status, text = await browser.get("/console/pings/unknown")
        assert status == 404
        assert "the ping is unknown" in text
        assert "Log out" in text


async def test_a_lost_redis_is_a_page_that_says_so(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise StoreDown("Redis <b>does not answer</b>")

    async with console.operator() as browser:
        monkeypatch.setattr(console.api.reports, "report", fails)
        async with browser.session.get("/console/pings/x") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"]
            assert "&lt;b&gt;does not answer" in await answer.text()
