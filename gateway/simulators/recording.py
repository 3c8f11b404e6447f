"""What the simulated devices got: in memory, to wait for and to iterate over; and in a file, a line each."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, overload

import msgspec

from protocols.simulation.record import SimulatedRecord

KEEP: Final = 100_000
"""Records kept in memory by default; between this and twice as many are there at any time."""


class Recording(Sequence[SimulatedRecord]):
    """Every request to a simulator, oldest first. One that was refused, or met a fault, is here too.

    Attributes:
        total: how many there were in all, those no longer kept included.
        total_accepted: how many of them were accepted.
    """

    def __init__(self, keep: int = KEEP) -> None:
        self.total = 0
        self.total_accepted = 0
        self._keep = keep
        self._records: list[SimulatedRecord] = []
        self._observers: list[Callable[[SimulatedRecord], None]] = []
        self._more = asyncio.Event()

    def append(self, record: SimulatedRecord) -> None:
        """Add one, and tell the observers."""
        self.total += 1
        self.total_accepted += record.accepted
        self._records.append(record)
        if len(self._records) > 2 * self._keep:
            del self._records[: -self._keep]
        more, self._more = self._more, asyncio.Event()
        more.set()
        for observer in self._observers:
            observer(record)

    def observe(self, observer: Callable[[SimulatedRecord], None]) -> None:
        """Call `observer` with each record from now on, in the event loop, before the answer goes out."""
        self._observers.append(observer)

    @property
    def accepted(self) -> list[SimulatedRecord]:
        """The kept ones that were accepted."""
        return [record for record in self._records if record.accepted]

    def clear(self) -> None:
        """Forget the kept ones; the totals go on."""
        self._records.clear()

    async def wait(self, count: int, timeout_s: float = 30.0) -> list[SimulatedRecord]:
        """Wait until `count` are kept, and give them all. Raises TimeoutError."""
        await self._until(lambda: len(self._records) >= count, timeout_s)
        return list(self._records)

    async def wait_accepted(self, total: int, timeout_s: float = 30.0) -> list[SimulatedRecord]:
        """Wait until `total` were accepted since the start; give those kept. Raises TimeoutError."""
        await self._until(lambda: self.total_accepted >= total, timeout_s)
        return self.accepted

    async def _until(self, true: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not true():
                await self._more.wait()

    async def follow(self) -> AsyncIterator[SimulatedRecord]:
        """Each record from now on, as it comes; one that follows slower than they come misses none."""
        queue: asyncio.Queue[SimulatedRecord] = asyncio.Queue()
        self.observe(queue.put_nowait)
        try:
            while True:
                yield await queue.get()
        finally:
            self._observers.remove(queue.put_nowait)

    @overload
    def __getitem__(self, index: int) -> SimulatedRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[SimulatedRecord]: ...
    def __getitem__(self, index: int | slice) -> SimulatedRecord | list[SimulatedRecord]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[SimulatedRecord]:
        return iter(self._records)


class RecordFile:
    """A JSON Lines file of records, each there in full as soon as it was made.

    It holds whole device tokens and messages, to be compared with what was meant: only its owner may read it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encoder = msgspec.json.Encoder()

    def write(self, record: SimulatedRecord) -> None:
        """Append one line, by one write: two simulators may share a file."""
        os.write(self._descriptor, self._encoder.encode(record) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
