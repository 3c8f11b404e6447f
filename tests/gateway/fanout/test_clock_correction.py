"""Timestamps of stored chunks by the present clock."""

import pytest

from gateway.fanout import clock_correction
from gateway.fanout.clock_correction import by_present_clock
from gateway.queue.entries import Chunk
from protocols.ping.model import Ping


class Clock:
    """Corrects timestamps by a constant."""

    def __init__(self, by_ms: int) -> None:
        self._by_ms = by_ms

    def corrected(self, at_ms: int) -> int:
        return at_ms + self._by_ms


@pytest.mark.parametrize("by_ms", [0, -5_000])
def test_both_instants_of_a_chunk_are_corrected(monkeypatch: pytest.MonkeyPatch, by_ms: int) -> None:
    monkeypatch.setattr(clock_correction, "SHARED_CLOCK", Clock(by_ms))
    chunk = Chunk(Ping(id="a", accepted_ms=10_000), 0, (), 1, 12_000)
    found = by_present_clock(chunk)
    assert (found.ping.accepted_ms, found.first_ms) == (10_000 + by_ms, 12_000 + by_ms)
    assert (found is chunk) == (by_ms == 0)
