"""Devices of the registry, and the selection of a user's devices for a ping.

The rules are PingJob's (contract §3), with the differences of contract §10: an empty push type means "not given"; a
device that never synced sorts last instead of failing the ping; an unsupported platform does not use up the phone
id.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from protocols.fcm.registration import installation
from protocols.push_tokens import usual_spelling

FCM: Final = "fcm"
RHOCONNECT_PUSH: Final = "rhoconnect_push"
UNSUPPORTED: Final = ""

DeviceTypes = Mapping[str, str]
"""Device type in lower case (contract §2.1, §3, §10) -> the provider that delivers to it. Each provider declares the
types that it serves. Types without a provider are unsupported: android (C2DM, closed 2015), blackberry, wp8."""

# Reasons for skipping a device, as counted in receipts and metrics.
UNREGISTERED: Final = "unregistered"  # logged out, or never registered for push
REPEATED: Final = "repeated"  # the same phone id and app, token or installation was selected before
UNSUPPORTED_PLATFORM: Final = "unsupported_platform"


def add_skipped(skipped: dict[str, int], reason: str, number: int = 1) -> None:
    """Count omitted users or devices."""
    if number:
        skipped[reason] = skipped.get(reason, 0) + number


class Device(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One registered client of a user (contract §7, keys `client:ID:*`). Missing and empty fields are both "".

    Attributes:
        client_id: usually 32 hex digits.
        device_type: platform ("Apple", "ANDROID"); "" means not registered for push.
        push_type: "apple", "iphone", "fcm", "gcm", "rhoconnect_push" and others; "" means: the platform decides.
        pin: the push token.
        phone_id: id that several clients of one phone share; "" if unknown.
        app_id: `device_app_id`, the app of the device; "" if unknown.
        last_sync_ms: epoch milliseconds of the last sync; 0: never.
        bad_at: hosts and topics at which the provider refuses this token (see `refused_at`), separated by blanks;
            "": none.
    """

    client_id: str
    device_type: str = ""
    push_type: str = ""
    pin: str = ""
    phone_id: str = ""
    app_id: str = ""
    last_sync_ms: int = 0
    bad_at: str = ""

    def __repr__(self) -> str:
        """A text that identifies the device without its complete token."""
        return f"Device({self.client_id!r}, {self.push_type or self.device_type!r}, pin={mask(self.pin)!r})"


ELSEWHERE: Final = "~"
"""Prefix of a host key in `Device.bad_at`: the provider's other environment has accepted this token."""


def refused_at(device: Device, host_key: str) -> bool:
    """Whether the provider reported this device's token as bad at a host and topic, and the mark is still valid."""
    return host_key in device.bad_at.split(" ")


def accepted_elsewhere(device: Device, host_key: str) -> bool:
    """Whether the token was bad at a host and topic, and was accepted at the provider's other environment."""
    return device.bad_at == ELSEWHERE + host_key


def mask(pin: str) -> str:
    """Shorten a push token for logs and reports: its first four characters at most, and its length."""
    return f"{pin[: min(4, len(pin) // 4)]}…({len(pin)})" if pin else ""


class Chosen(NamedTuple):
    """A selected device, and its provider.

    Attributes:
        device: the device.
        platform: the provider's name.
    """

    device: Device
    platform: str


class Selection(NamedTuple):
    """Result of `select` for one user.

    Attributes:
        chosen: selected devices, newest last sync first.
        skipped: reason -> number of devices; only reasons that occurred.
    """

    chosen: list[Chosen]
    skipped: dict[str, int]


LeftOut = list[tuple[Device, str]]
"""Devices that a ping does not go to, each with its reason."""


def platform_of(device: Device, device_types: DeviceTypes) -> str | None:
    """Return the provider that delivers to a device.

    Returns:
        The provider's name; "" if no provider does; None if the device is not registered for push (without a device
        type, a push type has no effect, contract §3).
    """
    if not device.device_type:
        return None
    name = device.push_type or device.device_type
    platform = device_types.get(name)
    return device_types.get(name.lower(), UNSUPPORTED) if platform is None else platform


# Equivalent to `Chosen(...)`, without the Python call of a named tuple's constructor.
_tuple: Final = tuple.__new__
_last_sync = attrgetter("last_sync_ms")


def select(devices: Iterable[Device], seen: set[str], device_types: DeviceTypes) -> Selection:
    """Select the devices of one user, by PingJob's rules (contract §3, §10).

    Args:
        devices: all clients of the user, in any order. The caller omits those with dead tokens.
        seen: the keys selected before by the same ping; shared by all users of a ping, and extended here. Phone ids
            and tokens are distinct keys: of two devices with one token, one of which has a phone id, both are
            selected.
        device_types: device type -> the provider that serves it.
    """
    selection = Selection([], {})
    select_into(selection, tuple(devices), seen, device_types)
    return selection


def select_into(
    selection: Selection,
    devices: Sequence[Device],
    seen: set[str],
    device_types: DeviceTypes,
    left_out: LeftOut | None = None,
) -> None:
    """Run `select` for one of many users, and add the result to the devices selected before.

    Args:
        selection: the result is added here.
        devices: as in `select`.
        seen: as in `select`.
        device_types: as in `select`.
        left_out: each device that is not selected is added here with its reason; None: only their number matters.
    """
    chosen, skipped = selection
    for device in devices if len(devices) < 2 else sorted(devices, key=_last_sync, reverse=True):
        reason = _choose(device, seen, chosen, device_types)
        if reason:
            skipped[reason] = skipped.get(reason, 0) + 1
            if left_out is not None:
                left_out.append((device, reason))


def fit(device: Device, device_types: DeviceTypes) -> tuple[str, str]:
    """Return the provider of a device, and the reason for skipping it: one of the two is empty."""
    platform = platform_of(device, device_types)
    # A device without a token cannot be reached, with or without a phone id; RhoConnect used an empty address.
    if platform is None or not device.pin:
        return "", UNREGISTERED
    return platform, UNSUPPORTED_PLATFORM if platform == UNSUPPORTED else ""


def dedupe_key(device: Device) -> str:
    """The key by which a ping reaches a device once: a phone id (with the app), or, if that is unknown, a token.

    A key that begins with NUL contains a token; any other key begins with a phone id. For an FCM token it contains
    the installation to which the token belongs, which may be registered by its own id, too.
    """
    return f"{device.phone_id}\0{device.app_id}" if device.phone_id else "\0" + installation(device.pin)


def token_key(device: Device) -> str:
    """The key of a device by its token, also if it has a phone id: the `dedupe_key` of a device without one, whose
    token has its usual spelling."""
    return "\0" + installation(usual_spelling(device.pin))


def _choose(device: Device, seen: set[str], chosen: list[Chosen], device_types: DeviceTypes) -> str:
    """Select the device, or return the reason for skipping it."""
    platform, reason = fit(device, device_types)
    if reason:
        return reason
    key = dedupe_key(device)
    if key in seen:
        return REPEATED
    seen.add(key)
    chosen.append(_tuple(Chosen, (device, platform)))
    return ""
