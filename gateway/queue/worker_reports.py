"""The reports of all workers of all gateways, in one hash of the queue's Redis.

Each worker replaces its own field every `REPORT_S` seconds. A worker that ends removes its field; the field of a killed
worker is not returned after `FRESH_S`, and is removed after `KEPT_S` (`queue.idle_consumers`). The hash itself expires
when no worker has written for `keys.WORKER_REPORTS_S`.
"""

from typing import Final

import msgspec
import structlog

from gateway.clock import SHARED_CLOCK
from gateway.queue.entries import decoder, encode
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script
from gateway.telemetry.worker_report import WorkerReport

REPORT_S: Final = 2.0
"""Interval between two reports of a worker."""
FRESH_S: Final = 15.0
"""Age after which a report is not returned: its worker was killed, or has lost its connection to Redis."""
KEPT_S: Final = 60.0
"""Age after which a report is removed."""
_log = structlog.get_logger("worker_reports")
_decode: Final = decoder(WorkerReport)

REMOVE_UNCHANGED: Final = Script(
    """
-- KEYS: hash; ARGV: field, value, field, value, ...
if #ARGV % 2 ~= 0 then error('BADVALUE a value is missing') end
local removed = 0
for i = 1, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
        removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
    end
end
return removed
"""
)
"""Remove fields that still have the given values."""


class WorkerReports:
    """Writes and reads the reports.

    Args:
        connection: to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def write(self, report: WorkerReport) -> None:
        """Store the report of a worker in place of its previous one.

        Raises:
            StoreDown: Redis did not answer.
        """
        await self._connection.call("HSET", keys.WORKER_REPORTS, report.name, encode(report))
        await self._connection.call("EXPIRE", keys.WORKER_REPORTS, keys.WORKER_REPORTS_S)

    async def remove(self, name: str) -> None:
        """Remove the report of the worker of this name, which ends.

        Raises:
            StoreDown: Redis did not answer.
        """
        await self._connection.call("HDEL", keys.WORKER_REPORTS, name)

    async def read(self) -> list[WorkerReport]:
        """The reports of all workers that run, ordered by gateway and slot.

        Raises:
            StoreDown: Redis did not answer.
        """
        fresh = [report for report, _, age_s in await self._stored() if age_s <= FRESH_S]
        return sorted(fresh, key=lambda report: (report.gateway, report.slot))

    async def remove_stale(self) -> None:
        """Remove the reports of workers that were killed.

        Raises:
            StoreDown: Redis did not answer.
        """
        stale: list[Argument] = []
        for _, field, age_s in await self._stored():
            if age_s > KEPT_S:
                stale += field
        if stale:
            await self._connection.eval(REMOVE_UNCHANGED, [keys.WORKER_REPORTS], stale)

    async def _stored(self) -> list[tuple[WorkerReport, tuple[bytes, bytes], float]]:
        """Each readable report with its field and value, and its age in seconds."""
        flat = await self._connection.call("HGETALL", keys.WORKER_REPORTS)
        now_ms = SHARED_CLOCK.now_ms()
        found = []
        for field in zip(flat[::2], flat[1::2], strict=True):
            report = _read(*field)
            if report is not None:
                # A report from the future was written before Redis' clock was set back.
                found.append((report, field, abs(now_ms - report.at_ms) / 1000))
        return found


def _read(name: bytes, value: bytes) -> WorkerReport | None:
    """The report in a field; None: another version wrote it in a form that this version cannot read."""
    try:
        return _decode(value)
    except msgspec.DecodeError as error:
        _log.debug("worker_report_unreadable", worker=name.decode("utf-8", "replace"), error=str(error))
        return None
