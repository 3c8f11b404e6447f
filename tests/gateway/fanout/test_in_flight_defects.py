"""A defect at one entry concerns no other entry, and does not end the loops that save verdicts and renew leases."""

import asyncio
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.delivery.batch import DeliveryBatch
from gateway.fanout import in_flight as module
from gateway.queue.consumer import BatchProgress, Settlement
from gateway.queue.entries import Lease
from gateway.queue.outbox import EventPlan
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import WorkerCore, pipeline, until


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    for interval in ("SAVE_S", "RENEW_S", "_RETRY_S"):
        monkeypatch.setattr(module, interval, 0.01)


async def begin_two_deliveries(one: WorkerCore, redis: Redis, apns: ApnsSimulator) -> Lease:
    """Begin a ping to two devices, of which APNs answers for one; returns its lease."""
    await lay_user(redis, "bob", [apple("ab" * 32), apple("cd" * 32)])
    apns.hold()
    await one.append("bob")
    (lease,) = await one.read(keys.PINGS)
    await one.planner.deliver([lease])
    await until(lambda: len(apns.received) == 2)
    return lease


def defects_of(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    """The task of each defect in the log."""
    return [line["task"] for line in logs if line["event"] == "background_task_failed"]


async def test_verdicts_are_saved_after_a_defect(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        lease = await begin_two_deliveries(one, redis_client, apns)
        save, defects = one.streams.save, [RuntimeError("a defect"), RuntimeError("another")]

        def failing(lease: Lease, progress: BatchProgress) -> asyncio.Future[int]:
            if defects:
                raise defects.pop()
            return save(lease, progress)

        monkeypatch.setattr(one.streams, "save", failing)
        (batch,) = one.in_flight._batches.values()
        batch.accept(0)
        with capture_logs() as logs:
            one.in_flight.start()
            await until(lambda: redis_client.exists(keys.progress(lease.stream, lease.entry)))
            await one.in_flight.close()
        assert defects_of(logs) == ["in flight:save", "in flight:save"]
        apns.release()


async def test_leases_are_renewed_after_a_defect(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        await begin_two_deliveries(one, redis_client, apns)
        renew, calls = one.streams.renew_leases, 0

        async def failing(stream: str, entries: list[str]) -> list[str]:
            nonlocal calls
            calls += 1
            if calls < 3:
                raise RuntimeError("a defect")
            return await renew(stream, entries)

        monkeypatch.setattr(one.streams, "renew_leases", failing)
        with capture_logs() as logs:
            one.in_flight.start()
            await until(lambda: calls > 3)
            await one.in_flight.close()
        assert defects_of(logs) == ["in flight:renew", "in flight:renew"]
        apns.release()


async def test_a_batch_that_cannot_be_settled_is_quarantined_and_the_others_are_settled(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = module.build_settlement

    def failing(batch: DeliveryBatch, events: EventPlan) -> Settlement:
        if batch.pings[0].message == "defective":
            raise LookupError("a defect")
        return build(batch, events)

    monkeypatch.setattr(module, "build_settlement", failing)
    async with pipeline(redis_address, tmp_path, settings) as one:
        await lay_user(redis_client, "bob", [apple("ab" * 32)])
        apns.hold()
        await one.append("bob", message="defective")
        other = await one.append("bob", message="good")
        leases = await one.read(keys.PINGS)
        await one.planner.deliver(leases)
        await until(lambda: len(apns.received) == 2)
        apns.release()  # both outcomes arrive together
        assert (await one.done(other))["state"] == "done"
        await until(lambda: redis_client.exists(keys.UNREADABLE))
        ((_, record),) = await redis_client.xrange(keys.UNREADABLE)
        assert (record[b"entry"].decode(), record[b"reason"]) == (leases[0].entry, b"LookupError: a defect")
