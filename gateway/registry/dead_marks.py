"""The marks of dead push tokens, for operators: list them, and remove them so that the next ping reaches the devices.

Redis has no index of the marks, so the keys are scanned, in bounded steps. A removed mark invalidates the caches and
snapshots of every gateway as a registration does (`registry.invalidation`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway.registry import token_marks
from gateway.registry.registry import field_names
from gateway.registry.token_marks import DEAD_ON_ALL_HOSTS
from gateway.registry.user_devices import DECODE_ERRORS, WIDTH, device
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.pages import page_size
from protocols.devices import ELSEWHERE, Device, mask, platform_of
from protocols.errors import InvalidField
from protocols.numbers import whole

LIMIT: Final = 100
LIMIT_MAX: Final = 1_000
DEVICES_MAX: Final = 1_000
"""Most devices of one request to restore."""
SCANS_MAX: Final = 50
"""Steps of one page. A page of rare marks may end before it is full; its cursor continues the scan."""
_SCANNED: Final = 1_000
"""Keys of one step, during which Redis serves no other client for some tenths of a millisecond."""
_CURSOR_MAX: Final = 2**64 - 1


class DeadFilter(NamedTuple):
    """The marks that an operator requests.

    Attributes:
        app: only devices of this app; None: all.
        provider: only devices of this provider; None: all.
        reason: only marks with this reason of the provider; None: all.
        since_ms: only marks from this time on, epoch ms; None: all.
        apps: the apps that the caller may see; None: all.
    """

    app: str | None = None
    provider: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    apps: frozenset[str] | None = None

    @property
    def empty(self) -> bool:
        """Whether the filter has no condition."""
        return self[:4] == (None, None, None, None)


class DeadMark(NamedTuple):
    """One mark that is in effect.

    Attributes:
        device: the device.
        user: its owner.
        provider: its provider; "" if it is unknown.
        facts: reason and time.
        everywhere: whether the token is dead at all hosts of the provider, and not only at some.
    """

    device: Device
    user: str
    provider: str
    facts: token_marks.MarkFacts
    everywhere: bool

    def fits(self, wanted: DeadFilter) -> bool:
        """Whether the mark meets the operator's conditions."""
        return (
            wanted.app in (None, self.device.app_id)
            and wanted.provider in (None, self.provider)
            and wanted.reason in (None, self.facts.reason)
            and (wanted.since_ms is None or (self.facts.since_ms or 0) >= wanted.since_ms)
            and (wanted.apps is None or self.device.app_id in wanted.apps)
        )

    def row(self) -> dict[str, Any]:
        """The mark as a JSON object."""
        since_ms = self.facts.since_ms
        return {
            "client_id": self.device.client_id,
            "user_id": self.user,
            "provider": self.provider,
            "app": self.device.app_id,
            "token": mask(self.device.pin),
            "reason": self.facts.reason,
            "since": None if since_ms is None else _instant(since_ms),
            "everywhere": self.everywhere,
        }


class DeadMarks:
    """Reads and removes marks.

    Args:
        connection: to the Redis that holds RhoConnect's users.
        device_types: device type -> provider, as `protocols.devices.platform_of` takes it.
    """

    def __init__(self, connection: RedisConnection, device_types: Mapping[str, str]) -> None:
        self._connection = connection
        self._device_types = device_types

    async def page(
        self, wanted: DeadFilter, limit: object = None, cursor: str | None = None
    ) -> dict[str, Any]:
        """One page: `devices`, in no order, and `next_cursor` (None: there are no more).

        A page may hold some more than `limit`, or fewer without being the last.

        Raises:
            InvalidField: the limit or the cursor has no valid value.
            StoreDown: Redis did not answer.
        """
        most = page_size(limit, LIMIT, LIMIT_MAX)
        found: list[DeadMark] = []
        position = _position(cursor)
        for _ in range(SCANS_MAX):
            position, marks = await self._step(position, wanted)
            found += marks
            if position == 0 or len(found) >= most:
                break
        return {"devices": [one.row() for one in found], "next_cursor": str(position) if position else None}

    async def restore(self, wanted: DeadFilter, cursor: str | None = None) -> dict[str, Any]:
        """Remove the marks that fit, as far as one request goes: `restored`, and `next_cursor` (None: all are).

        Raises:
            InvalidField: the cursor has no valid value.
            StoreDown: Redis did not answer.
        """
        position, restored = _position(cursor), 0
        for _ in range(SCANS_MAX):
            position, marks = await self._step(position, wanted)
            restored += await self._remove([one.device.client_id for one in marks])
            if position == 0:
                break
        return {"restored": restored, "next_cursor": str(position) if position else None}

    async def restore_devices(self, client_ids: Sequence[str], wanted: DeadFilter) -> dict[str, Any]:
        """Remove the marks of these devices, as far as they fit; the answer is that of `restore`.

        Raises:
            InvalidField: there are more than `DEVICES_MAX`.
            StoreDown: Redis did not answer.
        """
        if len(client_ids) > DEVICES_MAX:
            raise InvalidField(f"devices may name at most {DEVICES_MAX} devices", field="devices")
        marks = await self._marks(list(dict.fromkeys(client_ids)))
        fitting = [one.device.client_id for one in marks if one.fits(wanted)]
        return {"restored": await self._remove(fitting), "next_cursor": None}

    async def _step(self, position: int, wanted: DeadFilter) -> tuple[int, list[DeadMark]]:
        """One step of the scan: the next position, 0 after the last step, and the marks that fit."""
        following, names = await self._connection.call(
            "SCAN", position, "MATCH", keys.dead("*"), "COUNT", _SCANNED
        )
        prefix = len(keys.DEAD_PREFIX)
        client_ids = dict.fromkeys(name.decode("utf-8", DECODE_ERRORS)[prefix:] for name in names)
        marks = await self._marks(list(client_ids))
        return int(following), [one for one in marks if one.fits(wanted)]

    async def _marks(self, client_ids: Sequence[str]) -> list[DeadMark]:
        """The marks of these devices that are in effect."""
        if not client_ids:
            return []
        values, owners = await asyncio.gather(
            self._connection.call("MGET", *field_names(client_ids)),
            self._connection.call("MGET", *(keys.client(one, "user_id") for one in client_ids)),
        )
        found = (
            self._mark(client_id, values[index * WIDTH : (index + 1) * WIDTH], owners[index])
            for index, client_id in enumerate(client_ids)
        )
        return [one for one in found if one is not None]

    def _mark(self, client_id: str, values: Sequence[bytes | None], owner: bytes | None) -> DeadMark | None:
        *fields, mark = values
        one = device(client_id, [*fields, None], 0)
        if mark is None or not isinstance(one, Device):
            return None
        effect = token_marks.interpret(mark, one.pin, fields[_SYNC_AT])
        if not effect or effect.startswith(ELSEWHERE):
            return None
        return DeadMark(
            one,
            (owner or b"").decode("utf-8", DECODE_ERRORS),
            platform_of(one, self._device_types) or "",
            token_marks.facts(mark),
            effect == DEAD_ON_ALL_HOSTS,
        )

    async def _remove(self, client_ids: Sequence[str]) -> int:
        if not client_ids:
            return 0
        return int(await self._connection.call("DEL", *map(keys.dead, client_ids)))


_SYNC_AT: Final = WIDTH - 2
"""Index of the last sync among a client's values: the last before the mark."""


def _position(cursor: str | None) -> int:
    position = 0 if cursor is None else whole(cursor, 0, _CURSOR_MAX)
    if position is None:
        raise InvalidField("cursor must be the next_cursor of an earlier page", field="cursor")
    return position


def _instant(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
