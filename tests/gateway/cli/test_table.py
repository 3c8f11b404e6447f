"""Tables of the commands."""

import pytest

from gateway.cli.table import write_table


def test_lines_with_tabs_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(("NAME", "STATE"), [("apns:A", "open"), ("fcm", "")])
    assert capsys.readouterr().out == "apns:A\topen\nfcm\t\n"


def test_a_table_on_a_terminal_has_a_head_and_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    write_table(("NAME", "STATE"), [("apns:A", "open"), ("fcm", "")])
    assert capsys.readouterr().out == "NAME    STATE\napns:A  open\nfcm\n"
    write_table(("NAME",), [])
    assert capsys.readouterr().out == ""


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(("NAME",), [("a\x1b[2Jb\tc\nd",), ("Jürgen…",)])
    assert capsys.readouterr().out == "a\\x1b[2Jb\\tc\\nd\nJürgen…\n"
