"""RhoConnect's part of syncs: `last_sync` of one device after another is set, as a server does at each sync."""

import time
from typing import Final

import msgspec

from gateway.bench.population import device_id
from gateway.bench.roles import orders, result
from gateway.bench.store import client_of
from gateway.registry.user_devices import SYNC
from gateway.store import keys
from gateway.store.address import RedisAddress

_FORM: Final = "%Y-%m-%dT%H:%M:%S+0000"


class SyncOrder(msgspec.Struct):
    """One order.

    Attributes:
        redis: address of RhoConnect's Redis.
        users: number of users, each with one device.
        first: number of the first device.
        count: number of syncs, of one device after another.
        rate: syncs a second.
    """

    redis: str
    users: int
    first: int
    count: int
    rate: float


def _sync(order: SyncOrder) -> int:
    """Write the syncs at their times, and return their number."""
    with client_of(RedisAddress.parse(order.redis)) as client:
        begun = time.monotonic()
        for number in range(order.count):
            if (early := begun + number / order.rate - time.monotonic()) > 0:
                time.sleep(early)
            device = device_id((order.first + number) % order.users)
            client.set(keys.client(device, SYNC), time.strftime(_FORM, time.gmtime()))
    return order.count


if __name__ == "__main__":
    for each in orders(SyncOrder):
        result(_sync(each))
