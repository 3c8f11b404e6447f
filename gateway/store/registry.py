"""Who has which devices: RhoConnect's keys, read in bulk, with a cache that Redis itself keeps true.

A look-up of many users is one round trip (`_look_up`). What was read is kept until Redis says that one of its
keys changed (client tracking, broadcast mode: see `tracking`), and for `cache.LIFE_S` at most.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import structlog

from gateway.store import keys
from gateway.store.cache import Cache
from gateway.store.link import Link, Reply, ReplyFault
from gateway.store.registration import (
    FIELDS,
    ODD_BYTES,
    WIDTH,
    Registration,
    device,
    nobody,
    registration,
    token_digest,
)
from gateway.turns import Turns, slices
from protocols.devices import Device

_log = structlog.get_logger("registry")


class Registry:
    """Reads users' devices.

    Args:
        link: connection to the Redis that holds RhoConnect's users.
        cache: what is remembered between two look-ups; a new one unless given.
        turns: paces the reading of many; of its own unless given.
    """

    def __init__(self, link: Link, cache: Cache | None = None, turns: Turns | None = None) -> None:
        self._link = link
        self._turns = Turns() if turns is None else turns
        self.cache = Cache() if cache is None else cache

    async def devices_of(self, users: Sequence[str]) -> list[Registration]:
        """The registrations of these users, in their order.

        Raises:
            StoreDown: Redis did not answer.
        """
        found = self.cache.find(users)
        missing = list(dict.fromkeys(_without(users, found)))
        if not missing:
            return [known for known in found if known is not None]
        read = dict(zip(missing, await self._read(missing), strict=True))
        if self.cache.trusted:
            for user, one in read.items():
                if all(map(_tracked, one.clients())):
                    self.cache.keep(user, one)
        return [read[user] if known is None else known for user, known in zip(users, found, strict=True)]

    async def devices_of_many(self, users: Sequence[str]) -> list[Registration]:
        """The same for a part of a broadcast: read anew, and not kept, since each user comes only once.

        Raises:
            StoreDown: Redis did not answer.
        """
        asked: list[asyncio.Future[list[Reply]]] = []
        for part in slices(users):
            await self._turns.turn()
            asked.append(self._ask(part))  # hundreds at once would hold Redis up for everybody
        found: list[Registration] = []
        for part, answer in zip(slices(users), asked, strict=True):
            replies = await answer
            await self._turns.turn()
            found += _registrations(part, replies)
        return found

    async def devices(self, client_ids: Sequence[str]) -> list[Device | None]:
        """These clients as they are now, whoever's they are; None: gone, or its token is dead.

        Raises:
            StoreDown: Redis did not answer.
        """
        if not client_ids:
            return []
        values = await self._link.call("MGET", *_field_names(client_ids))
        found = (device(client_id, values, place * WIDTH) for place, client_id in enumerate(client_ids))
        return [one if isinstance(one, Device) else None for one in found]

    async def mark_dead(self, phone: Device, reason: str, since_ms: int | None, now_ms: int) -> bool:
        """Skip this device from now on, as long as its token stays the same.

        Args:
            since_ms: since when the provider knows the token as dead. Where it says so, a registration or a
                sync after that instant proves the token alive, and nothing is marked (providers.md A7,
                timestamp rule).

        Raises:
            StoreDown: Redis did not answer.
        """
        if since_ms is not None:
            registered = await self._link.call("GET", keys.registered(phone.client_id))
            if max(int(registered or 0), phone.last_sync_ms) >= since_ms:
                return False
        mark = f"{token_digest(phone.pin)}:{now_ms}:{reason}"
        await self._link.call("SET", keys.dead(phone.client_id), mark, "EX", keys.DEAD_S)
        return True

    def forget(self, changed: Iterable[bytes] | None) -> None:
        """Believe nothing that these keys belong to; None: nothing at all (FLUSHDB, or a lost connection)."""
        if changed is None:
            self.cache.clear()
        else:
            self.cache.change(_owner(name.decode("utf-8", ODD_BYTES)) for name in changed)

    def changed_within(self, age_s: float, clients: Iterable[str]) -> bool:
        """Whether one of these clients may have changed in so many seconds: a change was heard of, or none could be."""
        return not self.cache.trusted or self.cache.changed_since(time.monotonic() - age_s, clients)

    async def _read(self, users: Sequence[str]) -> list[Registration]:
        sent_s = time.monotonic()
        found = _registrations(users, await self._ask(users))
        for one in found:
            one.read_s = sent_s
        return found

    def _ask(self, users: Sequence[str]) -> asyncio.Future[list[Reply]]:
        return self._link.burst([_look_up(user) for user in users])


def _without(users: Sequence[str], found: Sequence[Registration | None]) -> Iterator[str]:
    return (user for user, known in zip(users, found, strict=True) if known is None)


def _owner(name: str) -> str:
    """The user or the client whose key this is."""
    if name.startswith(keys.USER_PREFIX):
        return name[len(keys.USER_PREFIX) :].rpartition(":")[0]
    if name.startswith(keys.CLIENT_PREFIX):
        return name[len(keys.CLIENT_PREFIX) :].rpartition(":")[0]
    return name[len(keys.DEAD_PREFIX) :]


def _registrations(users: Sequence[str], replies: Sequence[Reply]) -> list[Registration]:
    found = []
    for user, values in zip(users, replies, strict=True):
        if isinstance(values, ReplyFault):
            found.append(_unreadable(user, values))
        else:
            found.append(registration(values) if values else nobody())
    return found


def _unreadable(user: str, fault: ReplyFault) -> Registration:
    """A key of another type in RhoConnect's place: this user has no devices; the others must not suffer.

    Raises:
        ReplyFault: loading, busy, out of memory: that says nothing about the user.
    """
    if not fault.message.startswith("WRONGTYPE"):
        raise fault
    _log.error("unreadable_user", user=user, error=fault.message)
    return nobody()


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


_PATTERNS: Final = (b"#", *(keys.client("*", field).encode() for field in FIELDS), keys.dead("*").encode())
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


_FIELD_BYTES: Final = tuple(field.encode() for field in FIELDS)


_HEX: Final = frozenset("0123456789abcdef")


def _tracked(client_id: str) -> bool:
    """Whether invalidations reach this client: `tracking.PREFIXES` cover ids of hex digits alone."""
    return len(client_id) > 1 and client_id[0] in _HEX and client_id[1] in _HEX
