"""The lanes while verdicts cannot be recorded."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.delivery import backlog, unsaved
from gateway.errors import StoreDown
from gateway.simulators import ApnsOptions, ApnsSimulator
from gateway.store import keys
from tests.support.providers import TOPIC
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.rhoconnect import apple, lay_user, lay_users
from tests.support.worker_core import WorkerCore, pipeline, until

DEVICES = 150


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server that may be frozen."""
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
async def slow() -> AsyncIterator[ApnsSimulator]:
    """A provider that takes five requests at a time and answers late."""
    async with ApnsSimulator(ApnsOptions(streams=5, faults=["delay=20"])) as apns:
        yield apns


@pytest.fixture
def to_slow(slow: ApnsSimulator) -> dict[str, Any]:
    key = slow.signing_key
    apns = {"key_file": str(slow.key_file), "key_id": key.key_id, "team_id": key.team_id, "topic": TOPIC}
    server = {"host": "127.0.0.1", "port": slow.port, "ca_file": str(slow.ca_file), "connections_max": 1}
    return {"apns": {**apns, **server}}


def gauge(one: WorkerCore) -> float | None:
    (lane,) = one.lanes.all()
    lane.sweep()
    found: float | None = lane._metrics.registry.get_sample_value("rhopush_lane_unsaved", {"lane": lane.name})
    return found


async def test_a_lane_begins_nothing_while_verdicts_cannot_be_recorded(
    store: RedisServer,
    slow: ApnsSimulator,
    to_slow: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unsaved, "UNSAVED_MAX_S", 0.1)
    monkeypatch.setattr(backlog, "WAITING_ROOM_MIN", 0)
    async with store_client(store.socket) as redis:
        await lay_users(redis, {f"user{n}": [apple(f"{n:064x}")] for n in range(DEVICES)})
    async with pipeline(store.address, tmp_path, to_slow) as one:
        one.in_flight.start()
        ping_id = await one.append(*[f"user{n}" for n in range(DEVICES)])
        await one.planner.deliver(await one.read(keys.PINGS))
        await slow.received.wait(20)
        store.freeze()
        (lane,) = one.lanes.all()
        await until(lambda: lane.unsaved.stalled and not lane.in_flight)
        begun = slow.received.total
        waiting = lane.backlog
        assert begun + waiting == DEVICES
        assert waiting
        for _ in range(5):  # what waits is neither begun nor parked: neither could be recorded
            shown = gauge(one)
        assert (slow.received.total, lane.backlog) == (begun, waiting)
        assert shown is not None
        assert 0 < shown <= begun
        store.thaw()
        assert (await one.done(ping_id))["counts"]["accepted"] == DEVICES
        assert not lane.unsaved.stalled
        await until(lambda: gauge(one) == 0)
        await one.in_flight.close()
    assert slow.received.total == DEVICES


async def test_a_settlement_that_redis_refuses_for_its_data_stops_no_lane(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """The verdicts of this entry cannot be recorded until an operator removes the key; those of other entries can."""
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        await redis_client.sadd(keys.SCHEDULE, "of another type")
        one.in_flight.start()
        await one.append("bob")
        lane = one.lanes.route("apns", "").lane
        lane._breaker = lane._breaker.after_refusal("refused", float("inf"))
        await one.planner.deliver(await one.read(keys.PINGS))
        lane.sweep()  # parks it, which cannot be written
        await until(lambda: one.in_flight._unwritable)
        recorded = lane.unsaved.recorded
        await until(lambda: lane.unsaved.recorded >= recorded + 2)
        assert not one.in_flight.empty
        await redis_client.delete(keys.SCHEDULE)
        assert await one.in_flight.wait_empty(30)
        assert not one.in_flight._unwritable
        await one.in_flight.close()


async def test_a_pass_whose_save_failed_waits_for_a_batch_that_finished_meanwhile(
    redis_address: str, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdicts that could not be saved are recorded by the batch's settlement, which is still under way."""
    written: list[Callable[[Any], None]] = []
    async with pipeline(redis_address, tmp_path, settings) as one:
        in_flight, unsaved_verdicts = one.in_flight, one.in_flight._unsaved
        await one.append("bob")
        (lease,) = in_flight.claim(await one.read(keys.PINGS))
        batch, _ = one.planner._open(lease)
        batch.begin_ping({})
        places = [batch.add_delivery(f"phone{n}", "apns") for n in range(2)]
        in_flight.hold(batch)
        batch.finish_planning()
        batch.accept(places[0])
        with monkeypatch.context() as away:
            away.setattr(one.streams, "save", _fail)
            with pytest.raises(StoreDown):
                await in_flight._save_unsaved()
        assert batch.unsaved
        monkeypatch.setattr(one.streams, "settle", lambda *words: written.append(words[-1]))
        batch.accept(places[1])
        await in_flight._save_unsaved()
        in_flight._end_pass()
        assert (unsaved_verdicts.number, unsaved_verdicts.recorded) == (1, 0)
        (on_reply,) = written
        on_reply(1)
        in_flight._end_pass()
        assert unsaved_verdicts.recorded == 1


async def _fail(*_: object) -> int:
    raise StoreDown("away")
