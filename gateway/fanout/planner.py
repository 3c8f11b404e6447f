"""From pings to sends: which devices, over which lane, told what.

Whole batches at a time: one look-up for all users of all entries that were read together, one encoding of a
ping for all devices of an app. The rules are PingJob's (contract §3) and in `protocols.devices`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec
import structlog

from gateway.clock import SHARED
from gateway.delivery.batch import Send, Unit
from gateway.delivery.lane_manager import Lanes
from gateway.delivery.reasons import reason_label
from gateway.delivery.route import LaneInterface
from gateway.errors import BAD_DATA, StoreDown
from gateway.fanout.batch_plan import BatchPlan
from gateway.fanout.broadcast_targets import Audience
from gateway.fanout.in_flight import Ledger
from gateway.fanout.recipients import DEFECT, DEFECTS, Recipient, recipient, recipients
from gateway.fanout.splitting import Part, Splitting, is_large
from gateway.metrics import Metrics
from gateway.queue.consumer import Progress, Streams
from gateway.queue.entries import Lease, Piece, read_entry, read_piece
from gateway.registry.registry import Registry
from gateway.registry.user_devices import DEAD, UNKNOWN_USER, Registration
from gateway.scheduling.scheduler import LIGHT_SLICE, Turns, slices
from gateway.store import keys
from protocols.devices import Device, platform_of
from protocols.errors import InputError, NothingToSend
from protocols.ping.model import Ping

_log = structlog.get_logger("planner")

STEP_DEVICES: Final = 500
"""Planned in one step of the loop, and one ping's more."""
NOTHING_TO_SEND: Final = NothingToSend.label
GONE: Final = "device_gone"


class Planner:
    """Turns leases into units and their sends.

    Args:
        registry: who has which devices.
        audience: whom a piece of a broadcast reaches.
        lanes: where sends go.
        streams: for the progress of entries that were begun before.
        ledger: told of every unit before its first send goes out.
        metrics: where what is left out is counted.
        turns: between whose slices small pings are served.
    """

    def __init__(
        self,
        registry: Registry,
        audience: Audience,
        lanes: Lanes,
        streams: Streams,
        ledger: Ledger,
        metrics: Metrics,
        turns: Turns,
    ) -> None:
        self._registry = registry
        self._audience = audience
        self._lanes = lanes
        self._streams = streams
        self._ledger = ledger
        self._metrics = metrics
        self._turns = turns
        self._splitting = Splitting(registry, audience, ledger, turns, self._count_skipped)

    async def close(self) -> None:
        """Stop what is done in the background; it goes on from where it is, wherever its leases go."""
        await self._splitting.close()

    def foresee(self, ping: Ping) -> None:
        """This ping will be delivered in a moment: what has to be looked up for it can be looked up now."""
        self._registry.foresee(ping.users)

    def ease(self) -> None:
        """This worker's room for small pings is used up: no lane shall hold it all."""
        for lane in self._lanes.all():
            lane.ease()

    async def deliver(self, leases: Sequence[Lease]) -> list[Lease]:
        """Plan entries of the pings, retries and pieces streams, and offer their sends.

        Returns:
            Leases whose look-ups failed because Redis did not answer: nothing of them was sent. They stay in
            hand; deliver them again.
        """
        fresh: list[Unit] = []
        pieces: list[tuple[Unit, Piece]] = []
        undone: list[Lease] = []
        for lease in self._ledger.claim(leases):
            try:
                unit, piece = self._open(lease)
                if lease.again and await self._resumed(unit):
                    continue
            except StoreDown as error:
                await self._postpone(lease, error, undone)
            except BAD_DATA as error:
                await self._ledger.put_aside(lease, error)
            else:
                if piece is None:
                    fresh.append(unit)
                else:
                    pieces.append((unit, piece))
        undone += await self._deliver_fresh(fresh)
        return undone + await self._deliver_pieces(pieces)

    async def _postpone(self, lease: Lease, error: StoreDown, undone: list[Lease]) -> None:
        """Hand a lease back to be delivered again; but put it aside where a key of its own is in the way."""
        if error.of_data:
            await self._ledger.put_aside(lease, error)
        else:
            undone.append(lease)

    def _open(self, lease: Lease) -> tuple[Unit, Piece | None]:
        """The unit that an entry holds, and its piece, if it is one.

        Raises:
            UnreadableEntry: it cannot be read.
        """
        if lease.stream == keys.PINGS:
            return self._unit(lease), None
        piece = read_piece(lease.payload)
        msgspec.structs.force_setattr(piece.ping, "accepted_ms", SHARED.corrected(piece.ping.accepted_ms))
        unit = Unit(
            lease,
            piece.ping.id[:28],
            (piece.ping,),
            self._ledger.settled,
            first_place=int(piece.ping.id[28:], 16),
            attempt=piece.attempt,
            first_ms=SHARED.corrected(piece.first_ms),
            lane=piece.lane,
            bulk=piece.bulk or lease.stream == keys.PIECES,
        )
        unit.chunk = piece.chunk
        return unit, piece

    # -- pings -----------------------------------------------------------------------------------------------

    def _unit(self, lease: Lease) -> Unit:
        entry = lease.held or read_entry(lease.payload)
        accepted_ms = SHARED.corrected(entry.accepted_ms)
        for place, ping in enumerate(entry.pings):
            # The pings were made or decoded a moment ago and are nobody else's.
            msgspec.structs.force_setattr(ping, "id", f"{entry.batch}{place:04x}")
            msgspec.structs.force_setattr(ping, "accepted_ms", accepted_ms)
        return Unit(lease, entry.batch, entry.pings, self._ledger.settled)

    async def _deliver_fresh(self, units: list[Unit]) -> list[Lease]:
        """Plan pings that are seen for the first time; the leases of those that could not be looked up."""
        users = [user for unit in units for ping in unit.pings for user in ping.users]
        try:
            known = await self._registry.devices_of(users)
        except StoreDown as error:
            if error.of_data:
                return await self._deliver_apart(units, error)
            return [unit.lease for unit in units]
        except BAD_DATA as error:
            return await self._deliver_apart(units, error)
        by_lane: dict[LaneInterface, list[Send]] = defaultdict(list)
        now_ms = SHARED.now_ms()
        found = iter(known)
        for unit in units:
            of_pings = [tuple(islice(found, len(ping.users))) for ping in unit.pings]
            try:
                parts = await self._plan_fresh(BatchPlan(unit, now_ms, by_lane), of_pings)
                self._begin(unit, parts)
            except BAD_DATA as error:
                await self._give_up(unit, by_lane, error)
        self._offer(by_lane)
        return []

    async def _plan_fresh(self, plan: BatchPlan, known: Sequence[Sequence[Registration]]) -> list[Part]:
        """Plan the pings of a unit, but for those that go to very many devices.

        Args:
            plan: of the unit.
            known: the registrations of each ping's users.

        Returns:
            What is to be split.
        """
        parts: list[Part] = []
        planned = 0
        for number, told in enumerate(known):
            if is_large(told):
                plan.begin(number, {})
                plan.unit.split.append(number)
                parts.append(Part(number, plan.unit.pings[number].users, {}))
                continue
            chosen, skipped = recipients(told, self._lanes)
            plan.begin(number, skipped)
            for to in chosen:
                self._plan_device(plan, to, skipped)
            if skipped:
                self._count_skipped(skipped)
            if len(plan.unit.states) - planned > STEP_DEVICES:
                planned = len(plan.unit.states)
                await asyncio.sleep(0)
        return parts

    async def _deliver_apart(self, units: list[Unit], error: Exception) -> list[Lease]:
        """One of these cannot be looked up: find out which, so that the others are delivered."""
        if len(units) == 1:
            await self._ledger.put_aside(units[0].lease, error)
            return []
        return [lease for unit in units for lease in await self._deliver_fresh([unit])]

    async def _give_up(self, unit: Unit, by_lane: dict[LaneInterface, list[Send]], error: Exception) -> None:
        """Put a unit aside that cannot be planned to its end; nothing of it has been sent."""
        for lane, sends in by_lane.items():
            by_lane[lane] = [send for send in sends if send.unit is not unit]
        await self._ledger.put_aside(unit.lease, error)

    def _plan_device(self, plan: BatchPlan, to: Recipient, skipped: dict[str, int] | None) -> None:
        """Add one send, or say why there is none. `skipped` is None where the device has its place already."""
        unit = plan.unit
        place = len(unit.states)
        try:
            self._plan_send(plan, to, skipped)
        except DEFECTS:
            # A ping or a setting that we cannot cope with must not stop those that were read with it.
            _log.exception("cannot_plan", ping_id=plan.ping.id, client=to.device.client_id)
            if place == len(unit.states):
                unit.add_place(to.device.client_id, to.platform)
            self._refuse(unit, place, to.platform, DEFECT)

    def _plan_send(self, plan: BatchPlan, to: Recipient, skipped: dict[str, int] | None) -> None:
        unit, route, device = plan.unit, to.route, to.device
        if isinstance(route, str):
            self._refuse(unit, unit.add_place(device.client_id, to.platform), to.platform, route)
            return
        if plan.route is not route:
            plan.turn_to(route)
        message = plan.message
        if message is None and skipped is not None:
            skipped[NOTHING_TO_SEND] = skipped.get(NOTHING_TO_SEND, 0) + 1
            return
        place = unit.add_place(device.client_id, to.platform)
        try:
            if message is None or isinstance(message, InputError):
                raise message or NothingToSend("the ping holds nothing for this platform any more")
            path = to.path or message.path(device.pin)
        except InputError as error:
            self._refuse(unit, place, to.platform, error.label)
            return
        to.path = path
        lane = route.lane
        request_id = plan.request_id(to.number) if lane.provider.names_requests else b""
        plan.by_lane[lane].append(Send(unit, place, device, route, message, path, request_id))

    # -- pieces and what was begun before --------------------------------------------------------------------

    async def _deliver_pieces(self, pieces: list[tuple[Unit, Piece]]) -> list[Lease]:
        """Plan pieces; the leases of those that could not be looked up."""
        undone = await self._deliver_again([(unit, piece) for unit, piece in pieces if piece.chunk < 0])
        for unit, piece in pieces:
            if piece.chunk >= 0:
                try:
                    await self._deliver_chunk(unit, piece)
                except StoreDown as error:
                    await self._postpone(unit.lease, error, undone)
                except BAD_DATA as error:
                    await self._ledger.put_aside(unit.lease, error)
        return undone

    async def _deliver_chunk(self, unit: Unit, piece: Piece) -> None:
        """Plan a piece of a broadcast."""
        large: list[str] = []
        chosen, skipped = await self._audience.of(piece.ping.id, piece.chunk, large)
        by_lane: dict[LaneInterface, list[Send]] = defaultdict(list)
        plan = BatchPlan(unit, SHARED.now_ms(), by_lane)
        plan.begin(0, skipped)
        for part in slices(chosen, LIGHT_SLICE):
            await self._turns.turn()
            for device, platform in part:
                self._plan_device(plan, recipient(device, platform, self._lanes), skipped)
        self._count_skipped(skipped)
        self._begin(unit, [Part(0, large, {}, piece.chunk)] if large else ())
        await self._offer_in_turns(by_lane)

    async def _deliver_again(self, pieces: list[tuple[Unit, Piece]]) -> list[Lease]:
        """Plan what comes again, with one look-up for all: devices may have gone or changed since.

        Returns:
            The leases of those that could not be looked up.
        """
        clients = [client for _, piece in pieces for client in piece.clients]
        accepted = [piece.ping.accepted_ms for _, piece in pieces for _ in piece.clients]
        try:
            found = iter(await self._registry.devices(clients, accepted))
        except (StoreDown, *BAD_DATA) as error:
            if isinstance(error, StoreDown) and not error.of_data:
                return [unit.lease for unit, _ in pieces]
            if len(pieces) > 1:
                return [lease for one in pieces for lease in await self._deliver_again([one])]
            await self._ledger.put_aside(pieces[0][0].lease, error)
            return []
        for unit, piece in pieces:
            devices = list(islice(found, len(piece.clients)))
            try:
                await self._plan_known(unit, piece.clients, devices)
            except BAD_DATA as error:
                await self._ledger.put_aside(unit.lease, error)
        return []

    async def _resumed(self, unit: Unit) -> bool:
        """Deliver the rest of a unit that was begun before; False: it was not."""
        progress = await self._streams.progress(unit.lease)
        if progress is None:
            return False
        if not progress.fits(len(unit.pings)):
            # Some of its sends are repeated, rather than none delivered.
            _log.error("unreadable_progress", stream=unit.lease.stream, entry=unit.lease.entry)
            return False
        await self._resume(unit, progress)
        return True

    async def _resume(self, unit: Unit, progress: Progress) -> None:
        """Deliver the rest of a unit of which some sends have a verdict; its plan stays as it was."""
        clients = [client for ping_clients in progress.plan for client in ping_clients]
        pings = zip(unit.pings, progress.plan, strict=False)  # as many, unless what is stored is damaged
        accepted = [ping.accepted_ms for ping, ping_clients in pings for _ in ping_clients]
        found = iter(await self._registry.devices(clients, accepted))
        by_lane: dict[LaneInterface, list[Send]] = defaultdict(list)
        now_ms = SHARED.now_ms()
        ended = progress.ended()
        plan = BatchPlan(unit, now_ms, by_lane)
        for number, ping_clients in enumerate(progress.plan):
            plan.begin(number, progress.skipped[number] if progress.skipped else {})
            for part in slices(ping_clients, LIGHT_SLICE):
                await self._turns.turn()
                for client in part:
                    device = next(found)
                    if len(unit.states) in ended:
                        unit.add_place(client, _provider(device))
                    else:
                        self._plan_client(plan, client, device)
        unit.recall(progress)
        self._begin(unit, await self._parts_again(unit, progress))
        self._offer(by_lane, bulk=unit.bulk)

    async def _parts_again(self, unit: Unit, progress: Progress) -> list[Part]:
        """What of a unit that was begun before is split: its plan has no places of that."""
        if unit.chunk >= 0:
            large: list[str] = []
            await self._audience.of(unit.pings[0].id, unit.chunk, large)
            return [Part(0, large, {}, unit.chunk)] if large else []
        parts = []
        for number, (ping, clients) in enumerate(zip(unit.pings, progress.plan, strict=True)):
            if not clients and ping.users and is_large(await self._registry.devices_of(ping.users)):
                unit.split.append(number)
                parts.append(Part(number, ping.users, {}))
        return parts

    async def _plan_known(self, unit: Unit, clients: Sequence[str], devices: Sequence[Device | None]) -> None:
        by_lane: dict[LaneInterface, list[Send]] = defaultdict(list)
        plan = BatchPlan(unit, SHARED.now_ms(), by_lane)
        plan.begin(0, {})
        for part in slices(list(zip(clients, devices, strict=True)), LIGHT_SLICE):
            if unit.bulk:
                await self._turns.turn()
            for client, device in part:
                self._plan_client(plan, client, device)
        self._begin(unit)
        if unit.bulk:
            await self._offer_in_turns(by_lane)
        else:
            self._offer(by_lane)

    def _plan_client(self, plan: BatchPlan, client: str, device: Device | None) -> None:
        platform = platform_of(device) if device is not None else None
        if device is None or not platform:
            self._refuse(plan.unit, plan.unit.add_place(client, platform or ""), "", GONE)
        else:
            to = recipient(device, platform, self._lanes)
            if to.route == DEAD:  # marked since the ping was planned
                self._refuse(plan.unit, plan.unit.add_place(client, platform), platform, GONE)
            else:
                self._plan_device(plan, to, None)

    # -- handing over ----------------------------------------------------------------------------------------

    def _begin(self, unit: Unit, parts: Sequence[Part] = ()) -> None:
        self._ledger.hold(unit)
        if parts:
            self._splitting.begin(unit, parts)
        else:
            unit.planned()

    async def _offer_in_turns(self, by_lane: dict[LaneInterface, list[Send]]) -> None:
        """Hand a broadcast's sends over, while a small ping is under way no more of them than its provider and
        this loop have done with by the next turn."""
        parts = [(lane, part) for lane, sends in by_lane.items() for part in slices(sends)]
        parts.reverse()
        try:
            while parts:
                if self._turns.calm:
                    await self._turns.turn()
                lane, part = parts.pop()
                self._hand_over(lane, part, bulk=True)
        finally:  # a worker that ends reads no more, but waits for what was begun
            for lane, part in reversed(parts):
                self._hand_over(lane, part, bulk=True)

    def _offer(self, by_lane: dict[LaneInterface, list[Send]], *, bulk: bool = False) -> None:
        for lane, sends in by_lane.items():
            self._hand_over(lane, sends, bulk=bulk)

    def _hand_over(self, lane: LaneInterface, sends: Sequence[Send], *, bulk: bool) -> None:
        """Offer sends; a lane that fails at one must leave none without a verdict, and stop no other lane."""
        try:
            lane.offer(sends, bulk=bulk)
        except DEFECTS:
            _log.exception("cannot_send", lane=lane.name)
            for send in sends:
                send.unit.reject(send.place, DEFECT)

    def _refuse(self, unit: Unit, place: int, provider: str, reason: str) -> None:
        self._metrics.deliveries(provider, "", "rejected", reason_label(reason)).inc()
        unit.reject(place, reason)

    def _count_skipped(self, skipped: dict[str, int]) -> None:
        for reason, number in skipped.items():
            if reason == UNKNOWN_USER:
                self._metrics.users_unknown.inc(number)
            else:
                self._metrics.devices_skipped(reason).inc(number)


def _provider(device: Device | None) -> str:
    return "" if device is None else platform_of(device) or ""
