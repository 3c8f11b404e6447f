"""A certificate with its private key, from a PEM or PKCS#12 file, for TLS connections."""

import warnings
from collections.abc import Sequence
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12

from protocols.credential_text import Block, pem_blocks
from protocols.errors import InvalidCredential

_UNREADABLE: Final = (
    *(ValueError, TypeError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)
"""Exceptions of cryptography for a damaged certificate; the last three do not inherit from ValueError."""
_CERTIFICATES: Final = ("CERTIFICATE", "X509 CERTIFICATE")
_PKCS12_START: Final = b"\x30"
"""First byte of a PKCS#12 file (RFC 7292 §4): the tag of a sequence (ITU-T X.690)."""


class Certificate:
    """A certificate of a TLS client or server with its key.

    Attributes:
        expires_s: epoch seconds.
        extensions: the identifiers of its extensions.
        certificate_pem: the certificate and its chain, as text.
        key_pem: the private key, unencrypted, as text; for a TLS context.
    """

    __slots__ = ("certificate_pem", "expires_s", "extensions", "key_pem")

    def __init__(self, key: PrivateKeyTypes, chain: Sequence[x509.Certificate]) -> None:
        leaf = chain[0]
        self.extensions = frozenset(extension.oid for extension in leaf.extensions)
        self.expires_s = leaf.not_valid_after_utc.timestamp()
        self.certificate_pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
        self.key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(expires_s={self.expires_s})"

    @classmethod
    def load(cls, data: bytes, passphrase: str | None = None) -> Self:
        """Read a PEM with certificate and key, or a PKCS#12 file.

        Raises:
            InvalidCredential: the file has another format, the passphrase is wrong, or key and certificate do not
                match.
        """
        secret = passphrase.encode("utf-8", "replace") if passphrase else None
        blocks = [] if data[:1] == _PKCS12_START and b"-----BEGIN" not in data else pem_blocks(data)
        key, chain = _from_pem(blocks, secret) if blocks else _from_pkcs12(data, secret)
        if not chain:
            raise InvalidCredential("the certificate's file holds no certificate", field="certificate_file")
        try:
            public = _spki(key.public_key())
            own = [one for one in chain if _spki(one.public_key()) == public]
            if own:
                return cls(key, [own[0], *(one for one in chain if one not in own)])
        except _UNREADABLE:
            # Parts of a certificate are parsed only when they are accessed.
            raise InvalidCredential(
                "the certificate cannot be read: it is damaged, or its kind is not supported",
                field="certificate_file",
            ) from None
        raise InvalidCredential("the certificate and its key do not match", field="certificate_file")


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _from_pem(
    blocks: Sequence[Block], secret: bytes | None
) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    """Read the blocks; an unneeded passphrase is ignored, as in RhoConnect."""
    key = next((block for block in blocks if block.is_key), None)
    if key is None:
        raise InvalidCredential(
            "the certificate's file cannot be read: no private key in it; export the certificate with its key",
            field="certificate_file",
        )
    try:
        private = serialization.load_pem_private_key(key.pem, secret if b"ENCRYPTED" in key.pem else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidCredential(
            "the key of the certificate cannot be read: it is damaged, or the passphrase is wrong",
            field="certificate_file",
        ) from None
    try:
        chain = [x509.load_pem_x509_certificate(one.pem) for one in blocks if one.label in _CERTIFICATES]
    except _UNREADABLE:
        raise InvalidCredential(
            "a certificate in the certificate's file cannot be read", field="certificate_file"
        ) from None
    return private, chain


def _from_pkcs12(data: bytes, secret: bytes | None) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    try:
        with warnings.catch_warnings():
            # cryptography reads BER, which the Keychain writes, with a warning
            warnings.simplefilter("ignore")
            key, leaf, others = pkcs12.load_key_and_certificates(data, secret)
    except _UNREADABLE:
        raise InvalidCredential(
            "the certificate's file is neither PEM nor PKCS#12, or the passphrase is wrong",
            field="certificate_file",
        ) from None
    if key is None:
        raise InvalidCredential("the certificate's file holds no private key", field="certificate_file")
    return key, [leaf, *others] if leaf else []
