"""The authority: provider certificates as Apple writes them, server certificates for every name."""

import ssl

import pytest
from cryptography import x509

from gateway.simulators.authority import TOPICS_OID, Authority, encode_topics
from protocols.apns.credentials import PushCertificate, topics_of

AUTHORITY = Authority(["simulator.test"])


@pytest.mark.parametrize(
    "topics", [["com.a"], ["com.a", "com.a.voip"], ["com." + "x" * 200, "com.b", "com.c"]]
)
def test_the_topics_can_be_read_from_a_provider_certificate(topics: list[str]) -> None:
    made = AUTHORITY.client_certificate(topics)
    assert PushCertificate.load(made.pem).topics == made.topics == tuple(topics)


def test_without_the_extension_the_uid_is_the_topic() -> None:
    made = AUTHORITY.client_certificate(["com.a", "com.b"], extension=False)
    read = x509.load_pem_x509_certificate(made.certificate_pem)
    assert topics_of(read) == ("com.a",)
    assert TOPICS_OID not in {extension.oid for extension in read.extensions}


def test_the_list_of_topics_is_der() -> None:
    # SEQUENCE { UTF8String "com.a", SEQUENCE { UTF8String "app" } }
    wanted = bytes.fromhex("300e0c05") + b"com.a" + bytes.fromhex("30050c03") + b"app"
    assert encode_topics(["com.a"]) == wanted
    assert encode_topics(["x" * 300])[:8] == bytes.fromhex("3082013730 0c82012c".replace(" ", ""))[
        :4
    ] + bytes.fromhex("0c82012c")


@pytest.mark.parametrize(("valid_s", "expired"), [(60, False), (-60, True)])
def test_a_certificate_may_be_made_expired(valid_s: int, expired: bool) -> None:
    made = x509.load_pem_x509_certificate(
        AUTHORITY.client_certificate(["com.a"], valid_s=valid_s).certificate_pem
    )
    span_s = (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds()
    assert span_s == (240 if expired else 360)


def test_contexts_ask_for_what_was_said() -> None:
    server = AUTHORITY.server_context(("h2",))
    assert (server.verify_mode, server.minimum_version) == (ssl.CERT_OPTIONAL, ssl.TLSVersion.TLSv1_2)
    client = AUTHORITY.client_context()
    assert (client.verify_mode, client.check_hostname) == (ssl.CERT_REQUIRED, True)
