"""The door of data changes, put together and opened."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from gateway.change_events.coalescer import Listening, source_rules
from gateway.change_events.stream import StreamReading
from gateway.change_events.subscriber import Ear, Hearing
from gateway.change_events.windows import Windows
from gateway.metrics import Metrics
from gateway.queue.producer import Limits
from gateway.settings import Settings
from gateway.store.address import Address, document_addresses, main_address, queue_address
from gateway.store.connection import Link

_OPEN_S: Final = 15.0


@asynccontextmanager
async def open_events(settings: Settings, name: str, metrics: Metrics) -> AsyncIterator[Listening | None]:
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
        link = Link(queue_address(settings), "events:windows")
        await link.open(_OPEN_S)
        opened.push_async_callback(link.close)
        windows = Windows(
            link,
            Limits(settings.limits.queue_pings, settings.limits.queue_bytes),
            window_ms=events.window_ms,
            interval_ms=int(events.min_interval_s * 1000),
            bounding=events.keyspace != "off",
        )
        listening = Listening(name, source_rules(settings), windows, metrics)
        ears = [
            Ear(address, hearing, listening.told, listening.marked, listening.deaf)
            for address, hearing in _hearings(settings)
        ]
        for ear in ears:
            await ear.open(_OPEN_S)
            opened.push_async_callback(ear.close)
        listening.start(ears)
        opened.push_async_callback(listening.close)
        if events.streams:
            reading = StreamReading(main_address(settings), events.streams, listening, metrics)
            await reading.open(_OPEN_S)
            opened.push_async_callback(reading.close)
        yield listening


def _hearings(settings: Settings) -> list[tuple[Address, Hearing]]:
    """What to listen for where: writers tell on RhoConnect's first Redis; its documents are spread over all
    (contract §7)."""
    events = settings.events
    main = main_address(settings)
    found = [(main, Hearing(events.channels, events.keyspace))]
    if events.keyspace != "off":
        others = dict.fromkeys(address for address in document_addresses(settings) if address != main)
        found += [(address, Hearing(keyspace=events.keyspace)) for address in others]
    return found
