"""Selection of a ping's recipient devices and of the route to each.

The parts that do not depend on the ping are computed once for each device and cached with the user's devices,
since most users get their next ping before the cache entry expires.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol, TypeVar

import structlog

from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.route import Route
from gateway.errors import BAD_DATA, AppNotAllowed
from gateway.registry.user_devices import MARKED_DEAD, DerivedValue, UserDevices
from protocols.devices import (
    REPEATED,
    Chosen,
    Device,
    LeftOut,
    Selection,
    add_skipped,
    dedupe_key,
    fit,
    select_into,
)
from protocols.errors import RhoPushError
from protocols.numbers import hexadecimal
from protocols.ping.addressees import DIGEST_PREFIX

_log = structlog.get_logger("recipients")

APP_NOT_ALLOWED: Final = AppNotAllowed.label
"""Reason under `skipped`: the ping is limited to apps, and the device belongs to another (`Ping.apps`)."""
INTERNAL_ERROR: Final = RhoPushError.label
"""Reason of a delivery that an internal error stopped."""
INTERNAL_ERRORS: Final = (OSError, *BAD_DATA)
"""Errors that a ping, a device or a setting may cause; they must not stop the pings that were read together with
it."""


class HasDevice(Protocol):
    """A selected device with what was chosen for it: `Chosen` or `Recipient`."""

    @property
    def device(self) -> Device:
        """The device."""


Selected = TypeVar("Selected", bound=HasDevice)


class Recipient:
    """One recipient device, with all that its deliveries need.

    Attributes:
        device: the device.
        platform: the provider that delivers.
        route: the route to the provider, or the reason why there is none.
        number: 48 bits of its client id, for the ids of its requests (see `BatchPlan.request_id`).
        path: path of its requests; b"" before the first. It is the same for every ping, since it depends on token
            and app.
    """

    __slots__ = ("device", "number", "path", "platform", "route")

    def __init__(self, device: Device, platform: str, route: Route | str) -> None:
        self.device = device
        self.platform = platform
        self.route = route
        self.number = _number(device.client_id)
        self.path = b""


_NOTHING: Final[dict[str, int]] = {}
"""Shared by all users without omitted devices, which are most."""


class CachedRecipients(DerivedValue):
    """The recipients of a ping for one user alone.

    Attributes:
        routes_version: the lane manager's version at the time of selection; the recipients are valid until it
            changes.
        recipients: the devices.
        skipped: the number of omitted devices by reason; must not be changed.
    """

    __slots__ = ("recipients", "routes_version", "skipped")

    def __init__(
        self, routes_version: object, recipients: Sequence[Recipient], skipped: dict[str, int]
    ) -> None:
        self.routes_version = routes_version
        self.recipients = recipients
        self.skipped = skipped


def recipients(
    registrations: Sequence[UserDevices], lane_manager: LaneManager
) -> tuple[Sequence[Recipient], dict[str, int]]:
    """The recipient devices of a ping's users, and the number of omitted devices by reason. The caller may change
    the dict."""
    if len(registrations) != 1:
        return _choose(registrations, lane_manager)
    cached = _cached(registrations[0], lane_manager)
    return cached.recipients, cached.skipped.copy() if cached.skipped else {}


def _cached(registration: UserDevices, lane_manager: LaneManager) -> CachedRecipients:
    """The recipients of a ping for one user alone, selected again if a route may have changed."""
    derived = registration.derived
    if isinstance(derived, CachedRecipients) and derived.routes_version is lane_manager.routes_version:
        return derived
    chosen = CachedRecipients(lane_manager.routes_version, *_choose_alone(registration, lane_manager))
    registration.derived = chosen
    return chosen


def recipient(device: Device, platform: str, lane_manager: LaneManager) -> Recipient:
    """Make the recipient for a device, with its route."""
    try:
        route = lane_manager.route(platform, device.app_id, device.pin)
    except INTERNAL_ERRORS:
        _log.exception("route_failed", provider=platform, app=device.app_id)
        route = INTERNAL_ERROR
    if device.bad_at and isinstance(route, Route):
        route = route.of(device) or MARKED_DEAD
    return Recipient(device, platform, route)


def choose(
    registrations: Sequence[UserDevices],
    lane_manager: LaneManager,
    seen: set[str],
    skipped: dict[str, int],
    left_out: LeftOut | None = None,
) -> list[Chosen]:
    """Select the devices of a ping's users by PingJob's rules (contract §3).

    Args:
        registrations: the devices of these users; the ping may have further users.
        lane_manager: the lanes to which the devices' pings would go; a token that is rejected there counts as
            missing.
        seen: keys of the devices that the ping already reaches; extended here (see `select`).
        skipped: number of omitted devices by reason; extended here.
        left_out: each omitted device is added here with its reason; None: only the numbers are needed.
    """
    selection = Selection([], skipped)
    for registration in registrations:
        devices = registration.devices
        if registration.marked:
            devices = tuple(device for device in devices if not is_bad(device, lane_manager))
            if len(devices) < len(registration.devices):
                add_skipped(skipped, MARKED_DEAD, len(registration.devices) - len(devices))
                if left_out is not None:
                    left_out += [
                        (one, MARKED_DEAD) for one in registration.devices if is_bad(one, lane_manager)
                    ]
        select_into(selection, devices, seen, lane_manager.device_types, left_out)
        if registration.left_out or registration.unknown:
            registration.add_left_out(skipped)
    return selection.chosen


def _choose(
    registrations: Sequence[UserDevices], lane_manager: LaneManager
) -> tuple[Sequence[Recipient], dict[str, int]]:
    """Select the recipients of a ping for several users, without duplicates."""
    chosen: list[Recipient] = []
    seen: set[str] = set()
    skipped: dict[str, int] = {}
    for registration in registrations:
        if registration.simple:
            _add_simple(_cached(registration, lane_manager), chosen, seen, skipped)
        else:
            found = choose((registration,), lane_manager, seen, skipped)
            chosen += [recipient(device, platform, lane_manager) for device, platform in found]
    return chosen, skipped


def _add_simple(
    cached: CachedRecipients, chosen: list[Recipient], seen: set[str], skipped: dict[str, int]
) -> None:
    """Add a user's only device unless the ping already reaches it, or count the reason why it is omitted."""
    for to in cached.recipients:
        key = dedupe_key(to.device)
        if key in seen:
            skipped[REPEATED] = skipped.get(REPEATED, 0) + 1
        else:
            seen.add(key)
            chosen.append(to)
    for reason, count in cached.skipped.items():
        skipped[reason] = skipped.get(reason, 0) + count


def _choose_alone(
    registration: UserDevices, lane_manager: LaneManager
) -> tuple[Sequence[Recipient], dict[str, int]]:
    """Select the recipients of one user. The common case, one device that is not omitted, needs no deduplication."""
    if registration.simple:
        (device,) = registration.devices
        platform, reason = fit(device, lane_manager.device_types)
        return ((), {reason: 1}) if reason else ((recipient(device, platform, lane_manager),), _NOTHING)
    skipped: dict[str, int] = {}
    chosen = choose((registration,), lane_manager, set(), skipped)
    return tuple(
        recipient(device, platform, lane_manager) for device, platform in chosen
    ), skipped or _NOTHING


def within_apps(chosen: Iterable[Selected], apps: Collection[str], skipped: dict[str, int]) -> list[Selected]:
    """Return the selected devices that belong to these apps; the others are counted in `skipped`.

    A ping of a caller that is limited to apps reaches no device of another app.
    """
    found = list(chosen)
    within = [one for one in found if one.device.app_id in apps]
    count_other_apps(len(found) - len(within), skipped)
    return within


def count_other_apps(number: int, skipped: dict[str, int]) -> None:
    """Count omitted devices of other apps than the ping's."""
    add_skipped(skipped, APP_NOT_ALLOWED, number)


def is_bad(device: Device, lane_manager: LaneManager) -> bool:
    """Whether the provider rejects this device's token on every route that the settings of its app name."""
    platform, _ = fit(device, lane_manager.device_types)
    return bool(device.bad_at and platform) and recipient(device, platform, lane_manager).route == MARKED_DEAD


def _number(client_id: str) -> int:
    number = hexadecimal(client_id[:12], 12)
    if number is None and client_id.startswith(DIGEST_PREFIX):
        number = hexadecimal(client_id[-12:], 12)
    return int.from_bytes(client_id.encode("utf-8", "replace")[-6:]) if number is None else number
