"""Send the pings of a file, one per line, and print the refused lines."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from gateway.client.bulk_lines import BulkResult
from gateway.client.errors import PingError
from gateway.client.job import PingJob
from gateway.errors import BadSetting
from gateway.logs.terminal import printable
from gateway.system.progress import Progress

STDIN: Final = "-"
_UNKNOWN: Final = (
    "later lines may have been accepted, too, and only those with an idempotency_key can be sent again"
    " without a second ping"
)


class FileLines:
    """The lines of an open file.

    Args:
        file: the file, read from its current position.
        total_bytes: its size; 0: unknown.

    Attributes:
        read_bytes: number of bytes read so far.
    """

    def __init__(self, file: BinaryIO, total_bytes: int) -> None:
        self._file = file
        self.read_bytes = 0
        self._total_bytes = total_bytes

    def __iter__(self) -> Iterator[bytes]:
        for line in self._file:
            self.read_bytes += len(line)
            yield line

    @property
    def fraction(self) -> float | None:
        """The part of the file that was read, 0 to 1; None: its size is unknown."""
        return min(1.0, self.read_bytes / self._total_bytes) if self._total_bytes else None


@contextmanager
def opened(name: str) -> Iterator[FileLines]:
    """Open a file for the context, or standard input for the name `-`.

    Raises:
        BadSetting: the file cannot be opened.
    """
    if name == STDIN:
        if sys.stdin is None:  # the process was started without it
            raise BadSetting("standard input is closed", field="file")
        yield FileLines(sys.stdin.buffer, 0)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("rb"))
            size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise BadSetting(f"{name} cannot be read: {error.strerror}", field="file") from error
        yield FileLines(file, size)


def send_file(name: str) -> int:
    """Send the pings of a file; returns 1 if lines were refused, else 0.

    Raises:
        BadSetting: the file cannot be read.
        PingError: the gateway refuses the request, or does not answer.
    """
    with opened(name) as lines:
        return _send(lines, Progress())


def _send(lines: FileLines, progress: Progress) -> int:
    accepted = refused = last = 0
    try:
        for result in PingJob.bulk(lines):
            last = result.line
            if result.ping_id is None:
                refused += 1
                progress.clear()
                sys.stderr.write(_described(result))
            else:
                accepted += 1
                if result.warning:
                    progress.clear()
                    sys.stderr.write(f"line {result.line}: {printable(result.warning)}\n")
            progress.show(f"{accepted} accepted, {refused} refused", lines.fraction)
    except (KeyboardInterrupt, PingError) as error:
        progress.clear()
        if last or getattr(error, "refused_with", None) is None:
            sys.stderr.write(f"stopped after line {last}: {_UNKNOWN}\n")
        raise
    finally:
        progress.clear()
        sys.stdout.write(f"{accepted} accepted, {refused} refused\n")
    return 1 if refused else 0


def _described(result: BulkResult) -> str:
    where = f"line {result.line}" + (f", {result.field}" if result.field else "")
    return f"{printable(where)}: {printable(result.message)} ({result.code})\n"
