"""The recorder: one at a time, bounded lists, and coarser series from finer ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import signature

import pytest
from redis.asyncio import Redis

from gateway.console.history import FINE, SERIES, Sample, joined
from gateway.console.recorder import LEASE_MS, History, QueueSize, Recorder
from gateway.metrics import Metrics
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from gateway.telemetry.worker_report import DeliverySeconds, WorkerCounts, WorkerReport


@pytest.fixture
async def connection(redis_address: str) -> AsyncIterator[RedisConnection]:
    made = RedisConnection(RedisAddress.parse(redis_address), "test")
    await made.open(10.0)
    yield made
    await made.close()


class GrowingReports:
    """One worker that accepts ten pings between two readings."""

    def __init__(self) -> None:
        self.pings = 0

    async def read(self) -> list[WorkerReport]:
        self.pings += 10
        return [WorkerReport("g", 0, self.pings, counts=WorkerCounts(accepted={"http": self.pings}))]


def recorder(history: History) -> Recorder:
    return Recorder(history, GrowingReports(), lambda: QueueSize(4, 1.5), Metrics())


async def test_one_worker_records_and_another_takes_over(
    connection: RedisConnection, redis_client: Redis
) -> None:
    one, two = History(connection, "one"), History(connection, "two")
    assert await one.may_record()
    assert not await two.may_record()
    assert not await two.add(FINE, Sample(1, 1))
    assert await one.add(FINE, Sample(1, 1))
    assert 0 < await redis_client.pttl(keys.CONSOLE_RECORDER) <= LEASE_MS
    await redis_client.delete(keys.CONSOLE_RECORDER)
    assert await two.may_record()
    assert not await one.add(FINE, Sample(2, 1))
    assert [sample.at_ms for sample in await one.read(FINE)] == [1]


async def test_a_list_keeps_the_newest_samples_and_expires(
    connection: RedisConnection, redis_client: Redis
) -> None:
    history = History(connection, "one")
    for at_ms in range(FINE.samples + 10):
        await history.add(FINE, Sample(at_ms, 1))
    found = await history.read(FINE)
    assert [sample.at_ms for sample in found] == list(range(10, FINE.samples + 10))
    assert 0 < await redis_client.ttl(keys.console_history(FINE.name)) <= keys.CONSOLE_HISTORY_S


async def test_a_step_stores_what_happened_since_the_step_before(connection: RedisConnection) -> None:
    history = History(connection, "one")
    made = recorder(history)
    await made.step()
    assert await history.read(FINE) == []
    await made.step()
    (sample,) = await history.read(FINE)
    assert (sample.pings, sample.span_ms, sample.depth, sample.age_s) == (10, 10, 4, 1.5)


async def test_coarser_series_are_the_sums_of_finer_ones(connection: RedisConnection) -> None:
    history = History(connection, "one")
    made = recorder(history)
    minute = SERIES[1]
    for number in range(12):
        await history.add(FINE, Sample(1_000 + number * 5_000, 5_000, pings=2))
    await made._extend(FINE, minute, 10**12)
    (sample,) = await history.read(minute)
    assert (sample.pings, sample.span_ms, sample.at_ms) == (24, 60_000, 56_000)
    assert not await made._extend(FINE, minute, 10**12)  # the next is not due
    for number in range(12, 24):
        await history.add(FINE, Sample(1_000 + number * 5_000, 5_000, pings=3))
    assert await made._extend(FINE, minute, 10**12)
    assert [one.pings for one in await history.read(minute)] == [24, 36]


async def test_a_coarser_series_goes_on_after_the_clock_of_redis_was_set_back(
    connection: RedisConnection,
) -> None:
    history = History(connection, "one")
    made, minute = recorder(history), SERIES[1]
    await history.add(minute, Sample(10**12, 60_000, pings=1))
    for number in range(12):
        await history.add(FINE, Sample(1_000 + number * 5_000, 5_000, pings=2))
    assert await made._extend(FINE, minute, 56_000)
    assert [one.pings for one in await history.read(minute)] == [1, 24]


async def test_a_sample_of_another_version_is_left_out(
    connection: RedisConnection, redis_client: Redis
) -> None:
    history = History(connection, "one")
    await redis_client.rpush(keys.console_history(FINE.name), b"\xc1", b"text")
    await history.add(FINE, Sample(1, 1))
    assert [one.at_ms for one in await history.read(FINE)] == [1]


async def run_steps(
    monkeypatch: pytest.MonkeyPatch,
    made: Recorder,
    number: int,
    close: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run a recorder until it has made so many steps; close the connection after the second one."""
    enough, step, steps = asyncio.Event(), made.step, 0

    async def counted() -> None:
        nonlocal steps
        steps += 1
        if steps == 3 and close is not None:
            await close()
        if steps > number:
            enough.set()
        await step()

    monkeypatch.setattr(made, "step", counted)
    task = asyncio.create_task(made.run(0.01))
    await asyncio.wait_for(enough.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_runs_until_it_is_cancelled_and_counts_failures(
    connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recorder(History(connection, "one"))
    await run_steps(monkeypatch, made, 3, connection.close)
    assert made._metrics.store_errors("console").value >= 1


def test_it_records_at_the_interval_of_the_finest_series() -> None:
    assert signature(Recorder.run).parameters["every_s"].default * 1000 == FINE.step_ms == 5000


class HugeReports:
    """Two workers whose numbers only damaged values have."""

    def __init__(self) -> None:
        self.sign = -1

    async def read(self) -> list[WorkerReport]:
        self.sign = -self.sign
        counts = WorkerCounts(
            accepted={"http": self.sign * (2**63 - 1)},
            rejections={"x": self.sign * (2**63 - 1)},
            delivery_seconds={"apns": DeliverySeconds(0.0, (self.sign * (2**63 - 1),) * 3)},
        )
        return [WorkerReport("g", slot, self.sign * (2**63 - 1), counts=counts) for slot in range(2)]


async def test_numbers_of_any_size_are_recorded(connection: RedisConnection) -> None:
    history = History(connection, "one")
    made = Recorder(history, HugeReports(), lambda: QueueSize(2**62, 1e300), Metrics())
    for _ in range(4):
        await made.step()
    samples = await history.read(FINE)
    assert max(sample.pings for sample in samples) == 2**63 - 1
    assert joined(samples).pings == 2**63 - 1
    assert await history.add(SERIES[1], joined(samples))


async def test_it_continues_after_an_unexpected_error(
    connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        reads = 0

        async def read(self) -> list[WorkerReport]:
            self.reads += 1
            raise UnicodeDecodeError("utf-8", b"x", 0, 1, "damaged")

    broken = Broken()
    made = Recorder(History(connection, "one"), broken, lambda: QueueSize(0, 0.0), Metrics())
    await run_steps(monkeypatch, made, 2)
    assert broken.reads >= 2
