"""The headers of pages, errors as pages, and escaping."""

import pytest
from yarl import URL

from gateway.console.guard import Guard
from gateway.console.pages import CONTENT_SECURITY_POLICY, PAGE_HEADERS
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


PING = "01a2324ac4c37d55819102a06eab0000"
KEPT = (
    "/console",
    "/console/",
    "/console/login",
    "/console/alive",
    "/console/nowhere",
    "/console/pings/find",
)
STREAMS = ("/console/live/overview", f"/console/pings/{PING}/live")
OTHER_HEADERS = {name: value for name, value in PAGE_HEADERS.items() if name != "Content-Security-Policy"}
EVERY = (
    *KEPT,
    *("/console/series/5s", "/console/series/x", "/console/lanes", "/console/ping", "/console/settings"),
    *("/console/api", "/console/pings", f"/console/pings/{PING}", f"/console/pings/{PING}/story"),
    *("/console/users", "/console/users/search", "/console/users/nobody", "/console/devices/none"),
    *("/console/tokens", "/console/audit", "/console/webhooks", "/console/pings/x%2Fy/cancel"),
)


@pytest.mark.parametrize("with_session", [True, False], ids=["session", "no session"])
async def test_no_response_about_the_gateway_is_stored_or_framed(
    console: Console, with_session: bool
) -> None:
    console.api.reports.known[PING] = {
        "ping_id": PING,
        "state": "done",
        "counts": {},
        "skipped": {},
        "devices": [],
    }
    async with console.operator() if with_session else console.browser() as browser:
        for path in (*EVERY, *STREAMS):
            for method in ("GET",) if path in STREAMS else ("GET", "HEAD"):
                async with browser.session.request(method, path, allow_redirects=False) as answer:
                    assert answer.status < 500, (method, path)
                    (policy,) = answer.headers.getall("Content-Security-Policy")
                    for part in ("default-src 'none'", "frame-ancestors 'none'"):
                        assert part in policy.split("; "), (method, path)
                    for name, value in OTHER_HEADERS.items():
                        assert answer.headers.getall(name) == [value], (method, path, name)


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "HEAD"])
async def test_other_methods_have_no_effect(console: Console, method: str) -> None:
    async with console.operator() as browser:
        for path in (*EVERY, *STREAMS, "/console/logout", "/console/lanes/reset"):
            if method == "HEAD" and path in EVERY:
                continue
            async with browser.session.request(method, path, allow_redirects=False) as answer:
                assert answer.status == 404, path
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert (await browser.get("/console"))[0] == 200


@pytest.mark.parametrize(
    "text", ["%00", "%ff", "%ed%a0%80", "%e2%80%ae", "%2e%2e", "a%0d%0ab", "%F0%9F%92%A9", "x" * 2_000]
)
async def test_odd_characters_in_an_address_are_no_failure(console: Console, text: str) -> None:
    paths = (
        *(f"/console/users/{text}", f"/console/devices/{text}", f"/console/pings/{text}"),
        *(f"/console/pings/{text}/story", f"/console/pings/{text}/live", f"/console/series/{text}"),
        *(f"/console/static/{text}/{text}", f"/console/pings/find?ping_id={text}", f"/console/{text}"),
        *(f"/console/users?prefix={text}&cursor={text}", f"/console/users/search?prefix={text}"),
        *(f"/console/pings?state={text}", f"/console/pings?cursor={text}", f"/console/audit?cursor={text}"),
        *(f"/console/ping?users={text}", f"/console/login?next={text}", f"/console/settings?{text}"),
    )
    async with console.operator() as browser:
        for path in paths:
            status, _ = await browser.get(URL(path, encoded=True))
            assert status in (200, 303, 400, 404), path


async def test_a_page_that_cannot_be_shown_now_is_loaded_again_by_itself(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise StoreDown("Redis does not answer")

    async with console.operator() as browser:
        csrf = await browser.csrf("/console")
        monkeypatch.setattr(Guard, "visit", fails)
        assert "again.js" in (await browser.get("/console/pings"))[1]
        status, _, text = await browser.post("/console/ping", data={"csrf": csrf})
        assert (status, "again.js" in text) == (503, False)
