"""One reader for `check`, the start and sending: what it accepts can be sent with, whatever form it has."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.delivery.credential_check import unusable_credentials
from gateway.delivery.providers.apns_credentials import read_apns
from gateway.errors import CredentialError, RhoPushError
from gateway.settings import ApnsSettings, Secret, Settings
from gateway.simulators.authority import Authority

AUTHORITY = Authority()
ISSUED = AUTHORITY.client_certificate(["com.example.app"])
LEAF = ISSUED.certificate_pem
KEY = ISSUED.pem.removeprefix(LEAF)
PRIVATE = load_pem_private_key(KEY, None)
assert isinstance(PRIVATE, ec.EllipticCurvePrivateKey)
LOCKED = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush"))
OLD = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"hush"))
BUNDLE = pkcs12.serialize_key_and_certificates(
    b"push", PRIVATE, x509.load_pem_x509_certificate(LEAF), None, BestAvailableEncryption(b"hush")
)

CERTIFICATES = {
    "certificate and key": LEAF + KEY,
    "key and certificate": KEY + LEAF,
    "no line end between": LEAF.rstrip() + KEY,
    "no line end at the end": (LEAF + KEY).rstrip(),
    "CR": (LEAF + KEY).replace(b"\n", b"\r"),
    "CR LF": (LEAF + KEY).replace(b"\n", b"\r\n"),
    "indented": b"  " + (LEAF + KEY).replace(b"\n", b"\n  "),
    "BOM": b"\xef\xbb\xbf" + LEAF + KEY,
    "UTF-16": (LEAF + KEY).decode().encode("utf-16"),
    "text around": b"Bag Attributes\n x: y\n" + LEAF + b"Key Attributes: <No Attributes>\n" + KEY + b"end",
    "authority first": AUTHORITY.ca_pem + LEAF + KEY,
    "encrypted": LEAF + LOCKED,
    "encrypted in the old form": LEAF + OLD.replace(b"\n", b"\r\n"),
    "PKCS#12": BUNDLE,
    "two characters": (LEAF + KEY).replace(b"\n", b"\\n"),
    "one line": (LEAF + KEY).replace(b"\n", b" "),
}


def by_certificate(file: Path, data: bytes, passphrase: str = "hush") -> ApnsSettings:
    file.write_bytes(data)
    return ApnsSettings(certificate_file=file, certificate_passphrase=Secret(passphrase))


@pytest.mark.parametrize("form", CERTIFICATES)
def test_a_certificate_in_any_form_is_accepted_and_sent_with(form: str, tmp_path: Path) -> None:
    said = by_certificate(tmp_path / "app.pem", CERTIFICATES[form])
    assert list(unusable_credentials(Settings(apns=said))) == []
    access = read_apns(said)
    assert access.topic == "com.example.app"
    assert isinstance(access.context(), ssl.SSLContext)
    assert access.certificate is not None
    assert access.certificate.certificate_pem.startswith(LEAF)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LEAF, "no private key"),
        (KEY, "no certificate"),
        (
            LEAF + AUTHORITY.client_certificate(["x"]).pem.partition(b"-----BEGIN PRIVATE")[2],
            "no private key",
        ),
        (AUTHORITY.ca_pem + KEY, "do not match"),
        (b"", "neither PEM nor PKCS#12"),
        (b"\x30" + b"\xff" * 100, "neither PEM nor PKCS#12"),
    ],
    ids=["no key", "no certificate", "half a key", "another key", "empty", "no PKCS#12"],
)
def test_a_certificate_that_is_none_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    said = by_certificate(tmp_path / "app.pem", data)
    with pytest.raises(CredentialError, match=words) as refused:
        read_apns(said)
    assert "app.pem" in refused.value.message
    assert [found.error for found in unusable_credentials(Settings(apns=said))] == [refused.value.message]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.sampled_from([LEAF + KEY, LEAF + LOCKED, BUNDLE]),
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 40), st.binary(max_size=6)), max_size=3),
)
def test_what_a_reader_accepts_of_a_mutated_certificate_can_be_sent_with(
    tmp_path: Path, data: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    for place, gone, instead in edits:
        data = data[:place] + instead + data[place + gone :]
    try:
        access = read_apns(by_certificate(tmp_path / "app.pem", data))
    except RhoPushError as error:
        assert isinstance(error, CredentialError)
        return
    assert isinstance(access.context(), ssl.SSLContext)


def test_a_key_without_encryption_needs_no_passphrase_and_one_does_no_harm(tmp_path: Path) -> None:
    plain = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert read_apns(by_certificate(tmp_path / "app.pem", LEAF + plain, "anything"))
    with pytest.raises(CredentialError, match="passphrase is wrong"):
        read_apns(by_certificate(tmp_path / "app.pem", LEAF + LOCKED, "another"))
