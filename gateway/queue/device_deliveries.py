"""The last deliveries to one device, found in the receipts of pings: no further record of a delivery is stored.

Redis searches the receipts, the newest first, for the id of the device, and returns those that contain it. A search
examines a limited number of receipts; its cursor continues it.
"""

from typing import Any, Final, NamedTuple

from gateway.queue.effects import add_effects
from gateway.queue.receipts import batch_reports
from gateway.store import keys
from gateway.store.connection import RedisConnection, Script
from gateway.store.lua import CHECKS

FOUND_MAX: Final = 20
"""Deliveries after which a search ends."""
TOGETHER: Final = 25
"""Receipts of one step, during which Redis serves no other client for some milliseconds at most."""
EXAMINED_MAX: Final = 2_000
"""Most receipts that one search examines; each has up to `keys.ENTRY_PINGS` pings."""
_RECEIPT: Final = keys.receipt("")

SEARCH: Final = Script(
    CHECKS
    + f"""
-- KEYS: receipts; ARGV: text, number of receipts to pass over, most receipts
local first, most = natural(ARGV[2]), natural(ARGV[3])
if (ARGV[1] or '') == '' then missing('the text') end
local names = redis.call('ZRANGE', KEYS[1], first, first + math.max(most, 1) - 1, 'REV')
local found = {{}}
for _, name in ipairs(names) do
    if string.sub(name, 1, {len(_RECEIPT)}) == '{_RECEIPT}' and fits(name, 'hash') then
        for _, text in ipairs(redis.call('HGETALL', name)) do
            if string.find(text, ARGV[1], 1, true) then
                found[#found + 1] = name
                break
            end
        end
    end
end
return {{#names, found}}
"""
)
"""Search some receipts for a text: how many there were, and those with the text."""


class FoundDeliveries(NamedTuple):
    """The result of a search.

    Attributes:
        deliveries: the newest first: `ping_id`, `state` of the ping, `provider`, `verdict`, and where they apply
            `reason`, `synced_after_s` and `acknowledged`.
        cursor: continues the search; None: all receipts were examined.
        examined: number of receipts that this search and those before it examined.
        total: number of receipts.
    """

    deliveries: list[dict[str, Any]]
    cursor: int | None
    examined: int
    total: int


class DeviceDeliveries:
    """Finds the deliveries to devices.

    Args:
        connection: to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def of(self, client_id: str, cursor: int = 0) -> FoundDeliveries:
        """Search for the deliveries to a device.

        Args:
            client_id: the device; not "".
            cursor: of the search that this one continues; receipts that are added meanwhile may repeat some.

        Raises:
            StoreDown: Redis does not answer.
        """
        total = int(await self._connection.call("ZCARD", keys.RECEIPTS))
        found: list[dict[str, Any]] = []
        end = cursor + EXAMINED_MAX
        while cursor < end and len(found) < FOUND_MAX:
            examined, names = await self._connection.eval(
                SEARCH, [keys.RECEIPTS], [client_id, cursor, TOGETHER]
            )
            for name in names:
                found += await self._of_receipt(
                    name.decode("utf-8", "replace").removeprefix(_RECEIPT), client_id
                )
            cursor += examined
            if examined < TOGETHER:
                return FoundDeliveries(found, None, cursor, max(total, cursor))
        return FoundDeliveries(found, cursor, cursor, max(total, cursor))

    async def _of_receipt(self, batch_id: str, client_id: str) -> list[dict[str, Any]]:
        flat = await self._connection.call("HGETALL", keys.receipt(batch_id))
        fields = {
            name.decode("utf-8", "replace"): value for name, value in zip(flat[::2], flat[1::2], strict=True)
        }
        found = []
        for index, report in batch_reports(batch_id, fields):
            if not any(device["client_id"] == client_id for device in report["devices"]):
                continue
            add_effects(report, fields, index)
            about = {"ping_id": report["ping_id"], "state": report["state"]}
            found += [about | device for device in report["devices"] if device["client_id"] == client_id]
        return found[::-1]
