"""Change log: the users and clients that changed, in an order shared by all gateways, by which snapshots are
validated.

A snapshot (`snapshots`) is valid as long as none of its source keys has changed since. RhoConnect reports no
writes, so the changes come from client tracking (`invalidation`), and are recorded in a hash in Redis: name -> the
log's count at the time of the record. A process that makes a snapshot reads the count *before* the keys; the
invalidation of a change after that read arrives after it, so it is recorded under a higher count. No clock is
involved.

A change that no listener received is missing from the log. Therefore a new listener must verify that another one
listened without a gap until after its own start; otherwise it records a lapse, which invalidates all snapshots. A
listener sends heartbeats (`HEARTBEAT`), each after the reply to the one before, over the connection on which it
receives invalidations and writes records. A new listener subscribes, and then waits for four heartbeats of another one:

1. The first was sent after all changes that the new listener missed. When its reply arrived, the other listener had
   received these changes.
2. When the reply to the second arrived, the record of these changes was sent at the latest: another record may have
   been under way before it.
3. When the reply to the third arrived, the record was sent again if Redis did not have its script.
4. The fourth was executed after the record.

SWAPDB replaces this database by another one without any invalidation. After a swap, and after its reversal, the random
id of a listener's last heartbeat differs from the stored one: the complete state is invalid.

While a listener is not verified (`ChangeLog.complete` is false), it neither uses nor makes snapshots, and reads
all keys.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Final

import structlog

from gateway.errors import StoreDown
from gateway.registry import change_log_scripts
from gateway.scheduling.background import run_in_background
from gateway.store import keys
from gateway.store.connection import RedisConnection, Reply
from protocols.numbers import stored

_log = structlog.get_logger("change_log")

HEARTBEAT_S: Final = 0.5
JOIN_S: Final = 3.0
"""Longest wait of a new listener for heartbeats: a listener that is silent for so long may have missed changes."""
NAMES_MAX: Final = 50_000
"""Names in the log, about 100 bytes each, in Redis and in every worker; with more, all snapshots become invalid."""
_RETRY_S: Final = 1.0
_PROOF: Final = 4


class ChangeLog:
    """State of the change log in this process. No I/O.

    Attributes:
        complete: whether no change was missed, so that snapshots may be used and made.
    """

    def __init__(self) -> None:
        self.complete = False
        self._invalid_before = 0
        self._newest = 0
        self._counts: dict[str, int] = {}
        self._unwritten: set[str] = set()
        self._being_written: set[str] = set()

    def start(self) -> None:
        """Reset the state: invalidations are received from now on."""
        self.complete = False
        self._invalid_before = self._newest = 0
        for names in (self._counts, self._unwritten, self._being_written):
            names.clear()

    def resume(self, void: int, counts: Mapping[str, int]) -> None:
        """Mark the state as complete since count `void`, with the recorded changes in `counts` and those received
        meanwhile."""
        for name, count in counts.items():
            self._counts[name] = max(count, self._counts.get(name, 0))
        self._invalid_before = max(self._invalid_before, void)
        self._newest = max(self._counts.values(), default=0)
        self.complete = True

    def on_changes(self, names: Iterable[str]) -> None:
        """Add changes that are not recorded yet."""
        self._unwritten.update(names)

    def take_unwritten(self) -> Sequence[str]:
        """Take the changes to record now; empty until the previous ones are confirmed by `mark_written`."""
        if self._being_written:
            return ()
        self._being_written, self._unwritten = self._unwritten, set()
        return tuple(self._being_written)

    def mark_written(self, count: int, *, reset: bool) -> None:
        """Confirm that the result of `take_unwritten` is recorded under this count; `reset`: all earlier counts are
        invalid."""
        if reset or len(self._counts) > NAMES_MAX:  # another listener may have reset the full log
            self._counts.clear()
            self._invalid_before = max(self._invalid_before, count)
        self._counts.update(dict.fromkeys(self._being_written, count))
        self._newest = max(self._newest, count)
        self._being_written = set()

    @property
    def unchanged_since(self) -> float:
        """The count since which no change at all was recorded, so that everything read after it is valid;
        otherwise infinity."""
        return inf if self._unwritten or self._being_written else max(self._newest, self._invalid_before)

    def is_current(self, at: int, names: Sequence[str]) -> bool:
        """Whether data that was read after the log was at count `at` is still valid."""
        if at < self._invalid_before:
            return False
        for unrecorded in (self._unwritten, self._being_written):
            if unrecorded and not unrecorded.isdisjoint(names):
                return False
        counts = self._counts
        if at >= self._newest or counts.keys().isdisjoint(names):
            return True
        return all(counts.get(name, 0) <= at for name in names)


class ChangeLogWriter:
    """Maintains the change log, in Redis and in this process, as one of its listeners.

    Args:
        connection: the connection on which invalidations arrive; records are written over it, too.
        change_log: the state in this process.
        name: unique name of this listener: the consumer's.
        on_lapse: called when this listener has recorded a lapse.
        on_database_swapped: called when data read before may be of another database.
    """

    def __init__(
        self,
        connection: RedisConnection,
        change_log: ChangeLog,
        name: str,
        on_lapse: Callable[[], None] = lambda: None,
        on_database_swapped: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._change_log = change_log
        self._name = name
        self._on_lapse = on_lapse
        self._on_database_swapped = on_database_swapped
        self._task: asyncio.Task[None] | None = None
        self._written: set[str] = set()

    def start(self) -> None:
        """Start after tracking is on: verify that no change was missed, and send heartbeats."""
        self.stop()
        self._task = run_in_background(self._run, "change log", restart_s=_RETRY_S, on_error=self._on_error)

    def stop(self) -> None:
        """Stop, since invalidations are no longer received."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._written.clear()
        self._change_log.start()

    def on_changes(self, names: Iterable[str], written: Iterable[str] = ()) -> None:
        """Record the names of users and clients that changed.

        Args:
            names: all changed names.
            written: the names among them that are clients whose own keys were written: the next record deletes
                their marks.
        """
        if self._task is not None:
            self._change_log.on_changes(names)
            self._written.update(written)
            self._write()

    def _write(self) -> None:
        """Record the received changes; changes during the write go together into the next one."""
        names, listening = self._change_log.take_unwritten(), self._task
        if not names:
            return
        marked = [keys.dead(client_id) for client_id in self._written]
        self._written.clear()

        def on_reply(reply: Reply) -> None:
            if self._task is not listening:
                return  # reply to a call before the latest `start`
            if isinstance(reply, StoreDown):
                _log.warning("change_log_write_failed", error=reply.message)
                self.start()
                return
            count, reset = reply
            self._change_log.mark_written(stored(count), reset=bool(reset))
            self._write()

        self._connection.eval_then(
            change_log_scripts.RECORD_CHANGES, [keys.CHANGE_LOG, *marked], [NAMES_MAX, *names], on_reply
        )

    # -- listening -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        database_id = await self._write_database_id()
        self._on_database_swapped()
        await self._join()
        await self._heartbeat_loop(database_id)
        _log.warning(
            "database_swapped",
            reason="SWAPDB: this database does not have this listener's last heartbeat",
        )
        self._on_database_swapped()
        self.start()

    def _on_error(self, _: BaseException) -> None:
        self._change_log.complete = False

    async def _write_database_id(self) -> bytes:
        """Write a random id that identifies this database.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        database_id = _new_database_id()
        await self._connection.call(
            "SET", keys.heartbeat(self._name), database_id, "EX", keys.HEARTBEAT_TTL_S
        )
        return database_id

    async def _heartbeat_loop(self, database_id: bytes) -> None:
        """Send heartbeats as long as this database has the id of the last one.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        while True:
            last, database_id = database_id, _new_database_id()
            made, before = await self._connection.eval(
                change_log_scripts.HEARTBEAT,
                [keys.CHANGE_LOG, keys.LISTENERS, keys.heartbeat(self._name)],
                [self._name, database_id, keys.HEARTBEAT_TTL_S],
            )
            if before != last:
                return
            if stored(made):  # the log was deleted or evicted
                self._change_log.resume(stored(made), {})
            await asyncio.sleep(HEARTBEAT_S)

    async def _join(self) -> None:
        """Verify that no change was missed, or record a lapse.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        if await self._has_continuous_listener():
            flat = await self._connection.call("HGETALL", keys.CHANGE_LOG)
            counts = {name.decode("utf-8", "replace"): stored(count) for name, count in _pairs(flat)}
            void = counts.pop(change_log_scripts.VOID, None)
            counts.pop(change_log_scripts.COUNT, None)
            if void is not None:
                self._change_log.resume(void, counts)
                return
        void = int(
            await self._connection.eval(
                change_log_scripts.RECORD_LAPSE, [keys.CHANGE_LOG, keys.LISTENERS], [self._name]
            )
        )
        self._change_log.resume(void, {})
        _log.info("snapshots_invalidated", reason="gap in invalidation tracking")
        self._on_lapse()

    async def _has_continuous_listener(self) -> bool:
        """Whether another listener was active from before this listener's start until after it."""
        before = await self._heartbeats()
        until_s = time.monotonic() + JOIN_S
        while before and time.monotonic() < until_s:
            await asyncio.sleep(HEARTBEAT_S)
            beats = await self._heartbeats()
            if any(beats.get(name, 0) >= count + _PROOF for name, count in before.items()):
                return True
        return False

    async def _heartbeats(self) -> dict[str, int]:
        flat = await self._connection.call("HGETALL", keys.LISTENERS)
        return {
            name.decode("utf-8", "replace"): stored(beats)
            for name, beats in _pairs(flat)
            if name != self._name.encode()
        }


def _new_database_id() -> bytes:
    return secrets.token_hex(8).encode()


def _pairs(flat: Mapping[bytes, bytes] | Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """The pairs of a hash: RESP3 has a type for it, RESP2 a list."""
    return flat.items() if isinstance(flat, Mapping) else zip(flat[::2], flat[1::2], strict=True)
