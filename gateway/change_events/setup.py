"""The door of data changes, put together and opened."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from gateway.change_events.coalescer import Coalescer, source_rules
from gateway.change_events.stream import ChangeStreamReader
from gateway.change_events.subscriber import ChangeSubscriber, Subscription
from gateway.change_events.windows import ChangeWindows
from gateway.metrics import Metrics
from gateway.queue.producer import BacklogLimits
from gateway.settings import Settings
from gateway.store.address import RedisAddress, document_addresses, main_address, queue_address
from gateway.store.connection import RedisConnection

_OPEN_S: Final = 15.0


@asynccontextmanager
async def open_change_events(
    settings: Settings, name: str, metrics: Metrics
) -> AsyncIterator[Coalescer | None]:
    """Listen until the block ends; None where nothing is to be listened to.

    Args:
        settings: `events`, `sources`, and the addresses.
        name: this gateway's, the same after a restart.
        metrics: what is counted.

    Raises:
        StoreDown: Redis cannot be reached.
    """
    events = settings.events
    if not events.channels and not events.streams and events.keyspace == "off":
        yield None
        return
    async with AsyncExitStack() as opened:
        connection = RedisConnection(queue_address(settings), "events:windows")
        await connection.open(_OPEN_S)
        opened.push_async_callback(connection.close)
        windows = ChangeWindows(
            connection,
            BacklogLimits(settings.limits.queue_pings, settings.limits.queue_bytes),
            window_ms=events.window_ms,
            interval_ms=int(events.min_interval_s * 1000),
            bounding=events.keyspace != "off",
        )
        coalescer = Coalescer(name, source_rules(settings), windows, metrics)
        subscribers = [
            ChangeSubscriber(address, hearing, coalescer.on_message, coalescer.on_mark, coalescer.on_gap)
            for address, hearing in _subscriptions(settings)
        ]
        for subscriber in subscribers:
            await subscriber.open(_OPEN_S)
            opened.push_async_callback(subscriber.close)
        coalescer.start(subscribers)
        opened.push_async_callback(coalescer.close)
        if events.streams:
            reading = ChangeStreamReader(main_address(settings), events.streams, coalescer, metrics)
            await reading.open(_OPEN_S)
            opened.push_async_callback(reading.close)
        yield coalescer


def _subscriptions(settings: Settings) -> list[tuple[RedisAddress, Subscription]]:
    """What to listen for where: writers tell on RhoConnect's first Redis; its documents are spread over all
    (contract §7)."""
    events = settings.events
    main = main_address(settings)
    found = [(main, Subscription(events.channels, events.keyspace))]
    if events.keyspace != "off":
        others = dict.fromkeys(address for address in document_addresses(settings) if address != main)
        found += [(address, Subscription(keyspace=events.keyspace)) for address in others]
    return found
