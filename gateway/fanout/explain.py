"""A ping explained instead of sent: each device that it would reach and how, and each that it would not and why.

The functions are those of the planner, stopped before the lanes: `recipients.choose` and `recipients.recipient`,
`BatchPlan` and `DevicePlanner`. Nothing is written to Redis, no lane is offered a delivery, and no delivery is counted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.http2_lane import Http2Lane
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.route import LaneInterface
from gateway.delivery.validation import VALIDATIONS_MAX, ValidationRequest, validate
from gateway.fanout.addressing import Addressing, once_a_token
from gateway.fanout.batch_plan import BatchPlan
from gateway.fanout.device_planner import NOTHING_TO_SEND, DevicePlanner
from gateway.fanout.explanation import (
    LeftOutDevice,
    explanation,
    left_out_row,
    no_validation,
    recipient_row,
    verdict_row,
)
from gateway.fanout.recipients import Recipient, choose, recipient, within_apps
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.registry.examination import Examination
from gateway.registry.user_devices import DANGLING_CLIENT, MARKED_DEAD, UserDevices
from gateway.registry.user_scan import UserScan
from gateway.scheduling.scheduler import LIGHT_SLICE, Scheduler, slices
from gateway.store import keys
from protocols.devices import REPEATED, Chosen, Device, LeftOut, dedupe_key, platform_of, token_key
from protocols.errors import BodyTooLarge, InputError
from protocols.ping.model import Ping

USERS_MAX: Final = 100
"""Most users of a ping that is explained."""
DEVICES_MAX: Final = 1_000
"""Most clients of these users together."""
PAYLOADS_BYTES_MAX: Final = 8_388_608
"""Most bytes of the payloads of all devices together. One message of RhoConnect Push may have 64 KB."""
AT_ONCE: Final = 4
"""Explanations that one worker makes at a time; further ones wait."""
PLACEHOLDER_ID: Final = "0" * 32
"""Stands in a payload where the ping's id will be: its size counts."""
_BATCH_ID: Final = PLACEHOLDER_ID[:28]


class PingExplainer:
    """Explains pings.

    Args:
        examination: reads the users' devices.
        lane_manager: where deliveries would go.
        metrics: of the worker; it counts no delivery of an explained ping.
        scheduler: serves small pings between parts of the work.
        addressing: recipients of pings with `to`, and the badge that counts up.
        users: scans all users.
    """

    def __init__(
        self,
        examination: Examination,
        lane_manager: LaneManager,
        metrics: Metrics,
        scheduler: Scheduler,
        addressing: Addressing,
        users: UserScan,
    ) -> None:
        self._addressing = addressing
        self._users = users
        self._examination = examination
        self._lane_manager = lane_manager
        self._planner = _UncountedPlanner(metrics)
        self._scheduler = scheduler
        self._places = asyncio.Semaphore(AT_ONCE)

    async def explain(self, ping: Ping, *, validates: bool) -> dict[str, Any]:
        """The explanation as a JSON object.

        Args:
            ping: as the caller sent it.
            validates: ask each provider that can check a message without a delivery.

        Raises:
            BodyTooLarge: too many users, devices, bytes of payloads, or messages to validate; `field` names the cause.
            StoreDown: Redis did not answer.
        """
        if len(ping.users) > USERS_MAX:
            raise BodyTooLarge(
                f"with explain, a ping may name at most {USERS_MAX} users of user_id", field="user_id"
            )
        if ping.to is not None and ping.to.listed > DEVICES_MAX:
            raise BodyTooLarge(
                f"with explain, to may name at most {DEVICES_MAX} devices and tokens", field="to"
            )
        async with self._places:
            if ping.to is not None and ping.to.all_users:
                ping = msgspec.structs.replace(ping, users=await self._everybody())
            work = _Work(
                self._examination,
                self._lane_manager,
                self._planner,
                self._scheduler,
                self._addressing,
                ping,
            )
            return await work.answer(validates=validates)

    async def _everybody(self) -> tuple[str, ...]:
        """All users.

        Raises:
            StoreDown: Redis did not answer.
            BodyTooLarge: there are more than a ping that is explained may have.
        """
        number = await self._users.count()
        page = await self._users.page("", 0, USERS_MAX + 1) if number <= USERS_MAX else None
        if page is None or len(page.users) > USERS_MAX:
            raise BodyTooLarge(
                f"to.all_users names {number} users; with explain, at most {USERS_MAX} are allowed",
                field="to.all_users",
            )
        return tuple(page.users)


class _UncountedPlanner(DevicePlanner):
    """Plans devices of a ping that is not sent."""

    def _reject(self, batch: DeliveryBatch, index: int, provider: str, reason: str) -> None:
        batch.reject(index, reason)


class _Work:
    """The explanation of one ping."""

    def __init__(
        self,
        examination: Examination,
        lane_manager: LaneManager,
        planner: _UncountedPlanner,
        scheduler: Scheduler,
        addressing: Addressing,
        ping: Ping,
    ) -> None:
        self._addressing = addressing
        self._narrowing = addressing.narrowing(ping)
        self._examination = examination
        self._lane_manager = lane_manager
        self._planner = planner
        self._scheduler = scheduler
        now_ms = SHARED_CLOCK.now_ms()
        self._ping = msgspec.structs.replace(ping, id=PLACEHOLDER_ID, accepted_ms=now_ms)
        by_lane: dict[LaneInterface, list[Delivery]] = defaultdict(list)
        lease = Lease(keys.PINGS, "", b"", 1, 0, redelivered=False)
        batch = DeliveryBatch(lease, _BATCH_ID, (self._ping,), _never)
        self._plan = BatchPlan(batch, now_ms, by_lane)
        self._left_out: list[LeftOutDevice] = []
        self._deliveries: list[tuple[Delivery, str]] = []
        """Each with its device's user."""
        self._unknown: list[str] = []

    async def answer(self, *, validates: bool) -> dict[str, Any]:
        """See `PingExplainer.explain`."""
        users = self._ping.users
        self._plan.begin_ping(0, {})
        seen: set[str] = set()
        reached: dict[str, str] = {}
        for user, registration in zip(
            users, await self._examination.registrations(users, DEVICES_MAX), strict=True
        ):
            await self._scheduler.turn()
            if registration.unknown:
                self._unknown.append(user)
            await self._add(user, registration, seen, reached)
        if self._ping.to is not None and self._ping.to.listed:
            await self._add_listed(seen, reached)
        rows = await self._rows()
        if validates:
            await self._validate(rows)
        return explanation(len(users), rows, await self._left_out_rows(), self._unknown)

    async def _add(
        self, user: str, registration: UserDevices, seen: set[str], reached: dict[str, str]
    ) -> None:
        """Plan the devices of one user. `seen` has the devices of the users before."""
        left_out: LeftOut = []
        narrowed = registration
        if self._narrowing is not None:
            narrowed = self._narrowing.of_user(user, registration, {}, left_out)
        chosen = choose((narrowed,), self._lane_manager, seen, {}, left_out)
        chosen, left_out = self._shown(chosen, left_out)
        reached |= _by_key(chosen)
        self._add_left_out(left_out, {}, reached, user)
        await self._add_unreadable(user, registration)
        await self._plan_devices(chosen, {}, user)

    async def _add_listed(self, seen: set[str], reached: dict[str, str]) -> None:
        """Plan the devices of `to.devices` and `to.tokens`."""
        left_out: LeftOut = []
        devices, owners = await self._addressing.listed(self._ping, {}, left_out, owners=True)
        marked = any(device.bad_at for device in devices)
        registration = UserDevices(tuple(devices), marked=marked)
        chosen = choose((registration,), self._lane_manager, seen, {}, left_out)
        shown, left_out = self._shown(chosen, left_out)
        once = once_a_token(shown, {}, reached, left_out)
        reached |= _by_key(once)
        self._add_left_out(left_out, owners, reached, "")
        await self._plan_devices(once, owners, "")

    def _add_left_out(
        self, left_out: LeftOut, owners: Mapping[str, str], reached: Mapping[str, str], user: str
    ) -> None:
        """Add omitted devices; `user`: the owner of those that are not in `owners`."""
        for device, reason in left_out:
            same_as = reached.get(dedupe_key(device), "") if reason == REPEATED else ""
            provider = platform_of(device, self._lane_manager.device_types) or ""
            owner = owners.get(device.client_id, user)
            self._left_out.append(LeftOutDevice(owner, device, reason, provider, same_as=same_as))

    async def _plan_devices(self, chosen: Sequence[Chosen], owners: Mapping[str, str], user: str) -> None:
        """Plan selected devices; `user`: the owner of those that are not in `owners`."""
        clients = [one.device.client_id for one in chosen]
        badges = await self._addressing.badges(self._ping, clients, counts=False)
        for part in slices(chosen, LIGHT_SLICE):
            await self._scheduler.turn()
            for device, provider in part:
                if badges is not None:
                    self._plan.set_badge(badges[device.client_id])
                owner = owners.get(device.client_id, user)
                self._plan_device(owner, recipient(device, provider, self._lane_manager))

    async def _add_unreadable(self, user: str, registration: UserDevices) -> None:
        """Add the clients that the registry omits without reading them: missing clients, and clients with dead
        tokens."""
        for client in await self._examination.clients(registration.left_out):
            if not self._is_shown(client.device):
                continue
            provider = platform_of(client.device, self._lane_manager.device_types) or ""
            reason = DANGLING_CLIENT if client.gone else MARKED_DEAD
            self._left_out.append(LeftOutDevice(user, client.device, reason, provider))

    def _shown(self, chosen: list[Chosen], left_out: LeftOut) -> tuple[list[Chosen], LeftOut]:
        """Return both without the devices of apps that the caller may not see."""
        if self._ping.apps is None:
            return chosen, left_out
        return within_apps(chosen, self._ping.apps, {}), [one for one in left_out if self._is_shown(one[0])]

    def _is_shown(self, device: Device) -> bool:
        return self._ping.apps is None or device.app_id in self._ping.apps

    def _plan_device(self, user: str, to: Recipient) -> None:
        """Plan one device as the planner does, and record its delivery or the reason why there is none."""
        plan, batch = self._plan, self._plan.batch
        index = len(batch.states)
        self._planner.plan_device(plan, to, {})
        if index == len(batch.states):
            reason = NOTHING_TO_SEND
        elif index in batch.other_verdicts:
            _, reason = batch.other_verdicts[index]
        else:
            (delivery,) = plan.by_lane.pop(next(iter(plan.by_lane)))
            self._deliveries.append((delivery, user))
            return
        message = plan.message
        detail = message.message if isinstance(message, InputError) and message.label == reason else ""
        self._left_out.append(LeftOutDevice(user, to.device, reason, to.platform, detail))

    async def _rows(self) -> list[dict[str, Any]]:
        """The recipients.

        Raises:
            BodyTooLarge: their payloads are too long together.
        """
        rows: list[dict[str, Any]] = []
        deliveries, self._deliveries = self._deliveries, []
        size = 0
        for part in slices(deliveries, LIGHT_SLICE):
            await self._scheduler.turn()
            for delivery, user in part:
                try:
                    body = _body(delivery)
                except InputError as error:
                    provider = delivery.route.lane.provider.name
                    self._left_out.append(
                        LeftOutDevice(user, delivery.device, error.label, provider, error.message)
                    )
                    continue
                size += len(body)
                if size > PAYLOADS_BYTES_MAX:
                    raise _too_long()
                rows.append(recipient_row(delivery, user, body))
                self._deliveries.append((delivery, user))
        return rows

    async def _left_out_rows(self) -> list[dict[str, Any]]:
        dead = [one.device.client_id for one in self._left_out if one.reason == MARKED_DEAD]
        marks = {one.device.client_id: one.mark for one in await self._examination.clients(dead)}
        return [left_out_row(one, marks.get(one.device.client_id)) for one in self._left_out]

    async def _validate(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add a verdict of its provider to each row.

        Raises:
            BodyTooLarge: more messages than may be validated.
        """
        by_lane: dict[Http2Lane, list[tuple[dict[str, Any], ValidationRequest]]] = defaultdict(list)
        for row, (delivery, _) in zip(rows, self._deliveries, strict=True):
            lane = delivery.route.lane
            body = lane.provider.validation_body(_body(delivery))
            if body is None or not isinstance(lane, Http2Lane):
                row["validation"] = no_validation(lane.provider.name)
            else:
                request = ValidationRequest(delivery.path, delivery.message.headers, body)
                by_lane[lane].append((row, request))
        if sum(map(len, by_lane.values())) > VALIDATIONS_MAX:
            raise BodyTooLarge(
                f"validate may ask about at most {VALIDATIONS_MAX} devices: name fewer users",
                field="validate",
            )
        for lane, requests in by_lane.items():
            verdicts = await validate(lane, [request for _, request in requests])
            for (row, _), verdict in zip(requests, verdicts, strict=True):
                row["validation"] = verdict_row(verdict)


def _by_key(chosen: Sequence[Chosen]) -> dict[str, str]:
    """The clients of selected devices, by each key under which another registration or a raw token may repeat them."""
    return {key(one.device): one.device.client_id for one in chosen for key in (dedupe_key, token_key)}


def _too_long() -> BodyTooLarge:
    return BodyTooLarge(
        f"the payloads of all devices have more than {PAYLOADS_BYTES_MAX} bytes: name fewer users of user_id",
        field="user_id",
    )


def _body(delivery: Delivery) -> bytes:
    return delivery.message.body(delivery.device.pin, delivery.device.phone_id)


def _never(_: DeliveryBatch) -> None:
    """Never called: the planning of an explained ping does not end (`DeliveryBatch.finish_planning`), so its batch is
    not completed."""
