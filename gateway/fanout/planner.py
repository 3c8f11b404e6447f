"""Planning of deliveries: the devices of each ping, their lanes and their messages.

Entries that were read together are planned together: one look-up covers all of their users, and a ping is encoded
once for all devices of an app. The rules are PingJob's (contract §3) and are implemented in `protocols.devices`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.route import LaneInterface
from gateway.errors import BAD_DATA, StoreDown
from gateway.fanout.addressing import split_users
from gateway.fanout.batch_plan import BatchPlan
from gateway.fanout.broadcast_targets import BroadcastTargets
from gateway.fanout.cancellation import end_chunk, known_of, users_of
from gateway.fanout.clock_correction import by_present_clock
from gateway.fanout.device_planner import DevicePlanner
from gateway.fanout.in_flight import InFlight
from gateway.fanout.recipients import (
    APP_NOT_ALLOWED,
    INTERNAL_ERROR,
    INTERNAL_ERRORS,
    recipient,
    recipients,
    within_apps,
)
from gateway.fanout.splitting import LargePingSplitter, SplitPart, is_large
from gateway.metrics import FANOUT, Metrics
from gateway.queue.consumer import BatchProgress, Streams
from gateway.queue.entries import Chunk, Lease, pings_of, read_chunk, read_entry, stored_ms
from gateway.queue.receipts import CANCELLED
from gateway.registry.registry import DeviceRegistry
from gateway.registry.user_devices import MARKED_DEAD, UNKNOWN_USER, UserDevices
from gateway.scheduling.scheduler import LIGHT_SLICE, Scheduler, slices
from gateway.store import keys
from gateway.tracing import PingTracer
from protocols.devices import Device, platform_of
from protocols.ping.model import Ping

_log = structlog.get_logger("planner")

STEP_DEVICES: Final = 500
"""Devices planned in one step of the loop, exceeded by at most one ping."""
GONE: Final = "device_gone"


class Planner(DevicePlanner):
    """Turns leases into delivery batches and their deliveries.

    Args:
        registry: the devices of each user.
        targets: the devices that a broadcast chunk reaches.
        lane_manager: the lanes that deliveries go to.
        streams: the progress of entries that were begun before.
        in_flight: receives every batch before its first delivery is sent.
        metrics: counts omitted users and devices.
        scheduler: serves small pings between slices of this work.
        cancelled: the cancelled pings of this worker; none by default.
        tracer: records the steps of pings that have a trace; None: there are no traces.
    """

    def __init__(
        self,
        registry: DeviceRegistry,
        targets: BroadcastTargets,
        lane_manager: LaneManager,
        streams: Streams,
        in_flight: InFlight,
        metrics: Metrics,
        scheduler: Scheduler,
        cancelled: CancelledPings | None = None,
        tracer: PingTracer | None = None,
    ) -> None:
        self._cancelled = CancelledPings(metrics) if cancelled is None else cancelled
        self._registry = registry
        self._tracer = tracer
        self._targets = targets
        self._lane_manager = lane_manager
        self._streams = streams
        self._in_flight = in_flight
        super().__init__(metrics)
        self._fanout_seconds = metrics.stage_seconds(FANOUT, "")
        self._scheduler = scheduler
        self._addressing = targets.addressing
        self._splitting = LargePingSplitter(
            registry, targets, in_flight, scheduler, self._count_skipped, self._cancelled
        )

    async def close(self) -> None:
        """Stop background work; the consumer that gets the leases resumes it."""
        await self._splitting.close()

    def prefetch(self, ping: Ping) -> None:
        """Start the registry look-ups of a ping that will be delivered shortly."""
        self._registry.prefetch(ping.users)

    def shed_backlog(self) -> None:
        """Make lanes shed backlog, so that no lane holds all of this worker's room for small pings."""
        for lane in self._lane_manager.all():
            lane.shed_backlog()

    async def deliver(self, leases: Sequence[Lease]) -> list[Lease]:
        """Plan entries of the streams of pings, retries and chunks, and offer their deliveries to the lanes.

        Args:
            leases: claimed leases (`InFlight.claim`) that are still held.

        Returns:
            Leases whose look-ups failed because Redis did not answer. None of their deliveries was sent; they stay
            in flight and must be passed again.
        """
        fresh: list[DeliveryBatch] = []
        chunks: list[tuple[DeliveryBatch, Chunk]] = []
        undone: list[Lease] = []
        for lease in leases:
            try:
                batch, chunk = self._open(lease)
                if self._tracer is not None:
                    self._tracer.begin_batch(batch)
                if lease.redelivered and await self._resumed(batch):
                    continue
            except (StoreDown, *BAD_DATA) as error:
                if await self._in_flight.on_failure(lease, error) is not None:
                    undone.append(lease)
            else:
                if chunk is None:
                    fresh.append(batch)
                else:
                    chunks.append((batch, chunk))
        undone += await self._deliver_fresh(fresh)
        return undone + await self._deliver_chunks(chunks)

    def _open(self, lease: Lease) -> tuple[DeliveryBatch, Chunk | None]:
        """Read an entry: its delivery batch, and its chunk if it has one.

        Raises:
            UnreadableEntry: the entry cannot be read.
        """
        if lease.stream == keys.PINGS:
            return self._read_batch(lease), None
        chunk = by_present_clock(read_chunk(lease.payload))
        batch = DeliveryBatch(
            lease,
            chunk.ping.id[:28],
            (chunk.ping,),
            self._in_flight.on_complete,
            first_ping_index=int(chunk.ping.id[28:], 16),
            chunk=chunk,
            bulk=chunk.bulk or lease.stream == keys.CHUNKS,
        )
        return batch, chunk

    # -- pings -----------------------------------------------------------------------------------------------

    def _read_batch(self, lease: Lease) -> DeliveryBatch:
        entry = lease.decoded or read_entry(lease.payload)
        pings = pings_of(entry, SHARED_CLOCK.corrected(entry.accepted_ms))
        return DeliveryBatch(lease, entry.batch_id, pings, self._in_flight.on_complete)

    async def _deliver_fresh(self, batches: list[DeliveryBatch]) -> list[Lease]:
        """Plan pings that were not begun before; returns the leases whose look-up failed."""
        cancelled = self._cancelled.ids
        try:
            known = await self._registry.devices_of(users_of(batches, cancelled))
        except StoreDown as error:
            if error.of_data:
                return await self._deliver_one_by_one(batches, error)
            return [batch.lease for batch in batches]
        except BAD_DATA as error:
            return await self._deliver_one_by_one(batches, error)
        by_lane: dict[LaneInterface, list[Delivery]] = defaultdict(list)
        now_ms = SHARED_CLOCK.now_ms()
        found = iter(known)
        undone: list[Lease] = []
        for batch in batches:
            of_pings = known_of(batch, found, cancelled)
            try:
                parts = await self._plan_fresh(BatchPlan(batch, now_ms, by_lane), of_pings)
                self._begin(batch, parts)
            except (StoreDown, *BAD_DATA) as error:
                if await self._withdraw(batch, by_lane, error) is not None:
                    undone.append(batch.lease)
        self._offer(by_lane)
        return undone

    async def _plan_fresh(
        self, plan: BatchPlan, known: Sequence[Sequence[UserDevices] | None]
    ) -> list[SplitPart]:
        """Plan the pings of a batch, except those for very many devices.

        Args:
            plan: the plan of the batch.
            known: the devices of each ping's users; None: the ping is cancelled.

        Returns:
            The parts that must be split.
        """
        parts: list[SplitPart] = []
        begun = await self._splitting.begun(plan.batch) if plan.batch.lease.redelivered else ()
        yielded_at = 0
        for number, known_users in enumerate(known):
            if known_users is None:
                left_out = plan.batch.pings[number].named
                plan.begin_ping(number, {CANCELLED: left_out} if left_out else {})
                if number in begun:
                    plan.batch.mark_split(number)
                self._cancelled.count(left_out)
                continue
            if number in begun or is_large(known_users):
                plan.begin_ping(number, {})
                plan.batch.mark_split(number)
                parts.append(SplitPart(number, split_users(plan.ping), {}))
                continue
            ping = plan.batch.pings[number]
            if ping.to is not None or ping.badge_increment or not ping.users:
                skipped = await self._plan_addressed(plan, number, known_users)
            else:
                chosen, skipped = recipients(known_users, self._lane_manager)
                plan.begin_ping(number, skipped)
                if ping.apps is not None:
                    chosen = within_apps(chosen, ping.apps, skipped)
                for recipient_device in chosen:
                    self.plan_device(plan, recipient_device, skipped)
            if skipped:
                self._count_skipped(skipped)
            if len(plan.batch.states) - yielded_at > STEP_DEVICES:
                yielded_at = len(plan.batch.states)
                await asyncio.sleep(0)
        return parts

    async def _deliver_one_by_one(self, batches: list[DeliveryBatch], error: Exception) -> list[Lease]:
        """Plan batches one by one after a failed common look-up, so that only the failing batch is quarantined."""
        if len(batches) == 1:
            await self._in_flight.quarantine(batches[0].lease, error)
            return []
        return [lease for batch in batches for lease in await self._deliver_fresh([batch])]

    async def _plan_addressed(
        self, plan: BatchPlan, number: int, known: Sequence[UserDevices]
    ) -> dict[str, int]:
        """Plan a ping with `to`, without users or with a badge that counts up; the omitted devices by reason."""
        ping = plan.batch.pings[number]
        chosen, skipped = await self._addressing.recipients(ping, known)
        clients = [one.device.client_id for one in chosen]
        badges = await self._addressing.badges(ping, clients)
        plan.begin_ping(number, skipped)
        if badges is not None:  # each badge is encoded once
            chosen = sorted(chosen, key=lambda one: badges[one.device.client_id])
        for part in slices(chosen, LIGHT_SLICE):
            if len(chosen) > LIGHT_SLICE:
                await self._scheduler.turn()
            for recipient_device in part:
                if badges is not None:
                    plan.set_badge(badges[recipient_device.device.client_id])
                self.plan_device(plan, recipient_device, skipped)
        return skipped

    async def _withdraw(
        self, batch: DeliveryBatch, by_lane: dict[LaneInterface, list[Delivery]], error: Exception
    ) -> StoreDown | None:
        """Take back a batch that cannot be planned completely; none of its deliveries has been sent.

        Returns:
            As `InFlight.on_failure`.
        """
        for lane, deliveries in by_lane.items():
            by_lane[lane] = [delivery for delivery in deliveries if delivery.batch is not batch]
        return await self._in_flight.on_failure(batch.lease, error)

    # -- chunks and resumed batches --------------------------------------------------------------------------

    async def _deliver_chunks(self, chunks: list[tuple[DeliveryBatch, Chunk]]) -> list[Lease]:
        """Plan chunks and retries; returns the leases whose look-up failed."""
        undone: list[Lease] = []
        if ids := self._cancelled.ids:
            cancelled = [one for one in chunks if one[1].ping.id in ids]
            chunks = [one for one in chunks if one[1].ping.id not in ids]
            for batch, chunk in cancelled:
                if await self._in_flight.attempt(batch.lease, self._end_chunk(batch, chunk)) is not None:
                    undone.append(batch.lease)
        undone += await self._deliver_retries(
            [(batch, chunk) for batch, chunk in chunks if chunk.chunk_index < 0]
        )
        for batch, chunk in chunks:
            if chunk.chunk_index >= 0:
                work = self._deliver_chunk(batch, chunk)
                if await self._in_flight.attempt(batch.lease, work) is not None:
                    undone.append(batch.lease)
        return undone

    async def _end_chunk(self, batch: DeliveryBatch, chunk: Chunk) -> None:
        """Settle a chunk or a retry of a cancelled ping without looking up its devices."""
        self._cancelled.count(await end_chunk(batch, chunk, self._targets.store))
        self._begin(batch)

    async def _deliver_chunk(self, batch: DeliveryBatch, chunk: Chunk) -> None:
        """Plan a chunk of a broadcast."""
        large: list[str] = []
        ping = chunk.ping
        narrowing = self._addressing.narrowing(ping)
        chosen, skipped = await self._targets.of(ping.id, chunk.chunk_index, large, narrowing)
        if ping.apps is not None:
            chosen = within_apps(chosen, ping.apps, skipped)
        badges = None
        if ping.badge_increment:
            badges = await self._addressing.badges(ping, [device.client_id for device, _ in chosen])
        by_lane: dict[LaneInterface, list[Delivery]] = defaultdict(list)
        plan = BatchPlan(batch, SHARED_CLOCK.now_ms(), by_lane)
        plan.begin_ping(0, skipped)
        for part in slices(chosen, LIGHT_SLICE):
            await self._scheduler.turn()
            for device, platform in part:
                if badges is not None:
                    plan.set_badge(badges[device.client_id])
                self.plan_device(plan, recipient(device, platform, self._lane_manager), skipped)
        self._count_skipped(skipped)
        self._begin(batch, [SplitPart(0, large, {}, chunk.chunk_index)] if large else ())
        await self._offer_throttled(by_lane)

    async def _deliver_retries(self, chunks: list[tuple[DeliveryBatch, Chunk]]) -> list[Lease]:
        """Plan retries with one look-up for all, since devices may have changed or disappeared.

        Returns:
            The leases whose look-up failed.
        """
        clients = [client for _, chunk in chunks for client in chunk.clients]
        accepted = [chunk.ping.accepted_ms for _, chunk in chunks for _ in chunk.clients]
        try:
            found = iter(await self._registry.devices(clients, accepted))
        except (StoreDown, *BAD_DATA) as error:
            if isinstance(error, StoreDown) and not error.of_data:
                return [batch.lease for batch, _ in chunks]
            if len(chunks) > 1:
                return [lease for one in chunks for lease in await self._deliver_retries([one])]
            await self._in_flight.quarantine(chunks[0][0].lease, error)
            return []
        undone: list[Lease] = []
        for batch, chunk in chunks:
            devices = list(islice(found, len(chunk.clients)))
            work = self._plan_known(batch, chunk.clients, devices)
            if await self._in_flight.attempt(batch.lease, work) is not None:
                undone.append(batch.lease)
        return undone

    async def _resumed(self, batch: DeliveryBatch) -> bool:
        """Deliver the rest of a batch that was begun before; False if it was not."""
        progress = await self._streams.progress(batch.lease)
        if progress is None:
            return False
        if not progress.fits(len(batch.pings)):
            # Some deliveries are repeated, which is better than none.
            _log.error("progress_unreadable", stream=batch.lease.stream, entry=batch.lease.entry)
            return False
        await self._resume(batch, progress)
        return True

    async def _resume(self, batch: DeliveryBatch, progress: BatchProgress) -> None:
        """Deliver the rest of a batch of which some deliveries have a verdict; its plan does not change."""
        clients = [client for ping_clients in progress.plan for client in ping_clients]
        # of equal length unless the stored progress is damaged
        pings = zip(batch.pings, progress.plan, strict=False)
        accepted = [ping.accepted_ms for ping, ping_clients in pings for _ in ping_clients]
        found = iter(await self._registry.devices(clients, accepted))
        by_lane: dict[LaneInterface, list[Delivery]] = defaultdict(list)
        now_ms = SHARED_CLOCK.now_ms()
        ended = progress.ended()
        plan = BatchPlan(batch, now_ms, by_lane)
        for number, ping_clients in enumerate(progress.plan):
            ping, devices = batch.pings[number], list(islice(found, len(ping_clients)))
            if ping.to is not None:
                devices = self._addressing.with_tokens(ping, ping_clients, devices)
            badges = await self._addressing.badges(ping, ping_clients)
            plan.begin_ping(number, progress.skipped[number] if progress.skipped else {})
            for part in slices(list(zip(ping_clients, devices, strict=True)), LIGHT_SLICE):
                await self._scheduler.turn()
                for client, device in part:
                    if len(batch.states) in ended:
                        batch.add_delivery(client, self._provider(device) or "")
                        continue
                    if badges is not None:
                        plan.set_badge(badges[client])
                    self._plan_client(plan, client, device)
        batch.restore(progress)
        self._begin(batch, await self._splitting.restored_parts(batch, progress))
        self._offer(by_lane, bulk=batch.bulk)

    async def _plan_known(
        self, batch: DeliveryBatch, clients: Sequence[str], devices: Sequence[Device | None]
    ) -> None:
        by_lane: dict[LaneInterface, list[Delivery]] = defaultdict(list)
        ping = batch.pings[0]
        if ping.to is not None:
            devices = self._addressing.with_tokens(ping, clients, devices)
        badges = await self._addressing.badges(ping, clients)
        plan = BatchPlan(batch, SHARED_CLOCK.now_ms(), by_lane)
        plan.begin_ping(0, {})
        for part in slices(list(zip(clients, devices, strict=True)), LIGHT_SLICE):
            if batch.bulk:
                await self._scheduler.turn()
            for client, device in part:
                if badges is not None:
                    plan.set_badge(badges[client])
                self._plan_client(plan, client, device)
        self._begin(batch)
        if batch.bulk:
            await self._offer_throttled(by_lane)
        else:
            self._offer(by_lane)

    def _plan_client(self, plan: BatchPlan, client: str, device: Device | None) -> None:
        platform = self._provider(device)
        if device is None or not platform:
            self._reject(plan.batch, plan.batch.add_delivery(client, platform or ""), "", GONE)
        else:
            recipient_device = recipient(device, platform, self._lane_manager)
            if plan.ping.apps is not None and device.app_id not in plan.ping.apps:
                self._reject(plan.batch, plan.batch.add_delivery(client, platform), platform, APP_NOT_ALLOWED)
            elif recipient_device.route == MARKED_DEAD:  # marked after the ping was planned
                self._reject(plan.batch, plan.batch.add_delivery(client, platform), platform, GONE)
            else:
                self.plan_device(plan, recipient_device, None)

    # -- offering --------------------------------------------------------------------------------------------

    def _begin(self, batch: DeliveryBatch, parts: Sequence[SplitPart] = ()) -> None:
        batch.begin_delivery(SHARED_CLOCK.now_ms())
        self._fanout_seconds.observe_times(
            SHARED_CLOCK.seconds_since((stored_ms(batch.lease),))[0], len(batch.pings)
        )
        self._in_flight.hold(batch)
        if batch.trace is not None:
            batch.trace.planned(batch)
        if parts:
            self._splitting.begin(batch, parts)
        else:
            batch.finish_planning()

    async def _offer_throttled(self, by_lane: dict[LaneInterface, list[Delivery]]) -> None:
        """Offer a broadcast's deliveries. While small pings are in flight, offer at each turn only as many as the
        provider and this loop finish before the next."""
        parts = [(lane, part) for lane, deliveries in by_lane.items() for part in slices(deliveries)]
        parts.reverse()
        try:
            while parts:
                if self._scheduler.should_yield:
                    await self._scheduler.turn()
                lane, part = parts.pop()
                self._hand_over(lane, part, bulk=True)
        finally:  # a worker that ends reads no more entries but completes those that it has begun
            for lane, part in reversed(parts):
                self._hand_over(lane, part, bulk=True)

    def _offer(self, by_lane: dict[LaneInterface, list[Delivery]], *, bulk: bool = False) -> None:
        for lane, deliveries in by_lane.items():
            self._hand_over(lane, deliveries, bulk=bulk)

    def _hand_over(self, lane: LaneInterface, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Offer deliveries to a lane. If the lane raises, all of them get a verdict, and other lanes are not
        affected."""
        try:
            lane.offer(deliveries, bulk=bulk)
        except INTERNAL_ERRORS:
            _log.exception("lane_offer_failed", lane=lane.name)
            for delivery in deliveries:
                delivery.batch.reject(delivery.index, INTERNAL_ERROR)

    def _count_skipped(self, skipped: dict[str, int]) -> None:
        for reason, number in skipped.items():
            if reason == UNKNOWN_USER:
                self._metrics.users_unknown.inc(number)
            else:
                self._metrics.devices_skipped(reason).inc(number)

    def _provider(self, device: Device | None) -> str | None:
        return None if device is None else platform_of(device, self._lane_manager.device_types)
