"""Snapshots: the result of the look-up of one user as one key, stored in Redis beside RhoConnect's ten keys per device.

`rhopush bench fanout` measures the cost of a broadcast's push with snapshots, and of making a snapshot. A snapshot is
used only while the change log has no later change (`change_log`). It can therefore be stale only for the time that an
invalidation takes to arrive, like a cached entry.

Snapshots use memory of RhoConnect's Redis and must not fill it: none is made while more than `MEMORY_SHARE` of its
`maxmemory` is in use. There are also no snapshots of

- users with two records of one device: the newer sync decides between these, so each sync would be a change;
- users with a device whose token is marked as dead or bad: a sync ends the mark;
- users with clients whose changes Redis does not report;
- logins that do not exist.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import structlog

from gateway.registry import change_log_scripts
from gateway.registry.change_log import ChangeLog
from gateway.registry.user_devices import LARGE_DEVICES, UserDevices
from gateway.store import keys
from gateway.store.connection import RedisConnection, Reply, pack
from protocols.devices import Device
from protocols.numbers import stored

_log = structlog.get_logger("snapshots")

MEMORY_SHARE: Final = 0.75
"""Share of `maxmemory` up to which snapshots are made; RhoConnect's own data needs the rest."""
MEMORY_CHECK_S: Final = 5.0
"""Interval between two checks of the memory; the warm-up of a worker writes a few megabytes in this time."""
COUNT_QUESTION: Final = pack(("HGET", keys.CHANGE_LOG, change_log_scripts.COUNT))
"""Command for the change log's count; it must be sent before the commands that read a user's devices."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A user's devices at a position of the change log. Later versions append fields, each with a default.

    Attributes:
        change_log_count: the change log's count before the devices were read.
        devices, dangling, dead, left_out: as in `UserDevices`.
        layout: version of the encoding; a snapshot of another version is rebuilt.
    """

    change_log_count: int
    devices: tuple[Device, ...]
    dangling: int = 0
    dead: int = 0
    left_out: tuple[str, ...] = ()
    layout: int = 0


_LAYOUT: Final = 1
"""Version of the encoding, raised by each change that an older snapshot does not fit. 1: marks have host, topic and
sync."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Snapshot).decode


class SnapshotStore:
    """Reads and writes snapshots.

    Args:
        connection: connection to RhoConnect's Redis.
        change_log: determines which snapshots are valid.
        wanted: whether snapshots are used (`registry.snapshots`).
    """

    def __init__(self, connection: RedisConnection, change_log: ChangeLog, *, wanted: bool = True) -> None:
        self._connection = connection
        self._change_log = change_log
        self._wanted = wanted
        self._has_room = True
        self._checked_s = float("-inf")

    @property
    def usable(self) -> bool:
        """Whether snapshots may be used or made now."""
        return self._wanted and self._change_log.complete

    async def fetch(self, users: Sequence[str]) -> Sequence[bytes | None]:
        """The stored snapshots of these users, in their order, for `current`.

        Raises:
            StoreDown: Redis did not answer.
        """
        found: Sequence[bytes | None] = await self._connection.call("MGET", *map(keys.snapshot, users))
        return found

    def current(self, users: Sequence[str], found: Sequence[bytes | None]) -> list[UserDevices | None]:
        """The valid snapshots; None: the user must be read. To be called as soon as `fetch` has returned."""
        if not self.usable:  # since the call of `fetch`
            return [None] * len(users)
        quiet = self._change_log.unchanged_since
        return [
            None if packed is None else self._open(user, packed, quiet)
            for user, packed in zip(users, found, strict=True)
        ]

    def _open(self, user: str, packed: bytes, quiet: float) -> UserDevices | None:
        try:
            kept = _decode(packed)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None  # of another version: the snapshot is rebuilt
        if kept.layout != _LAYOUT or len(kept.devices) + len(kept.left_out) > LARGE_DEVICES:
            return None  # of another version
        found = UserDevices(kept.devices, kept.dangling, kept.dead, kept.left_out)
        if kept.change_log_count >= quiet or self._change_log.is_current(
            kept.change_log_count, found.depends_on(user)
        ):
            return found
        return None

    def write(self, users: Sequence[str], found: Sequence[UserDevices], count: Reply) -> None:
        """Store what was read as snapshots; `count` is the reply to `COUNT_QUESTION`, which was sent before the
        read."""
        self._check_room()
        if count is None or not self.usable or not self._has_room:
            return
        change_log_count = stored(count)
        if not change_log_count:  # damaged; the next change begins a new log
            return
        packed = list(_commands(users, found, change_log_count))
        if packed:
            self._connection.send_packed(packed)

    def _check_room(self) -> None:
        now_s = time.monotonic()
        if now_s - self._checked_s >= MEMORY_CHECK_S:
            self._checked_s = now_s
            self._connection.call_then(("INFO", "memory"), self._on_memory_info)

    def _on_memory_info(self, reply: Reply) -> None:
        if not isinstance(reply, bytes):
            return
        facts = dict(line.split(b":", 1) for line in reply.splitlines() if b":" in line)
        most, used = (stored(facts.get(name)) for name in (b"maxmemory", b"used_memory"))
        has_room = not most or used < most * MEMORY_SHARE
        if self._has_room and not has_room:
            _log.warning("snapshots_suspended", used_memory=used, maxmemory=most)
        self._has_room = has_room


def _commands(users: Sequence[str], found: Sequence[UserDevices], change_log_count: int) -> Iterator[bytes]:
    for user, one in zip(users, found, strict=True):
        if one.is_tracked and not one.unknown and not one.by_sync:
            value: Any = _encode(
                Snapshot(change_log_count, one.devices, one.dangling, one.dead, one.left_out, _LAYOUT)
            )
            yield pack(("SET", keys.snapshot(user), value, "EX", keys.SNAPSHOT_S))
