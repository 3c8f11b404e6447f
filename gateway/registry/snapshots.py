"""One key a user instead of ten a device: what a look-up found, kept in Redis beside RhoConnect's keys.

What a push of a broadcast costs with them, and what making one costs, are figures of `rhopush bench fanout`. One is
believed only while the journal knows of no change since (`journal`), so it is never staler than a cached entry: by the
time that an invalidation takes to arrive.

They take room in RhoConnect's Redis, which must not run full for that: none are made beyond `ROOM_SHARE` of its
`maxmemory`. Not kept either: users with two devices of one phone, since the newer sync decides between those and every
sync would be a change; users with a device whose token is marked as dead or bad, since a sync ends that mark; users
with clients whose changes are not heard; logins that nobody has.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import structlog

from gateway.registry import change_log_scripts
from gateway.registry.change_log import Journal
from gateway.registry.user_devices import LARGE_DEVICES, Registration
from gateway.store import keys
from gateway.store.connection import Link, Reply, pack
from protocols.devices import Device
from protocols.numbers import stored

_log = structlog.get_logger("snapshots")

ROOM_SHARE: Final = 0.75
"""Of `maxmemory`: the rest is RhoConnect's to grow into."""
LOOK_S: Final = 5.0
"""Between two looks at it: a refill of a worker writes a few megabytes meanwhile."""
COUNT_QUESTION: Final = pack(("HGET", keys.JOURNAL, change_log_scripts.COUNT))
"""Asked before whatever a snapshot shall be made of."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A registration at a place of the journal. Later versions append fields, each with a default.

    Attributes:
        at: the journal's count before the registration was read.
        devices, dangling, dead, left_out: as in `Registration`.
        layout: which version wrote it; one of another version is made anew.
    """

    at: int
    devices: tuple[Device, ...]
    dangling: int = 0
    dead: int = 0
    left_out: tuple[str, ...] = ()
    layout: int = 0


_LAYOUT: Final = 1
"""Goes up with every change after which an older snapshot would be misread. 1: marks know of host, topic and sync."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Snapshot).decode


class Snapshots:
    """Reads and keeps them.

    Args:
        link: connection to RhoConnect's Redis.
        journal: says what may be believed.
        wanted: whether to use them at all (`registry.snapshots`).
    """

    def __init__(self, link: Link, journal: Journal, *, wanted: bool = True) -> None:
        self._link = link
        self._journal = journal
        self._wanted = wanted
        self._roomy = True
        self._looked_s = float("-inf")

    @property
    def usable(self) -> bool:
        """Whether any may be believed or made now."""
        return self._wanted and self._journal.open

    async def ask(self, users: Sequence[str]) -> Sequence[bytes | None]:
        """What is kept of these users, in their order, for `believed`.

        Raises:
            StoreDown: Redis did not answer.
        """
        found: Sequence[bytes | None] = await self._link.call("MGET", *map(keys.snapshot, users))
        return found

    def believed(self, users: Sequence[str], found: Sequence[bytes | None]) -> list[Registration | None]:
        """The registrations that hold; None: to be read anew. To be called as soon as `ask` has answered."""
        if not self.usable:  # since it was asked
            return [None] * len(users)
        quiet = self._journal.quiet_from
        return [
            None if packed is None else self._open(user, packed, quiet)
            for user, packed in zip(users, found, strict=True)
        ]

    def _open(self, user: str, packed: bytes, quiet: float) -> Registration | None:
        try:
            kept = _decode(packed)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None  # of another version: it is made anew
        if kept.layout != _LAYOUT or len(kept.devices) + len(kept.left_out) > LARGE_DEVICES:
            return None  # of another version
        found = Registration(kept.devices, kept.dangling, kept.dead, kept.left_out)
        if kept.at >= quiet or self._journal.believes(kept.at, found.depends_on(user)):
            return found
        return None

    def keep(self, users: Sequence[str], found: Sequence[Registration], count: Reply) -> None:
        """Keep what was read; `count` is the answer to `COUNT_QUESTION`, which was asked before."""
        self._look_for_room()
        if count is None or not self.usable or not self._roomy:
            return
        at = stored(count)
        if not at:  # damaged; the next note begins the journal anew
            return
        packed = list(_commands(users, found, at))
        if packed:
            self._link.post_packed(packed)

    def _look_for_room(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._link.call_then(("INFO", "memory"), self._told_room)

    def _told_room(self, reply: Reply) -> None:
        if not isinstance(reply, bytes):
            return
        facts = dict(line.split(b":", 1) for line in reply.splitlines() if b":" in line)
        most, used = (stored(facts.get(name)) for name in (b"maxmemory", b"used_memory"))
        roomy = not most or used < most * ROOM_SHARE
        if self._roomy and not roomy:
            _log.warning("no_room_for_snapshots", used_memory=used, maxmemory=most)
        self._roomy = roomy


def _commands(users: Sequence[str], found: Sequence[Registration], at: int) -> Iterator[bytes]:
    for user, one in zip(users, found, strict=True):
        if one.heard and not one.unknown and not one.by_sync:
            value: Any = _encode(Snapshot(at, one.devices, one.dangling, one.dead, one.left_out, _LAYOUT))
            yield pack(("SET", keys.snapshot(user), value, "EX", keys.SNAPSHOT_S))
