"""Requests that wait for the end of a ping."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.queue import completion
from gateway.queue.completion import CompletionWaiters
from gateway.queue.receipts import DeviceVerdict, PingRecord, Receipts, pack_base, pack_delta
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.verdict import VerdictKind

PING = "0" * 32


@pytest.fixture
async def completions(redis_address: str, connection: RedisConnection) -> AsyncIterator[CompletionWaiters]:
    found = CompletionWaiters(RedisAddress.parse(redis_address), Receipts(connection))
    await found.open()
    yield found
    await found.close()


async def finish(redis: Redis, *, still_open: int = 0) -> None:
    mapping = {"base": pack_base([PingRecord(1)]), "0:open": still_open}
    await redis.hset(keys.receipt(PING[:28]), mapping=mapping)


async def subscribed(redis: Redis, channel: str) -> None:
    while not dict(await redis.pubsub_numsub(channel)).get(channel.encode()):
        await asyncio.sleep(0.001)


async def test_a_finished_ping_is_reported_immediately(
    completions: CompletionWaiters, redis_client: Redis
) -> None:
    await finish(redis_client)
    report = await completions.outcome(PING, 30)
    assert report is not None
    assert report["counts"]["accepted"] == 1


async def test_a_waiting_request_is_notified_of_the_end(
    completions: CompletionWaiters, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 1000.0)  # it must hear, not look
    await subscribed(redis_client, completions.channel)
    waiter = asyncio.create_task(completions.outcome(PING, 30))
    twin = asyncio.create_task(completions.outcome(PING, 30))
    while len(completions._waiting.get(PING, ())) < 2:
        await asyncio.sleep(0)
    await finish(redis_client)
    await redis_client.publish(completions.channel, PING)
    assert (await waiter) == (await twin) is not None
    assert completions._waiting == {}


async def test_a_missed_notification_is_replaced_by_polling(
    completions: CompletionWaiters, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 0.01)
    waiter = asyncio.create_task(completions.outcome(PING, 30))
    await asyncio.sleep(0)
    await finish(redis_client)
    assert (await waiter) is not None


async def test_the_receipt_of_an_expected_ping_is_not_read_before_its_notification(
    completions: CompletionWaiters, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 1000.0)
    await subscribed(redis_client, completions.channel)
    await redis_client.config_resetstat()
    with completions.waiting_for(PING) as heard:
        await finish(redis_client)
        await redis_client.publish(completions.channel, PING)  # possibly before the request waits
        assert await completions.outcome(PING, 30, heard) is not None
    assert completions._waiting == {}
    stats = await redis_client.info("commandstats")
    assert stats["cmdstat_hgetall"]["calls"] == 1


async def test_a_notification_with_the_record_needs_no_read(
    completions: CompletionWaiters, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 1000.0)
    await subscribed(redis_client, completions.channel)
    await redis_client.config_resetstat()
    record = PingRecord(
        1,
        (("c1", "apns"),),
        (DeviceVerdict("c2", "fcm", VerdictKind.REJECTED, "UNREGISTERED"),),
        {"repeated": 2},
    )
    with completions.waiting_for(PING) as heard:
        await redis_client.publish(completions.channel, PING.encode() + pack_delta(record))
        told = await completions.outcome(PING, 30, heard)
    assert "cmdstat_hgetall" not in await redis_client.info("commandstats")
    # The same as it would have found there.
    await redis_client.hset(keys.receipt(PING[:28]), "base", pack_base([record]))
    assert told == await completions.outcome(PING, 30) is not None


async def test_an_invalid_notification_causes_a_read_of_the_receipt(
    completions: CompletionWaiters, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 1000.0)
    await subscribed(redis_client, completions.channel)
    with completions.waiting_for(PING) as heard:
        await finish(redis_client)
        await redis_client.publish(completions.channel, PING.encode() + b"\xff\xff")
        report = await completions.outcome(PING, 30, heard)
    assert report is not None
    assert report["counts"]["accepted"] == 1


async def test_polling_finds_an_expected_ping_whose_notification_was_missed(
    completions: CompletionWaiters, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 0.01)
    with completions.waiting_for(PING) as heard:
        await finish(redis_client)
        assert await completions.outcome(PING, 30, heard) is not None


@pytest.mark.parametrize("known", [False, True])
async def test_the_wait_for_an_open_ping_ends_without_a_report(
    completions: CompletionWaiters, redis_client: Redis, known: bool
) -> None:
    if known:
        await finish(redis_client, still_open=1)
    assert await completions.outcome(PING, 0.05) is None
    assert completions._waiting == {}


@pytest.mark.parametrize("waiting_before", [True, False])
async def test_a_process_that_ends_ends_all_waits(
    completions: CompletionWaiters, monkeypatch: pytest.MonkeyPatch, waiting_before: bool
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 1000.0)
    if not waiting_before:
        completions.end_waits()
    with completions.waiting_for(PING) as heard:
        waiter = asyncio.create_task(completions.outcome(PING, 1000, heard))
        await asyncio.sleep(0.01)
        completions.end_waits()
        assert await asyncio.wait_for(waiter, 30) is None


async def test_each_process_has_a_channel_of_its_own(redis_address: str, connection: RedisConnection) -> None:
    made = [CompletionWaiters(RedisAddress.parse(redis_address), Receipts(connection)) for _ in range(2)]
    assert len({one.channel for one in made}) == 2
