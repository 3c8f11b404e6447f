"""From pings to sends: which devices, over which lane, told what.

Whole batches at a time: one look-up for all users of all entries that were read together, one encoding of a
ping for all devices of an app. The rules are PingJob's (contract §3) and in `protocols.devices`.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from gateway.delivery.lanes import Lanes, Route
from gateway.delivery.outlet import Outlet
from gateway.delivery.send import Message, Send, Unit
from gateway.errors import StoreDown
from gateway.fanout.ledger import Ledger
from gateway.metrics import Metrics
from gateway.store import keys
from gateway.store.registry import NOBODY, UNKNOWN_USER, Registration, Registry, with_left_out
from gateway.store.streams import Lease, Piece, Progress, Streams, decode_entry, decode_piece
from protocols.devices import Chosen, Device, platform_of, select
from protocols.errors import InputError, NothingToSend, RhoPushError

_log = structlog.get_logger("planner")

NOTHING_TO_SEND: Final = NothingToSend.label
GONE: Final = "device_gone"
DEFECT: Final = RhoPushError.label
_DEFECTS: Final = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)
PIECE_FRESH_S: Final = 60.0
"""Devices in a piece are believed for as long as the registry's cache would; then they are looked up again."""


class _Plan:
    """One ping being planned: its messages by route, and its sends by lane."""

    __slots__ = ("by_lane", "messages", "node", "now_ms", "ping", "unit")

    def __init__(self, unit: Unit, number: int, now_ms: int, by_lane: dict[Outlet, list[Send]]) -> None:
        self.unit = unit
        self.ping = unit.pings[number]
        self.node = unit.node + unit.first_place + number
        self.now_ms = now_ms
        self.by_lane = by_lane
        self.messages: dict[Route, Message | InputError | None] = {}

    def message(self, route: Route) -> Message | InputError | None:
        """The ping as this app is told it, encoded once."""
        if route in self.messages:
            return self.messages[route]
        message: Message | InputError | None
        try:
            message = route.lane.provider.compose(self.ping, route.target, self.now_ms)
        except InputError as error:
            message = error
        self.messages[route] = message
        return message

    def request_id(self, client_id: str) -> bytes:
        """A UUID that is the same at each try of this ping to this device (providers.md A2, apns-id)."""
        try:
            own = int(client_id[:12], 16)
        except ValueError:
            own = int.from_bytes(client_id.encode()[-6:])
        return f"{self.unit.prefix}{(own ^ self.node) & 0xFFFFFFFFFFFF:012x}".encode()


class Planner:
    """Turns leases into units and their sends.

    Args:
        registry: who has which devices.
        lanes: where sends go.
        streams: for the progress of entries that were begun before.
        ledger: told of every unit before its first send goes out.
        metrics: where what is left out is counted.
    """

    def __init__(
        self, registry: Registry, lanes: Lanes, streams: Streams, ledger: Ledger, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._lanes = lanes
        self._streams = streams
        self._ledger = ledger
        self._metrics = metrics

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
            except StoreDown:
                undone.append(lease)
            except (msgspec.DecodeError, ValueError) as error:
                await self._ledger.put_aside(lease, error)
            else:
                if piece is None:
                    fresh.append(unit)
                else:
                    pieces.append((unit, piece))
        undone += await self._deliver_fresh(fresh)
        return undone + await self._deliver_pieces(pieces)

    def _open(self, lease: Lease) -> tuple[Unit, Piece | None]:
        """The unit that an entry holds, and its piece, if it is one.

        Raises:
            DecodeError, ValueError: it cannot be read.
        """
        if lease.stream == keys.PINGS:
            return self._unit(lease), None
        piece = decode_piece(lease.payload)
        unit = Unit(
            lease,
            piece.ping.id[:28],
            (piece.ping,),
            self._ledger.settled,
            first_place=int(piece.ping.id[28:], 16),
            attempt=piece.attempt,
            first_ms=piece.first_ms,
            lane=piece.lane,
            bulk=lease.stream == keys.PIECES,
        )
        return unit, piece

    # -- pings -----------------------------------------------------------------------------------------------

    def _unit(self, lease: Lease) -> Unit:
        entry = decode_entry(lease.payload)
        for place, ping in enumerate(entry.pings):
            # The pings were decoded a moment ago and are nobody else's yet.
            msgspec.structs.force_setattr(ping, "id", f"{entry.batch}{place:04x}")
            msgspec.structs.force_setattr(ping, "accepted_ms", entry.accepted_ms)
        return Unit(lease, entry.batch, entry.pings, self._ledger.settled)

    async def _deliver_fresh(self, units: list[Unit]) -> list[Lease]:
        """Plan pings that are seen for the first time; the leases of those that could not be looked up."""
        users = [user for unit in units for ping in unit.pings for user in ping.users]
        try:
            known = await self._registry.devices_of(users)
        except StoreDown:
            return [unit.lease for unit in units]
        by_lane: dict[Outlet, list[Send]] = defaultdict(list)
        now_ms = time.time_ns() // 1_000_000
        place = 0
        for unit in units:
            for number, ping in enumerate(unit.pings):
                first, place = place, place + len(ping.users)
                chosen, skipped = choose(known[first:place])
                unit.begin_ping(skipped)
                if chosen:
                    plan = _Plan(unit, number, now_ms, by_lane)
                    for device, platform in chosen:
                        self._plan_device(plan, device, platform, skipped)
                if skipped:
                    self._count_skipped(skipped)
            self._begin(unit)
        _offer(by_lane, bulk=False)
        return []

    def _plan_device(
        self, plan: _Plan, device: Device, platform: str, skipped: dict[str, int] | None
    ) -> None:
        """Add one send, or say why there is none. `skipped` is None where the device has its place already."""
        unit = plan.unit
        place = len(unit.states)
        try:
            self._plan_send(plan, device, platform, skipped)
        except _DEFECTS:
            # A ping or a setting that we cannot cope with must not stop those that were read with it.
            _log.exception("cannot_plan", ping_id=plan.ping.id, client=device.client_id)
            if place == len(unit.states):
                unit.add_place(device.client_id, platform)
            self._refuse(unit, place, platform, DEFECT)

    def _plan_send(self, plan: _Plan, device: Device, platform: str, skipped: dict[str, int] | None) -> None:
        unit = plan.unit
        route = self._lanes.route(platform, device.app_id)
        if isinstance(route, str):
            self._refuse(unit, unit.add_place(device.client_id, platform), platform, route)
            return
        message = plan.message(route)
        if message is None and skipped is not None:
            skipped[NOTHING_TO_SEND] = skipped.get(NOTHING_TO_SEND, 0) + 1
            return
        place = unit.add_place(device.client_id, platform)
        try:
            if message is None or isinstance(message, InputError):
                raise message or NothingToSend("the ping holds nothing for this platform any more")
            path = message.path(device.pin)
        except InputError as error:
            self._refuse(unit, place, platform, error.label)
            return
        lane = route.lane
        request_id = plan.request_id(device.client_id) if lane.provider.names_requests else b""
        plan.by_lane[lane].append(Send(unit, place, device, route.app, message, path, request_id))

    # -- pieces and what was begun before --------------------------------------------------------------------

    async def _deliver_pieces(self, pieces: list[tuple[Unit, Piece]]) -> list[Lease]:
        """Plan pieces, with one look-up for all; the leases of those that could not be looked up."""
        stale = [not _is_fresh(unit, piece) for unit, piece in pieces]  # asked once: time goes on
        old = [
            client
            for (_, piece), is_old in zip(pieces, stale, strict=True)
            if is_old
            for client in _clients(piece)
        ]
        try:
            found = dict(zip(old, await self._registry.devices(old), strict=True))
        except StoreDown:
            return [unit.lease for unit, _ in pieces]
        for (unit, piece), is_old in zip(pieces, stale, strict=True):
            unit.begin_ping({})
            clients = _clients(piece)
            self._plan_known(
                unit, clients, [found[client] for client in clients] if is_old else piece.devices
            )
        return []

    async def _resumed(self, unit: Unit) -> bool:
        """Deliver the rest of a unit that was begun before; False: it was not."""
        progress = await self._streams.progress(unit.lease)
        if progress is not None:
            await self._resume(unit, progress)
        return progress is not None

    async def _resume(self, unit: Unit, progress: Progress) -> None:
        """Deliver the rest of a unit of which some sends have a verdict; its plan stays as it was."""
        clients = [client for ping_clients in progress.plan for client in ping_clients]
        found = dict(zip(clients, await self._registry.devices(clients), strict=True))
        by_lane: dict[Outlet, list[Send]] = defaultdict(list)
        now_ms = time.time_ns() // 1_000_000
        ended = progress.ended()
        for number, ping_clients in enumerate(progress.plan):
            unit.begin_ping(progress.skipped[number] if progress.skipped else {})
            plan = _Plan(unit, number, now_ms, by_lane)
            for client in ping_clients:
                if len(unit.states) in ended:
                    unit.add_place(client, _provider(found[client]))
                else:
                    self._plan_client(plan, client, found[client])
        unit.recall(progress)
        self._begin(unit)
        _offer(by_lane, bulk=unit.bulk)

    def _plan_known(self, unit: Unit, clients: Sequence[str], devices: Sequence[Device | None]) -> None:
        by_lane: dict[Outlet, list[Send]] = defaultdict(list)
        plan = _Plan(unit, 0, time.time_ns() // 1_000_000, by_lane)
        for client, device in zip(clients, devices, strict=True):
            self._plan_client(plan, client, device)
        self._begin(unit)
        _offer(by_lane, bulk=unit.bulk)

    def _plan_client(self, plan: _Plan, client: str, device: Device | None) -> None:
        platform = platform_of(device) if device is not None else None
        if device is None or not platform:
            self._refuse(plan.unit, plan.unit.add_place(client, platform or ""), "", GONE)
        else:
            self._plan_device(plan, device, platform, None)

    # -- handing over ----------------------------------------------------------------------------------------

    def _begin(self, unit: Unit) -> None:
        self._ledger.hold(unit)
        unit.planned()

    def _refuse(self, unit: Unit, place: int, provider: str, reason: str) -> None:
        self._metrics.deliveries(provider, "", "rejected", reason).inc()
        unit.reject(place, reason)

    def _count_skipped(self, skipped: dict[str, int]) -> None:
        for reason, number in skipped.items():
            if reason == UNKNOWN_USER:
                self._metrics.users_unknown.inc(number)
            else:
                self._metrics.devices_skipped(reason).inc(number)


def _offer(by_lane: dict[Outlet, list[Send]], *, bulk: bool) -> None:
    for lane, sends in by_lane.items():
        lane.offer(sends, bulk=bulk)


def _provider(device: Device | None) -> str:
    return "" if device is None else platform_of(device) or ""


def _clients(piece: Piece) -> Sequence[str]:
    return piece.clients or [device.client_id for device in piece.devices]


def _is_fresh(unit: Unit, piece: Piece) -> bool:
    """Whether the devices that a piece was cut with may still be believed."""
    cut_s = int(unit.lease.entry.partition("-")[0]) / 1000
    return bool(piece.devices) and time.time() - cut_s < PIECE_FRESH_S


def choose(registrations: Sequence[Registration]) -> tuple[Sequence[Chosen], dict[str, int]]:
    """The devices of a ping's users, and what was left out, by reason."""
    if len(registrations) == 1:
        only = registrations[0].alone
        return only.chosen, dict(only.skipped) if only.skipped else {}
    chosen: list[Chosen] = []
    skipped: dict[str, int] = {}
    seen: set[str] = set()
    for registration in registrations:
        if registration is NOBODY:
            found = registration.alone.skipped
        else:
            selection = select(registration.devices, seen)
            chosen += selection.chosen
            found = with_left_out(selection.skipped, registration)
        for reason, number in found.items():
            skipped[reason] = skipped.get(reason, 0) + number
    return chosen, skipped
