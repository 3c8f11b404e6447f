import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.errors import CredentialError
from gateway.transport.tls import client_context

PASSPHRASE = "correct horse"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and its key, the key encrypted, in one file as Apple's tools export it."""
    issued = trustme.CA().issue_cert("com.example.app")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )
    file = tmp_path / "apple.pem"
    file.write_bytes(issued.cert_chain_pems[0].bytes() + locked)
    return file


def test_a_context_verifies_and_speaks_no_old_tls() -> None:
    context = client_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_ca_file_replaces_the_systems_roots(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(trustme.CA().cert_pem.bytes())
    assert client_context(ca_file=file).cert_store_stats()["x509"] == 1


def test_an_encrypted_key_opens_with_its_passphrase(certificate: Path) -> None:
    assert client_context(certificate_file=certificate, passphrase=PASSPHRASE)


@pytest.mark.parametrize("passphrase", [None, "", "wrong horse", "x" * 5000])
def test_a_wrong_passphrase_is_one_clear_error_and_never_a_question(
    certificate: Path, passphrase: str | None
) -> None:
    with pytest.raises(CredentialError, match=r"apple\.pem: ") as caught:
        client_context(certificate_file=certificate, passphrase=passphrase)
    assert caught.value.field == "certificate_file"
    assert "horse" not in str(caught.value) and "xxx" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("option", ["ca_file", "certificate_file"])
@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file or directory"), (b"", "not usable as PEM"), (b"hello", "not usable as PEM")],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, option: str, content: bytes | None, words: str
) -> None:
    file = tmp_path / "some.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CredentialError, match=f"some.pem: {words}") as caught:
        client_context(**{option: file})
    assert caught.value.field == option


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "only.pem"
    file.write_bytes(trustme.CA().issue_cert("x").cert_chain_pems[0].bytes())
    with pytest.raises(CredentialError, match=r"only\.pem: not usable as PEM"):
        client_context(certificate_file=file)
