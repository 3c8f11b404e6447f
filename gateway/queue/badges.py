"""Counters of the badge "+1": one for each device, in the queue's Redis.

A counter is stored with the `last_sync` that the device had at its first increment. It restarts at 1 once the device
has another `last_sync`: the app has then shown the new content. A ping counts once for a device: the counter keeps the
numbers of the last pings, so that a retry and a redelivery carry the number of the first attempt.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.errors import StoreDown
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script, pack
from gateway.store.lua import CHECKS
from protocols.numbers import stored

COUNT_MAX: Final = 2**31 - 1
"""Largest badge; see `protocols.ping.fields.NUMBER_MAX`."""

COUNT_BADGES: Final = Script(
    CHECKS
    + """
-- KEYS: counters; ARGV: ping, life s, pings to keep, most, then the last sync of each counter's device
local life, kept, most = seconds(ARGV[2]), natural(ARGV[3]), natural(ARGV[4])
if #ARGV ~= 4 + #KEYS then missing('the last sync of a device') end
local name = ARGV[1] .. '='
local numbers, changed = {}, {}
for i, key in ipairs(KEYS) do
    -- A counter of another type counts as missing: the pings of all other devices must not wait for it.
    local held = fits(key, 'hash') and redis.call('HMGET', key, 'count', 'sync', 'pings') or {}
    local pings = held[3] or ''
    local at = string.find(pings, name, 1, true)
    local known = at and string.match(pings, '^%d+', at + #name)
    if known then
        numbers[i] = stored(known)
    else
        local before = held[2] == ARGV[4 + i] and count(stored(held[1])) or 0
        numbers[i] = math.min(before + 1, most)
        pings = pings .. name .. numbers[i] .. ' '
        local _, length = string.gsub(pings, ' ', ' ')
        for _ = kept + 1, length do pings = string.gsub(pings, '^[^ ]* ', '') end
        changed[#changed + 1] = {key, numbers[i], ARGV[4 + i], pings}
    end
end
for _, one in ipairs(changed) do
    if not fits(one[1], 'hash') then redis.call('DEL', one[1]) end
    redis.call('PERSIST', one[1])  -- first, so that a full Redis accepts the rest (see `queue.scripts`)
    redis.call('HSET', one[1], 'count', one[2], 'sync', one[3], 'pings', one[4])
    redis.call('EXPIRE', one[1], life)
end
return numbers
"""
)
"""Count a ping once for each device; returns the number of each. A repeat returns the same numbers."""


class BadgeDevice(NamedTuple):
    """A device whose badge counts up: its client id, and the text of its `last_sync`; "": it has none."""

    client_id: str
    last_sync: str


class BadgeStore:
    """The counters.

    Args:
        connection: to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def count(self, ping_id: str, devices: Sequence[BadgeDevice]) -> list[int]:
        """Count a ping for these devices, at most some hundreds in one call, and return the number of each. Raises
        StoreDown."""
        names = [keys.badge(device.client_id) for device in devices]
        syncs = [device.last_sync for device in devices]
        words: list[Argument] = [ping_id, keys.BADGE_S, keys.BADGE_PINGS, COUNT_MAX, *syncs]
        numbers: list[int] = await self._connection.eval(COUNT_BADGES, names, words)
        return numbers

    async def preview(self, devices: Sequence[BadgeDevice]) -> list[int]:
        """Return the numbers that a further ping would have, without counting it. Raises StoreDown."""
        commands = [pack(("HMGET", keys.badge(device.client_id), "count", "sync")) for device in devices]
        replies = await self._connection.send_many(commands)
        numbers = []
        for device, reply in zip(devices, replies, strict=True):
            if isinstance(reply, StoreDown) and not reply.of_data:
                raise reply
            count, sync = (None, None) if isinstance(reply, StoreDown) else reply
            same = sync is not None and sync.decode("utf-8", "replace") == device.last_sync
            numbers.append(min(max(stored(count), 0) + 1, COUNT_MAX) if same else 1)
        return numbers
