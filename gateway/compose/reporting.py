"""A worker's side of the metrics: it reports what has changed, and asks the supervisor for the rendered text.

Nothing here waits for the supervisor: a report that finds the channel full is not made, and the next one holds what it
would have held, since a report carries states and not differences. A worker that is killed loses what it counted since
its last report, which is at most `REPORT_S`.
"""

import asyncio
import contextlib
import math
import socket
import time
from typing import Final

import structlog

from gateway.errors import ChannelBroken, MetricsUnavailable
from gateway.logs import writer
from gateway.metrics import Metrics
from gateway.telemetry.frames import (
    Exposition,
    FromSupervisor,
    FromWorker,
    Report,
    Request,
    Scrape,
    encode,
    frames_from_supervisor,
)

REPORT_S: Final = 1.0
"""Longest time between two reports of a worker whose loop turns."""
ANSWER_S: Final = 3.0
"""Longest wait of a scrape for the supervisor, whose first rendering takes a tenth of a second."""
_READ_BYTES: Final = 262_144

_log = structlog.get_logger("metrics")


class Reporting:
    """Reports a worker's metrics.

    Args:
        channel: this worker's end of the channel to the supervisor.
        report_s: longest time between two reports.
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
        self._timer: asyncio.TimerHandle | None = None
        self._open = True
        channel.setblocking(False)

    def begin(self, metrics: Metrics) -> None:
        """Report `metrics` from now on. Called once, on the loop."""
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._channel, self._readable)
        self._tick()

    async def scrape(self) -> bytes:
        """The rendered metrics of the whole gateway, with this worker's newest counts.

        Raises:
            MetricsUnavailable: the supervisor does not answer within `ANSWER_S`.
        """
        self._scrape_number += 1
        number = self._scrape_number
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._scrapes[number] = answer
        try:
            self._report()
            self._send(Scrape(number))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError as error:
            raise MetricsUnavailable(f"the supervisor gave no metrics within {ANSWER_S:.0f} s") from error
        finally:
            del self._scrapes[number]

    def close(self) -> None:
        """Report for the last time, as far as the channel takes it at once, and close the channel."""
        self._report()
        self._stop()

    def _tick(self) -> None:
        since_s = time.monotonic() - self._reported_at_s
        due = since_s >= self._report_s
        self._timer = self._loop.call_later(self._report_s - (0.0 if due else since_s), self._tick)
        if due:
            self._report()

    def _report(self, number: int = 0) -> None:
        """Send what has changed; an answer to a request is sent also if nothing has."""
        if self._metrics is None or not self._open or self._unsent:
            return
        self._reported_at_s = time.monotonic()
        self._metrics.log_lines_dropped.advance(writer.lines_dropped())
        changes = self._metrics.values.changes()
        if changes or number:
            self._send(Report(tuple(changes), number))

    def _send(self, frame: FromWorker) -> None:
        if self._open:
            waiting = bool(self._unsent)
            self._unsent += encode(frame)
            if not waiting:
                self._send_more()

    def _send_more(self) -> None:
        """Send what waits; the rest is sent when the channel takes it."""
        try:
            with contextlib.suppress(BlockingIOError):
                self._unsent = self._unsent[self._channel.send(self._unsent) :]
        except OSError:
            self._stop()  # the supervisor has ended, or given this channel up
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
        if isinstance(frame, Request):
            self._report(frame.number)
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
