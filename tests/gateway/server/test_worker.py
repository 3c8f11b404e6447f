"""Whole workers in one process: sharing a queue, draining, refusing to start."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.errors import BadSetting
from gateway.queue import completion
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from protocols.apns.simulator import ApnsOptions
from tests.support.providers import provider_settings
from tests.support.rhoconnect import android, apple, lay_user
from tests.support.worker import Worker, working

PIN = "ab" * 32


class Pair(NamedTuple):
    """Two workers of one gateway."""

    one: Worker
    two: Worker
    apns: ApnsSimulator
    fcm: FcmSimulator


@pytest.fixture
async def providers() -> AsyncIterator[tuple[ApnsSimulator, FcmSimulator]]:
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        yield apns, fcm


@pytest.fixture
async def pair(
    providers: tuple[ApnsSimulator, FcmSimulator], redis_address: str, redis_client: Redis, tmp_path: Path
) -> AsyncIterator[Pair]:
    apns, fcm = providers
    await lay_user(redis_client, "bob", [apple(PIN), android("a-token")])
    async with AsyncExitStack() as stack:
        settings = provider_settings(apns, fcm, ping={"wait_max_s": 20})
        workers = [
            await stack.enter_async_context(working(tmp_path, redis_address, settings, slot=slot))
            for slot in range(2)
        ]
        yield Pair(*workers, apns, fcm)


async def test_two_workers_share_the_pings_and_repeat_none(pair: Pair) -> None:
    ids = [await (pair.one, pair.two)[n % 2].accepted("bob", message=f"ping {n}") for n in range(40)]
    for ping_id in ids:
        report = await pair.one.done(ping_id)
        assert report["counts"] == {"accepted": 2, "rejected": 0, "later": 0}
        assert await pair.two.report(ping_id) == report
    for provider in (pair.apns, pair.fcm):
        assert sorted(record.summary.alert or "" for record in provider.received) == sorted(
            f"ping {n}" for n in range(40)
        )


async def test_a_request_waits_regardless_of_the_delivering_worker(pair: Pair) -> None:
    waits = (worker.ping("bob", wait=True) for worker in (pair.one, pair.two) for _ in range(10))
    answers = await asyncio.gather(*waits)
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"")}
    assert len(pair.apns.received) == len(pair.fcm.received) == 20


async def test_a_request_is_notified_by_its_own_worker_without_redis(
    providers: tuple[ApnsSimulator, FcmSimulator],
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 1000.0)  # it must hear, not look
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with (
        working(tmp_path, redis_address, provider_settings(*providers)) as worker,
        redis_client.pubsub(ignore_subscribe_messages=True) as told,
    ):
        await told.psubscribe(keys.completion_channel("*"))
        assert await told.get_message(timeout=30) is None  # it is subscribed
        for _ in range(5):
            answer = await worker.ping("bob", wait=True)
            assert answer.status == 200
            # What it was told is on its way to Redis before it can ask.
            assert (await worker.report(answer.ping_id))["state"] == "done"
        assert await told.get_message(timeout=0.1) is None


async def test_a_waiting_request_gets_the_failures(pair: Pair) -> None:
    pair.apns.faults.add("BadTopic")
    pair.fcm.faults.add("403")
    answer = await pair.one.ping("bob", wait=True)
    assert answer.status == 500
    assert sorted(answer.body.decode().split("\\n")) == ["apns: BadTopic", "fcm: SENDER_ID_MISMATCH"]


async def test_a_waiting_request_times_out_while_the_delivery_continues(
    providers: tuple[ApnsSimulator, FcmSimulator], redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    apns, fcm = providers
    await lay_user(redis_client, "bob", [apple(PIN)])
    settings = provider_settings(apns, fcm, ping={"wait_max_s": 0.1})
    async with working(tmp_path, redis_address, settings) as worker:
        apns.hold()
        answer = await worker.ping("bob", wait=True)
        assert answer.status == 504
        assert answer.json()["error"]["code"] == "still_open"
        apns.release()
        assert (await worker.done(answer.ping_id))["counts"]["accepted"] == 1


async def test_an_idempotency_key_holds_over_workers(pair: Pair) -> None:
    twins = await asyncio.gather(*(worker.ping("bob", key="k") for worker in (pair.one, pair.two) * 3))
    assert {answer.status for answer in twins} == {200}
    assert len({answer.ping_id for answer in twins}) == 1
    other = await pair.two.ping("bob", key="k", message="another")
    assert (other.status, other.json()["error"]["code"]) == (409, "idempotency_conflict")
    await pair.one.done(twins[0].ping_id)
    assert len(pair.apns.received) == 1


async def test_a_new_pin_counts_for_every_worker_at_the_next_ping(pair: Pair, redis_client: Redis) -> None:
    phone = apple("cd" * 32)
    await lay_user(redis_client, "eve", [phone])
    for worker in (pair.one, pair.two):
        for _ in range(5):
            await worker.done(await worker.accepted("eve"))
    pair.apns.received.clear()
    await redis_client.set(f"client:{phone.client_id}:device_pin", "ef" * 32)
    for n in range(10):
        worker = (pair.one, pair.two)[n % 2]
        await worker.done(await worker.accepted("eve"))
    assert {record.token for record in pair.apns.received} == {"ef" * 32}


async def test_a_device_receives_its_own_phone_id(pair: Pair, redis_client: Redis) -> None:
    phones = [android(f"{name}:" + "x" * 140, phone_id=name) for name in ("one", "two", "")]
    await lay_user(redis_client, "eve", phones)
    assert (await pair.one.ping("eve", message="hello", wait=True)).status == 200
    sent = {
        push.token: push.payload["message"]["data"].get("phone_id")
        for push in await pair.fcm.received.wait(3)
    }
    assert sent == {phone.pin: phone.phone_id or None for phone in phones}


async def test_draining_finishes_work_in_progress(
    providers: tuple[ApnsSimulator, FcmSimulator], redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    apns, fcm = providers
    await lay_user(redis_client, "bob", [apple(PIN)])
    apns.faults.add("delay=300")
    async with working(tmp_path, redis_address, provider_settings(apns, fcm)) as worker:
        for n in range(20):
            await worker.accepted("bob", message=f"ping {n}")
        await apns.received.wait(1)
    in_hand = len(apns.received)
    apns.faults.clear()
    async with working(tmp_path, redis_address, provider_settings(apns, fcm)) as back:
        await back.done(await back.accepted("bob", message="after"))
    alerts = [record.summary.alert for record in apns.received]
    assert in_hand > 0
    assert sorted(map(str, alerts)) == sorted([*(f"ping {n}" for n in range(20)), "after"])
    assert await redis_client.xlen(keys.PINGS) == 0


@pytest.mark.parametrize("durability", ["aof", "fsync", "replicas"])
async def test_a_store_with_insufficient_durability_is_refused(
    redis_address: str, tmp_path: Path, durability: str
) -> None:
    settings: dict[str, Any] = {"queue": {"durability": durability}}
    with pytest.raises(BadSetting, match=durability):
        async with working(tmp_path, redis_address, settings):
            pass


async def test_the_queue_may_have_a_redis_of_its_own(
    providers: tuple[ApnsSimulator, FcmSimulator], redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    """So that RhoConnect's system/reset, a FLUSHDB, takes no ping with it."""
    apns, fcm = providers
    await lay_user(redis_client, "bob", [apple(PIN)])
    settings = provider_settings(apns, fcm, queue={"redis": redis_address.replace("db=0", "db=1")})
    async with working(tmp_path, redis_address, settings) as worker:
        apns.hold()
        ping_id = await worker.accepted("bob")
        await apns.received.wait(1)
        assert await redis_client.exists(keys.PINGS) == 0
        await redis_client.flushdb()
        apns.release()
        assert (await worker.done(ping_id))["counts"]["accepted"] == 1


async def test_draining_sends_the_waiting_deliveries(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    """The provider serves one request at a time: all others wait when the drain begins."""
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with ApnsSimulator(ApnsOptions(streams=1)) as apns, FcmSimulator() as fcm:
        settings = provider_settings(apns, fcm)
        settings["apns"]["connections_max"] = 1
        apns.hold()
        async with working(tmp_path, redis_address, settings) as worker:
            for n in range(5):
                await worker.accepted("bob", message=f"ping {n}")
            await apns.received.wait(1)
            releasing = asyncio.create_task(release_when_closed(apns, worker.url))
        await releasing
        alerts = sorted(str(record.summary.alert) for record in apns.received)
    assert alerts == [f"ping {n}" for n in range(5)]
    assert await redis_client.xlen(keys.PINGS) == 0


async def release_when_closed(apns: ApnsSimulator, url: str) -> None:
    """Release the held responses once the worker accepts no further connection."""
    host, port = url.removeprefix("http://").split(":")
    with contextlib.suppress(ConnectionError):
        while True:
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await asyncio.sleep(0.01)
    apns.release()
