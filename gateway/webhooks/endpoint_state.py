"""The state of each endpoint in Redis: its leader, its cursor in the outbox, and its failures.

One worker of all gateways is the leader of an endpoint and delivers to it. Only the leader changes the state; each
change checks the leadership in the same step, so that a leader whose lease has expired changes nothing.

| field | meaning |
| --- | --- |
| `cursor`, `number` | id and number of the last record whose events are all delivered |
| `until` | id of the last record of the next second when its delivery began |
| `sent`, `sent_until` | id of the last delivered message of the next second, and of its last record |
| `tried`, `tried_until` | id of the message that was attempted last, and of its last record |
| `attempts`, `due`, `error` | failed attempts of the next message, epoch ms of its next attempt, and the last error |
| `failed_with` | digest of the settings of the last failed attempt: changed settings do not wait for `due` |
| `oldest` | epoch ms of the oldest undelivered event, while deliveries fail |
| `disabled` | digest of the settings with which the receiver answered 410 |
| `delivered`, `failed`, `lost` | number of delivered messages, failed attempts, and records that were removed before |
| `replay` | epoch ms from which an operator has requested the events again |
| `first` | epoch ms of the newest event that the endpoint does not receive, because it was added later |
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script
from gateway.store.lua import CHECKS
from protocols.numbers import UINT64_MAX, stored, whole
from protocols.webhooks.progress import DeliveryProgress

LEASE_S: Final = 30.0
"""Lifetime of a leadership after its last renewal; longer than an attempt may take."""
NO_RECORD: Final = "0-0"
"""Id before every record."""
PROGRESS: Final = DeliveryProgress._fields
"""Fields of the progress in the next second."""
_ID: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,20})")

BEGIN: Final = Script(
    CHECKS
    + """
-- KEYS: state, outbox, its totals; ARGV: lifetime s
local life = seconds(ARGV[1])
if redis.call('HGET', KEYS[1], 'cursor') then return 0 end
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
redis.call('HDEL', KEYS[1], 'sent')  -- first, so that a full Redis accepts the rest
redis.call('HSET', KEYS[1], 'cursor', newest and newest[1] or '0-0')
if newest then redis.call('HSET', KEYS[1], 'first', string.match(newest[1], '^%d+')) end
local number = newest and newest[2][3] == 'q' and newest[2][4]
if not newest and fits(KEYS[3], 'hash') then number = redis.call('HGET', KEYS[3], 'number') end
if number then redis.call('HSET', KEYS[1], 'number', count(stored(number))) end
redis.call('EXPIRE', KEYS[1], life)
return 1
"""
)
"""Set the cursor of a new endpoint to the newest record; 0: the endpoint exists already."""

HOLD: Final = Script(
    CHECKS
    + """
-- KEYS: leader, state, outbox, its totals; ARGV: worker, lease ms, lifetime of the state s
local lease, life = natural(ARGV[2]), seconds(ARGV[3])
if lease == 0 then missing('the lease') end
local holder = redis.call('GET', KEYS[1])
local replay, cursor, first = unpack(redis.call('HMGET', KEYS[2], 'replay', 'cursor', 'first'))
if holder and holder ~= ARGV[1] then return {} end
redis.call('EXPIRE', KEYS[2], life)  -- first, so that a full Redis accepts the rest
redis.call('SET', KEYS[1], ARGV[1], 'PX', lease)
if replay then
    local from = count(stored(replay))
    redis.call('HDEL', KEYS[2], 'replay', 'attempts', 'due', @PROGRESS@)
    if from > 0 and stored(string.match(cursor or '', '^%d+')) >= from then
        redis.call('HSET', KEYS[2], 'cursor', string.format('%.0f-@LAST@', from - 1))
        redis.call('HDEL', KEYS[2], 'number')
        if stored(first) >= from then redis.call('HSET', KEYS[2], 'first', string.format('%.0f', from - 1)) end
    end
end
local behind = 0
if fits(KEYS[3], 'stream') and fits(KEYS[4], 'hash') then
    local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
    if not oldest then
        behind = count(stored(redis.call('HGET', KEYS[4], 'number')))
    elseif oldest[2][3] == 'q' then
        behind = count(stored(oldest[2][4]) - 1)
    end
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return {now, redis.call('HGETALL', KEYS[2]), string.format('%.0f', behind)}
""".replace("@LAST@", str(UINT64_MAX)).replace("@PROGRESS@", ", ".join(f"'{name}'" for name in PROGRESS))
)
"""Become, or stay, the leader of an endpoint, and apply a replay; returns Redis' time in ms, the state, and the number
of the last record that the outbox has removed (0: unknown), or an empty list if another worker is the leader."""

CHANGE: Final = Script(
    CHECKS
    + """
-- KEYS: leader, state
-- ARGV: worker or '' for any, lease ms, number of fields to delete, these, number of fields to set, each with its
--       value, then counters, each with the number to add
local lease, at = natural(ARGV[2]), 3
if lease == 0 then missing('the lease') end
local function next_natural()
    local number = natural(ARGV[at])
    at = at + 1
    return number
end
local deleted, set = {}, {}
for _ = 1, next_natural() do
    if not ARGV[at] then missing('a field') end
    deleted[#deleted + 1] = ARGV[at]
    at = at + 1
end
for _ = 1, next_natural() * 2 do
    if not ARGV[at] then missing('a field') end
    set[#set + 1] = ARGV[at]
    at = at + 1
end
for counter = at, #ARGV, 2 do natural(ARGV[counter + 1]) end
redis.call('HLEN', KEYS[2])
if ARGV[1] ~= '' then
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    redis.call('PEXPIRE', KEYS[1], lease)
end
redis.call('HDEL', KEYS[2], '', unpack(deleted))  -- first, so that a full Redis accepts the rest
if #set > 0 then redis.call('HSET', KEYS[2], unpack(set)) end
for counter = at, #ARGV, 2 do add(KEYS[2], ARGV[counter], ARGV[counter + 1]) end
return 1
"""
)
"""Change the state of an endpoint, and renew the lease of its leader; 0: the worker is not the leader."""

RELEASE: Final = Script(
    """
-- KEYS: leader; ARGV: worker
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
)
"""End a leadership, so that another worker can take over immediately."""


class EndpointState(NamedTuple):
    """The state of an endpoint. The docstring of the module describes the fields.

    Attributes:
        now_ms: Redis' time in epoch ms.
        progress: the progress in the next second.
        removed: number of the last record that the outbox has removed; 0: unknown.
    """

    now_ms: int = 0
    cursor: str = NO_RECORD
    number: int = 0
    progress: DeliveryProgress = DeliveryProgress()
    attempts: int = 0
    due_ms: int = 0
    error: str = ""
    oldest_ms: int = 0
    disabled: str = ""
    delivered: int = 0
    failed: int = 0
    lost: int = 0
    first_ms: int = 0
    failed_with: str = ""
    removed: int = 0


class EndpointStates:
    """The states of all endpoints.

    Args:
        connection: the queue's Redis.
        worker: name of this worker, which differs from that of every other worker of all gateways.
    """

    def __init__(self, connection: RedisConnection, worker: str) -> None:
        self._connection = connection
        self._worker = worker

    async def begin(self, names: Iterable[str]) -> None:
        """Set the cursor of each new endpoint, which receives the events from now on."""
        for name in names:
            known = [keys.webhook_endpoint(name), keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
            await self._connection.eval(BEGIN, known, [keys.WEBHOOK_ENDPOINT_S])

    async def hold(self, name: str) -> EndpointState | None:
        """Become, or stay, the leader of an endpoint; None: another worker is the leader."""
        words: list[Argument] = [self._worker, int(LEASE_S * 1000), keys.WEBHOOK_ENDPOINT_S]
        names = [*self._keys(name), keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
        reply = await self._connection.eval(HOLD, names, words)
        return _state(stored(reply[0]), reply[1])._replace(removed=stored(reply[2])) if reply else None

    async def read(self, name: str) -> EndpointState:
        """Return the state of an endpoint, regardless of its leader."""
        return _state(0, await self._connection.call("HGETALL", keys.webhook_endpoint(name)))

    async def change(
        self,
        name: str,
        values: Mapping[str, str | int],
        *,
        delete: Sequence[str] = (),
        add: Mapping[str, int] | None = None,
        as_leader: bool = True,
    ) -> bool:
        """Change fields; False: this worker is no longer the leader.

        Args:
            name: the endpoint.
            values: fields to set.
            delete: fields to delete.
            add: numbers to add to counters.
            as_leader: whether this worker must be the leader; False: the change is made regardless of the leader.
        """
        words: list[Argument] = [self._worker if as_leader else "", int(LEASE_S * 1000)]
        words += [len(delete), *delete, len(values)]
        for pair in (*values.items(), *(add or {}).items()):
            words += pair
        return bool(await self._connection.eval(CHANGE, self._keys(name), words))

    async def release(self, name: str) -> None:
        """End the leadership of this worker."""
        await self._connection.eval(RELEASE, [keys.webhook_leader(name)], [self._worker])

    @staticmethod
    def _keys(name: str) -> list[str]:
        return [keys.webhook_leader(name), keys.webhook_endpoint(name)]


def _is_id(text: str) -> bool:
    """Whether Redis accepts a text as the id of a record."""
    found = _ID.fullmatch(text)
    return found is not None and whole(found[2], highest=UINT64_MAX) is not None


def _state(now_ms: int, flat: Sequence[bytes]) -> EndpointState:
    found = {
        name.decode("utf-8", "replace"): value for name, value in zip(flat[::2], flat[1::2], strict=True)
    }

    def number(name: str) -> int:
        return max(0, stored(found.get(name)))

    def text(name: str) -> str:
        return found.get(name, b"").decode("utf-8", "replace")

    cursor = text("cursor")
    return EndpointState(
        now_ms=now_ms,
        cursor=cursor if _is_id(cursor) else NO_RECORD,
        number=number("number"),
        progress=DeliveryProgress(*map(text, PROGRESS)),
        attempts=number("attempts"),
        due_ms=number("due"),
        error=text("error"),
        oldest_ms=number("oldest"),
        disabled=text("disabled"),
        delivered=number("delivered"),
        failed=number("failed"),
        lost=number("lost"),
        first_ms=number("first"),
        failed_with=text("failed_with"),
    )
