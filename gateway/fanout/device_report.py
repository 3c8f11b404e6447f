"""The devices of one user as the fan-out sees them: the lane of each, or the reason why no ping reaches it.

Nothing is written to Redis, and no lane is offered a delivery.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gateway.delivery.lane import Lane
from gateway.delivery.lane_manager import LaneManager
from gateway.fanout.explanation import REASONS, LeftOutDevice, left_out_row
from gateway.fanout.recipients import choose, recipient
from gateway.registry.examination import Examination, ExaminedClient
from gateway.registry.user_devices import DANGLING_CLIENT, MARKED_DEAD, UserDevices
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.devices import REPEATED, Device, LeftOut, dedupe_key, mask, platform_of
from protocols.instants import MS_MAX
from protocols.numbers import stored

DEVICES_MAX: Final = 1_000
"""Most devices of a user that are reported."""


class DeviceReports:
    """Reports the devices of users.

    Args:
        examination: reads the devices.
        lane_manager: where their deliveries would go.
        connection: to the Redis that holds RhoConnect's users.
    """

    def __init__(
        self, examination: Examination, lane_manager: LaneManager, connection: RedisConnection
    ) -> None:
        self._examination = examination
        self._lane_manager = lane_manager
        self._connection = connection

    async def of_user(self, user: str) -> list[dict[str, Any]]:
        """The user's devices; empty: there is no such user, or the user has none.

        Raises:
            BodyTooLarge: the user has more than `DEVICES_MAX` devices.
            StoreDown: Redis did not answer.
        """
        (registration,) = await self._examination.registrations([user], DEVICES_MAX)
        rows = [*self._reachable_and_omitted(user, registration)]
        unread = await self._examination.clients(registration.left_out)
        rows += [self._unread_row(user, one) for one in unread]
        dead = [row["client_id"] for row in rows if row["reason"] == MARKED_DEAD]
        marks = {one.device.client_id: one for one in await self._examination.clients(dead)}
        for row in rows:
            if row["client_id"] in marks:
                row.update(_dead_part(user, row["provider"], marks[row["client_id"]]))
        await self._add_times(rows)
        return sorted(rows, key=lambda row: row["client_id"])

    def _reachable_and_omitted(self, user: str, registration: UserDevices) -> list[dict[str, Any]]:
        left_out: LeftOut = []
        chosen = choose((registration,), self._lane_manager, set(), {}, left_out)
        reached = {dedupe_key(one.device): one.device.client_id for one in chosen}
        rows = [self._chosen_row(user, *one) for one in chosen]
        for device, reason in left_out:
            row = self._row(user, device, reason)
            if reason == REPEATED and (same_as := reached.get(dedupe_key(device))):
                row |= {"same_as": same_as, "text": f"{row['text']} through client {same_as}"}
            rows.append(row)
        return rows

    def _chosen_row(self, user: str, device: Device, provider: str) -> dict[str, Any]:
        route = recipient(device, provider, self._lane_manager).route
        if isinstance(route, str):
            return self._row(user, device, route)
        row = self._row(user, device, "") | {"lane": route.lane.name}
        error = route.lane.error_text if isinstance(route.lane, Lane) else None
        if error is not None:
            row["text"] = f"the lane cannot send now, and deliveries wait: {error}"
        return row

    def _unread_row(self, user: str, client: ExaminedClient) -> dict[str, Any]:
        return self._row(user, client.device, DANGLING_CLIENT if client.gone else MARKED_DEAD)

    def _row(self, user: str, device: Device, reason: str) -> dict[str, Any]:
        return {
            "client_id": device.client_id,
            "user_id": user,
            "provider": platform_of(device, self._lane_manager.device_types) or "",
            "device_type": device.device_type,
            "app": device.app_id,
            "token": mask(device.pin),
            "lane": "",
            "reachable": not reason,
            "reason": reason,
            "text": REASONS.get(reason, reason),
            "last_sync": _instant(device.last_sync_ms),
            "registered": None,
        }

    async def _add_times(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add the last registration of each client through this gateway."""
        if rows:
            names = [keys.registered(row["client_id"]) for row in rows]
            for row, at in zip(rows, await self._connection.call("MGET", *names), strict=True):
                row["registered"] = _instant(stored(at))


def _dead_part(user: str, provider: str, client: ExaminedClient) -> dict[str, Any]:
    """The members of a row that come from the mark of a dead token."""
    row = left_out_row(LeftOutDevice(user, client.device, MARKED_DEAD, provider), client.mark)
    return {name: row[name] for name in ("text", "provider_reason", "since") if name in row}


def _instant(epoch_ms: int) -> str | None:
    if not 0 < epoch_ms <= MS_MAX:
        return None
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
