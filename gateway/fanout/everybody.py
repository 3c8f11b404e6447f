"""Splitting of broadcasts to all users (`to.all_users`): the set of users is scanned, and written chunk by chunk.

Memory use does not depend on the number of users: a page of the scan becomes the users of some chunks, and the next
page is read when the workers have reached most chunks of the stream. A kill loses at most a page that no worker has.
"""

import asyncio
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.cancelled import CancelledPings
from gateway.errors import UnreadableEntry
from gateway.fanout.addressing import EMPTY_AUDIENCE
from gateway.fanout.in_flight import InFlight
from gateway.fanout.settlement import scanned_broadcast
from gateway.metrics import Metrics
from gateway.queue.entries import CHUNKS_MAX, Lease
from gateway.queue.everybody import EverybodyStore, ScanCursor, ScanStep
from gateway.queue.receipts import CANCELLED
from gateway.registry.user_scan import UserScan
from gateway.scheduling.scheduler import slices
from gateway.store import keys
from protocols.ping.model import Ping

_log = structlog.get_logger("broadcast")

STEP_USERS: Final = 8 * keys.CHUNK_USERS
"""Users of one step, exceeded by at most a page of the scan."""
AHEAD_CHUNKS: Final = 40
"""Chunks that may be on their stream before splitting pauses, including those that workers hold. With fewer chunks than
the workers have room for, batches are small, and a push costs more CPU."""
_PAUSE_S: Final = 0.02


class EverybodySplitter:
    """Splits broadcasts to all users.

    Args:
        store: the cursor, the users of the chunks and the stream of chunks.
        users: the scan of the set of users.
        in_flight: keeps the leases while broadcasts are split.
        metrics: counts broadcasts that reach nobody.
        cancelled: the cancelled pings of this worker.
    """

    def __init__(
        self,
        store: EverybodyStore,
        users: UserScan,
        in_flight: InFlight,
        metrics: Metrics,
        cancelled: CancelledPings,
    ) -> None:
        self._cancelled = cancelled
        self._store = store
        self._users = users
        self._in_flight = in_flight
        self._metrics = metrics

    async def split(self, lease: Lease, ping: Ping) -> bool:
        """Split one broadcast from its stored cursor to its end.

        Returns:
            False if another worker has the entry.

        Raises:
            StoreDown: Redis did not answer; the broadcast stays leased and resumes at its cursor.
            UnreadableEntry: the stored cursor is damaged, or there are too many users.
        """
        cursor = await self._store.cursor(lease)
        while not cursor.ended:
            if ping.id in self._cancelled.ids:
                await self._leave_out_rest(lease, ping, cursor)
                return True
            following = await self._step(lease, ping, cursor)
            if following is None:
                self._in_flight.release(lease)
                return False
            cursor = following
        skipped = {} if cursor.chunks else {EMPTY_AUDIENCE: 1}
        for reason, number in skipped.items():
            self._metrics.devices_skipped(reason).inc(number)
        self._in_flight.settle(scanned_broadcast(lease, ping, skipped, self._in_flight.events))
        return True

    async def _leave_out_rest(self, lease: Lease, ping: Ping, cursor: ScanCursor) -> None:
        """Settle a cancelled broadcast; the users whose chunks are not written are counted without a look-up."""
        left_out, run_id, position = 0, cursor.run_id, cursor.position
        while True:
            page = await self._users.page(run_id, position, STEP_USERS)
            left_out += len(page.users)
            run_id, position = page.run_id, page.position
            if not position:
                break
        self._cancelled.count(left_out)
        plan, begun = self._in_flight.events, bool(cursor.run_id)
        self._in_flight.settle(scanned_broadcast(lease, ping, {CANCELLED: left_out}, plan, begun=begun))

    async def _step(self, lease: Lease, ping: Ping, cursor: ScanCursor) -> ScanCursor | None:
        """Write the chunks of the next page, and wait until few are left; None if another worker has the entry."""
        page = await self._users.page(cursor.run_id, cursor.position, STEP_USERS)
        if page.restarted:
            _log.warning("user_scan_restarted", ping_id=ping.id, chunks=cursor.chunks)
        chunks = list(slices(page.users, keys.CHUNK_USERS))
        after = ScanCursor(cursor.chunks + len(chunks), page.run_id, page.position, ended=not page.position)
        if after.chunks > CHUNKS_MAX:
            raise UnreadableEntry(f"there are more users than {CHUNKS_MAX} chunks can hold")
        step = ScanStep(lease, ping, cursor, after, chunks)
        waiting = await self._store.write(step, SHARED_CLOCK.now_ms())
        while waiting > AHEAD_CHUNKS:
            await asyncio.sleep(_PAUSE_S)
            waiting = await self._store.waiting_chunks()
        return None if waiting < 0 else after
