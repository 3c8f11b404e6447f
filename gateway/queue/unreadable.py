"""Quarantine of entries that no worker can read or plan: the script, and the verdicts of their pings."""

from typing import Final

from gateway.errors import UnreadableEntry
from gateway.queue.entries import EntryOutline, Lease
from gateway.queue.receipts import DeviceVerdict, PingRecord, field_of, pack_base, pack_delta
from gateway.store import keys
from gateway.store.connection import Argument, Script
from gateway.store.lua import CHECKS
from protocols.verdict import VerdictKind

UNREADABLE: Final = UnreadableEntry.label
"""Verdict of the pings and deliveries of a quarantined entry."""

QUARANTINE: Final = Script(
    CHECKS
    + """
-- KEYS: stream, stats, progress, unreadable, receipt, receipts
-- ARGV: group, entry, pings, bytes, most records, most bytes of records, size of the record,
--       receipt life s, now ms, number of receipt fields, receipt fields (field, value, is a counter),
--       number of waiters, waiters (channel, message), then the record's fields and values
local pings, bytes, most = natural(ARGV[3]), natural(ARGV[4]), natural(ARGV[5])
local most_bytes, size, life = natural(ARGV[6]), natural(ARGV[7]), seconds(ARGV[8])
local now = whole(ARGV[9])
local fields = natural(ARGV[10])
for i = 1, fields do
    if ARGV[10 + 3 * i] == '1' then whole(ARGV[9 + 3 * i]) end
end
local waiters = 11 + 3 * fields
local record = waiters + 1 + 2 * natural(ARGV[waiters])
if record > #ARGV or (#ARGV - record) % 2 == 0 then missing('a field of the record') end
local held = redis.call('HMGET', KEYS[2], 'pings', 'bytes', 'receipt_bytes', 'unreadable_bytes')
local kept = redis.call('XLEN', KEYS[4])
-- A receipt key of another type is not written; the entry is quarantined nevertheless.
local sound = fields > 0 and fits(KEYS[5], 'hash') and fits(KEYS[6], 'zset')
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('DEL', KEYS[3])
redis.call('XADD', KEYS[4], '*', 'size', size, unpack(ARGV, record))
local held_bytes = (kept > 0 and stored(held[4]) or 0) + size
kept = kept + 1
while kept > 1 and (kept > most or held_bytes > most_bytes) do
    local oldest = redis.call('XRANGE', KEYS[4], '-', '+', 'COUNT', 1)[1]
    local gone = oldest[2][1] == 'size' and stored(oldest[2][2]) or 0
    redis.call('XDEL', KEYS[4], oldest[1])
    held_bytes, kept = held_bytes - gone, kept - 1
end
local written = 0
if sound then
    for i = 1, fields do
        local field, value = ARGV[8 + 3 * i], ARGV[9 + 3 * i]
        if ARGV[10 + 3 * i] == '1' then
            add(KEYS[5], field, value)
        else
            redis.call('HSET', KEYS[5], field, value)
            written = written + #value
        end
    end
    add(KEYS[5], 'size', written)
    redis.call('EXPIRE', KEYS[5], life)
    redis.call('ZADD', KEYS[6], 'NX', now, KEYS[5])
end
redis.call(
    'HSET', KEYS[2],
    'pings', count(stored(held[1]) - pings),
    'bytes', count(stored(held[2]) - bytes),
    'receipt_bytes', count(stored(held[3]) + written),
    'unreadable_bytes', count(held_bytes)
)
for at = waiters + 1, record - 1, 2 do redis.pcall('PUBLISH', ARGV[at], ARGV[at + 1]) end
return 1
"""
)
"""Remove an entry that cannot be read or planned from its stream, and store a record of it for an operator, in one
step.

Its pings get a verdict as far as their ids can be read. The oldest records are dropped if there are too many. A
second call changes nothing and returns 0.
"""


def verdict_arguments(lease: Lease, outline: EntryOutline | None) -> list[Argument]:
    """The arguments of `QUARANTINE` for the receipt fields and the waiting requests of an entry."""
    if outline is None:
        return [0, 0]
    fields: list[Argument]
    if lease.stream == keys.PINGS:
        unreadable = PingRecord(skipped={UNREADABLE: 1})
        fields = [1, "base", pack_base([unreadable] * len(outline.pings)), 0]
    else:
        ping_index = outline.pings[0][0]
        details = tuple(
            DeviceVerdict(client, "", VerdictKind.REJECTED, UNREADABLE) for client in outline.clients
        )
        delta = PingRecord(other_verdicts=details, skipped={} if details else {UNREADABLE: 1})
        fields = [
            2,
            field_of(ping_index, lease.stream, lease.entry),
            pack_delta(delta),
            0,
            f"{ping_index}:open",
            -1,
            1,
        ]
    waiting: list[Argument] = []
    for ping_index, channel in outline.pings:
        if channel:
            waiting += [channel, f"{outline.batch_id}{ping_index:04x}"]
    return [*fields, len(waiting) // 2, *waiting]
