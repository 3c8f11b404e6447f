"""The set of cancelled pings, as workers use it."""

import pytest
from redis.asyncio import Redis

from gateway.queue import cancelled_ids as module
from gateway.queue.cancelled_ids import CancelledIds, CancelledVersion
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.queue.test_cancellation_scripts import FUTURE_MS, lay_retry


@pytest.fixture
def ids(connection: RedisConnection) -> CancelledIds:
    return CancelledIds(connection)


async def test_an_empty_set_has_no_version(ids: CancelledIds) -> None:
    assert await ids.version() == CancelledVersion()
    assert await ids.read() == frozenset()
    assert await ids.sweep_retries() == await ids.prune() == 0


async def test_one_worker_sweeps_at_a_time_and_records_the_version(
    ids: CancelledIds, redis_client: Redis
) -> None:
    assert await ids.begin_sweep()
    assert not await ids.begin_sweep()
    assert 0 < await redis_client.pttl(keys.CANCELLED_SWEEPER) <= module.SWEEPER_S * 1000
    await ids.end_sweep(b"one")
    assert (await ids.version()).swept == b"one"
    assert await ids.begin_sweep()
    await ids.end_sweep(b"")
    assert (await ids.version()).swept == b"one"
    await ids.forget_sweep()
    assert (await ids.version()).swept == b""


async def test_all_retries_are_swept_and_all_ids_pruned_step_by_step(
    ids: CancelledIds, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SWEPT_TOGETHER", 10)
    monkeypatch.setattr(module, "_PRUNED_TOGETHER", 3)
    names = [f"{number:028x}0000" for number in range(600)]
    await redis_client.zadd(keys.CANCELLED, dict.fromkeys(names[::2], FUTURE_MS))
    for name in names:
        await lay_retry(redis_client, name, name)
    assert await ids.read() == frozenset(names[::2])
    assert await ids.sweep_retries() == 300
    await redis_client.zadd(keys.CANCELLED, dict.fromkeys(names[:20:2], 5))
    assert await ids.prune() == 10
    assert len(await ids.read()) == 290
