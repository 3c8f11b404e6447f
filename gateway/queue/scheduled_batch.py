"""A stored batch of scheduled pings: reading it, and removing a cancelled ping from it.

The ids of the pings of a batch contain their indexes. So a ping that is cancelled before its instant leaves an empty
one in the entry, which has no users and therefore no deliveries. Its receipt and the event of its completion are
written at the cancellation.
"""

import re
from typing import Final, NamedTuple

from gateway.errors import UnreadableEntry
from gateway.queue import schedule
from gateway.queue.entries import Entry, encode, read_broadcast, read_entry
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.numbers import stored
from protocols.ping.model import Ping

EMPTY: Final = Ping(ingress="")
"""Replaces a cancelled ping in its entry. The ping of a sender has an ingress, also if it has nothing else."""
_HEAD: Final = re.compile(rb"(\d+) (\d+) ([pb]) ")


class ScheduledBatch(NamedTuple):
    """A batch on the schedule.

    Attributes:
        due_ms: epoch ms of its instant.
        body: the stored text (`keys.SCHEDULED_BODIES`).
        pings: its number of pings that are not cancelled.
        size: their bytes, as they count against `limits.scheduled_bytes`.
        kind: `p` for pings, `b` for a broadcast.
        entry: the entry, with 0 as its instant of acceptance.
    """

    due_ms: int
    body: bytes
    pings: int
    size: int
    kind: str
    entry: Entry

    @property
    def is_broadcast(self) -> bool:
        """Whether the batch is one broadcast, whose users are stored beside the schedule."""
        return self.kind == "b"

    def has(self, ping_index: int) -> bool:
        """Whether the batch has a ping with this index that is not cancelled."""
        pings = self.entry.pings
        return ping_index < len(pings) and (self.is_broadcast or not was_cancelled(pings[ping_index]))

    def without(self, ping_index: int) -> "ScheduledBatch | None":
        """The batch without one of its pings; None: no other ping is left.

        The size of the ping is its share of the batch's size, by the lengths of the encoded pings.
        """
        if self.pings <= 1:
            return None
        pings = list(self.entry.pings)
        lengths = [len(encode(ping)) for ping in pings]
        share = self.size * lengths[ping_index] // max(1, sum(lengths))
        pings[ping_index] = EMPTY
        entry = Entry(self.entry.batch_id, 0, tuple(pings), self.entry.chunk_count)
        count, size = self.pings - 1, self.size - share
        return self._replace(
            body=schedule.body(count, size, self.kind, encode(entry), 0), pings=count, size=size, entry=entry
        )


def was_cancelled(ping: Ping) -> bool:
    """Return whether a ping of a released batch stands for one that was cancelled before."""
    return not ping.ingress


async def read_scheduled(connection: RedisConnection, batch_id: str) -> ScheduledBatch | None:
    """A batch on the schedule; None: it is not there.

    Raises:
        StoreDown: Redis did not answer.
        UnreadableEntry: the batch has no body, or one that cannot be read.
    """
    due_ms = await schedule.due_ms(connection, batch_id)
    if due_ms is None:
        return None
    body = await connection.call("HGET", keys.SCHEDULED_BODIES, batch_id)
    if body is None:  # released between the two reads, unless the body was lost
        if await schedule.due_ms(connection, batch_id) is None:
            return None
        raise UnreadableEntry("the scheduled batch has no body")
    return parse_scheduled(due_ms, body)


def parse_scheduled(due_ms: int, body: bytes) -> ScheduledBatch:
    """Read a stored batch. Raises UnreadableEntry."""
    head = _HEAD.match(body)
    if head is None:
        raise UnreadableEntry("not a scheduled batch")
    packed = body[head.end() :]
    kind = head[3].decode()
    read = read_broadcast if kind == "b" else read_entry
    entry = read(packed[: schedule.INSTANT_AT] + encode(0) + packed[schedule.INSTANT_AT :])
    return ScheduledBatch(due_ms, body, stored(head[1]), stored(head[2]), kind, entry)
