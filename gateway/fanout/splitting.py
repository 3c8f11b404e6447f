"""Splitting of pings for users with very many devices, similar to broadcasts.

A ping for more devices than are planned together is split into chunks of some hundred client ids each. The chunks
are appended to the stream of chunks, a few ahead of the workers, in one step with a cursor. Therefore a kill
repeats at most one step, and no single step of the event loop, of Redis or of memory covers all devices. The small
pings of the same entry are delivered meanwhile.

The devices of a user are processed in the order of their ids, so that the cursor has the same meaning after a
restart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import DeliveryBatch
from gateway.delivery.cancelled import CancelledPings
from gateway.fanout.addressing import LISTED, once_a_token, split_users
from gateway.fanout.background_tasks import BackgroundTasks
from gateway.fanout.broadcast_targets import BroadcastTargets, digest
from gateway.fanout.cancellation import was_left_out
from gateway.fanout.in_flight import InFlight
from gateway.fanout.narrowing import USER_EXCLUDED
from gateway.fanout.recipients import count_other_apps
from gateway.queue.broadcasts import SplitStep
from gateway.queue.consumer import BatchProgress
from gateway.queue.entries import CHUNKS_MAX, Chunk
from gateway.queue.receipts import CANCELLED
from gateway.registry.registry import AllDevices, DeviceRegistry
from gateway.registry.user_devices import DANGLING_CLIENT, MARKED_DEAD, UNKNOWN_USER, UserDevices
from gateway.scheduling.scheduler import LIGHT_SLICE, Scheduler, slices
from gateway.store import keys
from protocols.devices import REPEATED, Chosen, Device, DeviceTypes, add_skipped, dedupe_key, fit
from protocols.ping.model import Ping

_log = structlog.get_logger("fanout")

PING_DEVICES: Final = 1_000
"""Devices of one ping that are planned together; a ping for more is split."""
CHUNK_CLIENTS: Final = keys.CHUNK_USERS
"""Client ids in a chunk: as many as a chunk of a broadcast has users."""
STEP_CHUNKS: Final = 8
"""Chunks appended to the stream in one step: about 100 KB."""
AHEAD_CHUNKS: Final = 40
"""Chunks that may wait on their stream before splitting pauses."""
SPLITS_MAX: Final = 2
"""Batches that one worker splits at the same time: each holds the devices of one user."""
_PAUSE_S: Final = 0.02
_RETRY_S: Final = 0.5


class Cursor(NamedTuple):
    """Position of the splitting: ping, user and client id up to which the chunks are on the stream.

    Its text form is `ping:user:client`; "" is the position before the first step.
    """

    number: int = -1
    user: int = -1
    client: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse a stored cursor. A damaged cursor restarts the splitting: some deliveries are repeated, none is
        omitted."""
        number, _, rest = text.partition(":")
        user, _, client = rest.partition(":")
        if not (number.isdecimal() and user.isdecimal() and len(number) + len(user) < _DIGITS_MAX):
            return cls()
        return cls(int(number), int(user), client)

    def __str__(self) -> str:
        return "" if self.number < 0 else f"{self.number}:{self.user}:{self.client}"


_DIGITS_MAX: Final = 12


def is_large(known: Sequence[UserDevices]) -> bool:
    """Whether a ping to these users must be split."""
    if len(known) == 1:
        return known[0].large
    return any(one.large for one in known) or sum(len(one.devices) for one in known) > PING_DEVICES


class SplitPart(NamedTuple):
    """Users of one ping of a batch whose devices are split off.

    Attributes:
        number: index of the ping in the batch.
        users: logins of the users, and `addressing.LISTED` (see `addressing.split_users`).
        skipped: number of omitted devices by reason; extended during the splitting.
        chunk_index: index of the broadcast chunk that has these users; -1 if the ping is not a broadcast.
    """

    number: int
    users: Sequence[str]
    skipped: dict[str, int]
    chunk_index: int = -1


class SplitPosition(NamedTuple):
    """The position of the splitting, and its form in Redis, which the next step replaces."""

    cursor: Cursor
    stored: bytes

    @classmethod
    def of(cls, stored: bytes, parts: Sequence[SplitPart]) -> "SplitPosition":
        """The position of a stored cursor. A damaged one restarts the splitting with the first part, which has begun:
        its chunk more is counted already (see `_ChunkWriter._begin`)."""
        cursor = Cursor.parse(stored.decode("utf-8", "replace"))
        if stored and not 0 <= cursor.number <= parts[-1].number:
            cursor = Cursor(parts[0].number)
        return cls(cursor, stored)


class LargePingSplitter:
    """Splits large pings in the background.

    Args:
        registry: reads devices.
        targets: decides which part of a ping reaches a device.
        in_flight: keeps the leases during the splitting.
        scheduler: serves small pings between slices of this work.
        count_skipped: counts the omitted devices.
        cancelled: the cancelled pings of this worker.
    """

    def __init__(
        self,
        registry: DeviceRegistry,
        targets: BroadcastTargets,
        in_flight: InFlight,
        scheduler: Scheduler,
        count_skipped: Callable[[dict[str, int]], None],
        cancelled: CancelledPings,
    ) -> None:
        self._cancelled = cancelled
        self._registry = registry
        self._targets = targets
        self._in_flight = in_flight
        self._scheduler = scheduler
        self._count_skipped = count_skipped
        self._tasks = BackgroundTasks(SPLITS_MAX)

    def begin(self, batch: DeliveryBatch, parts: Sequence[SplitPart]) -> None:
        """Split these parts of a batch in the background, then call `batch.finish_planning`.

        Args:
            batch: a batch that `in_flight` holds.
            parts: the parts in the order of their pings.
        """
        self._tasks.begin(partial(self._run, batch, parts), f"split:{batch.lease.entry}")

    async def begun(self, batch: DeliveryBatch) -> Collection[int]:
        """The pings of a batch, by their number, whose splitting an earlier consumer has begun: they are split to the
        end, even if their users have fewer devices by now. Raises StoreDown."""
        return await self._targets.store.begun_splits(batch.lease, batch.batch_id, len(batch.pings))

    async def restored_parts(self, batch: DeliveryBatch, progress: BatchProgress) -> list[SplitPart]:
        """The parts to be split of a batch that was begun before: its stored plan has no deliveries for them. Raises
        StoreDown."""
        if batch.chunk_index >= 0:
            large = await self._targets.large_users(batch.pings[0].id, batch.chunk_index)
            return [SplitPart(0, large, {}, batch.chunk_index)] if large else []
        parts = []
        begun = await self.begun(batch)
        for number, (ping, clients) in enumerate(zip(batch.pings, progress.plan, strict=True)):
            left_out = was_left_out(ping, progress, number)
            if number not in begun:
                if clients or not ping.users or left_out:
                    continue
                if not is_large(await self._registry.devices_of(ping.users)):
                    continue
            batch.mark_split(number)
            if not left_out:
                parts.append(SplitPart(number, split_users(ping), {}))
        return parts

    async def close(self) -> None:
        """Cancel all splitting; each batch resumes at its cursor."""
        await self._tasks.close()

    async def _run(self, batch: DeliveryBatch, parts: Sequence[SplitPart]) -> None:
        while not batch.lease_lost:
            for part in parts:
                part.skipped.clear()
            error = await self._in_flight.attempt(batch.lease, self._split(batch, parts))
            if error is None:
                break
            _log.warning("large_ping_split_retry", entry=batch.lease.entry, error=error.message)
            await asyncio.sleep(_RETRY_S)
        batch.finish_planning()

    async def _split(self, batch: DeliveryBatch, parts: Sequence[SplitPart]) -> None:
        position = SplitPosition.of(await self._targets.store.split_cursor(batch.lease), parts)
        for part in parts:
            devices_of = partial(self._devices, batch.pings[part.number])
            writer = _ChunkWriter(self._targets, batch, part, position, self._cancelled)
            if not await writer.write(devices_of):
                batch.lose_lease()
                self._in_flight.release(batch.lease)
                return
            position = writer.position
        for part in parts:
            batch.add_skipped(part.number, part.skipped)
            self._count_skipped(part.skipped)

    async def _devices(self, ping: Ping, user: str, skipped: dict[str, int]) -> list[Device]:
        """Select one user's devices by PingJob's rules (contract §3), in the order of their ids."""
        addressing = self._targets.addressing
        narrowing = addressing.narrowing(ping)
        if user == LISTED:
            devices: Sequence[Device] = (await addressing.listed(ping, skipped)).devices
            narrowing = None  # applied already
        elif narrowing is not None and user in narrowing.users:
            add_skipped(skipped, USER_EXCLUDED)
            devices = ()
        else:
            found = await self._registry.all_devices(user)
            _count_left_out(found, skipped)
            devices = found.devices
        best: dict[str, Device] = {}
        for part in slices(devices, LIGHT_SLICE):
            await self._scheduler.turn()
            kept = part if narrowing is None else narrowing.of_devices(part, skipped)
            for device in kept:
                if device.bad_at and self._targets.has_bad_token(device):
                    add_skipped(skipped, MARKED_DEAD)
                else:
                    _keep_newest(best, device, skipped, self._targets.device_types)
        selected = list(best.values())
        if user == LISTED:
            once = once_a_token([Chosen(device, "") for device in selected], skipped)
            selected = [one.device for one in once]
        return sorted(selected, key=_client_id)


class _ChunkWriter:
    """Writes the chunks of one part of a batch.

    Attributes:
        position: the position after the chunks that are on the stream.
    """

    def __init__(
        self,
        targets: BroadcastTargets,
        batch: DeliveryBatch,
        part: SplitPart,
        position: SplitPosition,
        cancelled: CancelledPings,
    ) -> None:
        self._cancelled = cancelled
        self._targets = targets
        self._batch = batch
        self._part = part
        self.position = position
        self._ping: Ping = msgspec.structs.replace(batch.pings[part.number], users=())
        self._waiting: list[tuple[Cursor, Chunk]] = []

    async def write(self, devices_of: "DevicesOf") -> bool:
        """Append the chunks from the cursor on; False if another worker has the lease of this batch."""
        part = self._part
        if self.position.cursor.number > part.number:
            return True
        if not await self._begin():
            return False
        for index, user in enumerate(part.users):
            if index > self.position.cursor.user and self._is_cancelled:
                self._leave_out(len(part.users) - index)
                break
            devices = self._within_apps(await devices_of(user, part.skipped))
            for some in slices(await self._claimed(devices, index), CHUNK_CLIENTS):
                clients = tuple(one.client_id for one in some)
                at = Cursor(part.number, index, clients[-1])
                cursor = self.position.cursor
                if at > cursor:
                    left = [client for client in clients if (part.number, index, client) > cursor]
                    self._waiting.append((at, self._chunk(left)))
                if len(self._waiting) == STEP_CHUNKS and not await self._flush():
                    return False
        return await self._flush()

    def _chunk(self, clients: Sequence[str]) -> Chunk:
        ping = self._ping
        if ping.to is not None:
            ping = msgspec.structs.replace(ping, to=ping.to.of_clients(clients))
        return Chunk(ping, -1, tuple(clients), bulk=True)

    async def _begin(self) -> bool:
        """Count one chunk more than there are until the batch is settled, so that the ping is not finished after
        its first chunks.

        A broadcast's chunk is already included in the count of open chunks.
        """
        if self._batch.lease.stream != keys.PINGS or self.position.cursor.number == self._part.number:
            return True
        return await self._step(Cursor(self._part.number, 0, ""), (), more=1)

    def _within_apps(self, devices: list[Device]) -> list[Device]:
        apps = self._ping.apps
        if apps is None:
            return devices
        within = [one for one in devices if one.app_id in apps]
        count_other_apps(len(devices) - len(within), self._part.skipped)
        return within

    async def _claimed(self, devices: list[Device], index: int) -> list[Device]:
        """The devices that no other part of the ping reaches."""
        part = self._part
        if part.chunk_index < 0 and len(part.users) == 1:
            return devices
        # For a broadcast's chunk: a number that neither this chunk's other users nor another chunk has.
        chunk_index = index if part.chunk_index < 0 else part.chunk_index + CHUNKS_MAX * (index + 1)
        claimed: list[Device] = []
        for some in slices(devices, LIGHT_SLICE):
            claims = await self._targets.claim(self._ping.id, chunk_index, [digest(one) for one in some])
            claimed += [one for one, is_claimed in zip(some, claims, strict=True) if is_claimed]
        add_skipped(part.skipped, REPEATED, len(devices) - len(claimed))
        return claimed

    @property
    def _is_cancelled(self) -> bool:
        return self._ping.id in self._cancelled.ids

    def _leave_out(self, number: int) -> None:
        """Count devices, or users that are not looked up, of a cancelled ping."""
        add_skipped(self._part.skipped, CANCELLED, number)

    async def _flush(self) -> bool:
        if not self._waiting:
            return True
        waiting, self._waiting = self._waiting, []
        if self._is_cancelled:
            self._leave_out(sum(len(chunk.clients) for _, chunk in waiting))
            return True
        return await self._step(waiting[-1][0], [chunk for _, chunk in waiting])

    async def _step(self, after: Cursor, chunks: Sequence[Chunk], *, more: int = 0) -> bool:
        batch, store = self._batch, self._targets.store
        index = batch.first_ping_index + self._part.number
        position = SplitPosition(after, str(after).encode())
        step = SplitStep(
            batch.lease, batch.batch_id, index, self.position.stored, position.stored, chunks, more
        )
        ahead = await store.split_devices(step, SHARED_CLOCK.now_ms())
        if ahead < 0 or batch.lease_lost:
            return False
        self.position = position
        while ahead > AHEAD_CHUNKS and not batch.lease_lost:
            await asyncio.sleep(_PAUSE_S)
            ahead = await store.waiting_chunks()
        return not batch.lease_lost


DevicesOf = Callable[[str, dict[str, int]], Awaitable[list[Device]]]


def _client_id(device: Device) -> str:
    return device.client_id


def _count_left_out(found: AllDevices, skipped: dict[str, int]) -> None:
    unknown = not (found.devices or found.dangling or found.dead)
    add_skipped(skipped, UNKNOWN_USER, int(unknown))
    add_skipped(skipped, DANGLING_CLIENT, found.dangling)
    add_skipped(skipped, MARKED_DEAD, found.dead)


def _keep_newest(
    best: dict[str, Device], device: Device, skipped: dict[str, int], device_types: DeviceTypes
) -> None:
    """Keep the most recently synced one of the records with the same device key (`protocols.devices.select`,
    without sorting)."""
    _, reason = fit(device, device_types)
    key = dedupe_key(device)
    if not reason and key in best:
        reason = REPEATED
        if device.last_sync_ms > best[key].last_sync_ms:
            best[key] = device
    elif not reason:
        best[key] = device
    if reason:
        add_skipped(skipped, reason)
