"""The recipients of pings with `to`, and the numbers of the badge "+1".

`to.devices` are looked up in the registry by their client ids; `to.tokens` become devices that exist for this ping
alone (`raw_device`). Both count as the devices of one further user of the ping, so that the selection and its
order are those of every ping (`fanout.recipients`).
"""

from collections.abc import Container, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.delivery.lane_manager import LaneManager
from gateway.fanout.narrowing import USER_EXCLUDED, Narrowing, narrowing_of
from gateway.fanout.recipients import Recipient, Selected, choose, recipient, recipients, within_apps
from gateway.queue.badges import BadgeDevice, BadgeStore
from gateway.queue.scheduled_batch import was_cancelled
from gateway.registry.registry import DeviceRegistry
from gateway.registry.token_marks import DEAD_ON_ALL_HOSTS
from gateway.registry.user_devices import MARKED_DEAD, SYNC, UserDevices
from gateway.scheduling.scheduler import LIGHT_SLICE, slices
from protocols.devices import (
    REPEATED,
    Chosen,
    Device,
    DeviceTypes,
    LeftOut,
    add_skipped,
    token_key,
)
from protocols.ping.addressees import DIGEST_PREFIX, RawToken
from protocols.ping.model import Ping
from protocols.push_tokens import APNS, usual_spelling

UNKNOWN_DEVICE: Final = "unknown_device"
"""Reason under `skipped`: no client has this id of `to.devices`, or another user has registered it meanwhile."""
EMPTY_AUDIENCE: Final = "empty_audience"
"""Reason under `skipped`: the ping names nobody, or there are no users at all."""
LISTED: Final = ""
"""Stands for `to.devices` and `to.tokens` among the users of a ping that is split. No login is empty."""
_OWNER: Final = "user_id"


class Listed(NamedTuple):
    """The devices of `to.devices` and `to.tokens`.

    Attributes:
        devices: the devices that may receive the ping.
        owners: client id -> its user; filled only on request.
    """

    devices: list[Device]
    owners: dict[str, str]


class Addressing:
    """Finds the recipients of pings with `to` or with the badge "+1".

    Args:
        badges: the counters.
        registry: the devices.
        lane_manager: the lanes that deliveries go to.
    """

    def __init__(self, badges: BadgeStore, registry: DeviceRegistry, lane_manager: LaneManager) -> None:
        self._badges = badges
        self._registry = registry
        self._lane_manager = lane_manager

    # -- recipients ------------------------------------------------------------------------------------------

    async def recipients(
        self, ping: Ping, known: Sequence[UserDevices]
    ) -> tuple[Sequence[Recipient], dict[str, int]]:
        """The recipient devices of a ping, and the number of omitted users and devices by reason.

        Args:
            ping: a ping that is not split.
            known: the devices of its users.

        Raises:
            StoreDown: Redis did not answer.
        """
        to, lanes = ping.to, self._lane_manager
        if to is None:
            selected, left_out = recipients(known, lanes)
            if not ping.users and not was_cancelled(ping):
                add_skipped(left_out, EMPTY_AUDIENCE)
            return _permitted(ping, selected, left_out), left_out
        skipped: dict[str, int] = {}
        known = self.narrowed(ping, known, skipped)
        if to.listed:
            listed = await self.listed(ping, skipped)
            marked = any(device.bad_at for device in listed.devices)
            known = [*known, UserDevices(tuple(listed.devices), marked=marked)]
        elif not ping.users:
            add_skipped(skipped, EMPTY_AUDIENCE)
        permitted = _permitted(ping, choose(known, lanes, set(), skipped), skipped)
        chosen = once_a_token(permitted, skipped)
        return [recipient(device, provider, lanes) for device, provider in chosen], skipped

    def narrowed(
        self, ping: Ping, known: Sequence[UserDevices], skipped: dict[str, int]
    ) -> Sequence[UserDevices]:
        """The devices of the ping's users without those that it leaves out."""
        narrowing = self.narrowing(ping)
        if narrowing is None:
            return known
        return [narrowing.of_user(user, one, skipped) for user, one in zip(ping.users, known, strict=True)]

    def narrowing(self, ping: Ping) -> Narrowing | None:
        """The narrowing of a ping; None: it leaves nobody out."""
        return narrowing_of(ping, self._lane_manager.device_types)

    async def listed(
        self, ping: Ping, skipped: dict[str, int], left_out: LeftOut | None = None, *, owners: bool = False
    ) -> Listed:
        """The devices of `to.devices` and `to.tokens`, except those that the ping leaves out.

        Args:
            ping: a ping with `to`.
            skipped: numbers by reason; extended here.
            left_out: each omitted device is added with its reason; None: only the numbers matter.
            owners: whether the devices' users are wanted.

        Raises:
            StoreDown: Redis did not answer.
        """
        if ping.to is None:
            return Listed([], {})
        ids = ping.to.devices
        omitted: LeftOut = []
        narrowing = Narrowing(ping, self._lane_manager.device_types)
        found = await self._registry.clients(ids, [ping.accepted_ms] * len(ids))
        users: dict[str, str] = {}
        if ids and (narrowing.users or owners):
            users = dict(zip(ids, await self._registry.client_values(ids, _OWNER), strict=True))
        devices = []
        for client, one in zip(ids, found, strict=True):
            if not isinstance(one, Device):
                reason = MARKED_DEAD if one == DEAD_ON_ALL_HOSTS else UNKNOWN_DEVICE
                omitted.append((Device(client), reason))
            elif users.get(client) in narrowing.users:
                omitted.append((one, USER_EXCLUDED))
            else:
                devices.append(one)
        devices += [raw_device(token, self._lane_manager.device_types) for token in ping.to.tokens]
        for _, reason in omitted:
            add_skipped(skipped, reason)
        if left_out is not None:
            left_out += omitted
        return Listed(narrowing.of_devices(devices, skipped, left_out), users)

    def with_tokens(
        self, ping: Ping, clients: Sequence[str], devices: Sequence[Device | None]
    ) -> list[Device | None]:
        """The devices of these clients with the raw tokens among them, which the registry does not know."""
        if ping.to is None or not ping.to.tokens:
            return list(devices)
        raw = {token.client_id: token for token in ping.to.tokens}
        types = self._lane_manager.device_types
        return [
            raw_device(raw[client], types) if device is None and client in raw else device
            for client, device in zip(clients, devices, strict=True)
        ]

    # -- badges ----------------------------------------------------------------------------------------------

    async def badges(
        self, ping: Ping, clients: Sequence[str], *, counts: bool = True
    ) -> Mapping[str, int] | None:
        """The number that each client's badge gets; None: the ping has no badge that counts up.

        Args:
            ping: the ping with its id.
            clients: client ids.
            counts: whether the ping is counted; otherwise the numbers are those that it would get.

        Raises:
            StoreDown: Redis did not answer.
        """
        if not ping.badge_increment:
            return None
        numbers: dict[str, int] = {}
        for part in slices(clients, LIGHT_SLICE):
            registered = [client for client in part if not client.startswith(DIGEST_PREFIX)]
            syncs = dict(
                zip(registered, await self._registry.client_values(registered, SYNC), strict=True)
                if registered
                else ()
            )
            devices = [BadgeDevice(client, syncs.get(client, "")) for client in part]
            found = await (self._badges.count(ping.id, devices) if counts else self._badges.preview(devices))
            numbers.update(zip(part, found, strict=True))
        return numbers


def raw_device(token: RawToken, device_types: DeviceTypes) -> Device:
    """The device of a raw token. Its type is one that the provider serves; an unknown provider serves none.

    An APNs token gets its usual spelling: earlier versions stored the spelling of the caller.
    """
    pin = usual_spelling(token.token) if token.provider == APNS else token.token
    served = min((kind for kind, provider in device_types.items() if provider == token.provider), default="")
    return Device(token.client_id, served or token.provider, served or token.provider, pin, "", token.app)


def once_a_token(
    chosen: Sequence[Chosen],
    skipped: dict[str, int],
    reached: Container[str] = frozenset(),
    left_out: LeftOut | None = None,
) -> Sequence[Chosen]:
    """The selected devices without the raw tokens of registered devices that the ping reaches.

    The selection compares a registered device that has a phone id by that, and not by its token.

    Args:
        chosen: the selected devices.
        skipped: numbers by reason; extended here.
        reached: token keys of devices that the ping reaches in addition to `chosen`.
        left_out: each omitted token is added with its reason; None: only the numbers matter.
    """
    if not any(is_raw(one.device) for one in chosen):
        return chosen
    own = {token_key(one.device) for one in chosen if not is_raw(one.device)}
    kept = []
    for one in chosen:
        key = token_key(one.device)
        if is_raw(one.device) and (key in own or key in reached):
            add_skipped(skipped, REPEATED)
            if left_out is not None:
                left_out.append((one.device, REPEATED))
        else:
            kept.append(one)
    return kept


def is_raw(device: Device) -> bool:
    """Whether a device stands for a raw token."""
    return device.client_id.startswith(DIGEST_PREFIX)


def split_users(ping: Ping) -> Sequence[str]:
    """The users of a ping that is split, with `LISTED` if it has lists of its own."""
    return (*ping.users, LISTED) if ping.to is not None and ping.to.listed else ping.users


def _permitted(ping: Ping, chosen: Sequence[Selected], skipped: dict[str, int]) -> Sequence[Selected]:
    """The recipients within the limit to apps of the sender's token."""
    return chosen if ping.apps is None else within_apps(chosen, ping.apps, skipped)
