"""Common parts of providers: addresses, and digests of settings and credentials."""

from pathlib import Path

import pytest

from gateway.delivery.providers.base import (
    ProviderServer,
    authority,
    configuration_of,
    credential_digest,
    server_of,
)
from gateway.errors import CredentialError
from gateway.settings import ApnsSettings, Secret


@pytest.mark.parametrize(
    ("host", "port", "text"), [("a.b", 443, "a.b"), ("a.b", 8443, "a.b:8443"), ("::1", 2197, "[::1]:2197")]
)
def test_the_authority_has_the_port_unless_it_is_that_of_https(host: str, port: int, text: str) -> None:
    assert authority(host, port) == text


def test_an_address_becomes_a_server_with_the_default_port_of_its_scheme() -> None:
    assert server_of("x", "https://a.b", Path("ca")) == ProviderServer("x", "a.b", 443, "ca")
    assert server_of("x", "http://a.b", None) == ProviderServer("x", "a.b", 80, None, tls=False)
    assert server_of("x", "http://a.b:8080", None).port == 8080


def test_the_content_of_a_file_is_part_of_configuration_and_credential(tmp_path: Path) -> None:
    file = tmp_path / "key"
    section = ApnsSettings(key_file=file, topic="a")
    with pytest.raises(CredentialError, match="No such file"):
        configuration_of(section, ())
    file.write_text("one")
    before = configuration_of(section, ("topic",)), credential_digest(section, ("key_file",), "x")
    assert before[0] == configuration_of(ApnsSettings(key_file=file, topic="b"), ("topic",))
    file.write_text("two")
    after = configuration_of(section, ("topic",)), credential_digest(section, ("key_file",), "x")
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_digest_shows_no_secret() -> None:
    section = ApnsSettings(key=Secret("hush"))
    assert "hush" not in credential_digest(section, ("key", "key_id"))
    assert credential_digest(section, ("key",)) != credential_digest(ApnsSettings(), ("key",))


def test_the_server_is_part_of_the_credentials_digest() -> None:
    section = ApnsSettings(key=Secret("hush"))
    one, other = credential_digest(section, ("key",), "one"), credential_digest(section, ("key",), "other")
    assert one != other
    assert one == credential_digest(section, ("key",), "one")
