"""A worker measures its stages, its Redis and itself, and what its pings caused."""

import re
from datetime import UTC, datetime
from pathlib import Path

from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from tests.support.providers import provider_settings
from tests.support.rhoconnect import android, apple, lay_user
from tests.support.worker import Worker, working


async def counts(worker: Worker, metric: str) -> dict[str, float]:
    """The number of observations of a histogram, or a counter's value, by labels."""
    text = (await worker.request("GET", "/metrics")).body.decode()
    return {
        labels: float(value) for labels, value in re.findall(rf"^{metric}(?:{{(.*)}})? (\S+)$", text, re.M)
    }


async def test_a_worker_measures_a_ping_from_its_arrival_to_its_effect(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    phones = [apple("ab" * 32), android("a-token")]
    await lay_user(redis_client, "bob", phones)
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        apns.faults.add("503:next=1")
        settings = provider_settings(apns, fcm, retry={"apns_5xx_s": 0.1, "jitter": 0.0})
        async with working(tmp_path, redis_address, settings) as worker:
            ping_id = await worker.accepted("bob", sources="Product")
            await worker.until(ping_id, state="done", counts={"accepted": 2, "rejected": 0, "later": 0})
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
            await redis_client.mset({keys.client(phone.client_id, "last_sync"): moment for phone in phones})
            await worker.until(ping_id, synced=2)
            stages = await counts(worker, "rhopush_stage_seconds_count")
            assert stages == {
                'provider="",stage="append"': 1,
                'provider="",stage="fanout"': 2,  # the retry as well
                'provider="",stage="settlement"': 2,
                'provider="apns",stage="request"': 2,
                'provider="apns",stage="response"': 2,
                'provider="fcm",stage="request"': 1,
                'provider="fcm",stage="response"': 1,
            }
            assert await counts(worker, "rhopush_provider_responses_total") == {
                'provider="apns",status="200"': 1,
                'provider="apns",status="503"': 1,
                'provider="fcm",status="200"': 1,
            }
            redis = await counts(worker, "rhopush_redis_seconds_count")
            assert set(redis) == {'purpose="append"', 'purpose="streams"', 'purpose="registry"'}
            assert all(redis.values())
            assert (await counts(worker, "rhopush_event_loop_lag_seconds_count"))[""] > 0
            assert len(await counts(worker, "rhopush_gc_pause_seconds_count")) == 3
            effects = await counts(worker, "rhopush_sync_after_ping_seconds_count")
            assert effects == {'app="",provider="apns"': 1, 'app="",provider="fcm"': 1}
