"""Progress on terminals and elsewhere."""

import io
import subprocess
import sys

import pytest

from gateway.system import progress
from gateway.system.progress import Progress
from gateway.system.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Unread(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError


def test_elsewhere_an_activity_has_a_line_when_it_begins() -> None:
    out = io.StringIO()
    shown = Progress(out)
    for what in ("warming up", "1,000 pings"):
        shown.begin(what)
        for part in range(11):
            shown.on_progress(part / 10)
        shown.clear()
    assert out.getvalue() == "warming up\n1,000 pings\n"


def test_a_long_activity_has_further_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    shown = Progress(out)
    shown.show("5 sent", None)
    assert out.getvalue() == ""
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    shown.show("6 sent", None)
    shown.show("7 sent", 0.456)
    assert out.getvalue() == "6 sent: 0 s\n7 sent: 46%, 0 s\n"


@pytest.mark.parametrize(("term", "bar"), [("xterm", True), ("", True), ("dumb", False)])
def test_a_terminal_has_a_bar_if_it_can_overwrite_a_line(
    monkeypatch: pytest.MonkeyPatch, term: str, bar: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    out = Terminal()
    shown = Progress(out)
    shown.begin("pings")
    assert (out.getvalue() == "pings\n") is not bar
    assert isinstance(shown._view, ProgressBar) is bar
    shown.clear()


def test_an_output_without_a_reader_ends_no_measurement() -> None:
    out = Unread()
    shown = Progress(out)
    shown.begin("warming up")
    shown.begin("pings")
    assert out.getvalue() == "warming up\npings\n"


def test_rich_is_imported_for_a_bar_alone() -> None:
    code = (
        "import sys, gateway.cli.bench, gateway.cli.ping, gateway.cli.ping_file; print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
