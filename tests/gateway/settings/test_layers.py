"""How one layer of settings displaces another."""

from pathlib import Path

from gateway.settings import Secret
from tests.gateway.settings.test_loading import loaded


def test_a_key_displaces_the_certificate_of_the_old_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "apns: {key: PEM, key_id: A, team_id: B, environment: sandbox}",
        beside=":iphonecertfile: old.pem\n:iphoneserver: gateway.push.apple.com",
    )
    assert (settings.apns.certificate_file, settings.apns.key) == (None, Secret("PEM"))
    assert settings.apns.server == "api.sandbox.push.apple.com"
