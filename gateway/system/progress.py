"""Progress line on the terminal; no output if standard error is not a terminal."""

import os
import sys
import time
from contextlib import suppress
from typing import Final, TextIO

_WIDTH: Final = 24
_EVERY_S: Final = 0.1
_COLUMNS: Final = 80


class ProgressLine:
    """One line that is overwritten repeatedly.

    Args:
        out: the output; nothing is written unless it is a terminal.
    """

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out = out
        self._shown = out.isatty()
        self._what = ""
        self._begun = self._printed_s = 0.0

    def begin(self, what: str) -> None:
        """Display the start of a new activity."""
        self._what = what
        self._begun = time.monotonic()
        self._printed_s = 0.0
        self.on_progress(0.0)

    def on_progress(self, fraction: float) -> None:
        """Display the fraction of the activity that is done, 0 to 1."""
        now = time.monotonic()
        if not self._shown or (now - self._printed_s < _EVERY_S and fraction < 1.0):
            return
        self._printed_s = now
        full = round(min(max(fraction, 0.0), 1.0) * _WIDTH)
        bar = "#" * full + "." * (_WIDTH - full)
        self._write(f"[{bar}] {self._what} {fraction:4.0%} {now - self._begun:5.1f} s")

    def clear(self) -> None:
        """Clear the line."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        """Write the line, cut to the terminal's width: of two lines, only one would be overwritten."""
        self._out.write(f"\r\x1b[2K{text[: self._columns() - 1]}")
        self._out.flush()

    def _columns(self) -> int:
        with suppress(OSError):
            return os.get_terminal_size(self._out.fileno()).columns or _COLUMNS
        return _COLUMNS
