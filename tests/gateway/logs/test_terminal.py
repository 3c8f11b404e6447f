"""Texts for a terminal."""

from gateway.logs.terminal import printable, printable_fields


def test_control_characters_are_written_as_escapes() -> None:
    assert printable("plain, é") == "plain, é"
    assert printable("a\x1b[2Jb\r\nc\x9bd\u202e") == r"a\x1b[2Jb\r\nc\x9bd\u202e"
    assert printable("\udcff") == r"\udcff"


def test_a_traceback_keeps_its_lines_alone() -> None:
    found = printable_fields({"event": "a\nb", "exception": "one\ntwo\x1b[0m", "number": 5})
    assert found == {"event": r"a\nb", "exception": "one\ntwo" + r"\x1b[0m", "number": 5}
