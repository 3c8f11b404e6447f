"""A lane whose provider answers 429: its own traffic pauses, and that of other lanes does not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.delivery import backlog
from gateway.delivery.lane import BUSY
from gateway.delivery.throttle import Throttle, ThrottleState
from gateway.queue.entries import read_chunk
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from tests.support.providers import TOPIC
from tests.support.rhoconnect import android, apple, lay_users
from tests.support.schedule import make_all_due
from tests.support.worker_core import WorkerCore, now_ms, pipeline, until

PAUSE_S = 30


@pytest.fixture
async def fcm(settings: dict[str, Any], redis_client: Redis) -> AsyncIterator[FcmSimulator]:
    """The other provider, and users with a device of each."""
    phones = {f"android{n}": [android(f"registration-{n:06d}")] for n in range(20)}
    await lay_users(redis_client, {**phones, **{f"apple{n}": [apple(f"{n:064x}")] for n in range(20)}})
    async with FcmSimulator() as simulator:
        settings["fcm"] = {
            "credentials_file": str(simulator.credentials_file),
            "project_id": simulator.project_id,
            "package_name": TOPIC,
            "endpoint": simulator.endpoint,
            "ca_file": str(simulator.ca_file),
        }
        yield simulator


async def planned(one: WorkerCore, *users: str) -> str:
    """One ping, handed to its lane; its id."""
    ping_id = await one.append(*users)
    await one.planner.deliver(await one.read(keys.PINGS))
    return ping_id


async def throttled(one: WorkerCore, fcm: FcmSimulator) -> Any:
    """FCM's lane, after a 429 that asks for a pause."""
    fcm.faults.add(f"429={PAUSE_S}:next=1")
    await planned(one, "android0")
    lane = one.lanes.route("fcm", "").lane
    await until(lambda: lane._throttle.state is ThrottleState.PAUSED)
    return lane


def gauge(lane: Any, name: str) -> float | None:
    return lane._metrics.registry.get_sample_value(f"rhopush_{name}", {"lane": lane.name})


async def test_a_429_pauses_its_lane_and_no_other(
    redis_address: str, tmp_path: Path, settings: dict[str, Any], fcm: FcmSimulator, apns: ApnsSimulator
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        with capture_logs() as logs:
            lane = await throttled(one, fcm)
            await planned(one, *[f"android{n}" for n in range(1, 10)])
            await planned(one, *[f"apple{n}" for n in range(20)])
            await apns.received.wait(20)
            for _ in range(2):
                lane.sweep()
        assert (fcm.received.total, lane.backlog, lane.in_flight) == (1, 9, 0)
        assert (gauge(lane, "lane_throttled"), gauge(lane, "lane_down"), lane.error_text) == (1, 0, None)
        apns_lane = one.lanes.route("apns", "").lane
        apns_lane.sweep()
        assert gauge(apns_lane, "lane_throttled") == 0
    (begun,) = [line for line in logs if line["event"] == "lane_throttled"]
    assert (begun["lane"], begun["reason"], begun["pause_s"]) == (lane.name, "QUOTA_EXCEEDED", PAUSE_S)


async def test_deliveries_that_wait_during_a_pause_are_parked_and_not_counted_as_attempts(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    fcm: FcmSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "WAITING_ROOM_MIN", 1)
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane = await throttled(one, fcm)
        before_ms = now_ms()
        await planned(one, *[f"android{n}" for n in range(1, 10)])
        for sweep in range(backlog.PATIENCE_SWEEPS):
            assert lane.backlog == 9, sweep
            lane._begun = 0
            lane.sweep()  # as for any slow lane
        assert lane.backlog == 1
        lane._park_above(0, BUSY)
        await until(lambda: one.in_flight.empty)
        bodies = await redis_client.hvals(keys.SCHEDULE_BODIES)
        chunks = [chunk for body in bodies if not (chunk := read_chunk(body)).attempt]  # not the refused one
        assert sum(len(chunk.clients) for chunk in chunks) == 9
        assert {(chunk.first_ms, chunk.lane) for chunk in chunks} == {(0, lane.name)}
        due = [due_ms for _, due_ms in await redis_client.zrange(keys.SCHEDULE, 0, -1, withscores=True)]
        assert min(due) > before_ms + (PAUSE_S - 5) * 1000
    assert fcm.received.total == 1


async def test_after_the_pause_the_rate_rises_from_a_few_and_then_is_free(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], fcm: FcmSimulator
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane = await throttled(one, fcm)
        await planned(one, *[f"android{n}" for n in range(1, 20)])
        taken: list[int] = []
        take = lane.take
        lane.take = lambda n: taken.append(len(found := take(n))) or found
        with capture_logs() as logs:
            lane._throttle = lane._throttle._replace(until_s=0.0)
            lane.sweep()
            assert gauge(lane, "lane_throttled") == 1
            await until(lambda: lane._ramp_timer is not None)
            timer = lane._ramp_timer
            await until(lambda: lane._ramp_timer is not timer)
            await fcm.received.wait(20)  # without any further sweep
            assert max(taken) < 10
            assert not [line for line in logs if line["event"] == "lane_throttle_ended"]
            lane._throttle = Throttle(ThrottleState.RAMPING, 0.0)
            lane.sweep()
            lane.sweep()
        assert len([line for line in logs if line["event"] == "lane_throttle_ended"]) == 1
        assert gauge(lane, "lane_throttled") == 0
        await make_all_due(redis_client)  # the delivery that was refused
        await one.streams.release_due(100)
        await one.planner.deliver(await one.read(keys.RETRIES))
        await fcm.received.wait(21)


async def test_a_429_of_apns_concerns_one_device(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_users(redis_client, {f"apple{n}": [apple(f"{n:064x}")] for n in range(2)})
    async with pipeline(redis_address, tmp_path, settings) as one:
        apns.faults.add(f"TooManyRequests={PAUSE_S}:next=1")
        refused = await planned(one, "apple0")
        assert (await one.done(refused))["devices"][0]["reason"] == "TooManyRequests"
        assert (await one.done(await planned(one, "apple1")))["counts"]["accepted"] == 1
