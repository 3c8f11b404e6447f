"""The change log, and the listeners that maintain it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.registry import change_log as change_log_module
from gateway.registry import change_log_scripts
from gateway.registry.change_log import ChangeLog, ChangeLogWriter
from gateway.registry.invalidation import InvalidationListener
from gateway.registry.registry import DeviceRegistry
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from tests.gateway.conftest import MakeLink
from tests.support.redis import RedisServer
from tests.support.worker_core import read_until, until

# Decisions, without Redis.


def opened(void: int = 100, **counts: int) -> ChangeLog:
    change_log = ChangeLog()
    change_log.resume(void, counts)
    return change_log


@pytest.mark.parametrize(("at", "believed"), [(99, False), (100, True), (101, True)])
def test_data_read_before_a_lapse_is_invalid(at: int, believed: bool) -> None:
    assert opened(100).is_current(at, ["bob"]) is believed


@pytest.mark.parametrize(("at", "believed"), [(119, False), (120, True), (121, True)])
def test_a_change_invalidates_data_read_before_its_record(at: int, believed: bool) -> None:
    change_log = opened(100, bob=120, eve=130)
    assert change_log.is_current(at, ["bob"]) is believed
    assert change_log.is_current(at, ["ann"]) is True
    assert change_log.is_current(at, ["ann", "eve"]) is False


def test_a_change_counts_from_its_reception() -> None:
    change_log = opened()
    change_log.on_changes(["bob"])
    assert change_log.is_current(10**9, ["bob"]) is False
    assert change_log.take_unwritten() == ("bob",)
    assert change_log.is_current(10**9, ["bob"]) is False
    change_log.mark_written(120, reset=False)
    assert [change_log.is_current(at, ["bob"]) for at in (119, 120)] == [False, True]


def test_changes_during_a_write_are_recorded_next() -> None:
    change_log = opened()
    change_log.on_changes(["bob"])
    change_log.take_unwritten()
    change_log.on_changes(["bob", "eve"])
    assert change_log.take_unwritten() == ()
    change_log.mark_written(120, reset=False)
    assert change_log.is_current(120, ["bob"]) is False
    assert sorted(change_log.take_unwritten()) == ["bob", "eve"]
    change_log.mark_written(121, reset=False)
    assert [change_log.is_current(at, ["bob"]) for at in (120, 121)] == [False, True]


def test_a_full_log_invalidates_everything_before_it() -> None:
    change_log = opened(100, eve=110)
    change_log.on_changes(["bob"])
    change_log.take_unwritten()
    change_log.mark_written(130, reset=True)
    assert [change_log.is_current(at, ["ann"]) for at in (129, 130)] == [False, True]


def test_a_new_listener_keeps_the_changes_it_received() -> None:
    change_log = ChangeLog()
    change_log.start()
    change_log.on_changes(["bob"])
    change_log.take_unwritten()
    change_log.mark_written(130, reset=False)
    change_log.on_changes(["eve"])
    change_log.resume(100, {"bob": 120, "ann": 110})
    assert [change_log.is_current(at, ["bob"]) for at in (129, 130)] == [False, True]
    assert [change_log.is_current(at, ["ann"]) for at in (109, 110)] == [False, True]
    assert change_log.is_current(140, ["eve"]) is False


# With Redis.


class Listener:
    """One process that listens: its journal, and how often it found that something may have been missed."""

    def __init__(self, address: RedisAddress, connection: RedisConnection, name: str) -> None:
        self.change_log = ChangeLog()
        self.lapses = 0
        self.invalidations = InvalidationListener(
            address, DeviceRegistry(connection), self.change_log, name, self._lapsed
        )

    def _lapsed(self) -> None:
        self.lapses += 1

    async def sure(self) -> None:
        await until(lambda: self.change_log.complete)

    @property
    def writer(self) -> ChangeLogWriter:
        return self.invalidations.writer


Listen = Callable[[str], Awaitable[Listener]]


@pytest.fixture
async def listen(
    redis_server: RedisServer, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Listen]:
    monkeypatch.setattr(change_log_module, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(change_log_module, "JOIN_S", 0.4)
    monkeypatch.setattr(change_log_module, "_RETRY_S", 0.02)
    async with AsyncExitStack() as stack:

        async def begin(name: str) -> Listener:
            listener = Listener(RedisAddress.parse(redis_server.address), await make_link(), name)
            await listener.invalidations.open()
            stack.push_async_callback(listener.invalidations.close)
            return listener

        yield begin


async def count_of(redis: Redis) -> int:
    return int(await redis.hget(keys.CHANGE_LOG, change_log_scripts.COUNT) or 0)


async def test_the_first_listener_records_a_lapse(listen: Listen, redis_client: Redis) -> None:
    one = await listen("one:0")
    await one.sure()
    count = await count_of(redis_client)
    assert one.lapses == 1
    assert [one.change_log.is_current(at, ["bob"]) for at in (count - 1, count)] == [False, True]


async def test_a_change_is_recorded_for_all_listeners(listen: Listen, redis_client: Redis) -> None:
    one, two = await listen("one:0"), await listen("two:0")
    await one.sure()
    await two.sure()
    count = await count_of(redis_client)
    await redis_client.sadd("user:bob:clients", "ab")
    await redis_client.set("client:cd:device_pin", "x")
    await redis_client.set(keys.dead("ef"), "x")
    for listener in (one, two):
        for name in ("bob", "cd", "ef"):
            await until(
                lambda listener=listener, name=name: not listener.change_log.is_current(count, [name])
            )
    await until(lambda: redis_client.hexists(keys.CHANGE_LOG, "ef"))
    assert {b"bob", b"cd", b"ef"} <= set(await redis_client.hkeys(keys.CHANGE_LOG))


async def test_other_keys_and_syncs_are_no_changes(listen: Listen, redis_client: Redis) -> None:
    one = await listen("one:0")
    await one.sure()
    await redis_client.set("user:bob:email", "x")
    await redis_client.set("client:ab:last_sync", "2026-11-24T10:00:00+0000")
    await redis_client.set("client:ab:device_port", "1")
    await redis_client.set("client:ab:device_pin", "x")
    await until(lambda: redis_client.hexists(keys.CHANGE_LOG, "ab"))
    assert {name for name in await redis_client.hkeys(keys.CHANGE_LOG) if b"\0" not in name} == {b"ab"}


async def test_a_listener_that_joins_another_gets_its_records(listen: Listen, redis_client: Redis) -> None:
    one = await listen("one:0")
    await one.sure()
    await redis_client.set("client:ab:device_pin", "x")
    await until(lambda: redis_client.hexists(keys.CHANGE_LOG, "ab"))
    count = await count_of(redis_client)
    two = await listen("two:0")
    await two.sure()
    assert (one.lapses, two.lapses) == (1, 0)
    assert [two.change_log.is_current(at, ["ab"]) for at in (count - 1, count)] == [False, True]
    assert two.change_log.is_current(count - 1, ["bob"]) is True


@pytest.mark.parametrize("how", ["closed", "frozen"])
async def test_a_listener_that_starts_after_the_last_has_ended_records_a_lapse(
    listen: Listen, redis_client: Redis, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await listen("one:0")
    await one.sure()
    count = await count_of(redis_client)
    await until(lambda: redis_client.hexists(keys.LISTENERS, "one:0"))
    if how == "closed":
        await one.invalidations.close()
    else:
        one.writer.stop()
        one.change_log.resume(0, {})  # it thinks that it listens, and beats no more
    two = await listen("two:0")
    await two.sure()
    assert two.lapses == 1
    assert two.change_log.is_current(count, ["bob"]) is False


async def test_a_heartbeat_alone_is_no_proof(listen: Listen, redis_client: Redis) -> None:
    """Somebody's last beats, on their way when it died: what it had heard it may not have noted."""
    one = await listen("one:0")
    await one.sure()
    await one.invalidations.close()
    await redis_client.delete(keys.LISTENERS)
    await redis_client.hset(keys.LISTENERS, "gone:0", 7)
    two = await listen("two:0")
    await asyncio.sleep(0.05)
    await redis_client.hincrby(keys.LISTENERS, "gone:0", 3)
    await two.sure()
    assert two.lapses == 1


async def test_after_a_flush_the_log_restarts_with_a_higher_count(
    listen: Listen, redis_client: Redis
) -> None:
    one = await listen("one:0")
    await one.sure()
    count = await count_of(redis_client)
    await redis_client.flushall()
    await until(lambda: one.lapses == 2 and one.change_log.complete)
    assert await count_of(redis_client) > count
    assert one.change_log.is_current(count, ["bob"]) is False


@pytest.mark.parametrize("copied", [False, True], ids=["other", "copied"])
async def test_data_of_another_database_is_invalid(listen: Listen, redis_client: Redis, copied: bool) -> None:
    one = await listen("one:0")
    await one.sure()
    await until(lambda: redis_client.hexists(keys.LISTENERS, "one:0"))
    count = await count_of(redis_client)
    if copied:  # a data set that somebody prepared: the names in it are those of the original
        for name in (keys.CHANGE_LOG, keys.LISTENERS, keys.heartbeat("one:0")):
            assert await redis_client.copy(name, name, destination_db=1)
        beats = int(await redis_client.hget(keys.LISTENERS, "one:0"))
        await until(lambda: _beyond(redis_client, beats))
    await redis_client.swapdb(0, 1)
    await until(lambda: one.lapses == 2 and one.change_log.complete)
    assert await count_of(redis_client) > count
    assert one.change_log.is_current(count, ["bob"]) is False
    await redis_client.swapdb(0, 1)
    await until(lambda: one.lapses == 3 and one.change_log.complete)
    assert one.change_log.is_current(await count_of(redis_client), ["bob"]) is True


async def _beyond(redis: Redis, beats: int) -> bool:
    return int(await redis.hget(keys.LISTENERS, "one:0") or 0) > beats


async def test_a_lapse_of_one_listener_does_not_affect_others(listen: Listen, redis_client: Redis) -> None:
    """Several listeners start together after all earlier ones have ended."""
    one = await listen("one:0")
    await one.sure()
    with capture_logs() as logged:
        await redis_client.eval(
            change_log_scripts.RECORD_LAPSE.text, 2, keys.CHANGE_LOG, keys.LISTENERS, "two:0"
        )
        beats = int(await redis_client.hget(keys.LISTENERS, "one:0") or 0)
        await until(lambda: _beyond(redis_client, beats + 3))
    assert (one.lapses, one.change_log.complete) == (1, True)
    assert logged == []


async def test_listeners_in_a_swapped_in_database_find_each_other(
    listen: Listen, redis_client: Redis
) -> None:
    names = ("one:0", "two:0", "three:0")
    listeners = [await listen(name) for name in names]
    for listener in listeners:
        await listener.sure()
    for _ in range(3):
        lapses = sum(listener.lapses for listener in listeners)
        await redis_client.swapdb(0, 1)
        for name in names:  # each is to notice before the next swap
            word = await redis_client.get(keys.heartbeat(name))
            await until(lambda name=name, word=word: _beaten(redis_client, name, word))
        await until(lambda lapses=lapses: sum(listener.lapses for listener in listeners) > lapses)
        for listener in listeners:
            await listener.sure()
        count = await count_of(redis_client)
        await redis_client.set("client:ab:device_pin", "x")
        for listener in listeners:
            await until(
                lambda listener=listener, count=count: not listener.change_log.is_current(count, ["ab"])
            )
        wanted = {name.encode() for name in names}
        assert await read_until(wanted, lambda: listeners_in(redis_client)) == wanted


async def listeners_in(redis: Redis) -> set[bytes]:
    """The listeners that the present database names."""
    return set(await redis.hkeys(keys.LISTENERS))


async def _beaten(redis: Redis, name: str, before: bytes | None) -> bool:
    return bool(await redis.get(keys.heartbeat(name)) != before)


async def test_an_evicted_log_restarts_with_a_higher_count(listen: Listen, redis_client: Redis) -> None:
    one = await listen("one:0")
    await one.sure()
    count = await count_of(redis_client)
    await redis_client.delete(keys.CHANGE_LOG)
    await until(lambda: redis_client.exists(keys.CHANGE_LOG))
    assert await count_of(redis_client) > count
    await until(lambda: not one.change_log.is_current(count, ["bob"]))


async def test_a_log_that_becomes_full_invalidates_everything(
    listen: Listen, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log_module, "NAMES_MAX", 6)
    one = await listen("one:0")
    await one.sure()
    count = await count_of(redis_client)
    for number in range(10):
        await redis_client.set(f"client:{number:02x}:device_pin", "x")
        await until(lambda number=number: not one.change_log.is_current(count, [f"{number:02x}"]))
    assert await redis_client.hlen(keys.CHANGE_LOG) <= 6
    assert one.change_log.is_current(count, ["bob"]) is False


async def test_a_listener_that_did_not_fill_the_log_invalidates_everything_too(
    listen: Listen, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log_module, "NAMES_MAX", 20)
    listeners = [await listen(name) for name in ("one:0", "two:0")]
    for listener in listeners:
        await listener.sure()
    for number in range(200):
        await redis_client.set(f"client:{number:02x}:device_pin", "x")
        await asyncio.sleep(0)
    for listener in listeners:
        change_log = listener.change_log
        await until(lambda change_log=change_log: not (change_log._unwritten or change_log._being_written))
        assert len(change_log._counts) <= 40


async def test_an_unrecorded_change_leaves_the_log_incomplete(listen: Listen, redis_client: Redis) -> None:
    one = await listen("one:0")
    await one.sure()
    await redis_client.set(keys.CHANGE_LOG, "no hash")
    await redis_client.set("client:ab:device_pin", "x")
    await until(lambda: not one.change_log.complete)
    await redis_client.delete(keys.CHANGE_LOG)
    await until(lambda: one.change_log.complete)
    assert one.lapses == 2
