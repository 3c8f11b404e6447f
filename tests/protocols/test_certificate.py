"""Certificates with their keys, generated here."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from protocols.certificate import Certificate
from protocols.errors import InvalidCredential
from tests.support.certificates import EXPIRES, PRIVATE, RSA, as_pem, certificate, pem


def test_a_pem_file_is_read_with_certificate_and_key_in_either_order() -> None:
    one = as_pem(certificate())
    for data in (one + pem(PRIVATE), pem(PRIVATE) + one):
        loaded = Certificate.load(data)
        assert (loaded.certificate_pem, loaded.key_pem) == (one, pem(PRIVATE))
        assert loaded.expires_s == EXPIRES.timestamp()


def test_the_extensions_are_named() -> None:
    one = certificate(None, ("1.2.3.1", b"\5\0"), ("1.2.3.2", b"\5\0"))
    loaded = Certificate.load(as_pem(one) + pem(PRIVATE))
    assert {oid.dotted_string for oid in loaded.extensions} == {"1.2.3.1", "1.2.3.2"}


def test_only_the_right_passphrase_opens_an_encrypted_key() -> None:
    one = as_pem(certificate())
    data = one + pem(PRIVATE, b"secret")
    assert Certificate.load(data, "secret").key_pem == pem(PRIVATE)
    assert Certificate.load(one + pem(PRIVATE), "not needed").key_pem == pem(PRIVATE)
    for wrong in (None, "", "other"):
        with pytest.raises(InvalidCredential, match="passphrase is wrong"):
            Certificate.load(data, wrong)


def test_old_forms_of_a_key() -> None:
    old = PRIVATE.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert b"BEGIN EC PRIVATE KEY" in old
    assert Certificate.load(as_pem(certificate()) + old, "secret").key_pem == pem(PRIVATE)


def test_a_pkcs12_file_is_read_with_its_passphrase() -> None:
    one = certificate()
    exported = pkcs12.serialize_key_and_certificates(
        b"push", PRIVATE, one, None, serialization.BestAvailableEncryption(b"secret")
    )
    loaded = Certificate.load(exported, "secret")
    assert (loaded.certificate_pem, loaded.key_pem) == (as_pem(one), pem(PRIVATE))
    with pytest.raises(InvalidCredential, match=r"neither PEM nor PKCS#12"):
        Certificate.load(exported, "other")


def test_a_pkcs12_file_without_the_key_is_refused() -> None:
    exported = pkcs12.serialize_key_and_certificates(
        b"push", None, certificate(), None, serialization.NoEncryption()
    )
    with pytest.raises(InvalidCredential, match="holds no private key"):
        Certificate.load(exported)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "neither PEM nor"),
        (b"garbage", "neither PEM nor"),
        (pem(PRIVATE), "holds no certificate"),
        (as_pem(certificate()), "no private key in it"),
        (as_pem(certificate()) + pem(ec.generate_private_key(ec.SECP256R1())), "do not match"),
        (as_pem(certificate()) + pem(RSA), "do not match"),
        (b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n" + pem(PRIVATE), "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_certificate_is_refused_by_name(data: bytes, says: str) -> None:
    with pytest.raises(InvalidCredential, match=says) as refused:
        Certificate.load(data)
    assert refused.value.field == "certificate_file"


def test_the_key_is_not_shown() -> None:
    assert (
        repr(Certificate.load(as_pem(certificate()) + pem(PRIVATE))) == "Certificate(expires_s=1893553445.0)"
    )


def test_a_certificate_of_an_unknown_kind_is_refused() -> None:
    """The key of the certificate is parsed only on access, and OpenSSL's error is raised then."""
    known, unknown = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d4201")  # id-ecPublicKey
    der = certificate().public_bytes(serialization.Encoding.DER)
    assert known in der
    damaged = x509.load_der_x509_certificate(der.replace(known, unknown))
    with pytest.raises(InvalidCredential, match="cannot be read"):
        Certificate.load(pem(ec.generate_private_key(ec.SECP256R1())) + as_pem(damaged))


@pytest.mark.parametrize("data", [b"-----BEGIN PRIVATE KEY-----" * 40_000, b"-----BEGIN " * 90_000])
def test_many_truncated_keys_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidCredential):
        Certificate.load(data)


@pytest.mark.parametrize(
    ("extensions", "known", "damaged"),
    [
        pytest.param((), "a003020102", "a003020101", id="a version that there is not"),
        pytest.param(
            (("1.2.3.1", b"\5\0"), ("1.2.3.2", b"\5\0")), "06032a0302", "06032a0301", id="one extension twice"
        ),
        pytest.param(
            (("2.5.29.17", b"\x30\x04\xa3\x02\5\0"),), "", "", id="a kind of alternative name without support"
        ),
    ],
)
def test_a_damaged_certificate_is_refused_by_name(
    extensions: tuple[tuple[str, bytes], ...], known: str, damaged: str
) -> None:
    """Exceptions of cryptography that do not inherit from ValueError."""
    der = certificate("com.example.app", *extensions).public_bytes(serialization.Encoding.DER)
    assert bytes.fromhex(known) in der
    data = der.replace(bytes.fromhex(known), bytes.fromhex(damaged))
    text = base64.encodebytes(data)
    with pytest.raises(InvalidCredential, match="cannot be read"):
        Certificate.load(
            pem(PRIVATE) + b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
        )
