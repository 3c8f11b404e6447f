"""Windows of data changes: changes for a user within a short time become one ping (docs/change-events.md).

A window is stored in the queue's Redis from its first change on, and the script that appends its ping closes it.
Therefore the end of a gateway during a window loses nothing, and two gateways that received the same change make one
ping of it.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.change_events import scripts
from gateway.clock import SHARED_CLOCK
from gateway.queue.append_batch import new_batch
from gateway.queue.entry_template import entry_template
from gateway.queue.ping_queue import BacklogLimits
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Reply
from protocols.change_events import Change
from protocols.ping.model import CHANGE_EVENTS, Ping

PING_BYTES: Final = 200
"""Bytes of a window's ping that count against `limits.queue_bytes`: it holds a login and names of sources."""
LEASE_MS: Final = 2_000
"""Leader lease, renewed several times within this period."""
GRACE_MS: Final = 1_500
"""Time for which a free lease is reserved for a gateway that was subscribed without interruption."""
CHANGES: Final = 500
"""Changes in one call: some 3 µs each, during which Redis does nothing else."""
USERS: Final = 1_000
"""Users in one call; a change that names more users is stored in parts."""


_PING: Final = Ping(ingress=CHANGE_EVENTS)
"""The ping of a window, without its user and sources."""


class PendingChange(NamedTuple):
    """A change, and whether its pushes are rate-limited (it comes from a keyspace notification)."""

    change: Change
    bounded: bool = False


class WriteResult(NamedTuple):
    """Result of storing changes.

    Attributes:
        known: number of changes whose id was already stored.
        next_ms: milliseconds until the next window ends; None: no window is open.
        refused: users whose keys in Redis have another type, so that their changes were not stored.
    """

    known: int
    next_ms: int | None
    refused: int = 0


class CloseResult(NamedTuple):
    """Result of closing windows.

    Attributes:
        pings: number of pings.
        next_ms: milliseconds until the next window ends; None: no window is open.
        full: the backlog is full, and due windows stay open.
        refused: users and sources that were left out because they are not UTF-8.
    """

    pings: int
    next_ms: int | None
    full: bool
    refused: int = 0


class LeaderLease(NamedTuple):
    """State of the leader lease.

    Attributes:
        held: whether this process holds it.
        gap_ms: time before for which no gateway held it; None: no gateway ever did.
        mark: the mark up to which all changes are stored.
    """

    held: bool
    gap_ms: int | None
    mark: str


class ChangeWindows:
    """The windows of all users.

    Args:
        connection: the connection to the queue's Redis.
        limits: limits of the queue's backlog.
        window_ms: `events.window_ms`.
        interval_ms: `events.min_interval_s`, for rate-limited changes.
        bounding: whether there are rate-limited changes, for which the times of earlier pushes are stored.
    """

    def __init__(
        self,
        connection: RedisConnection,
        limits: BacklogLimits,
        *,
        window_ms: int,
        interval_ms: int,
        bounding: bool,
    ) -> None:
        self._connection = connection
        self.limits = limits
        self._window_ms = window_ms
        self._interval_ms = interval_ms
        self._kept_ms = interval_ms if bounding else 0
        self._longest_ms = max(window_ms, interval_ms) + keys.CLOCK_DRIFT_MS

    async def write(self, pending: Iterable[PendingChange]) -> WriteResult:
        """Store changes; a repetition after a lost reply is safe.

        Raises:
            StoreDown: the changes may have been stored.
        """
        written = WriteResult(0, None)
        for words in _calls(pending):
            reply = await self._connection.eval(
                scripts.WRITE_CHANGES,
                [keys.WINDOWS],
                [self._window_ms, self._interval_ms, keys.CHANGE_ID_S, *words],
            )
            known, refused = written.known + reply[0], written.refused + reply[2]
            written = WriteResult(known, _next(reply[1]), refused)
        return written

    async def close(self) -> CloseResult:
        """Append a ping for each window that has ended, at most `ENTRY_PINGS`.

        Raises:
            StoreDown: the pings may have been appended; the others stay due.
        """
        now_ms = SHARED_CLOCK.now_ms()
        template = entry_template(new_batch(now_ms), now_ms, _PING)
        words: list[Argument] = [*template, PING_BYTES, keys.ENTRY_PINGS]
        words += [self.limits.pings, self.limits.bytes, self._kept_ms, self._longest_ms]
        reply = await self._connection.eval(
            scripts.CLOSE_WINDOWS, [keys.WINDOWS, keys.PINGS, keys.STATS], words
        )
        return CloseResult(reply[0], _next(reply[1]), reply[2] == 0, reply[3])

    async def hold(self, name: str, mark: str, subscribed_ms: int) -> LeaderLease:
        """Renew the lease, or take it if it is free, and record the mark up to which all changes are stored.

        Args:
            name: unique name of this process.
            mark: the mark up to which all changes are stored; "": none.
            subscribed_ms: time for which this process has received all messages.

        Raises:
            StoreDown: the state of the lease is unknown.
        """
        words: list[Argument] = [name, LEASE_MS, mark, subscribed_ms, GRACE_MS]
        reply = await self._connection.eval(scripts.HOLD_LEASE, [keys.CHANGE_EVENTS], words)
        return LeaderLease(bool(reply[0]), _next(reply[1]), reply[2].decode("utf-8", "replace"))

    async def release(self, name: str) -> None:
        """Release the lease, so that another gateway can take it immediately. Raises StoreDown."""
        await self._connection.eval(scripts.RELEASE_LEASE, [keys.CHANGE_EVENTS], [name])


def _next(reply: Reply) -> int | None:
    return None if reply < 0 else int(reply)


def _calls(pending: Iterable[PendingChange]) -> Iterable[list[Argument]]:
    """The arguments of each call. A change with an id is never split, so that the id covers all of it."""
    words: list[Argument] = []
    changes = users = 0
    for change, bounded in pending:
        if changes == CHANGES or (words and users + len(change.users) > USERS):
            yield words
            words, changes, users = [], 0, 0
        changes, users = changes + 1, users + len(change.users)
        words += [change.id, change.source, int(bounded), len(change.users), *change.users]
    if words:
        yield words
