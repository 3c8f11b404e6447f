"""A worker delivers the entries that its own ingresses append, while it has room."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.fanout import consumer as consumer_module
from gateway.fanout.consumer import QueueConsumer
from gateway.queue.consumer import FIRST
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from gateway.store.connection import ConnectionLost, RedisConnection
from protocols.ping.model import Ping
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import WorkerCore, pipeline, until

PIN = "ab" * 32
BOB = Ping(users=("bob",), message="hello")


def producer(one: WorkerCore) -> QueueProducer:
    """The queue of a worker whose intake takes."""
    return QueueProducer(one.queue._connection, BacklogLimits(1_000, 1_000_000), local_consumer=one.consumer)


async def no_reader(*_: Any) -> list[Any]:
    """Reads nothing, so that what is delivered can only have been taken."""
    await until(lambda: False, 60)
    return []


async def test_appended_entries_are_delivered_without_a_reader(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        monkeypatch.setattr(one.streams, "read", no_reader)
        one.consumer.start()
        queue = producer(one)
        ids = [(await queue.append(BOB, 10)).ping_id for _ in range(3)]
        await apns.received.wait(3)
        assert [(await one.done(ping_id))["counts"]["accepted"] for ping_id in ids] == [1, 1, 1]
        assert await redis_client.xlen(keys.PINGS) == 0
        await one.consumer.close()


async def test_entries_taken_and_not_delivered_survive_a_kill(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = (await producer(one).append(BOB, 10)).ping_id  # its intake was never started
        assert one.in_flight._claims
    async with pipeline(redis_address, tmp_path, settings) as back:
        back.consumer.start()
        await apns.received.wait(1)
        assert (await back.done(ping_id))["counts"]["accepted"] == 1
        await back.consumer.close()
    assert len(apns.received) == 1


async def test_an_entry_leased_by_a_lost_reply_is_found_and_delivered_once(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        one.consumer.start()
        queue = producer(one)
        known = (await queue.append(BOB, 10)).ping_id
        await one.done(known)
        lost = await one.append("bob")
        connection: RedisConnection = one.queue._connection
        await connection.call(
            "XREADGROUP", "GROUP", keys.GROUP, one.consumer.name, "COUNT", 1, "STREAMS", keys.PINGS, ">"
        )
        one.consumer.recover()
        await until(lambda: len(apns.received) == 2)
        assert (await one.done(lost))["counts"]["accepted"] == 1
        one.consumer.recover()
        leases, _ = await one.streams.take_over(keys.PINGS, FIRST, 10)
        assert leases == []
        await one.consumer.close()
    assert len(apns.received) == 2


async def test_the_room_is_limited_in_deliveries(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "TAKEN_DELIVERIES", 2)
    async with pipeline(redis_address, tmp_path, settings) as one:
        queue = producer(one)
        rooms = []
        for _ in range(3):
            rooms.append(one.consumer.has_room())
            await queue.append(BOB, 10)
        assert rooms == [True, True, False]
        assert len(await one.read(keys.PINGS)) == 1  # the third was left
        await one.consumer._deliver_taken()
        await until(one.consumer.has_room)
        one.consumer.stop_taking()
        assert not one.consumer.has_room()


async def test_the_room_is_counted_in_users(
    redis_address: str, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "TAKEN_DELIVERIES", 2)
    async with pipeline(redis_address, tmp_path, settings) as one:
        await producer(one).append(Ping(users=("bob", "eve"), message="hello"), 10)
        assert not one.consumer.has_room()


async def test_a_busy_worker_leaves_entries_to_its_siblings_if_it_has_any(
    redis_address: str, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        consumer = QueueConsumer(
            one.streams, one.consumer._readers, one.planner, one.broadcast_tasks, one.in_flight, siblings=True
        )
        for share, expected in ((0.49, True), (0.5, False), (0.0, True)):
            monkeypatch.setattr(consumer._cpu_load, "share", lambda share=share: share)
            monkeypatch.setattr(one.consumer._cpu_load, "share", lambda share=share: share)
            assert (consumer.has_room(), one.consumer.has_room()) == (expected, True)


async def test_a_recently_settled_entry_is_not_taken_again(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    """An answer about what this consumer holds can be older than the settlement, and be looked at after it."""
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        one.consumer.start()
        ping_id = (await producer(one).append(BOB, 10)).ping_id
        (lease,) = one.in_flight._claims.values()
        await one.done(ping_id)
        one.consumer.take(lease)
        late = lease._replace(decoded=None, redelivered=True)
        assert one.in_flight.claim([late]) == []
        await one.consumer._redeliver([late])
        await one.done((await producer(one).append(BOB, 10)).ping_id)
        await one.consumer.close()
    assert len(apns.received) == 2


async def test_taken_entries_are_planned_before_the_end(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        look_up = one.registry.devices_of

        async def slowly(users: Any) -> Any:
            await asyncio.sleep(0.05)
            return await look_up(users)

        monkeypatch.setattr(one.registry, "devices_of", slowly)
        one.consumer.start()
        await producer(one).append(BOB, 10)
        one.consumer.stop_taking()
        await one.consumer.close(10)
        assert await one.in_flight.wait_empty(30)
    assert len(apns.received) == 1


async def test_no_entries_are_read_while_too_many_decoded_pings_are_held(
    redis_address: str, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        for decoded, room in ((consumer_module.PINGS_HELD - 1, True), (consumer_module.PINGS_HELD, False)):
            monkeypatch.setattr(one.in_flight, "pings", lambda *, bulk, decoded=decoded: decoded)
            assert one.consumer.has_room() is room


async def test_after_a_lost_reply_a_reader_searches_for_its_entries(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.fanout.consumer._RETRY_S", 0.01)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        read, lost = one.streams.read, list[Any]()

        async def losing(reader: Any, streams: Any, count: int, block_ms: int) -> Any:
            leases = await read(reader, streams, count, block_ms)
            if leases and not lost:
                lost.append(leases)
                raise ConnectionLost("lost", sent=True)
            return leases

        monkeypatch.setattr(one.streams, "read", losing)
        one.consumer.start()
        await until(lambda: not one.consumer._resume_needed.is_set())
        await one.append("bob")
        await apns.received.wait(1)
        await one.consumer.close()
    assert lost


async def test_the_devices_of_a_single_ping_are_prefetched_during_the_append(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        prefetched: list[tuple[str, ...]] = []
        monkeypatch.setattr(one.registry, "prefetch", prefetched.append)
        queue = producer(one)
        await queue.append(BOB, 10)
        assert prefetched == [("bob",)]
        await asyncio.gather(*(queue.append(Ping(users=(name,)), 10) for name in ("ann", "eve")))
        assert prefetched == [("bob",)]  # they came together
