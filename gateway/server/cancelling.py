"""Assembly of the part of a worker that follows the cancelled pings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.fanout.cancellation_watch import CancellationWatch
from gateway.queue.cancelled_ids import CancelledIds
from gateway.store.connection import RedisConnection


@asynccontextmanager
async def open_cancellation(
    connection: RedisConnection,
    cancelled: CancelledPings,
    unsaved: UnsavedVerdicts,
    lane_manager: LaneManager,
) -> AsyncIterator[None]:
    """Follow the cancelled pings, from before the first entry is read. Raises StoreDown."""
    mailbox = lane_manager.mailbox
    watch = CancellationWatch(
        CancelledIds(connection),
        cancelled,
        unsaved,
        lane_manager.end_cancelled,
        None if mailbox is None else mailbox.withdraw,
    )
    await watch.open()
    try:
        yield
    finally:
        await watch.close()
