"""Credentials of an APNs provider: a p8 key that signs provider tokens, or a push certificate.

Apple: "Establishing a token-based connection to APNs", "Establishing a certificate-based connection to APNs".

A provider token is used for 50 minutes. The next one is made at the same time everywhere and, by deterministic ECDSA
(RFC 6979), with the same bytes: every connection, worker and gateway with one key uses the same token without any
shared state. Apple requires at least 20 minutes between two tokens, and none older than an hour.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import jwt
import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm

from protocols.certificate import Certificate
from protocols.credential_text import private_key
from protocols.errors import InvalidCredential

BUCKET_S: Final = 3000
"""50 minutes: Apple accepts 20 to 60."""
CHANGE_S: Final = 1200
"""Shortest time between two tokens that Apple accepts."""
LAG_S: Final = 60
"""Delay before a bucket's token is used, so that a fast clock makes no token of the future."""

_P256_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9]{1,64}")
"""Apple's ids have ten characters. Longer ids are accepted too, since only Apple can decide that they are wrong."""


class _DeterministicES256(ECAlgorithm):
    """ES256 (RFC 7518 §3.4) whose signature depends on the key and the message alone."""

    def sign(self, msg: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
        """Sign the message; the signature consists of r and s, 32 bytes each."""
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(key.sign(msg, algorithm))
        return r.to_bytes(_P256_BYTES, "big") + s.to_bytes(_P256_BYTES, "big")


_jws: Final = jwt.PyJWS()
_jws.unregister_algorithm("ES256")
_jws.register_algorithm("ES256", _DeterministicES256(hashes.SHA256))


class ProviderKey:
    """A p8 key with its id and team, which makes provider tokens.

    Args:
        key_pem: PKCS#8 text of a P-256 key, as Apple provides it.
        key_id: the key's id, 10 characters at Apple.
        team_id: the team's id, 10 characters at Apple.

    Raises:
        InvalidCredential: the text is not such a key, or an id has an invalid form.
    """

    __slots__ = ("_from_s", "_key", "_phase_s", "_token", "_until_s", "key_id", "team_id")

    def __init__(self, key_pem: bytes | str, key_id: str, team_id: str) -> None:
        for field, value in (("key_id", key_id), ("team_id", team_id)):
            if not _ID.fullmatch(value):
                raise InvalidCredential(f"the {field} must be letters and digits, 10 at Apple", field=field)
        self.key_id = key_id
        self.team_id = team_id
        self._key = _p256(key_pem)
        self._token = ""
        self._phase_s = 0
        self._from_s = self._until_s = 0.0

    def __repr__(self) -> str:
        return f"ProviderKey(key_id={self.key_id!r}, team_id={self.team_id!r}, key=***)"

    def token(self, now_s: float) -> str:
        """The provider token of this time, for `authorization: bearer ...`.

        Args:
            now_s: epoch seconds. The token depends on it alone, until `hasten` is called.
        """
        if self._from_s <= now_s < self._until_s:
            return self._token
        issued_s = self._issued_s(now_s)
        claims = orjson.dumps({"iss": self.team_id, "iat": issued_s})
        self._token = _jws.encode(claims, self._key, algorithm="ES256", headers={"kid": self.key_id})
        self._from_s, self._until_s = issued_s + LAG_S, issued_s + BUCKET_S + LAG_S
        return self._token

    def hasten(self, now_s: float) -> bool:
        """Change tokens earlier in each 50 minutes, after the provider rejected the present token as too old.

        A provider whose clock is ahead of the local one considers each token older than it is.

        Returns:
            Whether there is another token now. There is none if the present one is younger than Apple requires.
        """
        if now_s - self._issued_s(now_s) < CHANGE_S + 2 * LAG_S:
            return False
        # By the minute, so that gateways whose tokens are rejected change them together.
        self._phase_s = int(now_s - LAG_S) // 60 * 60 % BUCKET_S
        self._until_s = 0.0
        return True

    def _issued_s(self, now_s: float) -> int:
        """Time of issue of the present token; a token is at least a minute old when it is used."""
        return int(now_s - LAG_S - self._phase_s) // BUCKET_S * BUCKET_S + self._phase_s


def _p256(key_pem: bytes | str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(private_key(key_pem), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is not chained: a parser's error may quote the key.
        raise InvalidCredential(
            "the APNs key must be an unencrypted PEM private key (a .p8 file)", field="key"
        ) from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    found = _kind(key)
    raise InvalidCredential(f"the APNs key must be on the curve P-256, not {found}", field="key")


def _kind(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.curve.name
    return type(key).__name__.removeprefix("_").removesuffix("PrivateKey")


# Apple's extensions of a push certificate.
_TOPICS: Final = x509.ObjectIdentifier("1.2.840.113635.100.6.3.6")
_ENVIRONMENTS: Final = {
    x509.ObjectIdentifier("1.2.840.113635.100.6.3.1"): "development",
    x509.ObjectIdentifier("1.2.840.113635.100.6.3.2"): "production",
}
_SEQUENCE, _UTF8_STRING = 0x30, 0x0C  # tags of ITU-T X.690


class PushCertificate(Certificate):
    """A push certificate of Apple's with its key.

    Attributes:
        topics: topics to which it may push; if there are several, apns-topic must be sent.
        environments: "development", "production", both, or none if the certificate does not name them.
    """

    __slots__ = ("environments", "topics")

    def __init__(self, key: PrivateKeyTypes, chain: Sequence[x509.Certificate]) -> None:
        super().__init__(key, chain)
        self.topics = topics_of(chain[0])
        self.environments = tuple(name for oid, name in _ENVIRONMENTS.items() if oid in self.extensions)

    def __repr__(self) -> str:
        return (
            f"PushCertificate(topics={self.topics}, environments={self.environments}, "
            f"expires_s={self.expires_s})"
        )


def topics_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Read the topics of a certificate: Apple's extension, or else the subject's UID."""
    try:
        extension = certificate.extensions.get_extension_for_oid(_TOPICS).value
    except x509.ExtensionNotFound:
        return tuple(str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.USER_ID))
    # A sequence in which each topic, a text, is followed by a sequence of its kinds.
    value = extension.public_bytes()
    return tuple(
        content.decode("utf-8", "replace")
        for tag, sequence in _der_elements(value)
        if tag == _SEQUENCE
        for inner, content in _der_elements(sequence)
        if inner == _UTF8_STRING
    )


def _der_elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split DER into tags and contents, one level deep (ITU-T X.690 §8.1)."""
    offset = 0
    while offset + 2 <= len(data):
        tag, size = data[offset], data[offset + 1]
        offset += 2
        if size & 0x80:  # the long form: the number of bytes of the size
            length = size & 0x7F
            size = int.from_bytes(data[offset : offset + length], "big")
            offset += length
        yield tag, data[offset : offset + size]
        offset += size
