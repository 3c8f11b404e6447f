"""The users and devices that a ping leaves out by `to.apps`, `to.providers` and `to.except_users`. No I/O."""

from collections.abc import Sequence
from typing import Final

from gateway.registry.user_devices import UserDevices
from protocols.devices import Device, DeviceTypes, LeftOut, add_skipped, platform_of
from protocols.ping.model import Ping

APP_EXCLUDED: Final = "app_excluded"
"""Reason under `skipped`: the device's app is not in `to.apps`."""
PROVIDER_EXCLUDED: Final = "provider_excluded"
"""Reason under `skipped`: the device's provider is not in `to.providers`."""
USER_EXCLUDED: Final = "user_excluded"
"""Reason under `skipped`: the user is in `to.except_users`. A user counts once, and so does each device of
`to.devices`."""


class Narrowing:
    """Decides about the users and devices of one ping.

    Args:
        ping: a ping with `to`.
        device_types: the provider that serves each device type.

    Attributes:
        users: logins that the ping does not reach.
    """

    __slots__ = ("_apps", "_device_types", "_providers", "users")

    def __init__(self, ping: Ping, device_types: DeviceTypes) -> None:
        to = ping.to
        self.users = frozenset() if to is None else frozenset(to.except_users)
        self._apps = frozenset() if to is None else frozenset(to.apps)
        self._providers = frozenset() if to is None else frozenset(to.providers)
        self._device_types = device_types

    def reason(self, device: Device) -> str:
        """The reason why a device is left out; "": it is not. A device that is not registered has no provider."""
        if self._apps and device.app_id not in self._apps:
            return APP_EXCLUDED
        if self._providers:
            provider = platform_of(device, self._device_types)
            if provider and provider not in self._providers:
                return PROVIDER_EXCLUDED
        return ""

    def of_user(
        self, user: str, registration: UserDevices, skipped: dict[str, int], left_out: LeftOut | None = None
    ) -> UserDevices:
        """The registration without the devices that the ping leaves out.

        They are removed before the selection, so that none of them is selected in place of another registration of
        the same device.

        Args:
            user: the login.
            registration: the user's devices.
            skipped: numbers by reason; extended here.
            left_out: each omitted device is added with its reason; None: only the numbers matter.
        """
        if user in self.users:
            add_skipped(skipped, USER_EXCLUDED)
            if left_out is not None:
                left_out += [(device, USER_EXCLUDED) for device in registration.devices]
            return UserDevices(())
        kept = self.of_devices(registration.devices, skipped, left_out)
        if len(kept) == len(registration.devices):
            return registration
        return UserDevices(
            tuple(kept),
            registration.dangling,
            registration.dead,
            registration.left_out,
            marked=registration.marked,
            large=registration.large,
        )

    def of_devices(
        self, devices: Sequence[Device], skipped: dict[str, int], left_out: LeftOut | None = None
    ) -> list[Device]:
        """The devices without those that the ping leaves out; arguments as of `of_user`."""
        kept = []
        for device in devices:
            reason = self.reason(device)
            if not reason:
                kept.append(device)
                continue
            add_skipped(skipped, reason)
            if left_out is not None:
                left_out.append((device, reason))
        return kept


def narrowing_of(ping: Ping, device_types: DeviceTypes) -> Narrowing | None:
    """The narrowing of a ping; None: it leaves nobody out."""
    to = ping.to
    if to is None or not (to.apps or to.providers or to.except_users):
        return None
    return Narrowing(ping, device_types)
