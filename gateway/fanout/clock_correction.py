"""Timestamps of stored chunks by the present clock."""

import msgspec

from gateway.clock import SHARED_CLOCK
from gateway.queue.entries import Chunk


def by_present_clock(chunk: Chunk) -> Chunk:
    """The chunk with its timestamps corrected to the present clock, in case Redis' clock was set since they were
    stored."""
    accepted_ms = SHARED_CLOCK.corrected(chunk.ping.accepted_ms)
    first_ms = SHARED_CLOCK.corrected(chunk.first_ms)
    if accepted_ms == chunk.ping.accepted_ms and first_ms == chunk.first_ms:
        return chunk
    ping = msgspec.structs.replace(chunk.ping, accepted_ms=accepted_ms)
    return msgspec.structs.replace(chunk, ping=ping, first_ms=first_ms)
