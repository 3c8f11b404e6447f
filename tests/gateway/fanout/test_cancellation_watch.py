"""How a worker follows the set of cancelled pings, and what it does when it cannot."""

import time
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.errors import StoreDown, StoreRefused
from gateway.fanout import cancellation_watch as module
from gateway.fanout.cancellation_watch import CancellationWatch
from gateway.metrics import Metrics
from gateway.queue.cancelled_ids import CancelledIds
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.queue.test_cancellation_scripts import FUTURE_MS, lay_retry
from tests.support.worker_core import until

IDS = [f"{number:032x}" for number in range(4)]


class Watched:
    """A watch, and its effects."""

    def __init__(self, connection: RedisConnection) -> None:
        self.ids = CancelledIds(connection)
        self.cancelled = CancelledPings(Metrics())
        self.unsaved = UnsavedVerdicts()
        self.ended: list[frozenset[str]] = []
        self.withdrawn: list[list[str]] = []
        self.refused = False
        self.watch = CancellationWatch(
            self.ids, self.cancelled, self.unsaved, self._on_cancelled, self._withdraw
        )

    def _on_cancelled(self) -> None:
        self.ended.append(self.cancelled.ids)

    async def _withdraw(self, names: Sequence[str]) -> int:
        if self.refused:
            raise StoreRefused("no permission for SCAN")
        self.withdrawn.append(list(names))
        return len(names)


@pytest.fixture
async def watched(connection: RedisConnection) -> Watched:
    return Watched(connection)


async def lay(redis: Redis, *ids: str) -> None:
    await redis.zadd(keys.CANCELLED, dict.fromkeys(ids, FUTURE_MS))
    await redis.set(keys.CANCELLED_VERSION, " ".join(ids))


async def test_a_change_is_read_once_and_only_additions_end_deliveries(
    watched: Watched, redis_client: Redis
) -> None:
    await watched.watch.poll()
    assert (watched.cancelled.ids, watched.ended) == (frozenset(), [])
    await lay(redis_client, *IDS[:2])
    for _ in range(2):
        await watched.watch.poll()
    assert watched.ended == [frozenset(IDS[:2])]
    await redis_client.zrem(keys.CANCELLED, IDS[0])
    await redis_client.set(keys.CANCELLED_VERSION, "another")
    await watched.watch.poll()
    assert watched.cancelled.ids == frozenset(IDS[1:2])
    assert len(watched.ended) == 1
    await redis_client.delete(keys.CANCELLED, keys.CANCELLED_VERSION)
    await watched.watch.poll()
    assert watched.cancelled.ids == frozenset()
    await watched.watch.close()


async def test_a_version_is_swept_once_by_one_worker(
    watched: Watched, connection: RedisConnection, redis_client: Redis
) -> None:
    other = Watched(connection)
    for one in (watched, other):
        await one.watch.poll()
    await lay(redis_client, *IDS[:2])
    await lay_retry(redis_client, "retry", IDS[1])
    for one in (watched, other):
        await one.watch.poll()
    assert await watched.ids.begin_sweep()
    await other.watch.sweep()
    assert other.withdrawn == []
    await watched.ids.end_sweep(b"")
    for one in (other, watched):
        await one.watch.sweep()
    assert (other.withdrawn, watched.withdrawn) == ([IDS[:2]], [])
    assert await redis_client.zscore(keys.SCHEDULE, "retry") == 0
    await lay(redis_client, *IDS[:3])
    await other.watch.poll()
    await other.watch.sweep()
    assert other.withdrawn == [IDS[:2], IDS[2:3]]
    for one in (watched, other):
        await one.watch.close()


async def test_a_worker_that_reads_a_version_late_has_it_swept_again(
    watched: Watched, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watched.watch.poll()
    await lay(redis_client, IDS[0])
    version = await redis_client.get(keys.CANCELLED_VERSION)
    await redis_client.set(keys.CANCELLED_SWEPT, version)
    monkeypatch.setattr(watched.watch, "_read_s", 0.0)
    await watched.watch.poll()
    assert await redis_client.exists(keys.CANCELLED_SWEPT) == 0
    await watched.watch.close()


async def test_a_refused_withdrawal_does_not_repeat_the_sweep(watched: Watched, redis_client: Redis) -> None:
    watched.refused = True
    await lay(redis_client, IDS[0])
    await watched.watch.poll()
    await watched.watch.sweep()
    assert (await watched.ids.version()).swept == IDS[0].encode()
    await watched.watch.close()


async def test_lanes_stop_while_the_set_cannot_be_read(
    watched: Watched, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "STALE_S", 0.2)
    read, fails = watched.ids.version, False

    async def version() -> object:
        if fails:
            raise StoreDown("not now")
        return await read()

    monkeypatch.setattr(watched.ids, "version", version)
    with capture_logs() as logs:
        await watched.watch.open()
        fails = True
        await until(lambda: watched.unsaved.stalled)
        await lay(redis_client, IDS[0])
        fails = False
        await until(lambda: not watched.unsaved.stalled)
        assert watched.cancelled.ids == frozenset(IDS[:1])
        await watched.watch.close()
    events = [line["event"] for line in logs]
    assert {"cancellation_reads_stalled", "cancellation_reads_resumed"} <= set(events)


async def test_the_limit_of_the_lanes_follows_each_reading(watched: Watched) -> None:
    """It holds also if the process does not run and no timer can fire."""
    begun_s = time.monotonic()
    await watched.watch.poll()
    first_s = watched.unsaved.fresh_until_s
    assert begun_s - 1 <= first_s - module.STALE_S <= time.monotonic()
    await watched.watch.poll()
    assert first_s <= watched.unsaved.fresh_until_s < float("inf")
    await watched.watch.close()
    assert watched.unsaved.fresh_until_s == float("inf")


async def test_a_defect_does_not_end_the_watch(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    calls = 0
    read = watched.ids.version

    async def version() -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("defect")
        return await read()

    monkeypatch.setattr(watched.ids, "version", version)
    with capture_logs() as logs:
        await watched.watch.open()
        await until(lambda: calls > 3)
        await watched.watch.close()
    assert "background_task_failed" in [line["event"] for line in logs]


async def test_an_interrupted_sweep_is_not_recorded_as_done(
    watched: Watched, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> int:
        raise StoreDown("not now")

    await lay(redis_client, IDS[0])
    await watched.watch.poll()
    with monkeypatch.context() as patched:
        patched.setattr(watched.ids, "sweep_retries", fails)
        with pytest.raises(StoreDown):
            await watched.watch.sweep()
    assert (await watched.ids.version()).swept == b""
    await watched.watch.sweep()
    assert watched.withdrawn == [IDS[:1]]
    await watched.watch.close()


async def test_a_reading_is_as_old_as_its_beginning(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change during a slow reading is not in it."""
    read, answered_s = watched.ids.version, 0.0

    async def version() -> object:
        nonlocal answered_s
        found = await read()
        answered_s = time.monotonic()
        return found

    monkeypatch.setattr(watched.ids, "version", version)
    await watched.watch.poll()
    assert watched.unsaved.fresh_until_s < answered_s + module.STALE_S
    await watched.watch.close()


async def test_messages_of_a_ping_that_is_cancelled_again_are_withdrawn_again(
    watched: Watched, redis_client: Redis
) -> None:
    """A Redis that lost its data has none of the earlier cancellations."""
    for _ in range(2):
        await lay(redis_client, IDS[0])
        await watched.watch.poll()
        await watched.watch.sweep()
        await redis_client.delete(keys.CANCELLED, keys.CANCELLED_VERSION, keys.CANCELLED_SWEPT)
        await watched.watch.poll()
    assert watched.withdrawn == [IDS[:1]] * 2
    await watched.watch.close()
