"""The display of the console in Chromium: forms of values, errors, banners, texts of another direction, paper."""

import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from gateway.console.rendering import duration, instant, number, rate, size
from tests.browser.conftest import RIGHT_TO_LEFT, Site, Window
from tests.browser.test_console import ALIVE_MS, send

pytestmark = pytest.mark.asyncio(loop_scope="module")

BANNER = "#lost"
FORMATS: Mapping[str, Any] = {
    "number": number,
    "rate": rate,
    "duration": duration,
    "size": size,
    "instant": instant,
}
VALUES: Mapping[str, tuple[float, ...]] = {
    "number": (0, 2.5, 999, 1_000, 12_345, 1_234_567_890),
    "rate": (0, 0.04, 0.25, 2.44, 7, 99.96, 100, 123.4, 23_456.7),
    "duration": (0, 0.5, 5, 119.4, 120, 7_199, 7_200, 172_799, 172_800, 86_400 * 400, -5),
    "size": (0, 10, 1_023, 2_048, 5 * 2**20, 3 * 2**30, 2_000 * 2**30),
    "instant": (1_700_000_000_000, 1_700_000_000_999),
}
FORMATTED = """async (values) => {
    const found = document.querySelector("script[src$='overview.js']").src.replace("overview.js", "format.js");
    const format = await import(found);
    return Object.fromEntries(Object.entries(values).map(([name, list]) => [name, list.map(format[name])]));
}"""
MIXED = """() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
        if (!node.data.includes("\\u202e") || node.parentElement.matches("textarea, script")) continue;
        let one = node.parentElement;
        while (getComputedStyle(one).display.startsWith("inline") && getComputedStyle(one).unicodeBidi !== "isolate")
            one = one.parentElement;
        const text = getComputedStyle(one).unicodeBidi === "isolate" ? node.data : one.textContent;
        if (/\\u202e.*[A-Za-z0-9]/s.test(text)) found.push(one.outerHTML.slice(0, 200));
    }
    return found;
}"""
"""Script that lists the elements in which a Latin text follows a text that sets the direction: it is shown in reverse.
The direction ends with the block, and with an element that is isolated."""
STATE: dict[str, Any] = {
    "problems": {},
    "point": None,
    "depth": 12_345,
    "age": 200_000,
    "scheduled": 0,
    "waiting": 0,
    "lanes": [],
    "workers": [],
}


async def _stream(page: Page, state: Mapping[str, Any]) -> None:
    """Let the page's stream contain this state alone."""
    body = f"retry: 100\nevent: state\ndata: {json.dumps(state)}\n\n"

    async def answer(route: Route) -> None:
        await route.fulfill(content_type="text/event-stream", body=body)

    await page.route("**/console/live/overview", answer)


async def test_scripts_write_values_as_the_templates_do(window: Window) -> None:
    found = await window.page.evaluate(FORMATTED, VALUES)
    assert found == {name: [FORMATS[name](value) for value in values] for name, values in VALUES.items()}


async def test_live_values_have_the_form_of_the_page(window: Window, site: Site) -> None:
    page = window.page
    now_ms = int(time.time() * 1_000)
    point = {
        "at": now_ms,
        "pings": 1_234.5,
        "pushes": 0.25,
        "rejected": 0,
        "p50": 12_345.6,
        "p99": 7,
        "depth": 1,
    }
    credentials = [
        {"app": "", "provider": "apns", "seconds": -1},
        {"app": "com.example", "provider": "fcm", "seconds": 86_400 * 30},
    ]
    state = STATE | {"at": now_ms, "point": point | {"reasons": {}}, "credentials": credentials}
    await _stream(page, state)
    await window.open()
    for name, text in {"pings": "1,234", "pushes": "0.2", "p50": "12,346 ms", "p99": "7 ms"}.items():
        await expect(page.locator(f"#now-{name}")).to_have_text(text)
    await expect(page.locator("#now-depth")).to_have_text("12,345")
    await expect(page.locator("#now-age")).to_have_text("2 d")
    await expect(page.locator("#credentials tbody tr")).to_have_text(
        [re.compile("all apps.*apns.*expired"), re.compile("com.example.*fcm.*30 d")]
    )
    await expect(page.locator("#lanes tbody")).to_contain_text("No lane is open")
    await expect(page.locator("#workers tbody")).to_contain_text("No worker has reported yet")


async def test_a_value_without_a_sample_is_no_zero(window: Window) -> None:
    page = window.page
    await _stream(page, STATE | {"at": 1, "credentials": []})
    await window.open()
    await expect(page.locator("#now-depth")).to_have_text("12,345")
    for name in ("pings", "pushes", "p50", "p99"):
        await expect(page.locator(f"#now-{name}")).to_have_text("\u2013")


async def test_the_banner_has_the_reason_of_a_gateway_that_refuses_a_stream(window: Window) -> None:
    page, reason = window.page, "this gateway serves no further live pages"
    window.lost = True  # Chromium reports the status 503 as an error

    async def refuse(route: Route) -> None:
        await route.fulfill(status=503, content_type="text/plain; charset=utf-8", body=reason)

    await page.route("**/console/live/overview", refuse)
    await window.open()
    await page.set_viewport_size({"width": 360, "height": 400})
    await expect(page.locator(BANNER)).to_contain_text(f"The gateway reports: {reason}.")
    await page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    await expect(page.locator(BANNER)).to_be_in_viewport()
    await page.unroute("**/console/live/overview")
    await expect(page.locator(BANNER)).to_be_hidden()
    window.lost = False


async def test_the_banner_is_announced_once_and_has_no_text_of_a_proxy(window_alone: Window) -> None:
    window, page, asked = window_alone, window_alone.page, 0

    async def answer(route: Route) -> None:
        nonlocal asked
        asked += 1
        await route.fulfill(status=503, content_type="text/html", body="<h1>No server is available</h1>")

    await page.clock.install()
    await window.open("/settings")
    await page.evaluate(
        """() => {
            window.changes = 0;
            new MutationObserver((all) => { window.changes += all.length; })
                .observe(document.getElementById("lost"), {childList: true, characterData: true, subtree: true});
        }"""
    )
    window.lost = True
    await page.route("**/console/alive", answer)
    while asked < 3:
        async with page.expect_response("**/console/alive"):
            await page.clock.fast_forward(ALIVE_MS)
    await expect(page.locator(BANNER)).to_contain_text("The gateway does not answer.")
    await expect(page.locator(BANNER)).not_to_contain_text("No server")
    assert await page.evaluate("window.changes") == 0
    window.lost = False


async def test_a_text_of_another_direction_leaves_its_neighbours(window: Window) -> None:
    page, name = window.page, quote(RIGHT_TO_LEFT, safe="")
    for path in (f"/users/{name}", f"/devices/{name}", f"/users?prefix={name}"):
        await window.open(path)
        await expect(page.get_by_text(RIGHT_TO_LEFT[:9]).first).to_be_visible()
        assert await page.evaluate(MIXED) == [], path
    await window.open(f"/ping?users={name},{quote(RIGHT_TO_LEFT[:20])},nobody")
    await page.get_by_role("button", name="Explain").click()
    await expect(page.get_by_text("Users that do not exist")).to_be_visible()
    assert await page.evaluate(MIXED) == []
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".tries li li")).to_contain_text("accepted")
    assert await page.evaluate(MIXED) == []


async def test_a_ping_announces_its_state_and_counts_alone(window: Window) -> None:
    page = window.page
    await window.open("/ping")
    await send(page, "bob")
    await expect(page.locator("#announced")).to_have_text("done: 1 accepted, 0 rejected, 0 later")
    assert await page.locator("[aria-live] table, [role=status] table, [role=alert] table").count() == 0


@pytest.mark.parametrize(
    ("path", "label", "text", "button", "error"),
    [
        ("/ping?users=bob", "Deliver at", "tomorrow", "Send", "RFC 3339"),
        ("/ping?users=bob", "Time to live", "never", "Explain", "ttl_s must be"),
        ("/tokens", "Name", "a b", "Create", "letters, digits"),
        ("/webhooks", "Events since", "yesterday", "Deliver again", "RFC 3339"),
    ],
)
async def test_an_error_is_beside_its_field_which_has_the_focus(
    window: Window, path: str, label: str, text: str, button: str, error: str
) -> None:
    page = window.page
    await window.open(path)
    await page.get_by_label(label).fill(text)
    async with page.expect_response(lambda answer: answer.request.method == "POST"):
        window.lost = True  # Chromium reports the status 400 as an error
        await page.get_by_role("button", name=button).click()
    field = page.get_by_label(label)
    await expect(field).to_have_accessible_description(re.compile(error))
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_value(text)
    await expect(field).to_be_focused()
    window.lost = False


async def test_paper_is_light(context: BrowserContext, site: Site) -> None:
    window = Window(await context.new_page(), site)
    await window.page.emulate_media(color_scheme="dark")
    await window.open("/login")
    theme = "document.documentElement.dataset.bsTheme"
    for event, expected in (("beforeprint", "light"), ("afterprint", "dark")):
        await window.page.evaluate(f"window.dispatchEvent(new Event('{event}'))")
        assert await window.page.evaluate(theme) == expected


async def test_paper_has_the_content_alone(window: Window) -> None:
    page = window.page
    await page.emulate_media(media="print")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    for hidden in ("header nav", "header form", "main fieldset"):
        await expect(page.locator(hidden)).to_be_hidden()


async def test_the_plot_of_a_day_begins_with_a_date(window: Window) -> None:
    page = window.page
    begin = page.locator("#plot-rates text").nth(3)
    await page.get_by_label("5 min").check()
    await expect(begin).to_have_text(re.compile(r"^\d\d:\d\d$"))
    await page.get_by_label("24 h").check()
    await expect(begin).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d$"))


async def test_a_single_sample_is_visible_in_a_plot(window: Window) -> None:
    """Latency has a value only in samples with a delivery, which have no neighbours while pings are rare."""
    page = window.page
    point = {"pings": 0, "pushes": 0, "rejected": 0, "p50": 3, "p99": 3, "depth": 0, "reasons": {}}
    now = 1_800_000_000_000
    about = {"at": now, "step": 3_600_000, "period": 86_400_000}
    lone = {**about, "points": [{**point, "at": now - 40_000_000}]}
    await page.route("**/console/series/*", lambda route: route.fulfill(json=lone))
    await page.get_by_label("24 h").check()
    dot = page.locator("#plot-latency circle.line-2")
    await expect(dot).to_have_count(1)
    assert (
        await dot.evaluate(
            """dot => {
          const [x, y] = [dot.cx.baseVal.value, dot.cy.baseVal.value];
          const around = [[-2, 0], [2, 0], [0, -2], [0, 2]];
          return around.map(([dx, dy]) => dot.isPointInStroke(new DOMPoint(x + dx, y + dy)));
        }"""
        )
        == [True] * 4
    ), "the dot is wider than a line"
    await expect(page.locator("#plot-depth circle")).to_have_count(1)


async def test_each_push_of_the_demo_has_a_text(window: Window, site: Site) -> None:
    page = window.page
    await window.open("/demo")
    contents = [{"badge": "0"}, {"badge": "3"}, {"badge": "3", "alert": "hello"}, {"sync": "Product"}, {}]
    for content in contents:
        push = {"user": "alice", "provider": "apns", **content}
        assert (await site.gateway.request("POST", "/console/demo/pushes", json=push)).status == 200
    pushes = page.get_by_role("region", name="Device of alice").get_by_role("listitem")
    await expect(pushes).to_have_text(
        ["a push without content", "synchronises Product", "hello", "badge 3", "badge 0"]
    )


async def test_a_small_phone_shows_the_link_to_a_ping(window: Window) -> None:
    page = window.page
    await window.open("/ping")
    await send(page, "bob")
    await page.set_viewport_size({"width": 360, "height": 640})
    await window.open("/pings")
    box = await page.locator("td a.id, th a.id").first.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 360
