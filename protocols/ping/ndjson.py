"""Newline-delimited JSON: bytes in, lines out (https://github.com/ndjson/ndjson-spec).

A line ends with LF; a CR before it is white space of JSON. The last line may have no LF. A byte order mark at the
beginning of the stream is ignored, as RFC 8259 §8.1 allows. A line is stored only up to the limit: of a longer line,
only its number is reported.
"""

from typing import Final

MEDIA_TYPE: Final = "application/x-ndjson"
_LF: Final = b"\n"
_BOM: Final = b"\xef\xbb\xbf"
_UNCOUNTED: Final = 1
"""Bytes of a line that its limit does not count: the CR of its end."""


class LineSplitter:
    """Splits a stream of bytes into lines.

    Args:
        line_bytes: longest line, without its line end.

    Attributes:
        lines: number of lines returned so far, including blank lines and lines over the limit.
    """

    __slots__ = ("_line_bytes", "_rest", "_skipping", "lines")

    def __init__(self, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self._rest = bytearray()
        self._skipping = False
        self.lines = 0

    @property
    def held(self) -> int:
        """Number of stored bytes of the incomplete line."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[bytes | None]:
        """Add a piece of the stream.

        Returns:
            The lines that end in this piece, without their line ends; None for each line over the limit. Blank lines
            are included, so that a line's number is its position in the stream.
        """
        whole: list[bytes | None] = list(data.split(_LF))
        end = whole.pop()
        if whole:
            whole[0] = self._complete(whole[0] or b"")
            if len(data) > self._line_bytes:
                whole = [self._within(line) for line in whole]
            self.lines += len(whole)
        if not self._skipping:
            self._rest += end or b""
            if len(self._rest) > self._line_bytes + (_UNCOUNTED if self.lines else len(_BOM) + _UNCOUNTED):
                self._rest.clear()
                self._skipping = True
        return whole

    def finish(self) -> list[bytes | None]:
        """End the stream, and return its last line if it has no LF."""
        if not self._rest and not self._skipping:
            return []
        last = self._complete(b"")
        self.lines += 1
        return [last]

    def _complete(self, end: bytes) -> bytes | None:
        """Join the first line that ends in a piece with its stored beginning."""
        if self._skipping:
            self._skipping = False
            return None
        if self._rest:
            end = bytes(self._rest) + end
            self._rest.clear()
        return self._within(end if self.lines else end.removeprefix(_BOM))

    def _within(self, line: bytes | None) -> bytes | None:
        if line is None or len(line) <= self._line_bytes:
            return line
        return line[:-1] if len(line) == self._line_bytes + 1 and line.endswith(b"\r") else None
