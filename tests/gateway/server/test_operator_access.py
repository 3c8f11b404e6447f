"""Named tokens and the audit of a worker, which are in the queue's Redis."""

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.registry.named_tokens import new_token
from gateway.registry.scopes import API_TOKEN
from gateway.server.ipc import SettingsUpdate
from gateway.server.operator_access import open_operator_access
from gateway.settings import QueueSettings, Settings
from gateway.store import keys
from tests.support.ports import free_port


def settings_of(address: str) -> Settings:
    """Settings whose queue has a Redis of its own; nothing listens at the other address."""
    queue = msgspec.structs.replace(QueueSettings(), redis=address)
    return msgspec.structs.replace(Settings(), redis=(f"127.0.0.1:{free_port()}",), queue=queue)


async def test_tokens_are_in_the_redis_of_the_queue(redis_address: str, redis_client: Redis) -> None:
    async with open_operator_access(settings_of(redis_address), "gateway-1", 0) as access:
        now_s = SHARED_CLOCK.now_s()
        text = await access.named_tokens.create(new_token("ci", ["ping"], [], None, API_TOKEN, now_s))
        assert (await access.named_tokens.find([text]))[0] is not None
    assert await redis_client.hlen(keys.NAMED_TOKENS) == 1


@pytest.mark.parametrize(("slot", "records"), [(0, 2), (1, 0)])
async def test_one_worker_records_reloads(
    redis_address: str, redis_client: Redis, slot: int, records: int
) -> None:
    settings = settings_of(redis_address)
    async with open_operator_access(settings, "gateway-1", slot) as access:
        access.on_update(SettingsUpdate(settings))
        access.on_update(SettingsUpdate(None, "secret: the text of an error"))
        await access.close()
        found = (await access.audit_log.page())["records"]
    assert len(found) == records
    rows = sorted((one["kind"], one["who"], one["action"], one["outcome"]) for one in found)
    expected = [("gateway", "gateway-1", "settings reload", outcome) for outcome in ("bad_setting", "done")]
    assert rows == expected[:records]
    assert "secret" not in repr(await redis_client.xrange(keys.AUDIT))
