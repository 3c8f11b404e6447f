"""Planning of cancelled pings: their users and devices are counted without a look-up."""

from collections.abc import Iterator, Sequence
from itertools import islice

from gateway.delivery.batch import DeliveryBatch
from gateway.fanout.broadcast_targets import CHUNK_MISSING
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.consumer import BatchProgress
from gateway.queue.entries import Chunk
from gateway.queue.receipts import CANCELLED
from gateway.registry.user_devices import UserDevices
from gateway.store import keys
from protocols.ping.model import Ping


def users_of(batches: Sequence[DeliveryBatch], cancelled: frozenset[str]) -> list[str]:
    """The users of all pings of these batches, except those of cancelled pings, in order."""
    if not cancelled:
        return [user for batch in batches for ping in batch.pings for user in ping.users]
    return [
        user for batch in batches for ping in batch.pings if ping.id not in cancelled for user in ping.users
    ]


def known_of(
    batch: DeliveryBatch, found: Iterator[UserDevices], cancelled: frozenset[str]
) -> Sequence[Sequence[UserDevices] | None]:
    """The devices of the users of each ping of a batch; None for a cancelled ping.

    Args:
        batch: the batch.
        found: the devices of the users that `users_of` returned.
        cancelled: the argument of `users_of`.
    """
    if not cancelled:
        return [tuple(islice(found, len(ping.users))) for ping in batch.pings]
    return [None if ping.id in cancelled else tuple(islice(found, len(ping.users))) for ping in batch.pings]


def was_left_out(ping: Ping, progress: BatchProgress, number: int) -> bool:
    """Whether a ping was cancelled when its batch was planned.

    Args:
        ping: the ping.
        progress: the stored progress of its batch.
        number: index of the ping in the batch.
    """
    return bool(progress.skipped) and progress.skipped[number] == {CANCELLED: ping.named}


async def end_chunk(batch: DeliveryBatch, chunk: Chunk, store: BroadcastStore) -> int:
    """Plan a chunk or a retry of a cancelled ping; no delivery of it is left to be sent.

    A retry names each device, because the receipt has an earlier verdict on it. A chunk counts its users or devices.

    Returns:
        The number of users or devices that are left out.

    Raises:
        StoreDown: Redis did not answer.
    """
    if batch.lease.stream == keys.RETRIES:
        batch.begin_ping({})
        for client in chunk.clients:
            batch.reject(batch.add_delivery(client, ""), CANCELLED)
        return len(chunk.clients)
    number = len(chunk.clients)
    if chunk.chunk_index >= 0:
        number = len(await store.users(chunk.ping.id, chunk.chunk_index))
    batch.begin_ping({CANCELLED: number} if number else {CHUNK_MISSING: 1})
    return number
