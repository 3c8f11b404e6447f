"""The outbox of webhooks: its records, and the settlement that writes one.

A settlement with events adds one record to the outbox in the step that records the verdicts, so that no kill separates
them. The outbox never causes a settlement to fail: beyond its limit the oldest records are removed, a full Redis
accepts the record because the settlement has removed an entry before, and a key of another type is not changed.

A ping that one settlement finishes is in the record's body (`w`). For other pings, only Redis has the number of open
chunks and retries: the script counts their verdicts in the receipt (`INDEX:events_accepted` and so on), and lists the
pings that are finished in `d`. `t` has the contexts of recorded traces, if there are any.

The receipt of the batch names each of its records (`outbox:ID`), so that a reader finds the events of a ping.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from gateway.queue.scripts import SETTLE
from gateway.store import keys
from gateway.store.connection import Argument, Script
from gateway.store.lua import CHECKS
from protocols.webhooks.events import DEVICE_INVALID, PING_COMPLETED, PING_FAILED_DEVICES

REMOVED_MAX: Final = 100
"""Most records that one step removes, during which Redis serves no other client."""
RECORD_FIELD: Final = "outbox:"
"""Prefix of the fields of a receipt that name records of the outbox."""


class FinishedPing(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A ping whose deliveries all have a final verdict.

    Attributes:
        index: index of the ping in its batch.
        accepted, rejected: number of deliveries by verdict.
        skipped: number of devices and users that got no delivery.
        cancelled: number of users and devices that were left out because the ping was cancelled.
    """

    index: int
    accepted: int = 0
    rejected: int = 0
    skipped: int = 0
    cancelled: int = 0


class RejectedDevice(msgspec.Struct, frozen=True, array_like=True):
    """A delivery that was finally rejected.

    Attributes:
        index: index of the ping in its batch.
        dead: whether the provider reported the push token as dead.
    """

    index: int
    client_id: str
    provider: str
    reason: str
    dead: bool = False


class SettledEvents(msgspec.Struct, frozen=True, array_like=True):
    """The body of a settlement's record.

    Attributes:
        batch_id: the batch id in the pings' ids.
        finished: pings that this settlement alone finished.
        rejected: deliveries that it rejected.
    """

    batch_id: str
    finished: tuple[FinishedPing, ...] = ()
    rejected: tuple[RejectedDevice, ...] = ()


class ConditionEvent(msgspec.Struct, frozen=True, array_like=True):
    """The body (`c`) of a record about a changed condition: the event type, and the event."""

    kind: str
    event: dict[str, str | int]


class PingTrace(msgspec.Struct, frozen=True, array_like=True):
    """The trace of one ping: its index in the batch, and `Ping.traceparent`."""

    index: int
    traceparent: str


class UnfinishedPing(NamedTuple):
    """The verdicts of one settlement for a ping that has, or had, other chunks or retries.

    Attributes:
        key: the receipt.
        ping: the ping with its number of verdicts in this settlement.
    """

    key: str
    ping: FinishedPing


class OutboxRecord(NamedTuple):
    """The events of a settlement.

    Attributes:
        limit: most bytes of all records together.
        body: packed `SettledEvents`; b"" if there are no events but those of `unfinished`.
        batch_id: the batch id in the pings' ids.
        unfinished: pings of which Redis decides whether they are finished.
        traces: packed list of `PingTrace`; b"" if no ping is recorded.
    """

    limit: int
    body: bytes
    batch_id: str
    unfinished: Sequence[UnfinishedPing] = ()
    traces: bytes = b""

    def arguments(self) -> list[Argument]:
        """The last arguments of `SETTLE_WITH_EVENTS`."""
        words: list[Argument] = [self.limit, self.body, self.batch_id, self.traces, len(self.unfinished)]
        for key, ping in self.unfinished:
            words += [key, ping.index, ping.accepted, ping.rejected, ping.skipped, ping.cancelled]
        return words


class EventPlan:
    """The events that the endpoints of webhooks receive, and the size of the outbox. A reload changes both.

    Attributes:
        wanted: event types of all endpoints; empty: settlements write no events.
        limit: `limits.webhook_bytes`.
    """

    __slots__ = ("limit", "wanted")

    def __init__(self, wanted: frozenset[str] = frozenset(), limit: int = 0) -> None:
        self.wanted = wanted
        self.limit = limit

    @property
    def completed(self) -> bool:
        """Whether an endpoint receives finished pings."""
        return PING_COMPLETED in self.wanted

    @property
    def rejected(self) -> bool:
        """Whether an endpoint receives rejected devices of every kind."""
        return PING_FAILED_DEVICES in self.wanted

    @property
    def dead(self) -> bool:
        """Whether an endpoint receives invalid push tokens."""
        return DEVICE_INVALID in self.wanted


ADD_RECORD: Final = f"""
-- Add a record to the outbox, and remove the oldest ones beyond the limit. The keys must have their types.
local function add_record(outbox, totals, limit, fields)
    local size = 64
    for _, text in ipairs(fields) do size = size + #text end
    local held = redis.call('HMGET', totals, 'bytes', 'number')
    local bytes, number = count(stored(held[1])) + size, count(stored(held[2])) + 1
    local id = redis.call('XADD', outbox, '*', 's', size, 'q', number, unpack(fields))
    local removed = 0
    while bytes > limit and removed < {REMOVED_MAX} do
        local oldest = redis.call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1]
        if not oldest then break end
        bytes = count(bytes - (oldest[2][1] == 's' and count(stored(oldest[2][2])) or 0))
        redis.call('XDEL', outbox, oldest[1])
        removed = removed + 1
    end
    if removed > 0 and redis.call('XLEN', outbox) == 0 then bytes = 0 end
    redis.call('HSET', totals, 'bytes', bytes, 'number', number)
    return id
end

-- Add a record about pings of a batch, and name it in their receipt, unless a key of the outbox has another type.
local function add_ping_record(outbox, totals, limit, batch, fields)
    if not (fits(outbox, 'stream') and fits(totals, 'hash')) then return end
    local id = add_record(outbox, totals, limit, fields)
    local receipt = '{keys.receipt("")}' .. batch
    if redis.call('TYPE', receipt).ok == 'hash' then redis.call('HSET', receipt, '{RECORD_FIELD}' .. id, '') end
end
"""
"""Lua text to prepend to a script, after `CHECKS`."""

_END_OF_LISTS: Final = "if at ~= #ARGV then missing('a list, or its length,') end\n"
_CHECK: Final = """
at = at + 1
local events_at, limit = at, natural(ARGV[at])
if not ARGV[at + 3] then missing('the body of the record') end
at = at + 4
local unfinished = natural(ARGV[at])
for _ = 1, unfinished do
    redis.call('HLEN', ARGV[at + 1])
    for number = 2, 6 do natural(ARGV[at + number]) end
    at = at + 6
end
"""
_END: Final = "return 1\n"
_ADD: Final = """
at = events_at + 4
local finished = {}
for _ = 1, ARGV[at] do
    local key, index = ARGV[at + 1], ARGV[at + 2]
    local totals = {index}
    for number, name in ipairs({'accepted', 'rejected', 'skipped', 'cancelled'}) do
        totals[number + 1] = string.format('%.0f', add(key, index .. ':events_' .. name, ARGV[at + 2 + number]))
    end
    if stored(redis.call('HGET', key, index .. ':open')) <= 0 then
        finished[#finished + 1] = table.concat(totals, ' ')
    end
    at = at + 6
end
local body, batch = ARGV[events_at + 1], ARGV[events_at + 2]
if body ~= '' or #finished > 0 then
    local fields, traces = {'w', body, 'b', batch, 'd', table.concat(finished, ',')}, ARGV[events_at + 3]
    if traces ~= '' then fields[7], fields[8] = 't', traces end
    add_ping_record(KEYS[8], KEYS[9], limit, batch, fields)
end
return 1
"""


def _with_events(text: str) -> str:
    """Add the events to the text of the settlement."""
    lists, end = text.count(_END_OF_LISTS), text.rstrip("\n") + "\n"
    if lists != 1 or not end.endswith(_END):
        raise ValueError("the script of the settlement has no place for events")
    checked = end.removesuffix(_END).replace(_END_OF_LISTS, _CHECK + _END_OF_LISTS)
    return CHECKS + ADD_RECORD + checked.removeprefix(CHECKS) + _ADD


SETTLE_WITH_EVENTS: Final = Script(_with_events(SETTLE.text))
"""Settle a finished batch as `scripts.SETTLE`, and add its events to the outbox in the same step.

KEYS[8]: outbox, KEYS[9]: its totals. Further ARGV: limit of bytes, body or '', batch, traces or '', number of
unfinished pings, and for each its receipt, its index, and its number of accepted, rejected, skipped and cancelled
deliveries.
"""
