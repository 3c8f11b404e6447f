"""Follows the set of cancelled pings in Redis, and ends their deliveries in this worker and in the retry schedule.

Every worker reads the version of the set every `POLL_S`, one command. When it has changed, the worker reads the set,
and immediately gives the waiting deliveries of the cancelled pings their verdict. Therefore no worker begins a request
for a ping later than `STALE_S` after its cancellation: a worker that cannot read the version for this time, or does not
run, begins no request until it has read it.

One worker of all gateways sweeps a new version, as soon as all have read it: retries of the cancelled pings become due,
and messages in mailboxes are withdrawn. A worker that reads a version late may have scheduled a retry in the meantime;
it requests another sweep.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.errors import StoreDown, StoreRefused
from gateway.queue.cancelled_ids import CancelledIds
from gateway.scheduling.background import run_in_background

_log = structlog.get_logger("cancellation")

POLL_S: Final = 0.25
STALE_S: Final = 0.75
"""Age of the latest reading beyond which lanes begin no request; below the second that `DELETE` promises."""
GRACE_S: Final = 0.6
"""Time after which all workers that read the set in time have read a change."""
PRUNE_S: Final = 5.0
_NONE: Final[frozenset[str]] = frozenset()


class CancellationWatch:
    """Keeps the cancelled pings of a worker up to date.

    Args:
        ids: the set in Redis.
        cancelled: gets the ids.
        unsaved: prevents lanes from sending while the set cannot be read.
        on_cancelled: called after pings were added to `cancelled`.
        withdraw: removes the waiting messages of pings from mailboxes; None: this gateway has no mailboxes.
    """

    def __init__(
        self,
        ids: CancelledIds,
        cancelled: CancelledPings,
        unsaved: UnsavedVerdicts,
        on_cancelled: Callable[[], None],
        withdraw: Callable[[Sequence[str]], Awaitable[int]] | None = None,
    ) -> None:
        self._ids = ids
        self._cancelled = cancelled
        self._unsaved = unsaved
        self._on_cancelled = on_cancelled
        self._withdraw = withdraw
        self._withdrawn = _NONE
        """Ids whose messages this worker has withdrawn."""
        self._version: bytes | None = None
        """The version of `cancelled`; None: it was never read."""
        self._read_s = float("-inf")
        """Loop time at which the latest reading began."""
        self._stalled = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._unswept = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Read the set, then follow it. Raises StoreDown."""
        await self.poll()
        self._tasks = [
            run_in_background(loop, name, restart_s=POLL_S)
            for name, loop in (
                ("cancellation:poll", self._poll_loop),
                ("cancellation:sweep", self._sweep_loop),
                ("cancellation:prune", self._prune_loop),
            )
        ]

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        self._unsaved.extend(float("inf"))

    async def poll(self) -> None:
        """Read the version of the set, and the set if it has changed. Raises StoreDown."""
        begun_s = self._loop.time()
        version, swept = await self._ids.version()
        if version != self._version:
            found = await self._ids.read() if version else _NONE
            self._apply(version, found)
            if version and begun_s - self._read_s > GRACE_S - POLL_S:
                await self._ids.forget_sweep()
                swept = b""
        self._read_s = begun_s
        self._restart_timer()
        if version and swept != version:
            self._unswept.set()

    async def sweep(self) -> None:
        """Make the retries of cancelled pings due and withdraw their messages, unless another worker does it now.

        Raises:
            StoreDown: Redis did not answer; the sweep is repeated.
        """
        version = self._version
        if not version or (await self._ids.version()).swept == version or not await self._ids.begin_sweep():
            return
        done = b""
        try:
            due = await self._ids.sweep_retries()
            messages = await self._withdraw_messages()
            done = version
            _log.info("cancellation_sweep_completed", retries=due, messages=messages)
        finally:
            with contextlib.suppress(StoreDown):
                await self._ids.end_sweep(done)

    async def prune(self) -> None:
        """Remove the ids of finished pings from the set, unless another worker does it now. Raises StoreDown."""
        if not self._cancelled.ids or not await self._ids.begin_sweep():
            return
        try:
            await self._ids.prune()
        finally:
            with contextlib.suppress(StoreDown):
                await self._ids.end_sweep(b"")

    def _apply(self, version: bytes, ids: frozenset[str]) -> None:
        self._version = version
        fresh = ids - self._cancelled.ids
        self._cancelled.ids = ids
        self._withdrawn &= ids
        if fresh:
            self._on_cancelled()

    async def _withdraw_messages(self) -> int:
        ids = self._cancelled.ids
        names = sorted(ids - self._withdrawn)
        if self._withdraw is None or not names:
            return 0
        messages = 0
        with contextlib.suppress(StoreRefused):  # logged by the connection; a later sweep would fail, too
            messages = await self._withdraw(names)
        self._withdrawn = ids
        return messages

    def _restart_timer(self) -> None:
        """Let lanes send until the latest reading is `STALE_S` old."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._read_s + STALE_S, self._stall)
        self._unsaved.extend(self._read_s + STALE_S)
        if self._stalled:
            self._stalled = False
            _log.info("cancellation_reads_resumed")
            self._unsaved.hold(held=False)

    def _stall(self) -> None:
        self._stalled = True
        _log.warning("cancellation_reads_stalled", older_than_s=STALE_S)
        self._unsaved.hold(held=True)

    # -- loops -----------------------------------------------------------------------------------------------

    async def _poll_loop(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self.poll()

    async def _sweep_loop(self) -> None:
        while True:
            await self._unswept.wait()
            await asyncio.sleep(GRACE_S)
            self._unswept.clear()
            await self.sweep()

    async def _prune_loop(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_S)
            await self.prune()
