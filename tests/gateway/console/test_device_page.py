"""The page of a device: its state, and its last deliveries."""

from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from gateway.queue.receipts import DeviceVerdict, PingRecord, pack_base
from gateway.store import keys
from protocols.errors import BodyTooLarge
from protocols.verdict import VerdictKind
from tests.gateway.console.harness import Console
from tests.gateway.console.test_user_pages import XSS, device

BATCH = "01a2324ac4c37d55819102a06eab"
PATH = f"/console/devices/{quote(XSS, safe='')}"


async def put_delivery(redis: Redis, client_id: str) -> None:
    rejected = DeviceVerdict(client_id, "apns", VerdictKind.REJECTED, f"Bad{XSS}")
    await redis.hset(keys.receipt(BATCH), "base", pack_base([PingRecord(other_verdicts=(rejected,))]))
    await redis.zadd(keys.RECEIPTS, {keys.receipt(BATCH): 1})


async def test_state_and_deliveries_are_shown_escaped(console: Console, redis_client: Redis) -> None:
    await redis_client.set(keys.client(XSS, "user_id"), "bob/x")
    await put_delivery(redis_client, XSS)
    console.devices.known["bob/x"] = [device(client_id="other"), device(registered=None)]
    async with console.operator() as browser:
        status, text = await browser.get(PATH)
        assert status == 200
        assert "<script>alert" not in text
        assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
        assert f'href="/console/pings/{BATCH}0000"' in text
        assert 'href="/console/users/bob%2Fx"' in text
        assert 'action="/console/users/bob%2Fx/restore"' in text
        assert "Searched 1 of 1 receipts" in text
        users = (await browser.get("/console/users/bob%2Fx"))[1]
        assert f'href="{PATH}"' in users


async def test_a_device_that_is_gone_still_has_its_deliveries(console: Console, redis_client: Redis) -> None:
    async with console.operator() as browser:
        assert (await browser.get("/console/devices/phone"))[0] == 404
        await put_delivery(redis_client, "phone")
        status, text = await browser.get("/console/devices/phone")
        assert status == 200
        assert "No user has this device now" in text
        await redis_client.set(keys.client("phone", "user_id"), "bob")
        _, text = await browser.get("/console/devices/phone?cursor=%3Cx")
        assert "does not name this device" in text


async def test_it_needs_the_scope_and_no_limit_to_apps(console: Console) -> None:
    for token in (
        await console.named_token("sender", ["ping"]),
        await console.named_token("limited", ["read"], ["com.example.a"]),
    ):
        async with console.operator(token) as browser:
            assert (await browser.get("/console/devices/phone"))[0] == 403


async def test_a_device_of_a_user_with_very_many_has_a_page(
    console: Console, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_many(_: str) -> None:
        raise BodyTooLarge("too many")

    monkeypatch.setattr(console.devices, "of_user", too_many)
    await redis_client.set(keys.client("phone", "user_id"), "bob")
    await put_delivery(redis_client, "phone")
    async with console.operator() as browser:
        status, text = await browser.get("/console/devices/phone")
        assert status == 200
        assert "too many devices for a report" in text
        assert f'href="/console/pings/{BATCH}0000"' in text
        status, text = await browser.get("/console/users/bob")
        assert status == 413
        assert "<h1" in text
        assert "more than 1,000 devices" in text
