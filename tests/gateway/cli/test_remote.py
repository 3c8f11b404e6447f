"""Options of commands that talk to a gateway."""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.remote import (
    add_action_arguments,
    add_gateway_arguments,
    call_gateway,
    pages_of,
    server_of,
    token_of,
    write_list,
)
from gateway.client.errors import PingError
from gateway.client.sync_client import SyncClient
from gateway.errors import BadSetting
from tests.gateway.cli.conftest import Command
from tests.gateway.client.raw_server import raw, with_body
from tests.support.command import RUN
from tests.support.signals import AS_FROM_A_TERMINAL


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_gateway_arguments(parser)
    return parser.parse_args(words)


def test_the_server_is_an_option_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHOPUSH_SERVER", "http://a:1")
    assert server_of(parsed()) == "http://a:1"
    assert server_of(parsed("--server", "http://b:2")) == "http://b:2"


@pytest.mark.parametrize(
    "server", ["localhost:9292", "ftp://a", "http://", "http://a:0", "http://u:secret@a:x"]
)
def test_a_server_that_is_no_url_is_a_wrong_usage(server: str) -> None:
    with pytest.raises(BadSetting, match="must be an http or https URL") as caught:
        server_of(parsed("--server", server))
    assert caught.value.field == "server"
    assert "secret" not in caught.value.message


def test_the_token_comes_from_the_settings_or_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("API_TOKEN", raising=False)
    with pytest.raises(BadSetting, match="no API token"):
        token_of(parsed())
    file = tmp_path / "settings.yml"
    file.write_text(":development: {:api_token: sesame}\n")
    assert token_of(parsed("--settings", str(file))) == "sesame"
    assert token_of(parsed("--settings", str(file), "--token", "given")) == "given"


def test_pages_are_read_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: dict[str | None, tuple[list[int], str | None]] = {
        None: ([1, 2], "a"),
        "a": ([], "b"),
        "b": ([3], None),
    }
    asked = []

    def admin(_: SyncClient, method: str, path: str, parameters: dict[str, Any]) -> dict[str, object]:
        asked.append((method, path, parameters["app"]))
        found, cursor = pages[parameters["cursor"]]
        return {"things": found, "next_cursor": cursor}

    monkeypatch.setattr(SyncClient, "admin", admin)
    client = SyncClient("http://a", "hush", 1.0)
    assert list(pages_of(client, "/things", {"app": "x"}, "things")) == [1, 2, 3]
    assert asked == [("GET", "/rc/v1/admin/things", "x")] * 3


def listing(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_action_arguments(parser)
    return parser.parse_args(words)


def test_a_list_is_lines_with_tabs_or_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    values = [{"name": "a", "size": 1}, {"name": "b", "size": 2}]

    def row(value: dict[str, Any]) -> tuple[str, str]:
        return value["name"], str(value["size"])

    assert write_list(listing(), ("NAME", "SIZE"), iter(values), row) == 0
    assert capsys.readouterr().out == "a\t1\nb\t2\n"
    assert write_list(listing("--json"), ("NAME", "SIZE"), iter(values), row) == 0
    assert capsys.readouterr().out == '{"name": "a", "size": 1}\n{"name": "b", "size": 2}\n'


@pytest.mark.parametrize(("status", "hint"), [(None, True), (422, False)])
def test_a_hint_follows_only_the_error_of_an_unreachable_gateway(status: int | None, hint: bool) -> None:
    def fails(*_: object) -> int:
        raise PingError(["no"], refused_with=status)

    with pytest.raises(PingError) as caught:
        call_gateway(listing("--token", "hush"), fails)
    assert ("start a gateway with `rhopush serve`" in caught.value.message) is hint
    assert call_gateway(listing("--token", "hush"), lambda *_: 3) == 3


COMMANDS = [
    "ping --user a",
    "ping --user a --wait",
    "pings list",
    "pings show ID",
    "pings cancel ID",
    "queue show",
    "queue unreadable list",
    "queue unreadable show ID",
    "queue unreadable requeue ID",
    "queue unreadable drop ID",
    "devices a",
    "devices explain a",
    "dead list",
    "dead restore a",
    "dead restore --all",
    "lanes list",
    "lanes reset a",
    "webhooks list",
    "webhooks replay a --since 1",
    "webhooks test a",
    "tokens list",
    "tokens create a --scope ping",
    "tokens revoke a",
    "audit",
]


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("body", [b'{"ok": true}', b"<html>", b"[1]", b""])
async def test_another_server_is_reported_in_one_line(command: Command, words: str, body: bytes) -> None:
    with raw(with_body(body)) as server:
        status, out, err = await command(server.url, *words.split())
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "is the URL that of a gateway?" in err or "it is no gateway" in err


MEMBERS = (
    "pings records devices lanes webhooks tokens streams scheduled lanes_parked totals counts skipped state fields"
    " clients app_users ping_id record restored marks token name names lane endpoint unreadable delivered backlog"
)


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if "--wait" not in words]
)  # that one asks again
@pytest.mark.parametrize("value", [3, "x", None, [3], ["x"], {"x": 3}, [{"x": 3}]])
async def test_members_of_another_type_cause_no_traceback(
    command: Command, words: str, value: object
) -> None:
    with raw(with_body(json.dumps(dict.fromkeys(MEMBERS.split(), value)).encode())) as server:
        status, _, err = await command(server.url, *words.split())
    assert status in (0, 1)
    assert len(err.splitlines()) <= 1


@pytest.mark.parametrize("words", [words for words in COMMANDS if not words.startswith("ping ")])
async def test_an_argument_that_is_no_text_is_sent_without_a_traceback(command: Command, words: str) -> None:
    argument = os.fsdecode(b"\xff")
    with raw(with_body(b'{"error": {"message": "not found"}}', "404 Not Found")) as server:
        named = [argument if word in ("a", "ID") else word for word in words.split()]
        status, _, err = await command(server.url, *named)
    assert (status, err) == (1, f"rhopush {named[0]}: not found\n")


@pytest.mark.parametrize(("closed", "status"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("<&-", 2)])
def test_a_closed_standard_stream_is_no_crash(closed: str, status: int, tmp_path: Path) -> None:
    words = "ping --file -" if closed == "<&-" else "lanes list"
    with raw(with_body(b'{"lanes": []}')) as server:
        script = f'exec "$0" -c "$1" {words} --server {server.url} --token t {closed}'
        ended = subprocess.run(
            ["sh", "-c", script, sys.executable, RUN],
            capture_output=True,
            check=False,
            text=True,
            stdin=None if closed == "<&-" else subprocess.DEVNULL,
        )
    assert ended.returncode == status
    assert ended.stderr == ("rhopush ping: standard input is closed\n" if closed == "<&-" else "")


async def test_one_interrupt_ends_a_file_whose_next_line_does_not_come() -> None:
    program = AS_FROM_A_TERMINAL + RUN
    with raw(with_body(b"", "503 Busy")) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, "ping", "--file", "-", "--server", server.url, "--token", "t"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(b'{"user_id": "a"}\n')
        try:
            async with asyncio.timeout(30):
                while not server.requests:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(1)  # the client reads the next line
                process.send_signal(signal.SIGINT)
                status = await process.wait()
        except TimeoutError:
            process.kill()
            raise
        assert process.stdout is not None
        assert process.stderr is not None
        out = await process.stdout.read()
        err = await process.stderr.read()
    assert (status, out) == (1, b"0 accepted, 0 refused\n")
    assert err.startswith(b"stopped after line 0: later lines may have been accepted, too")
