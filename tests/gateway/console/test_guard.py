"""Scopes, limits to apps, and CSRF tokens."""

from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.console.guard import require_csrf
from gateway.console.pages import CONTENT_SECURITY_POLICY
from gateway.errors import NotAllowed
from tests.gateway.console.harness import Console
from tests.gateway.http_api.harness import TOKEN

READ = ("/console", "/console/lanes", "/console/settings", "/console/users")
PING = ("/console/ping",)
ADMIN = ("/console/tokens", "/console/audit")


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["read"], {*READ, *PING, "/console/pings"}),
        (["ping"], {*PING}),
        (["broadcast"], {*PING}),
        (["devices"], set()),
        (["admin"], {*READ, *PING, *ADMIN, "/console/pings"}),
    ],
    ids=["read", "ping", "broadcast", "devices", "admin"],
)
async def test_a_page_needs_its_scope(console: Console, scopes: list[str], allowed: set[str]) -> None:
    async with console.operator(await console.named_token("ci", scopes)) as browser:
        for path in (*READ, *PING, *ADMIN, "/console/pings"):
            status, text = await browser.get(path)
            if path == "/console" and "read" not in scopes and "admin" not in scopes:
                assert status == 303  # the first page that the caller may see
            elif path in allowed:
                assert status == 200, path
            else:
                assert status == 403, path
                assert "lacks the scope" in text
        navigation = (await browser.get("/console/api"))[1]
        for path in (*READ[1:], *PING, *ADMIN):
            assert (f'href="{path}"' in navigation) == (path in allowed)


async def test_a_caller_that_is_limited_to_apps_sees_no_page_about_all_apps(console: Console) -> None:
    token = await console.named_token("ci", ["read", "ping"], ["com.example.a"])
    async with console.operator(token) as browser:
        assert (await browser.get("/console"))[0] == 303
        for path in ("/console/lanes", "/console/settings", "/console/users", "/console/users/bob"):
            assert (await browser.get(path))[0] == 403
        for path in ("/console/ping", "/console/pings", "/console/api"):
            assert (await browser.get(path))[0] == 200
        assert (await browser.get("/console/live/overview"))[0] == 403


ACTIONS = {
    "/console/logout": {},
    "/console/ping": {"users": "bob", "action": "send"},
    "/console/users/bob/restore": {"client_id": "c1"},
    "/console/lanes/reset": {"lane": "apns"},
    "/console/tokens": {"name": "new", "scopes[]": "admin"},
    "/console/tokens/revoke": {"name": "ci"},
    "/console/webhooks/test": {"name": "crm"},
    "/console/webhooks/replay": {"name": "crm", "since": "2"},
}


@pytest.mark.parametrize("path", ACTIONS)
async def test_a_form_without_the_csrf_token_of_the_session_has_no_effect(
    console: Console, path: str
) -> None:
    await console.named_token("ci", ["read"])
    async with console.operator() as other:
        foreign = await other.csrf("/console")
    async with console.operator() as browser:
        own = await browser.csrf("/console")
        for csrf in ("", "x", foreign, own[:-1], own + "x", "é", "\ud800"):
            data = ACTIONS[path] | {"csrf": csrf.encode("utf-8", "surrogatepass").decode("utf-8", "replace")}
            assert (await browser.post(path, data=data))[0] == 403
        assert (await browser.post(path, data=ACTIONS[path], params={"csrf": own}))[0] == 403
        elsewhere = {"Sec-Fetch-Site": "same-site"}
        assert (await browser.post(path, data=ACTIONS[path] | {"csrf": own}, headers=elsewhere))[0] == 403
        assert (await browser.get("/console"))[0] == 200
        assert console.api.queue.pings == []
        assert console.devices.restored == console.resets.lanes == []
        assert ">new<" not in (await browser.get("/console/tokens"))[1]
        assert ">ci<" in (await browser.get("/console/tokens"))[1]


@pytest.mark.parametrize("path", ACTIONS)
async def test_an_action_needs_a_session_and_no_get_performs_it(console: Console, path: str) -> None:
    async with console.browser() as browser:
        status, location, _ = await browser.post(path, data=ACTIONS[path])
        assert (status, location) == (303, "/console/login?next=/console")
    async with console.operator(await console.named_token("ci", ["read"])) as browser:
        csrf = await browser.csrf("/console")
        if path != "/console/logout":
            assert (await browser.post(path, data=ACTIONS[path] | {"csrf": csrf}))[0] == 403


async def test_fragments_and_streams_answer_401_without_a_session(console: Console) -> None:
    async with console.browser() as browser:
        for path in (
            "/console/live/overview",
            "/console/series/5s",
            "/console/users/search",
            "/console/pings/abc/story",
            "/console/pings/abc/live",
        ):
            assert (await browser.get(path))[0] == 401


async def test_a_token_of_the_api_alone_opens_no_page(console: Console) -> None:
    async with console.browser(headers={"X-RhoConnect-API-TOKEN": TOKEN}) as browser:
        assert (await browser.get("/console"))[0] == 303
        assert (await browser.get(f"/console?api_token={TOKEN}"))[0] == 303


async def test_refused_actions_are_in_the_audit(console: Console) -> None:
    async with console.operator(await console.named_token("reader", ["read"])) as reader:
        data = {"client_id": "c1"}
        assert (await reader.submit("/console", "/console/users/bob/restore", data))[0] == 403
        assert (await reader.get("/console/audit"))[0] == 403  # a page that is not shown is no action
        assert (await reader.post("/console/logout", data={}))[0] == 403
    async with console.operator() as browser:
        for path, name in (("/console/lanes/reset", "lane"), ("/console/tokens/revoke", "name")):
            assert (await browser.submit("/console", path, {name: "nothing"}))[0] == 404
        log = console.api.services.audit_log
        assert log is not None
        records = (await log.page())["records"]
    found = [
        (one["who"], one["action"], one["outcome"]) for one in reversed(records) if one["action"] != "login"
    ]
    assert found == [
        ("reader", "POST /console/users/bob/restore", "scope_missing"),
        ("reader", "POST /console/logout", "not_allowed"),
        ("api_token", "POST /console/lanes/reset nothing", "not_found"),
        ("api_token", "POST /console/tokens/revoke nothing", "not_found"),
    ]


def test_a_csrf_token_that_has_no_encoding_is_refused() -> None:
    with pytest.raises(NotAllowed):
        require_csrf(make_mocked_request("POST", "/console/ping"), {"csrf": "\ud800"}, "token")


@pytest.mark.parametrize("path", ["/console/ping", "/console/login"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
async def test_a_form_that_is_too_long_is_refused_with_a_page(
    console: Console, path: str, is_chunked: bool
) -> None:
    fields = {"users": ",".join(f"user{number}" for number in range(10_000)), "token": "x" * 70_000}
    async with console.operator() as browser:
        body = urlencode({"csrf": await browser.csrf(path), **fields}).encode()
        options = {"data": _in_parts(body) if is_chunked else body}
        options |= {"headers": {"Content-Type": "application/x-www-form-urlencoded"}}
        async with browser.session.post(path, allow_redirects=False, **options) as answer:
            text = await answer.text()
            assert (answer.status, answer.content_type) == (413, "text/html")
            assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "a form must not exceed 65536 bytes: the HTTP API takes longer lists of users" in text
    assert "X-RhoConnect-API-TOKEN" not in text


async def _in_parts(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 8_192):
        yield body[start : start + 8_192]
