"""The list of pings and the page of one, with texts that a device or provider chose."""

import json

import pytest
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.console import ping_pages
from gateway.console.ping_pages import DEVICES_SHOWN, TRIES_SHOWN, accepted_ms
from gateway.queue.receipt_tries import Try
from tests.gateway.console.harness import Browser, Console
from tests.gateway.console.test_webhook_page import with_endpoints

PING = "01a2324ac4c37d55819102a06eab0000"
XSS = "<script>alert(1)</script>"


def report(state: str = "done", count: int = 1) -> dict[str, object]:
    device = {"client_id": XSS, "provider": "apns", "verdict": "rejected", "reason": f"Bad{XSS}"}
    return {
        "ping_id": PING,
        "state": state,
        "counts": {"accepted": 1, "rejected": 2, "later": 0},
        "skipped": {XSS: 1},
        "devices": [device] * count,
    }


async def test_the_list_links_to_each_ping_and_to_the_states(console: Console) -> None:
    console.api.reports.known[PING] = report()
    async with console.operator() as browser:
        status, text = await browser.get("/console/pings")
        assert status == 200
        assert f'href="/console/pings/{PING}"' in text
        assert (await browser.get("/console/pings?state=done"))[0] == 200
        assert (await browser.get("/console/pings?state=%3Cb%3E"))[0] == 400
        assert (await browser.get("/console/pings?cursor=%22%3E"))[0] == 400


async def test_an_id_is_found(console: Console) -> None:
    async with console.operator() as browser:
        headers = await browser.headers(f"/console/pings/find?ping_id=%20{PING}")
        assert headers["Location"] == f"/console/pings/{PING}"
        headers = await browser.headers("/console/pings/find?ping_id=//evil.example/x%0d%0aA:b")
        assert headers["Location"] == "/console/pings/%2F%2Fevil.example%2Fx%0D%0AA%3Ab"


async def test_a_page_shows_devices_reasons_and_tries_escaped(console: Console) -> None:
    console.api.reports.known[PING] = report()
    device = {"client_id": XSS, "provider": "apns", "verdict": "later", "reason": XSS}
    console.tries.known[PING] = [Try("first", 1_700_000_000_000, 1, (device,)), Try("retry", None, 0, ())]
    async with console.operator() as browser:
        status, text = await browser.get(f"/console/pings/{PING}")
    assert status == 200
    assert XSS not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert "a retry" in text
    assert "2023-11-14 22:13:20 UTC" in text


async def test_the_effect_on_a_device_is_shown_where_the_receipt_has_it(console: Console) -> None:
    effect = {"client_id": "c1", "provider": "apns", "verdict": "accepted"}
    effect |= {"synced_after_s": 7, "acknowledged": True}
    console.api.reports.known[PING] = report() | {"devices": [effect]}
    async with console.operator() as browser:
        _, text = await browser.get(f"/console/pings/{PING}")
    assert "synchronised after 7 s acknowledged" in text


async def test_the_messages_of_webhooks_are_shown_and_followed(
    redis_client: Redis, redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = {"endpoint": XSS, "type": "ping.completed", "id": XSS, "error": XSS, "next_attempt": XSS}
    async with with_endpoints(redis_client, redis_address, monkeypatch) as (console, endpoints):
        console.api.reports.known[PING] = report()
        endpoints.messages = [message | {"state": "failing"}]
        async with console.operator() as browser:
            _, text = await browser.get(f"/console/pings/{PING}")
            assert XSS not in text
            assert "failing" in text
            assert f'data-live="/console/pings/{PING}/live"' in text
            async with browser.session.get(f"/console/pings/{PING}/live") as stream:
                found = b""
                while b"event: done" not in found:
                    found += await stream.content.readany()
                    if found.count(b"event: changed") == 1:
                        endpoints.messages = [message | {"state": "delivered"}]
            assert found.count(b"event: changed") == 2
            console.api.reports.known[PING] |= {"apps": ["a"]}
            async with console.operator(await console.named_token("ci", ["read"], ["a"])) as limited:
                assert "ping.completed" not in (await limited.get(f"/console/pings/{PING}"))[1]
            assert "data-live" not in (await browser.get(f"/console/pings/{PING}"))[1]


async def test_a_long_receipt_is_cut(console: Console) -> None:
    console.api.reports.known[PING] = report(count=DEVICES_SHOWN + 7)
    async with console.operator() as browser:
        _, text = await browser.get(f"/console/pings/{PING}")
    assert "7 further devices" in text


async def events(browser: Browser, path: str) -> list[tuple[str, object]]:
    """All events of a stream that ends."""
    _, text = await browser.get(path)
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if fields.get("data") and fields["event"] not in ("session", "alive"):
            found.append((fields["event"], json.loads(fields["data"])))
    return found


async def test_a_stream_follows_the_receipt_to_its_end(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.api.reports.known[PING] = report("queued")
    states = iter(["queued", "open", "open", "done"])

    async def changing(_: str) -> dict[str, object]:
        return report(next(states)) | {"counts": {"accepted": 0, "rejected": 2, "later": 0}}

    async with console.operator() as browser:
        monkeypatch.setattr(console.api.reports, "report", changing)
        found = await events(browser, f"/console/pings/{PING}/live")
    assert found == [
        ("changed", {"state": "open"}),
        ("changed", {"state": "done"}),
        ("done", {"state": "done"}),
    ]


async def test_the_syncs_after_a_ping_are_followed_until_all_devices_have_synced(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = f"{SHARED_CLOCK.now_ms() - 5_000:012x}" + PING[12:]
    monkeypatch.setattr(ping_pages, "FOLLOW_SLOW_S", 0.01)
    console.api.reports.known[recent] = report()
    synced = iter([{}, {}, {}, {"synced": 1}])

    async def changing(_: str) -> dict[str, object]:
        return report() | next(synced)

    async with console.operator() as browser:
        assert "data-live" in (await browser.get(f"/console/pings/{recent}"))[1]
        monkeypatch.setattr(console.api.reports, "report", changing)
        found = await events(browser, f"/console/pings/{recent}/live")
    done = {"state": "done"}
    assert found == [("changed", done), ("changed", done), ("done", done)]


@pytest.mark.parametrize(
    ("accepted", "age_ms", "followed"),
    [(1, 1_000, True), (1, ping_pages.EFFECTS_MS + 1, False), (0, 1_000, False)],
    ids=["recent", "old", "no device"],
)
async def test_a_finished_ping_is_followed_while_its_devices_may_sync(
    console: Console, accepted: int, age_ms: int, followed: bool
) -> None:
    counts = {"accepted": accepted, "rejected": 0, "later": 0}
    console.api.reports.known[PING] = report() | {"counts": counts}
    last = Try("first", SHARED_CLOCK.now_ms() - age_ms, accepted, ())
    scheduled = Try("first", 1_700_000_000_000, accepted, ())
    console.tries.known[PING] = [scheduled, last]
    async with console.operator() as browser:
        assert ("data-live" in (await browser.get(f"/console/pings/{PING}"))[1]) is followed


async def test_a_caller_that_is_limited_to_apps_reads_only_pings_with_its_limit(console: Console) -> None:
    token = await console.named_token("ci", ["read"], ["com.example.a"])
    console.api.reports.known[PING] = report()
    async with console.operator(token) as browser:
        for path in ("", "/story", "/live"):
            assert (await browser.get(f"/console/pings/{PING}{path}"))[0] == 404
        console.api.reports.known[PING] = report() | {"apps": ["com.example.a"]}
        assert (await browser.get(f"/console/pings/{PING}"))[0] == 200


def test_an_id_contains_the_time_of_acceptance() -> None:
    assert accepted_ms("0000000003e8" + "0" * 20) == 1000
    assert accepted_ms("x") is None


class Canceller:
    """Cancels each ping."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    async def cancel(self, ping_id: str) -> str:
        self.cancelled.append(ping_id)
        return "cancelled"


async def test_a_ping_is_cancelled(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    console.api.reports.known[PING] = report("open")
    path, canceller = f"/console/pings/{PING}", Canceller()
    async with console.operator() as browser:
        monkeypatch.setattr(console.api.services, "canceller", None, raising=False)
        assert "Cancel the ping" not in (await browser.get(path))[1]
        assert (await browser.submit("/console", f"{path}/cancel", {}))[0] == 404
        monkeypatch.setattr(console.api.services, "canceller", canceller, raising=False)
        assert "Cancel the ping" in (await browser.get(path))[1]
        assert (await browser.submit("/console", f"{path}/cancel", {}))[:2] == (303, path)
        assert (await browser.submit("/console", "/console/pings/none/cancel", {}))[0] == 404
        assert f"POST /console/pings/cancel {PING}" in (await browser.get("/console/audit"))[1]
    assert canceller.cancelled == [PING]


async def test_a_finished_ping_and_a_reader_have_no_button(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.api.services, "canceller", Canceller(), raising=False)
    console.api.reports.known[PING] = report("done")
    async with console.operator() as browser:
        assert "Cancel the ping" not in (await browser.get(f"/console/pings/{PING}"))[1]
    console.api.reports.known[PING] = report("open")
    async with console.operator(await console.named_token("ci", ["read"])) as browser:
        assert "Cancel the ping" not in (await browser.get(f"/console/pings/{PING}"))[1]
        assert (await browser.submit("/console", f"/console/pings/{PING}/cancel", {}))[0] == 403


async def test_the_tries_of_a_broadcast_are_cut_to_the_newest(console: Console) -> None:
    console.api.reports.known[PING] = report()
    console.tries.known[PING] = [Try("chunk", 1_000 * number, 1, ()) for number in range(1, TRIES_SHOWN + 4)]
    async with console.operator() as browser:
        _, text = await browser.get(f"/console/pings/{PING}")
    assert "3 earlier attempts are not shown" in text
    assert text.count("a part of the broadcast") == TRIES_SHOWN
    assert "1970-01-01 00:01:43 UTC" in text
    assert "1970-01-01 00:00:03 UTC" not in text
