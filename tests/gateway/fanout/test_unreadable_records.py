"""Counts, log lines and records of quarantined entries."""

import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.errors import UnreadableEntry
from gateway.fanout.unreadable import LOG_EVERY_S, REASON_CHARS, UnreadableEntries
from gateway.metrics import Metrics
from gateway.queue.consumer import Streams
from gateway.queue.entries import Lease
from gateway.store import keys
from gateway.store.connection import RedisConnection

SHORT = UnreadableEntry("no entry")


class Quarantine:
    """Quarantines entries of its own making, at a time in the test's hand."""

    def __init__(self, connection: RedisConnection, redis: Redis) -> None:
        self.redis = redis
        self.streams = Streams(connection, "tested:0", 3600)
        self.metrics = Metrics()
        self.now_s = 1000.0
        self.entries = UnreadableEntries(self.streams, self.metrics, clock=lambda: self.now_s)

    async def quarantine(self, stream: str = keys.PINGS, error: Exception = SHORT) -> Lease:
        entry = (await self.redis.xadd(stream, {"e": b"\xc1", "n": 1, "s": 10})).decode()
        lease = Lease(stream, entry, b"\xc1", 1, 10, redelivered=False)
        await self.entries.quarantine(lease, error)
        return lease

    def count(self, stream: str) -> float:
        """The counter of a stream, as Prometheus reads it."""
        name = f'rhopush_entries_unreadable_total{{stream="{stream}"}} '
        lines = self.metrics.exposition().decode().splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    async def reasons(self) -> list[str]:
        return [fields[b"reason"].decode() for _, fields in await self.redis.xrange(keys.UNREADABLE)]


@pytest.fixture
async def held(connection: RedisConnection, redis_client: Redis) -> Quarantine:
    made = Quarantine(connection, redis_client)
    await made.streams.prepare()
    return made


async def test_each_entry_is_counted_once_by_its_stream(held: Quarantine) -> None:
    lease = await held.quarantine()
    await held.quarantine()
    await held.quarantine(keys.RETRIES)
    await held.entries.quarantine(lease, SHORT)  # its reply was lost: it is off its stream already
    assert (held.count("pings"), held.count("retries"), held.count("broadcasts")) == (2, 1, 0)
    assert await held.reasons() == ["no entry"] * 3


@pytest.mark.parametrize("more", [0, 1, 100_000])
async def test_the_length_of_a_reason_is_limited(held: Quarantine, more: int) -> None:
    text = "x" * (REASON_CHARS + more)
    with capture_logs() as logs:
        await held.quarantine(error=UnreadableEntry(text))
    assert await held.reasons() == ["x" * REASON_CHARS]
    assert [line["error"] for line in logs] == ["x" * REASON_CHARS]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreadableEntry("no piece"), "no piece"),
        (msgspec.DecodeError("too deep"), "DecodeError: too deep"),
        (ValueError("\ud800"), "ValueError: ?"),
    ],
)
async def test_a_reason_names_the_error(held: Quarantine, error: Exception, reason: str) -> None:
    await held.quarantine(error=error)
    assert await held.reasons() == [reason]


async def test_a_stream_has_one_log_line_per_interval_with_the_number_of_entries(held: Quarantine) -> None:
    told: list[tuple[str, int]] = []
    for after_s, stream in (
        (0.0, keys.PINGS),
        (0.0, keys.PINGS),
        (0.0, keys.RETRIES),  # each stream for itself
        (LOG_EVERY_S - 0.5, keys.PINGS),
        (0.5, keys.PINGS),
        (0.0, keys.PINGS),
        (LOG_EVERY_S, keys.PINGS),
        (LOG_EVERY_S, keys.PINGS),
    ):
        held.now_s += after_s
        with capture_logs() as logs:
            await held.quarantine(stream)
        told += [(line["stream"], line["entries"]) for line in logs]
    assert told == [(keys.PINGS, 1), (keys.RETRIES, 1), (keys.PINGS, 3), (keys.PINGS, 2), (keys.PINGS, 1)]
    assert held.count("pings") == 7
