"""Writing to stdout and stderr without blocking the caller.

A write to a full pipe blocks, so a process would stop when the program that reads its log stops reading. `detach`
puts a bounded queue and a thread in between. Lines that do not fit into the queue, and lines that cannot be written
(full disk, no reader), are dropped and counted; a notice with their number takes their place. The descriptor stays
in blocking mode: O_NONBLOCK would affect every process that shares it, the operator's shell included.
"""

import atexit
import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

LINES_MAX: Final = 10_000
BYTES_MAX: Final = 4 * 1024 * 1024
FLUSH_S: Final = 1.0
"""Longest time for writing the remaining lines when a process ends."""
_STDOUT: Final = 1
_STDERR: Final = 2
_LOOK_AGAIN_MS: Final = 1000

Notice = Callable[[int], str]
"""Makes the notice with the number of dropped lines, without the line break."""


class _QueuedText(NamedTuple):
    """Text in the queue, with `lines` lines of the log; it also reports `reported_drops` dropped lines."""

    data: bytes
    lines: int
    reported_drops: int = 0


class LineWriter:
    """Writes text to a descriptor, in order, in a thread.

    Args:
        descriptor: the output; it is never closed here.
        notice: makes the notice with the number of dropped lines.
        lines_max: most lines in the queue. When it is reached, lines are dropped until half of the queue is written,
            so that a slow reader gets contiguous parts of the log and not every second line.
        bytes_max: most bytes in the queue.
    """

    def __init__(
        self, descriptor: int, notice: Notice, *, lines_max: int = LINES_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self._descriptor, self._notice = descriptor, notice
        self._lines_max, self._bytes_max = lines_max, bytes_max
        self._changed = threading.Condition()
        self._waiting: deque[_QueuedText] = deque()
        self._lines = self._bytes = 0
        self._writing = self._full = self._broken_line = False
        self._dropped = self._unreported = 0
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Number of lines dropped since the start."""
        return self._dropped

    def put(self, text: str) -> None:
        """Queue `text`, which consists of whole lines. Callable from any thread; never waits for the descriptor."""
        item = _QueuedText(text.encode("utf-8", "backslashreplace"), text.count("\n") or 1)
        with self._changed:
            if not self._room(item):
                self._lose(item)
                return
            if self._unreported:
                self._report_dropped()
            self._add(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until all text was written or dropped; False: not within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout_s)

    def _room(self, item: _QueuedText) -> bool:
        part = 2 if self._full else 1
        self._full = (
            self._lines + item.lines > self._lines_max // part
            or self._bytes + len(item.data) > self._bytes_max // part
        )
        return not self._full

    def _lose(self, item: _QueuedText) -> None:
        self._dropped += item.lines
        self._unreported += item.lines + item.reported_drops

    def _report_dropped(self) -> None:
        """Put the notice about dropped lines into the queue, at their position."""
        number, self._unreported = self._unreported, 0
        self._add(_QueuedText(f"{self._notice(number)}\n".encode(), 0, number))

    def _add(self, item: _QueuedText) -> None:
        self._waiting.append(item)
        self._lines += item.lines
        self._bytes += len(item.data)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                item = self._waiting.popleft()
                self._lines -= item.lines
                self._bytes -= len(item.data)
                self._writing = True
            written = self._write(item.data)
            with self._changed:
                self._writing = False
                if not written:
                    self._lose(item)
                elif self._unreported and not self._waiting:
                    self._report_dropped()
                self._changed.notify_all()

    def _write(self, data: bytes) -> bool:
        """Write `data`; False if a part was lost. An incomplete line is ended before the next one."""
        rest = memoryview(b"\n" + data if self._broken_line else data)
        begun = False
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
                begun = True
            except BlockingIOError:  # another process that shares the descriptor has set O_NONBLOCK
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(_LOOK_AGAIN_MS)
            except OSError:  # full disk, no reader, or terminal gone: a later write may succeed
                self._broken_line = self._broken_line or begun
                return False
        self._broken_line = False
        return True


class QueuedStream(io.TextIOBase):
    """Text stream that passes whole lines to a `LineWriter` as UTF-8; it replaces `sys.stderr`."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int, writer: LineWriter) -> None:
        super().__init__()
        self._descriptor, self._writer = descriptor, writer
        self._terminal = os.isatty(descriptor)
        self._lock = threading.Lock()
        self._rest = ""

    def write(self, text: str, /) -> int:
        """Accept text; its whole lines are written in the background."""
        with self._lock:
            whole, end, self._rest = (self._rest + text).rpartition("\n")
            if end:
                self._writer.put(whole + end)
        return len(text)

    def flush(self) -> None:
        """Do nothing: whole lines are already queued."""

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return self._terminal

    def writable(self) -> bool:
        """Always true."""
        return True


_writers: Final[list[LineWriter]] = []


def detach(notice: Notice, *, stdout: Notice | None = None) -> None:
    """Make writes to `sys.stdout` and `sys.stderr` non-blocking. Call it once, at the entry point of a process.

    Args:
        notice: makes the log line with the number of dropped lines.
        stdout: the same for stdout; None if stdout has the same reader as stderr, as in a worker.
    """
    _open_closed_descriptors()
    sys.stderr = stderr = _stream(_STDERR, notice)
    sys.stdout = stderr if stdout is None else _stream(_STDOUT, stdout)
    atexit.register(flush)


def _stream(descriptor: int, notice: Notice) -> QueuedStream:
    writer = LineWriter(descriptor, notice)
    _writers.append(writer)
    return QueuedStream(descriptor, writer)


def flush(timeout_s: float = FLUSH_S) -> None:
    """Wait until all earlier lines are written, at most `timeout_s` in all. Does nothing in a process without
    `detach`."""
    until_s = time.monotonic() + timeout_s
    for writer in _writers:
        writer.flush(max(0.0, until_s - time.monotonic()))


def lines_dropped() -> int:
    """Number of lines that this process has dropped since its start."""
    return sum(writer.dropped for writer in _writers)


def _open_closed_descriptors() -> None:
    """Open /dev/null as stdout and stderr if they are closed; otherwise the next opened file gets their number and
    receives the log."""
    for descriptor in (0, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
