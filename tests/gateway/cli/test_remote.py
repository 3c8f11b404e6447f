"""Options of commands that talk to a gateway."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.remote import add_gateway_arguments, pages_of, server_of, token_of
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
