"""The list of scheduled pings."""

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.queue.canceller import PingCanceller
from gateway.queue.outbox import EventPlan
from gateway.queue.ping_list import PingList
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import Receipts
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.queue.scheduled_list import ScheduledPings
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.queue.test_schedule import BOB, HOUR_MS, ROOMY, add, soon_ms


@pytest.fixture
def pings(connection: RedisConnection) -> PingList:
    return PingList(connection, (ScheduledPings(connection),))


@pytest.fixture
async def scheduled(connection: RedisConnection) -> ScheduleProducer:
    return ScheduleProducer(connection, ROOMY, QueueProducer(connection, ROOMY))


async def test_the_latest_instant_is_first_and_pages_follow_each_other(
    pings: PingList, scheduled: ScheduleProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.scheduled_list._BATCHES_READ", 2)
    early_ms = soon_ms()
    early = await add(scheduled, count=3, due_ms=early_ms)
    late = [(await add(scheduled, due_ms=early_ms + n * HOUR_MS))[0] for n in range(1, 5)]
    expected = [*reversed(late), *reversed(early)]
    first = await pings.page("scheduled", limit=4)
    second = await pings.page("scheduled", limit=4, cursor=first["next_cursor"])
    found = first["pings"] + second["pings"]
    assert [ping["ping_id"] for ping in found] == expected
    assert {ping["state"] for ping in found} == {"scheduled"}
    assert found[-1]["deliver_at"].endswith("Z")
    assert (await pings.page("queued"))["pings"] == []
    assert len((await pings.page())["pings"]) == 7


async def test_a_cancelled_one_is_among_the_cancelled(
    pings: PingList, scheduled: ScheduleProducer, connection: RedisConnection
) -> None:
    ids = await add(scheduled, count=2)
    await PingCanceller(connection, Receipts(connection), 60, EventPlan()).cancel(ids[0])
    for state, ping_id in (("scheduled", ids[1]), ("cancelled", ids[0])):
        assert [ping["ping_id"] for ping in (await pings.page(state))["pings"]] == [ping_id]


async def test_a_batch_that_cannot_be_read_hides_no_other(
    pings: PingList, scheduled: ScheduleProducer, redis_client: Redis
) -> None:
    ids = await add(scheduled)
    await redis_client.zadd(keys.SCHEDULED_PINGS, {"lost": 5, "damaged": 6})
    await redis_client.hset(keys.SCHEDULED_BODIES, "damaged", "x")
    assert [ping["ping_id"] for ping in (await pings.page("scheduled"))["pings"]] == ids


async def test_a_caller_that_is_limited_to_apps_sees_its_own(
    pings: PingList, scheduled: ScheduleProducer
) -> None:
    (own,) = await add(scheduled, msgspec.structs.replace(BOB, apps=("a",)))
    await add(scheduled, msgspec.structs.replace(BOB, apps=("b",)))
    await add(scheduled)
    for state in ("scheduled", None):
        (found,) = (await pings.page(state, apps=frozenset({"a"})))["pings"]
        assert (found["ping_id"], found["apps"]) == (own, ["a"])


async def test_a_damaged_instant_hides_no_ping(
    pings: PingList, scheduled: ScheduleProducer, redis_client: Redis
) -> None:
    (damaged,) = await add(scheduled)
    await redis_client.zadd(keys.SCHEDULED_PINGS, {damaged[:28]: 10**18})
    (sound,) = await add(scheduled)
    found = (await pings.page("scheduled"))["pings"]
    assert [ping["ping_id"] for ping in found] == [damaged, sound]
    assert found[0]["deliver_at"] == "9999-12-31T23:59:59.999Z"
