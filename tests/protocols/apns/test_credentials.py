"""Provider tokens and push certificates, with keys generated here."""

from itertools import pairwise

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from protocols.apns.credentials import BUCKET_S, LAG_S, ProviderKey, PushCertificate
from protocols.errors import InvalidCredential
from tests.support.certificates import PRIVATE, RSA, as_pem, certificate, pem

KEY_ID, TEAM_ID = "ABC123DEFG", "DEF123GHIJ"
START_S = 1_700_001_000 // BUCKET_S * BUCKET_S


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

# SEQUENCE { "com.example.app" { "app" } "com.example.app.voip" { "voip" } }, written out by hand.
TOPICS = b"\x30\x36\x0c\x0fcom.example.app\x30\x05\x0c\x03app\x0c\x14com.example.app.voip\x30\x06\x0c\x04voip"
LONG_TOPIC = "com.example." + "x" * 200


TOPICS_OID = "1.2.840.113635.100.6.3.6"


def test_without_apples_extensions_the_uid_is_the_topic() -> None:
    loaded = PushCertificate.load(as_pem(certificate()) + pem(PRIVATE))
    assert (loaded.topics, loaded.environments) == (("com.example.app",), ())


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


def test_a_certificate_may_name_no_topic() -> None:
    assert PushCertificate.load(as_pem(certificate(None)) + pem(PRIVATE)).topics == ()


def test_the_certificates_key_is_not_shown() -> None:
    shown = repr(PushCertificate.load(as_pem(certificate()) + pem(PRIVATE)))
    assert "BEGIN" not in shown
    assert "com.example.app" in shown


@pytest.mark.parametrize("jump_s", [-86_400, -3_600, 3_600, 86_400])
def test_a_token_counts_at_its_time_alone(jump_s: int) -> None:
    """The clock was wrong when it was made: a new one is made once the clock is correct."""
    one, right_s = key(), START_S + 1000
    one.token(right_s + jump_s)
    assert one.token(right_s) == key().token(right_s)
