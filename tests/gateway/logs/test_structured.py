"""structlog and the standard loggers, set up in a process of their own as a worker is."""

import json
import subprocess
import sys
from typing import Any

import pytest

from gateway.logs import structured

PROGRAM = """
import logging
import sys
import structlog
from gateway.logs import structured

structured.configure(sys.argv[1], worker=3)
log = structlog.get_logger("lane")
log.info("connected", host="api.push.apple.com", token="0123456789abcdef0123456789abcdef")
log.debug("not written")
try:
    raise ValueError("device " + "0123456789abcdef" * 4)
except ValueError:
    log.exception("failed", password="hush")
logging.getLogger("aiohttp.server").error("bad %s", "redis://:hush@db")
logging.getLogger("aiohttp.access").info("not written")
logging.getLogger("asyncio").warning("slow")
"""


def lines(level: str = "info") -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""
    assert "hush" not in done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_one_json_object_with_the_same_fields() -> None:
    connected, failed, foreign, slow = lines()
    assert connected.pop("timestamp").endswith("Z")
    assert connected == {
        "event": "connected",
        "logger": "lane",
        "level": "info",
        "worker": 3,
        "host": "api.push.apple.com",
        "token": "01234567…",
    }
    assert (failed["event"], failed["level"], failed["password"]) == ("failed", "error", "***")
    assert failed["exception"].endswith("ValueError: device 01234567…")
    assert (foreign["logger"], foreign["event"], foreign["worker"]) == (
        "aiohttp.server",
        "bad redis://***@db",
        3,
    )
    assert (slow["logger"], slow["level"]) == ("asyncio", "warning")


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["connected", "not written", "failed", "bad redis://***@db", "slow"]),
        ("warning", ["failed", "bad redis://***@db", "slow"]),
        ("error", ["failed", "bad redis://***@db"]),
    ],
)
def test_lines_below_the_level_are_omitted(level: str, written: list[str]) -> None:
    assert [line["event"] for line in lines(level)] == written


def test_a_line_with_values_that_json_cannot_hold_is_not_lost() -> None:
    assert json.loads(structured._json({"event": "x", "user": "\ud800", "number": 2**70})) == {
        "event": "x",
        "user": "\ud800",
        "number": 2**70,
    }
