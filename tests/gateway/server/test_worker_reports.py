"""A running worker reports itself, and closes breakers at an operator's request."""

import asyncio
import os
from pathlib import Path

from redis.asyncio import Redis

from gateway import __version__
from gateway.clock import SHARED_CLOCK
from gateway.queue.worker_reports import WorkerReports
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.telemetry.worker_report import WorkerReport
from tests.support.providers import provider_settings
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import working

PATIENCE_S = 30.0


async def reported(reports: WorkerReports, lanes: int = 1) -> WorkerReport:
    """The only report, once it has so many lanes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await reports.read()
            if found and len(found[0].lanes) >= lanes:
                return found[0]
            await asyncio.sleep(0.05)


async def test_a_worker_reports_until_it_ends(
    redis_address: str, redis_client: Redis, connection: RedisConnection, tmp_path: Path
) -> None:
    reports = WorkerReports(connection)
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        async with working(tmp_path, redis_address, provider_settings(apns, fcm)) as worker:
            await worker.done(await worker.accepted("bob"))
            report = await reported(reports)
            assert (report.version, report.pid, report.slot) == (__version__, os.getpid(), 0)
            assert report.started_ms <= report.at_ms <= SHARED_CLOCK.now_ms() + 1000
            assert report.cpu_s > 0
            assert report.rss_bytes > 10_000_000
            assert report.connections >= 1
            assert report.counts.accepted == {"http": 1}
            assert report.counts.deliveries == {"apns": {"accepted": 1}}
            (lane,) = report.lanes
            assert (lane.provider, lane.link, lane.breaker) == ("apns", "up", "closed")
        assert await redis_client.exists(keys.WORKER_REPORTS) == 0
