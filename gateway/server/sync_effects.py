"""Assembly of the effect of pings in a worker (`gateway.fanout.sync_effects`)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.delivery.lane_manager import LaneManager
from gateway.fanout.sync_effects import SyncEffects
from gateway.metrics import Metrics
from gateway.queue.effects import EffectStore
from gateway.registry.invalidation import InvalidationListener
from gateway.store.connection import RedisConnection


@asynccontextmanager
async def open_sync_effects(
    store: EffectStore,
    look_ups: RedisConnection,
    metrics: Metrics,
    invalidations: InvalidationListener,
    lanes: LaneManager,
) -> AsyncIterator[None]:
    """Record the effect of pings until the block ends. `lanes` has no lane yet."""
    effects = SyncEffects(store, look_ups, metrics)
    await effects.open()
    lanes.awaited = effects.awaited
    invalidations.on_changes = effects.on_changes
    invalidations.on_tracked = effects.on_tracked
    effects.on_tracked()  # tracking may have begun before
    try:
        yield
    finally:
        await effects.close()
