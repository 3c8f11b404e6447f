"""Effects of pings in Redis: the syncs and acknowledgements of devices in receipts, and the syncs that are awaited.

A receipt (`gateway.queue.receipts`) gets the field `INDEX:synced:CLIENT`, the seconds from the ping's acceptance to the
device's sync, and the field `INDEX:acked:CLIENT` for an acknowledgement; `INDEX:synced` counts the syncs after a
broadcast, whose devices are not listed.

Each worker has a log of the syncs that it awaits, in which it finds them after a restart: a list of packed
`AwaitedLogEntry`, of which the oldest are removed when later ones have as many devices as a worker may await.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import structlog

from gateway.errors import BAD_DATA
from gateway.queue.entries import decoder, encode
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script
from gateway.store.lua import CHECKS
from protocols.numbers import stored

_log = structlog.get_logger("effects")

ACKNOWLEDGED_MAX: Final = 10_000
"""Most devices whose acknowledgement the receipt of one ping records."""
AWAITED_LOG_S: Final = 1_200
"""Lifetime of a log of awaited syncs after its last entry: longer than a sync is awaited."""
SYNCS_MAX: Final = 500
"""Most syncs that are recorded in one call, during which Redis serves no other client."""

_RECEIPTS_LUA: Final = (
    CHECKS
    + """
-- Key and index of the ping in this argument.
local function ping_of(text)
    if type(text) ~= 'string' or #text ~= 32 or string.find(text, '%X') then error('BADVALUE no ping id') end
    return '@RECEIPT@' .. string.sub(text, 1, 28), tonumber(string.sub(text, 29), 16)
end

-- Add a field to a receipt, unless it has it; returns 1 if it was added. A receipt that does not exist yet, as the ping
-- is not settled, lives as long as any other.
local function add_field(stats, receipts, key, field, value, life)
    local is_new = redis.call('EXISTS', key) == 0
    if redis.call('HSETNX', key, field, value) == 0 then return 0 end
    local size = #field + #value
    add(key, 'size', size)
    add(stats, 'receipt_bytes', size)
    if is_new then
        local time = redis.call('TIME')
        redis.call('EXPIRE', key, life)
        redis.call('ZADD', receipts, 'NX', time[1] * 1000 + math.floor(time[2] / 1000), key)
    end
    return 1
end
""".replace("@RECEIPT@", keys.receipt(""))
)

RECORD_SYNCS: Final = Script(
    _RECEIPTS_LUA
    + """
-- KEYS: log, stats, receipts
-- ARGV: life of the log s, receipt life s, number of the oldest entries to remove, new entry of the log, and
--       the syncs as a msgpack list, each a list of ping id, client id or '' for a count alone, and seconds
local life, receipt_life, drop = seconds(ARGV[1]), seconds(ARGV[2]), natural(ARGV[3])
if not ARGV[5] then missing('an argument') end
local syncs = cmsgpack.unpack(ARGV[5])
if type(syncs) ~= 'table' then error('BADVALUE no list of syncs') end
redis.call('LLEN', KEYS[1])
redis.call('HLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
local usable = {}
for _, sync in ipairs(syncs) do
    local key = ping_of(sync[1])
    if type(sync[2]) ~= 'string' then missing('the client id') end
    natural(sync[3])
    if usable[key] == nil then usable[key] = fits(key, 'hash') end
end
local first = {}
if redis.call('LINDEX', KEYS[1], -1) == ARGV[4] then return first end
redis.call('RPUSH', KEYS[1], ARGV[4])
if drop > 0 then redis.call('LTRIM', KEYS[1], drop, -1) end
redis.call('EXPIRE', KEYS[1], life)
for i, sync in ipairs(syncs) do
    local key, index = ping_of(sync[1])
    local field = index .. ':synced'
    first[i] = 1
    if usable[key] and sync[2] ~= '' then
        first[i] = add_field(KEYS[2], KEYS[3], key, field .. ':' .. sync[2], string.format('%d', sync[3]), receipt_life)
    elseif usable[key] and redis.call('EXISTS', key) == 1 then
        add(key, field, 1)
    end
end
return first
"""
)
"""Record syncs in receipts and an entry in the log; returns for each sync 1, or 0 if the receipt had it before.

A repeat of the call that a worker made last changes nothing, and returns an empty list.
"""

ACKNOWLEDGE: Final = Script(
    _RECEIPTS_LUA
    + """
-- KEYS: stats, receipts; ARGV: ping id, client id, most, receipt life s, whether the ping is known ('1')
local key, index = ping_of(ARGV[1])
if (ARGV[2] or '') == '' then missing('the client id') end
local most, life = natural(ARGV[3]), seconds(ARGV[4])
redis.call('HLEN', KEYS[1])
redis.call('ZCARD', KEYS[2])
local base = redis.call('HGET', key, 'base')
if ARGV[5] ~= '1' then
    local first, second, third = string.byte(base or '', 1, 3)
    local pings = 0  -- the head of a msgpack array
    if first and first >= 0x90 and first <= 0x9f then pings = first - 0x90 end
    if first == 0xdc and third then pings = second * 256 + third end
    if base and index >= pings then return -1 end
    if not base and (index > 0 or redis.call('HLEN', key) == 0) then return -1 end
end
local field = index .. ':acked'
local known = stored(redis.call('HGET', key, field))
if known >= most then return 0 end
if add_field(KEYS[1], KEYS[2], key, field .. ':' .. ARGV[2], '1', life) == 0 then return 0 end
add(key, field, 1)
return 1
"""
)
"""Record an acknowledgement: 1, or 0 if the receipt has it or has as many as it may, or -1 without a receipt."""


class PingedDevices(msgspec.Struct, array_like=True):
    """Devices that accepted pings of one batch, by one route, and whose syncs are awaited.

    Attributes:
        batch_id: the first 28 hex digits of the pings' ids.
        since_ms: epoch ms of the pings' acceptance, by the shared clock.
        provider: name of the provider.
        app: the app's name in the settings; "": the default credential.
        bulk: whether the ping is a broadcast, whose receipt has a count alone.
        client_ids: the devices, one for each ping that a device accepted.
        indexes: for each of `client_ids`, the index of the ping in its batch.
    """

    batch_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{28}$")]
    since_ms: int
    provider: str
    app: str
    bulk: bool
    client_ids: list[str]
    indexes: list[Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]]

    def __post_init__(self) -> None:
        if len(self.client_ids) != len(self.indexes):
            raise ValueError("each device needs an index")


class AwaitedLogEntry(msgspec.Struct, frozen=True, array_like=True):
    """Changes of the syncs that a worker awaits.

    Attributes:
        number: differs from that of the entry before.
        at_ms: epoch ms of the entry.
        added: devices whose syncs are awaited from now on.
        done: client id and ping id of syncs that are awaited no longer.
    """

    number: int
    at_ms: int
    added: tuple[PingedDevices, ...] = ()
    done: tuple[tuple[str, str], ...] = ()


RecordedSync: TypeAlias = tuple[str, str, int]
"""A sync to record: ping id, client id ("" for a count alone), seconds. No class, since one is made for each sync."""

_decode: Final = decoder(AwaitedLogEntry)


class EffectStore:
    """Records effects.

    Args:
        connection: connection to the queue's Redis.
        receipt_s: lifetime of receipts.
        worker: name of the consumer, the same after a restart.
    """

    def __init__(self, connection: RedisConnection, receipt_s: int, worker: str) -> None:
        self._connection = connection
        self._receipt_s = receipt_s + keys.RECEIPT_SLACK_S
        self._awaited_log = keys.awaited_syncs(worker)

    async def awaited_log(self) -> list[AwaitedLogEntry]:
        """The entries of the worker's log, the oldest first. An entry that cannot be read is omitted.

        Raises:
            StoreDown: Redis did not answer.
        """
        entries = []
        for packed in await self._connection.call("LRANGE", self._awaited_log, 0, -1):
            try:
                entries.append(_decode(packed))
            except BAD_DATA as error:
                _log.warning("awaited_syncs_unreadable", error=str(error))
        return entries

    async def record(
        self, syncs: Sequence[RecordedSync], entry: AwaitedLogEntry, drop: int = 0
    ) -> list[bool]:
        """Record syncs, and an entry of this log.

        Args:
            syncs: at most `SYNCS_MAX`.
            entry: changes of the syncs that are awaited.
            drop: number of the oldest entries of this log that are not needed any longer.

        Returns:
            For each sync, whether its receipt did not have it before; True after a repeated call.

        Raises:
            StoreDown: Redis did not answer; the call may be repeated.
        """
        # One argument for all syncs: packing three for each costs fifteen times the CPU.
        words: list[Argument] = [AWAITED_LOG_S, self._receipt_s, drop, encode(entry), encode(syncs)]
        names = [self._awaited_log, keys.STATS, keys.RECEIPTS]
        first = await self._connection.eval(RECORD_SYNCS, names, words)
        return [bool(one) for one in first] or [True] * len(syncs)

    async def acknowledge(self, ping_id: str, client_id: str, *, known: bool = False) -> bool | None:
        """Record that the app on a device acted on a ping.

        Args:
            ping_id: 32 hex digits.
            client_id: the device.
            known: whether the ping exists although it may have no receipt yet.

        Returns:
            Whether it was recorded, and not before; None: there is no such receipt.

        Raises:
            StoreDown: Redis did not answer.
        """
        words: list[Argument] = [ping_id, client_id, ACKNOWLEDGED_MAX, self._receipt_s, int(known)]
        recorded = await self._connection.eval(ACKNOWLEDGE, [keys.STATS, keys.RECEIPTS], words)
        return None if recorded < 0 else bool(recorded)


def add_effects(report: dict[str, Any], fields: Mapping[str, bytes], ping_index: int) -> dict[str, Any]:
    """Add the effects of a ping to its report (see `Receipts.report`).

    Args:
        report: gets `synced` and `acknowledged`, the numbers of devices, and each of its devices `synced_after_s` and
            `acknowledged`; all are absent without an effect.
        fields: of the batch's receipt.
        ping_index: of the ping in its batch.
    """
    synced = _by_client(fields, f"{ping_index}:synced:")
    acknowledged = _by_client(fields, f"{ping_index}:acked:")
    for device in report["devices"]:
        if (seconds := synced.get(device["client_id"])) is not None:
            device["synced_after_s"] = stored(seconds)
        if device["client_id"] in acknowledged:
            device["acknowledged"] = True
    if total := len(synced) + max(0, stored(fields.get(f"{ping_index}:synced"))):
        report["synced"] = total
    if acknowledged:
        report["acknowledged"] = len(acknowledged)
    return report


def _by_client(fields: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name[len(prefix) :]: value for name, value in fields.items() if name.startswith(prefix)}
