"""The devices of a user in Redis, as one value."""

from collections.abc import Sequence
from typing import Final

from gateway.registry.token_marks import DEAD_ON_ALL_HOSTS, interpret, synced_ms
from protocols.devices import ELSEWHERE, Device, add_skipped, dedupe_key

FIELDS: Final = (
    "rho__id",
    "device_type",
    "device_push_type",
    "device_pin",
    "phone_id",
    "device_app_id",
    "last_sync",
)
SYNC: Final = FIELDS[-1]
WIDTH: Final = len(FIELDS) + 1
"""Number of values of one client: its fields and the mark of its token (`token_marks`)."""
DECODE_ERRORS: Final = "replace"
"""RhoConnect's values should be UTF-8. Invalid bytes are replaced. They must not become half of a surrogate pair, which
no encoder accepts: one such device would stop the pings of all others."""

# Reasons under `skipped`.
DANGLING_CLIENT: Final = "dangling_client"
MARKED_DEAD: Final = "dead_token"
UNKNOWN_USER: Final = "unknown_user"  # a login that does not exist, or has no clients

LARGE_DEVICES: Final = 64
"""A user with more clients is read in slices, and a ping to them is split like a broadcast."""
_WORDS_MAX: Final = 1_000
_words: dict[bytes, str] = {}


class DerivedValue:
    """Base of a value that a caller of the registry computes from one `UserDevices` and stores in it.

    The value is valid as long as the `UserDevices`: the registry makes another one when the user's devices may have
    changed. The registry itself never reads the value.
    """

    __slots__ = ()


class UserDevices:
    """A user's devices that may receive pushes, and the clients that were omitted.

    Attributes:
        devices: the devices, in no order.
        dangling: number of client ids in the user's set whose client does not exist.
        dead: number of devices whose token a provider has reported as dead.
        left_out: client ids of both.
        by_sync: whether each sync may change this value: of two records of one device, the one that synced last is
            chosen, and a sync ends the mark of a dead or bad token.
        marked: whether the provider has reported a device's token as bad at some host or topic.
        simple: whether there is exactly one device, without omitted clients and marks: the device is chosen unless the
            ping reaches it already.
        unknown: whether the login does not exist, or has no clients: RhoConnect treats both alike (contract §3).
        large: whether the user has more clients than are looked up together; `devices` has some of them (see
            `DeviceRegistry.all_devices`).
        read_s: monotonic time at which the request was sent; 0: the value must not be cached.
        derived: the value that the fan-out computed from these devices (`fanout.recipients.CachedRecipients`); None:
            not yet computed.
    """

    __slots__ = (
        "by_sync",
        "dangling",
        "dead",
        "derived",
        "devices",
        "large",
        "left_out",
        "marked",
        "read_s",
        "simple",
        "unknown",
    )

    def __init__(
        self,
        devices: tuple[Device, ...],
        dangling: int = 0,
        dead: int = 0,
        left_out: tuple[str, ...] = (),
        *,
        unknown: bool = False,
        marked: bool = False,
        large: bool = False,
    ) -> None:
        self.devices = devices
        self.dangling = dangling
        self.dead = dead
        self.left_out = left_out
        self.unknown = unknown
        self.large = large
        self.marked = marked
        self.simple = len(devices) == 1 and not (left_out or marked)
        self.by_sync = (
            marked or dead > 0 or (len(devices) > 1 and len(set(map(dedupe_key, devices))) < len(devices))
        )
        self.read_s = 0.0
        self.derived: DerivedValue | None = None

    @property
    def is_tracked(self) -> bool:
        """Whether every change of these clients is received: `invalidation.PREFIXES` only cover ids of hex digits.

        Only some clients of a large user are loaded, so it is never cached.
        """
        if self.large:
            return False
        for device in self.devices:  # not a generator expression, since this runs for every user that is read
            if device.client_id[:2] not in _TRACKED:
                return False
        return all(client_id[:2] in _TRACKED for client_id in self.left_out) if self.left_out else True

    def depends_on(self, user: str) -> Sequence[str]:
        """The names of changes that invalidate these devices, as `registry` passes them to `DeviceCache`."""
        names = [user, *self.left_out]
        for device in self.devices:
            names.append(device.client_id)
            if self.by_sync:
                names.append(sync_name(device.client_id))
        if self.by_sync:
            names += map(sync_name, self.left_out)
        return names

    def add_left_out(self, skipped: dict[str, int]) -> None:
        """Count the omitted clients by reason."""
        add_skipped(skipped, UNKNOWN_USER, int(self.unknown))
        add_skipped(skipped, DANGLING_CLIENT, self.dangling)
        add_skipped(skipped, MARKED_DEAD, self.dead)


def sync_name(client_id: str) -> str:
    """The name of a sync of this client in the change log; few users' devices depend on it."""
    return client_id + ":" + SYNC


def unknown_user() -> UserDevices:
    """The result for an unknown user."""
    return UserDevices((), unknown=True)


def user_devices(values: Sequence[bytes | None]) -> UserDevices:
    """Build a user's devices from one look-up: for each client its id, then its `WIDTH` values."""
    devices = []
    left_out = []
    dead, marked = 0, False
    for offset in range(0, len(values), WIDTH + 1):
        client_id = _text(values[offset])
        found = device(client_id, values, offset + 1)
        if isinstance(found, Device):
            devices.append(found)
            if values[offset + WIDTH] is not None and found.bad_at and not found.bad_at.startswith(ELSEWHERE):
                marked = True
        else:
            left_out.append(client_id)
            dead += found == DEAD_ON_ALL_HOSTS
    large = len(devices) + len(left_out) > LARGE_DEVICES
    return UserDevices(
        tuple(devices), len(left_out) - dead, dead, tuple(left_out), large=large, marked=marked
    )


def device(client_id: str, values: Sequence[bytes | None], offset: int) -> Device | str:
    """The device whose values begin at `offset`, or the reason why there is none: "gone" or `DEAD_ON_ALL_HOSTS`."""
    exists, device_type, push_type, pin, phone_id, app_id, last_sync, mark = values[offset : offset + WIDTH]
    if exists is None:
        return "gone"
    token = str(pin, "utf-8", DECODE_ERRORS) if pin else ""
    bad_at = ""
    if mark is not None:
        bad_at = interpret(mark, token, last_sync)
        if bad_at == DEAD_ON_ALL_HOSTS:
            return DEAD_ON_ALL_HOSTS
    # Not in a function, since this runs for every device of a broadcast. All devices share a few words.
    return Device(
        client_id,
        (_words.get(device_type) or _word(device_type)) if device_type else "",
        (_words.get(push_type) or _word(push_type)) if push_type else "",
        token,
        str(phone_id, "utf-8", DECODE_ERRORS) if phone_id else "",
        (_words.get(app_id) or _word(app_id)) if app_id else "",
        synced_ms(last_sync),
        bad_at,
    )


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", DECODE_ERRORS) if value else ""


def _word(value: bytes) -> str:
    """Return a text that many devices share; it is in memory once."""
    if len(_words) >= _WORDS_MAX:
        _words.clear()
    return _words.setdefault(value, str(value, "utf-8", DECODE_ERRORS))


_TRACKED: Final = frozenset(f"{byte:02x}" for byte in range(256))
"""The first two characters of client ids whose changes Redis reports."""
