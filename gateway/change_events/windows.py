"""Windows of data changes: what changed for a user within a short time becomes one ping (see
docs/change-events.md).

A window lives in the queue's Redis from its first change on, and it is closed by the script that appends its
ping: a death inside a window loses nothing, and two gateways that heard the same change make one ping of it.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.change_events import scripts
from gateway.clock import SHARED_CLOCK
from gateway.queue.entry_template import entry_template
from gateway.queue.producer import BacklogLimits, new_batch
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Reply
from protocols.change_events import Change
from protocols.ping.model import CHANGE_EVENTS, Ping

PING_BYTES: Final = 200
"""What a ping of a window counts against `limits.queue_bytes`: it holds a login and names of sources."""
LEASE_MS: Final = 2_000
"""Who writes says so several times in this time, or another one writes."""
GRACE_MS: Final = 1_500
"""For so long a free lease waits for a gateway that has listened all the time."""
CHANGES: Final = 500
"""Changes in one call: some 3 µs each, and Redis does nothing else meanwhile."""
USERS: Final = 1_000
"""Users in one call; a change that names more is told in parts."""


_PING: Final = Ping(ingress=CHANGE_EVENTS)
"""The ping of a window, but for its user and sources."""


class PendingChange(NamedTuple):
    """A change, and whether its pushes are bounded (it comes from a keyspace notification)."""

    change: Change
    bounded: bool = False


class WriteResult(NamedTuple):
    """What came of writing changes down.

    Attributes:
        known: changes that were known by their id.
        next_ms: until the next window is over; None: none is open.
        refused: users whose keys in Redis hold something else, so that their changes were not written down.
    """

    known: int
    next_ms: int | None
    refused: int = 0


class CloseResult(NamedTuple):
    """What came of closing windows. `full`: the backlog is full, and due windows stay open."""

    pings: int
    next_ms: int | None
    full: bool


class LeaderLease(NamedTuple):
    """Which gateway writes down what is heard.

    Attributes:
        held: this one does.
        gap_ms: for how long nobody said so before; None: nobody ever did.
        mark: up to here everything is written down.
    """

    held: bool
    gap_ms: int | None
    mark: str


class ChangeWindows:
    """The windows of all users.

    Args:
        connection: to the queue's Redis.
        limits: of the queue's backlog.
        window_ms: `events.window_ms`.
        interval_ms: `events.min_interval_s`, of bounded changes.
        bounding: there are bounded changes: what was pushed when is kept for so long.
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
        """Write changes down; may be repeated after a lost reply.

        Raises:
            StoreDown: they are perhaps written.
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
        """Append a ping for each window that is over, at most `ENTRY_PINGS`.

        Raises:
            StoreDown: they are perhaps appended; what is not stays due.
        """
        now_ms = SHARED_CLOCK.now_ms()
        template = entry_template(new_batch(now_ms), now_ms, _PING)
        words: list[Argument] = [*template, PING_BYTES, keys.ENTRY_PINGS]
        words += [self.limits.pings, self.limits.bytes, self._kept_ms, self._longest_ms]
        reply = await self._connection.eval(
            scripts.CLOSE_WINDOWS, [keys.WINDOWS, keys.PINGS, keys.STATS], words
        )
        return CloseResult(reply[0], _next(reply[1]), reply[2] == 0)

    async def hold(self, name: str, mark: str, listened_ms: int) -> LeaderLease:
        """Hold the lease or take it where it is free, and tell up to which mark everything is written.

        Args:
            name: of this process, and of no other one ever.
            mark: up to here everything is written down; "": nothing to tell.
            listened_ms: for how long this process has heard everything.

        Raises:
            StoreDown: nothing is known about it.
        """
        words: list[Argument] = [name, LEASE_MS, mark, listened_ms, GRACE_MS]
        reply = await self._connection.eval(scripts.HOLD_LEASE, [keys.CHANGE_EVENTS], words)
        return LeaderLease(bool(reply[0]), _next(reply[1]), reply[2].decode())

    async def give_back(self, name: str) -> None:
        """End the lease, so that another gateway takes it at once. Raises StoreDown."""
        await self._connection.eval(scripts.RELEASE_LEASE, [keys.CHANGE_EVENTS], [name])


def _next(reply: Reply) -> int | None:
    return None if reply < 0 else int(reply)


def _calls(pending: Iterable[PendingChange]) -> Iterable[list[Argument]]:
    """The words of each call: a change with its id is never split, so that the id stands for all of it."""
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
