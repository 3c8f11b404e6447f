"""The supervisor's metrics: a thread that takes the workers' reports, adds them up and renders the sum.

It is a thread of its own so that neither can hold the other: the supervisor may wait for its store while a scrape is
answered, and a defect here ends no worker. It shares nothing with the supervisor but the deque of new channels.

A scrape begins a round: every worker is asked for a report, and after the last one, or after `ROUND_S`, the sum is
rendered once for all who asked meanwhile. A worker that asks reports first, so its own counts are always the newest.
"""

import contextlib
import selectors
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from gateway import __version__
from gateway.errors import ChannelBroken
from gateway.logs import writer
from gateway.logs.plain import PlainLog
from gateway.metrics import Metrics, render
from gateway.server.buffered_socket import BufferedSocket
from gateway.server.metrics_http import MetricsListener
from gateway.telemetry.frames import (
    Exposition,
    FromWorker,
    MetricsReport,
    ReportRequest,
    encode,
    frames_from_worker,
)
from gateway.telemetry.totals import Totals
from gateway.telemetry.values import Change

ROUND_S: Final = 0.5
"""Longest wait for a worker's report. One whose loop turns answers within milliseconds."""
_TICK_S: Final = 0.5
_STOP_S: Final = 1.0
_OWN: Final = 0
"""The supervisor's own number among the sources."""
_OWN_METRICS: Final = frozenset({"rhopush_log_lines_dropped", "rhopush_build_info"})

_DEFECTS: Final = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

Deliver = Callable[[bytes], None]


class WorkerChannel(BufferedSocket):
    """The supervisor's end of one worker's channel.

    Args:
        sock, selector: as for `BufferedSocket`.
        source: the worker's number among the sources; never used again.
        thread: takes what the worker sends.
    """

    def __init__(
        self, sock: socket.socket, selector: selectors.BaseSelector, source: int, thread: "MetricsThread"
    ) -> None:
        super().__init__(sock, selector)
        self.source = source
        self.reports = False
        self._thread = thread
        self._frames = frames_from_worker()

    def received(self, data: bytes) -> None:
        """Take whole frames; a channel that sends anything else is closed, and its worker goes on."""
        try:
            frames = self._frames.feed(data)
        except ChannelBroken as error:
            self._thread.channel_broken(error)
            self.close()
            return
        for frame in frames:
            self._thread.take(self, frame)

    def ended(self) -> None:
        """The worker has ended."""
        self._thread.end(self)


class ReportRound:
    """One round of reports.

    Attributes:
        number: of its requests.
        waiting: channels whose report is missing.
        deliver: who wants the rendered sum.
        until_s: when it is rendered without the missing ones, in monotonic seconds.
    """

    def __init__(self, number: int, waiting: set[WorkerChannel], deliver: Sequence[Deliver]) -> None:
        self.number, self.waiting, self.deliver = number, waiting, deliver
        self.until_s = time.monotonic() + ROUND_S


class MetricsThread(threading.Thread):
    """See the module.

    Args:
        log: the supervisor's.
        listener: the bound socket of `metrics.port`; None: workers answer scrapes on the main port.
    """

    def __init__(self, log: PlainLog, listener: socket.socket | None = None) -> None:
        super().__init__(name="metrics", daemon=True)
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        for end in (self._wakeup, self._woken):
            end.setblocking(False)
        self._new: deque[socket.socket] = deque()
        self._channels: set[WorkerChannel] = set()
        self._sources = self._rounds = _OWN
        self._round: ReportRound | None = None
        self._next: list[Deliver] = []
        self._own = Metrics(__version__)
        self._totals = Totals(self._own.values.definitions)
        self._stopping = False
        self._listening = None if listener is None else MetricsListener(listener, self._selector, self.scrape)

    # Called by the supervisor.

    def add(self, channel: socket.socket) -> None:
        """Take a new worker's channel."""
        self._new.append(channel)
        self._wake()

    def stop(self) -> None:
        """End the thread, which is given a moment."""
        self._stopping = True
        self._wake()
        if self.is_alive():
            self.join(_STOP_S)

    def _wake(self) -> None:
        try:
            self._wakeup.send(b"w")
        except OSError:  # full: it wakes anyway
            return

    # On the thread.

    def run(self) -> None:
        """Serve until `stop`. What goes wrong in one step is logged, and the thread goes on."""
        while not self._stopping:
            try:
                self._step()
            except _DEFECTS:
                self._round = None
                self._log.error("metrics_thread_failed", exception=traceback.format_exc())
                time.sleep(_TICK_S)
        self._close()

    def scrape(self, deliver: Deliver) -> None:
        """Have `deliver` called with the rendered sum."""
        self._next.append(deliver)

    def take(self, channel: WorkerChannel, frame: FromWorker) -> None:
        """Take what a worker sent."""
        channel.reports = True
        if isinstance(frame, MetricsReport):
            self._totals.take(channel.source, frame.changes)
            if self._round is not None and frame.number == self._round.number:
                self._round.waiting.discard(channel)
        else:
            number = frame.number
            if not channel.unsent:  # it does not read: its next scrape finds room, or its time runs out
                self.scrape(lambda text: self._deliver(channel, number, text))

    def channel_broken(self, error: ChannelBroken) -> None:
        """Log it: a worker's further counts are lost."""
        self._log.error("metrics_channel_broken", error=error.message)

    def end(self, channel: WorkerChannel) -> None:
        """A worker has ended: its counts stay."""
        self._channels.discard(channel)
        self._totals.end(channel.source)
        if self._round is not None:
            self._round.waiting.discard(channel)

    def _step(self) -> None:
        self._serve(self._timeout_s())
        self._finish_round()
        if self._round is None and self._next:
            self._begin_round()
            self._finish_round()  # there may be nobody to ask
        if self._listening is not None:
            self._listening.sweep()

    def _close(self) -> None:
        """Close every socket but the listener, which is the supervisor's."""
        for key in tuple(self._selector.get_map().values()):
            if isinstance(key.data, BufferedSocket):
                key.data.close()
        self._accept_channels()  # channels that came last
        for channel in tuple(self._channels):
            channel.close()
        self._selector.close()
        self._wakeup.close()
        self._woken.close()

    def _timeout_s(self) -> float:
        if self._round is None:
            return 0.0 if self._next else _TICK_S
        return max(0.0, min(_TICK_S, self._round.until_s - time.monotonic()))

    def _accept_channels(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._new:
            self._sources += 1
            self._channels.add(WorkerChannel(self._new.popleft(), self._selector, self._sources, self))

    def _serve(self, timeout_s: float) -> None:
        for key, events in self._selector.select(timeout_s):
            if key.data is None:
                self._accept_channels()
            elif not getattr(key.data, "closed", False):  # another event of this pass may have closed it
                key.data.ready(events)

    def _begin_round(self) -> None:
        """Ask every worker that has reported at all: one that starts is not waited for."""
        self._accept_channels()
        self._serve(0.0)  # the first report of a new worker may lie there
        self._rounds += 1
        asked = {one for one in self._channels if one.reports and not one.unsent}
        deliver, self._next = self._next, []
        self._round = ReportRound(self._rounds, asked, deliver)
        request = encode(ReportRequest(self._rounds))
        for channel in tuple(asked):
            channel.send(request)

    def _finish_round(self) -> None:
        """Render for those who asked, if every report is there or too late."""
        current = self._round
        if current is not None and (not current.waiting or time.monotonic() >= current.until_s):
            self._round = None
            text = self._render()
            for deliver in current.deliver:
                deliver(text)

    def _render(self) -> bytes:
        self._own.log_lines_dropped.advance(writer.lines_dropped())
        self._totals.take(_OWN, self._own_states())
        return render(self._totals.merged)

    def _own_states(self) -> Sequence[Change]:
        return [change for change in self._own.values.states() if change[0] in _OWN_METRICS]

    @staticmethod
    def _deliver(channel: WorkerChannel, number: int, text: bytes) -> None:
        if not channel.closed:
            channel.send(encode(Exposition(number, text)))
