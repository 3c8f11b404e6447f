"""Send the pings of a file, one per line, and print the refused lines."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from gateway.client.bulk_lines import BulkResult
from gateway.client.job import PingJob
from gateway.errors import BadSetting

STDIN: Final = "-"
_BAR: Final = 30
_SHOWN_S: Final = 0.1


class FileLines:
    """The lines of an open file.

    Args:
        file: the file, read from its current position.
        total_bytes: its size; 0: unknown.

    Attributes:
        read_bytes: number of bytes read so far.
        total_bytes: see above.
    """

    def __init__(self, file: BinaryIO, total_bytes: int) -> None:
        self._file = file
        self.read_bytes = 0
        self.total_bytes = total_bytes

    def __iter__(self) -> Iterator[bytes]:
        for line in self._file:
            self.read_bytes += len(line)
            yield line


@contextmanager
def opened(name: str) -> Iterator[FileLines]:
    """Open a file for the context, or standard input for the name `-`.

    Raises:
        BadSetting: the file cannot be opened.
    """
    if name == STDIN:
        yield FileLines(sys.stdin.buffer, 0)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("rb"))
            size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise BadSetting(f"{name} cannot be read: {error.strerror}", field="file") from error
        yield FileLines(file, size)


class Progress:
    """A progress line on a terminal: the counts, and a bar if the size of the file is known. No output elsewhere.

    Args:
        out: the stream for the line.
        lines: the lines to send.
    """

    def __init__(self, out: TextIO, lines: FileLines) -> None:
        self._out = out
        self._lines = lines
        self._on_terminal = out.isatty()
        self._shown_s = float("-inf")

    def show(self, text: str) -> None:
        """Write the line, unless the last update was very recent."""
        now_s = time.monotonic()
        if not self._on_terminal or now_s - self._shown_s < _SHOWN_S:
            return
        self._shown_s = now_s
        self._out.write(f"\r\x1b[K{self._bar()}{text}")
        self._out.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._on_terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _bar(self) -> str:
        total = self._lines.total_bytes
        if not total:
            return ""
        share = min(1.0, self._lines.read_bytes / total)
        return f"[{'#' * int(share * _BAR):<{_BAR}}] {share:4.0%} "


def send_file(name: str) -> int:
    """Send the pings of a file; returns 1 if lines were refused, else 0.

    Raises:
        BadSetting: the file cannot be read.
        PingError: the gateway refuses the request, or does not answer.
    """
    with opened(name) as lines:
        return _send(lines, Progress(sys.stderr, lines))


def _send(lines: FileLines, progress: Progress) -> int:
    accepted = refused = 0
    try:
        for result in PingJob.bulk(lines):
            if result.ping_id is None:
                refused += 1
                progress.clear()
                sys.stderr.write(_described(result))
            else:
                accepted += 1
            progress.show(f"{accepted} accepted, {refused} refused")
    finally:
        progress.clear()
        sys.stdout.write(f"{accepted} accepted, {refused} refused\n")
    return 1 if refused else 0


def _described(result: BulkResult) -> str:
    where = f"line {result.line}" + (f", {result.field}" if result.field else "")
    return f"{where}: {result.message} ({result.code})\n"
