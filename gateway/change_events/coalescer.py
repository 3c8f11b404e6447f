"""From what is heard to windows: who writes, when, and what is kept until then.

Every gateway listens, and one of them writes: it holds a lease. The others keep what they heard
until the writer says that it is written down (`shelf`), and whoever takes the lease over writes what it kept.
So the death of a gateway loses no change, and without ids it makes at most one ping more.

| event | what is done |
| --- | --- |
| a change, and this gateway writes | written down at once, together with all that came meanwhile |
| a change, and it stands by | kept |
| a mark | everything before it was heard |
| the lease is taken | what was kept is written down; open windows are closed |
| an ear was lost while others may hear | the lease is given back, and not taken for `ABSTAIN_S` |
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from gateway.change_events.rejections import Refusals
from gateway.change_events.subscriber import Ear
from gateway.change_events.windows import Heard, Windows
from gateway.errors import BAD_DATA, StoreDown, UnreadableEntry
from gateway.metrics import Metrics
from gateway.queue.producer import Limits
from gateway.settings import Settings
from gateway.store.command_encoding import Unsendable
from gateway.store.connection import Reply
from protocols.change_events import Change, SourceRules, change_of, parse
from protocols.errors import InputError
from protocols.numbers import whole

BEAT_S: Final = 0.5
ABSTAIN_S: Final = 1.5
PENDING_MAX: Final = 1_000_000
"""Changes kept while Redis takes none; what comes then is counted as lost."""
_AGAIN_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
UNREADABLE: Final = UnreadableEntry.label
"""Reason of a change that could not be read or written down."""
_FULL_S: Final = 1.0
"""Due windows are tried again so long after the backlog was full."""
_DEAF_S: Final = 0.5
"""A shorter time without any listener is one of Redis' clock and ours."""

_log = structlog.get_logger("events")


def source_rules(settings: Settings) -> SourceRules:
    """Which sources push (contract §5): by `events.sources`, else by `push_notify`."""
    shared = frozenset(name for name, source in settings.sources.items() if source.partition_type == "app")
    listed = settings.events.sources
    if listed is not None:
        return SourceRules(frozenset(listed), shared, listed=True)
    pushing = frozenset(name for name, source in settings.sources.items() if source.push_notify)
    return SourceRules(pushing, shared)


class Listening:
    """What is heard, written down and made pings of.

    Args:
        name: this gateway's; each process of it has a voice of its own.
        rules: which sources push.
        windows: where changes are written down.
        metrics: what is counted.
    """

    def __init__(self, name: str, rules: SourceRules, windows: Windows, metrics: Metrics) -> None:
        self.rules = rules
        self.leading = asyncio.Event()
        """Set while this gateway writes."""
        self._voice = f"{name}.{secrets.token_hex(4)}"
        self._windows = windows
        self._metrics = metrics
        self._refusals = Refusals(metrics)
        self._received = metrics.events_received
        self._ears: Sequence[Ear] = ()
        self._pending: dict[Heard, None] = {}
        self._something = asyncio.Event()
        self._wake = asyncio.Event()
        self._due_s: float | None = None
        self._marks = 0
        self._written_mark = 0
        self._since_s = time.monotonic()
        self._abstain_until_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def renew(self, settings: Settings) -> None:
        """Take over settings that were read anew: which sources push, and the backlog's limits."""
        self.rules = source_rules(settings)
        self._windows.limits = Limits(settings.limits.queue_pings, settings.limits.queue_bytes)

    def start(self, ears: Sequence[Ear]) -> None:
        """Begin. The ears are open and tell `told` and `marked`."""
        self._ears = ears
        self._since_s = time.monotonic()
        work = {"beat": self._beating, "write": self._writing, "close": self._closing}
        self._tasks = [asyncio.create_task(make(), name=f"events:{name}") for name, make in work.items()]

    async def close(self) -> None:
        """Write down what was heard, as far as Redis takes it, and let another gateway write."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreDown):
            if self.leading.is_set():
                await self.write(tuple(self._pending))
                await self._windows.give_back(self._voice)

    # -- hearing
    # ------------------------------------------------------------------------------------------------------

    def told(self, ear: Ear, message: Reply) -> None:
        """A message came."""
        if message[0] == b"pmessage":
            self._keyspace(ear, message[2], message[3])
            return
        self._received("channel").inc()
        heard = self.read(message[2])
        if heard is not None:
            self._keep(ear, heard)

    def read(self, event: bytes) -> Heard | None:
        """What an event tells; None: it pushes nobody, which is counted."""
        try:
            change = parse(event)
        except InputError as error:
            self._refusals.note(error.label, event, error=error.message)
            return None
        except BAD_DATA as error:
            self._refusals.note(UNREADABLE, event, error=str(error))
            return None
        return Heard(change) if self._pushes(change, event) else None

    def _keyspace(self, ear: Ear, channel: bytes, event: bytes) -> None:
        try:
            change = change_of(channel, event)
        except InputError as error:
            self._refusals.note(error.label, channel, error=error.message)
            return
        if change is None:
            return
        self._received("keyspace").inc()
        if self._pushes(change, channel):
            self._keep(ear, Heard(change, bounded=True))

    def _pushes(self, change: Change, example: bytes) -> bool:
        refusal = self.rules.refusal(change.source)
        if refusal is not None:
            self._refusals.note(refusal, example)
        return refusal is None

    def _keep(self, ear: Ear, heard: Heard) -> None:
        if self.leading.is_set():
            kept = len(self._pending) < PENDING_MAX
            if kept:
                self._pending[heard] = None
                self._something.set()
        else:
            kept = ear.shelf.put(heard)
        if not kept:
            self._refusals.note("overflow", heard.change.source)

    def marked(self, ear: Ear, mark: str) -> None:
        """A mark came: whose, tells what it is good for."""
        name, _, number = mark.rpartition("#")
        seen = whole(number) if name == self._voice else None
        if seen is not None:
            ear.seen = seen
            self._something.set()
        if not self.leading.is_set():
            ear.shelf.mark(mark)

    def deaf(self, seconds: float) -> None:
        """Nothing could be heard for so long."""
        self._since_s = time.monotonic()
        self._say_deaf(seconds)

    def _say_deaf(self, seconds: float) -> None:
        self._metrics.events_deaf_seconds.inc(seconds)
        _log.warning("events_deaf", seconds=round(seconds, 1), lost="what was published meanwhile")

    # -- who writes
    # ------------------------------------------------------------------------------------------------------

    async def _beating(self) -> None:
        while True:
            try:
                await self._beat()
            except StoreDown as error:
                self._metrics.store_errors("events").inc()
                _log.debug("store_down", error=error.message)
            await asyncio.sleep(BEAT_S)

    async def _beat(self) -> None:
        now = time.monotonic()
        if self._lost_one() and self.leading.is_set():
            self._abstain_until_s = now + ABSTAIN_S
            self._stand_by()
            await self._windows.give_back(self._voice)
        if now < self._abstain_until_s:
            return
        mark = f"{self._voice}#{self._written_mark}" if self.leading.is_set() else ""
        lease = await self._windows.hold(self._voice, mark, int((now - self._since_s) * 1000))
        if lease.held and not self.leading.is_set():
            self._lead(lease.deaf_ms)
        elif not lease.held and self.leading.is_set():
            self._stand_by()
        for ear in self._ears:
            if lease.held:
                ear.publish(f"{self._voice}#{self._marks + 1}")
            else:
                ear.shelf.forget(lease.mark)
                ear.prove()
        self._marks += int(lease.held)

    def _lost_one(self) -> bool:
        lost = [ear for ear in self._ears if ear.lost]
        for ear in lost:
            ear.lost = False
        return bool(lost)

    def _lead(self, nobody_ms: int | None) -> None:
        self.leading.set()
        kept = [heard for ear in self._ears for heard in ear.shelf.take()]
        self._keep_all(kept)
        self._due_s = time.monotonic()
        self._wake.set()
        _log.info("events_leading", kept=len(kept))
        unheard_s = (nobody_ms or 0) / 1000 - (time.monotonic() - self._since_s)
        if unheard_s > _DEAF_S:
            self._say_deaf(unheard_s)

    def _keep_all(self, heard: Iterable[Heard]) -> None:
        self._pending.update(dict.fromkeys(heard))
        self._something.set()

    def _stand_by(self) -> None:
        self.leading.clear()
        _log.info("events_standing_by")

    # -- writing down and closing
    # ------------------------------------------------------------------------------------------------------

    async def write(self, heard: Sequence[Heard]) -> None:
        """Write changes down now. Raises StoreDown; may be repeated then."""
        if not heard:
            return
        written = await self._windows.write(heard)
        if written.known:
            self._metrics.events_refused("known").inc(written.known)
        if written.refused:
            self._refusals.note(UNREADABLE, "a window of a user", users=written.refused)
        self._due_in(written.next_ms)

    async def _write_each(self, heard: Sequence[Heard]) -> None:
        """Write changes down together, and one by one where that fails: what fails alone is counted and dropped."""
        try:
            await self.write(heard)
        except (Unsendable, *BAD_DATA) as error:
            if len(heard) == 1:
                self._refusals.note(UNREADABLE, heard[0].change.source, error=str(error))
                return
            for one in heard:
                await self._write_each((one,))

    async def _writing(self) -> None:
        failures = 0
        while True:
            await self._something.wait()
            self._something.clear()
            # Before the changes are taken: what came before these marks is among them, or written already.
            mark = min((ear.seen for ear in self._ears), default=0)
            pending, self._pending = self._pending, {}
            try:
                await self._write_each(tuple(pending))
                self._written_mark = mark
                failures = 0
            except StoreDown as error:
                self._pending = {**pending, **self._pending}
                self._something.set()
                self._metrics.store_errors("events").inc()
                _log.debug("store_down", error=error.message)
                await asyncio.sleep(_AGAIN_S[min(failures, len(_AGAIN_S) - 1)])
                failures += 1

    def _due_in(self, next_ms: int | None) -> None:
        self._due_s = None if next_ms is None else time.monotonic() + next_ms / 1000
        self._wake.set()

    async def _closing(self) -> None:
        while True:
            due_s = self._due_s if self.leading.is_set() else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due_s is None else max(0.0, due_s - time.monotonic())):
                    await self._wake.wait()
                self._wake.clear()
                continue
            await self._close_due()

    async def _close_due(self) -> None:
        try:
            closed = await self._windows.close()
        except StoreDown as error:
            self._metrics.store_errors("events").inc()
            _log.debug("store_down", error=error.message)
            self._due_s = time.monotonic() + _AGAIN_S[-1]
            return
        if closed.pings:
            self._metrics.pings_accepted("event").inc(closed.pings)
        self._due_in(closed.next_ms)
        if closed.full:
            self._metrics.pings_refused("queue_full").inc()
            self._due_s = time.monotonic() + _FULL_S
