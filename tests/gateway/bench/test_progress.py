import io
import os

import pytest

from gateway.bench.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 7


def test_nothing_is_written_without_a_terminal() -> None:
    out = io.StringIO()
    progress = ProgressLine(out)
    progress.begin("pings")
    progress.on_progress(1.0)
    progress.clear()
    assert out.getvalue() == ""


@pytest.mark.parametrize(("columns", "most"), [(40, 39), (0, 79)])
def test_a_line_is_narrower_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: int, most: int
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    out = Terminal()
    ProgressLine(out).begin("a peer with a name that is as long as names of peers are" * 2)
    assert len(out.getvalue().removeprefix("\r\x1b[2K")) == most
