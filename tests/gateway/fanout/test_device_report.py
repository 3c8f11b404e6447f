"""The devices of a user: the lane of each, or the reason why no ping reaches it."""

from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway.fanout.device_report import DeviceReports
from gateway.registry import token_marks
from gateway.registry.examination import Examination
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.support.rhoconnect import android, apple, lay_user
from tests.support.worker_core import pipeline


def pin(number: int) -> str:
    return f"{number:064x}"


async def test_every_device_has_its_lane_or_its_reason(
    redis_address: str,
    redis_client: Redis,
    connection: RedisConnection,
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    phones = [apple(pin(number), client_id=f"{number:032x}") for number in range(3)]
    twin = apple(pin(0), client_id=f"{9:032x}")
    await lay_user(redis_client, "bob", [*phones, twin, android("token", client_id="f" * 32)])
    await redis_client.sadd("user:bob:clients", "aa-gone")
    before, after = token_marks.around(pin(1), "Unregistered", 5_000, ())
    await redis_client.set(keys.dead(phones[1].client_id), f"{before}da39a3ee{after}")
    await redis_client.delete(keys.client(phones[2].client_id, "device_pin"))
    await redis_client.set(keys.registered(phones[0].client_id), 7_000)
    async with pipeline(redis_address, tmp_path, settings) as one:
        reports = DeviceReports(Examination(one.registry, connection), one.lanes, connection)
        found = {row["client_id"]: row for row in await reports.of_user("bob")}
        assert await reports.of_user("nobody") == []
        (lane,) = one.lanes.all()
        lane._credential_refused("Revoked")
        halted = {row["client_id"]: row for row in await reports.of_user("bob")}
    assert {name[-1]: row["reason"] for name, row in found.items() if name != twin.client_id} == {
        "0": "" if found[phones[0].client_id]["reachable"] else "repeated",
        "1": "dead_token",
        "2": "unregistered",
        "f": "no_credential",
        "e": "dangling_client",
    }
    twins = [found[phones[0].client_id], found[twin.client_id]]
    reached, repeated = sorted(twins, key=lambda row: not row["reachable"])
    assert (reached["lane"], repeated["reason"]) == (lane.name, "repeated")
    assert repeated["same_as"] == reached["client_id"]
    assert halted[reached["client_id"]]["reachable"] is True
    assert "Revoked" in halted[reached["client_id"]]["text"]
    dead = found[phones[1].client_id]
    assert (dead["provider_reason"], dead["provider"]) == ("Unregistered", "apns")
    assert dead["since"].startswith("1970-01-01T00:00:05")
    assert found[phones[0].client_id]["registered"] == "1970-01-01T00:00:07Z"
    assert dead["registered"] is None
