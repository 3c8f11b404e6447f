"""The devices of the demo."""

import asyncio
import json

from redis.asyncio import Redis

from gateway.console.demo import demo_owners
from gateway.delivery.provider_entry import ProviderEntry
from gateway.settings import Settings
from gateway.settings.model import ConsoleSettings
from tests.gateway.console.harness import Console, open_console
from tests.gateway.http_api.harness import TOKEN

HEADERS = {"X-RhoConnect-API-TOKEN": TOKEN}
PUSHES = "/console/demo/pushes"


async def test_without_the_setting_there_are_no_such_routes(console: Console) -> None:
    async with console.operator() as browser:
        assert (await browser.get("/console/demo"))[0] == 404
        assert (await browser.post(PUSHES, json={"user": "a", "provider": "b"}, headers=HEADERS))[0] == 404


async def test_a_reported_push_reaches_the_page(redis_client: Redis, redis_address: str) -> None:
    settings = Settings(console=ConsoleSettings(demo=True))
    async with (
        open_console(redis_client, redis_address, settings=settings) as console,
        console.operator() as browser,
    ):
        assert "alice" in (await browser.get("/console/demo"))[1]
        push = {"user": "alice", "provider": "apns", "alert": "hello", "badge": "3"}
        assert (await browser.post(PUSHES, json=push))[0] == 422  # a session is no API token
        for wrong in (b'{"user":5}', b'{"user":"\xff"}', b"[" * 5_000, b"{"):
            status, _, text = await browser.post(PUSHES, data=wrong, headers=HEADERS)
            assert status == 400
            assert "the body must be a push of a simulated device" in text
        assert (await browser.post(PUSHES, json=push, headers=HEADERS))[0] == 200
        async with browser.session.get("/console/live/demo") as answer, asyncio.timeout(30):
            found = []
            async for line in answer.content:
                if line.startswith(b"data: {") and b"alert" in line:
                    found.append(json.loads(line.removeprefix(b"data: "))["alert"])
                    if len(found) == 2:
                        break
                    await browser.post(PUSHES, json=push | {"alert": "again"}, headers=HEADERS)
        assert found == ["hello", "again"]


def test_each_provider_with_a_simulated_device_has_a_user_of_its_own() -> None:
    def entries(count: int) -> list[ProviderEntry]:
        return [ProviderEntry(f"p{number}", "", demo_device="module:Device") for number in range(count)]

    assert demo_owners([*entries(2), ProviderEntry("none", "")]) == {"p0": "alice", "p1": "bob"}
    owners = demo_owners(entries(12))
    assert len(set(owners.values())) == 12
    assert owners["p11"] == "user12"
