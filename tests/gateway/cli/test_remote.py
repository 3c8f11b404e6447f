"""Options of commands that talk to a gateway."""

import argparse
from pathlib import Path

import pytest

from gateway.cli.options import api_token
from gateway.cli.remote import add_gateway_arguments, server_of
from gateway.errors import BadSetting


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_gateway_arguments(parser)
    return parser.parse_args(words)


def test_the_server_is_an_option_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHOPUSH_SERVER", "http://a:1")
    assert server_of(parsed()) == "http://a:1"
    assert server_of(parsed("--server", "http://b:2")) == "http://b:2"


def test_the_token_is_the_settings_or_the_data_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("API_TOKEN", raising=False)
    with pytest.raises(BadSetting, match="no API token"):
        api_token(parsed())
    file = tmp_path / "settings.yml"
    file.write_text(":development: {:api_token: sesame}\n")
    assert api_token(parsed("--settings", str(file))) == "sesame"
