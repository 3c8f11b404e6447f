"""Topics of a certificate: read from what was written, and from what Apple writes."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from protocols.apns.simulated_certificate import TOPICS_OID, encode_topics, topics_of


def certificate(uid: str | None, extension: bytes | None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, uid)] if uid else [])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=1))
        if extension is None
        else x509.CertificateBuilder(
            name, name, key.public_key(), 1, start, start + datetime.timedelta(days=1)
        ).add_extension(x509.UnrecognizedExtension(TOPICS_OID, extension), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "topics", [["com.a"], ["com.a", "com.a.voip", "com.a.complication"], ["x" * 200] * 3]
)
def test_listed_topics_are_read(topics: list[str]) -> None:
    assert topics_of(certificate("com.uid", encode_topics(topics))) == tuple(topics)


def test_without_a_list_the_uid_is_the_topic() -> None:
    assert topics_of(certificate("com.uid", None)) == ("com.uid",)


def test_without_either_there_is_none() -> None:
    assert topics_of(certificate(None, None)) == ()


def test_the_list_is_der() -> None:
    # SEQUENCE { UTF8String "com.a", SEQUENCE { UTF8String "app" } }
    assert (
        encode_topics(["com.a"])
        == bytes.fromhex("300e 0c05") + b"com.a" + bytes.fromhex("3005 0c03") + b"app"
    )


@pytest.mark.parametrize("extension", [b"", b"\x30", b"\x30\x7f\x0c", b"\x0c\x01a"])
def test_a_broken_list_names_nothing(extension: bytes) -> None:
    assert topics_of(certificate("com.uid", extension)) == ()
