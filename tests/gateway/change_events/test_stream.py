"""Changes that writers append to a stream."""

import json

import pytest
from redis.asyncio import Redis

from gateway.metrics import Metrics
from gateway.store import keys
from tests.gateway.change_events.test_coalescer import CHANNEL, counts, listening, pings
from tests.support.worker_core import until


async def test_a_stream_keeps_events_while_no_gateway_runs(redis_address: str, redis_client: Redis) -> None:
    metrics = Metrics()
    for number in range(700):
        await redis_client.xadd(
            CHANNEL, {"event": json.dumps({"source": "Product", "user_id": f"u{number}"})}
        )
    await redis_client.xadd(CHANNEL, {"other": "field"})
    async with listening(redis_address, metrics, streams=(CHANNEL,)):
        found = await pings(redis_client, 700)
        await redis_client.xadd(CHANNEL, {"event": json.dumps({"source": "Order", "user_id": "new"})})
        found = await pings(redis_client, 701)
        await until(lambda: empty(redis_client))
    assert {one.pair[0] for one in found} == {"new"} | {f"u{number}" for number in range(700)}
    assert counts(metrics, "change_events_received", "kind") == {"stream": 702}
    assert counts(metrics, "change_events_ignored", "reason") == {"malformed": 1}


async def empty(redis: Redis) -> bool:
    return await redis.xlen(CHANNEL) == 0


async def test_entries_of_a_stream_with_other_groups_are_not_deleted(
    redis_address: str, redis_client: Redis
) -> None:
    await redis_client.xgroup_create(CHANNEL, "others", "0", mkstream=True)
    await redis_client.xadd(CHANNEL, {"event": json.dumps({"source": "Product", "user_id": "bob"})})
    async with listening(redis_address, streams=(CHANNEL,)):
        await pings(redis_client, 1)
        await until(lambda: acknowledged(redis_client))
    assert await redis_client.xlen(CHANNEL) == 1


async def test_a_group_that_is_created_while_the_gateway_reads_gets_all_later_entries(
    redis_address: str, redis_client: Redis
) -> None:
    async with listening(redis_address, streams=(CHANNEL,)):
        await redis_client.xadd(CHANNEL, {"event": json.dumps({"source": "Product", "user_id": "before"})})
        await pings(redis_client, 1)
        await until(lambda: empty(redis_client))
        await redis_client.xgroup_create(CHANNEL, "others", "0")
        for number in range(2):
            event = {"event": json.dumps({"source": "Product", "user_id": f"after{number}"})}
            await redis_client.xadd(CHANNEL, event)
            await pings(redis_client, 2 + number)
            await until(lambda read=2 + number: acknowledged(redis_client, read))
        found = await redis_client.xreadgroup("others", "reader", {CHANNEL: ">"})
        assert [len(entries) for _, entries in found] == [2]
        await redis_client.xgroup_destroy(CHANNEL, "others")
        await redis_client.xadd(CHANNEL, {"event": json.dumps({"source": "Product", "user_id": "alone"})})
        await until(lambda: has(redis_client, 2))


async def acknowledged(redis: Redis, read: int = 1) -> bool:
    groups = {group["name"]: group for group in await redis.xinfo_groups(CHANNEL)}
    ours = groups.get(keys.CHANGE_EVENT_GROUP.encode(), {"pending": 1, "entries-read": 0})
    return ours["pending"] == 0 and ours["entries-read"] == read


async def has(redis: Redis, length: int) -> bool:
    return await redis.xlen(CHANNEL) == length


async def test_entries_that_were_read_and_not_stored_are_read_again(
    redis_address: str, redis_client: Redis
) -> None:
    await redis_client.xgroup_create(CHANNEL, keys.CHANGE_EVENT_GROUP, "0", mkstream=True)
    for user in ("one", "two"):
        await redis_client.xadd(CHANNEL, {"event": json.dumps({"source": "Product", "user_id": user})})
    await redis_client.xreadgroup(keys.CHANGE_EVENT_GROUP, "gateway", {CHANNEL: ">"})
    async with listening(redis_address, streams=(CHANNEL,)):
        found = await pings(redis_client, 2)
        await until(lambda: empty(redis_client))
    assert sorted(one.pair[0] for one in found) == ["one", "two"]


@pytest.mark.parametrize("again", [False, True], ids=["in the run", "after a restart"])
async def test_an_unreadable_stream_entry_does_not_delay_others(
    redis_address: str, redis_client: Redis, again: bool
) -> None:
    """A key beside it that is not a stream does not block either."""
    metrics = Metrics()
    await redis_client.set("odd", "no stream")
    damaged = [
        b'{"source": "Product", "user_id": "\\ud800"}',
        b"[" * 50_000,
        b'{"id":' + b"1" * 5_000 + b"}",
        b"",
    ]
    for event in damaged:
        await redis_client.xadd(CHANNEL, {"event": event})
    await redis_client.xadd(CHANNEL, {"other": "field"})
    await redis_client.xadd(CHANNEL, {"event": '{"source": "Product", "user_id": "bob"}'})
    if again:
        await redis_client.xgroup_create(CHANNEL, keys.CHANGE_EVENT_GROUP, "0")
        await redis_client.xreadgroup(keys.CHANGE_EVENT_GROUP, "gateway", {CHANNEL: ">"})
    async with listening(redis_address, metrics, streams=("odd", CHANNEL)):
        found = await pings(redis_client, 1)
        await until(lambda: _acknowledged(redis_client))
    assert [one.pair for one in found] == [("bob", ("Product",))]
    assert sum(counts(metrics, "change_events_ignored", "reason").values()) == len(damaged) + 1


async def _acknowledged(redis: Redis) -> bool:
    return bool((await redis.xpending(CHANNEL, keys.CHANGE_EVENT_GROUP))["pending"] == 0)
