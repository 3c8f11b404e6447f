"""The health of Redis servers that only some ways of pings need: the RhoConnect Push service's and Resque's.

Each has a connection of its own for the probe, where the settings give it another address than RhoConnect's Redis and
the queue's, whose health is known already.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from gateway.settings import Settings
from gateway.store.address import (
    RedisAddress,
    main_address,
    queue_address,
    resque_location,
    rhoconnect_push_address,
)
from gateway.store.connection import RedisConnection
from gateway.store.health import RedisHealth

RHOCONNECT_PUSH_REDIS: Final = "rhoconnect_push.redis"
"""The setting with the address of the Redis of RhoConnect Push."""


def further_addresses(settings: Settings) -> dict[str, RedisAddress]:
    """The address of each such Redis, by the setting that names it.

    Raises:
        BadSetting: a setting is not an address.
    """
    found: dict[str, RedisAddress] = {}
    if settings.rhoconnect_push.mode == "builtin":
        found[RHOCONNECT_PUSH_REDIS] = rhoconnect_push_address(settings)
    if settings.resque.queues:
        found["resque.redis"] = resque_location(settings).address
    known = (main_address(settings), queue_address(settings))
    return {name: address for name, address in found.items() if address not in known}


@asynccontextmanager
async def open_further_healths(settings: Settings) -> AsyncIterator[Sequence[RedisHealth]]:
    """Connect to each such Redis until the block ends. A Redis that cannot be reached does not delay the start.

    Raises:
        BadSetting: a setting is not an address.
    """
    async with AsyncExitStack() as opened:
        healths = []
        for name, address in further_addresses(settings).items():
            connection = RedisConnection(address, "health")
            connection.start()
            opened.push_async_callback(connection.close)
            healths.append(RedisHealth(name, connection, pinged=True))
        yield healths
