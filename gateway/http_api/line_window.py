"""The lines of one bulk request that are read and not answered yet, in order, and their limits.

A line enters the window when it is read and leaves it when its answer is written, so the window bounds both the pings
that wait for Redis and the answers that wait for the client. While the window is full, no further line is read.
"""

import asyncio
from collections import deque
from typing import Any, Final, Protocol

import msgspec
import orjson

from gateway.errors import PossiblyAccepted, RhoPushError
from gateway.http_api import responses
from gateway.http_api.dependencies import Dependencies
from gateway.queue.append_batch import Accepted
from gateway.telemetry.values import Counter

WINDOW_LINES: Final = 2_000
"""Largest number of lines without an answer: ten entries of the queue."""
WINDOW_BYTES: Final = 1_048_576
"""Largest number of bytes of lines without an answer. A longer line is alone in the window."""


class LineSink(Protocol):
    """Receives the lines of a window once they are answered."""

    def on_ready(self) -> None:
        """Handle the answer to the first line of the window."""


class BulkLine(msgspec.Struct, eq=False):
    """One line. The queue calls `on_outcome` with the outcome of its ping.

    Attributes:
        window: the lines of the request.
        number: line number in the body, from 1.
        size: length in bytes.
        ping_id: id of its ping.
        warning: unknown parameters, as in X-Ping-Warning.
        refusal: the JSON object of the answer to a refused line.
        ready: whether the line has an answer.
    """

    window: "LineWindow"
    number: int
    size: int
    ping_id: str = ""
    warning: str = ""
    refusal: dict[str, Any] | None = None
    ready: bool = False

    def on_outcome(self, outcome: Accepted | RhoPushError | None) -> None:
        """Record the answer."""
        window = self.window
        if isinstance(outcome, RhoPushError):
            window.count_refused(outcome)
            self.refusal = refusal(outcome, self.number, self.ping_id)
        else:
            window.accepted.value += 1  # faster than a call of `inc`, for each ping
            if outcome is not None:
                self.ping_id = outcome.ping_id
        self.ready = True
        if window.lines[0] is self:
            window.on_ready()

    def render(self) -> bytes:
        """Return the answer as a line."""
        if self.refusal is not None:
            return orjson.dumps(self.refusal) + b"\n"
        if self.warning:
            return orjson.dumps({"ping_id": self.ping_id, "warning": self.warning}) + b"\n"
        return b'{"ping_id":"%b"}\n' % self.ping_id.encode()


def refusal(error: RhoPushError, number: int, ping_id: str = "") -> dict[str, Any]:
    """Return the answer to a refused line. `ping_id`: the id of a ping that was possibly accepted."""
    about: dict[str, Any] = {**responses.error_object(error)}
    after_s = responses.retry_after_s(error)
    if after_s is not None:
        about["retry_after_s"] = after_s
    answer: dict[str, Any] = {"error": about, "line": number}
    if isinstance(error, PossiblyAccepted):
        answer["ping_id"] = error.ping_id or ping_id
    return answer


class LineWindow:
    """The lines of one request.

    Args:
        services: the services behind the HTTP API.
        accepted: the counter of accepted pings.

    Attributes:
        accepted: see above.
        lines: the lines without a written answer, in order.
        full: whether the limits of the window are reached.
        peak_lines, peak_bytes: largest number of lines, and of their bytes, in the window at once.
    """

    def __init__(self, services: Dependencies, accepted: Counter) -> None:
        self._refused = services.metrics.pings_refused
        self._count = 0
        self._bytes = 0
        self._changed = asyncio.Event()
        self._sink: LineSink | None = None
        self.accepted = accepted
        self.lines: deque[BulkLine] = deque()
        self.full = False
        self.peak_lines = 0
        self.peak_bytes = 0

    def open(self, sink: LineSink) -> None:
        """Pass answered lines to `sink` from now on."""
        self._sink = sink

    def add(self, number: int, size: int) -> BulkLine:
        """Add a line that was read."""
        line = BulkLine(self, number, size)
        self.lines.append(line)
        self._count = count = self._count + 1
        self._bytes = total = self._bytes + size
        if count >= WINDOW_LINES or total >= WINDOW_BYTES:
            self.full = True
        return line

    @property
    def empty(self) -> bool:
        """Whether every line that was read has its answer written."""
        return not self._count

    def on_ready(self) -> None:
        """Handle the answer to the first line."""
        if self._sink is not None:
            self._sink.on_ready()

    def count_refused(self, error: RhoPushError) -> None:
        """Count a refused line."""
        self._refused(error.label).inc()

    def take(self) -> list[BulkLine]:
        """Return the answered lines at the beginning. They count towards the limits until `release`."""
        lines, taken = self.lines, []
        while lines and lines[0].ready:
            taken.append(lines.popleft())
        return taken

    def release(self, lines: list[BulkLine]) -> None:
        """Remove lines whose answers are written."""
        self.peak_lines = max(self.peak_lines, self._count)
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        self._count -= len(lines)
        self._bytes -= sum([line.size for line in lines])
        self.full = self._count >= WINDOW_LINES or self._bytes >= WINDOW_BYTES
        self._changed.set()

    async def room(self) -> None:
        """Wait until a line may be read."""
        while self.full:
            self._changed.clear()
            await self._changed.wait()

    async def emptied(self) -> None:
        """Wait until every line has its answer written."""
        while self._count:
            self._changed.clear()
            await self._changed.wait()
