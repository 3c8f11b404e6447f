"""Recording of the requests to a simulator: in memory, to wait for and to iterate over, and in a JSON Lines file."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, overload

import msgspec

from protocols.simulation.record import SimulatedRecord

KEEP: Final = 100_000
"""Default number of records in memory; at any time, between this number and twice as many are stored."""


class Recording(Sequence[SimulatedRecord]):
    """Every request to a simulator, oldest first, including refused ones and those that met a fault.

    Attributes:
        total: number of all requests, including those no longer in memory.
        total_accepted: number of accepted requests.
    """

    def __init__(self, keep: int = KEEP) -> None:
        self.total = 0
        self.total_accepted = 0
        self._keep = keep
        self._records: list[SimulatedRecord] = []
        self._observers: list[Callable[[SimulatedRecord], None]] = []
        self._more = asyncio.Event()

    def append(self, record: SimulatedRecord) -> None:
        """Add a record, and call the observers."""
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
        """Call `observer` with each record from now on, in the event loop, before the answer is sent."""
        self._observers.append(observer)

    @property
    def accepted(self) -> list[SimulatedRecord]:
        """The accepted records in memory."""
        return [record for record in self._records if record.accepted]

    def clear(self) -> None:
        """Remove all records from memory; the totals stay."""
        self._records.clear()

    async def wait(self, count: int, timeout_s: float = 30.0) -> list[SimulatedRecord]:
        """Wait until `count` records are in memory, and return them all. Raises TimeoutError."""
        await self._until(lambda: len(self._records) >= count, timeout_s)
        return list(self._records)

    async def wait_accepted(self, total: int, timeout_s: float = 30.0) -> list[SimulatedRecord]:
        """Wait until `total` requests were accepted since the start, and return those in memory. Raises
        TimeoutError."""
        await self._until(lambda: self.total_accepted >= total, timeout_s)
        return self.accepted

    async def _until(self, true: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not true():
                await self._more.wait()

    async def follow(self) -> AsyncIterator[SimulatedRecord]:
        """Iterate over each record from now on as it arrives; a slow consumer misses none."""
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
    """A JSON Lines file of records, each written completely as soon as it is made.

    It contains complete push tokens and messages, to be compared with the intended ones: only its owner may read it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encoder = msgspec.json.Encoder()

    def write(self, record: SimulatedRecord) -> None:
        """Append one line in one write, so that two simulators may share a file."""
        os.write(self._descriptor, self._encoder.encode(record) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
