"""A lane that is full, down, slow or shared by small pings and broadcasts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.delivery import lane as lane_module
from gateway.delivery.circuit_breaker import CLOSED_BREAKER, BreakerEvent
from gateway.delivery.http2_lane import Http2Lane
from gateway.delivery.lane import Lane
from gateway.delivery.link_state import LinkState
from gateway.delivery.quota import Quota
from gateway.delivery.rate_limiter import RateLimiter
from gateway.scheduling.scheduler import SLICE
from gateway.simulators import ApnsOptions, ApnsSimulator
from gateway.store import keys
from gateway.transport.feed import BATCH
from protocols.http2.server import StreamRequest
from tests.support.http2 import status
from tests.support.ports import free_port
from tests.support.provider import Peer, Provider
from tests.support.rhoconnect import apple, lay_users
from tests.support.schedule import make_all_due
from tests.support.worker_core import WorkerCore, now_ms, pipeline, until


def pin(number: int) -> str:
    return f"{number:064x}"


def down_gauge(lane: Lane) -> float | None:
    """The metrics of a lane's connections."""
    return lane._metrics.registry.get_sample_value("rhopush_lane_down", {"lane": lane.name})


async def planned_broadcast(one: WorkerCore, users: list[str]) -> str:
    """One ping for many, cut and handed to its lane; its id."""
    ping_id = await one.append(*users)
    (lease,) = await one.read(keys.BROADCASTS)
    await one.splitter.split(lease)
    await one.planner.deliver(await one.read(keys.CHUNKS))
    return ping_id


@pytest.fixture
async def users(redis_client: Redis) -> list[str]:
    await lay_users(redis_client, {f"user{n}": [apple(pin(n))] for n in range(700)})
    return [f"user{n}" for n in range(700)]


@pytest.mark.parametrize(("parked", "rejected"), [(1, 0), (2, 1), (3, 2)])
async def test_a_lanes_share_of_the_backlog_ends_at_its_limit(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
    monkeypatch: pytest.MonkeyPatch,
    parked: int,
    rejected: int,
) -> None:
    """Two may wait in memory and three in Redis; some are parked already."""
    monkeypatch.setattr(lane_module, "WAITING_DELIVERIES", 2)
    monkeypatch.setattr(lane_module, "PARKED_MAX", 3)
    settings["apns"]["port"] = free_port()  # where nobody answers
    async with pipeline(redis_address, tmp_path, settings) as one:
        first = await one.append(users[0])
        await one.planner.deliver(await one.read(keys.PINGS))
        (lane,) = one.lanes.all()
        lane.parked_total = parked
        second = await one.append(*users[1:4])
        await one.planner.deliver(await one.read(keys.PINGS))
        one.planner.shed_backlog()
        await until(lambda: lane.error_text)
        monkeypatch.setattr(lane_module, "PARKED_MAX", 1000)
        monkeypatch.setattr(lane_module, "GRACE_S", -1.0)
        lane.sweep()
        lane.sweep()
        reports = [await one.done(first), await one.done(second)]
        reasons = [device["reason"] for report in reports for device in report["devices"]]
        assert reasons.count("lane_full") == rejected
        assert sum(report["counts"]["rejected"] for report in reports) == rejected
        assert sum(report["counts"]["later"] for report in reports) == 4 - rejected
        (counted,) = (await one.streams.parked()).values()
        assert counted == 4 - rejected


async def test_deliveries_of_a_lane_that_is_down_are_parked_and_retried(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_module, "GRACE_S", -1.0)
    port = settings["apns"]["port"]
    settings["apns"]["port"] = free_port()
    async with pipeline(redis_address, tmp_path, settings) as down:
        ping_id = await down.append(*users[:3])
        await down.planner.deliver(await down.read(keys.PINGS))
        (lane,) = down.lanes.all()
        await until(lambda: lane.error_text)
        lane.sweep()
        lane.sweep()
        assert down_gauge(lane) == 1
        report = await down.done(ping_id)
        assert (report["state"], report["counts"]["later"]) == ("open", 3)
    assert await redis_client.zcard(keys.SCHEDULE) >= 1
    settings["apns"]["port"] = port
    async with pipeline(redis_address, tmp_path, settings) as up:
        await make_all_due(redis_client)
        await up.streams.release_due(100)
        await up.planner.deliver(await up.read(keys.RETRIES))
        report = await up.done(ping_id)
        assert (report["state"], report["counts"]) == ("done", {"accepted": 3, "rejected": 0, "later": 0})
        (lane,) = up.lanes.all()
        lane.sweep()
        assert down_gauge(lane) == 0
        assert await up.streams.parked() == {}
    assert len(apns.received) == 3


async def test_a_ping_that_waits_past_its_time_to_live_is_not_sent(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    users: list[str],
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append(users[0], ttl_s=1)
        (lease,) = await one.read(keys.PINGS)
        entry = await redis_client.xrange(keys.PINGS)
        assert len(entry) == 1
        await until(lambda: _older_than(redis_client, lease.entry, 1100))
        await one.planner.deliver([lease])
        report = await one.done(ping_id)
    assert [device["reason"] for device in report["devices"]] == ["expired"]
    assert len(apns.received) == 0


async def _older_than(redis: Redis, entry: str, age_ms: int) -> bool:
    seconds, microseconds = await redis.time()
    return seconds * 1000 + microseconds // 1000 - int(entry.partition("-")[0]) > age_ms


@pytest.fixture
async def narrow(settings: dict[str, Any]) -> AsyncIterator[ApnsSimulator]:
    """A provider that takes five requests at a time and keeps its answers back."""
    async with ApnsSimulator(ApnsOptions(streams=5)) as apns:
        key = apns.signing_key
        settings["apns"] |= {"key_file": str(apns.key_file), "key_id": key.key_id, "team_id": key.team_id}
        settings["apns"] |= {"ca_file": str(apns.ca_file), "port": apns.port}
        apns.hold()
        yield apns


async def test_small_pings_overtake_a_broadcast(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    narrow: ApnsSimulator,
    settings: dict[str, Any],
    users: list[str],
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        await one.append(*users, message="broadcast")
        (broadcast,) = one.in_flight.claim(await one.read(keys.BROADCASTS))
        one.broadcast_tasks.begin(broadcast)
        await until(lambda: _pieces(redis_client, 2))
        await one.planner.deliver(await one.read(keys.CHUNKS))
        await narrow.received.wait(1)
        await one.append(users[0], message="small")
        await one.planner.deliver(await one.read(keys.PINGS))
        narrow.release()
        await narrow.received.wait(701)
        assert await one.in_flight.wait_empty(30)
    # Behind what was on its way already.
    assert [record.summary.alert for record in narrow.received].index("small") <= 5
    assert len(narrow.received) == 701


async def _pieces(redis: Redis, count: int) -> bool:
    return bool(await redis.xlen(keys.CHUNKS) == count)


@pytest.mark.parametrize("per_minute", [None, 60_000])
async def test_an_idle_lane_that_lost_its_connection_is_not_stuck(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
    apns: ApnsSimulator,
    per_minute: int | None,
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane: Any = one.lanes.route("apns", "").lane
        if per_minute is not None:
            lane._rate_limiter = RateLimiter(Quota(one.reader), lane.name, per_minute, lane.wake)
        await one.append(users[0])
        await one.planner.deliver(await one.read(keys.PINGS))
        assert await one.in_flight.wait_empty(30)
        for connection in list(apns.connections):
            connection.transport.abort()
        await until(lambda: lane._link.state is LinkState.DOWN)
        lane.sweep()
        assert (lane.error_text, lane.stuck_s) == (None, 0.0)
        ping_id = await one.append(users[1])
        await one.planner.deliver(await one.read(keys.PINGS))
        lane.sweep()  # while it connects
        assert (await one.done(ping_id))["counts"]["accepted"] == 1


async def test_retried_deliveries_of_a_broadcast_are_overtaken_by_small_pings(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane = one.lanes.route("apns", "").lane
        lane._breaker = CLOSED_BREAKER.after_refusal("refused", float("inf"))
        big = await planned_broadcast(one, users)
        lane.sweep()
        await until(lambda: _parked(redis_client))
        await make_all_due(redis_client)
        await one.streams.release_due(2_000)
        await one.planner.deliver(await one.read(keys.RETRIES))
        small = await one.append(users[0])
        await one.planner.deliver(await one.read(keys.PINGS))
        assert [delivery.batch.pings[0].id for delivery in lane._backlog.small] == [small]
        assert len(lane._backlog.bulk) == 700
        lane._breaker = CLOSED_BREAKER
        lane.wake()
        report = await one.done(big)
    assert report["counts"]["accepted"] == 700


async def _parked(redis: Redis) -> bool:
    return bool(await redis.zcard(keys.SCHEDULE) and await redis.xlen(keys.CHUNKS) == 0)


async def test_a_broadcast_is_sent_in_slices_while_small_pings_are_in_flight(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.scheduling.scheduler.URGENT_S", 60.0)
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane = one.lanes.route("apns", "").lane
        max_batch: list[int] = []
        take = lane.take
        monkeypatch.setattr(lane, "take", lambda n: max_batch.append(len(taken := take(n))) or taken)
        for came, most in ((0, BATCH), (1, SLICE)):
            for _ in range(came):
                one.in_flight.scheduler.small_started()
            ping_id = await planned_broadcast(one, users)
            assert (await one.done(ping_id))["counts"]["accepted"] == 700
            assert max(max_batch) == most
            max_batch.clear()


async def test_small_pings_are_sent_together_regardless_of_waiting_broadcasts(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.scheduling.scheduler.URGENT_S", 60.0)
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane = one.lanes.route("apns", "").lane
        lane._breaker = CLOSED_BREAKER.after_refusal("refused", float("inf"))
        one.in_flight.scheduler.small_started()
        await planned_broadcast(one, users)
        assert (len(lane._backlog.bulk), lane.max_batch()) == (700, SLICE)
        for small, max_batch in ((1, SLICE), (SLICE + 1, SLICE + 1), (BATCH + 1, BATCH)):
            for _ in range(small - len(lane._backlog.small)):
                await one.append(users[0])
            await one.planner.deliver(await one.read(keys.PINGS))
            assert (len(lane._backlog.small), lane.max_batch()) == (small, max_batch)


async def test_every_2xx_status_is_a_success(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], users: list[str]
) -> None:
    def script(peer: Peer, request: StreamRequest) -> None:
        peer.machine.respond(request.stream_id, status(202))

    async with Provider(script) as provider:
        ca_file = tmp_path / "ca.pem"
        provider.ca.cert_pem.write_to_path(str(ca_file))
        settings["apns"] |= {"ca_file": str(ca_file), "port": provider.port}
        async with pipeline(redis_address, tmp_path, settings) as one:
            ping_id = await one.append(users[0])
            await one.planner.deliver(await one.read(keys.PINGS))
            assert (await one.done(ping_id))["counts"] == {"accepted": 1, "rejected": 0, "later": 0}
            (lane,) = one.lanes.all()
            assert {"accepted"} == {
                sample.labels["verdict"]
                for family in lane._metrics.registry.collect()
                for sample in family.samples
                if sample.name == "rhopush_deliveries_total"
            }


async def test_a_refused_credential_is_named_although_the_provider_disconnects(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
    apns: ApnsSimulator,
) -> None:
    """Apple closes the connections of those who send it many errors."""
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane = one.lanes.route("apns", "").lane
        apns.faults.add("InvalidProviderToken")
        await one.append(users[0])
        await one.planner.deliver(await one.read(keys.PINGS))
        await until(lambda: lane.halted)
        for connection in list(apns.connections):
            connection.transport.abort()
        await until(lambda: lane._link.state is LinkState.DOWN)
        assert lane.error_text == "InvalidProviderToken"
        second = await one.append(users[1])
        await one.planner.deliver(await one.read(keys.PINGS))
        lane.sweep()
        (device,) = (await one.done(second))["devices"]
        assert (device["verdict"], device["reason"]) == ("later", "InvalidProviderToken")
        lane._breaker = lane._breaker.after(BreakerEvent.TIME_OVER)  # one may try, over a new connection
        apns.faults.clear()
        lane.on_connections_changed(1, None)
        assert lane.error_text == "InvalidProviderToken"
        third = await one.append(users[2])
        await one.planner.deliver(await one.read(keys.PINGS))
        assert (await one.done(third))["counts"]["accepted"] == 1
        assert (lane.error_text, lane.halted) == (None, False)


async def test_parked_deliveries_are_retried_before_their_time_to_live_ends(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    users: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lane may be up again by then; only what is over is over."""
    monkeypatch.setattr(Http2Lane, "stuck_s", property(lambda lane: 1000.0))
    async with pipeline(redis_address, tmp_path, settings) as one:
        lane = one.lanes.route("apns", "").lane
        lane._breaker = CLOSED_BREAKER.after_refusal("refused", float("inf"))
        before_ms = now_ms()
        ping_id = await one.append(users[0], ttl_s=20)
        await one.planner.deliver(await one.read(keys.PINGS))
        lane.sweep()
        assert (await one.done(ping_id))["counts"]["later"] == 1
        ((_, due_ms),) = await redis_client.zrange(keys.SCHEDULE, 0, -1, withscores=True)
        assert before_ms + 15_000 < due_ms < now_ms() + 20_000


async def test_answers_to_requests_before_a_refusal_do_not_close_the_breaker(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], users: list[str]
) -> None:
    """A key that is revoked in the middle of a broadcast: the first look at it must be one send, not a thousand."""

    def script(peer: Peer, request: StreamRequest) -> None:
        if len(peer.requests) == 3:
            for one, code in zip(peer.requests, (200, 403, 200), strict=True):
                peer.machine.respond(one.stream_id, status(code))

    async with Provider(script) as provider:
        ca_file = tmp_path / "ca.pem"
        provider.ca.cert_pem.write_to_path(str(ca_file))
        settings["apns"] |= {"ca_file": str(ca_file), "port": provider.port, "connections_max": 1}
        async with pipeline(redis_address, tmp_path, settings) as one:
            await one.append(*users[:3])
            await one.planner.deliver(await one.read(keys.PINGS))
            (lane,) = one.lanes.all()
            await until(lambda: lane.halted and not lane.in_flight)
            await one.append(*users[3:9])
            await one.planner.deliver(await one.read(keys.PINGS))
            lane._breaker = lane._breaker.after(BreakerEvent.TIME_OVER)  # the time is over
            lane.wake()
            await until(lambda: lane.in_flight)
            assert (lane.in_flight, lane.halted) == (1, True)
