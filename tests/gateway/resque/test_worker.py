import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import structlog
from redis.asyncio import Redis

from gateway.client.resque import push
from gateway.metrics import Metrics
from gateway.queue.entries import decode_entry
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.resque import ResqueWorker, open_resque
from gateway.resque.store import ResqueStore
from gateway.settings import LimitSettings, QueueSettings, ResqueSettings, Secret, Settings
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.ping.addressees import Addressees, RawToken
from protocols.resque import records
from tests.gateway.change_events.conftest import queued
from tests.support.redis import RedisServer
from tests.support.resque import enqueue, overview
from tests.support.worker_core import until


@asynccontextmanager
async def working(
    address: str,
    queue_at: str | None = None,
    *,
    name: str = "tested",
    room: int = 1_000_000,
    metrics: Metrics | None = None,
    room_bytes: int = 10**9,
    **said: Any,
) -> AsyncIterator[tuple[ResqueWorker, QueueProducer]]:
    settings = Settings(
        redis=Secret(address),
        queue=QueueSettings(redis=None if queue_at is None else Secret(queue_at)),
        resque=ResqueSettings(**said),
        limits=LimitSettings(users_per_ping=1_000),
    )
    link = RedisConnection(RedisAddress.parse(queue_at or address), "append")
    await link.open(30)
    queue = QueueProducer(link, BacklogLimits(room, room_bytes))
    async with open_resque(settings, name, queue, metrics or Metrics()) as worker:
        assert worker is not None
        yield worker, queue
    await queue.close()
    await link.close()


async def count(redis: Redis, name: str) -> int:
    return int(await redis.get(name) or 0)


async def processed(redis: Redis, wanted: int) -> None:
    async def reached() -> bool:
        return await count(redis, "resque:stat:processed") == wanted

    await until(reached)


async def messages(redis: Redis) -> list[Any]:
    return [one.ping.message for one in await queued(redis)]


async def test_jobs_become_durable_pings_and_are_counted(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    socket = redis_server.socket
    await enqueue(socket, [{"user_id": ["a", "b"], "message": f"job {n}", "badge": "3"} for n in range(250)])
    async with working(redis_server.address):
        await processed(redis_client, 250)
        shown = await overview(socket)
    found = [one.ping for one in await queued(redis_client)]
    assert [ping.message for ping in found] == [f"job {n}" for n in range(250)]
    assert {(ping.users, ping.badge, ping.ingress) for ping in found} == {(("a", "b"), 3, "resque")}
    assert (shown["processed"], shown["failed"], shown["pending"]) == (250, 0, {"ping": 0})
    assert await redis_client.hget(keys.STATS, "pings") == b"250"
    assert await redis_client.hlen(f"{keys.RESQUE_TAKEN}tested") == 0
    (worker,) = shown["workers"]
    assert worker["host"].startswith("rhopush-")
    assert (worker["queues"], worker["processed"], worker["failed"]) == (["ping"], 250, 0)
    assert abs(worker["heartbeat"] - worker["started"]) <= 1
    # It has unregistered, and its counters are removed.
    assert (await overview(socket))["workers"] == []
    assert await redis_client.keys("resque:stat:*:*") == []


async def test_pythons_enqueue_is_the_same_job(redis_server: RedisServer, redis_client: Redis) -> None:
    parameters = {"user_id": "a", "message": "from Python", "sources": ["Product"]}
    await asyncio.to_thread(push, RedisAddress.parse(redis_server.address), parameters)
    async with working(redis_server.address):
        await processed(redis_client, 1)
    (one,) = await queued(redis_client)
    assert (one.ping.message, one.ping.users, one.ping.sources) == ("from Python", ("a",), ("Product",))


UNREADABLE = [
    (b"not json", "not JSON", "not json"),
    (b'{"args": [{}]}', "the job has no class", None),
    (b'{"class":"Rhoconnect::PingJob"}', "args must be a list with one hash", "{"),
    (b'{"class":"PingJob","args":["a"]}', "args must be a list with one hash", None),
    (b'{"class":"PingJob","args":[{"user_id":"a","badge":[1]}]}', "badge: ", None),
    (
        b'{"class":"PingJob","args":[{"user_id":["' + b'","'.join(b"%d" % n for n in range(1001)) + b'"]}]}',
        "1000",
        None,
    ),
    (b"\xff\xfe", "not JSON", "�"),
    (b"[" * 5_000, "not JSON", "["),
]


@pytest.mark.parametrize(("item", "error", "shown_as"), UNREADABLE)
async def test_unreadable_jobs_are_recorded_as_failed_and_work_continues(
    redis_server: RedisServer, redis_client: Redis, item: bytes, error: str, shown_as: str | None
) -> None:
    await redis_client.rpush("resque:queue:ping", item)
    await enqueue(redis_server.socket, [{"user_id": "a", "message": "after it"}])
    async with working(redis_server.address):
        await processed(redis_client, 2)
        shown = await overview(redis_server.socket)
    (failure,) = shown["failures"]
    assert error in failure["error"]
    assert failure["queue"] == "ping"
    assert failure["exception"] in ("MalformedBody", "InvalidField", "BodyTooLarge")
    if shown_as is not None and failure["args"]:
        assert str(failure["args"][0]).startswith(shown_as)
    assert (shown["processed"], shown["failed"]) == (2, 1)
    assert await messages(redis_client) == ["after it"]


async def test_keys_of_another_type_do_not_delay_other_jobs(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """A queue, a counter and another gateway's recovery list; the list of failures blocks its failure alone."""
    await redis_client.set("resque:queue:odd", "no list")
    await redis_client.set("resque:stat:processed", "many")
    await redis_client.set("resque:failed", "no list")
    await redis_client.set(f"{keys.RESQUE_TAKEN}gone", "no hash")
    await redis_client.zadd(keys.RESQUE_TAKERS, {"gone": 1})
    await redis_client.hset(f"{keys.RESQUE_TAKEN}tested", mapping={b"\xff": b"odd", "00": b"no queue"})
    await redis_client.rpush("resque:queue:ping", b"not json")
    await enqueue(redis_server.socket, [{"user_id": "a", "message": "after it"}])
    async with working(redis_server.address, queues=("odd", "ping")):
        await until(lambda: _queued(redis_client, ["after it"]))
    left = await redis_client.hvals(f"{keys.RESQUE_TAKEN}tested")
    assert sorted(left) == [b"no queue", b"odd", b"ping\0not json"]
    assert await redis_client.get("resque:stat:processed") == b"many"


async def _queued(redis: Redis, wanted: list[Any]) -> bool:
    return await messages(redis) == wanted


async def test_a_failure_shows_no_api_token(redis_server: RedisServer, redis_client: Redis) -> None:
    await enqueue(redis_server.socket, [{"user_id": "a", "api_token": "s3cret", "badge": {}}])
    async with working(redis_server.address):
        await processed(redis_client, 1)
        text = await redis_client.lindex("resque:failed", 0)
    assert b"s3cret" not in text
    assert json.loads(text)["payload"]["args"] == [{"user_id": "a", "badge": {}}]


async def test_foreign_jobs_stay_in_place_and_in_order(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    socket = redis_server.socket
    foreign = "Rhoconnect::BulkDataJob"
    for number in range(5):
        await enqueue(socket, [{"n": number}, {"n": number}], klass=foreign)
        await enqueue(socket, [{"user_id": "a", "message": f"job {number}"}])
    before = [item for item in await redis_client.lrange("resque:queue:ping", 0, -1) if b"Bulk" in item]
    async with working(redis_server.address):
        await processed(redis_client, 5)
    assert await redis_client.lrange("resque:queue:ping", 0, -1) == before
    assert len(before) == 10
    assert await messages(redis_client) == [f"job {n}" for n in range(5)]


async def test_several_queues_in_order_and_patterns(redis_server: RedisServer, redis_client: Redis) -> None:
    socket = redis_server.socket
    for queue in ("low_b", "low_a", "high", "mail"):
        await enqueue(socket, [{"user_id": "a", "message": queue}], queue=queue)
    async with working(redis_server.address, queues=("high", "low_*", "*", "!mail")):
        await processed(redis_client, 3)
        shown = await overview(socket)
    assert await messages(redis_client) == ["high", "low_a", "low_b"]
    assert shown["pending"]["mail"] == 1
    assert shown["workers"][0]["queues"] == ["high", "low_*", "*", "!mail"]


async def test_a_pause_stops_all_jobs(redis_server: RedisServer, redis_client: Redis) -> None:
    await redis_client.set("resque:pause-all-workers", "true")
    await enqueue(redis_server.socket, [{"user_id": "a", "message": "later"}])
    async with working(redis_server.address):
        await until(lambda: redis_client.scard("resque:workers"))
        await asyncio.sleep(1.2)  # two polls
        assert await count(redis_client, "resque:stat:processed") == 0
        await redis_client.delete("resque:pause-all-workers")
        await processed(redis_client, 1)


async def test_a_full_backlog_keeps_jobs_in_hand(redis_server: RedisServer, redis_client: Redis) -> None:
    await enqueue(redis_server.socket, [{"user_id": "a", "message": "waits"}])
    async with working(redis_server.address, room=0) as (_, queue):
        await until(lambda: redis_client.hlen(f"{keys.RESQUE_TAKEN}tested"))
        assert await queued(redis_client) == []
        queue.limits = BacklogLimits(1, 1_000)
        await processed(redis_client, 1)
    assert await messages(redis_client) == ["waits"]


@pytest.mark.parametrize("limit", [{"room": 2}, {"room_bytes": 300}])
async def test_jobs_that_fill_the_backlog_more_than_once_are_admitted_in_parts(
    redis_server: RedisServer, redis_client: Redis, limit: dict[str, int]
) -> None:
    await enqueue(redis_server.socket, [{"user_id": "a", "message": f"job {n}"} for n in range(7)])
    found: list[Any] = []
    async with working(redis_server.address, **limit):

        async def fetched() -> bool:
            """The consumer of the queue fetches all pings and makes room for others."""
            async with redis_client.pipeline(transaction=True) as pipe:
                pipe.xrange(keys.PINGS)
                pipe.delete(keys.PINGS, keys.STATS)
                entries, _ = await pipe.execute()
            found.extend(ping.message for _, fields in entries for ping in decode_entry(fields[b"e"]).pings)
            return len(found) == 7

        await until(fetched)
    assert found == [f"job {n}" for n in range(7)]


async def test_a_job_larger_than_the_backlog_fails_and_does_not_block_the_others(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    jobs = [{"user_id": "a", "message": "x" * 2_000}, {"user_id": "a", "message": "small"}]
    await enqueue(redis_server.socket, jobs)
    async with working(redis_server.address, room_bytes=1_000):
        await processed(redis_client, 2)
        shown = await overview(redis_server.socket)
    assert await messages(redis_client) == ["small"]
    (failure,) = shown["failures"]
    assert "limits.queue_bytes" in failure["error"]


async def test_a_job_with_many_users_becomes_a_broadcast(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    await enqueue(redis_server.socket, [{"user_id": [f"user{n}" for n in range(900)], "message": "all"}])
    async with working(redis_server.address):
        await processed(redis_client, 1)
    assert await redis_client.xlen(keys.BROADCASTS) == 1
    assert await redis_client.hlen(f"{keys.RESQUE_TAKEN}tested") == 0


@asynccontextmanager
async def scheduling(address: str, queue: QueueProducer) -> AsyncIterator[None]:
    """A schedule beside the queue."""
    link = RedisConnection(RedisAddress.parse(address), "schedule")
    await link.open(30)
    schedule = ScheduleProducer(link, BacklogLimits(1_000, 10**9), queue)
    yield
    await schedule.close()
    await link.close()


async def test_jobs_may_have_to_and_deliver_at(redis_server: RedisServer, redis_client: Redis) -> None:
    token = {"provider": "apns", "token": "ab" * 32}
    later_s = int(time.time()) + 3_600
    await enqueue(
        redis_server.socket,
        [
            {"to": {"devices": ["c1"], "tokens": [token]}, "badge": "+1", "message": "listed"},
            {"to": {"all_users": True, "except_users": ["bob"]}, "message": "all"},
            {"user_id": "a", "message": "later", "deliver_at": later_s},
            {"to": {"all_users": True}, "message": "all later", "deliver_at": later_s},
            {"user_id": "a", "message": "past", "deliver_at": "2020-01-01T00:00:00+01:00"},
            {"user_id": "a", "message": "sent", "explain": False, "validate": "false"},
        ],
    )
    async with working(redis_server.address) as (_, queue), scheduling(redis_server.address, queue):
        await processed(redis_client, 6)
    found = {one.ping.message: one.ping for one in await queued(redis_client)}
    assert set(found) == {"listed", "past", "sent"}
    assert found["listed"].to == Addressees(devices=("c1",), tokens=(RawToken("apns", "ab" * 32),))
    assert found["listed"].badge_increment == 1
    ((_, fields),) = await redis_client.xrange(keys.BROADCASTS)
    (all_users,) = decode_entry(fields[b"e"]).pings
    assert all_users.to == Addressees(all_users=True, except_users=("bob",))
    due = await redis_client.zrange(keys.SCHEDULED_PINGS, 0, -1, withscores=True)
    assert [score for _, score in due] == [later_s * 1000] * 2
    assert await count(redis_client, "resque:stat:failed") == 0


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"to": {"everybody": True}}, "to.everybody"),
    ({"to": {"providers": ["ios"]}}, "to.providers[0]"),
    ({"user_id": "a", "to": {"all_users": True}}, "to.all_users"),
    ({"user_id": "a", "explain": True}, "explain"),
    ({"user_id": "a", "explain": ""}, "explain"),
    ({"user_id": "a", "explain": "1", "validate": True}, "explain"),
    ({"user_id": "a", "validate": True}, "validate"),
    ({"user_id": "a", "deliver_at": "2030-01-31T09:30:00"}, "deliver_at"),
    ({"user_id": "a", "deliver_at": 4_000_000_000}, "deliver_at"),
    ({"user_id": "a", "deliver_at": 1, "wait": True}, "deliver_at"),
]


async def test_jobs_with_a_wrong_to_or_instant_and_jobs_to_explain_fail_by_name(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    address = RedisAddress.parse(redis_server.address)
    for parameters, _ in REFUSED:
        await asyncio.to_thread(push, address, parameters)
    async with working(redis_server.address) as (_, queue), scheduling(redis_server.address, queue):
        await processed(redis_client, len(REFUSED))
    failures = [json.loads(one) for one in await redis_client.lrange("resque:failed", 0, -1)]
    assert [(one["payload"]["args"][0], one["error"].partition(": ")[0]) for one in failures] == REFUSED
    assert await redis_client.exists(keys.PINGS, keys.BROADCASTS, keys.SCHEDULED_PINGS) == 0


async def test_jobs_of_a_gateway_without_heartbeats_are_taken_over(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    await enqueue(redis_server.socket, [{"user_id": "a", "message": f"job {n}"} for n in range(3)])
    link = RedisConnection(RedisAddress.parse(redis_server.address), "test")
    await link.open(30)
    fallen = ResqueStore(link, keys.ResqueKeys(), "fallen", "rhopush-y:1:ping")
    assert len(await fallen.take(["ping"])) == 3
    await redis_client.zadd(keys.RESQUE_TAKERS, {"fallen": 1})
    async with working(redis_server.address):
        await processed(redis_client, 3)
    assert await messages(redis_client) == [f"job {n}" for n in range(3)]
    assert await redis_client.exists(f"{keys.RESQUE_TAKEN}fallen") == 0
    assert cast(float, await redis_client.zscore(keys.RESQUE_TAKERS, "fallen")) is None
    await link.close()


SHOWN_KEYS = ("workers", "workers:heartbeat", "pause-all-workers", "queues")


@pytest.mark.parametrize("names", [[name] for name in SHOWN_KEYS] + [list(SHOWN_KEYS)], ids=str)
async def test_a_key_of_resque_of_another_type_is_named_and_stops_no_job(
    redis_server: RedisServer,
    redis_client: Redis,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "HEARTBEAT_S", 0.1)
    await enqueue(redis_server.socket, [{"user_id": "a", "message": "job"}])
    for name in names:
        await redis_client.delete(f"resque:{name}")
        await redis_client.xadd(f"resque:{name}", {"foreign": "1"})
    with structlog.testing.capture_logs() as logged:
        async with working(redis_server.address, queues=("ping", "low_*")):
            await processed(redis_client, 1)
            for name in names:
                await redis_client.delete(f"resque:{name}")
            await until(lambda: redis_client.hlen("resque:workers:heartbeat"))
            await until(lambda: redis_client.scard("resque:workers"))
    named = [one["name"] for one in logged if one["event"] == "resque_key_ignored"]
    assert sorted(named) == sorted(f"resque:{name}" for name in names if name != "pause-all-workers")
    assert await messages(redis_client) == ["job"]


async def test_a_key_of_the_gateway_of_another_type_is_logged_once(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    await enqueue(redis_server.socket, [{"user_id": "a", "message": "job"}])
    await redis_client.set(keys.RESQUE_TAKERS, "x")
    with structlog.testing.capture_logs() as logged:
        async with working(redis_server.address):
            await until(lambda: asyncio.sleep(0, len(failures_in(logged))))
            await asyncio.sleep(0.5)  # some attempts more
            await redis_client.delete(keys.RESQUE_TAKERS)
            await processed(redis_client, 1)
    assert len(failures_in(logged)) == 1


def failures_in(logged: list[Any]) -> list[Any]:
    return [one for one in logged if one["event"] == "resque_worker_failed"]


async def test_the_entry_of_a_killed_worker_is_removed(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    async with working(redis_server.address):
        await until(lambda: redis_client.scard("resque:workers"))
        host = (await overview(redis_server.socket))["workers"][0]["host"]
    dead = f"{host}:1:ping"
    await redis_client.sadd("resque:workers", dead, "another:1:ping")
    await redis_client.set(f"resque:worker:{dead}", "{}")
    async with working(redis_server.address):
        await until(lambda: redis_client.hlen("resque:workers:heartbeat"))
        names = {name.decode() for name in await redis_client.smembers("resque:workers")}
    assert dead not in names
    assert "another:1:ping" in names
    assert await redis_client.exists(f"resque:worker:{dead}") == 0


async def test_jobs_in_hand_continue_after_a_failed_append(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """Only the list of the jobs in hand has a job that was taken before the error."""
    await redis_client.set(keys.PINGS, "no stream")
    await enqueue(redis_server.socket, [{"user_id": "a", "message": "in hand"}])
    metrics = Metrics()
    async with working(redis_server.address, metrics=metrics):
        await until(lambda: metrics.store_errors("resque").value)
        assert await redis_client.hlen(f"{keys.RESQUE_TAKEN}tested") == 1
        await redis_client.delete(keys.PINGS)
        await processed(redis_client, 1)
    assert await messages(redis_client) == ["in hand"]
