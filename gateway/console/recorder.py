"""Records the time series of the overview in Redis. One worker of all gateways records at a time.

The workers agree by a key that expires: the script that stores a sample takes or keeps the key, and stores nothing if
another worker holds it. The coarser series are made from the stored samples of the finer ones, so that another worker
can continue at any time.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

import msgspec

from gateway.clock import SHARED_CLOCK
from gateway.console.history import FINE, SAMPLE_BYTES, SERIES, Sample, Sampler, Series, joined
from gateway.errors import StoreDown
from gateway.metrics import Metrics
from gateway.queue.entries import decoder, encode
from gateway.scheduling.background import keep_running
from gateway.store import keys
from gateway.store.connection import RedisConnection, Script
from gateway.store.lua import CHECKS
from gateway.telemetry.worker_report import WorkerReport

LEASE_MS: Final = 12_000
"""Time after which another worker records: two samples were missed."""
_decode: Final = decoder(Sample)

RECORD: Final = Script(
    CHECKS
    + """
-- KEYS: recorder, list; ARGV: name of the worker, lease in ms, sample, most samples, lifetime in s
local lease, most, life = natural(ARGV[2]), natural(ARGV[4]), seconds(ARGV[5])
if lease == 0 then missing('the lease') end
local holder = redis.call('GET', KEYS[1])
redis.call('LLEN', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[3] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[3])
  redis.call('LTRIM', KEYS[2], -most, -1)
  redis.call('EXPIRE', KEYS[2], life)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', lease)
return 1
"""
)
"""Store a sample if no other worker records. Without a sample, only take or keep the right to record."""


class Reports(Protocol):
    """Reads the reports of all workers (`gateway.queue.worker_reports.WorkerReports`)."""

    async def read(self) -> list[WorkerReport]:
        """Return the reports of the workers that run. Raises StoreDown."""
        ...


class QueueSize(NamedTuple):
    """The queue now: unfinished pings, and the age of the oldest in seconds."""

    depth: int
    age_s: float


class History:
    """Stores and reads the time series.

    Args:
        connection: to the queue's Redis.
        name: of this worker.
    """

    def __init__(self, connection: RedisConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    async def may_record(self) -> bool:
        """Take or keep the right to record. Raises StoreDown."""
        return await self._record(FINE, b"")

    async def add(self, series: Series, sample: Sample) -> bool:
        """Store a sample; False: another worker records. Raises StoreDown."""
        packed = encode(sample)
        if len(packed) > SAMPLE_BYTES:
            packed = encode(msgspec.structs.replace(sample, reasons={}))
        return await self._record(series, packed)

    async def _record(self, series: Series, packed: bytes) -> bool:
        done = await self._connection.eval(
            RECORD,
            [keys.CONSOLE_RECORDER, keys.console_history(series.name)],
            [self._name, LEASE_MS, packed, series.samples, keys.CONSOLE_HISTORY_S],
        )
        return bool(done)

    async def read(self, series: Series) -> list[Sample]:
        """Return the samples of a series, oldest first. Raises StoreDown."""
        packed: Sequence[bytes] = await self._connection.call(
            "LRANGE", keys.console_history(series.name), 0, -1
        )
        return [sample for one in packed if (sample := _read(one)) is not None]


def _read(packed: bytes) -> Sample | None:
    """Return a stored sample; None: another version wrote it in a form that this version cannot read."""
    try:
        return _decode(packed)
    except msgspec.DecodeError:
        return None


class Recorder:
    """Records samples while no other worker does.

    Args:
        history: stores the samples.
        reports: of all workers.
        queue: returns the state of the queue.
        metrics: counts failures of Redis.
    """

    def __init__(
        self, history: History, reports: Reports, queue: Callable[[], QueueSize], metrics: Metrics
    ) -> None:
        self._history = history
        self._reports = reports
        self._queue = queue
        self._metrics = metrics
        self._sampler: Sampler | None = None

    async def run(self, every_s: float = FINE.step_ms / 1000) -> None:
        """Record until the task is cancelled. An error leaves a gap."""

        async def repeat() -> None:
            while True:
                await self.step()
                await asyncio.sleep(every_s)

        await keep_running(repeat, "console recorder", restart_s=every_s, on_error=self._on_error)

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, StoreDown):
            self._metrics.store_errors("console").inc()
        else:  # a defect, or stored values of another program
            self._sampler = None

    async def step(self) -> None:
        """Store one sample, and those of the coarser series that are due.

        Raises:
            StoreDown: Redis does not answer.
        """
        if not await self._history.may_record():
            self._sampler = None
            return
        self._sampler = self._sampler or Sampler()
        depth, age_s = self._queue()
        now_ms = SHARED_CLOCK.now_ms()
        sample = self._sampler.sample(await self._reports.read(), now_ms, depth, age_s)
        if sample is None or not await self._history.add(FINE, sample):
            return
        for finer, coarser in pairwise(SERIES):
            if not await self._extend(finer, coarser, now_ms):
                return

    async def _extend(self, finer: Series, coarser: Series, now_ms: int) -> bool:
        """Add the sum of the finer samples since the last coarser one, if it is due."""
        stored = await self._history.read(coarser)
        since_ms = stored[-1].at_ms if stored else 0
        if since_ms > now_ms:  # the clock of Redis was set back
            since_ms = 0
        new = [one for one in await self._history.read(finer) if one.at_ms > since_ms]
        if not new or sum(one.span_ms for one in new) < coarser.step_ms:
            return False
        return await self._history.add(coarser, joined(new))
