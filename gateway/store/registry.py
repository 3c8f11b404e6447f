"""Who has which devices: RhoConnect's keys, read in bulk, with a cache that Redis itself keeps true.

A look-up of many users is one round trip (`_look_up`). What was read is kept at most `LIFE_S` seconds and
dropped the moment Redis says that one of its keys changed (client tracking, broadcast mode: see `tracking`).
An entry that was being read while such a message came is used once and not kept.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import structlog

from gateway.store import keys
from gateway.store.link import Link, ReplyFault
from protocols.devices import Device, Selection, select

_log = structlog.get_logger("registry")

LIFE_S: Final = 60.0
"""Whatever happens, nothing is believed for longer."""
CACHE_USERS: Final = 40_000
"""Users kept in memory: about 1 KB each, with one device a user."""
_FIELDS: Final = (
    "rho__id",
    "device_type",
    "device_push_type",
    "device_pin",
    "phone_id",
    "device_app_id",
    "last_sync",
)
_WIDTH: Final = len(_FIELDS) + 1
_ODD_BYTES: Final = "replace"
"""What RhoConnect holds should be UTF-8. Bytes that are not are shown as such, and never as half a surrogate pair,
which no later step could write: one such device would stop the pings of all others."""

Devices = tuple[Device, ...]


class Registration:
    """A user's devices that may be pushed to, and what was left out.

    Attributes:
        devices: in no order.
        dangling: client ids in the user's set whose client is gone.
        dead: devices whose token a provider has called dead.
        left_out: client ids of both.
    """

    __slots__ = ("_alone", "dangling", "dead", "devices", "left_out")

    def __init__(
        self, devices: Devices, dangling: int = 0, dead: int = 0, left_out: tuple[str, ...] = ()
    ) -> None:
        self.devices = devices
        self.dangling = dangling
        self.dead = dead
        self.left_out = left_out
        self._alone: Selection | None = None

    @property
    def alone(self) -> Selection:
        """What a ping for this user alone goes to and leaves out; made once, since most pings are such."""
        if self._alone is None:
            chosen, skipped = select(self.devices, set())
            self._alone = Selection(chosen, with_left_out(skipped, self))
        return self._alone

    @classmethod
    def nobody(cls) -> "Registration":
        """An unknown user, or one without clients: RhoConnect says the same of both (contract §3)."""
        made = cls(())
        made._alone = Selection([], {UNKNOWN_USER: 1})
        return made


def with_left_out(skipped: dict[str, int], registration: Registration) -> dict[str, int]:
    """What was skipped of a user's devices, with those that could not even be considered."""
    if registration.dangling:
        skipped[DANGLING] = registration.dangling
    if registration.dead:
        skipped[DEAD] = registration.dead
    return skipped


DANGLING: Final = "dangling_client"
DEAD: Final = "dead_token"
UNKNOWN_USER: Final = "unknown_user"
"""Reason under `skipped`: a login that nobody has, or one without clients."""

NOBODY: Final = Registration.nobody()


def token_digest(pin: str) -> str:
    """What a dead mark remembers of a token; a new token has another digest, so the mark ends by itself."""
    return hashlib.blake2b(pin.encode(), digest_size=8).hexdigest()


class Registry:
    """Reads users' devices.

    Args:
        link: connection to the Redis that holds RhoConnect's users.
        life_s: how long a cached entry is believed at most.
        cached_users: how many users are kept; 0 switches the cache off.
    """

    def __init__(self, link: Link, *, life_s: float = LIFE_S, cached_users: int = CACHE_USERS) -> None:
        self._link = link
        self._life_s = life_s
        self._cached_users = cached_users
        self._fresh: dict[str, tuple[float, Registration]] = {}
        self._old: dict[str, tuple[float, Registration]] = {}
        self._owner: dict[str, str] = {}
        self._reads: set[_Read] = set()
        self.trusted = False
        """Whether invalidations are being heard; without them nothing is kept."""

    async def devices_of(self, users: Sequence[str]) -> list[Registration]:
        """The registrations of these users, in their order.

        Raises:
            StoreDown: Redis did not answer.
        """
        now = time.monotonic()
        found: list[Registration | None] = [self._cached(user, now) for user in users]
        missing = list(dict.fromkeys(user for user, known in zip(users, found, strict=True) if known is None))
        if not missing:
            return [known for known in found if known is not None]
        read = dict(zip(missing, await self._read(missing, keep=True), strict=True))
        return [read[user] if known is None else known for user, known in zip(users, found, strict=True)]

    async def devices_of_many(self, users: Sequence[str]) -> list[Registration]:
        """The same for a part of a broadcast: read anew, and not kept, since each user comes only once.

        Raises:
            StoreDown: Redis did not answer.
        """
        return await self._read(users, keep=False)

    async def devices(self, client_ids: Sequence[str]) -> list[Device | None]:
        """These clients as they are now, whoever's they are; None: gone, or its token is dead.

        Raises:
            StoreDown: Redis did not answer.
        """
        if not client_ids:
            return []
        values = await self._link.call("MGET", *_field_names(client_ids))
        found = (_device(client_id, values, place * _WIDTH) for place, client_id in enumerate(client_ids))
        return [device if isinstance(device, Device) else None for device in found]

    async def mark_dead(self, device: Device, reason: str, since_ms: int | None, now_ms: int) -> bool:
        """Skip this device from now on, as long as its token stays the same.

        Args:
            since_ms: since when the provider knows the token as dead. Where it says so, a registration or a
                sync after that instant proves the token alive, and nothing is marked (providers.md A7,
                timestamp rule).

        Raises:
            StoreDown: Redis did not answer.
        """
        if since_ms is not None:
            registered = await self._link.call("GET", keys.registered(device.client_id))
            if max(int(registered or 0), device.last_sync_ms) >= since_ms:
                return False
        mark = f"{token_digest(device.pin)}:{now_ms}:{reason}"
        await self._link.call("SET", keys.dead(device.client_id), mark, "EX", keys.DEAD_S)
        return True

    # -- the cache -------------------------------------------------------------------------------------------

    def forget(self, changed: Iterable[bytes] | None) -> None:
        """Drop what these keys belong to; None: everything (FLUSHDB, or the connection that tells us was lost)."""
        if changed is None:
            self._fresh.clear()
            self._old.clear()
            self._owner.clear()
            for read in self._reads:
                read.spoiled = True
            return
        for name in changed:
            self._forget_key(name.decode("utf-8", _ODD_BYTES))

    def _forget_key(self, name: str) -> None:
        if name.startswith(keys.USER_PREFIX):
            user = name[len(keys.USER_PREFIX) :].rpartition(":")[0]
            client = ""
        else:
            prefix = keys.CLIENT_PREFIX if name.startswith(keys.CLIENT_PREFIX) else keys.DEAD_PREFIX
            client = name[len(prefix) :]
            if prefix == keys.CLIENT_PREFIX:
                client = client.rpartition(":")[0]
            user = self._owner.get(client, "")
        self._fresh.pop(user, None)
        self._old.pop(user, None)
        for read in self._reads:
            read.changed.add(user)
            read.changed.add(client)

    def _cached(self, user: str, now: float) -> Registration | None:
        """Two generations: what is used moves to the younger one; the older is dropped whole when that one is full."""
        known = self._fresh.get(user)
        if known is None:
            known = self._old.pop(user, None)
            if known is None:
                return None
            self._fresh[user] = known
        if known[0] < now:
            del self._fresh[user]
            return None
        return known[1]

    def _keep(self, user: str, registration: Registration, until: float) -> None:
        if len(self._fresh) >= self._cached_users // 2:
            self._old = self._fresh
            self._fresh = {}
            self._owner = {
                client: owner for owner, known in self._old.items() for client in _clients(known[1])
            }
        self._fresh[user] = (until, registration)
        for client in _clients(registration):
            self._owner[client] = user

    # -- reading ---------------------------------------------------------------------------------------------

    async def _read(self, users: Sequence[str], *, keep: bool) -> list[Registration]:
        read = _Read()
        self._reads.add(read)
        try:
            replies = await self._link.burst([_look_up(user) for user in users])
        finally:
            self._reads.discard(read)
        until = time.monotonic() + self._life_s
        keep = keep and self.trusted and self._cached_users > 0 and not read.spoiled
        registrations = []
        for user, values in zip(users, replies, strict=True):
            if isinstance(values, ReplyFault) and not values.message.startswith("WRONGTYPE"):
                raise values  # loading, busy, out of memory: this says nothing about the user
            registration = NOBODY if not values else _registration(user, values)
            registrations.append(registration)
            if keep and read.unchanged(user, registration):
                self._keep(user, registration, until)
        return registrations


class _Read:
    """What changed while a read was under way."""

    __slots__ = ("changed", "spoiled")

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.spoiled = False

    def unchanged(self, user: str, registration: Registration) -> bool:
        """Whether invalidations reach all of this, and none came."""
        clients = list(_clients(registration))
        if not all(map(_tracked, clients)):
            return False
        return not self.changed or (user not in self.changed and self.changed.isdisjoint(clients))


def _clients(registration: Registration) -> Iterator[str]:
    yield from registration.left_out
    for device in registration.devices:
        yield device.client_id


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


_PATTERNS: Final = (b"#", *(keys.client("*", field).encode() for field in _FIELDS), keys.dead("*").encode())
_LOOK_UP_HEAD: Final = b"*%d\r\n" % (4 + 2 * len(_PATTERNS)) + _bulk(b"SORT")
_LOOK_UP_TAIL: Final = (
    _bulk(b"BY") + _bulk(b"nosort") + b"".join(_bulk(b"GET") + _bulk(one) for one in _PATTERNS)
)


def _look_up(user: str) -> bytes:
    """The command that gives every field of every client of a user: SORT does not sort here, it joins.

    One command and one round trip, and of its bytes only the key differs from user to user. With SMEMBERS and
    MGET a device took two round trips and three times the CPU.
    """
    name = _encoded(keys.user(user, "clients"))
    return b"%b$%d\r\n%b\r\n%b" % (_LOOK_UP_HEAD, len(name), name, _LOOK_UP_TAIL)


def _encoded(name: str) -> bytes:
    return name.encode()


def _field_names(client_ids: Iterable[str]) -> list[bytes]:
    names: list[bytes] = []
    for client_id in client_ids:
        start = _encoded(keys.client(client_id, ""))
        names += [start + field for field in _FIELD_BYTES]
        names.append(_encoded(keys.dead(client_id)))
    return names


_FIELD_BYTES: Final = tuple(field.encode() for field in _FIELDS)


_HEX: Final = frozenset("0123456789abcdef")


def _tracked(client_id: str) -> bool:
    """Whether invalidations reach this client: `tracking.PREFIXES` cover ids of hex digits alone."""
    return len(client_id) > 1 and client_id[0] in _HEX and client_id[1] in _HEX


def _registration(user: str, values: Sequence[bytes | None] | ReplyFault) -> Registration:
    """What one look-up found: the fields of each client, its id first."""
    if isinstance(values, ReplyFault):
        # A key of another type in RhoConnect's place: this user has no devices; the others must not suffer.
        _log.error("unreadable_user", user=user, error=values.message)
        return NOBODY
    devices = []
    left_out = []
    dead = 0
    for place in range(0, len(values), _WIDTH + 1):
        client_id = _text(values[place])
        device = _device(client_id, values, place + 1)
        if isinstance(device, Device):
            devices.append(device)
        else:
            left_out.append(client_id)
            dead += device == "dead"
    return Registration(tuple(devices), len(left_out) - dead, dead, tuple(left_out))


def _text(value: bytes | None) -> str:
    return value.decode("utf-8", _ODD_BYTES) if value else ""


def _device(client_id: str, values: Sequence[bytes | None], place: int) -> Device | str:
    """The client whose fields begin at `place`, or why there is none: "gone" or "dead"."""
    exists, device_type, push_type, pin, phone_id, app_id, last_sync, mark = values[place : place + _WIDTH]
    if exists is None:
        return "gone"
    token = str(pin, "utf-8", _ODD_BYTES) if pin else ""
    if mark is not None and mark.partition(b":")[0] == token_digest(token).encode():
        return "dead"
    # In place, since this runs for every device of a broadcast.
    return Device(
        client_id,
        str(device_type, "utf-8", _ODD_BYTES) if device_type else "",
        str(push_type, "utf-8", _ODD_BYTES) if push_type else "",
        token,
        str(phone_id, "utf-8", _ODD_BYTES) if phone_id else "",
        str(app_id, "utf-8", _ODD_BYTES) if app_id else "",
        _synced_ms(last_sync) if last_sync else 0,
    )


def _synced_ms(value: bytes) -> int:
    """`2026-11-24T10:00:00+0000` (contract §7) as epoch ms; 0 where it is no date."""
    try:
        return int(datetime.fromisoformat(value.decode("ascii")).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
