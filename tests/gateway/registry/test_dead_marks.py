"""Marks of dead tokens: those in effect are listed, page by page, and removed on request."""

import pytest
from redis.asyncio import Redis

from gateway.delivery.provider_registry import installed
from gateway.registry import dead_marks, token_marks
from gateway.registry.dead_marks import DeadFilter, DeadMarks
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.support.rhoconnect import android, apple, lay_user

NO_SYNC = "da39a3ee"
ALL = DeadFilter()


async def mark(
    redis: Redis, client_id: str, pin: str, reason: str = "Unregistered", at_ms: int = 5_000
) -> None:
    places = ("0011",) if reason == "BadDeviceToken" else ()
    before, after = token_marks.around(pin, reason, at_ms, places)
    await redis.set(keys.dead(client_id), before + NO_SYNC + after)


@pytest.fixture
async def marks(connection: RedisConnection, redis_client: Redis) -> DeadMarks:
    """Three marks that are in effect, and some that are not."""
    devices = [apple(f"{number:064x}", client_id=f"{number:032x}") for number in range(4)]
    await lay_user(redis_client, "bob", [*devices, android("token", client_id="f" * 32)])
    await mark(redis_client, devices[0].client_id, devices[0].pin)
    await mark(redis_client, devices[1].client_id, devices[1].pin, "BadDeviceToken", 9_000)
    await mark(redis_client, "f" * 32, "token", "UNREGISTERED")
    await mark(redis_client, devices[2].client_id, "another token")
    await redis_client.set(keys.dead(devices[3].client_id), token_marks.host(devices[3].pin, 5_000, "0011"))
    await mark(redis_client, "gone", "no client")
    return DeadMarks(connection, installed().device_types)


async def listed(marks: DeadMarks, wanted: DeadFilter = ALL) -> list[tuple[str, str, bool]]:
    devices = (await marks.page(wanted))["devices"]
    return sorted((one["client_id"][-1], one["reason"], one["everywhere"]) for one in devices)


async def test_only_marks_in_effect_are_listed(marks: DeadMarks) -> None:
    assert await listed(marks) == [
        ("0", "Unregistered", True),
        ("1", "BadDeviceToken", False),
        ("f", "UNREGISTERED", True),
    ]
    (row,) = (await marks.page(DeadFilter(provider="fcm")))["devices"]
    assert row == {
        "client_id": "f" * 32,
        "user_id": "bob",
        "provider": "fcm",
        "app": row["app"],
        "token": "t…(5)",
        "reason": "UNREGISTERED",
        "since": "1970-01-01T00:00:05Z",
        "everywhere": True,
    }
    assert await listed(marks, DeadFilter(since_ms=6_000)) == [("1", "BadDeviceToken", False)]
    assert await listed(marks, DeadFilter(apps=frozenset())) == []


async def test_restored_marks_are_gone_and_others_stay(marks: DeadMarks, redis_client: Redis) -> None:
    ids = [f"{0:032x}", "f" * 32, "unknown", f"{2:032x}"]
    assert await marks.restore_devices(ids, DeadFilter(provider="apns")) == {
        "restored": 1,
        "next_cursor": None,
    }
    assert [one[0] for one in await listed(marks)] == ["1", "f"]
    assert await marks.restore(DeadFilter(reason="BadDeviceToken")) == {"restored": 1, "next_cursor": None}
    assert (await marks.restore(ALL))["restored"] == 1
    assert await listed(marks) == []
    assert await redis_client.exists(keys.dead(f"{3:032x}")) == 1  # learned, not dead


async def test_the_work_of_a_page_is_bounded(
    marks: DeadMarks, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_marks, "SCANS_MAX", 1)
    monkeypatch.setattr(dead_marks, "_SCANNED", 1)
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        page = await marks.page(ALL, cursor=cursor)
        found += [one["client_id"] for one in page["devices"]]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            break
    assert len(set(found)) == 3
    assert pages > 3
    restored, cursor = 0, None
    while True:
        answer = await marks.restore(ALL, cursor)
        restored, cursor = restored + answer["restored"], answer["next_cursor"]
        if cursor is None:
            break
    assert restored == 3
