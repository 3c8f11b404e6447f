"""The reports of all workers: the newest of each, and none of a worker that has ended."""

import msgspec
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.queue.worker_reports import FRESH_S, KEPT_S, WorkerReports
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.telemetry.worker_report import LaneReport, WorkerCounts, WorkerReport


def report(gateway: str, slot: int = 0, age_s: float = 0.0) -> WorkerReport:
    return WorkerReport(
        gateway,
        slot,
        SHARED_CLOCK.now_ms() - int(age_s * 1000),
        lanes=(LaneReport("apns:A", "apns", breaker="open", connections=2),),
        counts=WorkerCounts(accepted={"http": 5}),
    )


async def test_the_newest_report_of_each_worker_is_read(
    connection: RedisConnection, redis_client: Redis
) -> None:
    reports = WorkerReports(connection)
    assert await reports.read() == []
    written = [report("a", 0), report("a", 1), report("b", 0)]
    for one in (report("a", 1, 5), *reversed(written)):
        await reports.write(one)
    assert await reports.read() == written
    assert 0 < await redis_client.ttl(keys.WORKER_REPORTS) <= keys.WORKER_REPORTS_S
    await reports.remove("a:1")
    assert await reports.read() == [written[0], written[2]]


async def test_a_killed_worker_is_left_out_and_then_removed(
    connection: RedisConnection, redis_client: Redis
) -> None:
    reports = WorkerReports(connection)
    for one in (report("new"), report("killed", 0, FRESH_S + 1), report("gone", 0, KEPT_S + 1)):
        await reports.write(one)
    assert [one.gateway for one in await reports.read()] == ["new"]
    assert await redis_client.hlen(keys.WORKER_REPORTS) == 3
    await reports.remove_stale()
    assert sorted(await redis_client.hkeys(keys.WORKER_REPORTS)) == [b"killed:0", b"new:0"]


async def test_other_versions_are_read_as_far_as_possible(
    connection: RedisConnection, redis_client: Redis
) -> None:
    reports = WorkerReports(connection)
    later = {
        "gateway": "later",
        "slot": 3,
        "at_ms": SHARED_CLOCK.now_ms(),
        "unknown": [1],
        "counts": {"more": 2},
    }
    await redis_client.hset(keys.WORKER_REPORTS, "later:3", msgspec.msgpack.encode(later))
    await redis_client.hset(keys.WORKER_REPORTS, "damaged", b"\xc1")
    (found,) = await reports.read()
    assert (found.name, found.counts) == ("later:3", WorkerCounts())
