"""A worker's side of the metrics: it reports changes, and requests the rendered text from the supervisor.

No call waits for the supervisor: if the channel is full, the report is skipped, and the next report contains its
content, since reports carry states and not differences. A report does not block the loop for long either. A killed
worker loses its counts since the last report, which is at most `REPORT_S` old.
"""

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

import structlog

from gateway.errors import ChannelBroken, MetricsUnavailable
from gateway.logs import writer
from gateway.metrics import Metrics
from gateway.telemetry.frames import (
    Exposition,
    FromSupervisor,
    FromWorker,
    MetricsReport,
    ReportRequest,
    ScrapeRequest,
    encode,
    frames_from_supervisor,
)
from gateway.telemetry.values import Change

REPORT_S: Final = 1.0
"""Longest interval between two reports of a worker whose loop runs."""
ANSWER_S: Final = 3.0
"""Longest time of a scrape, whose first rendering takes a tenth of a second; a caller may wait for two of them."""
SLICE_S: Final = 0.0005
"""Longest time for which a report blocks the loop without a pause: a worker with many apps has thousands of counts."""
_SLICE_INTERVAL_FACTOR: Final = 32
_READ_BYTES: Final = 262_144

_log = structlog.get_logger("metrics")


class MetricsReporter:
    """Reports a worker's metrics.

    Args:
        channel: this worker's end of the channel to the supervisor.
        report_s: longest interval between two reports.
    """

    def __init__(self, channel: socket.socket, report_s: float = REPORT_S) -> None:
        self._channel = channel
        self._report_s = report_s
        self._frames = frames_from_supervisor()
        self._unsent = b""
        self._metrics: Metrics | None = None
        self._reported_at_s = -math.inf
        self._scrapes: dict[int, asyncio.Future[bytes]] = {}
        self._scrape_number = 0
        self._scraping = asyncio.Lock()
        self._next_scrape: asyncio.Task[bytes | None] | None = None  # not begun
        self._timer: asyncio.TimerHandle | None = None
        self._walk: Iterator[Change | None] | None = None
        self._walk_ends: list[FromWorker] = []
        self._ends: list[FromWorker] = []  # end markers of the next walk
        self._open = True
        channel.setblocking(False)

    def begin(self, metrics: Metrics) -> None:
        """Start to report `metrics`. Called once, on the loop."""
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._channel, self._readable)
        self._tick()

    async def scrape(self) -> bytes:
        """Return the rendered metrics of the whole gateway, including this worker's newest counts.

        Calls during a scrape share the next one, which begins after it: any number of callers needs two texts.

        Raises:
            MetricsUnavailable: the supervisor does not answer within `ANSWER_S`.
        """
        if self._next_scrape is None:
            self._next_scrape = asyncio.create_task(self._scrape_next(), name="scrape")
        text = await asyncio.shield(self._next_scrape)
        if text is None:
            raise MetricsUnavailable(f"the supervisor did not return metrics within {ANSWER_S:.0f} s")
        return text

    async def _scrape_next(self) -> bytes | None:
        async with self._scraping:
            self._next_scrape = None  # what is counted from now on may be missing in this text
            return await self._scrape_once()

    async def _scrape_once(self) -> bytes | None:
        """Return the text; None: the supervisor does not answer in time."""
        self._scrape_number += 1
        number = self._scrape_number
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._scrapes[number] = answer
        try:
            self._report(ScrapeRequest(number))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._scrapes[number]

    def close(self) -> None:
        """Make a last report, as far as the channel accepts it at once, and close the channel."""
        if self._metrics is not None and not self._unsent:
            self._send(MetricsReport(tuple(filter(None, self._metrics.values.changes()))))
        self._stop()

    def _tick(self) -> None:
        since_s = time.monotonic() - self._reported_at_s
        due = since_s >= self._report_s
        self._timer = self._loop.call_later(self._report_s - (0.0 if due else since_s), self._tick)
        if due:
            self._report()

    def _report(self, end: FromWorker | None = None) -> None:
        """Send the changes, followed by `end`. The changes are walked in slices of `SLICE_S`."""
        if end is not None:
            self._ends.append(end)
        if self._walk is None:
            self._begin_walk()

    def _begin_walk(self) -> None:
        if self._metrics is None or not self._open:
            return
        self._reported_at_s = time.monotonic()
        self._metrics.log_lines_dropped.advance(writer.lines_dropped())
        # A full channel accepts no report now: the next report contains the content of this one.
        self._walk = iter(()) if self._unsent else self._metrics.values.changes()
        self._walk_ends, self._ends = self._ends, []
        self._report_slice()

    def _report_slice(self) -> None:
        """Walk for `SLICE_S`, and send the changes found; after the last slice, send the end markers."""
        walk = self._walk
        if walk is None or not self._open:
            return
        until_s = time.perf_counter() + SLICE_S
        found: list[Change] = []
        stretch = tuple(islice(walk, _SLICE_INTERVAL_FACTOR))
        while stretch:
            found += filter(None, stretch)
            if time.perf_counter() > until_s:
                break
            stretch = tuple(islice(walk, _SLICE_INTERVAL_FACTOR))
        if found:
            self._send(MetricsReport(tuple(found)))
        if stretch:
            self._loop.call_soon(self._report_slice)
            return
        for end in self._walk_ends:
            self._send(end)
        self._walk, self._walk_ends = None, []
        if self._ends:
            self._loop.call_soon(self._report)

    def _send(self, frame: FromWorker) -> None:
        if self._open:
            waiting = bool(self._unsent)
            self._unsent += encode(frame)
            if not waiting:
                self._send_more()

    def _send_more(self) -> None:
        """Send the buffered bytes; the rest follows when the channel accepts more."""
        try:
            with contextlib.suppress(BlockingIOError):
                self._unsent = self._unsent[self._channel.send(self._unsent) :]
        except OSError:
            self._stop()  # the supervisor has ended, or closed this channel
            return
        if self._unsent:
            self._loop.add_writer(self._channel, self._send_more)
        else:
            self._loop.remove_writer(self._channel)

    def _readable(self) -> None:
        try:
            data = self._channel.recv(_READ_BYTES)
            frames = self._frames.feed(data) if data else []
        except BlockingIOError:
            return
        except (OSError, ChannelBroken) as error:
            _log.error("metrics_channel_broken", error=str(error))
            self._stop()
            return
        if not data:
            self._stop()
        for frame in frames:
            self._take(frame)

    def _take(self, frame: FromSupervisor) -> None:
        if isinstance(frame, ReportRequest):
            self._report(MetricsReport((), frame.number))
        elif isinstance(frame, Exposition):
            answer = self._scrapes.get(frame.number)
            if answer is not None and not answer.done():
                answer.set_result(frame.text)

    def _stop(self) -> None:
        if self._open and self._metrics is not None:
            self._loop.remove_reader(self._channel)
            self._loop.remove_writer(self._channel)
        if self._timer is not None:
            self._timer.cancel()
        self._open, self._unsent = False, b""
        self._channel.close()
