"""Files that operators bring, and cookies that this gateway signed."""

import datetime
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gateway.delivery.providers.apns_credentials import read_apns
from gateway.delivery.providers.fcm_credentials import read_fcm, token_uris
from gateway.http_api.sessions import Session, Sessions
from gateway.logs.redaction import scrub
from gateway.settings import ApnsSettings, FcmSettings, Secret
from gateway.transport.tls import server_context
from protocols.apns.credentials import ProviderKey, PushCertificate
from protocols.credential_text import is_path, json_object, pem_blocks
from protocols.fcm.credentials import ServiceAccount
from tests.fuzz.target import Open, Step, Target, plain
from tests.fuzz.targets.pings import NOW_S

_PEM: Final = serialization.Encoding.PEM
_PKCS8: Final = serialization.PrivateFormat.PKCS8
_WORDS: Final = (
    b"-----BEGIN ",
    b"PRIVATE KEY-----",
    b"-----END ",
    b"CERTIFICATE-----",
    b"ENCRYPTED",
    b"\n",
    b"=",
    b"\\n",
    b"\xef\xbb\xbf",
    b"https://[::1",
)
_KEY_S: Final = 1.0
"""An altered key may be one of many rounds or of many bits."""


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(0xC0FFEE, ec.SECP256R1())


def _pem() -> bytes:
    return _key().private_bytes(_PEM, _PKCS8, serialization.NoEncryption())


def _example(name: str) -> bytes:
    """A file whose making draws random numbers: the same one for each run."""
    return (Path(__file__).parents[1] / "examples" / name).read_bytes()


def _rsa_key() -> rsa.RSAPrivateKey:
    """A fixed key for each run. Its primes are in the source, so that it is obvious that the key protects nothing."""
    first, second, exponent = (3 << 1_022) + 1_037, (7 << 1_021) + 309, 65_537
    private = pow(exponent, -1, (first - 1) * (second - 1))
    return rsa.RSAPrivateNumbers(
        first,
        second,
        private,
        private % (first - 1),
        private % (second - 1),
        pow(second, -1, first),
        rsa.RSAPublicNumbers(exponent, first * second),
    ).private_key()


@cache
def _certificate() -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, "com.example.app")])
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    topics = bytes.fromhex("30120c0f636f6d2e6578616d706c652e617070")
    return (
        x509.CertificateBuilder(name, name, _key().public_key(), 1, at, at + datetime.timedelta(days=365))
        .add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.840.113635.100.6.3.6"), topics), False
        )
        .sign(_key(), hashes.SHA256(), ecdsa_deterministic=True)
    )


def _account() -> bytes:
    key = _rsa_key()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "1",
            "private_key": key.private_bytes(_PEM, _PKCS8, serialization.NoEncryption()).decode(),
            "client_email": "push@project.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    ).encode()


def _p8(data: bytes) -> None:
    key = ProviderKey(data, "KEY0000001", "TEAM000001")
    key.token(NOW_S)


def _load(data: bytes) -> None:
    repr(PushCertificate.load(data, "a passphrase"))


def _service_account(data: bytes) -> None:
    repr(ServiceAccount.from_json(data))


@contextmanager
def _files() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "credential"


@contextmanager
def _by_certificate() -> Iterator[Step]:
    """A credential that the reader accepts must be usable for a connection, too."""
    with _files() as path:

        def step(data: bytes) -> None:
            path.write_bytes(data)
            said = ApnsSettings(certificate_file=path, certificate_passphrase=Secret("a passphrase"))
            access = read_apns(said)
            if access.certificate is not None:
                server_context(access.certificate)

        yield step


@contextmanager
def _by_account() -> Iterator[Step]:
    with _files() as path:

        def step(data: bytes) -> None:
            path.write_bytes(data)
            token_uris(read_fcm(FcmSettings(credentials_file=path)).credential)

        yield step


def _by_text(data: bytes) -> None:
    text = Secret(data.decode("utf-8", "surrogateescape"))
    said = ApnsSettings(key=text, key_id="KEY0000001", team_id="TEAM000001", topic="com.example.app")
    repr(read_apns(said).key)


def _texts(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    pem_blocks(data)
    json_object(text)
    is_path(text)
    scrub(text)


def _google() -> tuple[bytes, ...]:
    """One of each kind, as Google writes it."""
    user = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
    external = {
        "type": "external_account",
        "audience": audience,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": "/token", "format": {"type": "json", "subject_token_field_name": "x"}},
    }
    url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.iam.gserviceaccount.com"
    impersonated = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": f"{url}:generateAccessToken",
        "source_credentials": user,
        "delegates": ["x"],
    }
    amazon = {
        **external,
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "credential_source": {
            "environment_id": "aws1",
            "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity",
        },
    }
    program = {**external, "credential_source": {"executable": {"command": "x", "timeout_millis": 5000}}}
    more = {
        **user,
        "type": "external_account_authorized_user",
        "token_url": "https://sts.googleapis.com/v1/x",
    }
    return tuple(
        json.dumps({**one, "quota_project_id": "p"}).encode()
        for one in (user, external, impersonated, amazon, program, more)
    )


def _cookie(value: str) -> None:
    Sessions(b"k" * 32).read(value, NOW_S)


def _signed(text: bytes) -> None:
    """A cookie whose proof is right, whatever it says: the secret may be that of another version."""
    sessions = Sessions(b"k" * 32)
    sessions.read(f"{text.decode('latin-1')}--{sessions._mac(text)}", NOW_S)


@contextmanager
def _sessions() -> Iterator[Step]:
    def step(data: bytes) -> None:
        _cookie(data.decode("utf-8", "surrogateescape"))
        _signed(data)

    yield step


def _cookies() -> tuple[bytes, ...]:
    sessions = Sessions(b"k" * 32)
    issued = sessions.issue(Session("bob", "f" * 16, NOW_S + 10_000))
    return issued.encode(), issued.partition("--")[0].encode(), b"--", b"BAh7--" + b"0" * 40


def _slow(name: str, opened: Open, *seeds: bytes) -> Target:
    return Target(name, opened, seeds, _WORDS, base_s=_KEY_S)


def _log_text(data: bytes) -> None:
    scrub(data.decode("utf-8", "replace"))


TARGETS: Final = (
    Target(
        "log-texts",
        plain(_log_text),
        (
            b"eyJ-" * 4_000,
            (b"eyJ-" * 128 + b"." + b"a" * 4_000 + b" ") * 3,
            b"redis://user:pw@host Bearer abc",
            b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJUIn0.c2ln",
        ),
        (b"eyJ", b".", b"://", b"@", b"Bearer ", b"ya29.", b"-" * 99),
        largest=16_384,
    ),
    _slow("apns-keys", plain(_p8), _pem(), b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"),
    _slow(
        "apns-certificates",
        plain(_load),
        _pem() + _certificate().public_bytes(_PEM),
        _certificate().public_bytes(_PEM) + _example("encrypted-key.pem"),
        _example("bundle.p12"),
    ),
    _slow("fcm-accounts", plain(_service_account), _account())._replace(tree="json"),
    _slow(
        "credentials-by-certificate",
        _by_certificate,
        _pem() + _certificate().public_bytes(_PEM),
        _example("bundle.p12"),
    ),
    _slow("credentials-by-account", _by_account, _account(), b"metadata", *_google())._replace(tree="json"),
    _slow("credentials-by-text", plain(_by_text), _pem(), _pem().replace(b"\n", b"\\n")),
    Target("credential-texts", plain(_texts), (_pem(), _account(), b"/a/path", *_google()), _WORDS),
    Target("session-cookies", _sessions, _cookies(), (b"--", b"=", b"bnVsbA", b"W10")),
)
