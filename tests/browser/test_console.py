"""The console in Chromium, in front of a real gateway with simulated providers."""

import asyncio
import re
import time
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.browser.conftest import (
    DEAD_PIN,
    LONG,
    MANY,
    NAMED,
    RIGHT_TO_LEFT,
    XSS,
    Site,
    Window,
    open_context,
)
from tests.support.gateway import TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
WIDE = """[...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > 361)
    .map((one) => one.outerHTML.slice(0, 100)).slice(0, 5)"""
"""Script that lists the elements that are too wide."""
COLOURED = ("", "/ping", "/users/alice", "/tokens")
"""Pages that have every kind of element."""
RUN_AXE = {
    "light": "axe.run(%s, {resultTypes: ['violations']})",
    "dark": "axe.run(%s, {runOnly: ['color-contrast']})",  # the colours alone differ
}
REPEATED = "{exclude: [['section ~ section'], ['tr ~ tr'], ['li ~ li']]}"
"""axe checks only the first of the sections, rows and items of the same form: there are hundreds."""
ALIVE_MS = 5_000
"""Interval at which a page without live data asks for the gateway."""
PAGES = (
    *("", "/ping", "/pings", "/users", "/users/alice", "/devices/a1", "/lanes", "/webhooks", "/settings"),
    *("/api", "/tokens", "/audit", "/demo"),
)


async def send(page: Page, users: str, **fields: str) -> None:
    """Fill in the form of a ping on the page, and send it."""
    await page.get_by_label("Users, separated").fill(users)
    for label, value in fields.items():
        await page.get_by_label(label).fill(value)
    await page.get_by_role("button", name="Send").click()
    await page.wait_for_url(re.compile("/console/pings/[0-9a-f]{32}$"))


async def test_a_wrong_token_is_refused_and_the_right_one_accepted(
    context: BrowserContext, site: Site
) -> None:
    window = Window(await context.new_page(), site)
    page = window.page
    await window.open("/settings")
    await page.get_by_label("API token").fill("wrong")
    window.lost = True  # Chromium reports the status 401 as an error
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert").first).to_contain_text("does not accept these credentials")
    window.lost = False
    await page.get_by_label("API token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    assert await page.evaluate("document.cookie") == ""
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    await page.go_back()
    await page.reload()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert window.faults == []


async def test_the_plots_move_under_load(window: Window, site: Site) -> None:
    page = window.page
    line = page.locator("#plot-rates path.line-1")
    await expect(line).to_have_attribute("d", re.compile("M"))
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            await site.gateway.ping(["alice", "bob"], message="load")

    loading = asyncio.create_task(load())
    try:
        await expect(page.locator("#now-pings")).not_to_have_text(re.compile("^[^1-9]*$"))
        await expect(page.locator("#now-p50")).to_contain_text("ms")
        await expect(page.locator("#lanes tbody")).to_contain_text("apns:")
        first = await line.get_attribute("d")
        await expect(line).not_to_have_attribute("d", first or "")
        heights = {
            one.split(" ")[1]
            for one in re.findall(r"[ML]([\d.]+ [\d.]+)", await line.get_attribute("d") or "")
        }
        assert len(heights) > 1, "the line is not flat"
    finally:
        stop.set()
        await loading
    await page.get_by_label("24 h").check()
    await expect(page.locator("#plot-rates text").last).to_contain_text("UTC")


async def test_a_form_is_explained_sent_and_its_verdicts_appear(window: Window) -> None:
    page = window.page
    await page.get_by_role("link", name="New ping").click()
    await expect(page.get_by_label("Product")).to_be_checked()
    await page.get_by_label("Users, separated").fill("alice, bob, nobody")
    await page.get_by_label("Message").fill(XSS)
    await page.get_by_role("button", name="Explain").click()
    await expect(page.get_by_role("heading", name="This ping would reach 2 devices")).to_be_visible()
    await page.get_by_text("Show", exact=True).first.click()
    await expect(page.locator("pre.payload").first).to_contain_text("do_sync")
    await page.get_by_role("button", name="Send").click()
    devices = page.locator("#devices")
    await expect(devices).to_contain_text("b1")
    await expect(page.locator("#ping-state")).to_have_text("done")
    await expect(devices.get_by_text("accepted")).to_have_count(2)
    assert await page.title() != "broken"


async def test_the_page_of_a_ping_shows_a_retry(window: Window, site: Site) -> None:
    page = window.page
    site.apns.faults.add("503=1:next=1")
    await window.open("/ping")
    await send(page, "alice", Message="with a retry")
    await expect(page.locator(".tries")).to_contain_text("a1: later (ServiceUnavailable)")
    await expect(page.locator(".tries")).to_contain_text("a retry, 1 accepted")
    await expect(page.locator("#ping-state")).to_have_text("done")


async def test_a_scheduled_ping_is_cancelled(window: Window) -> None:
    page = window.page
    await window.open("/ping")
    await send(page, "alice", **{"Deliver at": str(int(time.time()) + 86_400)})
    await expect(page.locator("#ping-state")).to_have_text("scheduled")
    button = page.get_by_role("button", name="Cancel the ping")
    await button.click()
    await expect(page.locator("#ping-state")).to_have_text("cancelled")


async def test_a_search_among_many_users_shows_its_progress_and_result(window: Window) -> None:
    page = window.page
    await page.get_by_role("link", name="Users").click()
    await page.get_by_label("Login begins with").fill("user0999")
    await page.keyboard.press("Enter")
    await expect(page.locator("#progress")).to_have_text(
        re.compile(r"^\d\d users found; compared [\d,]+ of 100,006")
    )
    await page.get_by_label("Login begins with").fill("alic")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("#progress")).to_have_text(f"1 user found among {MANY + NAMED:,}")
    await page.get_by_role("link", name="alice").click()
    await expect(page.get_by_role("heading", name="User alice")).to_be_visible()


async def test_a_dead_token_is_restored(window: Window, site: Site) -> None:
    page = window.page
    site.apns.faults.add(f"410:token={DEAD_PIN}")
    await window.open("/ping")
    await send(page, "dora")
    await expect(page.locator("#devices")).to_contain_text("Unregistered")
    await window.open("/users/dora")
    await expect(page.get_by_text("dead_token")).to_be_visible()
    await page.get_by_role("button", name="Restore").click()
    await expect(page.get_by_text("reachable")).to_be_visible()


async def test_a_failing_webhook_recovers_on_the_page_of_its_ping(window_alone: Window, site: Site) -> None:
    window, page = window_alone, window_alone.page
    await page.clock.install()
    site.receiver.status = 503
    await window.open("/ping")
    await send(page, "bob")
    webhooks = page.locator("#webhooks")
    await expect(webhooks).to_contain_text("ping.completed")
    await expect(webhooks).to_contain_text("failing (the receiver answered 503), next attempt at")
    site.receiver.status = 204
    await expect(webhooks).to_contain_text("delivered")
    ping_id = page.url.rpartition("/")[2]
    await page.locator("#devices").get_by_role("link", name="b1").click()
    await expect(page.get_by_role("heading", name="Device b1")).to_be_visible()
    await expect(page.get_by_text("reachable")).to_be_visible()
    await page.locator("#deliveries").get_by_role("link", name=ping_id).click()
    await expect(page.locator("#ping-state")).to_have_text("done")
    await page.get_by_role("link", name="Webhooks").click()
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_role("status")).to_contain_text("delivered (status 204)")
    window.lost = True
    await page.context.set_offline(True)
    await page.clock.fast_forward(ALIVE_MS)
    await expect(page.get_by_text("The gateway does not answer")).to_be_visible()
    await page.context.set_offline(False)
    await page.clock.fast_forward(ALIVE_MS)
    await expect(page.get_by_text("The gateway does not answer")).to_be_hidden()
    window.lost = False


async def test_texts_of_devices_and_users_are_escaped(window: Window) -> None:
    page = window.page
    for path in ("/users?prefix=%3C", "/ping", "/settings?all"):
        await window.open(path)
        await expect(page.get_by_text(XSS).first).to_be_visible()
    await window.open("/users?prefix=%3C")
    await page.get_by_role("link", name=XSS).click()
    await expect(page.get_by_role("heading", name=f"User {XSS}")).to_be_visible()
    await expect(page.get_by_text(XSS).nth(2)).to_be_visible()
    assert await page.locator("img").count() == 0
    assert await page.title() != "broken"


async def test_a_lost_gateway_is_shown_and_the_page_resumes_by_itself(window: Window, site: Site) -> None:
    page = window.page
    banner = page.get_by_text("The gateway does not answer")
    await expect(page.locator("#plot-depth path")).to_have_count(1)
    await expect(banner).to_be_hidden()
    window.lost = True
    worker = site.gateway.workers[0]
    site.gateway.kill(worker)  # the supervisor starts another one
    async with page.expect_response(
        re.compile("/console/series/")
    ):  # requested when the stream is open again
        await expect(banner).to_be_visible()
        await expect(banner).to_be_hidden()
    window.lost = False


async def test_a_hidden_page_gives_its_stream_back(window: Window) -> None:
    page = window.page
    await expect(page.locator("#plot-depth path")).to_have_count(1)
    for hidden in (True, False):
        toggle = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
        await page.evaluate(toggle % str(hidden).lower())
        event = "document.dispatchEvent(new Event('visibilitychange'))"
        if hidden:
            async with page.expect_event("requestfailed", lambda request: "/live/" in request.url):
                await page.evaluate(event)
        else:
            async with page.expect_response(re.compile("/console/series/")):  # when the stream is open again
                await page.evaluate(event)


async def test_a_sync_appears_on_the_page_of_a_finished_ping(window: Window, site: Site) -> None:
    page = window.page
    await window.open("/ping")
    await send(page, "bob")
    await expect(page.locator("#ping-state")).to_have_text("done")
    await expect(page.locator("#devices")).not_to_contain_text("synchronised")
    await site.redis.set("client:b1:last_sync", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"))
    await expect(page.locator("#devices")).to_contain_text("synchronised after")


async def test_pages_fit_a_small_phone(window: Window) -> None:
    page = window.page
    await page.set_viewport_size({"width": 360, "height": 640})
    for path in PAGES:
        await window.open(path)
        await _assert_fits(page, path)


async def _assert_fits(page: Page, about: str) -> None:
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360, (about, await page.evaluate(WIDE))


@pytest.mark.parametrize("text", [LONG, RIGHT_TO_LEFT, XSS], ids=["long", "right to left", "markup"])
async def test_texts_of_others_fit_a_small_phone(window: Window, text: str) -> None:
    page = window.page
    await page.set_viewport_size({"width": 360, "height": 640})
    name = quote(text, safe="")
    for path in (f"/users/{name}", f"/devices/{name}", f"/users?prefix={name}", f"/ping?users={name}"):
        await window.open(path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await _assert_fits(page, path)
    await page.get_by_label("Message").fill(text)
    await page.get_by_label("Further sources").fill(text)
    await page.get_by_role("button", name="Explain").click()
    await expect(page.get_by_role("heading", name="This ping would reach")).to_be_visible()
    await page.get_by_text("Show", exact=True).first.click()
    await _assert_fits(page, "the explanation")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#devices")).to_contain_text(text[:40])
    await _assert_fits(page, "the page of the ping")
    window.lost = True  # Chromium reports the statuses 404 and 400 as errors
    for path in (f"/users/{name}x", f"/devices/{name}x", f"/{name}"):
        await window.open(path)
        await _assert_fits(page, path)
    window.lost = False


async def test_every_action_works_with_the_keyboard_alone(window: Window) -> None:
    page = window.page
    await window.open()
    await page.keyboard.press("Tab")
    assert await _focused(page) == "Skip to the content"
    for _ in range(3):
        await page.keyboard.press("Tab")
    assert await _focused(page) == "New ping"
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("/console/ping$"))
    await _tab_to(page, "users")
    await page.keyboard.type("bob")
    await _tab_to(page, "Explain")
    await page.keyboard.press("Space")
    await expect(page.get_by_role("heading", name="This ping would reach 1 device")).to_be_visible()
    await _tab_to(page, "Show")
    await page.keyboard.press("Enter")
    await expect(page.locator("pre.payload").first).to_be_visible()
    await _tab_to(page, "Send", backwards=True)
    await page.keyboard.press("Enter")
    await expect(page.locator("#ping-state")).to_have_text("done")


async def _focused(page: Page) -> str:
    found: str = await page.evaluate("document.activeElement.id || document.activeElement.textContent")
    return found.strip()


async def _tab_to(page: Page, name: str, *, backwards: bool = False) -> None:
    for _ in range(60):
        if await _focused(page) == name:
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            shadow = await page.evaluate("getComputedStyle(document.activeElement).boxShadow")
            assert outline != "none" or shadow != "none", f"{name} does not show its focus"
            return
        await page.keyboard.press("Shift+Tab" if backwards else "Tab")
    raise AssertionError(f"{name} cannot be reached with the keyboard")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_violation(browser: Browser, site: Site, scheme: Any) -> None:
    context = await browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    window = Window(await context.new_page(), site)
    found = []
    await window.open("/login")
    for path in ("/login", *(PAGES if scheme == "light" else COLOURED)):
        if path == "":
            await window.log_in()
        elif path != "/login":
            await window.open(path)
        await window.page.wait_for_load_state()
        await window.page.evaluate(AXE)
        result = await window.page.evaluate(RUN_AXE[scheme] % REPEATED)
        found += [
            (path, one["id"], one["nodes"][0]["html"])
            for one in result["violations"]
            if one["impact"] in ("serious", "critical")
        ]
    background = await window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(33, 37, 41)")
    await context.close()
    assert found == []
    assert window.faults == []


async def test_a_form_is_sent_after_a_login_in_another_tab(window_alone: Window, site: Site) -> None:
    window, page = window_alone, window_alone.page
    await page.clock.install()
    await window.open("/ping")
    await page.get_by_label("Users, separated").fill("bob")
    other = Window(await page.context.new_page(), site)
    await other.open("/settings")
    await other.page.get_by_role("button", name="Log out").click()
    window.lost = True  # Chromium reports the status 401 as an error
    await page.clock.fast_forward(ALIVE_MS)
    await expect(page.get_by_text("The session has ended")).to_be_visible()
    await other.log_in()
    await page.clock.fast_forward(ALIVE_MS)
    await expect(page.get_by_text("The session has ended")).to_be_hidden()
    window.lost = False
    await page.get_by_role("button", name="Send").click()
    await page.wait_for_url(re.compile("/console/pings/[0-9a-f]{32}$"))
    assert other.faults == []


async def test_the_plots_have_the_time_of_the_gateway(window_alone: Window) -> None:
    window, page = window_alone, window_alone.page
    await page.clock.install(time=time.time() + 20_000)
    await window.open()
    for name in ("5 min", "24 h", "1 h"):
        await page.get_by_label(name).check()
        label = page.locator("#plot-rates text").last
        await expect(label).to_have_text(re.compile(_minutes(time.time())))


def _minutes(now_s: float) -> str:
    """A pattern of the minutes around an instant, in UTC."""
    near = (datetime.fromtimestamp(now_s + 60 * offset, UTC) for offset in range(-1, 3))
    return "|".join(f"^{one:%H:%M} UTC$" for one in near)


async def test_a_series_without_a_sample_is_loaded_again(window: Window) -> None:
    page, answers = window.page, 0

    async def answer(route: Route) -> None:
        nonlocal answers
        answers += 1
        now_ms = int(time.time() * 1_000)
        point = {
            "at": now_ms,
            "pings": 1,
            "pushes": 2,
            "rejected": 0,
            "p50": 1,
            "p99": 1,
            "depth": 1,
            "reasons": {},
        }
        found = {"at": now_ms, "step": 1_000, "period": 3_600_000, "points": [point] if answers > 1 else []}
        await route.fulfill(json=found)

    await page.route("**/console/series/1m", answer)
    await page.get_by_label("1 h").check()
    await expect(page.locator("#plot-rates path.line-1")).to_have_attribute("d", re.compile("M"))


async def test_a_search_that_fails_says_so(window: Window) -> None:
    page = window.page
    await window.open("/users")
    progress = page.locator("#progress")
    await expect(progress).to_contain_text("users")
    window.lost = True
    await page.route("**/console/users/search?*", lambda route: route.abort())
    await page.get_by_label("Login begins with").fill("alice")
    await page.get_by_role("button", name="Search").click()
    await expect(progress).to_contain_text("the gateway does not answer")
    await page.unroute("**/console/users/search?*")
    failure = "the session has ended"
    await page.route("**/console/users/search?*", lambda route: route.fulfill(status=401, body=failure))
    await page.get_by_role("button", name="Search").click()
    await expect(progress).to_contain_text(failure)
    window.lost = False


async def test_pages_and_forms_work_without_javascript(browser: Browser, site: Site) -> None:
    async with open_context(browser, java_script_enabled=False) as context:
        window = Window(await context.new_page(), site)
        page = window.page
        await window.log_in()
        await expect(page.locator("#now-depth")).to_have_text(re.compile(r"^\d"))
        await page.get_by_role("link", name="Users").click()
        await page.get_by_label("Login begins with").fill("user0")
        await page.get_by_role("button", name="Search").click()
        await page.get_by_role("link", name="Continue").click()
        await expect(page.locator("#found li").first).to_be_visible()
        await window.open("/ping")
        await send(page, "alice", **{"Deliver at": str(int(time.time()) + 86_400)})
        await page.get_by_role("button", name="Cancel the ping").click()
        await expect(page.locator("#ping-state")).to_have_text("cancelled")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert window.faults == []
