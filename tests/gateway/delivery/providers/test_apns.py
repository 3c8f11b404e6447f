"""The provider object of APNs. Lanes and routes are in `test_lane_manager.py`."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gateway.delivery.providers.apns import PROVIDER, _servers
from gateway.delivery.providers.base import NO_CREDENTIAL, CheckedCredential, ProviderServer
from gateway.errors import CredentialError
from gateway.settings import ApnsSettings, App, Secret, Settings
from gateway.simulators.authority import Authority
from gateway.simulators.keys import make_team_key
from protocols.apns.credentials import PushCertificate


def test_a_key_is_named_without_its_text() -> None:
    key = make_team_key()
    section = ApnsSettings(
        key=Secret(key.pem.decode()), key_id=key.key_id, team_id=key.team_id, topic="com.x"
    )
    settings = Settings(apps={"own": App(section)})
    found = PROVIDER.credential(settings, "own")
    assert found == CheckedCredential(f"key {key.key_id} of team {key.team_id}, topic com.x")
    assert PROVIDER.expiry(settings, "own") is None
    assert PROVIDER.unserved(settings, "own") is None
    assert PROVIDER.credential(settings, "") is None
    assert PROVIDER.unserved(settings, "") == NO_CREDENTIAL


def test_a_certificate_has_an_end(tmp_path: Path) -> None:
    file = tmp_path / "app.pem"
    file.write_bytes(Authority(["127.0.0.1"]).client_certificate(["com.x"]).pem)
    settings = Settings(apns=ApnsSettings(certificate_file=file))
    found, expiry = PROVIDER.credential(settings, ""), PROVIDER.expiry(settings, "")
    assert found is not None
    assert expiry is not None
    assert found == CheckedCredential("certificate for com.x", expiry.expires_s)
    assert expiry.topic == "com.x"
    file.unlink()
    with pytest.raises(CredentialError):
        PROVIDER.expiry(settings, "")


def test_auto_has_two_servers() -> None:
    settings = Settings(apns=ApnsSettings(key=Secret("x"), environment="auto", ca_file=Path("ca")))
    assert list(PROVIDER.servers(settings, "")) == [
        ProviderServer("apns", "api.push.apple.com", 443, "ca", setting="apns.host and apns.port"),
        ProviderServer(
            "apns sandbox",
            "api.sandbox.push.apple.com",
            443,
            "ca",
            setting="apns.sandbox_host and apns.sandbox_port",
        ),
    ]
    assert list(PROVIDER.servers(Settings(), "")) == []


@pytest.mark.parametrize(
    ("environments", "hosts"),
    [
        (("development",), ["sandbox"]),
        (("production",), ["production"]),
        (("development", "production"), ["production", "sandbox"]),
        ((), ["production", "sandbox"]),
    ],
)
def test_a_certificate_of_one_environment_has_only_its_server(
    environments: tuple[str, ...], hosts: list[str]
) -> None:
    section = ApnsSettings(environment="auto", host="production", sandbox_host="sandbox")
    certificate = cast("PushCertificate", SimpleNamespace(environments=environments))
    assert [host for host, _ in _servers(section, certificate)] == hosts
