"""The supervisor's metrics thread: it receives the workers' reports, sums them and renders the sum.

A separate thread keeps both independent: the supervisor may wait for its store while a scrape is answered, and a defect
here ends no worker. The thread shares nothing with the supervisor but the deque of new channels.

A scrape starts a round: the thread requests a report from every worker, and after the last report, or after `ROUND_S`,
renders the sum once for all scrapes of the round. A worker that requests a scrape reports first, so its own counts are
always the newest.
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
"""Longest wait for a worker's report. A worker whose loop runs answers within milliseconds."""
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
        source: number of the worker among the sources; never reused.
        thread: receives the worker's frames.
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
        """Handle complete frames. A channel with invalid data is closed, and its worker continues."""
        try:
            frames = self._frames.feed(data)
        except ChannelBroken as error:
            self._thread.channel_broken(error)
            self.close()
            return
        for frame in frames:
            self._thread.take(self, frame)

    def ended(self) -> None:
        """Handle the end of the worker."""
        self._thread.end(self)


class ReportRound:
    """One round of reports.

    Attributes:
        number: number of its requests.
        waiting: channels whose report is outstanding.
        deliver: receivers of the rendered sum.
        until_s: time at which it is rendered without the outstanding reports, in monotonic seconds.
    """

    def __init__(self, number: int, waiting: set[WorkerChannel], deliver: Sequence[Deliver]) -> None:
        self.number, self.waiting, self.deliver = number, waiting, deliver
        self.until_s = time.monotonic() + ROUND_S


class MetricsThread(threading.Thread):
    """The metrics thread; the module describes its work.

    Args:
        log: the supervisor's log.
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

    # -- calls of the supervisor -----------------------------------------------------------------------------

    def add(self, channel: socket.socket) -> None:
        """Add the channel of a new worker."""
        self._new.append(channel)
        self._wake()

    def stop(self) -> None:
        """Stop the thread, and wait for it for a short time."""
        self._stopping = True
        self._wake()
        if self.is_alive():
            self.join(_STOP_S)

    def _wake(self) -> None:
        try:
            self._wakeup.send(b"w")
        except OSError:  # full: the thread wakes anyway
            return

    # -- calls on the thread ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`. An error in one step is logged, and the thread continues."""
        while not self._stopping:
            try:
                self._step()
            except _DEFECTS:
                self._round = None
                self._log.error("metrics_thread_failed", exception=traceback.format_exc())
                time.sleep(_TICK_S)
        self._close()

    def scrape(self, deliver: Deliver) -> None:
        """Call `deliver` with the rendered sum, once it is ready."""
        self._next.append(deliver)

    def take(self, channel: WorkerChannel, frame: FromWorker) -> None:
        """Handle a frame of a worker."""
        channel.reports = True
        if isinstance(frame, MetricsReport):
            self._totals.take(channel.source, frame.changes)
            if self._round is not None and frame.number == self._round.number:
                self._round.waiting.discard(channel)
        else:
            number = frame.number
            if (
                not channel.unsent
            ):  # a worker that does not read gets its next scrape, or reaches its time limit
                self.scrape(lambda text: self._deliver(channel, number, text))

    def channel_broken(self, error: ChannelBroken) -> None:
        """Log the error: further counts of the worker are lost."""
        self._log.error("metrics_channel_broken", error=error.message)

    def end(self, channel: WorkerChannel) -> None:
        """Handle the end of a worker: its counts stay."""
        self._channels.discard(channel)
        self._totals.end(channel.source)
        if self._round is not None:
            self._round.waiting.discard(channel)

    def _step(self) -> None:
        self._serve(self._timeout_s())
        self._finish_round()
        if self._round is None and self._next:
            self._begin_round()
            self._finish_round()  # a round may have no worker to wait for
        if self._listening is not None:
            self._listening.sweep()

    def _close(self) -> None:
        """Close every socket but the listener, which belongs to the supervisor."""
        for key in tuple(self._selector.get_map().values()):
            if isinstance(key.data, BufferedSocket):
                key.data.close()
        self._accept_channels()  # channels added last
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
        """Request reports from every worker that has reported before: a starting worker is not waited for."""
        self._accept_channels()
        self._serve(0.0)  # the first report of a new worker may be in its socket
        self._rounds += 1
        waiting = {one for one in self._channels if one.reports and not one.unsent}
        deliver, self._next = self._next, []
        self._round = ReportRound(self._rounds, waiting, deliver)
        request = encode(ReportRequest(self._rounds))
        for channel in tuple(waiting):
            channel.send(request)

    def _finish_round(self) -> None:
        """Render for the requesters, if every report has arrived or is late."""
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
