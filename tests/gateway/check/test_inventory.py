"""The inventory of a live RhoConnect's Redis."""

from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.check import inventory as module
from gateway.check.inventory import take_inventory
from gateway.errors import StoreDown
from gateway.store.keys import ResqueKeys
from tests.gateway.check.test_migration import lay_rhoconnect
from tests.support.redis import store_client
from tests.support.rhoconnect import apple, lay_user


async def test_each_kind_of_device_is_counted(redis_client: Redis) -> None:
    await lay_rhoconnect(redis_client)
    found = await take_inventory(redis_client, redis_client, ResqueKeys(), ("ping",))
    assert (found.users, found.users_examined) == (3, 3)
    assert found.devices == Counter(apns=1, fcm=2, rhoconnect_push=1)
    assert found.apps["apns", "com.example.app"] == 1
    assert found.unsupported == Counter(blackberry=1)
    assert (found.gcm, found.unregistered, found.without_push_token, found.dangling) == (1, 1, 1, 1)
    assert found.push_tokens == ("legacy-token",)
    assert (found.admin_token, found.jobs, found.workers) == ("token-in-redis", 1, ("app1:77:*",))


async def test_a_large_installation_is_examined_in_part(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "USERS_MAX", 2)
    for name in ("ann", "bob", "eve"):
        await lay_user(redis_client, name, [apple("ab" * 32)])
    found = await take_inventory(redis_client, redis_client, ResqueKeys(), ())
    assert (found.users, found.users_examined, found.devices["apns"]) == (3, 2, 2)


async def test_an_unreachable_redis_is_reported(tmp_path: Path) -> None:
    once = Retry(NoBackoff(), 0)  # by default, the client tries for some seconds
    async with store_client(tmp_path / "none", retry=once) as nowhere:
        with pytest.raises(StoreDown, match="Redis does not answer: it "):
            await take_inventory(nowhere, nowhere, ResqueKeys(), ())
