"""Whom a piece of a broadcast reaches: its users' devices, but for those that another piece reaches."""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from gateway.delivery.lane_manager import LaneManager
from gateway.fanout.recipients import choose, is_bad
from gateway.queue.broadcasts import BroadcastStore
from gateway.registry.registry import DeviceRegistry
from gateway.scheduling.scheduler import LIGHT_SLICE, Scheduler, slices
from protocols.devices import REPEATED, Chosen, Device, DeviceTypes, dedupe_key

_log = structlog.get_logger("broadcast_targets")

CHUNK_MISSING: Final = "lost_part"
"""Reason under `skipped`: a part of the list of users (`keys.CHUNK_USERS`) that Redis no longer has."""


class ChunkRecipients(NamedTuple):
    """The devices of one chunk, and what was left out, by reason."""

    chosen: list[Chosen]
    skipped: dict[str, int]


class BroadcastTargets:
    """Looks chunks up.

    Args:
        store: the users, and which phones are reached by which chunk.
        registry: who has which devices.
        lane_manager: where the devices' pings would go.
        scheduler: between whose slices small pings are served.
    """

    def __init__(
        self, store: BroadcastStore, registry: DeviceRegistry, lane_manager: LaneManager, scheduler: Scheduler
    ) -> None:
        self.store = store
        """What was given."""
        self._registry = registry
        self._lane_manager = lane_manager
        self._scheduler = scheduler

    async def of(self, ping_id: str, chunk: int, large: list[str] | None = None) -> ChunkRecipients:
        """The same devices however often it is asked for, as long as users and phones stay as they are.

        Args:
            ping_id: the broadcast.
            chunk: which of its chunks.
            large: users with very many devices, who are split off and left out here, are added to it.

        Raises:
            StoreDown: Redis did not answer.
        """
        users = await self.store.users(ping_id, chunk)
        if not users:  # evicted or deleted: no chunk is empty
            _log.error("broadcast_chunk_missing", ping_id=ping_id, chunk=chunk)
            return ChunkRecipients([], {CHUNK_MISSING: 1})
        chosen: list[Chosen] = []
        phones: list[bytes] = []
        skipped: dict[str, int] = {}
        together: set[str] = set()
        known = await self._registry.devices_of_many(users)
        if large is not None:
            large += [user for user, one in zip(users, known, strict=True) if one.large]
        known = [one for one in known if not one.large]
        for part in slices(known, LIGHT_SLICE):
            await self._scheduler.turn()
            chosen += choose(part, self._lane_manager, together, skipped)
            phones += [digest(one.device) for one in chosen[len(phones) :]]
        mine = await self.claim(ping_id, chunk, phones)
        fresh = [one for one, is_mine in zip(chosen, mine, strict=True) if is_mine]
        if len(fresh) < len(chosen):
            skipped[REPEATED] = skipped.get(REPEATED, 0) + len(chosen) - len(fresh)
        return ChunkRecipients(fresh, skipped)

    async def large_users(self, ping_id: str, chunk: int) -> list[str]:
        """The users of a chunk that `of` leaves out, since they have very many devices. Raises StoreDown."""
        users = await self.store.users(ping_id, chunk)
        known = await self._registry.devices_of_many(users)
        return [user for user, one in zip(users, known, strict=True) if one.large]

    @property
    def device_types(self) -> DeviceTypes:
        """Which provider serves which device type."""
        return self._lane_manager.device_types

    def has_bad_token(self, device: Device) -> bool:
        """Whether the provider calls this device's token bad wherever its ping may go."""
        return is_bad(device, self._lane_manager)

    async def claim(self, ping_id: str, chunk: int, phones: Sequence[bytes]) -> list[bool]:
        """Which of these phones this chunk reaches. Raises StoreDown."""
        if not self._scheduler.should_yield:
            return await self.store.claim(ping_id, chunk, phones)
        mine: list[bool] = []
        for part in slices(phones, LIGHT_SLICE):  # a fifth of a millisecond in which Redis serves nobody else
            mine += await self.store.claim(ping_id, chunk, part)
        return mine


def digest(device: Device) -> bytes:
    """Stands for what a ping reaches only once (`dedupe_key`).

    12 bytes: two of a hundred million phones fall together with a chance of 10^-13.
    """
    key = dedupe_key(device).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(key, digest_size=12).digest()
