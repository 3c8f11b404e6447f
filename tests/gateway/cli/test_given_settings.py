"""The settings and the API token that a command's options name."""

import argparse
from pathlib import Path

import pytest

from gateway.cli.given_settings import api_token, load_settings
from gateway.cli.options import add_settings_arguments
from gateway.errors import BadSetting


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS", "REDIS_URL", "RHO_ENV", "RACK_ENV"):
        monkeypatch.delenv(name, raising=False)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    return parser.parse_args(words)


def test_the_file_and_the_environment_are_those_of_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(":live: {:redis: 'db:1', :api_token: a}\n:test: {:redis: 'db:2', :api_token: b}\n")
    found = load_settings(arguments("--settings", str(file), "--env", "test"))
    assert (found.redis.reveal() if found.redis else "") == "db:2"
    monkeypatch.setenv("REDIS", "db:3")
    found = load_settings(arguments("--settings", str(file), "--env", "live"))
    assert (found.redis.reveal() if found.redis else "") == "db:3"


def test_an_invalid_address_is_reported_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(":test: {:redis: 'http://db'}\n")
    with pytest.raises(BadSetting, match="not a Redis address"):
        load_settings(arguments("--settings", str(file), "--env", "test"))


def test_the_token_comes_from_the_settings_or_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_TOKEN", raising=False)
    file = tmp_path / "settings.yml"
    file.write_text(f":test:\n  :gateway: {{data_dir: {tmp_path}}}\n:live: {{:api_token: said}}\n")
    given = ("--settings", str(file), "--env")
    assert api_token(arguments(*given, "live")) == "said"
    with pytest.raises(BadSetting, match="no API token"):
        api_token(arguments(*given, "test"))
    kept = tmp_path / "api_token"
    kept.mkdir()
    with pytest.raises(
        BadSetting, match=r"no API token: .*/api_token cannot be read: Is a directory; set --token"
    ):
        api_token(arguments(*given, "test"))
    kept.rmdir()
    kept.write_text("kept\n")
    kept.chmod(0o600)
    assert api_token(arguments(*given, "test")) == "kept"
