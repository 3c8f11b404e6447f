"""The common part of pages: results and errors of actions, and pages that do not exist."""

import json

from tests.gateway.console.harness import Console

XSS = "<script>alert(1)</script>"


async def test_an_error_has_its_status_its_field_and_an_alert(console: Console) -> None:
    async with console.operator() as browser:
        status, _, text = await browser.submit("/console/tokens", "/console/tokens", {"name": XSS})
    assert status == 400
    assert 'role="alert"><strong>name</strong>' in text
    assert XSS not in text


async def test_a_page_that_does_not_exist_is_a_page(console: Console) -> None:
    async with console.operator() as browser:
        status, text = await browser.get("/console/nowhere/at/all")
        assert status == 404
        assert "there is no such page" in text
        assert "Log out" in text
    async with console.browser() as browser:
        assert (await browser.get("/console/nowhere"))[0] == 303


async def test_a_page_asks_whether_gateway_and_session_are_there(console: Console) -> None:
    async with console.operator() as browser:
        status, text = await browser.get("/console/alive")
        assert status == 200
        assert json.loads(text) == {"caller": "api_token", "csrf": await browser.csrf("/console")}
    async with console.browser() as browser:
        assert (await browser.get("/console/alive"))[0] == 401
