"""Apple's table of reasons in reverse: by the required treatment of the delivery and its device."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.apns.simulator import REASONS as SIMULATED
from protocols.apns.verdicts import REASONS, judge
from protocols.verdict import ACCEPTED, Remedy, Verdict, VerdictKind

FOREVER = """400 BadCollapseId, 400 BadDeviceToken, 400 BadExpirationDate, 400 BadMessageId, 400 BadPriority,
    400 BadTopic, 400 DeviceTokenNotForTopic, 400 DuplicateHeaders, 400 InvalidPushType,
    400 MissingDeviceToken, 400 MissingTopic, 400 PayloadEmpty, 400 TopicDisallowed,
    403 Forbidden, 404 BadPath, 405 MethodNotAllowed,
    410 ExpiredToken, 410 Unregistered, 413 PayloadTooLarge"""
DEAD = {"BadDeviceToken", "ExpiredToken", "Unregistered"}
LATER = """400 IdleTimeout, 403 BadCertificate, 403 BadCertificateEnvironment, 403 BadEnvironmentKeyIdInToken,
    403 BadEnvironmentKeyInToken, 403 ExpiredProviderToken, 403 InvalidProviderToken,
    403 MissingProviderToken, 403 UnrelatedKeyIdInToken,
    429 TooManyProviderTokenUpdates, 429 TooManyRequests, 500 InternalServerError,
    503 ServiceUnavailable, 503 Shutdown"""
REMEDIES = {
    "IdleTimeout": Remedy.RECONNECT,
    "BadCertificate": Remedy.HALT,
    "BadCertificateEnvironment": Remedy.HALT,
    "BadEnvironmentKeyIdInToken": Remedy.HALT,
    "BadEnvironmentKeyInToken": Remedy.HALT,
    "ExpiredProviderToken": Remedy.REFRESH,
    "InvalidProviderToken": Remedy.REISSUE,
    "MissingProviderToken": Remedy.HALT,
    "UnrelatedKeyIdInToken": Remedy.RECONNECT,
    "TooManyProviderTokenUpdates": Remedy.RECONNECT,
    "Shutdown": Remedy.RECONNECT,
}
HERE_ONLY = {
    "BadDeviceToken",
    "BadCertificateEnvironment",
    "BadEnvironmentKeyIdInToken",
    "BadEnvironmentKeyInToken",
}
AT_ONCE = {"IdleTimeout", "ExpiredProviderToken", "InvalidProviderToken", "UnrelatedKeyIdInToken"}


def rows(table: str) -> list[tuple[int, str]]:
    return [(int(status), reason) for status, reason in (row.split() for row in table.split(","))]


def body(reason: str, **more: object) -> bytes:
    return json.dumps({"reason": reason, **more}).encode()


@pytest.mark.parametrize(("status", "reason"), rows(FOREVER))
def test_permanent_reasons_are_rejected(status: int, reason: str) -> None:
    assert judge(status, (), body(reason)) == Verdict(
        VerdictKind.REJECTED, reason, dead=reason in DEAD, host_specific=reason in HERE_ONLY
    )


@pytest.mark.parametrize(("status", "reason"), rows(LATER))
def test_temporary_reasons_are_retried_with_their_remedy(status: int, reason: str) -> None:
    assert judge(status, (), body(reason)) == Verdict(
        VerdictKind.LATER,
        reason,
        remedy=REMEDIES.get(reason, Remedy.NONE),
        retry_at_once=reason in AT_ONCE,
        host_specific=reason in HERE_ONLY,
    )


def test_the_tables_of_this_test_are_the_whole_table() -> None:
    assert {*rows(FOREVER), *rows(LATER)} == set(REASONS)


@pytest.mark.parametrize(("reason", "status"), SIMULATED.items())
def test_no_reason_of_the_simulator_is_unknown(reason: str, status: int) -> None:
    assert (status, reason) in REASONS


def test_a_response_of_200_is_accepted() -> None:
    assert judge(200, [(b"apns-id", b"x")], b"") is ACCEPTED


def test_since_when_a_token_is_dead() -> None:
    said = body("Unregistered", timestamp=1_700_000_000_123)
    assert judge(410, (), said).dead_since_ms == 1_700_000_000_123
    for wrong in ("1700000000123", None, -5, 0, True, 1.5, []):
        verdict = judge(410, (), body("Unregistered", timestamp=wrong))
        assert verdict == Verdict(VerdictKind.REJECTED, "Unregistered", dead=True)
    assert judge(400, (), body("BadDeviceToken", timestamp=5)).dead_since_ms is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retry_after_counts(status: int) -> None:
    verdict = judge(status, [(b":status", b""), (b"retry-after", b"17")], b"")
    assert (verdict.kind, verdict.delay_s, verdict.reason) == (VerdictKind.LATER, 17.0, f"HTTP {status}")


def test_retry_after_delays_only_what_is_later_and_not_once() -> None:
    headers = [(b"retry-after", b"7")]
    assert judge(400, headers, body("BadTopic")).delay_s is None
    assert judge(403, headers, body("ExpiredProviderToken")).delay_s is None
    assert judge(410, (), body("Unregistered", timestamp=1)).dead_since_ms == 1


def test_a_date_is_understood_with_the_time() -> None:
    headers = [(b"retry-after", b"Tue, 14 Nov 2023 22:14:20 GMT")]
    assert judge(503, headers, b"", 1_700_000_000.0).delay_s == 60.0
    assert judge(503, headers, b"").delay_s is None


@pytest.mark.parametrize(
    ("status", "kind", "dead", "remedy"),
    [
        (400, VerdictKind.REJECTED, False, Remedy.NONE),
        (403, VerdictKind.LATER, False, Remedy.HALT),
        (404, VerdictKind.REJECTED, False, Remedy.NONE),
        (408, VerdictKind.LATER, False, Remedy.NONE),
        (410, VerdictKind.REJECTED, True, Remedy.NONE),
        (418, VerdictKind.REJECTED, False, Remedy.NONE),
        (429, VerdictKind.LATER, False, Remedy.NONE),
        (500, VerdictKind.LATER, False, Remedy.NONE),
        (502, VerdictKind.LATER, False, Remedy.NONE),
        (599, VerdictKind.LATER, False, Remedy.NONE),
        (302, VerdictKind.LATER, False, Remedy.NONE),
        (204, VerdictKind.ACCEPTED, False, Remedy.NONE),
    ],
)
def test_an_unknown_reason_goes_by_its_status(
    status: int, kind: VerdictKind, dead: bool, remedy: Remedy
) -> None:
    for said, reason in (
        (body("BrandNew"), "BrandNew"),
        (b"", f"HTTP {status}"),
        (b"<html>", f"HTTP {status}"),
    ):
        assert judge(status, (), said) == Verdict(kind, reason, dead=dead, remedy=remedy)


def test_a_misdirected_request_is_repeated_on_another_connection() -> None:
    """RFC 9110 §15.5.20."""
    moved = Verdict(VerdictKind.LATER, "HTTP 421", remedy=Remedy.RECONNECT, retry_at_once=True)
    assert judge(421, (), b"") == moved


def test_a_known_reason_with_another_status_is_judged_by_the_status() -> None:
    assert judge(503, (), body("Unregistered")) == Verdict(VerdictKind.LATER, "Unregistered")


@given(st.integers(100, 599), st.binary(max_size=40) | st.from_regex(rb'\{"reason": ?.{0,20}\}'))
def test_no_answer_raises(status: int, said: bytes) -> None:
    verdict = judge(status, [(b"retry-after", said)], said, 0.0)
    assert verdict.kind in VerdictKind
    assert len(verdict.reason) <= 64


def test_a_deeply_nested_answer_is_judged_by_its_status() -> None:
    assert judge(400, (), b'{"reason":' + b"[" * 100_000).reason == "HTTP 400"


@pytest.mark.parametrize("timestamp", [0, -1, 2**63, 10**300, 1.5, "1", True])
def test_a_timestamp_that_is_no_instant_counts_as_none(timestamp: object) -> None:
    assert judge(410, (), body("Unregistered", timestamp=timestamp)).dead_since_ms is None
