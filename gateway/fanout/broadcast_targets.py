"""Target devices of a broadcast chunk: the devices of its users, except those that another chunk reaches."""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from gateway.delivery.lane_manager import LaneManager
from gateway.fanout.addressing import Addressing
from gateway.fanout.narrowing import Narrowing
from gateway.fanout.recipients import choose, is_bad
from gateway.queue.broadcasts import BroadcastStore
from gateway.registry.registry import DeviceRegistry
from gateway.scheduling.scheduler import LIGHT_SLICE, Scheduler, slices
from protocols.devices import REPEATED, Chosen, Device, DeviceTypes, add_skipped, dedupe_key

_log = structlog.get_logger("broadcast_targets")

CHUNK_MISSING: Final = "lost_part"
"""Reason under `skipped`: Redis no longer has a chunk of the list of users (`keys.CHUNK_USERS`)."""


class ChunkRecipients(NamedTuple):
    """The devices of one chunk, and the number of omitted users and devices by reason."""

    chosen: list[Chosen]
    skipped: dict[str, int]


class BroadcastTargets:
    """Looks up the devices of broadcast chunks.

    Args:
        store: the users, and the chunk that reaches each device.
        registry: the devices of each user.
        lane_manager: the lanes to which the devices' pings would go.
        scheduler: serves small pings between slices of this work.
    """

    def __init__(
        self, store: BroadcastStore, registry: DeviceRegistry, lane_manager: LaneManager, scheduler: Scheduler
    ) -> None:
        self.store = store
        """The store passed to the constructor."""
        self.addressing: Final = Addressing(store.badges, registry, lane_manager)
        """The recipients of pings with `to` or with a badge that counts up."""
        self._registry = registry
        self.lane_manager: Final = lane_manager
        """The lanes passed to the constructor."""
        self.scheduler: Final = scheduler
        """The scheduler passed to the constructor."""

    async def of(
        self,
        ping_id: str,
        chunk: int,
        large: list[str] | None = None,
        narrowing: Narrowing | None = None,
    ) -> ChunkRecipients:
        """Select the devices of one chunk. The result is the same for every call while users and devices do not
        change.

        Args:
            ping_id: id of the broadcast.
            chunk: index of the chunk.
            large: list to which the users with very many devices are added; they are omitted here and split off.
            narrowing: leaves out users and devices; None: nobody is left out.

        Raises:
            StoreDown: Redis did not answer.
        """
        users = await self.store.users(ping_id, chunk)
        if not users:  # evicted or deleted, since no chunk is empty
            _log.error("broadcast_chunk_missing", ping_id=ping_id, chunk=chunk)
            return ChunkRecipients([], {CHUNK_MISSING: 1})
        chosen: list[Chosen] = []
        phones: list[bytes] = []
        skipped: dict[str, int] = {}
        together: set[str] = set()
        known = await self._registry.devices_of_many(users)
        if large is not None:
            large += [user for user, one in zip(users, known, strict=True) if one.large]
        if narrowing is not None:
            pairs = zip(users, known, strict=True)
            known = [one if one.large else narrowing.of_user(user, one, skipped) for user, one in pairs]
        known = [one for one in known if not one.large]
        for part in slices(known, LIGHT_SLICE):
            await self.scheduler.turn()
            chosen += choose(part, self.lane_manager, together, skipped)
            phones += [digest(one.device) for one in chosen[len(phones) :]]
        claims = await self.claim(ping_id, chunk, phones)
        fresh = [one for one, is_claimed in zip(chosen, claims, strict=True) if is_claimed]
        add_skipped(skipped, REPEATED, len(chosen) - len(fresh))
        return ChunkRecipients(fresh, skipped)

    async def large_users(self, ping_id: str, chunk: int) -> list[str]:
        """The users of a chunk that `of` omits because they have very many devices. Raises StoreDown."""
        users = await self.store.users(ping_id, chunk)
        known = await self._registry.devices_of_many(users)
        return [user for user, one in zip(users, known, strict=True) if one.large]

    @property
    def device_types(self) -> DeviceTypes:
        """The provider that serves each device type."""
        return self.lane_manager.device_types

    def has_bad_token(self, device: Device) -> bool:
        """Whether the provider rejects this device's token on every lane that its ping may use."""
        return is_bad(device, self.lane_manager)

    async def claim(self, ping_id: str, chunk: int, phones: Sequence[bytes]) -> list[bool]:
        """Whether this chunk reaches each of these devices. Raises StoreDown."""
        if not self.scheduler.should_yield:
            return await self.store.claim(ping_id, chunk, phones)
        claims: list[bool] = []
        # In each call, Redis serves no other client for a fifth of a millisecond.
        for part in slices(phones, LIGHT_SLICE):
            claims += await self.store.claim(ping_id, chunk, part)
        return claims


def digest(device: Device) -> bytes:
    """A digest of the key by which a ping reaches a device only once (`dedupe_key`).

    With 12 bytes, two of a hundred million devices have the same digest with a probability of 10^-13.
    """
    key = dedupe_key(device).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(key, digest_size=12).digest()
