"""RhoConnect's own push keys as settings of the gateway."""

from pathlib import Path

import pytest

from gateway.settings import Secret, Source, load
from tests.gateway.settings.test_loading import RHOCONNECT, complaint, loaded, written


def test_rhoconnects_own_file_works_unchanged(tmp_path: Path) -> None:
    settings = load(written(tmp_path, RHOCONNECT), "production", {})
    assert settings.redis == Secret("db1:6379:2:hush")
    assert settings.api_token == Secret("my-rhoconnect-token")
    assert settings.push_server == Secret("http://someappname@localhost:8675/")
    assert settings.apns.certificate_file == tmp_path / "settings" / "apple_push_cert.pem"
    assert settings.apns.certificate_passphrase == Secret("1234")
    assert (settings.apns.server, settings.apns.port) == ("api.push.apple.com", 443)
    assert (settings.fcm.project_id, settings.fcm.package_name) == ("my-project", "com.example.app")
    assert settings.sources == {
        "Product": Source("user", push_notify=True),
        "Price": Source("app", push_notify=True),
        "Order": Source("user", push_notify=False),
    }
    store01 = settings.app("com.x.store01").apns
    assert (store01.certificate_file, store01.certificate_passphrase) == (
        tmp_path / "settings" / "a.pem",
        Secret("s"),
    )
    assert store01.server == "api.push.apple.com"
    assert settings.app("com.other").apns is settings.apns
    assert settings.data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("server", "port", "expected"),
    [
        ("gateway.push.apple.com", "2195", ("api.push.apple.com", 443)),
        ("gateway.sandbox.push.apple.com", "2195", ("api.sandbox.push.apple.com", 443)),
        ("api.push.apple.com", "2197", ("api.push.apple.com", 2197)),
        ("apns.example.com", "2195", ("apns.example.com", 2195)),
        ("127.0.0.1", "'8443'", ("127.0.0.1", 8443)),
    ],
)
def test_apples_retired_hosts_mean_the_new_ones(
    tmp_path: Path, server: str, port: str, expected: tuple[str, int]
) -> None:
    settings = loaded(tmp_path, "{}", beside=f":iphoneserver: {server}\n:iphoneport: {port}")
    assert (settings.apns.server, settings.apns.port) == expected


def test_a_wrong_value_of_rhoconnects_keys_is_named_where_it_stands(tmp_path: Path) -> None:
    said = complaint(tmp_path, "{}", beside=":iphonecertfile: [a]")
    assert said.startswith("apns.certificate_file: expected text")
    assert "line 2" in said


@pytest.mark.parametrize(
    ("written_as", "text"),
    [
        ("2026-11-30", "2026-11-30"),
        ("20261130", "20261130"),
        ("1_000", "1000"),
        ("0123", "83"),
        ("yes", "true"),
        (":secret", "secret"),
        ("1.50", "1.5"),
    ],
)
def test_rhoconnects_own_texts_are_what_ruby_makes_of_them(
    tmp_path: Path, written_as: str, text: str
) -> None:
    settings = load(
        written(tmp_path, f":production:\n  :api_token: {written_as}\t# ours\n"), "production", {}
    )
    assert settings.api_token is not None
    assert settings.api_token.reveal() == text
