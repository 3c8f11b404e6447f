"""Cancelled pings in a complete worker: their deliveries in each state, and the answers to callers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator
from gateway.store import keys
from tests.support.providers import provider_settings
from tests.support.rhoconnect import apple, lay_user, rhoconnect_push_client
from tests.support.worker import Worker, working
from tests.support.worker_core import until

PIN = "ab" * 32
NONE = {"accepted": 0, "rejected": 0, "later": 0}
DAY_S = 86_400


@asynccontextmanager
async def worker(
    folder: Path, redis: str, *faults: str, port: int | None = None, **more: Any
) -> AsyncIterator[tuple[Worker, ApnsSimulator]]:
    """A worker and its Apple; `port`: another one than Apple's."""
    async with ApnsSimulator(ApnsOptions(faults=faults)) as apns, FcmSimulator() as fcm:
        settings = provider_settings(apns, fcm, retry={"apns_5xx_s": 3600, "give_up_s": 86400}, **more)
        settings["apns"]["port"] = port or apns.port
        async with working(folder, redis, settings) as one:
            yield one, apns


@pytest.fixture(autouse=True)
async def bob(redis_client: Redis) -> None:
    await lay_user(redis_client, "bob", [apple(PIN, client_id="bobs-phone")])


async def cancel(one: Worker, ping_id: str) -> tuple[int, Any]:
    answer = await one.request("DELETE", f"/rc/v1/pings/{ping_id}")
    return answer.status, answer.json()


async def cancel_unfinished(one: Worker, ping_id: str) -> None:
    """Cancel a ping whose deliveries wait; they may have ended when the state for the answer is read."""
    status, body = await cancel(one, ping_id)
    assert (status, body["ping_id"]) == (202, ping_id)
    assert body["state"] in ("open", "cancelled")


async def cancelled(one: Worker, ping_id: str) -> dict[str, Any]:
    """The receipt of a ping that is finished after its cancellation."""
    return await one.until(ping_id, state="cancelled")


async def instant(redis: Redis, ahead_s: int) -> int:
    return int((await redis.time())[0]) + ahead_s


async def test_a_retry_of_a_cancelled_ping_ends_immediately(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    async with worker(tmp_path, redis_address, "503=1") as (one, apns):
        ping_id = await one.accepted("bob")
        await one.until(ping_id, state="open", counts=NONE | {"later": 1})
        await cancel_unfinished(one, ping_id)
        report = await cancelled(one, ping_id)
        assert len(apns.received) == 1
    assert (report["counts"], report["skipped"]) == (NONE, {"cancelled": 1})
    assert report["devices"] == [{"client_id": "bobs-phone", "provider": "apns", "verdict": "cancelled"}]
    assert await redis_client.zcard(keys.SCHEDULE) == 0


async def test_waiting_and_parked_deliveries_of_a_cancelled_ping_end(
    redis_address: str, redis_client: Redis, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with worker(tmp_path, redis_address, port=unused_tcp_port) as (one, _):
        early = await one.accepted("bob")
        await until(lambda: redis_client.zcard(keys.SCHEDULE))
        late = await one.accepted("bob")
        for ping_id in (early, late):
            assert (await cancel(one, ping_id))[0] == 202
        for ping_id in (early, late):
            assert (await cancelled(one, ping_id))["skipped"] == {"cancelled": 1}
    assert await redis_client.hgetall(keys.PARKED) == {}


async def test_the_other_pings_of_an_entry_are_delivered(
    redis_address: str, redis_client: Redis, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with worker(tmp_path, redis_address, port=unused_tcp_port) as (one, _):
        answers = await asyncio.gather(*(one.ping("bob", message=f"ping {n}") for n in range(20)))
        ids = [answer.ping_id for answer in answers]
        assert len({ping_id[:28] for ping_id in ids}) < len(ids)
        for ping_id in ids[::2]:
            assert (await cancel(one, ping_id))[0] == 202
        for ping_id in ids[::2]:
            await cancelled(one, ping_id)
    async with worker(tmp_path, redis_address) as (one, apns):
        async for name, _ in redis_client.zscan_iter(keys.SCHEDULE):
            await redis_client.zadd(keys.SCHEDULE, {name: 0})
        for ping_id in ids[1::2]:
            assert (await one.done(ping_id))["counts"]["accepted"] == 1
        assert sorted(record.summary.alert or "" for record in apns.received) == sorted(
            f"ping {n}" for n in range(1, 20, 2)
        )


async def test_unknown_finished_and_twice_cancelled_pings(
    redis_address: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with worker(tmp_path, redis_address) as (one, _):
        done = await one.accepted("bob")
        await one.done(done)
        status, body = await cancel(one, done)
        assert (status, body["error"]["code"]) == (409, "ping_finished")
        status, body = await cancel(one, "0" * 32)
        assert (status, body["error"]["code"]) == (404, "not_found")
        assert (await cancel(one, "x"))[0] == 404
    async with worker(tmp_path, redis_address, port=unused_tcp_port) as (one, _):
        ping_id = await one.accepted("bob")
        for _ in range(2):
            await cancel_unfinished(one, ping_id)
        await cancelled(one, ping_id)
        assert await cancel(one, ping_id) == (202, {"ping_id": ping_id, "state": "cancelled"})
        listed = (await one.request("GET", "/rc/v1/pings?state=cancelled")).json()["pings"]
        assert [(ping["ping_id"], ping["state"]) for ping in listed] == [(ping_id, "cancelled")]


async def test_a_waiting_caller_is_answered(
    redis_address: str, redis_client: Redis, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with worker(tmp_path, redis_address, port=unused_tcp_port) as (one, _):
        waiting = asyncio.create_task(one.ping("bob", wait=True))
        listed: list[dict[str, Any]] = []
        while not listed:
            listed = (await one.request("GET", "/rc/v1/pings")).json()["pings"]
        assert (await cancel(one, listed[0]["ping_id"]))[0] == 202
        answer = await waiting
    assert (answer.status, answer.body) == (500, b"cancelled: 1 not sent")


async def test_a_scheduled_ping_before_and_at_its_instant(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    async with worker(tmp_path, redis_address) as (one, apns):
        at_s = await instant(redis_client, DAY_S)
        ids = [
            answer.ping_id
            for answer in await asyncio.gather(
                *(one.ping("bob", message=f"ping {n}", deliver_at=at_s) for n in range(3))
            )
        ]
        listed = (await one.request("GET", "/rc/v1/pings?state=scheduled")).json()["pings"]
        assert sorted(ping["ping_id"] for ping in listed) == sorted(ids)
        assert await cancel(one, ids[0]) == (202, {"ping_id": ids[0], "state": "cancelled"})
        assert (await one.report(ids[0]))["skipped"] == {"cancelled": 1}
        async for name, _ in redis_client.zscan_iter(keys.SCHEDULED_PINGS):  # its instant: now
            await redis_client.zadd(keys.SCHEDULED_PINGS, {name: 0})
        status, _ = await cancel(one, ids[1])
        assert status in (202, 409)
        await one.done(ids[2])
        report = await one.until(ids[1], state="cancelled" if status == 202 else "done")
        assert (report["counts"]["accepted"] + report["skipped"].get("cancelled", 0)) == 1
        reached = {record.summary.alert for record in apns.received}
        assert reached == {"ping 2"} | ({"ping 1"} if report["counts"]["accepted"] else set())
        found = await redis_client.hmget(keys.STATS, "scheduled_pings", "scheduled_bytes")
    assert found == [b"0", b"0"]


async def test_a_message_that_waits_in_a_mailbox_is_withdrawn(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    devices = [rhoconnect_push_client("tok-1"), apple(PIN)]
    await lay_user(redis_client, "ann", devices)
    await redis_client.sadd(keys.MAILBOX_REGISTRATIONS + "phone", '{"token":"tok-1","appname":"app"}')
    await redis_client.set(keys.MAILBOX_INSTANCE_OF + "tok-1", "phone")
    queue = keys.MAILBOX_QUEUE + "phone"
    async with worker(tmp_path, redis_address, "503=1:every=1", rhoconnect_push={"port": 0}) as (one, _):
        ids = [await one.accepted("ann", message=f"ping {n}", badge=badge) for n, badge in enumerate((3, 4))]
        await until(lambda: _has(redis_client, queue, 2))
        for ping_id in ids:
            await one.until(ping_id, state="open", counts=NONE | {"accepted": 1, "later": 1})
        assert (await cancel(one, ids[0]))[0] == 202
        await until(lambda: _has(redis_client, queue, 1))
        assert b"ping 1" in (await redis_client.zrange(queue, 0, -1))[0]
        report = await cancelled(one, ids[0])
        assert (report["counts"]["accepted"], report["skipped"]) == (1, {"cancelled": 1})


async def _has(redis: Redis, queue: str, messages: int) -> bool:
    return int(await redis.zcard(queue)) == messages


async def test_a_worker_that_starts_reads_earlier_cancellations(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    """The worker that answered was killed before it ended anything: its retries are swept by the next one."""
    async with worker(tmp_path, redis_address, "503=1") as (one, _):
        ping_id = await one.accepted("bob")
        await one.until(ping_id, state="open", counts=NONE | {"later": 1})
    await redis_client.zadd(keys.CANCELLED, {ping_id: 2 * 10**12})
    await redis_client.mset({keys.CANCELLED_VERSION: "one", keys.CANCELLED_SWEPT: "one"})
    async with worker(tmp_path, redis_address) as (one, apns):
        await cancelled(one, ping_id)
        assert not apns.received


async def test_the_ids_of_finished_pings_leave_the_set(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.queue.cancelled_ids.SETTLE_S", 0)
    monkeypatch.setattr("gateway.fanout.cancellation_watch.PRUNE_S", 0.05)
    async with worker(tmp_path, redis_address, port=unused_tcp_port) as (one, _):
        ping_id = await one.accepted("bob")
        await cancel(one, ping_id)
        await cancelled(one, ping_id)
        await until(lambda: _is_gone(redis_client, keys.CANCELLED, keys.CANCELLED_VERSION))
        assert (await one.report(ping_id))["state"] == "cancelled"


async def _is_gone(redis: Redis, *names: str) -> bool:
    return not await redis.exists(*names)
