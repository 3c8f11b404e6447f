"""Progress as a bar on a terminal, drawn by rich."""

import time
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_EVERY_S: Final = 0.1
_WIDTH: Final = 24


class ProgressBar:
    """One line that is overwritten: a bar, the state of the activity, the time. The bar moves if the size is unknown.

    No thread draws it, since it must not take the cores of a measurement.

    Args:
        out: a terminal.
    """

    def __init__(self, out: TextIO) -> None:
        self._bar = Progress(
            BarColumn(_WIDTH),
            TextColumn("{task.fields[share]}"),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=out, force_terminal=True, highlight=False),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=1.0, share="")
        self._drawn_s = float("-inf")

    def begin(self, what: str) -> None:
        """Draw an empty bar."""
        self._bar.reset(self._task, total=1.0, completed=0, description=what, share="")
        self._drawn_s = float("-inf")
        self.show(what, 0.0)

    def show(self, what: str, fraction: float | None) -> None:
        """Draw the bar, unless it was drawn very recently."""
        now_s = time.monotonic()
        if now_s - self._drawn_s < _EVERY_S:
            return
        self._drawn_s = now_s
        share = "" if fraction is None else f"{fraction:4.0%}"
        self._bar.tasks[0].total = None if fraction is None else 1.0
        self._bar.update(self._task, description=what, completed=fraction or 0.0, share=share)
        self._bar.start()
        self._bar.refresh()

    def clear(self) -> None:
        """Remove the bar, and show the cursor."""
        self._bar.stop()
