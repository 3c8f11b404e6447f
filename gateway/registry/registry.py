"""Registry of users and devices: RhoConnect's keys, read in bulk, with a cache that Redis invalidates.

Data is cached in this process until Redis reports a change of one of its keys (client tracking, broadcast mode:
see `invalidation`), for at most `cache.TTL_S`; and in Redis as one value for each user, shared by all processes
(`snapshots`). Only data in neither is read from RhoConnect's own keys, many users in one round trip (`_look_up`).
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

import structlog

from gateway.errors import StoreDown
from gateway.registry import token_marks
from gateway.registry.cache import DeviceCache
from gateway.registry.change_log import ChangeLog
from gateway.registry.snapshots import COUNT_QUESTION, SnapshotStore
from gateway.registry.token_marks import DEAD_ON_ALL_HOSTS
from gateway.registry.user_devices import (
    DECODE_ERRORS,
    FIELDS,
    LARGE_DEVICES,
    SYNC,
    WIDTH,
    UserDevices,
    device,
    sync_name,
    unknown_user,
    user_devices,
)
from gateway.scheduling.scheduler import LIGHT_SLICE, Scheduler, slices
from gateway.store import keys
from gateway.store.connection import RedisConnection, RedisReplyError, RedisReplyRefused, Reply, pack
from protocols.devices import Device
from protocols.numbers import stored

_SCAN_CLIENTS: Final = 500
"""Ids of one SSCAN, during which Redis serves no other client for about 0.1 ms."""
_STEP_VALUES: Final = 500 * (WIDTH + 1)
"""Values of a look-up that are processed in one step of the loop: 500 devices, 1 ms."""
_log = structlog.get_logger("registry")


class AllDevices(NamedTuple):
    """The devices of one user.

    Attributes:
        devices: the devices that may be pushed to, in no order.
        dangling, dead: number of missing clients, and of dead tokens.
        left_out: client ids of both.
    """

    devices: Sequence[Device]
    dangling: int
    dead: int
    left_out: tuple[str, ...] = ()


class DeviceRegistry:
    """Reads users' devices.

    Args:
        connection: connection to the Redis that holds RhoConnect's users.
        cache: cache of this process; a new one by default.
        snapshots: cached devices in Redis; None: not used.
        scheduler: paces reads of many users; a new one by default.
    """

    def __init__(
        self,
        connection: RedisConnection,
        cache: DeviceCache | None = None,
        snapshots: SnapshotStore | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        self._connection = connection
        self._snapshots = SnapshotStore(connection, ChangeLog()) if snapshots is None else snapshots
        self._scheduler = Scheduler() if scheduler is None else scheduler
        self.cache = DeviceCache() if cache is None else cache
        self._prefetched: dict[str, asyncio.Task[None]] = {}

    def prefetch(self, users: Sequence[str]) -> None:
        """Start the look-up of those users that are not cached, since they will be needed shortly."""
        if not self.cache.enabled:
            return  # data that is read now could not be cached until then
        missing = [user for user in _without(users, self.cache.get(users)) if user not in self._prefetched]
        if missing:
            reading = asyncio.ensure_future(self._prefetch(missing))
            self._prefetched.update(dict.fromkeys(missing, reading))
            reading.add_done_callback(lambda _: self._seen(missing))

    async def _prefetch(self, users: Sequence[str]) -> None:
        try:
            await self._read_and_cache(users)
        except StoreDown as error:  # the later caller gets the error
            _log.debug("prefetch_failed", error=error.message)

    def _seen(self, users: Sequence[str]) -> None:
        for user in users:
            del self._prefetched[user]

    async def devices_of(self, users: Sequence[str]) -> list[UserDevices]:
        """The devices of these users, in the order of the users.

        Raises:
            StoreDown: Redis did not answer.
        """
        found = self.cache.get(users)
        missing = list(dict.fromkeys(_without(users, found)))
        if not missing:
            return [known for known in found if known is not None]
        if coming := {self._prefetched[user] for user in self._prefetched.keys() & missing}:
            await asyncio.wait(coming)
            return await self.devices_of(users)
        read = dict(zip(missing, await self._read_and_cache(missing), strict=True))
        return [read[user] if known is None else known for user, known in zip(users, found, strict=True)]

    async def _read_and_cache(self, users: Sequence[str]) -> list[UserDevices]:
        """Read these users, and cache them."""
        read = await self._read(users)
        self.cache.put(users, read)
        return read

    async def devices_of_many(self, users: Sequence[str]) -> list[UserDevices]:
        """The devices of the users of a broadcast chunk, not cached here, since each user comes only once.

        Raises:
            StoreDown: Redis did not answer.
        """
        found: list[UserDevices | None] = []
        if not users:
            return []
        if self._snapshots.usable:
            kept = await self._snapshots.fetch(users)
            parts = zip(slices(users, LIGHT_SLICE), slices(kept, LIGHT_SLICE), strict=True)
            for part, packed in parts:
                await self._scheduler.turn()
                found += self._snapshots.current(part, packed)
        else:
            found = [None] * len(users)
        read = iter(await self._read_in_turns(list(_without(users, found))))
        return [next(read) if known is None else known for known in found]

    async def _read_in_turns(self, users: Sequence[str]) -> list[UserDevices]:
        pending: list[asyncio.Future[list[Reply]]] = []
        for part in slices(users):
            await self._scheduler.turn()
            pending.append(self._ask(part))  # hundreds in one call would block Redis for other clients
        found: list[UserDevices] = []
        for part, replies in zip(slices(users), await asyncio.gather(*pending), strict=True):
            await self._scheduler.turn()
            found += await self._answered(part, replies)
        return found

    async def devices(
        self, client_ids: Sequence[str], accepted_ms: Sequence[int] = ()
    ) -> list[Device | None]:
        """The present records of these clients; None: the client is missing, has a dead token or has changed its owner.

        Args:
            accepted_ms: for each client, the epoch ms at which its ping was accepted. A client that changed its owner
                after that is another person's device, and must not get the ping. Empty: not checked.

        Raises:
            StoreDown: Redis did not answer.
        """
        found = await self.clients(client_ids, accepted_ms)
        return [one if isinstance(one, Device) else None for one in found]

    async def clients(self, client_ids: Sequence[str], accepted_ms: Sequence[int] = ()) -> list[Device | str]:
        """The present records of these clients, or why one has none: "gone", or `DEAD_ON_ALL_HOSTS`.

        Arguments and errors are those of `devices`.
        """
        found: list[Device | str] = []
        for part in slices(client_ids, LIGHT_SLICE):
            if found:  # after the first part: small retries do not wait for a turn
                await self._scheduler.turn()
            accepted = accepted_ms[len(found) : len(found) + len(part)]
            found += await self._clients(part, accepted)
        return found

    async def client_values(self, client_ids: Sequence[str], field: str) -> list[str]:
        """The present value of a field of each client, past every cache; "": it has none. Raises StoreDown."""
        found: list[str] = []
        for part in slices(client_ids, LIGHT_SLICE):
            values = await self._connection.call("MGET", *(keys.client(client, field) for client in part))
            found += [value.decode("utf-8", DECODE_ERRORS) if value else "" for value in values]
        return found

    async def _clients(
        self, client_ids: Sequence[str], accepted_ms: Sequence[int] = ()
    ) -> list[Device | str]:
        """Each client, or the reason why there is none (see `user_devices.device`); a client that changed its owner is
        missing."""
        fields = len(client_ids) * WIDTH
        names = field_names(client_ids)
        if accepted_ms:
            names += [_encoded(keys.owned_since(client_id)) for client_id in client_ids]
        values = await self._connection.call("MGET", *names)
        found: list[Device | str] = []
        for index, client_id in enumerate(client_ids):
            moved = bool(accepted_ms) and _epoch_ms(values[fields + index]) >= accepted_ms[index]
            found.append("gone" if moved else device(client_id, values, index * WIDTH))
        return found

    async def all_devices(self, user: str) -> AllDevices:
        """All devices of one user, read in slices between which small pings are served.

        They are not cached: the data of a user with many devices would fill the cache and Redis.

        Raises:
            StoreDown: Redis did not answer.
        """
        client_ids: dict[str, None] = {}  # SSCAN may return one twice
        cursor: bytes | int = 0
        while True:
            await self._scheduler.turn()
            cursor, part = await self._connection.call(
                "SSCAN", keys.user(user, "clients"), cursor, "COUNT", _SCAN_CLIENTS
            )
            client_ids.update(dict.fromkeys(one.decode("utf-8", DECODE_ERRORS) for one in part))
            if int(cursor) == 0:
                break
        devices: list[Device] = []
        left_out: list[str] = []
        dead = 0
        for ids in slices(tuple(client_ids), LIGHT_SLICE):
            await self._scheduler.turn()
            for client_id, one in zip(ids, await self._clients(ids), strict=True):
                if isinstance(one, Device):
                    devices.append(one)
                else:
                    left_out.append(client_id)
                    dead += one == DEAD_ON_ALL_HOSTS
        return AllDevices(devices, len(left_out) - dead, dead, tuple(left_out))

    async def examine(self, users: Sequence[str]) -> list[UserDevices]:
        """The registrations of these users as `devices_of` gives them, without a write to Redis or to the cache.

        Raises:
            StoreDown: Redis did not answer.
        """
        found = self.cache.get(users)
        missing = list(_without(users, found))
        read = iter(await self._read(missing, keep=False) if missing else ())
        return [next(read) if known is None else known for known in found]

    async def mark_dead(
        self, device: Device, reason: str, since_ms: int | None, now_ms: int, host_keys: tuple[str, ...] = ()
    ) -> bool:
        """Mark this device's token as dead, which holds as long as the token stays the same and the device does
        not sync.

        Args:
            device: the device.
            reason: the provider's name of the reason.
            since_ms: time since which the provider reports the token as dead. If the provider sends it, a
                registration or a sync after that time proves the token alive, and no mark is made (providers A7,
                timestamp rule). A proof with a time in the future comes from a wrong clock and is ignored.
            now_ms: epoch ms of the mark.
            host_keys: those for which alone the token is bad, for `keys.BAD_TOKEN_S`; empty: it is dead everywhere.

        Returns:
            False: no mark was made, since the token is alive.

        Raises:
            StoreDown: Redis did not answer.
        """
        client_id = device.client_id
        last_sync = keys.client(client_id, SYNC)
        if since_ms is not None:
            latest_ms = now_ms + keys.CLOCK_DRIFT_MS
            # Read again: of the cached values, only the time of the last sync can be outdated.
            proofs = await self._connection.call("MGET", keys.registered(client_id), last_sync)
            alive_ms = (stored(proofs[0]), token_marks.synced_ms(proofs[1]))
            if max((at_ms for at_ms in alive_ms if at_ms <= latest_ms), default=0) >= since_ms:
                return False
        before, after = token_marks.around(device.pin, reason, now_ms, host_keys)
        life_s = keys.BAD_TOKEN_S if host_keys else keys.DEAD_S
        # By EVAL and not by its digest: this is rare, and the mark should be in effect for the next ping.
        await self._connection.call(
            "EVAL", token_marks.MARK.text, 2, keys.dead(client_id), last_sync, before, after, life_s
        )
        return True

    async def mark_host(self, device: Device, host_key: str, now_ms: int) -> None:
        """Record that this token is bad for one host key and was accepted at the provider's other environment.

        Raises:
            StoreDown: Redis did not answer.
        """
        mark = token_marks.host(device.pin, now_ms, host_key)
        await self._connection.call("SET", keys.dead(device.client_id), mark, "EX", keys.DEAD_S)

    def invalidate(self, changed: Iterable[str] | None) -> None:
        """Invalidate everything that depends on these keys (see `changes`); None: everything (FLUSHDB, a lost
        connection)."""
        if changed is None:
            self.cache.clear()
        else:
            self.cache.invalidate(changed)

    async def _read(self, users: Sequence[str], *, keep: bool = True) -> list[UserDevices]:
        sent_s = time.monotonic()
        found: list[UserDevices | None] = [None] * len(users)
        if self._snapshots.usable:
            found = self._snapshots.current(users, await self._snapshots.fetch(users))
        missing = list(_without(users, found))
        read = iter(await self._answered(missing, await self._ask(missing), keep=keep) if missing else ())
        together = [next(read) if known is None else known for known in found]
        for one in together:
            one.read_s = sent_s
        return together

    def _ask(self, users: Sequence[str]) -> asyncio.Future[list[Reply]]:
        return self._connection.send_many([COUNT_QUESTION, *map(_look_up, users)])

    async def _answered(
        self, users: Sequence[str], replies: list[Reply], *, keep: bool = True
    ) -> list[UserDevices]:
        count, *values = replies
        try:
            found = await _registrations(users, values)
        except RedisReplyError as fault:
            if not fault.words.startswith("OOM") and not isinstance(fault, RedisReplyRefused):
                raise
            return await _registrations(users, await self._read_without_sort(users))
        if keep and not isinstance(count, RedisReplyError):
            self._snapshots.write(users, found, count)
        return found

    async def _read_without_sort(self, users: Sequence[str]) -> list[Reply]:
        """The result of `_look_up` from a Redis that refuses SORT: a full one, since SORT might store its result,
        or one whose user may not use it (`-@dangerous`), or may not read every key (Redis refuses BY and GET
        then).

        SORT_RO, which a full Redis would not refuse, came with Redis 7.
        """
        most = LARGE_DEVICES + 1
        # SSCAN returns an intset or listpack completely, regardless of COUNT.
        scans = [pack(("SSCAN", keys.user(user, "clients"), 0, "COUNT", most)) for user in users]
        answers = [
            answer if isinstance(answer, RedisReplyError) else await self._first(user, answer, most)
            for user, answer in zip(users, await self._connection.send_many(scans), strict=True)
        ]
        clients = [
            client for answer in answers if not isinstance(answer, RedisReplyError) for client in answer
        ]
        found: list[bytes | None] = []
        for part in slices(clients, LIGHT_SLICE):
            names = field_names(client.decode("utf-8", DECODE_ERRORS) for client in part)
            found += await self._connection.call("MGET", *names)
        values = iter(found)
        return [
            answer
            if isinstance(answer, RedisReplyError)
            else [value for client in answer for value in (client, *islice(values, WIDTH))]
            for answer in answers
        ]

    async def _first(self, user: str, answer: Reply, most: int) -> list[bytes]:
        """The first clients of a user, at most this many, after the first reply of an SSCAN."""
        cursor, part = answer
        found = dict.fromkeys(part)
        while int(cursor) and len(found) < most:
            cursor, part = await self._connection.call(
                "SSCAN", keys.user(user, "clients"), cursor, "COUNT", most
            )
            found.update(dict.fromkeys(part))
        return list(found)[:most]


def _without(users: Sequence[str], found: Sequence[UserDevices | None]) -> Iterator[str]:
    return (user for user, known in zip(users, found, strict=True) if known is None)


class RegistryChanges(NamedTuple):
    """Effects of changed keys on cached devices.

    Attributes:
        names: users and clients that changed.
        syncs: clients that only synced, by `user_devices.sync_name`.
        written: the clients among `names` whose own keys were written, which ends their marks.
    """

    names: set[str]
    syncs: set[str]
    written: set[str]


def changes(changed: Iterable[bytes]) -> RegistryChanges:
    """Map changed keys to changed users and clients: most keys affect no user, or only if a device synced."""
    found = RegistryChanges(set(), set(), set())
    for key in changed:
        name = key.decode("utf-8", DECODE_ERRORS)
        if name.startswith(keys.DEAD_PREFIX):
            found.names.add(name[len(keys.DEAD_PREFIX) :])
            continue
        owner, _, field = name[name.index(":") + 1 :].rpartition(":")
        if name.startswith(keys.USER_PREFIX):
            if field == "clients":
                found.names.add(owner)
        elif field == SYNC:
            found.syncs.add(sync_name(owner))
        elif field in FIELDS:
            found.names.add(owner)
            found.written.add(owner)
    return found


async def _registrations(users: Sequence[str], replies: Sequence[Reply]) -> list[UserDevices]:
    found = []
    read = 0
    for user, values in zip(users, replies, strict=True):
        if isinstance(values, RedisReplyError):
            found.append(_unreadable(user, values))
        else:
            read += len(values)
            found.append(user_devices(values) if values else unknown_user())
        if read > _STEP_VALUES:
            read = 0
            await asyncio.sleep(0)
    return found


def _unreadable(user: str, fault: RedisReplyError) -> UserDevices:
    """The result for a user with a key of another type in RhoConnect's layout: no devices; other users are not
    affected.

    Raises:
        RedisReplyError: a temporary error (loading, busy, out of memory), which does not depend on the user.
    """
    if not fault.words.startswith("WRONGTYPE"):
        raise fault
    _log.error("user_unreadable", user=user, error=fault.message)
    return unknown_user()


def _bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


_PATTERNS: Final = (b"#", *(keys.client("*", field).encode() for field in FIELDS), keys.dead("*").encode())
_LOOK_UP_HEAD: Final = b"*%d\r\n" % (7 + 2 * len(_PATTERNS)) + _bulk(b"SORT")
_LIMIT: Final = (b"LIMIT", b"0", b"%d" % (LARGE_DEVICES + 1))
"""One more than are looked up together: then the user has more."""
_LOOK_UP_TAIL: Final = b"".join(
    [*map(_bulk, (b"BY", b"nosort", *_LIMIT)), *(_bulk(b"GET") + _bulk(one) for one in _PATTERNS)]
)


def _look_up(user: str) -> bytes:
    """The command that returns every field of a user's clients: SORT is used as a join, without sorting.

    One command and one round trip, and of its bytes only the key differs from user to user. With SMEMBERS and MGET
    a device took two round trips and three times the CPU.
    """
    name = _encoded(keys.user(user, "clients"))
    return b"%b$%d\r\n%b\r\n%b" % (_LOOK_UP_HEAD, len(name), name, _LOOK_UP_TAIL)


def _epoch_ms(value: bytes | None) -> int:
    """A time that the gateway wrote, in epoch ms; -1 if there is none, or the value is not a number of its length."""
    return int(value) if value is not None and value.isdigit() and len(value) <= _EPOCH_DIGITS else -1


def _encoded(name: str) -> bytes:
    return name.encode()


def field_names(client_ids: Iterable[str]) -> list[bytes]:
    """The keys of all values of these clients, in the order of `user_devices.WIDTH`."""
    names: list[bytes] = []
    for client_id in client_ids:
        start = _encoded(keys.client(client_id, ""))
        names += [start + field for field in _FIELD_BYTES]
        names.append(_encoded(keys.dead(client_id)))
    return names


_EPOCH_DIGITS: Final = 15
_FIELD_BYTES: Final = tuple(field.encode() for field in FIELDS)
