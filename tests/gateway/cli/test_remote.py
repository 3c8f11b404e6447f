"""Options of commands that talk to a gateway."""

import argparse
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
