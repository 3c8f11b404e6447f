"""The bar on a terminal."""

import io

import pytest

from gateway.system import progress_bar
from gateway.system.progress_bar import ProgressBar


@pytest.fixture(autouse=True)
def fixed_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "_EVERY_S", 0.0)
    for name, value in (("COLUMNS", "60"), ("LINES", "20"), ("NO_COLOR", "1"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)


def lines(out: io.StringIO) -> list[str]:
    """The successive states of the line, without control sequences."""
    texts = out.getvalue().replace("\x1b[?25l", "").replace("\x1b[?25h", "").split("\r\x1b[2K")
    return [text for text in texts if text.strip()]


def test_a_bar_has_share_state_and_time() -> None:
    out = io.StringIO()
    bar = ProgressBar(out)
    bar.begin("1,000 [pings]")
    bar.show("1,000 [pings]", 0.5)
    first, *_, last = lines(out)
    assert first.split()[-4:] == ["0%", "1,000", "[pings]", "0:00:00"]
    assert "50%" in last
    assert (first.count("━"), last.count("━")) == (0, 12)  # of 24 places
    bar.clear()
    assert out.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


def test_without_a_size_there_is_no_share() -> None:
    out = io.StringIO()
    bar = ProgressBar(out)
    bar.show("5 sent", None)
    assert "%" not in out.getvalue()
    assert "5 sent" in out.getvalue()


def test_a_line_is_narrower_than_the_terminal() -> None:
    out = io.StringIO()
    ProgressBar(out).begin("a peer with a name that is as long as names of peers are" * 2)
    assert all(len(line) <= 60 for line in lines(out))


def test_frequent_changes_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "_EVERY_S", 3600.0)
    out = io.StringIO()
    bar = ProgressBar(out)
    bar.begin("pings")
    drawn = out.getvalue()
    bar.show("pings", 1.0)
    assert out.getvalue() == drawn
    bar.begin("more pings")
    assert "more pings" in out.getvalue()
