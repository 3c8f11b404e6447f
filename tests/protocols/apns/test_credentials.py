"""Provider tokens and push certificates, with keys generated here."""

import base64
import datetime
from itertools import pairwise

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from protocols.apns.credentials import BUCKET_S, LAG_S, ProviderKey, PushCertificate
from protocols.errors import InvalidCredential

KEY_ID, TEAM_ID = "ABC123DEFG", "DEF123GHIJ"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
START_S = 1_700_001_000 // BUCKET_S * BUCKET_S


def pem(key: PrivateKeyTypes, passphrase: bytes | None = None) -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def key() -> ProviderKey:
    return ProviderKey(pem(PRIVATE), KEY_ID, TEAM_ID)


def test_the_token_names_its_key_team_and_time() -> None:
    token = key().token(START_S + LAG_S)
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}
    claims = jwt.decode(token, PRIVATE.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert claims == {"iss": TEAM_ID, "iat": START_S}


def test_every_process_makes_the_same_token_in_one_bucket() -> None:
    first, last = START_S + LAG_S, START_S + LAG_S + BUCKET_S - 1
    assert key().token(first) == key().token(first + 0.5) == key().token(last)
    one = key()
    assert one.token(first) is one.token(last)  # signed once
    assert BUCKET_S == 50 * 60


def test_the_next_bucket_has_the_next_token() -> None:
    one = key()
    before = one.token(START_S + LAG_S + BUCKET_S - 1)
    after = one.token(START_S + LAG_S + BUCKET_S)
    assert after != before
    assert after == key().token(START_S + LAG_S + BUCKET_S)


@pytest.mark.parametrize("offset_s", [0, 1, 59, 60, 61, 1500, 2999, 3000, 3059, 3060])
def test_the_time_of_a_token_is_never_in_the_future_nor_an_hour_ago(offset_s: int) -> None:
    now_s = START_S + offset_s
    token = key().token(now_s)
    issued_s = jwt.decode(token, options={"verify_signature": False})["iat"]
    assert LAG_S <= now_s - issued_s < 3600


def test_two_tokens_are_at_least_twenty_minutes_apart() -> None:
    issued = {
        jwt.decode(key().token(START_S + minute * 60), options={"verify_signature": False})["iat"]
        for minute in range(0, 300, 5)
    }
    times = sorted(issued)
    assert min(after - before for before, after in pairwise(times)) >= 1200


def test_text_and_bytes_and_blank_lines_are_the_same_key() -> None:
    text = "\n\n" + pem(PRIVATE).decode().replace("\n", "\r\n") + "\n"
    assert ProviderKey(text, KEY_ID, TEAM_ID).token(START_S) == key().token(START_S)


RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("key_pem", "says"),
    [
        (b"", "must be an unencrypted PEM private key"),
        (b"secret-that-is-no-key", "must be an unencrypted PEM private key"),
        (pem(PRIVATE, b"pass"), "must be an unencrypted PEM private key"),
        pytest.param(pem(PRIVATE)[:100], "must be an unencrypted PEM private key", id="cut short"),
        (pem(RSA), "P-256, not RSA"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-256, not secp384r1"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "P-256, not Ed25519"),
    ],
)
def test_a_wrong_key_is_named_and_not_shown(key_pem: bytes, says: str) -> None:
    with pytest.raises(InvalidCredential, match=says) as refused:
        ProviderKey(key_pem, KEY_ID, TEAM_ID)
    assert "secret-that" not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("key_id", "team_id", "field"), [("", TEAM_ID, "key_id"), (KEY_ID, "a b", "team_id")]
)
def test_an_invalid_id_is_refused(key_id: str, team_id: str, field: str) -> None:
    with pytest.raises(InvalidCredential) as refused:
        ProviderKey(pem(PRIVATE), key_id, team_id)
    assert refused.value.field == field


def test_the_key_is_not_shown() -> None:
    assert repr(key()) == "ProviderKey(key_id='ABC123DEFG', team_id='DEF123GHIJ', key=***)"


# -- certificates --------------------------------------------------------------------------------------------

EXPIRES = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
# SEQUENCE { "com.example.app" { "app" } "com.example.app.voip" { "voip" } }, written out by hand.
TOPICS = b"\x30\x36\x0c\x0fcom.example.app\x30\x05\x0c\x03app\x0c\x14com.example.app.voip\x30\x06\x0c\x04voip"
LONG_TOPIC = "com.example." + "x" * 200


def certificate(uid: str | None = "com.example.app", *extensions: tuple[str, bytes]) -> x509.Certificate:
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
    return one.public_bytes(serialization.Encoding.PEM)


TOPICS_OID = "1.2.840.113635.100.6.3.6"


def test_rhoconnects_pem_of_certificate_and_key() -> None:
    one = as_pem(certificate())
    for data in (one + pem(PRIVATE), pem(PRIVATE) + one):
        loaded = PushCertificate.load(data)
        assert loaded.topics == ("com.example.app",)
        assert loaded.expires_s == EXPIRES.timestamp()
        assert loaded.environments == ()
        assert loaded.certificate_pem == one


def test_the_passphrase() -> None:
    data = as_pem(certificate()) + pem(PRIVATE, b"secret")
    assert PushCertificate.load(data, "secret").topics == ("com.example.app",)
    plain = as_pem(certificate()) + pem(PRIVATE)
    assert PushCertificate.load(plain, "not needed").topics == ("com.example.app",)
    for wrong in (None, "", "other"):
        with pytest.raises(InvalidCredential, match="passphrase is wrong"):
            PushCertificate.load(data, wrong)


def test_old_forms_of_a_key() -> None:
    old = PRIVATE.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert b"BEGIN EC PRIVATE KEY" in old
    assert PushCertificate.load(as_pem(certificate()) + old, "secret").topics == ("com.example.app",)


def test_apples_export() -> None:
    exported = pkcs12.serialize_key_and_certificates(
        b"push", PRIVATE, certificate(), None, serialization.BestAvailableEncryption(b"secret")
    )
    loaded = PushCertificate.load(exported, "secret")
    assert loaded.topics == ("com.example.app",)
    assert (
        serialization.load_pem_private_key(loaded.key_pem, None).private_numbers()
        == PRIVATE.private_numbers()
    )
    with pytest.raises(InvalidCredential, match=r"neither PEM nor PKCS#12"):
        PushCertificate.load(exported, "other")


def test_an_export_without_the_key() -> None:
    exported = pkcs12.serialize_key_and_certificates(
        b"push", None, certificate(), None, serialization.NoEncryption()
    )
    with pytest.raises(InvalidCredential, match="holds no private key"):
        PushCertificate.load(exported)


def test_the_topics_of_apples_extension() -> None:
    loaded = PushCertificate.load(
        as_pem(
            certificate("com.example.uid", (TOPICS_OID, TOPICS), ("1.2.840.113635.100.6.3.2", b"\x05\x00"))
        )
        + pem(PRIVATE)
    )
    assert loaded.topics == ("com.example.app", "com.example.app.voip")
    assert loaded.environments == ("production",)


def test_a_topic_whose_length_takes_two_bytes() -> None:
    text = LONG_TOPIC.encode()
    inner = b"\x0c\x81" + bytes([len(text)]) + text
    value = b"\x30\x81" + bytes([len(inner)]) + inner
    loaded = PushCertificate.load(as_pem(certificate(None, (TOPICS_OID, value))) + pem(PRIVATE))
    assert loaded.topics == (LONG_TOPIC,)


@pytest.mark.parametrize(
    "value", [b"", b"\x30", b"\x30\x7f", b"\x30\x84\xff\xff\xff\xff\x0c\x01a", b"\x0c\x01a"]
)
def test_an_extension_that_is_garbage_does_no_harm(value: bytes) -> None:
    loaded = PushCertificate.load(as_pem(certificate(None, (TOPICS_OID, value))) + pem(PRIVATE))
    assert all(type(topic) is str for topic in loaded.topics)


def test_no_topics_at_all() -> None:
    assert PushCertificate.load(as_pem(certificate(None)) + pem(PRIVATE)).topics == ()


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
        PushCertificate.load(data)
    assert refused.value.field == "certificate_file"


def test_the_certificates_key_is_not_shown() -> None:
    shown = repr(PushCertificate.load(as_pem(certificate()) + pem(PRIVATE)))
    assert "BEGIN" not in shown
    assert "com.example.app" in shown


def test_a_certificate_of_an_unknown_kind_is_refused() -> None:
    """The key of the certificate is parsed only on access, and OpenSSL's error is raised then."""
    known, unknown = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d4201")  # id-ecPublicKey
    der = certificate().public_bytes(serialization.Encoding.DER)
    assert known in der
    damaged = x509.load_der_x509_certificate(der.replace(known, unknown))
    with pytest.raises(InvalidCredential, match="cannot be read"):
        PushCertificate.load(pem(ec.generate_private_key(ec.SECP256R1())) + as_pem(damaged))


@pytest.mark.parametrize("data", [b"-----BEGIN PRIVATE KEY-----" * 40_000, b"-----BEGIN " * 90_000])
def test_many_truncated_keys_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidCredential):
        PushCertificate.load(data)


@pytest.mark.parametrize("jump_s", [-86_400, -3_600, 3_600, 86_400])
def test_a_token_counts_at_its_time_alone(jump_s: int) -> None:
    """The clock was wrong when it was made: a new one is made once the clock is correct."""
    one, right_s = key(), START_S + 1000
    one.token(right_s + jump_s)
    assert one.token(right_s) == key().token(right_s)


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
        PushCertificate.load(
            pem(PRIVATE) + b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
        )
