"""Which users and clients changed, in an order that all gateways share: what snapshots are held against.

A snapshot (`snapshots`) is believed as long as nothing that it was made of has changed since. RhoConnect writes its
keys without a word, so the changes are those that client tracking tells (`tracking`), and they are noted in a hash in
Redis: name -> the journal's count when it was noted. Whoever makes a snapshot asks for the count *before* it reads; a
change that comes after the reading is heard after it, so it is noted under a higher count. No clock decides anything.

What nobody heard is in no journal. So a listener that comes must know that others listened without a gap until after
it began itself, else it declares a lapse, which makes all snapshots void:

    a listener beats (`HEARTBEAT`) over the connection on which it hears and notes, one beat after the answer to the
    last; who comes listens first, then waits until somebody has beaten four times more. The first of these beats came
    after all that the newcomer did not hear; with its answer that was heard, with the second's its note was under way
    at the latest (another may have been before it), with the third's also where Redis did not know the script, and the
    fourth came after the note.

SWAPDB puts another database in the place of this one, and tells nobody of a change. There, or after the return, the
word of a listener's last beat is not the one that it left: all that it knows is void.

While a listener is not sure (`ChangeLog.complete` is false), it believes no snapshot and makes none, and reads
everything.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Final

import structlog

from gateway.errors import StoreDown
from gateway.registry import change_log_scripts
from gateway.store import keys
from gateway.store.connection import RedisConnection, Reply
from protocols.numbers import stored

_log = structlog.get_logger("change_log")

HEARTBEAT_S: Final = 0.5
JOIN_S: Final = 3.0
"""How long a newcomer waits for somebody's beats: who is silent for so long may have been for longer."""
NAMES_MAX: Final = 50_000
"""Names in the journal, some 100 bytes each, in Redis and in every worker; with more, all snapshots are made anew."""
_RETRY_S: Final = 1.0
_PROOF: Final = 4


class ChangeLog:
    """What this process knows of the journal. No I/O.

    Attributes:
        complete: nothing was missed: snapshots may be believed and made.
    """

    def __init__(self) -> None:
        self.complete = False
        self._invalid_before = 0
        self._newest = 0
        self._counts: dict[str, int] = {}
        self._unwritten: set[str] = set()
        self._being_written: set[str] = set()

    def start(self) -> None:
        """Changes are heard of from now on; what is known was from another time."""
        self.complete = False
        self._invalid_before = self._newest = 0
        for names in (self._counts, self._unwritten, self._being_written):
            names.clear()

    def resume(self, void: int, counts: Mapping[str, int]) -> None:
        """Nothing was missed since `void`, but for what is noted in `counts` or was heard meanwhile."""
        for name, count in counts.items():
            self._counts[name] = max(count, self._counts.get(name, 0))
        self._invalid_before = max(self._invalid_before, void)
        self._newest = max(self._counts.values(), default=0)
        self.complete = True

    def on_changes(self, names: Iterable[str]) -> None:
        """These changed, and that is not noted yet."""
        self._unwritten.update(names)

    def take_unwritten(self) -> Sequence[str]:
        """What was heard of and is to be noted now; nothing as long as `mark_written` is waited for."""
        if self._being_written:
            return ()
        self._being_written, self._unwritten = self._unwritten, set()
        return tuple(self._being_written)

    def mark_written(self, count: int, *, anew: bool) -> None:
        """What `take_unwritten` gave is noted under this count; `anew`: all before it became void."""
        if anew or len(self._counts) > NAMES_MAX:  # another listener may have met the full journal
            self._counts.clear()
            self._invalid_before = max(self._invalid_before, count)
        self._counts.update(dict.fromkeys(self._being_written, count))
        self._newest = max(self._newest, count)
        self._being_written = set()

    @property
    def unchanged_since(self) -> float:
        """The count since which nothing at all has changed, so that whatever was read then holds; else infinity."""
        return inf if self._unwritten or self._being_written else max(self._newest, self._invalid_before)

    def is_current(self, at: int, names: Sequence[str]) -> bool:
        """Whether what was read after the journal had stood at `at` still holds."""
        if at < self._invalid_before:
            return False
        for unnoted in (self._unwritten, self._being_written):
            if unnoted and not unnoted.isdisjoint(names):
                return False
        counts = self._counts
        if at >= self._newest or counts.keys().isdisjoint(names):
            return True
        return all(counts.get(name, 0) <= at for name in names)


class ChangeLogWriter:
    """Keeps the journal, in Redis and here, as one of its listeners.

    Args:
        connection: the connection on which invalidations come; what is noted goes out over it, too.
        change_log: what this process knows.
        name: this listener's, no other's: the consumer's.
        on_lapse: called when this listener has declared a lapse.
        on_database_swapped: called when what was read before may be of another database.
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
        """Every change is heard from now on: become sure, and stay so."""
        self.stop()
        self._task = asyncio.create_task(self._run(), name="journal")

    def stop(self) -> None:
        """Changes are no longer heard."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._written.clear()
        self._change_log.start()

    def on_changes(self, names: Iterable[str], written: Iterable[str] = ()) -> None:
        """Take the names of users and clients that changed.

        Args:
            names: all of them.
            written: those that are clients whose own keys were written: their marks are deleted with the next note.
        """
        if self._task is not None:
            self._change_log.on_changes(names)
            self._written.update(written)
            self._write()

    def _write(self) -> None:
        """Note what was heard; what comes meanwhile goes together into the next."""
        names, listening = self._change_log.take_unwritten(), self._task
        if not names:
            return
        marked = [keys.dead(client_id) for client_id in self._written]
        self._written.clear()

        def on_reply(reply: Reply) -> None:
            if self._task is not listening:
                return  # of another time: `start` has forgotten it
            if isinstance(reply, StoreDown):
                _log.warning("change_log_write_failed", error=reply.message)
                self.start()
                return
            count, anew = reply
            self._change_log.mark_written(stored(count), anew=bool(anew))
            self._write()

        self._connection.eval_then(
            change_log_scripts.RECORD_CHANGES, [keys.CHANGE_LOG, *marked], [NAMES_MAX, *names], on_reply
        )

    # -- listening -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(StoreDown):
                database_id = await self._write_database_id()
                self._on_database_swapped()
                await self._join()
                await self._heartbeat_loop(database_id)
                _log.warning("database_swapped", reason="SWAPDB: this listener's last beat is not here")
                self._on_database_swapped()
                self.start()
                return
            self._change_log.complete = False
            await asyncio.sleep(_RETRY_S)

    async def _write_database_id(self) -> bytes:
        """By which this database is known again.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        database_id = _new_database_id()
        await self._connection.call(
            "SET", keys.heartbeat(self._name), database_id, "EX", keys.HEARTBEAT_TTL_S
        )
        return database_id

    async def _heartbeat_loop(self, database_id: bytes) -> None:
        """Beat as long as this is the database in which the word was left.

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
            if stored(made):  # it was deleted or evicted
                self._change_log.resume(stored(made), {})
            await asyncio.sleep(HEARTBEAT_S)

    async def _join(self) -> None:
        """Become sure that nothing was missed, or say that something may have been.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        if await self._has_continuous_listener():
            flat = await self._connection.call("HGETALL", keys.CHANGE_LOG)
            mark_written = {name.decode("utf-8", "replace"): stored(count) for name, count in _pairs(flat)}
            void = mark_written.pop(change_log_scripts.VOID, None)
            mark_written.pop(change_log_scripts.COUNT, None)
            if void is not None:
                self._change_log.resume(void, mark_written)
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
        """Whether somebody listened from before this listener until after it began."""
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
    """A hash as Redis tells it: RESP3 has a type for it, RESP2 a list."""
    return flat.items() if isinstance(flat, Mapping) else zip(flat[::2], flat[1::2], strict=True)
