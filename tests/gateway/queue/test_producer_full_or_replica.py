"""A Redis that is full or became a replica: no new pings are accepted, and accepted pings continue."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.delivery.quota import Quota
from gateway.errors import QueueFull, StoreDown
from gateway.mailbox.store import MailboxStore
from gateway.queue.broadcast_users import BroadcastUsers
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.consumer import BatchProgress, ReceiptField, ScheduledRetry, Settlement, Streams
from gateway.queue.entries import Chunk, Lease
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.registry.accounts import Accounts
from gateway.registry.change_log import ChangeLog
from gateway.registry.invalidation import InvalidationListener
from gateway.registry.registry import DeviceRegistry
from gateway.registry.snapshots import SnapshotStore
from gateway.registry.user_devices import UserDevices
from gateway.settings import Secret
from gateway.store import connection as connection_module
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection, RedisReplyError, Reply
from protocols.devices import Device
from protocols.ping.model import Ping
from tests.gateway.conftest import MakeLink
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.rhoconnect import android, apple, lay_users
from tests.support.worker_core import until

BOB = Ping(users=("bob",), message="hello")
LIMITS = BacklogLimits(1000, 1_000_000)


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A store whose configuration may be changed."""
    with RedisServer(request.param) as server:
        yield server


class Consumer:
    """One consumer of that store."""

    def __init__(self, connection: RedisConnection, reader: RedisConnection) -> None:
        self.connection = connection
        self.reader = reader
        self.streams = Streams(connection, "one:0", 3600)
        self.queue = QueueProducer(connection, LIMITS)

    async def read(self, stream: str) -> list[Lease]:
        return await self.streams.read(self.reader, (stream,), 10, 1)

    async def settle(self, done: Settlement) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.streams.settle(done, 1_000, future.set_result)
        return await future


async def _open(stack: AsyncExitStack, server: RedisServer) -> Consumer:
    links = []
    for name in ("one", "reader"):
        connection = RedisConnection(RedisAddress.parse(server.address), name)
        await connection.open(30)
        stack.push_async_callback(connection.close)
        links.append(connection)
    consumer = Consumer(*links)
    await consumer.streams.prepare()
    return consumer


async def test_a_full_store_continues_broadcasts(own_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        await one.connection.call("CONFIG", "SET", "maxmemory", "1")
        assert await BroadcastStore(one.connection, 60).claim("p", 0, [b"a", b"b"]) == [True, True]


async def test_users_are_looked_up_in_a_full_store(own_server: RedisServer) -> None:
    users = ["bob", "nobody", "eve", "odd", "bob"]
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        redis = await stack.enter_async_context(store_client(own_server.socket))
        await lay_users(redis, {"bob": [apple("ab"), android("cd")], "eve": [apple("ef")]})
        await redis.set(keys.user("odd", "clients"), "no set")
        before = await DeviceRegistry(one.connection).devices_of(users)
        await one.connection.call("CONFIG", "SET", "maxmemory", "1")
        registry = DeviceRegistry(one.connection)
        for found in (await registry.devices_of(users), await registry.devices_of_many(users)):
            assert [set(user.devices) for user in found] == [set(user.devices) for user in before]
            assert [user.unknown for user in found] == [False, True, False, True, False]


async def test_snapshots_leave_memory_for_other_data(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.registry.snapshots.MEMORY_CHECK_S", 0.0)
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        change_log = ChangeLog()
        change_log.resume(1, {})
        snapshots = SnapshotStore(one.connection, change_log)
        bob = [UserDevices((Device("ab", "Apple", "apple", "cd"),))]
        used = int((await one.connection.call("INFO", "memory")).split(b"used_memory:")[1].split()[0])
        for most, kept in ((used * 10, True), (used + 1_000, False), (0, True)):
            await one.connection.call("CONFIG", "SET", "maxmemory", most)
            snapshots.write(["bob"], bob, b"5")  # looks
            await one.connection.call("DEL", keys.snapshot("bob"))
            snapshots.write(["bob"], bob, b"5")
            assert await one.connection.call("EXISTS", keys.snapshot("bob")) == kept


async def test_a_damaged_count_of_the_change_log_loses_a_snapshot_and_no_ping(
    make_link: MakeLink, redis_client: Redis
) -> None:
    connection = await make_link()
    await lay_users(redis_client, {"bob": [apple("ab")]})
    await redis_client.hset(keys.CHANGE_LOG, "\0count", "x")
    change_log = ChangeLog()
    change_log.resume(1, {})
    (found,) = await DeviceRegistry(connection, snapshots=SnapshotStore(connection, change_log)).devices_of(
        ["bob"]
    )
    assert len(found.devices) == 1
    assert not await redis_client.exists(keys.snapshot("bob"))


async def test_a_full_store_records_one_lapse_only(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEARTBEAT_S", "JOIN_S", "_RETRY_S"):
        monkeypatch.setattr(f"gateway.registry.change_log.{name}", 0.01)
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        change_log, lapses = ChangeLog(), list[int]()
        tracking = InvalidationListener(
            RedisAddress.parse(own_server.address),
            DeviceRegistry(one.connection),
            change_log,
            "one:0",
            lambda: lapses.append(1),
        )
        await tracking.open()
        stack.push_async_callback(tracking.close)
        await until(lambda: change_log.complete)
        await one.connection.call("CONFIG", "SET", "maxmemory", "1")
        await until(lambda: not change_log.complete)
        await asyncio.sleep(0.3)
        assert (len(lapses), change_log.complete) == (1, False)
        await one.connection.call("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: change_log.complete)


async def test_a_full_store_accepts_no_new_pings_and_delivers_the_old_ones(own_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        for _ in range(2):
            await one.queue.append(BOB, 10)
        first, second = await one.read(keys.PINGS)
        await one.connection.call("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreDown, match="refused"):
            await one.queue.append(BOB, 10)

        await one.streams.save(second, BatchProgress((("phone",),), b"\1", ()))
        assert await one.streams.progress(second) == BatchProgress((("phone",),), b"\1", ())
        piece = Chunk(BOB, clients=("phone",), attempt=1)
        receipts = [ReceiptField(keys.receipt("b"), "base", b"much" * 100)]
        assert await one.settle(Settlement(first, receipts, [ScheduledRetry("again", 5, piece)])) == 1
        assert await one.settle(Settlement(second)) == 1
        assert await one.streams.release_due(10) == 1
        (due,) = await one.read(keys.RETRIES)
        assert await one.settle(Settlement(due)) == 1
        assert await one.streams.trim_receipts(-1, 10**9) == 1

        granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        Quota(one.connection).draw("fcm:project", 5, 10.0, granted.set_result)
        assert await granted == 5
        with own_server.client() as client:
            left = {key.decode() for key in client.scan_iter()}
        markers = {name for name in left if ":append:" in name}
        assert left - markers == {*keys.STREAMS, keys.STATS, keys.quota("fcm:project")}


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_full_store_returns_the_devices_of_users(own_server: RedisServer, many: bool) -> None:
    async with (
        AsyncExitStack() as stack,
        store_client(own_server.socket) as redis,
    ):
        one = await _open(stack, own_server)
        ann = [apple("ab", client_id="aa"), apple("cd", client_id="ab")]
        await lay_users(redis, {"ann": ann, "bob": [apple("ef", client_id="ac")], "cid": []})
        await redis.set("user:dan:clients", "no set")
        await redis.sadd("user:bob:clients", "ad")
        registry = DeviceRegistry(one.connection)
        look_up = registry.devices_of_many if many else registry.devices_of
        users = ["ann", "nobody", "bob", "dan", "cid"]
        before = [_facts(one) for one in await look_up(users)]
        await one.connection.call("CONFIG", "SET", "maxmemory", "1")
        assert [_facts(one) for one in await look_up(users)] == before
        assert [len(devices) for devices, *_ in before] == [2, 0, 1, 0, 0]


def _facts(found: UserDevices) -> tuple[set[Device], int, tuple[str, ...], bool]:
    return set(found.devices), found.dangling, found.left_out, found.unknown


async def test_a_full_store_returns_its_secrets(own_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        redis = await stack.enter_async_context(store_client(own_server.socket))
        accounts = Accounts(redis, api_token=Secret("token"), admin_password=None, owns_store=False)
        rhoconnect_push = MailboxStore(RedisAddress.parse(own_server.address))
        await rhoconnect_push.open()
        stack.push_async_callback(rhoconnect_push.close)
        secrets = await accounts.session_secret(), await rhoconnect_push.secret()
        await one.connection.call("CONFIG", "SET", "maxmemory", "1")
        assert (await accounts.session_secret(), await rhoconnect_push.secret()) == secrets


async def test_a_connection_to_a_server_that_became_a_replica_is_closed(own_server: RedisServer) -> None:
    """Sentinel, or a name that leads to the new master, is asked again: the link does not stay where it was."""
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        before = await one.connection.call("CLIENT", "ID")
        await one.connection.call("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreDown):
            await one.queue.append(BOB, 10)
        await until(lambda: _another_than(before, one.connection))
        await one.connection.call("REPLICAOF", "NO", "ONE")
        await one.queue.append(BOB, 10)
        assert len(await one.read(keys.PINGS)) == 1


async def test_a_server_that_stays_a_replica_is_logged_at_intervals(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        one = await _open(stack, own_server)
        await one.connection.call("REPLICAOF", "127.0.0.1", "1")
        with capture_logs() as logged:
            for _ in range(5):
                await _refused(one.connection)
        assert [(line["event"], line["connection"]) for line in logged] == [
            ("redis_connection_closed", "one")
        ]
        assert logged[0]["error"].startswith("READONLY")
        assert logged[0]["log_level"] == "warning"
        monkeypatch.setattr(connection_module, "_LOG_INTERVAL_S", -1.0)
        with capture_logs() as logged:
            await _refused(one.connection)
        assert [line["event"] for line in logged] == ["redis_connection_closed"]


async def _refused(connection: RedisConnection) -> None:
    """Write until that ends the connection."""
    await connection.wait_up()
    with pytest.raises(RedisReplyError, match="READONLY"):
        await connection.call("SET", "key", "value")
    await until(lambda: not connection.up)


async def _another_than(before: int, connection: RedisConnection) -> bool:
    try:
        return bool(await connection.call("CLIENT", "ID") != before)
    except StoreDown:
        return False


async def test_the_users_of_a_refused_broadcast_are_deleted(make_link: MakeLink, redis_client: Redis) -> None:
    queue = QueueProducer(await make_link(), BacklogLimits(1, 10))
    users = tuple(f"user{n}" for n in range(20 * keys.CHUNK_USERS))
    with pytest.raises(QueueFull):
        await queue.append(Ping(users=users, message="hello"), 11)
    await queue.append(BOB, 1)  # behind it on the same link
    assert [key async for key in redis_client.scan_iter("*:users:*")] == []


async def test_the_users_of_an_incomplete_broadcast_expire(
    make_link: MakeLink, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await make_link()
    call = connection.call

    def fails_at_the_second(*words: str | bytes | int | float) -> "asyncio.Future[Reply]":
        if words[0] == "HSET" and 0 not in words:
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            future.set_exception(RedisReplyError("OOM"))
            monkeypatch.setattr(
                BroadcastUsers, "_drop_orphaned", lambda _: None
            )  # nor is anything taken back
            return future
        return call(*words)

    monkeypatch.setattr(connection, "call", fails_at_the_second)
    users = tuple(f"user{n}" for n in range(20 * keys.CHUNK_USERS))
    with pytest.raises(StoreDown):
        await QueueProducer(connection, LIMITS).append(Ping(users=users, message="hello"), 11)
    (name,) = [key async for key in redis_client.scan_iter("*:users:*")]
    assert 0 < await redis_client.ttl(name) <= keys.BROADCAST_S


async def test_the_users_of_an_entry_are_limited(make_link: MakeLink, redis_client: Redis) -> None:
    queue = QueueProducer(await make_link(), LIMITS)
    each = keys.ENTRY_USERS // 10
    ping = Ping(users=tuple(f"user{n}" for n in range(each)), message="hello")
    await asyncio.gather(*(queue.append(ping, 10) for _ in range(11)))
    counts = [int(entry[1][b"n"]) for entry in await redis_client.xrange(keys.PINGS)]
    assert counts == [10, 1]


async def test_an_empty_request_returns_an_empty_result(make_link: MakeLink) -> None:
    assert await (await make_link()).send_many([]) == []
