"""The modules that the commands import: their import is most of the time that a short command takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from gateway.cli import main
try:
    main()
finally:
    sys.stderr.write(" ".join(sys.modules) + "\\n")
"""
SUPERVISOR = """
import sys
from gateway.cli import main
from gateway.server.supervisor import Supervisor

Supervisor.run = lambda _: sys.stderr.write(" ".join(sys.modules) + "\\n")
main()
"""
"""Ends where the supervisor would start the store and the workers."""

EVENT_LOOP = ("asyncio", "uvloop", "aiohttp", "redis.asyncio")
LIBRARIES = (
    "cryptography",
    "hiredis",
    "httptools",
    "jinja2",
    "jwt",
    "ngh2",
    "opentelemetry",
    "orjson",
    "prometheus_client",
    "redis",
    "rich",
    "structlog",
    "trustme",
    "yaml",
)
PARTS = (
    "gateway.bench",
    "gateway.check",
    "gateway.console",
    "gateway.delivery.lane",
    "gateway.delivery.providers.apns",
    "gateway.fanout",
    "gateway.http_api",
    "gateway.queue",
    "gateway.simulators",
    "gateway.transport",
    "protocols.apns",
    "protocols.http2",
)
SETTINGS = ("gateway.delivery", "gateway.settings", "importlib.metadata", "msgspec")
HTTP_CLIENT = ("http.client", "json", "logging", "ssl", "subprocess", "gateway.client")
"""A command without an HTTP request needs none of these, nor a log."""


def imported(folder: Path, program: str, *words: str) -> set[str]:
    """The names of all modules that a command has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return {*done.stderr.splitlines()[-1].split()}


def test_the_version_needs_a_parser_of_words_alone(tmp_path: Path) -> None:
    names = imported(tmp_path, PROGRAM, "--version")
    assert "argparse" in names
    assert names & {*EVENT_LOOP, *LIBRARIES, *PARTS, *SETTINGS, *HTTP_CLIENT} == set()


@pytest.mark.parametrize(
    "words", [("pings", "list"), ("queue", "show"), ("tokens", "list"), ("ping", "--user", "bob")]
)
def test_a_command_with_a_token_needs_a_client_without_an_event_loop(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    names = imported(tmp_path, PROGRAM, *words, "--token", "hush", "--server", "http://127.0.0.1:9")
    assert {"http.client", "gateway.client.sync_client"} <= names
    assert names & {*EVENT_LOOP, *LIBRARIES, *PARTS, *SETTINGS} == set()


def test_a_command_without_a_token_reads_settings_as_well(tmp_path: Path) -> None:
    names = imported(tmp_path, PROGRAM, "pings", "list", "--server", "http://127.0.0.1:9")
    assert {"gateway.settings", "gateway.delivery.providers.apns_entry"} <= names
    assert names & {*EVENT_LOOP, *LIBRARIES, *PARTS} == set()


def test_the_supervisor_needs_settings_without_the_parts_of_a_worker(tmp_path: Path) -> None:
    names = imported(tmp_path, SUPERVISOR, "serve")
    assert {"gateway.settings", "gateway.store.embedded"} <= names
    assert names & {*EVENT_LOOP, *LIBRARIES, *PARTS, "gateway.client", "http.client"} == set()
