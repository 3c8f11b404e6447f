"""Reading of the outbox (`gateway.queue.outbox`): its records by second, and the removal of old ones.

The messages of an endpoint are formed from all records of one second of Redis' clock. The ids of a stream increase, so
a second that has ended gets no further record, and each reader forms the same messages from it.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from gateway.errors import BAD_DATA
from gateway.queue.entries import decoder, encode
from gateway.queue.outbox import (
    ADD_RECORD,
    REMOVED_MAX,
    ConditionEvent,
    FinishedPing,
    PingTrace,
    SettledEvents,
)
from gateway.store import keys
from gateway.store.connection import RedisConnection, Script
from gateway.store.lua import CHECKS
from protocols.numbers import UINT64_MAX, stored
from protocols.webhooks.attempts import GIVE_UP_S
from protocols.webhooks.events import (
    DEVICE_INVALID,
    PING_COMPLETED,
    PING_FAILED_DEVICES,
    Event,
    EventRecord,
)

_log = structlog.get_logger("webhooks")

READ_RECORDS: Final = 500
"""Most records of one read, during which Redis serves no other client for some milliseconds."""
SECOND_MS: Final = 1_000
_read_settlement: Final = decoder(SettledEvents)
_condition: Final = decoder(ConditionEvent)
_read_traces: Final = decoder(list[PingTrace])

SWEEP: Final = Script(
    CHECKS
    + """
-- KEYS: outbox, its totals; ARGV: most age ms, most bytes, at most, lifetime s
local age, limit, most, life = natural(ARGV[1]), natural(ARGV[2]), natural(ARGV[3]), seconds(ARGV[4])
local bytes = stored(redis.call('HGET', KEYS[2], 'bytes'))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('XLEN', KEYS[1])
redis.call('EXPIRE', KEYS[1], life)
redis.call('EXPIRE', KEYS[2], life)
local removed = 0
while removed < most do
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    if not oldest then
        bytes = 0
        break
    end
    if tonumber(string.match(oldest[1], '^%d+')) > now - age and bytes <= limit then break end
    bytes = count(bytes - (oldest[2][1] == 's' and count(stored(oldest[2][2])) or 0))
    redis.call('XDEL', KEYS[1], oldest[1])
    removed = removed + 1
end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'bytes', bytes) end
return removed
"""
)
"""Remove records that are too old, and the oldest ones beyond the limit; returns their number."""

CHANGE_CONDITION: Final = Script(
    CHECKS
    + ADD_RECORD
    + """
-- KEYS: conditions, outbox, its totals; ARGV: limit of bytes, subject, condition or '' for the normal one, record or ''
local limit, subject, value, body = natural(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
if not body then missing('the record') end
local before = redis.call('HGET', KEYS[1], subject) or ''
redis.call('XLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
if before == value then return 0 end
redis.call('HDEL', KEYS[1], subject)  -- first, so that a full Redis accepts the rest
if value ~= '' then redis.call('HSET', KEYS[1], subject, value) end
if body ~= '' then add_record(KEYS[2], KEYS[3], limit, {'c', body}) end
return 1
"""
)
"""Store a changed condition and add its event to the outbox; 0 if another worker or gateway has done it."""


class StoredRecord(NamedTuple):
    """One record of the outbox.

    Attributes:
        record: its id.
        number: its number, higher by one than that of the record before it; 0: unknown.
        fields: its content.
    """

    record: str
    number: int
    fields: dict[bytes, bytes]

    @property
    def at_ms(self) -> int:
        """Epoch ms of the record."""
        return int(self.record.partition("-")[0])

    @property
    def second(self) -> int:
        """The second of Redis' clock to which the record belongs."""
        return self.at_ms // SECOND_MS


class Outbox:
    """The outbox in the queue's Redis.

    Args:
        connection: the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def next_record(self, cursor: str) -> StoredRecord | None:
        """Return the first record after the id `cursor`; None: there is none."""
        found = await self._read(cursor, 1)
        return found[0] if found else None

    async def next_second(self, cursor: str) -> list[StoredRecord]:
        """Return all records of the first second that has a record after the id `cursor`; empty if there is none."""
        found = await self._read(cursor)
        if not found:
            return []
        second = found[0].second
        while found[-1].second == second and (more := await self._read(found[-1].record)):
            found += more
        return [record for record in found if record.second == second]

    async def records_of(self, second: int) -> list[StoredRecord]:
        """Return all records of a second of Redis' clock; empty if there are none, or all of them were removed."""
        found = await self.next_second(f"{second * SECOND_MS - 1}-{UINT64_MAX}")
        return found if found and found[0].second == second else []

    async def _read(self, after: str, most: int = READ_RECORDS) -> list[StoredRecord]:
        reply = await self._connection.call("XRANGE", keys.WEBHOOK_EVENTS, f"({after}", "+", "COUNT", most)
        return [_record(record, flat) for record, flat in reply]

    async def oldest_ms(self) -> int | None:
        """Return the epoch ms of the oldest record; None: the outbox is empty."""
        reply = await self._connection.call("XRANGE", keys.WEBHOOK_EVENTS, "-", "+", "COUNT", 1)
        return _record(*reply[0]).at_ms if reply else None

    async def sweep(self, limit: int, age_s: float = GIVE_UP_S) -> int:
        """Remove records older than `age_s`, and the oldest ones beyond `limit` bytes; return the number of removed
        records."""
        removed = 0
        while True:
            words = [int(age_s * 1000), limit, REMOVED_MAX, keys.WEBHOOK_OUTBOX_S]
            step = int(await self._connection.eval(SWEEP, [keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX], words))
            removed += step
            if step < REMOVED_MAX:
                return removed

    async def change(self, subject: str, value: str, event: ConditionEvent | None, limit: int) -> bool:
        """Store the condition of a lane or credential, and add its event; False: the condition was stored already.

        Args:
            subject: the lane or credential.
            value: its condition; "": the normal one.
            event: the event; None: no endpoint receives it.
            limit: most bytes of all records together.
        """
        names = [keys.WEBHOOK_CONDITIONS, keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
        body = b"" if event is None else encode(event)
        return bool(await self._connection.eval(CHANGE_CONDITION, names, [limit, subject, value, body]))


def _record(record: bytes, flat: Sequence[bytes]) -> StoredRecord:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return StoredRecord(record.decode(), max(0, stored(fields.get(b"q"))), fields)


def event_record(record: StoredRecord, wanted: frozenset[str]) -> EventRecord:
    """Return the events of a record whose types are in `wanted`. An unreadable record is logged and has no events."""
    try:
        if b"c" in record.fields:
            condition = _condition(record.fields[b"c"])
            events: dict[str, Sequence[Event]] = {condition.kind: [condition.event]}
            alone = True
        else:
            events, alone = _ping_events(record.fields), False
    except (KeyError, *BAD_DATA) as error:
        _log.error("webhook_record_unreadable", record=record.record, error=str(error)[:200])
        events, alone = {}, False
    return EventRecord(
        record.record, {kind: found for kind, found in events.items() if found and kind in wanted}, alone
    )


def traces_of(records: Iterable[StoredRecord]) -> dict[str, str]:
    """Return the traces of the recorded pings in these records: `Ping.traceparent` by ping id."""
    found: dict[str, str] = {}
    for record in records:
        packed = record.fields.get(b"t")
        if packed is not None:
            with suppress(*BAD_DATA):
                batch = record.fields[b"b"].decode("ascii", "replace")
                found |= {_ping_id(batch, one.index): one.traceparent for one in _read_traces(packed)}
    return found


def _ping_events(fields: dict[bytes, bytes]) -> dict[str, Sequence[Event]]:
    batch = fields[b"b"].decode("ascii", "replace")
    packed = fields[b"w"]
    body = _read_settlement(packed) if packed else SettledEvents(batch)
    failed: dict[int, list[Event]] = {}
    for one in body.rejected:
        failed.setdefault(one.index, []).append(
            {"client_id": one.client_id, "provider": one.provider, "reason": one.reason}
        )
    finished = [*body.finished, *_finished(fields.get(b"d", b""))]
    return {
        PING_FAILED_DEVICES: [
            {"ping_id": _ping_id(batch, index), "devices": devices} for index, devices in failed.items()
        ],
        DEVICE_INVALID: [
            {
                "client_id": one.client_id,
                "provider": one.provider,
                "reason": one.reason,
                "ping_id": _ping_id(batch, one.index),
            }
            for one in body.rejected
            if one.dead
        ],
        PING_COMPLETED: [_completed(batch, ping) for ping in finished],
    }


def _finished(text: bytes) -> list[FinishedPing]:
    """Parse the pings that the script of the settlement found finished: five numbers each."""
    return [FinishedPing(*map(stored, ping.split(b" ")[:5])) for ping in text.split(b",") if ping]


def _completed(batch: str, ping: FinishedPing) -> Event:
    counts = {"accepted": ping.accepted, "rejected": ping.rejected}
    if ping.cancelled:
        counts["cancelled"] = ping.cancelled
    return {
        "ping_id": _ping_id(batch, ping.index),
        "state": "cancelled" if ping.cancelled else "done",
        "counts": counts,
        "skipped": ping.skipped,
    }


def _ping_id(batch: str, index: int) -> str:
    return f"{batch}{index:04x}"
