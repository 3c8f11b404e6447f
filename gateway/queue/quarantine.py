"""The records of entries that no worker could read or plan: list, show, append the entry again, or drop.

Another version of the gateway may be able to read an entry that this version could not read, and an entry may become
readable when other data is repaired.
"""

import base64
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gateway.clock import SHARED_CLOCK
from gateway.errors import NotFound, NotStored
from gateway.queue.entries import EntryOutline, decoder, leases_of, outline
from gateway.queue.overview import STREAM_NAMES
from gateway.queue.receipts import field_of
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script
from gateway.store.lua import CHECKS
from protocols.errors import InvalidField
from protocols.instants import instant_text
from protocols.numbers import stored

PAGE_MAX: Final = 100
"""Records of one page."""
SHOWN_BYTES: Final = 65_536
"""Most bytes of a field's value that `show` returns."""
_RECORD_ID: Final = re.compile(r"(?!0+-0+$)[0-9]{1,19}-[0-9]{1,19}")
"""No record has the id 0-0, before which Redis accepts no range."""
_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999, the last one that has a text."""
_fields_of: Final = decoder(list[bytes])

_HEAD: Final = (
    CHECKS
    + """
-- KEYS: unreadable, stats; ARGV: record
local held = redis.call('HMGET', KEYS[2], 'pings', 'bytes', 'receipt_bytes', 'unreadable_bytes')
local record = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
local left = stored(held[4])
if record and record[2][1] == 'size' then left = left - stored(record[2][2]) end
"""
)

DROP: Final = Script(
    _HEAD
    + """
if not record then return 0 end
redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], 'unreadable_bytes', count(left))
return 1
"""
)
"""Remove a record and its bytes from the count. Returns 0 if there is no such record."""

REQUEUE: Final = Script(
    _HEAD
    + """
-- KEYS: also stream, receipt; ARGV: also pings, bytes, receipt field or '', counter of open chunks or '', then the
-- entry's fields and values
local pings, bytes = natural(ARGV[2]), natural(ARGV[3])
if #ARGV < 7 or #ARGV % 2 == 0 then missing('a field of the entry') end
redis.call('XLEN', KEYS[3])
local sound = ARGV[4] ~= '' and fits(KEYS[4], 'hash') and redis.call('EXISTS', KEYS[4]) == 1
if not record then return false end
local entry = redis.call('XADD', KEYS[3], '*', unpack(ARGV, 6))
redis.call('XDEL', KEYS[1], ARGV[1])
local removed = 0
if sound then
    local verdict = redis.call('HGET', KEYS[4], ARGV[4])
    if verdict then
        removed = #verdict
        redis.call('HDEL', KEYS[4], ARGV[4])
        add(KEYS[4], 'size', -removed)
        if ARGV[5] ~= '' then add(KEYS[4], ARGV[5], 1) end
    end
end
redis.call(
    'HSET', KEYS[2],
    'pings', count(stored(held[1]) + pings),
    'bytes', count(stored(held[2]) + bytes),
    'receipt_bytes', count(stored(held[3]) - removed),
    'unreadable_bytes', count(left)
)
return entry
"""
)
"""Append the entry of a record again, with its counters, and remove the record and the verdict `unreadable` of its
pings. Returns the entry's new id; nil if there is no such record."""


class UnreadableRecord(NamedTuple):
    """One record.

    Attributes:
        record: its id.
        stream: key of the stream that the entry was in.
        entry: the entry's id there.
        reason: the reason for the quarantine.
        at_ms: epoch ms of the quarantine.
        fields: the entry's fields and values; None: they were too long to be stored, or the record is damaged.
    """

    record: str
    stream: str
    entry: str
    reason: str
    at_ms: int
    fields: Sequence[bytes] | None

    @property
    def payload(self) -> bytes:
        """The entry's payload; b"" if it is not stored."""
        flat = self.fields or ()
        return dict(zip(flat[::2], flat[1::2], strict=True)).get(b"e", b"")

    @property
    def outline(self) -> EntryOutline | None:
        """The readable part of the entry; None: none."""
        return outline(self.stream, self.payload)


class Quarantine:
    """Reads and changes the records.

    Args:
        connection: to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def page(self, cursor: str | None = None) -> dict[str, Any]:
        """One page, the newest record first: `records`, and `next_cursor` (None: there are no more).

        Raises:
            InvalidField: the cursor is not one of an earlier page.
            StoreDown: Redis did not answer.
        """
        upto = "+"
        if cursor is not None:
            if not _RECORD_ID.fullmatch(cursor):
                raise InvalidField("cursor must be the next_cursor of an earlier page", field="cursor")
            upto = f"({cursor}"
        found = await self._connection.call("XREVRANGE", keys.UNREADABLE, upto, "-", "COUNT", PAGE_MAX)
        records = [_summary(_record(*item)) for item in found]
        return {
            "records": records,
            "next_cursor": records[-1]["record"] if len(records) == PAGE_MAX else None,
        }

    async def show(self, record_id: str) -> dict[str, Any]:
        """One record with the fields of its entry.

        Raises:
            NotFound: there is no such record.
            StoreDown: Redis did not answer.
        """
        record = await self._read(record_id)
        found = record.outline
        flat = record.fields or ()
        return {
            **_summary(record),
            "clients": list(found.clients) if found is not None else [],
            "fields": [
                {
                    "name": name.decode("utf-8", "replace"),
                    "bytes": len(value),
                    "base64": base64.b64encode(value[:SHOWN_BYTES]).decode(),
                }
                for name, value in zip(flat[::2], flat[1::2], strict=True)
            ],
        }

    async def requeue(self, record_id: str) -> dict[str, Any]:
        """Append the entry of a record to its stream again, and remove the record.

        Raises:
            NotFound: there is no such record.
            NotStored: the entry was too long to be stored, or the record is damaged.
            StoreDown: Redis did not answer.
        """
        record = await self._read(record_id)
        if not record.fields or record.stream not in keys.STREAMS:
            raise NotStored(
                "the fields of this entry are not stored, so it cannot be appended again", field="record"
            )
        (lease,) = leases_of(record.stream, [(record.entry.encode(), record.fields)], redelivered=True)
        batch_id, field, counter = _receipt_of(record)
        words: list[Argument] = [record.record, lease.pings, lease.size, field, counter, *record.fields]
        names = [keys.UNREADABLE, keys.STATS, record.stream, keys.receipt(batch_id)]
        entry = await self._connection.eval(REQUEUE, names, words)
        if entry is None:
            raise _unknown()
        return {"record": record.record, "stream": STREAM_NAMES[record.stream], "entry": entry.decode()}

    async def drop(self, record_id: str) -> dict[str, Any]:
        """Remove a record. The verdicts of its pings stay.

        Raises:
            NotFound: there is no such record.
            StoreDown: Redis did not answer.
        """
        if not _RECORD_ID.fullmatch(record_id) or not await self._connection.eval(
            DROP, [keys.UNREADABLE, keys.STATS], [record_id]
        ):
            raise _unknown()
        return {"record": record_id, "dropped": True}

    async def _read(self, record_id: str) -> UnreadableRecord:
        found = (
            await self._connection.call("XRANGE", keys.UNREADABLE, record_id, record_id)
            if _RECORD_ID.fullmatch(record_id)
            else ()
        )
        if not found:
            raise _unknown()
        return _record(*found[0])


def _unknown() -> NotFound:
    return NotFound("there is no such record of an unreadable entry", field="record")


def _record(record_id: bytes, flat: Sequence[bytes]) -> UnreadableRecord:
    values = {
        name.decode("utf-8", "replace"): value for name, value in zip(flat[::2], flat[1::2], strict=True)
    }
    texts = {name: values.get(name, b"").decode("utf-8", "replace") for name in ("stream", "entry", "reason")}
    return UnreadableRecord(
        record_id.decode(), at_ms=stored(values.get("at_ms")), fields=_stored_fields(values), **texts
    )


def _stored_fields(values: dict[str, bytes]) -> list[bytes] | None:
    try:
        flat = _fields_of(values["fields"]) if "fields" in values else []
    except msgspec.DecodeError:
        return None
    return flat if flat and len(flat) % 2 == 0 else None


def _receipt_of(record: UnreadableRecord) -> tuple[str, str, str]:
    """Batch id, field and counter in which `unreadable.verdict_arguments` recorded the quarantine; "": none."""
    found = record.outline
    if found is None:
        return "", "", ""
    if record.stream == keys.PINGS:
        return found.batch_id, "base", ""
    index = found.pings[0][0]
    return found.batch_id, field_of(index, record.stream, record.entry), f"{index}:open"


def _summary(record: UnreadableRecord) -> dict[str, Any]:
    found = record.outline
    known = 0 < record.at_ms <= _MS_MAX
    return {
        "record": record.record,
        "stream": STREAM_NAMES.get(record.stream, record.stream),
        "entry": record.entry,
        "reason": record.reason,
        "at": instant_text(record.at_ms) if known else None,
        "age_s": int(max(0.0, SHARED_CLOCK.seconds_since([record.at_ms])[0])) if known else None,
        "bytes": sum(map(len, record.fields or ())),
        "stored": record.fields is not None,
        "pings": _ping_ids(found) if found is not None else [],
    }


def _ping_ids(found: EntryOutline) -> list[str]:
    return [f"{found.batch_id}{index:04x}" for index, _ in found.pings]
