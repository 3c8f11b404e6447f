"""Progress of a long command on standard error: a bar on a terminal, otherwise lines."""

import importlib
import os
import sys
import time
from contextlib import suppress
from typing import Final, Protocol, TextIO

LINE_S: Final = 10.0
"""Shortest time between two lines about one activity."""
_DUMB: Final = ("dumb", "unknown")
"""Values of TERM for terminals that cannot overwrite a line."""


class ProgressView(Protocol):
    """The way in which progress is displayed."""

    def begin(self, what: str) -> None:
        """Display the start of an activity."""
        ...

    def show(self, what: str, fraction: float | None) -> None:
        """Display the state of the activity; `fraction` is None if its size is unknown."""
        ...

    def clear(self) -> None:
        """Remove everything that can be removed."""
        ...


class Progress:
    """Progress of the activities of a command, one after another.

    On a terminal the present activity has a bar, which is removed at the end (`gateway.system.progress_bar`). Elsewhere
    an activity has a line when it begins, and further lines at most every `LINE_S` seconds.

    Args:
        out: the output.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._view: ProgressView | None = None
        self._what = ""

    def begin(self, what: str) -> None:
        """Display the start of a new activity."""
        self._what = what
        self._opened().begin(what)

    def on_progress(self, fraction: float) -> None:
        """Display the fraction of the activity that is done, 0 to 1."""
        self.show(self._what, fraction)

    def show(self, what: str, fraction: float | None) -> None:
        """Display the state of an activity whose start needs no line.

        Args:
            what: the activity, or its state.
            fraction: the part that is done, 0 to 1; None: its size is unknown.
        """
        self._opened().show(what, fraction)

    def clear(self) -> None:
        """Remove the bar, before other output."""
        if self._view is not None:
            self._view.clear()

    def _opened(self) -> ProgressView:
        if self._view is None:
            self._view = _bar(self._out) if _overwrites(self._out) else ProgressLines(self._out)
        return self._view


class ProgressLines:
    """Progress as lines, for logs and pipes. An output without a reader is ignored.

    Args:
        out: the output.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun_s = self._written_s = time.monotonic()

    def begin(self, what: str) -> None:
        """Write a line about the start."""
        self._begun_s = time.monotonic()
        self._write(what)

    def show(self, what: str, fraction: float | None) -> None:
        """Write a line, unless the last one is recent."""
        now_s = time.monotonic()
        if now_s - self._written_s >= LINE_S:
            share = "" if fraction is None else f"{fraction:.0%}, "
            self._write(f"{what}: {share}{now_s - self._begun_s:.0f} s")

    def clear(self) -> None:
        """Do nothing: lines stay."""

    def _write(self, text: str) -> None:
        self._written_s = time.monotonic()
        with suppress(OSError):
            self._out.write(text + "\n")
            self._out.flush()


def _overwrites(out: TextIO) -> bool:
    """Return whether the output is a terminal that can overwrite a line."""
    return out.isatty() and os.environ.get("TERM", "") not in _DUMB


def _bar(out: TextIO) -> ProgressView:
    """Return a bar. Its package takes a tenth of a second to import, which commands without a bar need not wait for."""
    bar: ProgressView = importlib.import_module("gateway.system.progress_bar").ProgressBar(out)
    return bar
