"""Certificate authority of the simulators, generated at run time and never stored."""

import datetime
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TOPICS_OID: Final = x509.ObjectIdentifier("1.2.840.113635.100.6.3.6")
"""Apple's extension that lists a push certificate's topics ("Establishing a certificate-based connection")."""

_SEQUENCE, _UTF8_STRING = 0x30, 0x0C  # DER tags (ITU-T X.690)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A provider certificate with its key, as an app's developer gets it from Apple.

    Attributes:
        topics: the topics to which it may push.
        certificate_pem: the certificate.
        pem: certificate and private key in one PEM, as RhoConnect's `iphonecertfile` holds them.
    """

    topics: tuple[str, ...]
    certificate_pem: bytes
    pem: bytes = field(repr=False)


class Authority:
    """A certificate authority with one server certificate, for loopback and other names.

    Args:
        names: host names or addresses that clients use, in addition to loopback's.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._ca = trustme.CA()
        self.ca_pem: bytes = self._ca.cert_pem.bytes()
        self._server = self._ca.issue_cert(*dict.fromkeys(["127.0.0.1", "localhost", "::1", *names]))

    def server_context(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """TLS context of a server that accepts client certificates of this authority, but does not require one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._server.configure_cert(context)
        context.set_alpn_protocols(list(protocols))
        context.load_verify_locations(cadata=self.ca_pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client_context(
        self, protocols: Sequence[str] = ("h2",), certificate: ClientCertificate | None = None
    ) -> ssl.SSLContext:
        """TLS context of a client of a simulator; empty `protocols`: no ALPN."""
        context = ssl.create_default_context(cadata=self.ca_pem.decode())
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if certificate is not None:
            with tempfile.NamedTemporaryFile() as file:  # ssl loads keys from files only
                Path(file.name).write_bytes(certificate.pem)
                context.load_cert_chain(file.name)
        return context

    def client_certificate(
        self, topics: Sequence[str], *, extension: bool = True, valid_s: int = 86_400 * 365
    ) -> ClientCertificate:
        """Make a provider certificate.

        Args:
            topics: topics to which it may push; the first is also the subject's UID.
            extension: whether to list them in Apple's extension; without it the UID is the only topic, as in old
                certificates.
            valid_s: validity in seconds; negative: already expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        start, end = sorted((now - datetime.timedelta(minutes=5), now + datetime.timedelta(seconds=valid_s)))
        common = x509.NameAttribute(NameOID.COMMON_NAME, f"Apple Push Services: {topics[0]}"[:64])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.USER_ID, topics[0]), common]))
            .issuer_name(x509.load_pem_x509_certificate(self.ca_pem).subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        if extension:
            listed = x509.UnrecognizedExtension(TOPICS_OID, encode_topics(topics))
            builder = builder.add_extension(listed, critical=False)
        signed = builder.sign(self._signer(), hashes.SHA256()).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return ClientCertificate(tuple(topics), signed, signed + private)

    def _signer(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key must be an elliptic curve key")
        return key


def encode_topics(topics: Sequence[str]) -> bytes:
    """Encode the extension's value: one sequence in which each topic is followed by the sequence of its kinds."""
    kinds = _element(_SEQUENCE, _element(_UTF8_STRING, b"app"))
    return _element(_SEQUENCE, b"".join(_element(_UTF8_STRING, topic.encode()) + kinds for topic in topics))


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
