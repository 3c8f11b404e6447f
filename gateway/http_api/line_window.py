"""The lines of one bulk request that are read and not answered yet, in their order, and the bound on them.

A line enters the window when it is read and leaves it when its answer is written, so the window bounds both the pings
that wait for Redis and the answers that wait for the client. While it is full, no further line is read.
"""

import asyncio
from collections import deque
from typing import Any, Final, Protocol

import orjson

from gateway.errors import PossiblyAccepted, RhoPushError
from gateway.http_api import responses
from gateway.http_api.dependencies import Dependencies
from gateway.queue.producer import Accepted
from gateway.telemetry.values import Counter

WINDOW_LINES: Final = 2_000
"""Lines without an answer: ten entries of the queue."""
WINDOW_BYTES: Final = 1_048_576
"""Bytes of lines without an answer. A longer line is the only one in the window."""


class LineSink(Protocol):
    """Takes the lines of a window as they are answered."""

    def on_ready(self) -> None:
        """The first line of the window is answered."""


class BulkLine:
    """One line. The queue calls it with the outcome of its ping.

    Attributes:
        number: its place in the body, from 1.
        size: its bytes.
        ping_id: of its ping.
        warning: what was not understood, as in X-Ping-Warning.
        refusal: the JSON object of its answer where it was refused.
        ready: whether it has an answer.
    """

    __slots__ = ("_window", "number", "ping_id", "ready", "refusal", "size", "warning")

    def __init__(self, window: "LineWindow", number: int, size: int) -> None:
        self._window = window
        self.number = number
        self.size = size
        self.ping_id = ""
        self.warning = ""
        self.refusal: dict[str, Any] | None = None
        self.ready = False

    def __call__(self, outcome: Accepted | RhoPushError | None) -> None:
        """Settle its answer."""
        window = self._window
        if isinstance(outcome, RhoPushError):
            window.count_refused(outcome)
            self.refusal = refusal(outcome, self.number, self.ping_id)
        else:
            window.accepted.value += 1  # for each ping: without the call of `inc`
            if outcome is not None:
                self.ping_id = outcome.ping_id
        self.ready = True
        if window.first is self:
            window.on_ready()

    def render(self) -> bytes:
        """The line of the answer."""
        if self.refusal is not None:
            return orjson.dumps(self.refusal) + b"\n"
        if self.warning:
            return orjson.dumps({"ping_id": self.ping_id, "warning": self.warning}) + b"\n"
        return b'{"ping_id":"%b"}\n' % self.ping_id.encode()


def refusal(error: RhoPushError, number: int, ping_id: str = "") -> dict[str, Any]:
    """The answer to a line that is refused. `ping_id`: of a ping that may have been accepted all the same."""
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
        services: what lies behind the routes.
        accepted: counts accepted pings.

    Attributes:
        accepted: see above.
        peak_lines, peak_bytes: most lines, and bytes of lines, that it held at a time.
    """

    def __init__(self, services: Dependencies, accepted: Counter) -> None:
        self._refused = services.metrics.pings_refused
        self._lines: deque[BulkLine] = deque()
        self._count = 0
        self._bytes = 0
        self._changed = asyncio.Event()
        self._sink: LineSink | None = None
        self.accepted = accepted
        self.peak_lines = 0
        self.peak_bytes = 0

    def open(self, sink: LineSink) -> None:
        """Hand answered lines to `sink` from now on."""
        self._sink = sink

    def add(self, number: int, size: int) -> BulkLine:
        """A line was read."""
        line = BulkLine(self, number, size)
        self._lines.append(line)
        self._count += 1
        self._bytes += size
        return line

    @property
    def first(self) -> BulkLine | None:
        """The first line without a written answer."""
        return self._lines[0] if self._lines else None

    @property
    def full(self) -> bool:
        """Whether no further line may be read."""
        return self._count >= WINDOW_LINES or self._bytes >= WINDOW_BYTES

    @property
    def empty(self) -> bool:
        """Whether every line that was read has its answer written."""
        return not self._count

    def on_ready(self) -> None:
        """The first line is answered."""
        if self._sink is not None:
            self._sink.on_ready()

    def count_refused(self, error: RhoPushError) -> None:
        """Count a refused line."""
        self._refused(error.label).inc()

    def take(self) -> list[BulkLine]:
        """The answered lines at the beginning. They count until `release`."""
        lines, taken = self._lines, []
        while lines and lines[0].ready:
            taken.append(lines.popleft())
        return taken

    def release(self, lines: list[BulkLine]) -> None:
        """Their answers are written."""
        self.peak_lines = max(self.peak_lines, self._count)
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        self._count -= len(lines)
        self._bytes -= sum(line.size for line in lines)
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
