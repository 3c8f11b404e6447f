"""The set of cancelled pings in Redis, as the workers read, sweep and prune it."""

from typing import Final, NamedTuple

from gateway.queue.cancellation_scripts import PRUNE, SWEEP
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection

SETTLE_S: Final = 60
"""Age from which the id of a finished ping leaves the set: three times the lease of an entry."""
SWEEPER_S: Final = 10
"""Time after which another worker sweeps if the sweeping worker has not ended: it may have been killed."""
_SWEPT_TOGETHER: Final = 200
_PRUNED_TOGETHER: Final = 500


class CancelledVersion(NamedTuple):
    """The version of the set, and the version that was swept; b"" if there is none."""

    version: bytes = b""
    swept: bytes = b""


class CancelledIds:
    """The set of cancelled pings.

    Args:
        connection: to the queue's Redis, without blocking commands.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def version(self) -> CancelledVersion:
        """The version of the set, in one command. All methods raise StoreDown."""
        version, swept = await self._connection.call("MGET", keys.CANCELLED_VERSION, keys.CANCELLED_SWEPT)
        return CancelledVersion(version or b"", swept or b"")

    async def read(self) -> frozenset[str]:
        """The ids of the set."""
        found = await self._connection.call("ZRANGE", keys.CANCELLED, 0, -1)
        return frozenset(name.decode("ascii", "replace") for name in found)

    async def forget_sweep(self) -> None:
        """Request another sweep of the set."""
        await self._connection.call("DEL", keys.CANCELLED_SWEPT)

    async def begin_sweep(self) -> bool:
        """Whether this worker sweeps now; False: another one does."""
        words = ("SET", keys.CANCELLED_SWEEPER, "1", "NX", "PX", SWEEPER_S * 1000)
        return await self._connection.call(*words) is not None

    async def end_sweep(self, version: bytes) -> None:
        """Record that this version was swept; b"": it was not swept, and another worker may sweep immediately."""
        if version:
            await self._connection.call("SET", keys.CANCELLED_SWEPT, version, "EX", keys.CANCELLED_S)
        await self._connection.call("DEL", keys.CANCELLED_SWEEPER)

    async def sweep_retries(self) -> int:
        """Make the retries of cancelled pings due, and return their number."""
        cursor, due = b"0", 0
        while True:
            names = [keys.SCHEDULE_BODIES, keys.SCHEDULE, keys.CANCELLED]
            words: list[Argument] = [cursor, _SWEPT_TOGETHER]
            cursor, found = await self._connection.eval(SWEEP, names, words)
            due += int(found)
            if cursor == b"0":
                return due

    async def prune(self) -> int:
        """Remove the ids of finished pings, and return their number."""
        kept = removed = 0
        while True:
            words: list[Argument] = [keys.CANCELLED_S, SETTLE_S, kept, _PRUNED_TOGETHER]
            names = [keys.CANCELLED, keys.CANCELLED_VERSION, keys.CANCELLED_SWEPT]
            examined, gone = await self._connection.eval(PRUNE, names, words)
            kept += int(examined) - int(gone)
            removed += int(gone)
            if examined < _PRUNED_TOGETHER:
                return removed
