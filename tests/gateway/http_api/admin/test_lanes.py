"""The routes of lanes: states over all workers, and the reset of a breaker."""

import asyncio
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.gateway.http_api.admin.conftest import PIN, Served
from tests.support.providers import provider_settings
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import Worker, working

PATH = "/rc/v1/admin/lanes"
PATIENCE_S = 30.0


async def lanes_with(worker: Worker, **wanted: Any) -> dict[str, Any]:
    """The APNs lane, once every member has the wanted value."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            lanes: list[dict[str, Any]] = (await worker.request("GET", PATH)).json()["lanes"]
            for lane in lanes:
                if lane["provider"] == "apns" and wanted.items() <= lane.items():
                    return lane
            await asyncio.sleep(0.05)


async def test_every_worker_of_every_gateway_closes_its_breaker(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        settings = provider_settings(apns, fcm)
        async with (
            working(tmp_path, redis_address, settings, gateway_id="one") as one,
            working(tmp_path, redis_address, settings, gateway_id="two") as two,
        ):
            apns.faults.add("403")
            open_breakers: set[str] = set()
            async with asyncio.timeout(PATIENCE_S):
                while open_breakers != {"one", "two"}:
                    for worker in (one, two):
                        await worker.accepted("bob")
                    lane = await lanes_with(one, breaker="open")
                    open_breakers = {each["gateway"] for each in lane["workers"] if each["breaker"] == "open"}
            assert lane["reason"] == lane["workers"][0]["breaker_reason"] != ""
            workers = (await two.request("GET", PATH)).json()["workers"]
            assert [(each["gateway"], each["slot"]) for each in workers] == [("one", 0), ("two", 0)]

            apns.faults.clear()
            answer = await two.request("POST", f"{PATH}/{lane['name']}/reset")
            assert (answer.status, answer.json()) == (200, {"lane": lane["name"], "workers": 2})
            lane = await lanes_with(one, breaker="closed")
            assert {each["breaker"] for each in lane["workers"]} == {"closed"}
            await one.done(await one.accepted("bob"))


async def test_a_lane_that_no_worker_has_is_not_found(served: Served) -> None:
    for name in ("apns:none", "webpush:https%3A%2F%2Fpush.example", "%20"):
        answer = await served.worker.request("POST", f"{PATH}/{name}/reset")
        assert (answer.status, answer.json()["error"]["field"]) == (404, "lane")
