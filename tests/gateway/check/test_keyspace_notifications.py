"""`rhopush check` reports a Redis that does not send the notifications for `events.keyspace`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.check.findings import Level
from gateway.check.keyspace_notifications import check_keyspace_notifications
from gateway.settings import EventSettings, Secret, Settings

OPTION = "notify-keyspace-events"


@pytest.fixture
async def quiet(redis_client: Redis) -> AsyncIterator[Redis]:
    before = (await redis_client.config_get(OPTION))[OPTION]
    await redis_client.config_set(OPTION, "")
    yield redis_client
    await redis_client.config_set(OPTION, before)


def listening(address: str, keyspace: Any = "listen") -> Settings:
    return Settings(redis=Secret(address), events=EventSettings(keyspace=keyspace))


async def test_a_redis_without_notifications_is_named_with_the_remedy(
    quiet: Redis, redis_address: str
) -> None:
    (found,) = await check_keyspace_notifications(listening(redis_address))
    assert found.level is Level.BAD
    assert f"does not send them: set {OPTION} to " in found.text
    value = found.text.partition(f"{OPTION} to ")[2].partition(",")[0]
    await quiet.config_set(OPTION, value)
    (found,) = await check_keyspace_notifications(listening(redis_address))
    assert found.level is Level.GOOD


async def test_notifications_that_serve_configures_need_no_warning(quiet: Redis, redis_address: str) -> None:
    (found,) = await check_keyspace_notifications(listening(redis_address, "configure"))
    assert (found.level, found.text.partition(": ")[2]) == (Level.GOOD, f"serve adds Kg$sh to {OPTION}")


@pytest.mark.parametrize(("keyspace", "level"), [("listen", Level.WARNING), ("configure", Level.BAD)])
async def test_a_redis_that_hides_its_configuration(
    quiet: Redis, redis_address: str, keyspace: str, level: Level
) -> None:
    await quiet.acl_setuser("blind", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])
    try:
        address = redis_address.replace("unix://", "unix://blind:x@")
        (found,) = await check_keyspace_notifications(listening(address, keyspace))
    finally:
        await quiet.acl_deluser("blind")
    assert found.level is level
    assert "CONFIG GET notify-keyspace-events is refused" in found.text
    assert "Redis refuses: NOPERM" in found.text


async def test_a_redis_that_is_away_has_refused_nothing(tmp_path: Path) -> None:
    (found,) = await check_keyspace_notifications(listening(f"unix://{tmp_path}/s"))
    assert (found.level, "is refused" in found.text) == (Level.BAD, False)
    assert "Redis does not answer: it cannot be reached (no such file or directory)" in found.text


async def test_nothing_is_reported_without_events_keyspace(redis_address: str) -> None:
    assert await check_keyspace_notifications(listening(redis_address, "off")) == []
    assert await check_keyspace_notifications(Settings(events=EventSettings(keyspace="listen"))) == []
