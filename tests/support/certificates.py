"""Certificates and keys that are generated at run time."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

PRIVATE = ec.generate_private_key(ec.SECP256R1())
"""The key of `certificate`."""
RSA = rsa.generate_private_key(65537, 2048)
"""One for all tests of a process: to find its primes takes a tenth of a second."""
EXPIRES = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def pem(key: PrivateKeyTypes, passphrase: bytes | None = None) -> bytes:
    """Return a key as PKCS#8 text."""
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def certificate(uid: str | None = "com.example.app", *extensions: tuple[str, bytes]) -> x509.Certificate:
    """Sign a certificate with a UID and with extensions, each an identifier and its value in DER."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "Apple Push Services")]
    if uid is not None:
        names.append(x509.NameAttribute(NameOID.USER_ID, uid))
    name = x509.Name(names)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(PRIVATE.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(EXPIRES)
    )
    for oid, value in extensions:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=False
        )
    return builder.sign(PRIVATE, hashes.SHA256())


def as_pem(one: x509.Certificate) -> bytes:
    """Return a certificate as text."""
    return one.public_bytes(serialization.Encoding.PEM)
