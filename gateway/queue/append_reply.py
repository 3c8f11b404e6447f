"""The reply of Redis to an append, as the outcome for the callers and as a lease."""

from collections.abc import Sequence
from typing import Any

from gateway.errors import QueueFull, RhoPushError, ScheduleFull, StoreDown, StoreRefused
from gateway.queue.append_batch import AppendBatch
from gateway.queue.entries import Entry, Lease, leases_of
from gateway.store.connection import RedisReplyError, Reply
from gateway.store.error_text import refused_text


def error_of(reply: Reply) -> RhoPushError | None:
    """The error for the callers of a batch; None: accepted."""
    if isinstance(reply, StoreDown):
        return plain_error(reply)
    word = reply[0]
    if word == b"full":
        return QueueFull("the queue has reached limits.queue_pings or limits.queue_bytes")
    if word == b"schedule_full":
        return ScheduleFull(
            "as many pings are scheduled as limits.scheduled_pings and limits.scheduled_bytes allow"
        )
    if word == b"void":
        return StoreDown("the append was cancelled after its reply was lost")
    return None


def lease_of(batch: AppendBatch, payload: bytes, entry: Entry, reply: Sequence[Any]) -> Lease:
    """The entry that the append leased: the batch itself, or an older entry that no consumer had read."""
    _, number, oldest = reply
    if oldest == b"own":
        return Lease(batch.stream, number.decode(), payload, len(entry.pings), batch.size, False, entry)
    return leases_of(batch.stream, [oldest], redelivered=False)[0]


def plain_error(error: StoreDown) -> StoreDown:
    """An error of Redis in the words of the ingresses: for operators if they must act, else without details."""
    if isinstance(error, RedisReplyError):
        lasting = isinstance(error, StoreRefused)
        why = error.words if lasting else refused_text(error.message)
        wrapped = (StoreRefused if lasting else StoreDown)(f"Redis refused the append: {why}")
    else:
        wrapped = StoreDown("Redis cannot be reached")
    wrapped.__cause__ = error
    return wrapped
