"""Coalescing of received changes into windows: leadership, storing of changes, and buffering until then.

Every gateway subscribes, and one of them, the leader, stores the changes: it holds a lease. The others buffer the
received changes until the leader reports that they are stored (`standby_buffer`), and a gateway that takes over the
lease stores the changes in its buffer. So the end of a gateway loses no change, and if changes have no ids it causes
at most one additional ping.

| event | action |
| --- | --- |
| a change, and this gateway is the leader | stored immediately, together with all that arrived meanwhile |
| a change, and this gateway is a standby | buffered |
| a mark | everything before it was received |
| the lease is taken | the buffer is stored; open windows are closed |
| a subscriber of this gateway lost its connection | the lease is released, and not taken for `STANDBY_AFTER_LOSS_S` |
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from gateway.change_events.rejections import Rejections
from gateway.change_events.subscriber import ChangeSubscriber
from gateway.change_events.windows import ChangeWindows, PendingChange
from gateway.errors import BAD_DATA, StoreDown, UnreadableEntry
from gateway.metrics import Metrics
from gateway.queue.ping_queue import BacklogLimits
from gateway.scheduling.background import run_in_background
from gateway.settings import Settings
from gateway.store.command_encoding import UnsendableCommand
from gateway.store.connection import Reply
from protocols.change_events import Change, SourceRules, change_of, parse
from protocols.errors import InputError
from protocols.numbers import whole
from protocols.ping.model import CHANGE_EVENTS

HEARTBEAT_S: Final = 0.5
STANDBY_AFTER_LOSS_S: Final = 1.5
PENDING_MAX: Final = 1_000_000
"""Most changes buffered while Redis accepts none; further changes are counted as lost."""
_RETRY_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
UNREADABLE: Final = UnreadableEntry.label
"""Reason of a change that could not be read or stored."""
_QUEUE_FULL_RETRY_S: Final = 1.0
"""Delay before due windows are tried again after the backlog was full."""
_GAP_MIN_S: Final = 0.5
"""A shorter time without any subscription is within the difference between Redis' clock and the local one."""

_log = structlog.get_logger("change_events")


def source_rules(settings: Settings) -> SourceRules:
    """The rules for sources that push (contract §5): by `events.sources`, else by `push_notify`."""
    shared = frozenset(name for name, source in settings.sources.items() if source.partition_type == "app")
    listed = settings.events.sources
    if listed is not None:
        return SourceRules(frozenset(listed), shared, listed=True)
    pushing = frozenset(name for name, source in settings.sources.items() if source.push_notify)
    return SourceRules(pushing, shared)


class Coalescer:
    """Receives changes, stores them, and makes pings of them.

    Args:
        name: name of this gateway; each of its processes adds a random suffix.
        rules: the sources that push.
        windows: the store of changes.
        metrics: the metrics of this process.
    """

    def __init__(self, name: str, rules: SourceRules, windows: ChangeWindows, metrics: Metrics) -> None:
        self.rules = rules
        self.leader = asyncio.Event()
        """Set while this gateway is the leader."""
        self._instance = f"{name}.{secrets.token_hex(4)}"
        self._windows = windows
        self._metrics = metrics
        self._rejections = Rejections(metrics)
        self._received = metrics.change_events_received
        self._subscribers: Sequence[ChangeSubscriber] = ()
        self._pending: dict[PendingChange, None] = {}
        self._pending_event = asyncio.Event()
        self._wake = asyncio.Event()
        self._due_s: float | None = None
        self._marks = 0
        self._written_mark = 0
        self._since_s = time.monotonic()
        self._standby_until_s = 0.0
        self._may_lead = False  # from the request for the lease on: its answer can be lost
        self._tasks: list[asyncio.Task[None]] = []

    def apply_settings(self, settings: Settings) -> None:
        """Apply reloaded settings: the sources that push, and the backlog's limits."""
        self.rules = source_rules(settings)
        self._windows.limits = BacklogLimits(settings.limits.queue_pings, settings.limits.queue_bytes)

    def start(self, subscribers: Sequence[ChangeSubscriber]) -> None:
        """Start the tasks. The subscribers are open and call `on_message` and `on_mark`."""
        self._subscribers = subscribers
        self._since_s = time.monotonic()
        work = {"beat": self._heartbeat_loop, "write": self._write_loop, "close": self._close_loop}
        self._tasks = [
            run_in_background(loop, f"events:{name}", restart_s=HEARTBEAT_S, on_error=self._on_error)
            for name, loop in work.items()
        ]

    async def close(self) -> None:
        """Store the received changes, as far as Redis accepts them, and release the lease."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreDown):
            if self.leader.is_set():
                await self.write(tuple(self._pending))
            if self._may_lead:
                await self._windows.release(self._instance)

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, StoreDown):
            self._metrics.store_errors("change_events").inc()

    # -- reception -------------------------------------------------------------------------------------------

    def on_message(self, subscriber: ChangeSubscriber, message: Reply) -> None:
        """Handle a message."""
        if message[0] == b"pmessage":
            self._keyspace(subscriber, message[2], message[3])
            return
        self._received("channel").inc()
        pending = self.read_event(message[2])
        if pending is not None:
            self._buffer(subscriber, pending)

    def read_event(self, event: bytes) -> PendingChange | None:
        """Read an event; None if it causes no push, which is counted."""
        try:
            change = parse(event)
        except InputError as error:
            self._rejections.record(error.label, event, error=error.message)
            return None
        except BAD_DATA as error:
            self._rejections.record(UNREADABLE, event, error=str(error))
            return None
        return PendingChange(change) if self._is_pushed(change, event) else None

    def _keyspace(self, subscriber: ChangeSubscriber, channel: bytes, event: bytes) -> None:
        try:
            change = change_of(channel, event)
        except InputError as error:
            self._rejections.record(error.label, channel, error=error.message)
            return
        if change is None:
            return
        self._received("keyspace").inc()
        if self._is_pushed(change, channel):
            self._buffer(subscriber, PendingChange(change, bounded=True))

    def _is_pushed(self, change: Change, example: bytes) -> bool:
        refusal = self.rules.refusal(change.source)
        if refusal is not None:
            self._rejections.record(refusal, example)
        return refusal is None

    def _buffer(self, subscriber: ChangeSubscriber, pending: PendingChange) -> None:
        if self.leader.is_set():
            buffered = len(self._pending) < PENDING_MAX
            if buffered:
                self._pending[pending] = None
                self._pending_event.set()
        else:
            buffered = subscriber.standby_buffer.add(pending)
        if not buffered:
            self._rejections.record("overflow", pending.change.source)

    def on_mark(self, subscriber: ChangeSubscriber, mark: str) -> None:
        """Handle a mark; its meaning depends on the gateway that sent it."""
        name, _, number = mark.rpartition("#")
        last_mark = whole(number) if name == self._instance else None
        if last_mark is not None:
            subscriber.last_mark = last_mark
            self._pending_event.set()
        if not self.leader.is_set():
            subscriber.standby_buffer.mark(mark)

    def on_gap(self, seconds: float) -> None:
        """Record that no messages were received for this time."""
        self._since_s = time.monotonic()
        self._report_gap(seconds)

    def _report_gap(self, seconds: float) -> None:
        self._metrics.change_events_unmonitored_seconds.inc(seconds)
        _log.warning(
            "change_events_missed", seconds=round(seconds, 1), disconnected="changes published meanwhile"
        )

    # -- leadership ------------------------------------------------------------------------------------------

    async def _heartbeat_loop(self) -> None:
        while True:
            await self._heartbeat()
            await asyncio.sleep(HEARTBEAT_S)

    async def _heartbeat(self) -> None:
        now = time.monotonic()
        if self._take_disconnected() and self.leader.is_set():
            self._standby_until_s = now + STANDBY_AFTER_LOSS_S
            self._become_standby()
            await self._windows.release(self._instance)
            self._may_lead = False
        if now < self._standby_until_s:
            return
        mark = f"{self._instance}#{self._written_mark}" if self.leader.is_set() else ""
        self._may_lead = True
        lease = await self._windows.hold(self._instance, mark, int((now - self._since_s) * 1000))
        self._may_lead = lease.held
        if lease.held and not self.leader.is_set():
            self._become_leader(lease.gap_ms)
        elif not lease.held and self.leader.is_set():
            self._become_standby()
        for subscriber in self._subscribers:
            if lease.held:
                subscriber.publish(f"{self._instance}#{self._marks + 1}")
            else:
                subscriber.standby_buffer.discard_before(lease.mark)
                subscriber.probe()
        self._marks += int(lease.held)

    def _take_disconnected(self) -> bool:
        disconnected = [subscriber for subscriber in self._subscribers if subscriber.disconnected]
        for subscriber in disconnected:
            subscriber.disconnected = False
        return bool(disconnected)

    def _become_leader(self, gap_ms: int | None) -> None:
        self.leader.set()
        buffered = [
            pending for subscriber in self._subscribers for pending in subscriber.standby_buffer.take_all()
        ]
        self._buffer_all(buffered)
        self._due_s = time.monotonic()
        self._wake.set()
        _log.info("change_events_leader", buffered=len(buffered))
        gap_s = (gap_ms or 0) / 1000 - (time.monotonic() - self._since_s)
        if gap_s > _GAP_MIN_S:
            self._report_gap(gap_s)

    def _buffer_all(self, pending: Iterable[PendingChange]) -> None:
        self._pending.update(dict.fromkeys(pending))
        self._pending_event.set()

    def _become_standby(self) -> None:
        self.leader.clear()
        _log.info("change_events_standby")

    # -- storing changes and closing windows -----------------------------------------------------------------

    async def write(self, pending: Sequence[PendingChange]) -> None:
        """Store changes now. Raises StoreDown; a repetition is safe."""
        if not pending:
            return
        written = await self._windows.write(pending)
        if written.known:
            self._metrics.change_events_ignored("known").inc(written.known)
        if written.refused:
            self._rejections.record(UNREADABLE, "a window of a user", users=written.refused)
        self._due_in(written.next_ms)

    async def _write_each(self, pending: Sequence[PendingChange]) -> None:
        """Store changes together, or one by one if that fails: a change that fails alone is counted and dropped."""
        try:
            await self.write(pending)
        except (UnsendableCommand, *BAD_DATA) as error:
            if len(pending) == 1:
                self._rejections.record(UNREADABLE, pending[0].change.source, error=str(error))
                return
            for one in pending:
                await self._write_each((one,))

    async def _write_loop(self) -> None:
        failures = 0
        while True:
            await self._pending_event.wait()
            self._pending_event.clear()
            # Read before the changes are taken: everything before these marks is among them, or stored already.
            mark = min((subscriber.last_mark for subscriber in self._subscribers), default=0)
            pending, self._pending = self._pending, {}
            try:
                await self._write_each(tuple(pending))
                self._written_mark = mark
                failures = 0
            except StoreDown as error:
                self._put_back(pending)
                self._metrics.store_errors("change_events").inc()
                _log.debug("redis_unavailable", error=error.message)
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
            except BaseException:
                # After a cancellation, `close` stores the changes; after a defect, the next attempt.
                self._put_back(pending)
                raise

    def _put_back(self, pending: dict[PendingChange, None]) -> None:
        """Keep changes that may not be stored; to store them again is safe."""
        self._pending = {**pending, **self._pending}
        self._pending_event.set()

    def _due_in(self, next_ms: int | None) -> None:
        self._due_s = None if next_ms is None else time.monotonic() + next_ms / 1000
        self._wake.set()

    async def _close_loop(self) -> None:
        while True:
            due_s = self._due_s if self.leader.is_set() else None
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
            self._metrics.store_errors("change_events").inc()
            _log.debug("redis_unavailable", error=error.message)
            self._due_s = time.monotonic() + _RETRY_S[-1]
            return
        if closed.pings:
            self._metrics.pings_accepted(CHANGE_EVENTS).inc(closed.pings)
        if closed.refused:
            self._rejections.record(UNREADABLE, "a window of a user", users=closed.refused)
        self._due_in(closed.next_ms)
        if closed.full:
            self._metrics.pings_refused("queue_full").inc()
            self._due_s = time.monotonic() + _QUEUE_FULL_RETRY_S
