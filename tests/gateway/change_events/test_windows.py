import asyncio
import itertools

import pytest
from redis.asyncio import Redis

from gateway.change_events.windows import GRACE_MS, LEASE_MS, ChangeWindows, PendingChange
from gateway.queue.ping_queue import BacklogLimits
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.change_events import Change
from protocols.ping.model import Ping
from tests.gateway.change_events.conftest import connection, queued

__all__ = ["connection"]
ROOM = BacklogLimits(1_000_000, 10**9)


def change(source: str, *users: str, id: str = "", bounded: bool = False) -> PendingChange:
    return PendingChange(Change(users, source, id), bounded)


def windows(
    connection: RedisConnection,
    *,
    limits: BacklogLimits = ROOM,
    window_ms: int = 0,
    interval_ms: int = 60_000,
) -> ChangeWindows:
    return ChangeWindows(connection, limits, window_ms=window_ms, interval_ms=interval_ms, bounding=True)


async def test_changes_of_a_window_become_one_ping_with_all_sources(
    connection: RedisConnection, redis_client: Redis
) -> None:
    made = windows(connection)
    await made.write([change("Product", "bob", "ann"), change("Order", "bob"), change("Product", "bob")])
    closed = await made.close()
    assert (closed.pings, closed.next_ms, closed.full) == (2, None, False)
    assert [one.ping for one in await queued(redis_client)] == [
        Ping(users=("ann",), sources=("Product",), ingress="change_events"),
        Ping(users=("bob",), sources=("Order", "Product"), ingress="change_events"),
    ]
    assert await redis_client.hget(keys.STATS, "pings") == b"2"
    assert await redis_client.hget(keys.STATS, "bytes") == b"400"
    assert (await made.close()).pings == 0


async def test_a_window_does_not_extend(connection: RedisConnection, redis_client: Redis) -> None:
    made = windows(connection, window_ms=60_000)
    first = await made.write([change("Product", "bob")])
    begun = await redis_client.zscore(keys.WINDOWS, "bob")
    await asyncio.sleep(0.02)
    later = await made.write([change("Order", "bob")])
    assert first.next_ms == 60_000
    assert later.next_ms is not None
    assert later.next_ms < 60_000
    assert await redis_client.zscore(keys.WINDOWS, "bob") == begun
    assert (await made.close()).pings == 0
    for key, name in ((keys.WINDOWS, "bob"), *((f"{keys.WINDOW}bob", one) for one in ("Product", "Order"))):
        await redis_client.zincrby(key, -60_000, name)  # its time passes
    assert (await made.close()).pings == 1


async def test_a_change_with_an_id_counts_once(connection: RedisConnection, redis_client: Redis) -> None:
    made = windows(connection)
    assert (await made.write([change("Product", "bob", id="1")])).known == 0
    assert (await made.close()).pings == 1
    written = await made.write([change("Product", "bob", id="1"), change("Product", "bob", id="2")])
    assert written.known == 1
    assert (await made.close()).pings == 1
    assert 0 < await redis_client.ttl(f"{keys.CHANGE_ID}1") <= keys.CHANGE_ID_S


async def test_a_full_backlog_keeps_windows_open(connection: RedisConnection, redis_client: Redis) -> None:
    made = windows(connection, limits=BacklogLimits(2, 10**9))
    await made.write([change("Product", *(f"user{n}" for n in range(5)))])
    assert (await made.close())[::2] == (2, False)
    assert (await made.close())[::2] == (0, True)
    assert await redis_client.zcard(keys.WINDOWS) == 3
    assert (await windows(connection, limits=BacklogLimits(10, 599)).close())[::2] == (0, True)
    assert (await windows(connection, limits=BacklogLimits(10, 600)).close()).pings == 1


async def test_many_windows_are_closed_in_entries(connection: RedisConnection, redis_client: Redis) -> None:
    made = windows(connection)
    names = [f"user{n:04}" for n in range(2_500)]
    await made.write([change("Product", name) for name in names] + [change("Order", *names)])
    counts = [(await made.close()).pings for _ in range(14)]
    assert counts == [keys.ENTRY_PINGS] * 12 + [100, 0]
    found = await queued(redis_client)
    assert sorted(one.pair for one in found) == [(name, ("Order", "Product")) for name in names]


async def pushed_ms(redis: Redis) -> list[int]:
    """When each ping was queued, by the clock of Redis, which is the clock of the windows."""
    return [int(one.entry.partition("-")[0]) for one in await queued(redis)]


async def test_rate_limited_changes_push_immediately_and_then_once_an_interval(
    connection: RedisConnection, redis_client: Redis
) -> None:
    made = windows(connection, interval_ms=400)
    one = change("Product", "bob", bounded=True)
    await made.write([one])
    pushes = (await made.close()).pings
    assert pushes == 1
    async with asyncio.timeout(30):
        while pushes < 3:
            await made.write([one])
            pushes += (await made.close()).pings
            await asyncio.sleep(0.005)
    times = await pushed_ms(redis_client)
    assert all(later - earlier >= 395 for earlier, later in itertools.pairwise(times))
    # The next change is still due, one interval after the last push.
    await windows(connection, interval_ms=60_000).write([one])
    assert 59_995 <= await redis_client.zscore(keys.WINDOWS, "bob") - times[-1] <= 60_005


async def test_many_sources_push_a_user_at_most_twice_an_interval(
    connection: RedisConnection, redis_client: Redis
) -> None:
    made = windows(connection, interval_ms=400)
    sources = set[str]()
    turn = pushes = 0
    async with asyncio.timeout(30):
        while pushes < 6 or len(sources) < 5:
            turn += 1
            await made.write([change(f"Source{turn % 5}", "bob", bounded=True)])
            if came := (await made.close()).pings:
                pushes += came
                sources |= {source for one in await queued(redis_client) for source in one.ping.sources}
            await asyncio.sleep(0.005)
    times = await pushed_ms(redis_client)
    assert all(third - first >= 395 for first, third in zip(times, times[2:], strict=False))
    assert sources == {f"Source{n}" for n in range(5)}


async def test_a_published_change_does_not_wait_for_a_rate_limited_one(
    connection: RedisConnection, redis_client: Redis
) -> None:
    made = windows(connection)
    await made.write([change("Product", "bob", bounded=True)])
    assert (await made.close()).pings == 1
    held = await made.write([change("Product", "bob", bounded=True)])
    assert held.next_ms is not None
    assert held.next_ms > 50_000
    assert (await made.close()).pings == 0
    assert (await made.write([change("Order", "bob")])).next_ms == 0
    assert (await made.close()).pings == 1
    assert await redis_client.zcard(keys.WINDOWS) == 1
    await made.write([change("Product", "bob")])
    assert (await made.close())[:2] == (1, None)
    assert [one.ping.sources for one in await queued(redis_client)] == [
        ("Product",),
        ("Order",),
        ("Product",),
    ]


async def test_names_with_any_characters_become_pings(
    connection: RedisConnection, redis_client: Redis
) -> None:
    made = windows(connection)
    names = ["a:b", "ÿ\0", "{q}", "x" * 1_024]
    await made.write([change("Pro:duct\n", name) for name in names])
    await made.close()
    assert sorted(one.pair for one in await queued(redis_client)) == sorted(
        (name, ("Pro:duct\n",)) for name in names
    )


async def test_one_process_holds_the_lease_and_publishes_its_mark(connection: RedisConnection) -> None:
    made = windows(connection)
    assert (await made.hold("one", "one#1", 0))[:2] == (True, None)
    assert (await made.hold("two", "", 10_000))[::2] == (False, "one#1")
    await made.hold("one", "one#2", 0)
    await made.release("two")
    assert (await made.hold("two", "", 10_000))[::2] == (False, "one#2")
    await made.release("one")
    took = await made.hold("two", "", 10_000)
    assert (took.held, took.mark) == (True, "one#2")
    assert not (await made.hold("one", "", 10_000)).held


@pytest.mark.parametrize("given_back", [True, False])
async def test_a_free_lease_is_reserved_for_a_continuous_subscriber(
    connection: RedisConnection, redis_client: Redis, given_back: bool
) -> None:
    made = windows(connection)
    await made.hold("one", "", 0)
    seconds, micros = await redis_client.time()
    now_ms = seconds * 1000 + micros // 1000
    silent_ms = GRACE_MS // 2 if given_back else LEASE_MS + GRACE_MS // 2
    gone = {"heard": now_ms - silent_ms, "until": now_ms - 1}
    await redis_client.hset(keys.CHANGE_EVENTS, mapping=gone)
    if given_back:
        await made.release("one")
    assert not (await made.hold("new", "", silent_ms // 2)).held
    old = await made.hold("old", "", silent_ms + 2_000)
    assert old.held
    assert old.gap_ms is not None
    assert silent_ms <= old.gap_ms < silent_ms + 2_000
    long_ago_ms = silent_ms + GRACE_MS + 1
    await redis_client.hset(keys.CHANGE_EVENTS, mapping={"heard": now_ms - long_ago_ms, "until": now_ms - 1})
    if given_back:
        await made.release("old")
    assert (await made.hold("new", "", 0)).held


async def test_without_a_continuous_subscriber_the_longest_subscribed_gateway_takes_the_lease(
    connection: RedisConnection, redis_client: Redis
) -> None:
    """A leader that was killed and restarted must not hide the changes that another gateway received meanwhile."""
    made = windows(connection)
    await made.hold("one", "", 0)

    async def silent(ms: int) -> None:
        seconds, micros = await redis_client.time()
        now_ms = seconds * 1000 + micros // 1000
        await redis_client.hset(keys.CHANGE_EVENTS, mapping={"heard": now_ms - ms, "until": now_ms - 1})

    await silent(LEASE_MS + GRACE_MS // 2)
    assert not (await made.hold("back", "", 100)).held
    assert not (await made.hold("longer", "", LEASE_MS)).held
    await silent(LEASE_MS + GRACE_MS + 100)
    assert not (await made.hold("back", "", 100)).held
    assert (await made.hold("longer", "", LEASE_MS)).held
    await silent(LEASE_MS + 2 * GRACE_MS + 100)  # if that gateway never takes the lease, any gateway may
    await made.hold("gone", "", LEASE_MS)
    await silent(LEASE_MS + 2 * GRACE_MS + 100)
    assert (await made.hold("back", "", 100)).held


# After Redis' clock was set back: timestamps in the future.


@pytest.mark.parametrize("jump_s", [3_600, 86_400])
async def test_a_window_with_a_future_time_is_closed_now(
    connection: RedisConnection, redis_client: Redis, jump_s: int
) -> None:
    made = windows(connection, window_ms=60_000)
    await made.write([change("Product", "bob")])
    for name, member in ((keys.WINDOWS, "bob"), (f"{keys.WINDOW}bob", "Product")):
        await redis_client.zincrby(name, jump_s * 1000, member)
    assert (await made.close())[:2] == (1, None)
    assert [one.pair for one in await queued(redis_client)] == [("bob", ("Product",))]
    assert await redis_client.exists(f"{keys.WINDOW}bob") == 0


@pytest.mark.parametrize("jump_s", [3_600, 86_400])
async def test_a_push_with_a_future_time_counts_as_now(
    connection: RedisConnection, redis_client: Redis, jump_s: int
) -> None:
    made = windows(connection)
    await made.write([change("Product", "bob", bounded=True)])
    assert (await made.close()).pings == 1
    for field in ("last", "=Product"):
        await redis_client.hincrby(f"{keys.PUSHED}bob", field, jump_s * 1000)
    written = await made.write([change("Product", "bob", bounded=True)])
    assert written.next_ms is not None
    assert 50_000 < written.next_ms <= 60_000


@pytest.mark.parametrize("jump_s", [3_600, 86_400])
async def test_a_lease_with_a_future_time_ends(
    connection: RedisConnection, redis_client: Redis, jump_s: int
) -> None:
    made = windows(connection)
    await made.hold("gone", "", 0)
    for field in ("until", "heard"):
        await redis_client.hincrby(keys.CHANGE_EVENTS, field, jump_s * 1000)
    assert not (await made.hold("next", "", 0)).held
    seconds, micros = await redis_client.time()
    until_ms = int(await redis_client.hget(keys.CHANGE_EVENTS, "until") or 0)
    assert until_ms <= seconds * 1000 + micros // 1000 + LEASE_MS


async def test_texts_that_are_not_utf8_stop_no_other_user(
    connection: RedisConnection, redis_client: Redis
) -> None:
    made = windows(connection)
    await made.write([change("Product", "bob", "\u00e9", "\U0001f600", "\uffff")])
    for bad in (b"\xff", b"a\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x80\x80"):
        await redis_client.zadd(keys.WINDOWS, {bad: 1})
        await redis_client.zadd(keys.WINDOW.encode() + bad, {b"Product": 1})
    await redis_client.zadd(f"{keys.WINDOW}bob", {b"\xff": 1})
    closed = await made.close()
    assert (closed.pings, closed.refused) == (4, 7)
    users = ("bob", "\u00e9", "\U0001f600", "\uffff")
    assert {one.pair for one in await queued(redis_client)} == {(user, ("Product",)) for user in users}
    assert await redis_client.zcard(keys.WINDOWS) == 0


async def test_a_damaged_mark_of_the_lease_is_no_error(
    connection: RedisConnection, redis_client: Redis
) -> None:
    made = windows(connection)
    await redis_client.hset(keys.CHANGE_EVENTS, "mark", b"\xff")
    assert (await made.hold("one", "", 0)).held
