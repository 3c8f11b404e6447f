import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.change_events import Coalescer, open_change_events, source_rules, windows
from gateway.change_events import coalescer as coalescer_module
from gateway.change_events.subscriber import ChangeSubscriber, Subscription
from gateway.metrics import Metrics
from gateway.settings import EventSettings, Secret, Settings, Source
from gateway.store import keys
from gateway.store.address import RedisAddress
from tests.gateway.change_events.conftest import Queued, queued
from tests.support.redis import RedisServer
from tests.support.worker_core import until

CHANNEL = "rhoconnect:changes"
SOURCES = {
    "Product": Source(push_notify=True),
    "Order": Source(push_notify=True),
    "Quiet": Source(),
    "Catalog": Source("app", push_notify=True),
}


@asynccontextmanager
async def listening(
    address: str, metrics: Metrics | None = None, *, name: str = "tested", **events: Any
) -> AsyncIterator[Coalescer]:
    """The ingress `change_events` of a gateway, once it is the leader (or, as the second gateway, a standby)."""
    settings = said(address, **events)
    async with open_change_events(settings, name, metrics or Metrics()) as made:
        assert made is not None
        yield made


def said(address: str, documents: tuple[str, ...] = (), **events: Any) -> Settings:
    events = {"window_ms": 0, "streams": (), **events}
    shards = tuple(Secret(shard) for shard in documents)
    return Settings(redis=Secret(address), documents=shards, events=EventSettings(**events), sources=SOURCES)


async def writing(made: Coalescer) -> None:
    await made.leader.wait()


async def told(redis: Redis, source: str, user: str | list[str], **more: Any) -> None:
    """Publish an event to at least one subscriber."""
    event = json.dumps({"source": source, "user_id": user, **more})
    assert await redis.publish(CHANNEL, event) >= 1


async def pings(redis: Redis, count: int) -> list[Queued]:
    async def there() -> bool:
        return len(await queued(redis)) >= count

    await until(there)
    return await queued(redis)


def counts(metrics: Metrics, name: str, label: str) -> Mapping[str, float]:
    """A counter's values by the value of its label."""
    return {
        sample.labels[label]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == f"rhopush_{name}_total" and label in sample.labels
    }


async def test_an_event_becomes_a_sync_only_ping(redis_address: str, redis_client: Redis) -> None:
    metrics = Metrics()
    async with listening(redis_address, metrics) as made:
        await writing(made)
        await told(redis_client, "Product", "bob")
        await told(redis_client, "Order", ["a:b", "ünï", "{q}"])
        found = await pings(redis_client, 4)
        # The gateway counts them after the reply, which may arrive later than that to the test.
        await until(lambda: counts(metrics, "pings_accepted", "ingress").get("change_events") == 4)
    assert sorted(one.pair for one in found) == [
        ("a:b", ("Order",)),
        ("bob", ("Product",)),
        ("{q}", ("Order",)),
        ("ünï", ("Order",)),
    ]
    assert {(one.ping.message, one.ping.ingress) for one in found} == {(None, "change_events")}
    assert counts(metrics, "change_events_received", "kind") == {"channel": 2}
    assert counts(metrics, "pings_accepted", "ingress") == {"change_events": 4}


REFUSED = [
    (b"not json", "malformed"),
    (b"[]", "malformed"),
    (b"\xff", "malformed"),
    (b'{"source": "Product"}', "invalid_field"),
    (b'{"user_id": "bob"}', "invalid_field"),
    (b'{"source": "Product", "user_id": 5}', "invalid_field"),
    (b'{"source": "Product", "user_id": []}', "invalid_field"),
    (b'{"source": "Product", "user_id": "' + b"x" * 1025 + b'"}', "invalid_field"),
    (b'{"source": "Quiet", "user_id": "bob"}', "no_push_notify"),
    (b'{"source": "Nobody", "user_id": "bob"}', "no_push_notify"),
    (b'{"source": "Catalog", "user_id": "bob"}', "app_partition"),
]


@pytest.mark.parametrize(("event", "reason"), REFUSED)
async def test_changes_without_a_push_are_counted_and_harmless(
    redis_address: str, redis_client: Redis, event: bytes, reason: str
) -> None:
    metrics = Metrics()
    async with listening(redis_address, metrics) as made:
        await writing(made)
        await redis_client.publish(CHANNEL, event)
        await told(redis_client, "Product", "after")
        found = await pings(redis_client, 1)
    assert [one.pair for one in found] == [("after", ("Product",))]
    assert counts(metrics, "change_events_ignored", "reason") == {reason: 1}


async def test_a_listed_source_pushes_without_push_notify(redis_address: str, redis_client: Redis) -> None:
    metrics = Metrics()
    async with listening(redis_address, metrics, sources=("Quiet", "Catalog", "Unsaid")) as made:
        await writing(made)
        for source in ("Product", "Catalog", "Unsaid", "Quiet"):
            await told(redis_client, source, f"{source}'s user")
        found = await pings(redis_client, 2)
    assert {one.ping.sources for one in found} == {("Quiet",), ("Unsaid",)}
    assert counts(metrics, "change_events_ignored", "reason") == {"not_listed": 1, "app_partition": 1}


async def test_reloaded_rules_apply(redis_address: str, redis_client: Redis) -> None:
    metrics = Metrics()
    async with listening(redis_address, metrics) as made:
        await writing(made)
        await told(redis_client, "Quiet", "bob")
        await until(lambda: counts(metrics, "change_events_ignored", "reason"))
        made.apply_settings(said(redis_address, sources=("Quiet",)))
        assert made.rules == source_rules(said(redis_address, sources=("Quiet",)))
        await told(redis_client, "Quiet", "ann")
        found = await pings(redis_client, 1)
    assert [one.pair for one in found] == [("ann", ("Quiet",))]


async def push_objects(redis: Redis, user: str, source: str) -> None:
    """Write the keys that RhoConnect writes when an object of a source's master document changes (contract §7)."""
    document = f"source:application:{user}:{source}"
    async with redis.pipeline(transaction=False) as pipe:
        pipe.sadd(f"{document}:md:0a", "[]")
        pipe.hset(f"{document}:md:indices", "0a", "1")
        pipe.incrby(f"{document}:md_size", 1)
        pipe.sadd(f"{document}:cd:0a", "[]")  # a client's document: no user's data changed
        await pipe.execute()


async def test_continuously_changing_documents_push_at_most_twice_an_interval(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    interval_s = 0.5
    await redis_client.config_set("notify-keyspace-events", "KA")
    ids: list[int] = []
    async with listening(redis_server.address, keyspace="listen", min_interval_s=interval_s) as made:
        await writing(made)
        while len(ids) < 4:
            await push_objects(redis_client, "bob", "Product")
            ids = [int(one.entry.partition("-")[0]) for one in await queued(redis_client)]
        last = int((await redis_client.time())[0] * 1000)
        await push_objects(redis_client, "bob", "Product")
        found = await pings(redis_client, 5)
    times = [int(one.entry.partition("-")[0]) for one in found]
    assert all(third - first >= interval_s * 1000 for first, third in zip(times, times[2:], strict=False))
    assert times[-1] >= last, "the last change was not followed by a push"
    await redis_client.config_set("notify-keyspace-events", "")


async def test_several_gateways_make_one_ping_of_an_event(redis_address: str, redis_client: Redis) -> None:
    async with AsyncExitStack() as stack:
        several = [
            await stack.enter_async_context(listening(redis_address, name=f"gateway{n}")) for n in range(3)
        ]
        await until(lambda: any(one.leader.is_set() for one in several))
        for number in range(200):
            await told(redis_client, "Product", f"user{number}")
        found = await pings(redis_client, 200)
        assert sum(one.leader.is_set() for one in several) == 1
    assert len(found) == 200


async def test_a_new_leader_stores_the_changes_of_the_former_one(
    redis_address: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "LEASE_MS", 60_000)
    async with listening(redis_address, name="second") as second:
        await writing(second)  # a reply to its first heartbeat must not make it the leader later
        await asyncio.sleep(0.05)  # it is subscribed for longer than the former leader has been silent
        # Another gateway, which was killed, still holds the lease and stores nothing.
        seconds, micros = await redis_client.time()
        now_ms = seconds * 1000 + micros // 1000
        second.leader.clear()
        held = {"holder": "first", "until": now_ms + 60_000, "heard": now_ms - 1, "mark": "first#1"}
        await redis_client.hset(keys.CHANGE_EVENTS, mapping=held)
        await until(lambda: not second.leader.is_set())
        await told(redis_client, "Product", "bob", id="17")
        await told(redis_client, "Order", "bob")
        assert await queued(redis_client) == []
        await redis_client.hset(keys.CHANGE_EVENTS, "until", now_ms)  # its lease has expired
        found = await pings(redis_client, 1)
        await told(redis_client, "Product", "bob", id="17")
        await told(redis_client, "Product", "ann", id="18")
        found = await pings(redis_client, 2)
    assert [one.pair for one in found] == [("bob", ("Order", "Product")), ("ann", ("Product",))]


async def test_changes_whose_storing_has_begun_survive_the_end_of_the_gateway(
    redis_address: str, redis_client: Redis
) -> None:
    """The last change is in the second call of a write, which has not been sent when the gateway ends."""
    stack = AsyncExitStack()
    made = await stack.enter_async_context(listening(redis_address))
    await writing(made)
    subscriber = ChangeSubscriber(
        RedisAddress.parse(redis_address), Subscription(), made.on_message, made.on_mark, made.on_gap
    )
    users = [f"user{number}" for number in range(windows.CHANGES + 1)]
    await redis_client.client_pause(60_000, all=False)
    for user in users:
        event = json.dumps({"source": "Product", "user_id": user}).encode()
        made.on_message(subscriber, [b"message", CHANNEL.encode(), event])
    await turns()
    closing = asyncio.create_task(stack.aclose())
    await turns()
    await redis_client.client_unpause()
    await closing
    found = {user.decode() for user in await redis_client.zrange(keys.WINDOWS, 0, -1)}
    assert sorted(set(users) - found) == []


async def test_a_close_releases_a_lease_whose_answer_has_not_arrived(
    redis_address: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the next gateway would wait for the end of the lease."""
    hold = windows.ChangeWindows.hold

    async def without_answer(*words: Any) -> None:
        await hold(*words)
        await asyncio.Event().wait()

    async def leads() -> bool:
        return bool(await redis_client.hexists(keys.CHANGE_EVENTS, "holder"))

    monkeypatch.setattr(windows.ChangeWindows, "hold", without_answer)
    async with listening(redis_address):
        await until(leads)
    assert not await leads()


async def turns() -> None:
    """Let all tasks run that can run."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("name", [keys.WINDOW, keys.PUSHED])
async def test_a_users_key_of_another_type_does_not_delay_other_users(
    redis_address: str, redis_client: Redis, name: str
) -> None:
    await redis_client.set(name + "odd", "of another type")
    await redis_client.zadd(keys.WINDOWS, {"odd": 1})
    async with listening(redis_address) as made:
        await writing(made)
        await told(redis_client, "Product", ["odd", "bob"])
        found = await pings(redis_client, 1)
    assert [one.pair for one in found if one.pair[0] == "bob"] == [("bob", ("Product",))]


async def test_a_defect_does_not_end_the_closing_of_windows(
    redis_address: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalescer_module, "HEARTBEAT_S", 0.01)
    close, defects = windows.ChangeWindows.close, [RuntimeError("a defect"), KeyError("another")]

    async def failing(self: windows.ChangeWindows) -> windows.CloseResult:
        if defects:
            raise defects.pop()
        return await close(self)

    monkeypatch.setattr(windows.ChangeWindows, "close", failing)
    async with listening(redis_address) as made:
        await writing(made)
        await told(redis_client, "Product", "bob")
        (found,) = await pings(redis_client, 1)
        assert found.pair == ("bob", ("Product",))
    assert not defects
