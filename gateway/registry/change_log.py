"""Which users and clients changed, in an order that all gateways share: what snapshots are held against.

A snapshot (`snapshots`) is believed as long as nothing that it was made of has changed since. RhoConnect writes its
keys without a word, so the changes are those that client tracking tells (`tracking`), and they are noted in a hash in
Redis: name -> the journal's count when it was noted. Whoever makes a snapshot asks for the count *before* it reads; a
change that comes after the reading is heard after it, so it is noted under a higher count. No clock decides anything.

What nobody heard is in no journal. So a listener that comes must know that others listened without a gap until after
it began itself, else it declares a lapse, which makes all snapshots void:

    a listener beats (`BEAT`) over the connection on which it hears and notes, one beat after the answer to the last;
    who comes listens first, then waits until somebody has beaten four times more. The first of these beats came after
    all that the newcomer did not hear; with its answer that was heard, with the second's its note was under way at
    the latest (another may have been before it), with the third's also where Redis did not know the script, and the
    fourth came after the note.

SWAPDB puts another database in the place of this one, and tells nobody of a change. There, or after the return, the
word of a listener's last beat is not the one that it left: all that it knows is void.

While a listener is not sure (`Journal.open` is false), it believes no snapshot and makes none, and reads everything.
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
from gateway.store.connection import Link, Reply
from protocols.numbers import stored

_log = structlog.get_logger("journal")

BEAT_S: Final = 0.5
JOIN_S: Final = 3.0
"""How long a newcomer waits for somebody's beats: who is silent for so long may have been for longer."""
NAMES_MAX: Final = 50_000
"""Names in the journal, some 100 bytes each, in Redis and in every worker; with more, all snapshots are made anew."""
_AGAIN_S: Final = 1.0
_PROOF: Final = 4


class Journal:
    """What this process knows of the journal. No I/O.

    Attributes:
        open: nothing was missed: snapshots may be believed and made.
    """

    def __init__(self) -> None:
        self.open = False
        self._void = 0
        self._newest = 0
        self._counts: dict[str, int] = {}
        self._heard: set[str] = set()
        self._noting: set[str] = set()

    def begin(self) -> None:
        """Changes are heard of from now on; what is known was from another time."""
        self.open = False
        self._void = self._newest = 0
        for names in (self._counts, self._heard, self._noting):
            names.clear()

    def join(self, void: int, counts: Mapping[str, int]) -> None:
        """Nothing was missed since `void`, but for what is noted in `counts` or was heard meanwhile."""
        for name, count in counts.items():
            self._counts[name] = max(count, self._counts.get(name, 0))
        self._void = max(self._void, void)
        self._newest = max(self._counts.values(), default=0)
        self.open = True

    def heard(self, names: Iterable[str]) -> None:
        """These changed, and that is not noted yet."""
        self._heard.update(names)

    def to_note(self) -> Sequence[str]:
        """What was heard of and is to be noted now; nothing as long as `noted` is waited for."""
        if self._noting:
            return ()
        self._noting, self._heard = self._heard, set()
        return tuple(self._noting)

    def noted(self, count: int, *, anew: bool) -> None:
        """What `to_note` gave is noted under this count; `anew`: all before it became void."""
        if anew or len(self._counts) > NAMES_MAX:  # another listener may have met the full journal
            self._counts.clear()
            self._void = max(self._void, count)
        self._counts.update(dict.fromkeys(self._noting, count))
        self._newest = max(self._newest, count)
        self._noting = set()

    @property
    def quiet_from(self) -> float:
        """The count since which nothing at all has changed, so that whatever was read then holds; else infinity."""
        return inf if self._heard or self._noting else max(self._newest, self._void)

    def believes(self, at: int, names: Sequence[str]) -> bool:
        """Whether what was read after the journal had stood at `at` still holds."""
        if at < self._void:
            return False
        for unnoted in (self._heard, self._noting):
            if unnoted and not unnoted.isdisjoint(names):
                return False
        counts = self._counts
        if at >= self._newest or counts.keys().isdisjoint(names):
            return True
        return all(counts.get(name, 0) <= at for name in names)


class Scribe:
    """Keeps the journal, in Redis and here, as one of its listeners.

    Args:
        link: the connection on which invalidations come; what is noted goes out over it, too.
        journal: what this process knows.
        name: this listener's, no other's: the consumer's.
        lapsed: called when this listener has declared a lapse.
        moved: called when what was read before may be of another database.
    """

    def __init__(
        self,
        link: Link,
        journal: Journal,
        name: str,
        lapsed: Callable[[], None] = lambda: None,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._journal = journal
        self._name = name
        self._lapsed = lapsed
        self._moved = moved
        self._task: asyncio.Task[None] | None = None
        self._written: set[str] = set()

    def begin(self) -> None:
        """Every change is heard from now on: become sure, and stay so."""
        self.end()
        self._task = asyncio.create_task(self._listen(), name="journal")

    def end(self) -> None:
        """Changes are no longer heard."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._written.clear()
        self._journal.begin()

    def heard(self, names: Iterable[str], written: Iterable[str] = ()) -> None:
        """Take the names of users and clients that changed.

        Args:
            names: all of them.
            written: those that are clients whose own keys were written: their marks are deleted with the next note.
        """
        if self._task is not None:
            self._journal.heard(names)
            self._written.update(written)
            self._note()

    def _note(self) -> None:
        """Note what was heard; what comes meanwhile goes together into the next."""
        names, listening = self._journal.to_note(), self._task
        if not names:
            return
        marked = [keys.dead(client_id) for client_id in self._written]
        self._written.clear()

        def told(reply: Reply) -> None:
            if self._task is not listening:
                return  # of another time: `begin` has forgotten it
            if isinstance(reply, StoreDown):
                _log.warning("changes_not_noted", error=reply.message)
                self.begin()
                return
            count, anew = reply
            self._journal.noted(stored(count), anew=bool(anew))
            self._note()

        self._link.eval_then(change_log_scripts.WRITE, [keys.JOURNAL, *marked], [NAMES_MAX, *names], told)

    # -- listening -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(StoreDown):
                word = await self._leave_word()
                self._moved()
                await self._join()
                await self._stay(word)
                _log.warning("another_database", reason="SWAPDB: this listener's last beat is not here")
                self._moved()
                self.begin()
                return
            self._journal.open = False
            await asyncio.sleep(_AGAIN_S)

    async def _leave_word(self) -> bytes:
        """By which this database is known again.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        word = _new_word()
        await self._link.call("SET", keys.beat(self._name), word, "EX", keys.BEAT_KEPT_S)
        return word

    async def _stay(self, word: bytes) -> None:
        """Beat as long as this is the database in which the word was left.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        while True:
            last, word = word, _new_word()
            made, before = await self._link.eval(
                change_log_scripts.BEAT,
                [keys.JOURNAL, keys.LISTENERS, keys.beat(self._name)],
                [self._name, word, keys.BEAT_KEPT_S],
            )
            if before != last:
                return
            if stored(made):  # it was deleted or evicted
                self._journal.join(stored(made), {})
            await asyncio.sleep(BEAT_S)

    async def _join(self) -> None:
        """Become sure that nothing was missed, or say that something may have been.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        if await self._overlaps():
            flat = await self._link.call("HGETALL", keys.JOURNAL)
            noted = {name.decode("utf-8", "replace"): stored(count) for name, count in _pairs(flat)}
            void = noted.pop(change_log_scripts.VOID, None)
            noted.pop(change_log_scripts.COUNT, None)
            if void is not None:
                self._journal.join(void, noted)
                return
        void = int(
            await self._link.eval(change_log_scripts.LAPSE, [keys.JOURNAL, keys.LISTENERS], [self._name])
        )
        self._journal.join(void, {})
        _log.info("snapshots_void", reason="nobody listened for changes")
        self._lapsed()

    async def _overlaps(self) -> bool:
        """Whether somebody listened from before this listener until after it began."""
        before = await self._beats()
        until_s = time.monotonic() + JOIN_S
        while before and time.monotonic() < until_s:
            await asyncio.sleep(BEAT_S)
            beats = await self._beats()
            if any(beats.get(name, 0) >= count + _PROOF for name, count in before.items()):
                return True
        return False

    async def _beats(self) -> dict[str, int]:
        flat = await self._link.call("HGETALL", keys.LISTENERS)
        return {
            name.decode("utf-8", "replace"): stored(beats)
            for name, beats in _pairs(flat)
            if name != self._name.encode()
        }


def _new_word() -> bytes:
    return secrets.token_hex(8).encode()


def _pairs(flat: Mapping[bytes, bytes] | Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """A hash as Redis tells it: RESP3 has a type for it, RESP2 a list."""
    return flat.items() if isinstance(flat, Mapping) else zip(flat[::2], flat[1::2], strict=True)
