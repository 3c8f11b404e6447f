"""Construction and start of the ingress `change_events`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from gateway.change_events.coalescer import Coalescer, source_rules
from gateway.change_events.stream import ChangeStreamReader
from gateway.change_events.subscriber import ChangeSubscriber, Subscription
from gateway.change_events.windows import ChangeWindows
from gateway.metrics import Metrics
from gateway.queue.ping_queue import BacklogLimits
from gateway.settings import Settings
from gateway.store.address import RedisAddress, document_addresses, main_address, queue_address
from gateway.store.connection import RedisConnection

_OPEN_S: Final = 15.0


@asynccontextmanager
async def open_change_events(
    settings: Settings, name: str, metrics: Metrics
) -> AsyncIterator[Coalescer | None]:
    """Receive changes until the block ends; None if the settings name no source of changes.

    Args:
        settings: `events`, `sources`, and the addresses.
        name: name of this gateway, the same after a restart.
        metrics: the metrics of this process.

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
            ChangeSubscriber(address, subscription, coalescer.on_message, coalescer.on_mark, coalescer.on_gap)
            for address, subscription in _subscriptions(settings)
        ]
        for subscriber in subscribers:
            await subscriber.open(_OPEN_S)
            opened.push_async_callback(subscriber.close)
        coalescer.start(subscribers)
        opened.push_async_callback(coalescer.close)
        if events.streams:
            reader = ChangeStreamReader(main_address(settings), events.streams, coalescer, metrics)
            await reader.open(_OPEN_S)
            opened.push_async_callback(reader.close)
        yield coalescer


def _subscriptions(settings: Settings) -> list[tuple[RedisAddress, Subscription]]:
    """The subscriptions by Redis: writers publish on RhoConnect's first Redis, while documents are spread over all
    (contract §7)."""
    events = settings.events
    main = main_address(settings)
    found = [(main, Subscription(events.channels, events.keyspace))]
    if events.keyspace != "off":
        others = dict.fromkeys(address for address in document_addresses(settings) if address != main)
        found += [(address, Subscription(keyspace=events.keyspace)) for address in others]
    return found
