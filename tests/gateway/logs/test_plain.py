"""The supervisor's log lines."""

import io
import json

from gateway.logs.plain import PlainLog


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_json_without_secrets() -> None:
    stream = io.StringIO()
    log = PlainLog("supervisor", stream)
    log.info("worker_started", worker=1, pid=7)
    log.error("worker_exited", token="0123456789abcdef")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "worker_started",
        "logger": "supervisor",
        "level": "info",
        "worker": 1,
        "pid": 7,
    }
    assert (second["level"], second["token"]) == ("error", "01234567…")


def test_lines_below_the_level_are_omitted() -> None:
    stream = io.StringIO()
    log = PlainLog("supervisor", stream, "error")
    log.info("worker_started")
    log.warning("worker_unresponsive")
    log.error("worker_exited")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["worker_exited"]


def test_on_a_terminal_it_is_readable() -> None:
    stream = Terminal()
    PlainLog("supervisor", stream).warning("worker_unresponsive", worker=1)
    assert (
        stream.getvalue().rstrip().endswith("[warning ] worker_unresponsive            [supervisor] worker=1")
    )


def test_on_a_terminal_a_value_cannot_look_like_another_line() -> None:
    stream = Terminal()
    PlainLog("supervisor", stream).error("worker_exited", reason="a\nb\x1b[2J", exception="one\ntwo")
    assert stream.getvalue().rstrip().endswith(r"reason=a\nb\x1b[2J exception=one" + "\ntwo")
